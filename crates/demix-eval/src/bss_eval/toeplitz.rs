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

use ndarray::{Array2, Array3, Axis};

/// A delayed reference with less than this share of its energy outside the span of those before it
/// is a breakdown: rounding, 1e-16 times some hundred steps, would reach into the result.
const BREAKDOWN: f64 = 1e-10;

/// The first load of the diagonal that is tried then, and the factor to the next.
const LOAD: f64 = 1e-10;
const NEXT_LOAD: f64 = 10.0;

/// Columns that all rotations of a step pass over at a time, so that they stay in the cache.
const TILE: usize = 64;

/// Solves T h = b for each row b of `rhs`, shape (right sides, L R), in place, with T of unit diagonal.
///
/// `blocks` has the shape (L, R, R); the unknowns of a block are next to each other. Where T is
/// singular to working precision, T + load I is solved (Tikhonov 1963): directions without energy
/// get small unknowns. Returns the load, 0 in all other cases; |T^(1/2) (h - h_load)|^2 is at most
/// load |h|^2 / 4.
pub(super) fn solve(blocks: &Array3<f64>, rhs: &mut Array2<f64>) -> f64 {
    let mut solution = rhs.clone();
    if try_solve(blocks, &mut solution, BREAKDOWN) {
        rhs.assign(&solution);
        return 0.0;
    }
    let mut load = LOAD;
    loop {
        let mut loaded = blocks.clone();
        loaded.index_axis_mut(Axis(0), 0).diag_mut().mapv_inplace(|x| x + load);
        solution.assign(rhs);
        // pivots of the loaded matrix lie above the load, but for rounding
        if try_solve(&loaded, &mut solution, load / 2.0) {
            rhs.assign(&solution);
            return load;
        }
        load *= NEXT_LOAD;
    }
}

/// False, and `rhs` undefined, if a pivot is not above `floor`.
fn try_solve(blocks: &Array3<f64>, rhs: &mut Array2<f64>, floor: f64) -> bool {
    let (n_blocks, size, _) = blocks.dim();
    let Some(mut generator) = Generator::new(blocks, floor) else { return false };
    let mut factor: Vec<Array2<f64>> = Vec::with_capacity(n_blocks);
    for step in 0..n_blocks {
        if step > 0 && !generator.step(step, floor) {
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
    fn new(blocks: &Array3<f64>, floor: f64) -> Option<Self> {
        let (n_blocks, size, _) = blocks.dim();
        let mut c = Array2::<f64>::zeros((size, size));
        for i in 0..size {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| c[[i, k]] * c[[j, k]]).sum();
                let rest = blocks[[0, i, j]] - known;
                if i == j && rest <= floor {
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
    fn step(&mut self, step: usize, floor: f64) -> bool {
        let (size, shift) = (self.size, step * self.size);
        let length = self.v[0].len() - shift;
        let mut rotations = Vec::with_capacity(size * size);
        for column in 0..size {
            for v in 0..size {
                let k = self.v[v][shift + column] / self.u[column][column];
                let square = (1.0 - k) * (1.0 + k);
                let pivot = square * self.u[column][column].powi(2);
                if pivot <= floor || pivot.is_nan() {
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
mod tests {
    use super::*;
    use ndarray::Array1;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Correlations of `size` noises that share a part, unit diagonal.
    fn correlations(n_blocks: usize, size: usize, seed: u64) -> Array3<f64> {
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

    fn multiply(blocks: &Array3<f64>, h: &Array1<f64>) -> Array1<f64> {
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
            assert_eq!(solve(&blocks, &mut h), 0.0);
            let worst = (&h - &expected).iter().fold(0.0f64, |worst, x| worst.max(x.abs()));
            // condition number below 100, 300 unknowns: 100 * 300 * 1e-16
            assert!(worst < 3e-12, "{n_blocks} blocks of {size}: {worst:e}");
        }
    }

    #[test]
    fn singular_systems_are_solved_with_small_unknowns() {
        let two = correlations(50, 2, 9);
        // the third signal is the first again
        let copied = Array3::from_shape_fn((50, 3, 3), |(lag, a, b)| two[[lag, a % 2, b % 2]]);
        let constant = Array3::ones((50, 1, 1));
        for blocks in [copied, constant] {
            let n = 50 * blocks.dim().1;
            let truth = Array1::from_shape_fn(n, |x| (x % 11) as f64 - 5.0);
            let b = multiply(&blocks, &truth);
            let mut h = b.clone().insert_axis(Axis(0));
            let load = solve(&blocks, &mut h);
            let h = h.row(0).to_owned();
            assert!(load > 0.0);
            assert!(h.dot(&h) <= truth.dot(&truth) * (1.0 + 1e-6), "{}", h.dot(&h));
            let error = &h - &truth;
            let excess = error.dot(&multiply(&blocks, &error));
            assert!(excess <= load * truth.dot(&truth), "{load:e} {excess:e}");
        }
    }
}
