//! What masks and filters could have reached, were the sources known.

use demix_eval::{Oracle, oracle};
use demix_signal::{StftSettings, Waveform};

use super::metric::MetricScores;
use super::sound::Sound;
use crate::pipeline::PipelineError;

/// Names and oracles.
pub const ORACLES: [(&str, Oracle); 4] = [
    ("ideal-ratio-mask", Oracle::RatioMask { exponent: 2.0 }),
    ("ideal-binary-mask", Oracle::BinaryMask),
    ("wiener", Oracle::Wiener),
    ("demixing-filter", Oracle::DemixingFilter),
];

/// The estimates of every oracle, in the order of [`ORACLES`].
///
/// # Errors
/// Signals that cannot be read or transformed.
pub fn oracles(references: &[Sound], mixture: &Sound) -> Result<Vec<Vec<Sound>>, PipelineError> {
    let images: Result<Vec<Waveform>, PipelineError> = references.iter().map(Sound::waveform).collect();
    let (images, mixture) = (images?, mixture.waveform()?);
    ORACLES
        .iter()
        .map(|(name, kind)| {
            let estimates = oracle(*kind, &images, &mixture, &StftSettings::default())?;
            Ok(estimates.into_iter().map(|estimate| Sound::held(*name, estimate)).collect())
        })
        .collect()
}

/// The estimate's improvement over the mixture as a share of the oracle's, reference by reference: 1 is as good.
///
/// NaN where the oracle does not improve, or something is infinite.
pub fn shares(
    estimate: &MetricScores,
    oracle: &MetricScores,
    mixture: &MetricScores,
) -> Vec<(&'static str, Vec<f64>)> {
    let (own, best) = (estimate.improvements(mixture), oracle.improvements(mixture));
    let share = |own: f64, best: f64| {
        if own.is_finite() && best.is_finite() && best > 0.0 { own / best } else { f64::NAN }
    };
    own.into_iter()
        .zip(best)
        .map(|((name, own), (_, best))| {
            (name, own.iter().zip(&best).map(|(&own, &best)| share(own, best)).collect())
        })
        .collect()
}
