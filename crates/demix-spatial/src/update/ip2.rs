//! Iterative projection of pairs: Ono 2012.
//!
//! For the pair (a, b): P_n = (W U_n)^-1 [e_a e_b], V_n = P_n^H U_n P_n for n = a, b; the generalised eigenvectors
//! V_a h = lambda V_b h give w_a = P_a h_a (larger lambda) and w_b = P_b h_b, normalised to w^H U w = 1: the exact
//! minimum over two rows. For two sources on two microphones one step solves the bin.

use super::{Bin, Pairs, SpatialUpdate, Step};
use crate::matrix::{C64, ONE, Pair, ZERO, generalized_eigenvectors, multiply, normalized, solve};

/// Iterative projection of two rows at a time.
#[derive(Clone, Copy, Debug)]
pub struct Ip2 {
    /// Which rows.
    pub pairs: Pairs,
}

impl SpatialUpdate for Ip2 {
    fn steps(&self, n_sources: usize, _: usize) -> Vec<Step> {
        if n_sources == 1 {
            // one source has no partner
            return super::one_step(1, 1);
        }
        let step = |(a, b)| Step { outputs: vec![a, b], needs: vec![a, b], fresh_weights: true };
        self.pairs.of(n_sources).into_iter().map(step).collect()
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        let &[a, b] = &step.outputs[..] else {
            return super::Ip1.apply(step, bin);
        };
        let m = bin.n_channels;
        let (Some((p_a, v_a)), Some((p_b, v_b))) = (projected(bin, a, a, b), projected(bin, b, a, b)) else {
            return;
        };
        let Some((h_b, h_a)) = generalized_eigenvectors(v_a, v_b) else { return };
        let (Some(h_a), Some(h_b)) = (normalized(h_a, &v_a), normalized(h_b, &v_b)) else { return };
        for (n, p, h) in [(a, p_a, h_a), (b, p_b, h_b)] {
            let row: Vec<C64> = p.chunks_exact(2).map(|p| (p[0] * h[0] + p[1] * h[1]).conj()).collect();
            if row.iter().all(|w| w.re.is_finite() && w.im.is_finite()) {
                bin.w[n * m..][..m].copy_from_slice(&row);
            }
        }
    }
}

/// P_n = (W U_n)^-1 [e_a e_b], (M, 2), and V_n = P_n^H U_n P_n.
fn projected(bin: &Bin<'_>, n: usize, a: usize, b: usize) -> Option<(Vec<C64>, [C64; 4])> {
    let m = bin.n_channels;
    let mut wu = vec![ZERO; m * m];
    multiply(m, bin.w, bin.u(n), &mut wu);
    let mut p = vec![ZERO; 2 * m];
    p[2 * a] = ONE;
    p[2 * b + 1] = ONE;
    if !solve(m, &mut wu, 2, &mut p) {
        return None;
    }
    let u = bin.u(n);
    let mut v = [ZERO; 4];
    for i in 0..m {
        let mut up: Pair = [ZERO; 2];
        for j in 0..m {
            up[0] += u[i * m + j] * p[2 * j];
            up[1] += u[i * m + j] * p[2 * j + 1];
        }
        for r in 0..2 {
            for c in 0..2 {
                v[2 * r + c] += p[2 * i + r].conj() * up[c];
            }
        }
    }
    // exactly Hermitian
    v[0].im = 0.0;
    v[3].im = 0.0;
    v[1] = (v[1] + v[2].conj()) * 0.5;
    v[2] = v[1].conj();
    Some((p, v))
}
