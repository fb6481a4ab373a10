//! Iterative source steering: Scheibler and Ono 2020.
//!
//! For each output n: W <- W - v w_n^H with v_m = (w_m^H U_m w_n) / (w_n^H U_m w_n) for m other than n, and
//! v_n = 1 - (w_n^H U_n w_n)^(-1/2): the exact minimum along w_n. Nothing is inverted.

use super::{Bin, SpatialUpdate, Step, one_step};
use crate::matrix::{C64, ZERO};

/// Iterative source steering along one output at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Iss1;

impl SpatialUpdate for Iss1 {
    fn steps(&self, n_sources: usize, n_channels: usize) -> Vec<Step> {
        one_step(n_sources, n_channels)
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        let m = bin.n_channels;
        let mut v = vec![ZERO; m];
        for &n in &step.outputs {
            for (k, v) in v.iter_mut().enumerate() {
                let power = bin.moment(k, n, n).re;
                let step = if k == n {
                    C64::new(1.0 - 1.0 / power.sqrt(), 0.0)
                } else {
                    bin.moment(k, k, n) / power
                };
                let sound = power > 0.0 && step.re.is_finite() && step.im.is_finite();
                *v = if sound { step } else { ZERO };
            }
            steer(bin, n, &v);
        }
    }
}

/// W <- W - v w_n^H.
fn steer(bin: &mut Bin<'_>, n: usize, v: &[C64]) {
    let m = bin.n_channels;
    let row = bin.row(n).to_vec();
    for (k, v) in v.iter().enumerate() {
        for (w, r) in bin.w[k * m..][..m].iter_mut().zip(&row) {
            *w -= v * r;
        }
    }
}
