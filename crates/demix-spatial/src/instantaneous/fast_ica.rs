//! FastICA: fixed points of a non-linear contrast (Hyvarinen 1999).
//!
//! On white z, a row w of the demixing matrix moves to E[z g(w z)] - E[g'(w z)] w, an approximate Newton step towards
//! a maximum or minimum of E[G(w z)] on the sphere (eq. (20)); then the rows are made orthonormal, all at once by
//! (W W^T)^(-1/2) W or one after the other.

use demix_signal::settings::Settings as _;
use demix_signal::{Progress, Watch, Waveform};
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use ndarray::{Array2, s};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::demixing::{Found, InstantaneousDemixing, Stopped};
use super::identifiability::warn_of_gaussians;
use super::mixture::Prepared;
use super::sobi::not_converged;
use super::{InstantaneousMethod, STAGE};
use crate::SpatialError;

demix_signal::choices! {
    /// G, whose mean over the samples tells a source from a mixture.
    pub enum Contrast {
        /// log cosh y: the usual choice.
        Logcosh = "logcosh",
        /// y^4 / 4: the kurtosis; quick, and easily misled by a few loud samples.
        Kurtosis = "kurtosis",
        /// -exp(-y^2 / 2): for sources with rare loud samples.
        Exp = "exp",
    }
}

demix_signal::choices! {
    /// How the rows are kept apart.
    pub enum Orthogonality {
        /// All rows at once: none is preferred.
        Symmetric = "symmetric",
        /// One row after the other: errors of the first ones go into the later ones.
        Deflation = "deflation",
    }
}

demix_signal::settings! {
    /// Settings of FastICA.
    pub struct FastIcaSettings {
        /// What tells a source from a mixture.
        pub contrast: Contrast = Contrast::Logcosh;
        /// How the rows are kept apart.
        pub orthogonality: Orthogonality = Orthogonality::Symmetric;
        /// Iterations at the most, with deflation for each source.
        pub iterations: usize = 200, range 0.0 ..= 1000000.0;
        /// Stop when no row turns by more than this in an iteration.
        pub tolerance: f64 = 1e-6, unit "rad", range 0.0 ..= 1.0;
        /// Samples that are looked at, at the most, at equal distances over the whole signal: neighbours tell little
        /// new.
        pub samples: usize = 1000000, range 100.0 ..= 1000000000.0;
        /// Random rotation to start from: the same seed gives the same result.
        pub seed: u64 = 0;
    }
}

/// The method `fastica`; see the [module](self).
#[derive(Clone, Debug)]
pub struct FastIca {
    settings: FastIcaSettings,
}

/// Samples that one thread takes at a time.
const BLOCK: usize = 8192;

impl FastIca {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: FastIcaSettings) -> Result<Self, SpatialError> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl InstantaneousMethod for FastIca {
    fn name(&self) -> &'static str {
        "fastica"
    }

    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError> {
        let prepared = Prepared::new(self.name(), mixture, n_sources, &[])?;
        let (whitener, mean) = (&prepared.whitening.whitener, &prepared.covariances.mean);
        let z = White::new(mixture, whitener, mean, self.settings.samples);
        let start = random_rotation(prepared.rank(), self.settings.seed);
        let mut found = match self.settings.orthogonality {
            Orthogonality::Symmetric => self.symmetric(&z, start, watch)?,
            Orthogonality::Deflation => self.deflation(&z, &start, watch)?,
        };
        found.warnings.extend(warn_of_gaussians(mixture, &(&found.demixing * whitener), mean));
        found.warnings.extend(not_converged(found.stopped, self.settings.iterations));
        Ok(prepared.finish(found))
    }
}

