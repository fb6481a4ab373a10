//! [`Scores`] and [`Order`]: results, and which estimate belongs to which reference.

use ndarray::{Array2, Axis, Slice};

use crate::assignment::best_assignment;
use crate::error::EvalError;

/// Which estimate is scored against which reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The assignment with the best mean criterion (each measure names its own), found by the
    /// Hungarian method; as many estimates as references. Where orders tie, the given one.
    #[default]
    Best,
    /// The best assignment among the first so many estimates, at least as many as references.
    BestOf(usize),
    /// Estimate n belongs to reference n.
    Fixed,
    /// The estimate for each reference; one estimate may serve several references, as the mixture
    /// does when an improvement is measured.
    Given(Vec<usize>),
}

impl Order {
    /// The order in which one signal, the mixture, is the estimate of every reference.
    pub fn all_from_one(n_references: usize) -> Self {
        Order::Given(vec![0; n_references])
    }

    pub(crate) fn check(&self, references: usize, estimates: usize) -> Result<(), EvalError> {
        match self {
            Order::Best | Order::Fixed if references == estimates => Ok(()),
            Order::Best | Order::Fixed => Err(EvalError::Count { references, estimates }),
            Order::BestOf(among) if (references..=estimates).contains(among) => Ok(()),
            Order::BestOf(among) => Err(EvalError::Count { references, estimates: *among }),
            Order::Given(given) if given.len() == references && given.iter().all(|&e| e < estimates) => {
                Ok(())
            }
            Order::Given(given) => Err(EvalError::Order { given: given.clone(), references, estimates }),
        }
    }

    /// The estimate for each reference, where `criterion` has the shape (references, estimates).
    pub(crate) fn permutation(&self, criterion: &Array2<f64>) -> Vec<usize> {
        match self {
            Order::Best => best_assignment(criterion),
            Order::BestOf(among) => {
                best_assignment(&criterion.slice_axis(Axis(1), Slice::from(..*among)).to_owned())
            }
            Order::Fixed => (0..criterion.nrows()).collect(),
            Order::Given(given) => given.clone(),
        }
    }
}

/// Scores in dB, one per reference; `NaN` and infinities as the measure documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Signal-to-distortion ratio.
    pub sdr: Vec<f64>,
    /// Image-to-spatial-distortion ratio; BSS Eval of images only.
    pub isr: Option<Vec<f64>>,
    /// Signal-to-interference ratio.
    pub sir: Vec<f64>,
    /// Signal-to-artifacts ratio.
    pub sar: Vec<f64>,
    /// The estimate that belongs to each reference.
    pub permutation: Vec<usize>,
}

impl Scores {
    /// How much better these scores are than those of `baseline`, usually the mixture's.
    ///
    /// Infinity minus infinity is `NaN`. The order is that of these scores.
    #[must_use]
    pub fn improvement(&self, baseline: &Scores) -> Scores {
        Scores {
            sdr: difference(&self.sdr, &baseline.sdr),
            isr: self.isr.as_ref().zip(baseline.isr.as_ref()).map(|(a, b)| difference(a, b)),
            sir: difference(&self.sir, &baseline.sir),
            sar: difference(&self.sar, &baseline.sar),
            permutation: self.permutation.clone(),
        }
    }
}

/// `scores - baseline`, reference by reference.
pub(crate) fn difference(scores: &[f64], baseline: &[f64]) -> Vec<f64> {
    scores.iter().zip(baseline).map(|(score, baseline)| score - baseline).collect()
}

/// 10 log10(signal / noise): `NaN` for 0/0, infinite where one of the two is nothing.
pub(crate) fn decibel(signal: f64, noise: f64) -> f64 {
    10.0 * (signal / noise).log10()
}

/// Energies this far below their counterpart are the rounding of the calculation: -200 dB.
///
/// Single precision samples cannot tell such a residual from silence (their own rounding lies
/// at -150 dB), and double precision projections leave -250 dB to -300 dB.
pub(crate) const ROUNDING: f64 = 1e-20;

/// [`decibel`] of two parts of a projection, infinite beyond [`ROUNDING`].
pub(crate) fn projected_decibel(signal: f64, noise: f64) -> f64 {
    let floor = |part: f64, other: f64| if part <= ROUNDING * other { 0.0 } else { part };
    decibel(floor(signal, noise), floor(noise, signal))
}
