//! The best that masks and filters could do, were the sources known.
//!
//! Every oracle works bin by bin on the short-time Fourier transform of the mixture x, with the true
//! images s_n of the sources:
//!
//! ```text
//! ratio mask        y_nm = |s_nm|^q / sum_k |s_km|^q  x_m
//! binary mask       y_nm = x_m where |s_nm| is the largest, else 0
//! Wiener            y_n = v_nj R_n (sum_k v_kj R_k)^-1 x,  v_nj = |s_nj|^2 / M,  R_n = sum_j s_n s_n^H / sum_j v_nj
//! demixing filter   y_n = (sum_j s_n x^H) (sum_j x x^H)^-1 x
//! ```
//!
//! Vincent, Gribonval, Plumbley 2007 (oracle estimators); Duong, Vincent, Gribonval 2010 (Wiener
//! with full-rank covariances). Where a matrix is singular, directions without energy are left out.

use demix_signal::{Complex, Spectrogram, Stft, StftSettings, Waveform};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;

use crate::error::EvalError;
use crate::recording::Ensemble;

type C = Complex<f64>;

/// What may be done to the mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Oracle {
    /// Share of each source in the sum of |s|^exponent, channel by channel; 2 is power, 1 magnitude.
    RatioMask {
        /// Above 0.
        exponent: f64,
    },
    /// Each bin to the loudest source, channel by channel.
    BinaryMask,
    /// Multichannel Wiener filter with the true variances and spatial covariances.
    Wiener,
    /// One matrix per bin for the whole track, with the least squared error.
    DemixingFilter,
}

/// The oracle's estimate of each reference, in order, made from the mixture.
///
/// `references` are the sources' images at the microphones: same length, channels and rate as the
/// mixture. `stft` at auto is filled in for the rate. Masks and the Wiener filter give estimates that
/// sum to the mixture.
///
/// # Errors
/// Signals that differ in length, channels or rate or are not finite; settings of the transform out
/// of range; an exponent of 0 or below.
///
/// # Example
/// ```
/// use demix_eval::{Oracle, Order, oracle, snr};
/// use demix_signal::{StftSettings, Waveform};
/// let low: Vec<f32> = (0..8000).map(|t| (t as f32 * 0.2).sin()).collect();
/// let high: Vec<f32> = (0..8000).map(|t| (t as f32 * 1.9).sin()).collect();
/// let mixture = Waveform::mono(low.iter().zip(&high).map(|(a, b)| a + b).collect(), 8000);
/// let references = [Waveform::mono(low, 8000), Waveform::mono(high, 8000)];
/// let best = oracle(Oracle::BinaryMask, &references, &mixture, &StftSettings::new(512, 128))?;
/// assert!(snr(&references, &best, &Order::Fixed)?.snr.iter().all(|&snr| snr > 20.0));
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub fn oracle(
    kind: Oracle,
    references: &[Waveform],
    mixture: &Waveform,
    stft: &StftSettings,
) -> Result<Vec<Waveform>, EvalError> {
    let ensemble = Ensemble::new(references, std::slice::from_ref(mixture))?;
    for signal in 0..=references.len() {
        ensemble.read_signal(signal)?; // says which sample is not finite
    }
    if let Oracle::RatioMask { exponent } = kind
        && (exponent <= 0.0 || !exponent.is_finite())
    {
        return Err(EvalError::Setting {
            name: "exponent",
            value: exponent.to_string(),
            range: "a number above 0",
        });
    }
    let stft = Stft::<f32>::new(&stft.for_rate(mixture.sample_rate))?;
    let x = stft.forward(mixture)?;
    let sources: Result<Vec<Spectrogram<f32>>, _> = references.iter().map(|s| stft.forward(s)).collect();
    let mut estimates = sources?;

    // bin by bin, each estimate in the place of its source
    let bins = (0..x.n_bins()).map(|_| Vec::with_capacity(estimates.len())).collect::<Vec<_>>();
    let bins = estimates.iter_mut().fold(bins, |mut bins, source| {
        bins.iter_mut().zip(source.data.axis_iter_mut(Axis(0))).for_each(|(bin, s)| bin.push(s));
        bins
    });
    bins.into_par_iter().zip(x.data.axis_iter(Axis(0)).into_par_iter()).for_each(|(mut sources, x)| {
        let wide = |x: ArrayView2<'_, Complex<f32>>| x.mapv(|x| C::new(x.re.into(), x.im.into()));
        let mut s = Array3::zeros((sources.len(), x.nrows(), x.ncols()));
        s.outer_iter_mut().zip(&sources).for_each(|(mut s, source)| s.assign(&wide(source.view())));
        let y = match kind {
            Oracle::RatioMask { exponent } => ratio_mask(&s, &wide(x), exponent),
            Oracle::BinaryMask => binary_mask(&s, &wide(x)),
            Oracle::Wiener => wiener(&s, &wide(x)),
            Oracle::DemixingFilter => demixing_filter(&s, &wide(x)),
        };
        for (source, y) in sources.iter_mut().zip(y.outer_iter()) {
            source.zip_mut_with(&y, |out, y| *out = Complex::new(y.re as f32, y.im as f32));
        }
    });
    Ok(estimates
        .iter()
        .map(|y| Waveform::new(stft.inverse(y, mixture.n_samples()), mixture.sample_rate))
        .collect())
}