impl FastIca {
    fn symmetric(
        &self,
        z: &White,
        mut w: DMatrix<f64>,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        let FastIcaSettings { contrast, iterations, tolerance, .. } = self.settings;
        let mut at = z.moments(contrast, &w);
        let mut cost = vec![at.cost(contrast)];
        let mut stopped = if w.nrows() < 2 { Stopped::Tolerance } else { Stopped::Iterations };
        for done in 1..=if stopped == Stopped::Tolerance { 0 } else { iterations } {
            let next = orthonormal_rows(&at.newton_step(&w));
            let turned = (0..w.nrows()).map(|n| angle(&w, &next, n)).fold(0.0, f64::max);
            w = next;
            at = z.moments(contrast, &w);
            cost.push(at.cost(contrast));
            watch.progress(Progress { stage: STAGE, done, total: iterations, cost: cost.last().copied() })?;
            if turned <= tolerance {
                stopped = Stopped::Tolerance;
                break;
            }
        }
        Ok(Found { demixing: w, iterations: cost.len() - 1, cost, stopped, warnings: Vec::new() })
    }

    fn deflation(
        &self,
        z: &White,
        start: &DMatrix<f64>,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        let FastIcaSettings { contrast, iterations, tolerance, .. } = self.settings;
        let r = start.nrows();
        let mut found = DMatrix::zeros(0, r);
        let mut cost = Vec::new();
        let mut stopped = Stopped::Tolerance;
        let mut of_found = 0.0;
        for n in 0..r {
            let apart = |w: DMatrix<f64>, found: &DMatrix<f64>| {
                // twice: once leaves a rounding error when little remains
                let once = &w - &w * found.transpose() * found;
                let twice = &once - &once * found.transpose() * found;
                let norm = twice.norm();
                if norm > 1e-9 * w.norm() { Some(twice / norm) } else { None }
            };
            let mut w =
                apart(start.rows(n, 1).into_owned(), &found).unwrap_or_else(|| free_direction(&found));
            let mut at = z.moments(contrast, &w);
            if cost.is_empty() {
                cost.push(at.cost(contrast));
            }
            // the last row is what the others leave
            let most = if n + 1 == r { 0 } else { iterations };
            let mut done_here = most == 0;
            for done in 1..=most {
                // a step that vanishes has found a saddle: stay
                let next = apart(at.newton_step(&w), &found).unwrap_or_else(|| w.clone());
                let turned = angle(&w, &next, 0);
                w = next;
                at = z.moments(contrast, &w);
                cost.push(of_found + at.cost(contrast));
                let (done, total) = (n * iterations + done, r * iterations);
                watch.progress(Progress { stage: STAGE, done, total, cost: cost.last().copied() })?;
                if turned <= tolerance {
                    done_here = true;
                    break;
                }
            }
            if !done_here {
                stopped = Stopped::Iterations;
            }
            of_found += at.cost(contrast);
            found = found.insert_row(n, 0.0);
            found.row_mut(n).copy_from(&w);
        }
        if iterations == 0 && r > 1 {
            stopped = Stopped::Iterations;
        }
        Ok(Found {
            demixing: found,
            iterations: cost.len().saturating_sub(1),
            cost,
            stopped,
            warnings: Vec::new(),
        })
    }
}

/// The angle between row n before and after, whatever its sign.
fn angle(before: &DMatrix<f64>, after: &DMatrix<f64>, n: usize) -> f64 {
    let cosine = before.row(n).dot(&after.row(n));
    // the sine, which is exact where the cosine is near one
    let apart = after.row(n) - before.row(n) * cosine;
    apart.norm().min(1.0).asin()
}

/// White samples, a part of the signal's: (r, samples).
struct White(Array2<f64>);

impl White {
    fn new(x: &Waveform, whitener: &DMatrix<f64>, mean: &DVector<f64>, most: usize) -> Self {
        let n = x.n_samples().min(most);
        // the middle of each of n equal stretches
        let stretch = x.n_samples() as f64 / n as f64;
        let mut z = Array2::zeros((whitener.nrows(), n));
        for (k, mut z) in z.outer_iter_mut().enumerate() {
            for (i, x) in x.samples.outer_iter().enumerate() {
                let (gain, mean) = (whitener[(k, i)], mean[i]);
                for (s, z) in z.iter_mut().enumerate() {
                    let t = (s as f64 * stretch + 0.5 * (stretch - 1.0)) as usize;
                    *z += gain * (f64::from(x[t]) - mean);
                }
            }
        }
        Self(z)
    }

