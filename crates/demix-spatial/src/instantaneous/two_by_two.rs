//! The equations of decorrelation for two sources: b1^T C_n b2 = 0 for every lag n, with b1 and b2 the rows of the
//! demixing matrix, det(A) A^-1 = [[a22, -a12], [-a21, a11]]. Written out this is
//! -a22 a21 C11_n + a12 a21 C21_n + a22 a11 C12_n - a12 a11 C22_n = 0.

use nalgebra::{DMatrix, Matrix2, Matrix4, Vector2, Vector4};

/// Angles of each row that are tried before the iterations, of half a turn.
const GRID: usize = 90;
/// How often a step that does not help is damped ten times more.
const DAMPINGS: usize = 14;
/// Smallest weight of an equation's error, as a share of the largest error (l1) or variance: below it equations are
/// solved, and dividing by nothing is avoided.
const WEIGHT_FLOOR: f64 = 1e-6;

/// The two rows.
pub(crate) type Rows = (Vector2<f64>, Vector2<f64>);

/// One equation for each lag: C_n as a vector, (C11, C12, C21, C22).
#[derive(Clone, Debug)]
pub(crate) struct Equations {
    pub c: Vec<Vector4<f64>>,
    /// Covariance of each estimate C_n, from the parts of the signal; empty where there are too few.
    pub scatter: Vec<Matrix4<f64>>,
}

/// What the errors of the equations are weighted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    Equal,
    /// 1 / variance of the error.
    Variance,
    /// 1 / |error|: least squares with these weights is the sum of absolute errors.
    Absolute,
}

fn vector(c: &DMatrix<f64>) -> Vector4<f64> {
    Vector4::new(c[(0, 0)], c[(0, 1)], c[(1, 0)], c[(1, 1)])
}

impl Equations {
    pub fn new(covariances: &[DMatrix<f64>], parts: &[Vec<DMatrix<f64>>]) -> Self {
        let n = parts.len() as f64;
        let scatter_of = |lag: usize| {
            let vectors: Vec<Vector4<f64>> = parts.iter().map(|part| vector(&part[lag])).collect();
            let mean = vectors.iter().sum::<Vector4<f64>>() / n;
            let scatter: Matrix4<f64> = vectors.iter().map(|v| (v - mean) * (v - mean).transpose()).sum();
            scatter / (n * (n - 1.0))
        };
        let scatter =
            if parts.len() > 1 { (0..covariances.len()).map(scatter_of).collect() } else { Vec::new() };
        Self { c: covariances.iter().map(vector).collect(), scatter }
    }

    /// b1^T C_n b2 for every lag.
    pub fn errors(&self, rows: &Rows) -> Vec<f64> {
        let products = products(rows);
        self.c.iter().map(|c| c.dot(&products)).collect()
    }

    /// Weights at these rows.
    fn weights(&self, kind: Weights, rows: &Rows) -> Vec<f64> {
        let products = products(rows);
        let spread: Vec<f64> = match kind {
            Weights::Variance if !self.scatter.is_empty() => {
                self.scatter.iter().map(|s| (products.transpose() * s * products)[0].max(0.0)).collect()
            }
            Weights::Absolute => self.c.iter().map(|c| c.dot(&products).abs()).collect(),
            _ => vec![1.0; self.c.len()],
        };
        let floor = WEIGHT_FLOOR * spread.iter().fold(0.0f64, |a, &b| a.max(b));
        // all errors zero: solved, whatever the weights
        spread
            .iter()
            .map(|&s| {
                if s > floor {
                    1.0 / s
                } else if floor > 0.0 {
                    1.0 / floor
                } else {
                    1.0
                }
            })
            .collect()
    }

    /// sum_n weight_n error_n^2, for `Absolute` the sum of |error_n|; over the number of equations.
    pub fn cost(&self, kind: Weights, rows: &Rows) -> f64 {
        let errors = self.errors(rows);
        let n = errors.len() as f64;
        match kind {
            Weights::Absolute => errors.iter().map(|e| e.abs()).sum::<f64>() / n,
            _ => errors.iter().zip(self.weights(kind, rows)).map(|(e, w)| w * e * e).sum::<f64>() / n,
        }
    }

