//! [`Mixture`]: the observed spectrogram as the loop reads it, whitened bin by bin.
//!
//! The updates of the demixing matrices are equivariant: demixing Q x with W Q^-1 gives the same y. So each bin is
//! stored as Q x with uncorrelated channels of equal power, computed in double precision. Then single precision
//! suffices where the microphones hear nearly the same, and directions without signal (identical channels, bins above a
//! codec's cut-off) are known before the first iteration.

use demix_signal::simd::{Aligned, Simd, Vectors};
use demix_signal::{Complex, Real};
use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use crate::SpatialError;
use crate::kernel::STRIDE_UNIT;
use crate::matrix::{C64, ZERO, hermitian_eigen};

/// A precision that the loop computes in.
pub trait Scalar: Vectors {}
impl<T: Vectors> Scalar for T {}

/// Directions of less power than this share of the bin's strongest are empty: -130 dB, below 16 and 24 bit noise.
pub(crate) const EMPTY_DIRECTION: f64 = 1e-13;
/// Bins of less power than this share of the mean bin are empty: -200 dB.
const EMPTY_BIN: f64 = 1e-20;

/// x_ij, whitened, in planes: (bins, channels, real and imaginary part, frames).
pub struct Mixture<T> {
    planes: Aligned<T>,
    n_bins: usize,
    n_channels: usize,
    n_frames: usize,
    stride: usize,
    /// Q_i, (bins, M, M): the stored signal is Q x / level.
    whitening: Vec<C64>,
    /// Q_i^-1.
    colouring: Vec<C64>,
    /// Mean covariance of the stored signal, (bins, M, M).
    covariance: Vec<C64>,
    /// log |det Q_i|.
    log_det: Vec<f64>,
    /// Directions with signal, of each bin.
    ranks: Vec<usize>,
    level: f64,
    pub(crate) simd: Simd,
}

impl<T: Scalar> Mixture<T> {
    /// Takes a spectrogram (bins, channels, frames); its level (root mean square) becomes 1.
    ///
    /// # Errors
    /// Nothing inside, or numbers that are not finite.
    pub fn new<S: Real>(x: ArrayView3<'_, Complex<S>>, simd: Simd) -> Result<Self, SpatialError> {
        let power: f64 = x.iter().map(|x| x.re.to_double().powi(2) + x.im.to_double().powi(2)).sum();
        let level = (power / x.len().max(1) as f64).sqrt();
        // silence has no level; what is not finite is refused there
        Self::with_level(x, if level == 0.0 { 1.0 } else { level }, simd)
    }

    /// As [`Mixture::new`] with the level to divide by: 1 leaves the signal as it is.
    ///
    /// # Errors
    /// As [`Mixture::new`].
    pub fn with_level<S: Real>(
        x: ArrayView3<'_, Complex<S>>,
        level: f64,
        simd: Simd,
    ) -> Result<Self, SpatialError> {
        let (n_bins, n_channels, n_frames) = x.dim();
        if x.is_empty() {
            return Err(SpatialError::Empty { channels: n_channels, samples: n_frames });
        }
        if !level.is_finite() {
            return Err(SpatialError::Unsupported(
                "the spectrogram holds numbers that are not finite".into(),
            ));
        }
        let stride = n_frames.next_multiple_of(STRIDE_UNIT);
        let square = n_channels * n_channels;
        let covariances: Vec<Vec<C64>> =
            x.axis_iter(Axis(0)).into_par_iter().map(|bin| covariance_of(bin, 1.0 / level)).collect();
        let trace = |c: &[C64]| (0..n_channels).map(|m| c[m * n_channels + m].re).sum::<f64>();
        let mean = covariances.iter().map(|c| trace(c)).sum::<f64>() / (n_bins * n_channels) as f64;
        let mut whitening = vec![ZERO; n_bins * square];
        let mut colouring = whitening.clone();
        let mut log_det = vec![0.0; n_bins];
        let mut ranks = vec![0; n_bins];
        for (bin, c) in covariances.iter().enumerate() {
            let (values, vectors) = hermitian_eigen(n_channels, c);
            let strongest = values[n_channels - 1].max(0.0);
            let floor = (EMPTY_DIRECTION * strongest).max(EMPTY_BIN * mean).max(f64::MIN_POSITIVE.sqrt());
            for (k, &value) in values.iter().enumerate() {
                ranks[bin] += usize::from(value > floor);
                let scale = value.max(floor).sqrt();
                log_det[bin] -= scale.ln();
                for m in 0..n_channels {
                    let e = vectors[m * n_channels + k];
                    whitening[bin * square + k * n_channels + m] = e.conj() / scale;
                    colouring[bin * square + m * n_channels + k] = e * scale;
                }
            }
        }
        let mut planes = Aligned::new(n_bins * n_channels * 2 * stride, T::ZERO);
        let mut covariance = vec![ZERO; n_bins * square];
        planes
            .par_chunks_exact_mut(n_channels * 2 * stride)
            .zip(covariance.par_chunks_exact_mut(square))
            .zip(x.axis_iter(Axis(0)).into_par_iter())
            .zip(whitening.par_chunks_exact(square))
            .for_each(|(((planes, covariance), x), q)| {
                let mut frame = vec![ZERO; n_channels];
                for j in 0..n_frames {
                    for (k, y) in frame.iter_mut().enumerate() {
                        *y = (0..n_channels)
                            .map(|m| {
                                let x = x[[m, j]];
                                q[k * n_channels + m] * C64::new(x.re.to_double(), x.im.to_double()) / level
                            })
                            .sum();
                        planes[2 * k * stride + j] = T::of(y.re);
                        planes[(2 * k + 1) * stride + j] = T::of(y.im);
                    }
                    for a in 0..n_channels {
                        for b in 0..n_channels {
                            covariance[a * n_channels + b] += frame[a] * frame[b].conj();
                        }
                    }
                }
                covariance.iter_mut().for_each(|c| *c /= n_frames as f64);
            });
        Ok(Self {
            planes,
            n_bins,
            n_channels,
            n_frames,
            stride,
            whitening,
            colouring,
            covariance,
            log_det,
            ranks,
            level,
            simd,
        })
    }

