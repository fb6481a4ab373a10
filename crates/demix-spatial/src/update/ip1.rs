//! Iterative projection, one source after the other: Ono 2011; Algorithm 1 of Hasumi et al. 2023.
//!
//! w_n <- (W U_n)^-1 e_n, w_n <- w_n / sqrt(w_n^H U_n w_n): the exact minimum over one row. O(N M^3) for each bin.

use super::{Bin, SpatialUpdate, Step, one_step};
use crate::matrix::{ONE, ZERO, form, multiply, solve};

/// Iterative projection of one row at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ip1;

impl SpatialUpdate for Ip1 {
    fn steps(&self, n_sources: usize, _: usize) -> Vec<Step> {
        one_step(n_sources, n_sources)
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        let m = bin.n_channels;
        let mut wu = [ZERO; 16];
        let mut row = [ZERO; 4];
        let (mut large_wu, mut large_row);
        // small matrices live on the stack
        let (wu, row) = if m <= 4 {
            (&mut wu[..m * m], &mut row[..m])
        } else {
            (large_wu, large_row) = (vec![ZERO; m * m], vec![ZERO; m]);
            (&mut large_wu[..], &mut large_row[..])
        };
        for &n in &step.outputs {
            multiply(m, bin.w, bin.u(n), wu);
            row.fill(ZERO);
            row[n] = ONE;
            if !solve(m, wu, 1, row) {
                continue;
            }
            // rows of W are w^H
            row.iter_mut().for_each(|w| *w = w.conj());
            let power = form(bin.u(n), row, row).re;
            let scale = 1.0 / power.sqrt();
            if power > 0.0 && scale.is_finite() {
                for (out, w) in bin.w[n * m..][..m].iter_mut().zip(&*row) {
                    *out = w * scale;
                }
            }
        }
    }
}