    /// Q = sum_n weight_n c_n c_n^T: the cost is a quartic form in the rows.
    fn quartic(&self, weights: &[f64]) -> Matrix4<f64> {
        self.c.iter().zip(weights).map(|(c, &w)| c * c.transpose() * w).sum()
    }

    /// The best pair of angles for equal weights: a grid, and Newton steps from each of its valleys.
    pub fn start(&self) -> Rows {
        let weights = vec![1.0; self.c.len()];
        let q = self.quartic(&weights);
        let at = |i: usize, j: usize| {
            let angle = |k: usize| (k % GRID) as f64 * std::f64::consts::PI / GRID as f64;
            (row(angle(i)), row(angle(j)))
        };
        let cost = |i: usize, j: usize| form(&q, &products(&at(i, j)), &products(&at(i, j)));
        let costs: Vec<f64> = (0..GRID * GRID).map(|k| cost(k / GRID, k % GRID)).collect();
        let mut best = (f64::INFINITY, at(0, GRID / 2));
        for (i, j) in (0..GRID).flat_map(|i| (0..GRID).map(move |j| (i, j))) {
            let around = [(0, 1), (1, 0), (0, GRID - 1), (GRID - 1, 0)];
            let next = |(a, b): (usize, usize)| costs[(i + a) % GRID * GRID + (j + b) % GRID];
            if around.into_iter().any(|step| next(step) < costs[i * GRID + j]) {
                continue;
            }
            let mut rows = at(i, j);
            for _ in 0..20 {
                refine(&q, &mut rows);
            }
            let cost = form(&q, &products(&rows), &products(&rows));
            if cost < best.0 {
                best = (cost, rows);
            }
        }
        best.1
    }

    /// One iteration: weights at these rows, then a step towards the least squares with them. Returns the larger
    /// angle moved.
    pub fn step(&self, kind: Weights, rows: &mut Rows) -> f64 {
        let q = self.quartic(&self.weights(kind, rows));
        let before = *rows;
        refine(&q, rows);
        angle(&before.0, &rows.0).max(angle(&before.1, &rows.1))
    }
}

fn row(angle: f64) -> Vector2<f64> {
    Vector2::new(angle.cos(), angle.sin())
}