    /// I.
    pub fn n_bins(&self) -> usize {
        self.n_bins
    }

    /// M.
    pub fn n_channels(&self) -> usize {
        self.n_channels
    }

    /// J.
    pub fn n_frames(&self) -> usize {
        self.n_frames
    }

    /// The root mean square that the signal was divided by.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Number of directions with signal in each bin: less than M where channels are identical or silent.
    pub fn ranks(&self) -> &[usize] {
        &self.ranks
    }

    /// J rounded up to whole registers.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// (channels, 2, stride) of one bin.
    pub(crate) fn bin(&self, bin: usize) -> &[T] {
        let size = self.n_channels * 2 * self.stride;
        &self.planes[bin * size..][..size]
    }

    pub(crate) fn whitening(&self, bin: usize) -> &[C64] {
        self.square(&self.whitening, bin)
    }

    pub(crate) fn colouring(&self, bin: usize) -> &[C64] {
        self.square(&self.colouring, bin)
    }

    /// (1/J) sum_j x x^H of the stored signal.
    pub(crate) fn covariance(&self, bin: usize) -> &[C64] {
        self.square(&self.covariance, bin)
    }

    /// sum_i log |det Q_i|.
    pub(crate) fn log_det(&self) -> f64 {
        self.log_det.iter().sum()
    }

    fn square<'a>(&self, matrices: &'a [C64], bin: usize) -> &'a [C64] {
        let size = self.n_channels * self.n_channels;
        &matrices[bin * size..][..size]
    }
}

/// (1/J) sum_j x x^H of one bin (channels, frames), times `gain`^2.
pub(crate) fn covariance_of<S: Real>(x: ndarray::ArrayView2<'_, Complex<S>>, gain: f64) -> Vec<C64> {
    let (m, n_frames) = x.dim();
    let mut c = vec![ZERO; m * m];
    let scale = gain * gain / n_frames as f64;
    for a in 0..m {
        for b in a..m {
            let mut sum = ZERO;
            for (x, y) in x.row(a).iter().zip(x.row(b)) {
                let (x, y) = (
                    C64::new(x.re.to_double(), x.im.to_double()),
                    C64::new(y.re.to_double(), y.im.to_double()),
                );
                sum += x * y.conj();
            }
            c[a * m + b] = sum * scale;
            c[b * m + a] = c[a * m + b].conj();
        }
    }
    c
}

/// The eigenvalues of the covariance of one bin (channels, frames), falling.
pub(crate) fn eigenvalues<S: Real>(x: ndarray::ArrayView2<'_, Complex<S>>) -> Vec<f64> {
    let mut values = hermitian_eigen(x.nrows(), &covariance_of(x, 1.0)).0;
    values.reverse();
    values
}

/// The strongest principal components of every bin: P (bins, n, channels), rows orthonormal, the strongest first.
///
/// `x` is (bins, channels, frames); P x holds the n components of the most power.
pub fn principal_components<S: Real>(x: ArrayView3<'_, Complex<S>>, n: usize) -> ndarray::Array3<C64> {
    let (n_bins, m, _) = x.dim();
    let n = n.min(m);
    let mut out = ndarray::Array3::zeros((n_bins, n, m));
    out.outer_iter_mut().into_par_iter().zip(x.axis_iter(Axis(0)).into_par_iter()).for_each(|(mut p, x)| {
        let (_, vectors) = hermitian_eigen(m, &covariance_of(x, 1.0));
        for k in 0..n {
            for c in 0..m {
                p[[k, c]] = vectors[c * m + m - 1 - k].conj();
            }
        }
    });
    out
}

/// P^H A: columns (bins, components, sources) of the components P x at the microphones, since rows of P are orthonormal.
pub fn unreduced(mixing: &ndarray::Array3<C64>, components: &ndarray::Array3<C64>) -> ndarray::Array3<C64> {
    let (n_bins, k, m) = components.dim();
    ndarray::Array3::from_shape_fn((n_bins, m, mixing.len_of(Axis(2))), |(bin, c, source)| {
        (0..k).map(|p| components[[bin, p, c]].conj() * mixing[[bin, p, source]]).sum()
    })
}
