//! Iterative projection with adjustment: Scheibler 2021 ("Independent vector analysis via log-quadratically
//! penalized quadratic minimization"); derived here in the coordinates of the outputs.
//!
//! For output k, row k becomes u^H y, and every other row m becomes y_m + conj(q_m) y_k. With the moments
//! G_m = W U_m W^H, the determinant changes by u^H z, z = e_k - sum_m conj(q_m) e_m (m other than k). Given q, the best u
//! is G_k^-1 z / sqrt(z^H G_k^-1 z), and what remains is to minimise over p = conj(q)
//!
//! sum_m d_m |p_m + g_m|^2 - log(z^H G_k^-1 z),   d_m = (G_m)_kk, g_m = (G_m)_mk / d_m.
//!
//! The quadratic form in z is a constant plus (p - c)^H C (p - c). With s = sqrt(d) (p - c), Phi the eigenvalues of
//! d^(-1/2) C d^(-1/2) and h = sqrt(d) (-g - c) in their basis, a stationary point has s = lambda h / (lambda - Phi) with
//! lambda = lambda^2 sum Phi |h|^2 / (lambda - Phi)^2 + constant; the global minimum is the root above all Phi, where
//! the right side falls and the left rises.

use super::{Bin, SpatialUpdate, Step, one_step};
use crate::matrix::{C64, ONE, ZERO, hermitian_eigen, solve};

/// One row at a time, and all others along it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ipa;

impl SpatialUpdate for Ipa {
    fn steps(&self, n_sources: usize, n_channels: usize) -> Vec<Step> {
        one_step(n_sources, n_channels)
    }

    fn apply(&self, step: &Step, bin: &mut Bin<'_>) {
        for &k in &step.outputs {
            if let Some(next) = adjusted(bin, k) {
                bin.w.copy_from_slice(&next);
            }
        }
    }
}

/// W after the step for output k; nothing where the bin is singular.
fn adjusted(bin: &Bin<'_>, k: usize) -> Option<Vec<C64>> {
    let m = bin.n_channels;
    let others: Vec<usize> = (0..m).filter(|&n| n != k).collect();
    // B = G_k^-1, Hermitian
    let mut moments = vec![ZERO; m * m];
    for a in 0..m {
        for b in 0..m {
            moments[a * m + b] = bin.moment(k, a, b);
        }
    }
    let mut b = vec![ZERO; m * m];
    crate::matrix::set_identity(m, &mut b);
    if !solve(m, &mut moments, m, &mut b) {
        return None;
    }
    let size = others.len();
    let d: Vec<f64> = others.iter().map(|&n| bin.moment(n, k, k).re).collect();
    if d.iter().any(|d| !(*d > 0.0 && d.is_finite())) {
        return None;
    }
    let g: Vec<C64> = others.iter().zip(&d).map(|(&n, d)| bin.moment(n, n, k) / d).collect();
    // z = e_k - p on the others: z^H B z = B_kk - 2 Re(p^H B_ok) + p^H C p = constant + (p - c)^H C (p - c), C c = B_ok
    let mut c_matrix = vec![ZERO; size * size];
    let mut centre = vec![ZERO; size];
    for (r, &i) in others.iter().enumerate() {
        centre[r] = b[i * m + k];
        for (s, &j) in others.iter().enumerate() {
            c_matrix[r * size + s] = b[i * m + j];
        }
    }
    let b_ok = centre.clone();
    if size > 0 && !solve(size, &mut c_matrix.clone(), 1, &mut centre) {
        return None;
    }
    let constant = b[k * m + k].re - b_ok.iter().zip(&centre).map(|(b, c)| (b.conj() * c).re).sum::<f64>();
    let scaled: Vec<C64> =
        (0..size * size).map(|at| c_matrix[at] / (d[at / size] * d[at % size]).sqrt()).collect();
    let (phi, vectors) = if size > 0 { hermitian_eigen(size, &scaled) } else { (Vec::new(), Vec::new()) };
    let offset: Vec<C64> = (0..size).map(|r| (-g[r] - centre[r]) * d[r].sqrt()).collect();
    let h: Vec<C64> =
        (0..size).map(|e| (0..size).map(|r| vectors[r * size + e].conj() * offset[r]).sum()).collect();
    let lambda = largest_root(&phi, &h, constant.max(0.0))?;
    let s: Vec<C64> = (0..size).map(|e| h[e] * (lambda / (lambda - phi[e]))).collect();
    let p: Vec<C64> = (0..size)
        .map(|r| (0..size).map(|e| vectors[r * size + e] * s[e]).sum::<C64>() / d[r].sqrt() + centre[r])
        .collect();
    // u = B z / sqrt(z^H B z)
    let mut z = vec![ZERO; m];
    z[k] = ONE;
    others.iter().zip(&p).for_each(|(&n, p)| z[n] = -p);
    let u: Vec<C64> = (0..m).map(|i| (0..m).map(|j| b[i * m + j] * z[j]).sum()).collect();
    let power: f64 = z.iter().zip(&u).map(|(z, u)| (z.conj() * u).re).sum();
    if !(power > 0.0 && power.is_finite()) {
        return None;
    }
    let mut next = bin.w.to_vec();
    for c in 0..m {
        let row_k: C64 = (0..m).map(|n| u[n].conj() * bin.w[n * m + c]).sum();
        next[k * m + c] = row_k / power.sqrt();
        for (&n, p) in others.iter().zip(&p) {
            next[n * m + c] = bin.w[n * m + c] + p * bin.w[k * m + c];
        }
    }
    next.iter().all(|w| w.re.is_finite() && w.im.is_finite()).then_some(next)
}

/// The root of lambda = lambda^2 sum phi |h|^2 / (lambda - phi)^2 + constant above all phi.
fn largest_root(phi: &[f64], h: &[C64], constant: f64) -> Option<f64> {
    let most = phi.iter().copied().fold(0.0, f64::max);
    let excess = |lambda: f64| {
        let sum: f64 =
            phi.iter().zip(h).map(|(phi, h)| phi * h.norm_sqr() * (lambda / (lambda - phi)).powi(2)).sum();
        sum + constant - lambda
    };
    let (mut low, mut high) = (most * (1.0 + 1e-14), (most + constant).max(f64::MIN_POSITIVE) * 2.0);
    let mut doublings = 0;
    while excess(high) > 0.0 {
        high *= 2.0;
        doublings += 1;
        if doublings > 1000 || !high.is_finite() {
            return None;
        }
    }
    if excess(low) <= 0.0 {
        return Some(low.max(f64::MIN_POSITIVE));
    }
    // bisection in the logarithm near the pole, then plainly: 200 halvings reach the last digit
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if excess(middle) > 0.0 { low = middle } else { high = middle }
    }
    Some(0.5 * (low + high))
}
