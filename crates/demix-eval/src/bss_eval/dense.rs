//! Block Toeplitz systems that are singular to working precision: Cholesky's method on the whole
//! matrix, passing over dependent unknowns.
//!
//! A delayed reference that depends on those before it (its pivot is below [`DEPENDENT`] of its
//! energy) adds nothing to their span: its pivot is zero and its unknown is 0. Cost (L R)^3 / 3.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, Array3, Axis, Slice};

/// Share of its energy that a delayed reference must have outside the span of those before it.
/// Pivots are known to about (L R) 1e-16 = 4e-13 of the unit diagonal, for 4096 unknowns.
const DEPENDENT: f64 = 1e-12;

/// Columns that are eliminated together.
const PANEL: usize = 64;

/// Solves T h = b for each row b of `rhs`, shape (right sides, L R), in place, with T of unit
/// diagonal. `blocks` as in [`super::toeplitz::solve`].
pub(super) fn solve(blocks: &Array3<f64>, rhs: &mut Array2<f64>) {
    let factor = factorise(full_matrix(blocks));
    let n = factor.nrows();
    for mut h in rhs.rows_mut() {
        for i in 0..n {
            let known = factor
                .row(i)
                .slice_axis(Axis(0), Slice::from(..i))
                .dot(&h.slice_axis(Axis(0), Slice::from(..i)));
            h[i] = if factor[[i, i]] > 0.0 { (h[i] - known) / factor[[i, i]] } else { 0.0 };
        }
        for i in (0..n).rev() {
            h[i] = if factor[[i, i]] > 0.0 { h[i] / factor[[i, i]] } else { 0.0 };
            let x = h[i];
            for j in 0..i {
                h[j] -= x * factor[[i, j]];
            }
        }
    }
}

fn full_matrix(blocks: &Array3<f64>) -> Array2<f64> {
    let (n_blocks, size, _) = blocks.dim();
    Array2::from_shape_fn((n_blocks * size, n_blocks * size), |(i, j)| {
        let (i, j) = if i / size <= j / size { (i, j) } else { (j, i) };
        blocks[[j / size - i / size, i % size, j % size]]
    })
}

/// The lower factor, column by column from the left; what stands above the diagonal is left over.
fn factorise(mut a: Array2<f64>) -> Array2<f64> {
    let n = a.nrows();
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        let (done, mut todo) = a.view_mut().split_at(Axis(1), start);
        let mut panel = todo.slice_axis_mut(Axis(0), Slice::from(start..));
        let mut panel = panel.slice_axis_mut(Axis(1), Slice::from(..end - start));
        let done = done.slice_axis(Axis(0), Slice::from(start..));
        let top = done.slice_axis(Axis(0), Slice::from(..end - start));
        general_mat_mul(-1.0, &done, &top.t(), 1.0, &mut panel);

        for j in 0..end - start {
            let known: f64 = (0..j).map(|k| panel[[j, k]] * panel[[j, k]]).sum();
            let pivot = panel[[j, j]] - known;
            let diagonal = if pivot > DEPENDENT { pivot.sqrt() } else { 0.0 };
            panel[[j, j]] = diagonal;
            for i in j + 1..n - start {
                let known: f64 = (0..j).map(|k| panel[[i, k]] * panel[[j, k]]).sum();
                panel[[i, j]] = if diagonal > 0.0 { (panel[[i, j]] - known) / diagonal } else { 0.0 };
            }
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::toeplitz::tests::{correlations, multiply};
    use super::*;

    #[test]
    fn equals_the_schur_algorithm() {
        for (n_blocks, size) in [(1, 1), (7, 3), (64, 1), (65, 2), (100, 3)] {
            let blocks = correlations(n_blocks, size, 5);
            let mut expected =
                Array2::from_shape_fn((2, n_blocks * size), |(q, x)| (x * (q + 1)) as f64 % 7.0 - 3.0);
            let mut h = expected.clone();
            assert!(super::super::toeplitz::solve(&blocks, &mut expected));
            solve(&blocks, &mut h);
            let worst = (&h - &expected).iter().fold(0.0f64, |worst, x| worst.max(x.abs()));
            // solutions below 100, condition number below 100, 300 unknowns
            assert!(worst < 3e-10, "{n_blocks} blocks of {size}: {worst:e}");
        }
    }

    #[test]
    fn solves_what_can_be_solved_of_a_singular_system() {
        // the third signal is the first again
        let two = correlations(50, 2, 9);
        let three = Array3::from_shape_fn((50, 3, 3), |(lag, a, b)| two[[lag, a % 2, b % 2]]);
        let truth = ndarray::Array1::from_shape_fn(150, |x| (x % 11) as f64 - 5.0);
        let b = multiply(&three, &truth);
        let mut h = b.clone().insert_axis(Axis(0));
        solve(&three, &mut h);
        let back = multiply(&three, &h.row(0).to_owned());
        let worst = (&back - &b).iter().fold(0.0f64, |worst, x| worst.max(x.abs()));
        assert!(worst < 1e-10, "{worst:e}"); // as above
    }
}
