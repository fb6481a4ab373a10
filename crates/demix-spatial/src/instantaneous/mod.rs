//! Instantaneous mixtures x = A s: real gains, no delays, no echoes.
//!
//! All methods whiten the channels and look for what is left of A, a rotation, in statistics that independent sources
//! cannot share: covariances at several lags (decorrelation, AMUSE, SOBI) or cumulants of fourth order and their kin
//! (JADE, FastICA). Statistics are sums in double precision over fixed blocks: no result depends on the number of
//! threads, and memory does not grow with the signal.
//!
//! # Example
//! ```
//! use demix_signal::Waveform;
//! use demix_spatial::instantaneous::{InstantaneousMethod, Sobi, SobiSettings};
//! use ndarray::array;
//! // a low and a high tone with vibrato, each on both channels
//! let tone = |t: usize, f: f32| (f * t as f32 + 3.0 * (t as f32 * 1e-3 * f).sin()).sin();
//! let sources = ndarray::Array2::from_shape_fn((2, 16000), |(n, t)| tone(t, [0.05, 0.4][n]));
//! let mixture = Waveform::new(array![[1.0f32, 0.5], [0.4, -0.8]].dot(&sources), 8000);
//! let found = Sobi::new(SobiSettings::default())?.demix(&mixture, 2, &mut ())?;
//! // W A is the identity but for order and scale, and the images sum to the mixture
//! let gains = found.demixing.dot(&array![[1.0, 0.5], [0.4, -0.8]]);
//! assert!((gains[[0, 0]] * gains[[1, 0]]).abs() < 0.02, "{gains}");
//! let sum = found.image(&mixture, 0).samples + found.image(&mixture, 1).samples;
//! assert!((sum - &mixture.samples).iter().all(|error| error.abs() < 1e-5));
//! # Ok::<(), demix_spatial::SpatialError>(())
//! ```
//!
//! | room | holds |
//! | --- | --- |
//! | [`decorrelation`] | two sources: two lags in closed form, many by least squares |
//! | [`amuse`], [`sobi`] | covariances at one lag, at many |
//! | [`jade`], [`fast_ica`] | statistics of fourth order, non-linear contrasts |
//! | [`demixing`] | W, A and the images that they make |
//! | [`lags`], [`covariance`] | which lags, and the covariances at them |
//! | [`joint_diagonalization`] | Jacobi rotations for several matrices |
//! | [`source_count`] | how many sources, by the gap of eigenvalues |
//! | [`evidence`] | instantaneous or convolutive |

pub mod amuse;
pub mod covariance;
pub mod decorrelation;
pub mod demixing;
pub mod evidence;
pub mod fast_ica;
pub mod jade;
pub mod joint_diagonalization;
pub mod lags;
pub mod sobi;
pub mod source_count;

mod identifiability;
mod mixture;
mod two_by_two;
mod whitening;

#[cfg(test)]
mod synthesis;
#[cfg(test)]
mod tests;

pub use amuse::{Amuse, AmuseSettings};
pub use decorrelation::{Decorrelation, DecorrelationSettings, Form};
pub use demixing::{InstantaneousDemixing, Stopped};
pub use evidence::{ConvolutiveEvidence, clipped_share, convolutive_evidence};
pub use fast_ica::{Contrast, FastIca, FastIcaSettings, Orthogonality};
pub use jade::{Jade, JadeSettings};
pub use joint_diagonalization::JacobiSettings;
pub use lags::{LagSettings, Spacing};
pub use sobi::{Sobi, SobiSettings};
pub use source_count::{SourceCount, count_sources};

use demix_signal::{Watch, Waveform};

use crate::SpatialError;

/// The stage that a watch is told of.
const STAGE: &str = "demix";

/// A method for instantaneous mixtures, with its settings.
pub trait InstantaneousMethod: Send + Sync {
    /// Its name in commands and reports.
    fn name(&self) -> &'static str;

    /// Finds W and A of a mixture of shape (channels, samples) for `n_sources` <= channels.
    ///
    /// A mixture that cannot be taken apart (a silent channel, two that are the same, sources that the method's
    /// statistics cannot tell apart) is no error: the result is finite and its warnings say what is wrong.
    ///
    /// # Errors
    /// An empty mixture, samples that are not finite, no source, more sources than channels, cancelling.
    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError>;
}
