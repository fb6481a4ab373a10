//! How many sources: [`count_sources`].

use demix_signal::Waveform;

use super::covariance::LaggedCovariances;
use super::mixture::check;
use super::whitening::principal_components;
use crate::SpatialError;

/// A number of sources with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceCount {
    /// N.
    pub n_sources: usize,
    /// Powers of the principal components of the channels, in dB below the first, falling.
    pub levels: Vec<f64>,
    /// The gap between component N and the next, in dB; none where N is the number of channels.
    pub gap: Option<f64>,
}

/// Counts sources in more microphones: N is where the principal components of the channels fall by the widest gap, if
/// this is at least `least_gap` dB, else the number of channels. Without noise the components beyond N have only the
/// rounding of the samples; with noise at an SNR the gap is about as wide as the SNR, less what the mixing takes from
/// the weakest source. 15 dB is a fair choice.
///
/// # Errors
/// An empty mixture or one with samples that are not finite.
pub fn count_sources(mixture: &Waveform, least_gap: f64) -> Result<SourceCount, SpatialError> {
    check("this count", mixture, 1)?;
    let values = principal_components(&LaggedCovariances::new(mixture, &[]).covariances[0]).0;
    // below this a power is rounding: eigenvalues are exact to about the last bit of the first
    let floor = values[0].max(f64::MIN_POSITIVE) * 1e-15;
    let levels: Vec<f64> =
        values.iter().map(|value| 10.0 * (value.max(floor) / values[0].max(floor)).log10()).collect();
    let gaps = levels.windows(2).map(|pair| pair[0] - pair[1]).enumerate();
    let widest = gaps.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, gap)| *gap >= least_gap);
    let (n_sources, gap) = widest.map_or((mixture.n_channels(), None), |(n, gap)| (n + 1, Some(gap)));
    Ok(SourceCount { n_sources, levels, gap })
}
