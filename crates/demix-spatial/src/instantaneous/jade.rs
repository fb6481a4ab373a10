//! JADE: joint approximate diagonalisation of fourth-order cumulants (Cardoso and Souloumiac 1993).
//!
//! For every pair (i, j) of white components the matrix of cumulants cum(z_k, z_l, z_i, z_j),
//! Q_ij = E[z_i z_j z z^T] - E[z_i z_j] I - e_i e_j^T - e_j e_i^T, becomes diagonal under the rotation that is
//! sought. One pass over the samples gives all fourth moments; N^4 numbers are kept.

use demix_signal::settings::Settings as _;
use demix_signal::{Progress, Watch, Waveform};
use nalgebra::{DMatrix, DVector};
use ndarray::{Array2, s};
use rayon::prelude::*;

use super::covariance::BLOCK;
use super::demixing::{Found, InstantaneousDemixing};
use super::identifiability::warn_of_gaussians;
use super::joint_diagonalization::{JacobiSettings, jointly_diagonalize};
use super::mixture::Prepared;
use super::sobi::not_converged;
use super::{InstantaneousMethod, STAGE};
use crate::SpatialError;

demix_signal::settings_group! {
    /// Settings of JADE.
    pub struct JadeSettings {
        /// The diagonalisation.
        pub jacobi: JacobiSettings,
    }
}

/// The method `jade`; see the [module](self).
#[derive(Clone, Debug)]
pub struct Jade {
    settings: JadeSettings,
}

impl Jade {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: JadeSettings) -> Result<Self, SpatialError> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl InstantaneousMethod for Jade {
    fn name(&self) -> &'static str {
        "jade"
    }

    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError> {
        let prepared = Prepared::new(self.name(), mixture, n_sources, &[])?;
        let total = self.settings.jacobi.iterations;
        watch.progress(Progress { stage: STAGE, done: 0, total, cost: None })?;
        let (whitener, mean) = (&prepared.whitening.whitener, &prepared.covariances.mean);
        let cumulants = cumulant_matrices(&fourth_moments(mixture, whitener, mean), prepared.rank());
        let found = jointly_diagonalize(&cumulants, prepared.rank(), &self.settings.jacobi, watch)?;
        let mut warnings = Vec::new();
        warnings.extend(warn_of_gaussians(mixture, &(&found.rotation * whitener), mean));
        warnings.extend(not_converged(found.stopped, total));
        Ok(prepared.finish(Found {
            demixing: found.rotation,
            iterations: found.cost.len() - 1,
            cost: found.cost,
            stopped: found.stopped,
            warnings,
        }))
    }
}

/// (i, j) with i <= j in the order in which products are kept.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i..n).map(move |j| (i, j)))
}

/// E[z_i z_j z_k z_l] of z = V (x - mean) for all pairs (i, j), (k, l): (pairs, pairs).
fn fourth_moments(x: &Waveform, whitener: &DMatrix<f64>, mean: &DVector<f64>) -> Array2<f64> {
    let (r, n_samples) = (whitener.nrows(), x.n_samples());
    let n_pairs = r * (r + 1) / 2;
    let blocks: Vec<usize> = (0..n_samples).step_by(BLOCK).collect();
    let of_block = |&begin: &usize| {
        let end = (begin + BLOCK).min(n_samples);
        let z = whiten(x, whitener, mean, begin, end);
        let mut products = Array2::zeros((n_pairs, end - begin));
        for (mut row, (i, j)) in products.outer_iter_mut().zip(pairs(r)) {
            row.assign(&(&z.slice(s![i, ..]) * &z.slice(s![j, ..])));
        }
        products.dot(&products.t())
    };
    // a bounded number of blocks at a time, each batch summed in order
    let mut sum = Array2::zeros((n_pairs, n_pairs));
    for batch in blocks.chunks(64) {
        let parts: Vec<Array2<f64>> = batch.par_iter().map(of_block).collect();
        parts.iter().for_each(|part| sum += part);
    }
    sum / n_samples as f64
}

/// z = V (x - mean) for samples `begin..end`, (r, end - begin).
pub(crate) fn whiten(
    x: &Waveform,
    whitener: &DMatrix<f64>,
    mean: &DVector<f64>,
    begin: usize,
    end: usize,
) -> Array2<f64> {
    let mut z = Array2::zeros((whitener.nrows(), end - begin));
    for (k, mut z) in z.outer_iter_mut().enumerate() {
        for (i, x) in x.samples.slice(s![.., begin..end]).outer_iter().enumerate() {
            let (gain, mean) = (whitener[(k, i)], mean[i]);
            z.iter_mut().zip(x).for_each(|(z, &x)| *z += gain * (f64::from(x) - mean));
        }
    }
    z
}

/// Q_ij for i <= j; those with i < j, which come twice, weighted by the square root of two.
fn cumulant_matrices(moments: &Array2<f64>, n: usize) -> Vec<DMatrix<f64>> {
    let index = |i: usize, j: usize| {
        let (i, j) = (i.min(j), i.max(j));
        i * (2 * n - i + 1) / 2 + j - i
    };
    let delta = |i: usize, j: usize| f64::from(u8::from(i == j));
    pairs(n)
        .map(|(i, j)| {
            let weight = if i == j { 1.0 } else { std::f64::consts::SQRT_2 };
            DMatrix::from_fn(n, n, |k, l| {
                let moment = moments[[index(i, j), index(k, l)]];
                let gaussian =
                    delta(i, j) * delta(k, l) + delta(i, k) * delta(j, l) + delta(i, l) * delta(j, k);
                weight * (moment - gaussian)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instantaneous::synthesis::noise;

    #[test]
    fn cumulants_are_those_of_the_definition() {
        let x = noise(3, 3 * BLOCK + 17, 4);
        let mean = super::super::covariance::mean(&x);
        let v = DMatrix::from_row_slice(3, 3, &[1.0, 0.2, 0.0, -0.3, 1.0, 0.1, 0.0, 0.5, 1.2]);
        let moments = fourth_moments(&x, &v, &mean);
        let z = whiten(&x, &v, &mean, 0, x.n_samples());
        let all = cumulant_matrices(&moments, 3);
        for ((i, j), q) in pairs(3).zip(&all) {
            for k in 0..3 {
                for l in 0..3 {
                    let product = |t: usize| z[[i, t]] * z[[j, t]] * z[[k, t]] * z[[l, t]];
                    let moment = (0..x.n_samples()).map(product).sum::<f64>() / x.n_samples() as f64;
                    let same = |a: usize, b: usize| if a == b { 1.0 } else { 0.0 };
                    let gaussian =
                        same(i, j) * same(k, l) + same(i, k) * same(j, l) + same(i, l) * same(j, k);
                    let weight = if i == j { 1.0 } else { 2f64.sqrt() };
                    assert!((q[(k, l)] - weight * (moment - gaussian)).abs() < 1e-9);
                }
            }
        }
    }
}
