//! Iterative projection, one source after the other: Ono 2011; Algorithm 1 of Hasumi et al. 2023.
//!
//! w_n <- (W U_n)^-1 e_n, w_n <- w_n / sqrt(w_n^H U_n w_n): the exact minimum over one row. O(N M^3) for each bin.

use super::{Bin, SpatialUpdate, Step, one_step};
use crate::matrix::{C64, ONE, ZERO, form, multiply, solve};

/// Iterative projection of one row at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ip1;

impl SpatialUpdate for Ip1 {
    fn steps(&self, n_sources: usize, _: usize) -> Vec<Step> {
        one_step(n_sources, n_sources)
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        match bin.n_channels {
            2 => step.outputs.iter().for_each(|&n| project_2(bin, n)),
            3 => step.outputs.iter().for_each(|&n| project_3(bin, n)),
            _ => step.outputs.iter().for_each(|&n| project(bin, n)),
        }
    }
}

/// Row n of any size, by elimination.
fn project(bin: &mut Bin<'_>, n: usize) {
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
    multiply(m, bin.w, bin.u(n), wu);
    row.fill(ZERO);
    row[n] = ONE;
    if !solve(m, wu, 1, row) {
        return;
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

/// Row n of two: the solution is orthogonal to the other row of W U, which has one direction to point in.
fn project_2(bin: &mut Bin<'_>, n: usize) {
    let u: [C64; 4] = fixed(bin.u(n));
    let other: [C64; 2] = times(fixed(bin.row(1 - n)), &u);
    let h = if n == 0 { [other[1], -other[0]] } else { [-other[1], other[0]] };
    put(bin, n, h, &u);
}

/// Row n of three: the cross product of the other rows of W U.
fn project_3(bin: &mut Bin<'_>, n: usize) {
    let u: [C64; 9] = fixed(bin.u(n));
    let (a, b): ([C64; 3], [C64; 3]) =
        (times(fixed(bin.row((n + 1) % 3)), &u), times(fixed(bin.row((n + 2) % 3)), &u));
    let minor = |i: usize, j: usize| a[i] * b[j] - a[j] * b[i];
    put(bin, n, [minor(1, 2), minor(2, 0), minor(0, 1)], &u);
}

/// Row n from h, which is (W U)^-1 e_n times det(W U).
#[inline(always)]
fn put<const M: usize, const SQUARE: usize>(bin: &mut Bin<'_>, n: usize, h: [C64; M], u: &[C64; SQUARE]) {
    let mut uh = [ZERO; M];
    for i in 0..M {
        for j in 0..M {
            uh[i] += u[i * M + j] * h[j];
        }
    }
    let power: f64 = (0..M).map(|i| h[i].re * uh[i].re + h[i].im * uh[i].im).sum();
    let determinant: C64 = (0..M).map(|i| bin.w[n * M + i] * uh[i]).sum();
    // h / det, at unit power: only the phase of the determinant is left
    let scale = 1.0 / (power.sqrt() * determinant.norm_sqr().sqrt());
    if power > 0.0 && scale.is_normal() {
        let turn = determinant * scale;
        for (out, h) in bin.w[n * M..][..M].iter_mut().zip(h) {
            *out = h.conj() * turn;
        }
    }
}

/// The row times the matrix.
#[inline(always)]
fn times<const M: usize, const SQUARE: usize>(row: [C64; M], u: &[C64; SQUARE]) -> [C64; M] {
    let mut out = [ZERO; M];
    for i in 0..M {
        for j in 0..M {
            out[j] += row[i] * u[i * M + j];
        }
    }
    out
}

/// The first numbers.
#[inline(always)]
fn fixed<const N: usize>(x: &[C64]) -> [C64; N] {
    let mut out = [ZERO; N];
    out.copy_from_slice(&x[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn two_and_three_channels_give_what_elimination_gives() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut number = || rng.next_u64() as f64 / u64::MAX as f64 - 0.5;
        for m in [2, 3] {
            for _ in 0..20 {
                let mut random =
                    |n: usize| -> Vec<C64> { (0..n).map(|_| C64::new(number(), number())).collect() };
                let w = random(m * m);
                let a = random(m * m);
                let mut u = vec![ZERO; m * m * m];
                for (n, u) in u.chunks_exact_mut(m * m).enumerate() {
                    for i in 0..m {
                        for j in 0..m {
                            let loading = if i == j { 0.1 * (n + 1) as f64 } else { 0.0 };
                            let sum: C64 = (0..m).map(|k| a[i * m + k] * a[j * m + k].conj()).sum();
                            u[i * m + j] = sum + loading;
                        }
                    }
                }
                let (mut by_formula, mut by_elimination) = (w.clone(), w);
                let outputs: Vec<usize> = (0..m).collect();
                let step = Step { outputs: outputs.clone(), needs: outputs.clone(), fresh_weights: true };
                let covariance = &u[..m * m];
                let mut bin = Bin { w: &mut by_formula, u: &u, covariance, n_sources: m, n_channels: m };
                Ip1.apply(&step, &mut bin);
                bin.w = &mut by_elimination;
                outputs.iter().for_each(|&n| project(&mut bin, n));
                for (x, y) in by_formula.iter().zip(&by_elimination) {
                    assert!((x - y).norm() < 1e-10 * (1.0 + y.norm()), "{m}: {x} instead of {y}");
                }
            }
        }
    }

    #[test]
    fn a_bin_without_power_is_left_as_it_was() {
        for m in [2, 3, 4] {
            let u = vec![ZERO; m * m * m];
            let before: Vec<C64> =
                (0..m * m).map(|i| C64::new((i % (m + 1) == 0) as u8 as f64, 0.0)).collect();
            let mut w = before.clone();
            let outputs: Vec<usize> = (0..m).collect();
            let step = Step { outputs: outputs.clone(), needs: outputs, fresh_weights: true };
            let mut bin = Bin { w: &mut w, u: &u, covariance: &u[..m * m], n_sources: m, n_channels: m };
            Ip1.apply(&step, &mut bin);
            assert_eq!(w, before);
        }
    }
}
