//! Symmetric positive definite block Toeplitz systems by the Schur algorithm.
//!
//! The matrix T has L x L blocks of size R, block (i, j) being `G_{j-i}`, and `T - Z T Z^T` (Z shifts
//! down by a block) has rank 2R: it is `U^T U - V^T V` with
//!
//! ```text
//! U = C^-1 [G_0 G_1 .. G_{L-1}],  G_0 = C C^T,        V = U with its first block zero
//! ```
//!
//! Each step shifts U by a block and turns U and V by hyperbolic rotations so that V's leading block
//! vanishes; U then is the next block row of the Cholesky factor. Kailath, Kung, Morf 1979
//! (displacement ranks); Bojanczyk, Brent, de Hoog, Sweet 1995 (the mixed form of the rotations,
//! which is as stable as Cholesky's method). Cost: about 3 L^2 R^3 operations for the factor in
//! place of (L R)^3 / 3, and (L R)^2 for each solution.

use ndarray::{Array2, Array3};

/// A rotation closer to singular than this is a breakdown: 1 - k^2 of the reflection coefficient.
const BREAKDOWN: f64 = 1e-13;

/// Columns that all rotations of a step pass over at a time, so that they stay in the cache.
const TILE: usize = 64;

/// Solves T h = b for each row b of `rhs`, shape (right sides, L R), in place.
///
/// `blocks` has the shape (L, R, R); the unknowns of a block are next to each other. Returns false,
/// `rhs` undefined, if T is singular to working precision.
#[must_use]
pub(super) fn solve(blocks: &Array3<f64>, rhs: &mut Array2<f64>) -> bool {
    let (n_blocks, size, _) = blocks.dim();
    let Some(mut generator) = Generator::new(blocks) else { return false };
    let mut factor: Vec<Array2<f64>> = Vec::with_capacity(n_blocks);
    for step in 0..n_blocks {
        if step > 0 && !generator.step(step) {
            return false;
        }
        let row = generator.block_row(step);
        forward_substitute(&row, step * size, rhs);
        factor.push(row);
    }
    for (step, row) in factor.iter().enumerate().rev() {
        back_substitute(row, step * size, rhs);
    }
    true
}

struct Generator {
    size: usize,
    /// Rows of U, unshifted: in step i, entry x stands at column x + i R.
    u: Vec<Vec<f64>>,
    v: Vec<Vec<f64>>,
}

/// `[u, v] <- [(u - k v) / s, s v - k u']`, s^2 = 1 - k^2.
#[derive(Clone, Copy)]
struct Rotation {
    u: usize,
    v: usize,
    k: f64,
    s: f64,
}

impl Generator {
    fn new(blocks: &Array3<f64>) -> Option<Self> {
        let (n_blocks, size, _) = blocks.dim();
        let mut c = Array2::<f64>::zeros((size, size));
        for i in 0..size {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| c[[i, k]] * c[[j, k]]).sum();
                let rest = blocks[[0, i, j]] - known;
                if i == j && rest <= BREAKDOWN * blocks[[0, i, i]] {
                    return None;
                }
                c[[i, j]] = if i == j { rest.sqrt() } else { rest / c[[j, j]] };
            }
        }
        let mut u: Vec<Vec<f64>> = Vec::with_capacity(size);
        for row in 0..size {
            let mut next: Vec<f64> =
                (0..n_blocks * size).map(|x| blocks[[x / size, row, x % size]]).collect();
            for (before, u) in u.iter().enumerate() {
                next.iter_mut().zip(u).for_each(|(x, u)| *x -= c[[row, before]] * u);
            }
            next.iter_mut().for_each(|x| *x /= c[[row, row]]);
            next[..row].fill(0.0);
            u.push(next);
        }
        let mut v = u.clone();
        v.iter_mut().for_each(|v| v[..size].fill(0.0));
        Some(Self { size, u, v })
    }

    /// Shifts and rotates: the leading block of V vanishes.
    fn step(&mut self, step: usize) -> bool {
        let (size, shift) = (self.size, step * self.size);
        let length = self.v[0].len() - shift;
        let mut rotations = Vec::with_capacity(size * size);
        for column in 0..size {
            for v in 0..size {
                let k = self.v[v][shift + column] / self.u[column][column];
                let square = (1.0 - k) * (1.0 + k);
                if square <= BREAKDOWN || square.is_nan() {
                    return false;
                }
                let s = square.sqrt();
                let rotation = Rotation { u: column, v, k, s };
                self.rotate(rotation, shift, 0, size);
                self.v[v][shift + column] = 0.0;
                rotations.push(rotation);
            }
        }
        for start in (size..length).step_by(TILE) {
            for &rotation in &rotations {
                self.rotate(rotation, shift, start, TILE.min(length - start));
            }
        }
        true
    }

    fn rotate(&mut self, Rotation { u, v, k, s }: Rotation, shift: usize, start: usize, length: usize) {
        let u = &mut self.u[u][start..start + length];
        let v = &mut self.v[v][shift + start..shift + start + length];
        let inverse = 1.0 / s;
        for (u, v) in u.iter_mut().zip(v) {
            *u = (*u - k * *v) * inverse;
            *v = s * *v - k * *u;
        }
    }

    /// Block row `step` of the Cholesky factor, from the diagonal on.
    fn block_row(&self, step: usize) -> Array2<f64> {
        let length = self.u[0].len() - step * self.size;
        Array2::from_shape_fn((self.size, length), |(row, x)| self.u[row][x])
    }
}

