//! Whitening: the principal components of the channels, each scaled to power one.
//!
//! Covariance C_0 = E D E^T; z = V x with V = D^(-1/2) E^T has E z z^T = I, so that what mixes the sources into z is a
//! rotation (Belouchrani et al. 1997, section III.A). With more channels than sources the N strongest components are
//! kept.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Principal components weaker than this share of the strongest one, in power, are none: -120 dB is below what the
/// rounding of 24-bit samples leaves of two channels that are the same.
const RANK_FLOOR: f64 = 1e-12;
/// A channel with less variance than this share of its squared mean is constant: samples of single precision that
/// differ at all have more.
const CONSTANT: f64 = 1e-16;

/// What takes M channels to r <= N white ones and back.
#[derive(Clone, Debug)]
pub(crate) struct Whitening {
    /// V, (r, channels).
    pub whitener: DMatrix<f64>,
    /// V^+, (channels, r): V^+ V x is x where nothing was left out.
    pub dewhitener: DMatrix<f64>,
    /// Powers of all M principal components, falling, of channels scaled as whitening saw them.
    pub eigenvalues: Vec<f64>,
    /// Channels without any variance.
    pub silent: Vec<usize>,
}

impl Whitening {
    /// From C_0, (channels, channels), and the means, to at most `n_sources` components.
    ///
    /// With as many sources as channels, these are brought to one level first: it changes nothing but rounding, and a
    /// channel that is 100 dB below the others keeps its digits. With fewer sources the level tells what to keep.
    pub fn new(c0: &DMatrix<f64>, mean: &DVector<f64>, n_sources: usize) -> Self {
        let m = c0.nrows();
        let is_silent = |i: usize| c0[(i, i)] <= CONSTANT * mean[i] * mean[i];
        let power = c0.trace() / m as f64;
        let level = |i: usize| match is_silent(i) {
            true => 0.0,
            false if n_sources == m => 1.0 / c0[(i, i)].sqrt(),
            false => 1.0 / power.sqrt(),
        };
        let levels: Vec<f64> = (0..m).map(level).collect();
        let scaled = DMatrix::from_fn(m, m, |i, j| levels[i] * c0[(i, j)] * levels[j]);
        let (values, vectors) = principal_components(&scaled);
        let floor = RANK_FLOOR * values[0].max(0.0);
        let rank = values.iter().take(n_sources).filter(|&&value| value > floor && value > 0.0).count();
        let whitener = DMatrix::from_fn(rank, m, |k, i| vectors[(i, k)] * levels[i] / values[k].sqrt());
        let dewhitener = DMatrix::from_fn(m, rank, |i, k| match levels[i] {
            0.0 => 0.0,
            level => vectors[(i, k)] * values[k].sqrt() / level,
        });
        Self {
            whitener,
            dewhitener,
            eigenvalues: values.iter().map(|&value| value.max(0.0)).collect(),
            silent: (0..m).filter(|&i| is_silent(i)).collect(),
        }
    }

    /// r, the number of components.
    pub fn rank(&self) -> usize {
        self.whitener.nrows()
    }
}

/// Eigenvalues, falling, and the eigenvectors as columns, each with its largest entry positive.
pub(crate) fn principal_components(c: &DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = SymmetricEigen::new(c.clone());
    let mut order: Vec<usize> = (0..c.nrows()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let values = order.iter().map(|&k| eigen.eigenvalues[k]).collect();
    let mut vectors = DMatrix::zeros(c.nrows(), c.nrows());
    for (to, &from) in order.iter().enumerate() {
        let vector = eigen.eigenvectors.column(from);
        let largest = vector[vector.iamax()];
        vectors.set_column(to, &(vector * if largest < 0.0 { -1.0 } else { 1.0 }));
    }
    (values, vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitened_channels_are_white_and_come_back() {
        let a = DMatrix::from_row_slice(3, 3, &[1.0, 0.2, 0.1, -0.5, 1e-3, 2.0, 0.3, 4.0, 0.7]);
        let c0 = &a * a.transpose();
        let found = Whitening::new(&c0, &DVector::zeros(3), 3);
        let white = &found.whitener * &c0 * found.whitener.transpose();
        assert!((white - DMatrix::identity(3, 3)).abs().max() < 1e-12);
        assert!((&found.dewhitener * &found.whitener - DMatrix::identity(3, 3)).abs().max() < 1e-12);
    }

    #[test]
    fn two_components_of_three_keep_the_strongest() {
        // a strong, b strong, and hardly any noise
        let a = DMatrix::from_row_slice(3, 2, &[1.0, 0.4, 0.5, -1.0, 0.2, 0.9]);
        let c0 = &a * a.transpose() + DMatrix::identity(3, 3) * 1e-6;
        let found = Whitening::new(&c0, &DVector::zeros(3), 2);
        assert_eq!(found.rank(), 2);
        // V A is square and a rotation but for the noise
        let va = &found.whitener * &a;
        assert!((&va * va.transpose() - DMatrix::identity(2, 2)).abs().max() < 1e-5);
    }

    #[test]
    fn silent_constant_and_equal_channels_lower_the_rank() {
        let c0 = DMatrix::from_row_slice(3, 3, &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1e-20]);
        let found = Whitening::new(&c0, &DVector::from_vec(vec![0.0, 0.0, 0.3]), 3);
        assert_eq!((found.rank(), found.silent.clone()), (1, vec![2]));
        assert_eq!(Whitening::new(&DMatrix::zeros(2, 2), &DVector::zeros(2), 2).rank(), 0);
    }

    #[test]
    fn a_faint_channel_is_no_silent_one() {
        let gains = DMatrix::from_diagonal(&DVector::from_vec(vec![1.0, 1e-7]));
        let c0 = &gains * DMatrix::from_row_slice(2, 2, &[1.0, 0.5, 0.5, 1.0]) * &gains;
        assert_eq!(Whitening::new(&c0, &DVector::zeros(2), 2).rank(), 2);
    }
}
