//! The projection form: orthogonal projections on the span of the sources, without filters.
//!
//! Vincent, Gribonval, Févotte 2006, section III.A: target P_n y, interference P y - P_n y, artifacts
//! y - P y, where P_n and P project on source n and on all sources. It is BSS Eval with one tap: each
//! channel of an estimate is projected on all channels of the sources. For one channel it is SI-SDR,
//! SI-SIR and SI-SAR.

use crate::bss_eval::BssEval;
use crate::error::EvalError;
use crate::recording::Recording;
use crate::scores::{Order, Scores};

/// SDR, SIR and SAR by projection; the best order maximises the mean SIR.
///
/// Silence and other odd input as in [`BssEval`].
///
/// # Errors
/// As [`BssEval::new`] and [`BssEval::sources`].
///
/// # Example
/// ```
/// use demix_eval::{Order, projection};
/// use demix_signal::Waveform;
/// let mono = |x: [f32; 4]| Waveform::mono(x.to_vec(), 8000);
/// let references = [mono([1.0, 0.0, 0.0, 0.0]), mono([0.0, 1.0, 0.0, 0.0])];
/// let estimates = [mono([1.0, 0.1, 0.01, 0.0]), mono([0.0, 1.0, 0.0, 0.1])];
/// let scores = projection(&references, &estimates, &Order::Best)?;
/// assert!((scores.sir[0] - 20.0).abs() < 1e-5);
/// assert_eq!(scores.sir[1], f64::INFINITY);
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub fn projection<R: Recording, E: Recording>(
    references: &[R],
    estimates: &[E],
    order: &Order,
) -> Result<Scores, EvalError> {
    BssEval::new(references, estimates, 1)?.sources(order)
}
