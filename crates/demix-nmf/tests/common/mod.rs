//! What the tests of the factorisation share: seeded matrices and the formulas by the book.

#![allow(dead_code)] // every test file takes what it needs

use demix_nmf::{Acceleration, Divergence, NmfSettings, Scalar};
use ndarray::Array2;

pub const BETAS: [f64; 7] = [-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0];

/// Deterministic numbers in (0, 1).
pub fn uniform(rows: usize, columns: usize, seed: u64) -> Array2<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Array2::from_shape_simple_fn((rows, columns), || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    })
}

/// Sparse factors times exponential noise: as ragged as a spectrogram.
pub fn spectrogram(bins: usize, frames: usize, rank: usize, seed: u64) -> Array2<f64> {
    let cube = |x: f64| x * x * x;
    let model = uniform(bins, rank, seed).mapv(cube).dot(&uniform(rank, frames, seed + 1).mapv(cube));
    model * uniform(bins, frames, seed + 2).mapv(|u| -u.ln()) + 1e-6
}

pub fn settings(beta: f64, components: usize, iterations: usize) -> NmfSettings {
    NmfSettings { beta, components, iterations, tolerance: 0.0, ..NmfSettings::default() }
}

pub fn plain(beta: f64, components: usize, iterations: usize) -> NmfSettings {
    NmfSettings { acceleration: Acceleration::None, ..settings(beta, components, iterations) }
}

pub fn doubles<T: Scalar>(x: &Array2<T>) -> Array2<f64> {
    x.mapv(|x| x.to_double())
}

pub fn singles(x: &Array2<f64>) -> Array2<f32> {
    x.mapv(|x| x as f32)
}

/// sum d(V|WH) by the definition; the model is floored at the given share of the largest entry of V, and so
/// is V where b <= 0.
pub fn cost(v: &Array2<f64>, w: &Array2<f64>, h: &Array2<f64>, beta: f64, share: f64) -> f64 {
    let floor = share * v.iter().fold(0.0f64, |m, &x| m.max(x));
    let divergence = Divergence::new(beta);
    let x = |v: f64| if beta <= 0.0 { v.max(floor) } else { v };
    let y = |r: f64| if beta == 2.0 { r } else { r.max(floor) };
    v.iter().zip(&w.dot(h)).map(|(&v, &r)| divergence.of(x(v), y(r))).sum()
}

/// The gradient of the cost to H, in its two parts W^T R^(b-1) and W^T (V R^(b-2)).
pub fn gradient(v: &Array2<f64>, w: &Array2<f64>, h: &Array2<f64>, beta: f64) -> (Array2<f64>, Array2<f64>) {
    let r = w.dot(h);
    (w.t().dot(&r.mapv(|r| r.powf(beta - 1.0))), w.t().dot(&(v * &r.mapv(|r| r.powf(beta - 2.0)))))
}

/// How far H is from stationary: the largest of |h (pos - neg)| and of what the gradient lacks to be >= 0 at
/// h = 0, relative to h neg and to neg.
pub fn stationarity(v: &Array2<f64>, w: &Array2<f64>, h: &Array2<f64>, beta: f64) -> f64 {
    let (pos, neg) = gradient(v, w, h, beta);
    let scale = (h * &neg).iter().fold(0.0f64, |m, &x| m.max(x));
    let mut worst = 0.0f64;
    for ((&h, &pos), &neg) in h.iter().zip(&pos).zip(&neg) {
        worst = worst.max((h * (pos - neg)).abs() / scale);
        if h < 1e-12 {
            worst = worst.max((neg - pos) / neg.max(pos).max(1e-300) * 1e-3);
        }
    }
    worst
}
