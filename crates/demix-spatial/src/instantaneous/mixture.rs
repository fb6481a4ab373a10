//! What every method does first: refuse, measure, whiten, warn.

use demix_signal::Waveform;
use nalgebra::DMatrix;

use super::covariance::LaggedCovariances;
use super::demixing::{Found, InstantaneousDemixing};
use super::whitening::Whitening;
use crate::SpatialError;

/// Two principal components further apart than this, in power, make the weaker source mostly rounding: 80 dB, a little
/// less than 16 bits.
const ILL_CONDITIONED: f64 = 1e-8;
/// Pairs of neighbours at a channel's peak from which on it is taken for clipped: a peak of natural sound is one
/// sample.
const CLIPPED_PAIRS: usize = 16;

/// A mixture with its whitened covariances.
pub(crate) struct Prepared {
    /// Of the channels.
    pub covariances: LaggedCovariances,
    /// Of the white components, z.
    pub white: LaggedCovariances,
    pub whitening: Whitening,
    pub n_sources: usize,
    warnings: Vec<String>,
}

impl Prepared {
    /// With covariances at lag 0 and `lags` (samples, rising).
    pub fn new(
        method: &'static str,
        mixture: &Waveform,
        n_sources: usize,
        lags: &[usize],
    ) -> Result<Self, SpatialError> {
        check(method, mixture, n_sources)?;
        let covariances = LaggedCovariances::new(mixture, lags);
        let whitening = Whitening::new(&covariances.covariances[0], &covariances.mean, n_sources);
        let warnings = warnings(mixture, &whitening, n_sources);
        let white = covariances.transformed(&whitening.whitener);
        Ok(Self { covariances, white, whitening, n_sources, warnings })
    }

    /// r, the sources that can be found.
    pub fn rank(&self) -> usize {
        self.whitening.rank()
    }

    /// The covariances of y = B z, for what they tell about B.
    pub fn demixed(&self, b: &DMatrix<f64>) -> LaggedCovariances {
        self.white.transformed(b)
    }

    /// W and A with all warnings.
    pub fn finish(self, mut found: Found) -> InstantaneousDemixing {
        let mut warnings = self.warnings;
        warnings.append(&mut found.warnings);
        InstantaneousDemixing::new(&self.whitening, self.n_sources, Found { warnings, ..found })
    }
}

/// Refuses what no method can take apart.
pub(crate) fn check(method: &'static str, mixture: &Waveform, n_sources: usize) -> Result<(), SpatialError> {
    let (channels, samples) = mixture.samples.dim();
    if channels == 0 || samples == 0 {
        return Err(SpatialError::Empty { channels, samples });
    }
    if n_sources == 0 {
        return Err(SpatialError::NoSource);
    }
    if n_sources > channels {
        return Err(SpatialError::TooManySources { method, sources: n_sources, channels });
    }
    for (channel, row) in mixture.samples.outer_iter().enumerate() {
        if let Some(sample) = row.iter().position(|x| !x.is_finite()) {
            return Err(SpatialError::NotFinite { channel: channel + 1, sample });
        }
    }
    Ok(())
}

fn warnings(mixture: &Waveform, whitening: &Whitening, n_sources: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    for &channel in &whitening.silent {
        let what = if mixture.samples[[channel, 0]] == 0.0 { "silent" } else { "constant" };
        warnings.push(format!("channel {} is {what}: left out", channel + 1));
    }
    for (channel, row) in mixture.samples.outer_iter().enumerate() {
        let peak = row.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        let at_peak = |x: &f32| x.abs() == peak;
        let pairs = row.iter().zip(row.iter().skip(1)).filter(|(a, b)| at_peak(a) && at_peak(b)).count();
        if pairs >= CLIPPED_PAIRS && !whitening.silent.contains(&channel) {
            warnings.push(format!(
                "channel {} looks clipped ({} neighbours at its peak of {peak:.3}): what was cut off is not a sum of \
                 sources, so they will leak into each other",
                channel + 1,
                pairs + 1
            ));
        }
    }
    let rank = whitening.rank();
    if rank < n_sources {
        warnings.push(match rank {
            0 => "the channels hold no sound: all sources are silent".to_string(),
            _ => format!(
                "the {} channels hold only {rank} independent signal{} (others are the same, sums of these or silent): \
                 {} of {n_sources} sources are silent",
                mixture.n_channels(),
                if rank == 1 { "" } else { "s" },
                n_sources - rank
            ),
        });
    }
    if rank > 1 {
        let gap = whitening.eigenvalues[rank - 1] / whitening.eigenvalues[0];
        if gap < ILL_CONDITIONED {
            warnings.push(format!(
                "the channels are almost the same: principal component {rank} is {:.0} dB below the first, so source \
                 {rank} is mostly rounding; ask for fewer sources",
                -10.0 * gap.log10()
            ));
        }
    }
    warnings
}