/// b1_i b2_j in the order of [`Equations::c`].
fn products(rows: &Rows) -> Vector4<f64> {
    let (a, b) = rows;
    Vector4::new(a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
}

fn form(q: &Matrix4<f64>, a: &Vector4<f64>, b: &Vector4<f64>) -> f64 {
    (a.transpose() * q * b)[0]
}

/// One step of Levenberg and Marquardt in both angles on sum_n weight_n error_n^2 = p^T Q p; where no step helps the
/// rows stay.
fn refine(q: &Matrix4<f64>, rows: &mut Rows) {
    let turned = |r: &Vector2<f64>| Vector2::new(-r[1], r[0]);
    let p = products(rows);
    let slopes = [products(&(turned(&rows.0), rows.1)), products(&(rows.0, turned(&rows.1)))];
    let cost = form(q, &p, &p);
    let g = [form(q, &slopes[0], &p), form(q, &slopes[1], &p)];
    let (h11, h12, h22) =
        (form(q, &slopes[0], &slopes[0]), form(q, &slopes[0], &slopes[1]), form(q, &slopes[1], &slopes[1]));
    let mut damping = 0.0;
    for _ in 0..DAMPINGS {
        let (a, d) = (h11 + damping, h22 + damping);
        let determinant = a * d - h12 * h12;
        damping = if damping == 0.0 { 1e-9 * (h11 + h22) } else { 10.0 * damping };
        if determinant <= f64::EPSILON * a * d {
            continue;
        }
        let step = [(h12 * g[1] - d * g[0]) / determinant, (h12 * g[0] - a * g[1]) / determinant];
        let turn = |r: &Vector2<f64>, by: f64| r * by.cos() + turned(r) * by.sin();
        let next = (turn(&rows.0, step[0]), turn(&rows.1, step[1]));
        let p = products(&next);
        if form(q, &p, &p) <= cost {
            *rows = (next.0.normalize(), next.1.normalize());
            return;
        }
    }
}

fn angle(a: &Vector2<f64>, b: &Vector2<f64>) -> f64 {
    (a[0] * b[1] - a[1] * b[0]).abs().min(1.0).asin()
}

/// The rows that solve the equations of two lags exactly.
///
/// b2 is perpendicular to b1^T C and to b1^T C', so these are parallel: det[b1^T C; b1^T C'] = 0, a quadratic equation
/// in the slope of b1. For symmetric C both roots are the two rows; when chance makes them asymmetric, of the two
/// solutions the one is taken that serves the opposite lags, C^T and C'^T, better. The flag tells whether the roots
/// are real; if not, their real part is taken.
pub(crate) fn two_lags(c: &Matrix2<f64>, d: &Matrix2<f64>) -> (Rows, bool) {
    let a2 = c[(0, 0)] * d[(0, 1)] - c[(0, 1)] * d[(0, 0)];
    let ab = c[(0, 0)] * d[(1, 1)] + c[(1, 0)] * d[(0, 1)] - c[(0, 1)] * d[(1, 0)] - c[(1, 1)] * d[(0, 0)];
    let b2 = c[(1, 0)] * d[(1, 1)] - c[(1, 1)] * d[(1, 0)];
    let discriminant = ab * ab - 4.0 * a2 * b2;
    let root = discriminant.max(0.0).sqrt();
    // without cancellation: the sum of numbers of one sign
    let q = -0.5 * (ab + if ab < 0.0 { -root } else { root });
    let candidates = [Vector2::new(q, a2), Vector2::new(b2, q)];
    let mut best: Option<(f64, Rows)> = None;
    for first in candidates.iter().filter(|first| first.norm() > 0.0).map(|first| first.normalize()) {
        let (r, s) = (c.transpose() * first, d.transpose() * first);
        let r = if r.norm() >= s.norm() { r } else { s };
        if r.norm() == 0.0 {
            continue;
        }
        let second = Vector2::new(-r[1], r[0]).normalize();
        let opposite =
            |c: &Matrix2<f64>| second.dot(&(c * first)).powi(2) / c.norm_squared().max(f64::MIN_POSITIVE);
        let cost = opposite(c) + opposite(d);
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, (first, second)));
        }
    }
    // all coefficients zero: every pair of directions solves the equations
    let rows = best.map_or((Vector2::new(1.0, 0.0), Vector2::new(0.0, 1.0)), |(_, rows)| rows);
    (rows, discriminant >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instantaneous::synthesis::Random;

    fn error(rows: &Rows, c: &Matrix2<f64>) -> f64 {
        rows.0.dot(&(c * rows.1)).abs() / c.norm()
    }

    #[test]
    fn two_lags_undo_the_matrix_that_made_them() {
        let mut random = Random::new(5);
        for _ in 0..50 {
            let a = Matrix2::from_fn(|_, _| random.normal());
            let mut covariance = || {
                let d = Matrix2::new(random.normal(), 0.0, 0.0, random.normal());
                a * d * a.transpose()
            };
            let (c, d) = (covariance(), covariance());
            let (rows, real) = two_lags(&c, &d);
            assert!(real);
            assert!(error(&rows, &c) < 1e-9 && error(&rows, &d) < 1e-9);
            // each row sees one column of A only
            let seen = [rows.0, rows.1].map(|row| (a.transpose() * row).abs());
            let share = |v: &Vector2<f64>| v.min() / v.max();
            assert!(share(&seen[0]) < 1e-6 && share(&seen[1]) < 1e-6, "{seen:?}");
        }
    }

    #[test]
    fn two_lags_solve_asymmetric_equations_where_they_can_be_solved() {
        let mut random = Random::new(6);
        let mut n_real = 0;
        for _ in 0..200 {
            let mut any = || Matrix2::from_fn(|_, _| random.normal());
            let (c, d) = (any(), any());
            let (rows, real) = two_lags(&c, &d);
            assert!((rows.0.norm() - 1.0).abs() < 1e-12 && (rows.1.norm() - 1.0).abs() < 1e-12);
            if real {
                n_real += 1;
                assert!(error(&rows, &c) < 1e-9 && error(&rows, &d) < 1e-9);
            }
        }
        assert!((50..200).contains(&n_real), "both cases come up: {n_real}");
        // nothing to solve
        let (rows, _) = two_lags(&Matrix2::zeros(), &Matrix2::zeros());
        assert!(rows.0.iter().chain(rows.1.iter()).all(|x| x.is_finite()));
    }
}
