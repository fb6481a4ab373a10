//! Projections with a handful of unknowns: a dense Cholesky factor that passes over dependent rows.

use ndarray::{Array1, Array2, ArrayView1};

/// Lower triangular factor of a positive semidefinite matrix, G = C C^T.
///
/// A row that depends on the rows above it (its pivot is below `tolerance` times its diagonal) gets
/// a zero pivot: it adds nothing to the span, and its unknown is 0.
pub(crate) struct Factor {
    c: Array2<f64>,
}

impl Factor {
    pub fn new(gram: &Array2<f64>, tolerance: f64) -> Self {
        let n = gram.nrows();
        let mut c = Array2::<f64>::zeros((n, n));
        for i in 0..n {
            for j in 0..i {
                if c[[j, j]] > 0.0 {
                    let known: f64 = (0..j).map(|k| c[[i, k]] * c[[j, k]]).sum();
                    c[[i, j]] = (gram[[i, j]] - known) / c[[j, j]];
                }
            }
            let pivot = gram[[i, i]] - (0..i).map(|k| c[[i, k]] * c[[i, k]]).sum::<f64>();
            c[[i, i]] = if pivot > tolerance * gram[[i, i]] { pivot.sqrt() } else { 0.0 };
        }
        Self { c }
    }

    /// The rows that do not depend on rows above them.
    pub fn independent(&self) -> impl Iterator<Item = usize> {
        self.c.diag().into_iter().enumerate().filter(|(_, pivot)| **pivot > 0.0).map(|(row, _)| row)
    }

    /// The weights h of the projection: G h = b.
    pub fn solve(&self, b: ArrayView1<'_, f64>) -> Array1<f64> {
        let (c, n) = (&self.c, b.len());
        let mut h = b.to_owned();
        for i in 0..n {
            let known: f64 = (0..i).map(|k| c[[i, k]] * h[k]).sum();
            h[i] = if c[[i, i]] > 0.0 { (h[i] - known) / c[[i, i]] } else { 0.0 };
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|k| c[[k, i]] * h[k]).sum();
            h[i] = if c[[i, i]] > 0.0 { (h[i] - known) / c[[i, i]] } else { 0.0 };
        }
        h
    }
}