    /// Means over the samples for rows `w` of length one, (rows, r).
    fn moments(&self, contrast: Contrast, w: &DMatrix<f64>) -> Moments {
        let (r, n_samples) = self.0.dim();
        let rows = w.nrows();
        let begins: Vec<usize> = (0..n_samples).step_by(BLOCK).collect();
        let of_block = |&begin: &usize| {
            let z = self.0.slice(s![.., begin..(begin + BLOCK).min(n_samples)]);
            let mut sums = Moments::zeros(rows, r);
            let mut y = vec![0.0; z.ncols()];
            for n in 0..rows {
                y.fill(0.0);
                for (k, z) in z.outer_iter().enumerate() {
                    let gain = w[(n, k)];
                    y.iter_mut().zip(z).for_each(|(y, z)| *y += gain * z);
                }
                let (value, slope) = contrast.apply(&mut y);
                (sums.slope[n], sums.value[n]) = (slope, value);
                for (k, z) in z.outer_iter().enumerate() {
                    sums.product[(n, k)] = y.iter().zip(z).map(|(g, z)| g * z).sum();
                }
            }
            sums
        };
        let parts: Vec<Moments> = begins.par_iter().map(of_block).collect();
        let mut sum = Moments::zeros(rows, r);
        for part in &parts {
            sum.product += &part.product;
            sum.slope += &part.slope;
            sum.value += &part.value;
        }
        let n = n_samples as f64;
        Moments { product: sum.product / n, slope: sum.slope / n, value: sum.value / n }
    }
}

/// E[g(y) z^T], E[g'(y)] and E[G(y)] for each row.
struct Moments {
    product: DMatrix<f64>,
    slope: DVector<f64>,
    value: DVector<f64>,
}

impl Moments {
    fn zeros(rows: usize, r: usize) -> Self {
        Self { product: DMatrix::zeros(rows, r), slope: DVector::zeros(rows), value: DVector::zeros(rows) }
    }

    /// E[z g(w z)] - E[g'(w z)] w for every row.
    fn newton_step(&self, w: &DMatrix<f64>) -> DMatrix<f64> {
        &self.product - DMatrix::from_diagonal(&self.slope) * w
    }

    /// Minus the approximate negentropy: the sum over rows of (E[G(y)] - E[G(nu)])^2, nu Gaussian.
    fn cost(&self, contrast: Contrast) -> f64 {
        -self.value.iter().map(|value| (value - contrast.of_gaussian()).powi(2)).sum::<f64>()
    }
}

impl Contrast {
    /// Turns y into G'(y), in place; the sums of G(y) and of G''(y).
    fn apply(self, y: &mut [f64]) -> (f64, f64) {
        let (mut value, mut slope) = (0.0, 0.0);
        match self {
            // log cosh y = |y| + log(1 + exp(-2 |y|)) - log 2, and tanh from the same exponential; one logarithm for
            // the product of 512 factors of at most 2
            Self::Logcosh => {
                for y in y.chunks_mut(512) {
                    let mut product = 1.0;
                    for y in y.iter_mut() {
                        let e = (-2.0 * y.abs()).exp();
                        let tanh = ((1.0 - e) / (1.0 + e)).copysign(*y);
                        product *= 1.0 + e;
                        value += y.abs();
                        slope += 1.0 - tanh * tanh;
                        *y = tanh;
                    }
                    value += product.ln() - y.len() as f64 * std::f64::consts::LN_2;
                }
            }
            Self::Kurtosis => {
                for y in y {
                    let squared = *y * *y;
                    value += 0.25 * squared * squared;
                    slope += 3.0 * squared;
                    *y *= squared;
                }
            }
            Self::Exp => {
                for y in y {
                    let e = (-0.5 * *y * *y).exp();
                    value -= e;
                    slope += (1.0 - *y * *y) * e;
                    *y *= e;
                }
            }
        }
        (value, slope)
    }

    /// E[G(nu)] of a Gaussian with variance one.
    fn of_gaussian(self) -> f64 {
        match self {
            // by numerical integration
            Self::Logcosh => 0.374_567_207_491_438,
            Self::Kurtosis => 0.75,
            Self::Exp => -std::f64::consts::FRAC_1_SQRT_2,
        }
    }
}

