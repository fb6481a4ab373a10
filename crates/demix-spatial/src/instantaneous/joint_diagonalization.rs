//! Approximate joint diagonalisation of symmetric matrices by one rotation.
//!
//! Jacobi's method for several matrices (Cardoso and Souloumiac 1996, section 2): for each pair (p, q) the rotation
//! that makes sum_n of squared off-diagonal entries smallest is known in closed form from
//! `h_n = [M_n[p,p] - M_n[q,q], 2 M_n[p,q]]`. One sweep takes every pair once; N^2 K N operations for K matrices.

use demix_signal::{Cancelled, Progress, Watch};
use nalgebra::DMatrix;

use super::{STAGE, Stopped};

demix_signal::settings! {
    /// Jacobi's rotations.
    pub struct JacobiSettings {
        /// Sweeps over all pairs at the most.
        pub iterations: usize = 100, range 0.0 ..= 1000000.0;
        /// Stop when no rotation of a sweep has an angle above this.
        pub tolerance: f64 = 1e-8, unit "rad", range 0.0 ..= 1.0;
    }
}

/// The rotation U and what it leaves.
#[derive(Clone, Debug)]
pub struct JointDiagonalization {
    /// U, (n, n), orthogonal: U M_n U^T is as diagonal as all of them together can be.
    pub rotation: DMatrix<f64>,
    /// U M_n U^T.
    pub matrices: Vec<DMatrix<f64>>,
    /// Sum of squared off-diagonal entries before the first and after every sweep.
    pub cost: Vec<f64>,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Diagonalises all `matrices`, symmetric and of shape (n, n), by one rotation.
///
/// # Errors
/// Only that `watch` ends it.
pub fn jointly_diagonalize(
    matrices: &[DMatrix<f64>],
    n: usize,
    settings: &JacobiSettings,
    watch: &mut dyn Watch,
) -> Result<JointDiagonalization, Cancelled> {
    let mut m = matrices.to_vec();
    let mut rotation = DMatrix::identity(n, n);
    let mut cost = vec![off_diagonal(&m)];
    let mut stopped = Stopped::Iterations;
    for sweep in 0..settings.iterations {
        let mut largest = 0.0f64;
        for p in 0..n {
            for q in p + 1..n {
                let angle = best_angle(&m, p, q);
                largest = largest.max(angle.abs());
                let (sin, cos) = angle.sin_cos();
                rotate_rows(&mut rotation, p, q, cos, sin);
                for m in &mut m {
                    rotate_rows(m, p, q, cos, sin);
                    rotate_columns(m, p, q, cos, sin);
                }
            }
        }
        cost.push(off_diagonal(&m));
        watch.progress(Progress {
            stage: STAGE,
            done: sweep + 1,
            total: settings.iterations,
            cost: cost.last().copied(),
        })?;
        if largest <= settings.tolerance {
            stopped = Stopped::Tolerance;
            break;
        }
    }
    Ok(JointDiagonalization { rotation, matrices: m, cost, stopped })
}

/// The angle within a quarter turn whose rotation of (p, q) leaves the least off the diagonals.
fn best_angle(matrices: &[DMatrix<f64>], p: usize, q: usize) -> f64 {
    let (mut g11, mut g12, mut g22) = (0.0, 0.0, 0.0);
    for m in matrices {
        let (h1, h2) = (m[(p, p)] - m[(q, q)], m[(p, q)] + m[(q, p)]);
        g11 += h1 * h1;
        g12 += h1 * h2;
        g22 += h2 * h2;
    }
    let (on, off) = (g11 - g22, 2.0 * g12);
    // atan2(0, 0) = 0: matrices that are diagonal whatever the angle stay as they are
    0.5 * off.atan2(on + (on * on + off * off).sqrt())
}

fn rotate_rows(m: &mut DMatrix<f64>, p: usize, q: usize, cos: f64, sin: f64) {
    for k in 0..m.ncols() {
        let (a, b) = (m[(p, k)], m[(q, k)]);
        m[(p, k)] = cos * a + sin * b;
        m[(q, k)] = cos * b - sin * a;
    }
}

fn rotate_columns(m: &mut DMatrix<f64>, p: usize, q: usize, cos: f64, sin: f64) {
    for k in 0..m.nrows() {
        let (a, b) = (m[(k, p)], m[(k, q)]);
        m[(k, p)] = cos * a + sin * b;
        m[(k, q)] = cos * b - sin * a;
    }
}

fn off_diagonal(matrices: &[DMatrix<f64>]) -> f64 {
    let off = |m: &DMatrix<f64>| m.norm_squared() - m.diagonal().norm_squared();
    // rounding may leave a little less than nothing
    matrices.iter().map(off).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instantaneous::synthesis::{Random, random_rotation};

    fn settings() -> JacobiSettings {
        JacobiSettings::default()
    }

    #[test]
    fn matrices_with_common_eigenvectors_become_diagonal() {
        for n in [1, 2, 3, 7] {
            let u = random_rotation(n, 3);
            let mut random = Random::new(8);
            let m: Vec<DMatrix<f64>> = (0..5)
                .map(|_| {
                    let d = nalgebra::DVector::from_fn(n, |_, _| random.normal());
                    u.transpose() * DMatrix::from_diagonal(&d) * &u
                })
                .collect();
            let found = jointly_diagonalize(&m, n, &settings(), &mut ()).unwrap();
            assert_eq!(found.stopped, Stopped::Tolerance);
            // products of numbers of about 1
            assert!(*found.cost.last().unwrap() < 1e-24, "{n}: {:?}", found.cost);
            // U undoes u up to order and sign: one entry of 1 in each row
            let p = (&found.rotation * u.transpose()).abs();
            assert!(p.row_iter().all(|row| (row.max() - 1.0).abs() < 1e-9), "{p}");
        }
    }

    #[test]
    fn the_angle_is_the_best_of_ten_thousand() {
        let mut random = Random::new(2);
        let m: Vec<DMatrix<f64>> = (0..4)
            .map(|_| {
                let a = DMatrix::from_fn(2, 2, |_, _| random.normal());
                &a + a.transpose()
            })
            .collect();
        let left = |angle: f64| {
            let (sin, cos) = angle.sin_cos();
            let mut m = m.clone();
            for m in &mut m {
                rotate_rows(m, 0, 1, cos, sin);
                rotate_columns(m, 0, 1, cos, sin);
            }
            off_diagonal(&m)
        };
        let best =
            (0..10000).map(|k| left(f64::from(k) * std::f64::consts::PI / 10000.0)).fold(f64::MAX, f64::min);
        let found = jointly_diagonalize(&m, 2, &settings(), &mut ()).unwrap();
        assert!(found.cost.last().unwrap() <= &best);
        assert!((found.cost.last().unwrap() - best) / best < 1e-6);
        // a single rotation, known in closed form, and a sweep that finds nothing left to do
        assert!(found.cost.len() <= 3, "{:?}", found.cost);
        assert!(found.cost.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-12)));
    }

    #[test]
    fn without_sweeps_it_says_so() {
        let m = [DMatrix::from_row_slice(2, 2, &[0.0, 1.0, 1.0, 0.0])];
        let found =
            jointly_diagonalize(&m, 2, &JacobiSettings { iterations: 0, ..settings() }, &mut ()).unwrap();
        assert_eq!((found.stopped, found.cost.len()), (Stopped::Iterations, 1));
    }
}
