//! Signal-to-noise ratio: 10 log10 |s|^2 / |s - y|^2, over all channels together.
//!
//! Cost: one pass over the samples, all pairs when an order is searched.

use ndarray::Array2;

use crate::error::EvalError;
use crate::recording::{Ensemble, Recording};
use crate::scores::{Order, decibel, difference};

/// Signal-to-noise ratios in dB, one per reference.
#[derive(Clone, Debug, PartialEq)]
pub struct SnrScores {
    /// 10 log10 |reference|^2 / |reference - estimate|^2.
    pub snr: Vec<f64>,
    /// The estimate that belongs to each reference.
    pub permutation: Vec<usize>,
}

impl SnrScores {
    /// How much better these scores are than those of `baseline`, usually the mixture's.
    #[must_use]
    pub fn improvement(&self, baseline: &SnrScores) -> SnrScores {
        SnrScores { snr: difference(&self.snr, &baseline.snr), permutation: self.permutation.clone() }
    }
}

/// Signal-to-noise ratio of each reference's estimate; [`Order::Best`] maximises the mean.
///
/// A silent reference scores `NaN`, a silent estimate 0 dB, an estimate equal to its reference
/// +infinity.
///
/// # Errors
/// Signals that differ in length, channels or rate; counts that do not fit the order; samples that
/// are not finite or cannot be read.
///
/// # Example
/// ```
/// use demix_eval::{Order, snr};
/// use demix_signal::Waveform;
/// let reference = Waveform::mono(vec![1.0, -1.0, 1.0, -1.0], 8000);
/// let estimate = Waveform::mono(vec![0.9, -0.9, 0.9, -0.9], 8000);
/// let scores = snr(&[reference], &[estimate], &Order::Best)?;
/// assert!((scores.snr[0] - 20.0).abs() < 1e-5);
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub fn snr<R: Recording, E: Recording>(
    references: &[R],
    estimates: &[E],
    order: &Order,
) -> Result<SnrScores, EvalError> {
    let ensemble = Ensemble::new(references, estimates)?;
    let shape @ (n_references, n_estimates) = (references.len(), estimates.len());
    order.check(n_references, n_estimates)?;

    let sums = ensemble.sum(|stretch| {
        let energies = stretch.references.iter().map(|s| energy(s.iter().map(|&s| f64::from(s))));
        let errors = stretch.references.iter().flat_map(|s| {
            stretch
                .estimates
                .iter()
                .map(move |y| energy(s.iter().zip(y).map(|(&s, &y)| f64::from(s) - f64::from(y))))
        });
        energies.chain(errors).collect()
    })?;
    let (energies, errors) = sums.split_at(n_references);
    let ratios = Array2::from_shape_fn(shape, |(n, e)| match energies[n] {
        0.0 => f64::NAN,
        energy => decibel(energy, errors[n * n_estimates + e]),
    });

    let permutation = order.permutation(&ratios);
    let snr = permutation.iter().enumerate().map(|(n, &e)| ratios[[n, e]]).collect();
    Ok(SnrScores { snr, permutation })
}

fn energy(samples: impl Iterator<Item = f64>) -> f64 {
    samples.map(|x| x * x).sum()
}