/// (W W^T)^(-1/2) W; a row that vanished is replaced by a free direction.
fn orthonormal_rows(w: &DMatrix<f64>) -> DMatrix<f64> {
    if w.is_empty() {
        return w.clone();
    }
    let eigen = SymmetricEigen::new(w * w.transpose());
    let largest = eigen.eigenvalues.max();
    if eigen.eigenvalues.min() <= 1e-24 * largest || largest <= 0.0 {
        let mut rows = DMatrix::zeros(0, w.ncols());
        for n in 0..w.nrows() {
            let row = w.rows(n, 1);
            let apart = row - row * rows.transpose() * &rows;
            let kept = apart.norm() > 1e-9 * w.norm();
            let next = if kept { &apart / apart.norm() } else { free_direction(&rows) };
            rows = rows.insert_row(n, 0.0);
            rows.row_mut(n).copy_from(&next);
        }
        return rows;
    }
    let root = DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| value.powf(-0.5)));
    &eigen.eigenvectors * root * eigen.eigenvectors.transpose() * w
}

/// A row of length one, orthogonal to all `rows`, of which there are fewer than columns.
fn free_direction(rows: &DMatrix<f64>) -> DMatrix<f64> {
    let r = rows.ncols();
    let project = |k: usize| {
        let e = DMatrix::from_fn(1, r, |_, i| f64::from(u8::from(i == k)));
        &e - &e * rows.transpose() * rows
    };
    let longest = (0..r).map(project).max_by(|a, b| a.norm().total_cmp(&b.norm()));
    longest.map(|row| &row / row.norm()).unwrap_or_else(|| DMatrix::zeros(1, r))
}

/// A rotation from Gaussian rows.
fn random_rotation(r: usize, seed: u64) -> DMatrix<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // sums of twelve uniform numbers: near enough to Gaussian for a direction
    let mut number = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    orthonormal_rows(&DMatrix::from_fn(r, r, |_, _| number()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrasts_and_their_derivatives_agree() {
        let ys: Vec<f64> = (-600..600).map(|k| f64::from(k) * 0.011 + 0.003).collect();
        for contrast in [Contrast::Logcosh, Contrast::Kurtosis, Contrast::Exp] {
            let at = |y: f64| {
                let mut one = [y];
                let (value, slope) = contrast.apply(&mut one);
                (value, one[0], slope)
            };
            let h = 1e-5;
            for &y in &ys {
                let (_, first, second) = at(y);
                let size = 1.0 + at(y).0.abs() + second.abs();
                assert!(
                    ((at(y + h).0 - at(y - h).0) / (2.0 * h) - first).abs() < 1e-7 * size,
                    "{contrast} {y}"
                );
                assert!(
                    ((at(y + h).1 - at(y - h).1) / (2.0 * h) - second).abs() < 1e-7 * size,
                    "{contrast} {y}"
                );
            }
            let sums = contrast.apply(&mut ys.clone());
            let single = ys.iter().map(|&y| at(y)).fold((0.0, 0.0), |sum, (g, _, d)| (sum.0 + g, sum.1 + d));
            // rounding of 1200 terms
            assert!((sums.0 - single.0).abs() < 1e-9 * single.0.abs(), "{contrast}");
            assert!((sums.1 - single.1).abs() < 1e-9 * single.1.abs(), "{contrast}");
        }
        let logcosh = |y: f64| {
            let mut one = [y];
            Contrast::Logcosh.apply(&mut one).0
        };
        assert!((logcosh(1.3) - 1.3f64.cosh().ln()).abs() < 1e-14);
    }

    #[test]
    fn the_contrasts_of_a_gaussian_are_those_of_the_integral() {
        for contrast in [Contrast::Logcosh, Contrast::Kurtosis, Contrast::Exp] {
            let step = 1e-3;
            let density = |y: f64| (-0.5 * y * y).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let sum: f64 = (-12000..12000)
                .map(|k| f64::from(k) * step)
                .map(|y| contrast.apply(&mut [y]).0 * density(y) * step)
                .sum();
            assert!((sum - contrast.of_gaussian()).abs() < 1e-9, "{contrast}: {sum}");
        }
    }
}
