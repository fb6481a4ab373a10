//! Scores of sound files against references.

use std::path::PathBuf;

use demix_eval::{Order, SiSettings, si_sdr, snr};
use demix_files::audio::{self, ReadOptions};
use demix_signal::Waveform;
use demix_signal::settings::nearest_name;
use serde_json::{Map, Value, json};

use super::PipelineError;
use super::separate::number;

/// The metrics that [`evaluate`] knows.
pub const METRICS: [&str; 2] = ["si-sdr", "snr"];

/// What to score.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The true sources.
    pub references: Vec<PathBuf>,
    /// The separated sources, in any order.
    pub estimates: Vec<PathBuf>,
    /// The mixture, for improvements.
    pub mixture: Option<PathBuf>,
    /// Names of metrics; empty for all.
    pub metrics: Vec<String>,
    /// Whether estimate n belongs to reference n.
    pub keep_order: bool,
}

/// One metric's columns: `permutation`, then a list of dB for every quantity and its improvement.
///
/// # Errors
/// Unknown metrics; files that cannot be read, or differ in rate, channels or length; counts that differ.
pub fn evaluate(what: &Evaluation) -> Result<Value, PipelineError> {
    for metric in &what.metrics {
        if !METRICS.contains(&metric.as_str()) {
            let hint = match nearest_name(metric, METRICS) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("take {}", METRICS.join(", ")),
            };
            return Err(PipelineError::WrongUse(format!("there is no metric '{metric}'; {hint}")));
        }
    }
    let (n_references, n_estimates) = (what.references.len(), what.estimates.len());
    if n_references != n_estimates {
        return Err(PipelineError::WrongUse(format!(
            "references: {n_references}, estimates: {n_estimates}; give one estimate for each reference"
        )));
    }
    let read = |paths: &[PathBuf]| -> Result<Vec<Waveform>, PipelineError> {
        paths.iter().map(|path| Ok(audio::read(path, &ReadOptions::default())?.waveform)).collect()
    };
    let references = read(&what.references)?;
    let estimates = read(&what.estimates)?;
    let mixture = read(what.mixture.as_slice())?;
    check_alike(what, &references, &estimates, &mixture)?;
    let asked = |metric: &str| what.metrics.is_empty() || what.metrics.iter().any(|m| m == metric);
    let order = if what.keep_order { Order::Fixed } else { Order::Best };
    // the mixture as the estimate of every source
    let baseline = mixture.first().map(|mixture| vec![mixture.clone(); n_references]);
    let mut metrics = Map::new();
    if asked("si-sdr") {
        let settings = SiSettings { order: order.clone(), ..SiSettings::default() };
        let scores = si_sdr(&references, &estimates, &settings)?;
        let mut value = Map::new();
        value.insert("sdr".into(), list(&scores.sdr));
        value.insert("sir".into(), list(&scores.sir));
        value.insert("sar".into(), list(&scores.sar));
        if let Some(mixtures) = &baseline {
            let settings = SiSettings { order: Order::Fixed, ..SiSettings::default() };
            let base = si_sdr(&references, mixtures, &settings)?;
            value.insert("sdr_improvement".into(), list(&scores.improvement(&base).sdr));
        }
        value.insert("permutation".into(), json!(scores.permutation));
        metrics.insert("si-sdr".into(), value.into());
    }
    if asked("snr") {
        let scores = snr(&references, &estimates, &order)?;
        let mut value = Map::new();
        value.insert("snr".into(), list(&scores.snr));
        if let Some(mixtures) = &baseline {
            let base = snr(&references, mixtures, &Order::Fixed)?;
            value.insert("snr_improvement".into(), list(&scores.improvement(&base).snr));
        }
        value.insert("permutation".into(), json!(scores.permutation));
        metrics.insert("snr".into(), value.into());
    }
    Ok(json!({ "metrics": metrics }))
}

fn list(values: &[f64]) -> Value {
    values.iter().map(|&x| number(x)).collect()
}

/// Refuses files that cannot be compared, by name and number.
fn check_alike(
    what: &Evaluation,
    references: &[Waveform],
    estimates: &[Waveform],
    mixture: &[Waveform],
) -> Result<(), PipelineError> {
    let paths = what.references.iter().chain(&what.estimates).chain(&what.mixture);
    let signals = references.iter().chain(estimates).chain(mixture);
    let mut all = paths.zip(signals);
    let Some((first, signal)) = all.next() else {
        return Err(PipelineError::WrongUse("no reference is given".into()));
    };
    for (path, other) in all {
        let pairs = [
            ("rate (Hz)", signal.sample_rate as usize, other.sample_rate as usize),
            ("channels", signal.n_channels(), other.n_channels()),
            ("samples", signal.n_samples(), other.n_samples()),
        ];
        if let Some((unit, a, b)) = pairs.into_iter().find(|(_, a, b)| a != b) {
            return Err(PipelineError::Request(format!(
                "{} and {} differ in {unit}: {a} and {b}; scores need signals that are alike",
                first.display(),
                path.display()
            )));
        }
    }
    Ok(())
}
