//! The natural gradient: Amari, Cichocki and Yang 1996; for frequency-domain ICA, Smaragdis 1998.
//!
//! W <- W + mu (I - R) W with R_nm = mean(phi(y_n) conj(y_m)) = w_n^H U_n w_m, phi(y) = y / xi. Fixed points are those of
//! the other updates; the step mu has to be chosen, and the cost may rise. Far from rest, where I - R is larger than 1, mu
//! is divided by its norm: W would overflow otherwise.

use super::{Bin, SpatialUpdate, Step, one_step};
use crate::matrix::{ONE, ZERO};

/// The natural gradient with a fixed step.
#[derive(Clone, Copy, Debug)]
pub struct NaturalGradient {
    /// mu, in 0..1.
    pub step: f64,
}

impl SpatialUpdate for NaturalGradient {
    fn steps(&self, n_sources: usize, n_channels: usize) -> Vec<Step> {
        one_step(n_sources, n_channels)
    }

    fn apply(&self, _: &Step, bin: &mut Bin<'_>) {
        let m = bin.n_channels;
        let mut error = vec![ZERO; m * m];
        for n in 0..m {
            for k in 0..m {
                let wanted = if n == k { ONE } else { ZERO };
                error[n * m + k] = wanted - bin.moment(n, n, k);
            }
        }
        let size = error.iter().map(|e| e.norm_sqr()).sum::<f64>().sqrt();
        let step = self.step / size.max(1.0);
        let mut next = bin.w.to_vec();
        for n in 0..m {
            for k in 0..m {
                for c in 0..m {
                    next[n * m + c] += error[n * m + k] * step * bin.w[k * m + c];
                }
            }
        }
        if next.iter().all(|w| w.re.is_finite() && w.im.is_finite()) {
            bin.w.copy_from_slice(&next);
        }
    }

    fn is_monotone(&self) -> bool {
        false
    }
}