/// One bin: sources (sources, channels, frames), mixture (channels, frames).
fn ratio_mask(s: &Array3<C>, x: &Array2<C>, exponent: f64) -> Array3<C> {
    let shares = s.mapv(|s| s.norm().powf(exponent));
    let sum = shares.sum_axis(Axis(0));
    let equal = 1.0 / s.len_of(Axis(0)) as f64;
    Array3::from_shape_fn(s.dim(), |(n, m, j)| {
        x[[m, j]] * if sum[[m, j]] > 0.0 { shares[[n, m, j]] / sum[[m, j]] } else { equal }
    })
}

fn binary_mask(s: &Array3<C>, x: &Array2<C>) -> Array3<C> {
    let mut y = Array3::zeros(s.dim());
    for ((m, j), &x) in x.indexed_iter() {
        let mut loudest = 0;
        for n in 1..s.len_of(Axis(0)) {
            if s[[n, m, j]].norm_sqr() > s[[loudest, m, j]].norm_sqr() {
                loudest = n;
            }
        }
        y[[loudest, m, j]] = x;
    }
    y
}

fn wiener(s: &Array3<C>, x: &Array2<C>) -> Array3<C> {
    let (n_sources, n_channels, n_frames) = s.dim();
    let variance = s.mapv(|s| s.norm_sqr()).sum_axis(Axis(1)) / n_channels as f64;
    let covariances: Vec<Array2<C>> = (0..n_sources)
        .map(|n| {
            let s = s.index_axis(Axis(0), n);
            let total = variance.row(n).sum();
            if total > 0.0 {
                products(s, s).mapv(|r| r / total)
            } else {
                Array2::zeros((n_channels, n_channels))
            }
        })
        .collect();

    let mut y = Array3::zeros(s.dim());
    for j in 0..n_frames {
        let mut sum = Array2::zeros((n_channels, n_channels));
        for n in 0..n_sources {
            sum.scaled_add(C::from(variance[[n, j]]), &covariances[n]);
        }
        let z = solve_hermitian(&sum, x.column(j).insert_axis(Axis(1)));
        for n in 0..n_sources {
            let image = covariances[n].dot(&z).mapv(|y| y * variance[[n, j]]);
            y.index_axis_mut(Axis(0), n).column_mut(j).assign(&image.column(0));
        }
    }
    y
}

fn demixing_filter(s: &Array3<C>, x: &Array2<C>) -> Array3<C> {
    let covariance = products(x.view(), x.view());
    let mut y = Array3::zeros(s.dim());
    for (s, mut y) in s.outer_iter().zip(y.outer_iter_mut()) {
        // R_xx is Hermitian: (R_sx R_xx^-1)^H = R_xx^-1 R_xs
        let filter =
            solve_hermitian(&covariance, products(x.view(), s).view()).reversed_axes().mapv(|w| w.conj());
        y.assign(&filter.dot(x));
    }
    y
}

/// sum_j a_j b_j^H.
fn products(a: ArrayView2<'_, C>, b: ArrayView2<'_, C>) -> Array2<C> {
    a.dot(&b.mapv(|b| b.conj()).reversed_axes())
}

/// Share of the largest diagonal below which a direction has no energy: single precision, squared.
const NO_ENERGY: f64 = 1e-13;

/// X of A X = B for a positive semidefinite A, by Cholesky's method; unknowns of directions without
/// energy are 0.
fn solve_hermitian(a: &Array2<C>, b: ArrayView2<'_, C>) -> Array2<C> {
    let n = a.nrows();
    let floor = NO_ENERGY * a.diag().iter().fold(0.0f64, |largest, x| largest.max(x.re));
    let mut c = Array2::<C>::zeros((n, n));
    for i in 0..n {
        for j in 0..i {
            if c[[j, j]].re > 0.0 {
                let known: C = (0..j).map(|k| c[[i, k]] * c[[j, k]].conj()).sum();
                c[[i, j]] = (a[[i, j]] - known) / c[[j, j]];
            }
        }
        let pivot = a[[i, i]].re - (0..i).map(|k| c[[i, k]].norm_sqr()).sum::<f64>();
        c[[i, i]] = C::from(if pivot > floor { pivot.sqrt() } else { 0.0 });
    }
    let mut x = b.to_owned();
    for mut x in x.columns_mut() {
        for i in 0..n {
            let known: C = (0..i).map(|k| c[[i, k]] * x[k]).sum();
            x[i] = if c[[i, i]].re > 0.0 { (x[i] - known) / c[[i, i]] } else { C::from(0.0) };
        }
        for i in (0..n).rev() {
            let known: C = (i + 1..n).map(|k| c[[k, i]].conj() * x[k]).sum();
            x[i] = if c[[i, i]].re > 0.0 { (x[i] - known) / c[[i, i]] } else { C::from(0.0) };
        }
    }
    x
}