fn forward_substitute(row: &Array2<f64>, start: usize, rhs: &mut Array2<f64>) {
    for mut b in rhs.rows_mut() {
        let b = &mut b.as_slice_mut().expect("rows are contiguous")[start..];
        for (r, row) in row.rows().into_iter().enumerate() {
            let row = row.to_slice().expect("rows are contiguous");
            let y = b[r] / row[r];
            b[r] = y;
            b[r + 1..].iter_mut().zip(&row[r + 1..]).for_each(|(b, x)| *b -= y * x);
        }
    }
}

fn back_substitute(row: &Array2<f64>, start: usize, rhs: &mut Array2<f64>) {
    for mut h in rhs.rows_mut() {
        let h = &mut h.as_slice_mut().expect("rows are contiguous")[start..];
        for (r, row) in row.rows().into_iter().enumerate().rev() {
            let row = row.to_slice().expect("rows are contiguous");
            h[r] = (h[r] - dot(&row[r + 1..], &h[r + 1..])) / row[r];
        }
    }
}

/// Inner product with eight sums side by side.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (x, y) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = x.remainder().iter().zip(y.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in x.zip(y) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use ndarray::Array1;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Correlations of `size` noises that share a part, unit diagonal.
    pub fn correlations(n_blocks: usize, size: usize, seed: u64) -> Array3<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut noise = || Array1::from_shape_fn(300, |_| rng.random_range(-1.0..1.0));
        let common: Array1<f64> = noise();
        let signals: Vec<Array1<f64>> = (0..size)
            .map(|_| {
                let x: Array1<f64> = noise() + 0.5 * &common;
                let norm = x.dot(&x).sqrt();
                x / norm
            })
            .collect();
        Array3::from_shape_fn((n_blocks, size, size), |(lag, a, b)| {
            (lag..300).map(|t| signals[a][t] * signals[b][t - lag]).sum()
        })
    }

    pub fn multiply(blocks: &Array3<f64>, h: &Array1<f64>) -> Array1<f64> {
        let (n_blocks, size, _) = blocks.dim();
        Array1::from_shape_fn(n_blocks * size, |i| {
            (0..n_blocks * size)
                .map(|j| {
                    let (low, high) = if i / size <= j / size { (i, j) } else { (j, i) };
                    h[j] * blocks[[high / size - low / size, low % size, high % size]]
                })
                .sum()
        })
    }

    #[test]
    fn solves_what_a_product_made() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for (n_blocks, size) in [(1, 1), (1, 3), (9, 1), (2, 2), (40, 2), (17, 5), (100, 3)] {
            let blocks = correlations(n_blocks, size, 3);
            let expected = Array2::from_shape_fn((3, n_blocks * size), |_| rng.random_range(-1.0..1.0));
            let mut h = expected.clone();
            for mut row in h.rows_mut() {
                let product = multiply(&blocks, &row.to_owned());
                row.assign(&product);
            }
            assert!(solve(&blocks, &mut h));
            let worst = (&h - &expected).iter().fold(0.0f64, |worst, x| worst.max(x.abs()));
            // condition number below 100, 300 unknowns: 100 * 300 * 1e-16
            assert!(worst < 3e-12, "{n_blocks} blocks of {size}: {worst:e}");
        }
    }

    #[test]
    fn says_when_the_matrix_is_singular() {
        let one = correlations(20, 1, 3);
        let twice = Array3::from_shape_fn((20, 2, 2), |(lag, _, _)| one[[lag, 0, 0]]);
        assert!(!solve(&twice, &mut Array2::ones((1, 40))));
        let constant = Array3::ones((20, 1, 1));
        assert!(!solve(&constant, &mut Array2::ones((1, 20))));
    }
}
