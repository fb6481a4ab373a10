//! Iterative source steering by pairs: Ikeshita and Nakatani 2022.
//!
//! For the pair (a, b) with outputs y_a, y_b: the other rows lose their part along both,
//! W_m <- W_m - c_m [w_a^H; w_b^H] with c_m = [g_ma g_mb] G_m^-1 for the 2 x 2 weighted covariance G_m of (y_a, y_b)
//! under xi_m; the pair itself becomes H^H (y_a, y_b) with the generalised eigenvectors of (G_a, G_b), the smaller
//! eigenvalue for a.

use super::{Bin, Pairs, SpatialUpdate, Step};
use crate::matrix::{C64, generalized_eigenvectors, normalized};

/// Iterative source steering along two outputs at a time.
#[derive(Clone, Copy, Debug)]
pub struct Iss2 {
    /// Which outputs.
    pub pairs: Pairs,
}

impl SpatialUpdate for Iss2 {
    fn steps(&self, n_sources: usize, n_channels: usize) -> Vec<Step> {
        if n_channels == 1 {
            return super::one_step(1, 1);
        }
        let step =
            |(a, b)| Step { outputs: vec![a, b], needs: (0..n_sources).collect(), fresh_weights: false };
        self.pairs.of(n_channels).into_iter().map(step).collect()
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        let &[a, b] = &step.outputs[..] else {
            return super::Iss1.apply(step, bin);
        };
        let m = bin.n_channels;
        let (row_a, row_b) = (bin.row(a).to_vec(), bin.row(b).to_vec());
        for n in (0..m).filter(|&n| n != a && n != b) {
            let g = pair_moments(bin, n, a, b);
            let (to_a, to_b) = (bin.moment(n, n, a), bin.moment(n, n, b));
            let det = (g[0] * g[3] - g[1] * g[2]).re;
            let c = [(to_a * g[3] - to_b * g[2]) / det, (to_b * g[0] - to_a * g[1]) / det];
            if det > 0.0 && c.iter().all(|c| c.re.is_finite() && c.im.is_finite()) {
                for k in 0..m {
                    bin.w[n * m + k] -= c[0] * row_a[k] + c[1] * row_b[k];
                }
            }
        }
        let (g_a, g_b) = (pair_moments(bin, a, a, b), pair_moments(bin, b, a, b));
        // the cost of a row h^H (y_a, y_b) is h^H G h
        let Some((h_a, h_b)) = generalized_eigenvectors(g_a, g_b) else { return };
        let (Some(h_a), Some(h_b)) = (normalized(h_a, &g_a), normalized(h_b, &g_b)) else { return };
        for k in 0..m {
            bin.w[a * m + k] = h_a[0].conj() * row_a[k] + h_a[1].conj() * row_b[k];
            bin.w[b * m + k] = h_b[0].conj() * row_a[k] + h_b[1].conj() * row_b[k];
        }
    }
}

/// mean of [y_a; y_b] [y_a; y_b]^H / xi_n.
fn pair_moments(bin: &Bin<'_>, n: usize, a: usize, b: usize) -> [C64; 4] {
    let cross = bin.moment(n, a, b);
    let real = |x: C64| C64::new(x.re, 0.0);
    [real(bin.moment(n, a, a)), cross, cross.conj(), real(bin.moment(n, b, b))]
}
