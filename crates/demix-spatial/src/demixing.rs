//! [`Demixing`]: the matrices W_i of y = W x while they are being found.

use demix_signal::Complex;
use ndarray::Array3;
use rayon::prelude::*;

use crate::SpatialError;
use crate::kernel::estimate::{Estimate, Power};
use crate::matrix::{C64, ZERO, inverse, multiply, set_identity, sum_log_abs_det};
use crate::mixture::{Mixture, Scalar};

/// W_i for the whitened mixture, M x M: rows w_n^H of the sources, then of the background where there are more
/// microphones than sources.
#[derive(Clone, Debug)]
pub struct Demixing {
    pub(crate) w: Vec<C64>,
    pub(crate) n_sources: usize,
    pub(crate) n_channels: usize,
}

impl Demixing {
    /// W = I in the coordinates of the microphones: source n begins as channel n.
    ///
    /// # Errors
    /// More sources than channels, or none.
    pub fn identity<T: Scalar>(mixture: &Mixture<T>, n_sources: usize) -> Result<Self, SpatialError> {
        let mut demixing = Self::sized(mixture, n_sources)?;
        let square = demixing.square();
        for (bin, w) in demixing.w.chunks_exact_mut(square).enumerate() {
            w.copy_from_slice(mixture.colouring(bin));
        }
        demixing.orthogonalise_background(mixture);
        Ok(demixing)
    }

    /// The strongest principal component of each bin begins as the first source, and so on.
    ///
    /// # Errors
    /// As [`Demixing::identity`].
    pub fn principal<T: Scalar>(mixture: &Mixture<T>, n_sources: usize) -> Result<Self, SpatialError> {
        let mut demixing = Self::sized(mixture, n_sources)?;
        let m = demixing.n_channels;
        for w in demixing.w.chunks_exact_mut(m * m) {
            for n in 0..m {
                w[n * m + m - 1 - n] = C64::new(1.0, 0.0);
            }
        }
        Ok(demixing)
    }

    /// Given matrices in the coordinates of the microphones, (bins, sources, channels); rows are w^H.
    ///
    /// # Errors
    /// Another shape than the mixture's, or numbers that are not finite.
    pub fn given<T: Scalar>(mixture: &Mixture<T>, w: &Array3<C64>) -> Result<Self, SpatialError> {
        let (n_bins, n_sources, n_channels) = w.dim();
        if (n_bins, n_channels) != (mixture.n_bins(), mixture.n_channels()) {
            return Err(SpatialError::Unsupported(format!(
                "the demixing matrices are for {n_bins} bins and {n_channels} channels, the mixture has {} and {}",
                mixture.n_bins(),
                mixture.n_channels()
            )));
        }
        if w.iter().any(|w| !(w.re.is_finite() && w.im.is_finite())) {
            return Err(SpatialError::Unsupported(
                "the demixing matrices hold numbers that are not finite".into(),
            ));
        }
        let mut demixing = Self::sized(mixture, n_sources)?;
        let m = n_channels;
        for (bin, out) in demixing.w.chunks_exact_mut(m * m).enumerate() {
            let mut given = vec![ZERO; m * m];
            for n in 0..n_sources {
                for c in 0..m {
                    given[n * m + c] = w[[bin, n, c]] * mixture.level();
                }
            }
            multiply(m, &given, mixture.colouring(bin), out);
        }
        demixing.orthogonalise_background(mixture);
        Ok(demixing)
    }

    fn sized<T: Scalar>(mixture: &Mixture<T>, n_sources: usize) -> Result<Self, SpatialError> {
        let n_channels = mixture.n_channels();
        if n_sources == 0 {
            return Err(SpatialError::NoSource);
        }
        if n_sources > n_channels {
            return Err(SpatialError::TooManySources {
                method: "determined demixing",
                sources: n_sources,
                channels: n_channels,
            });
        }
        Ok(Self { w: vec![ZERO; mixture.n_bins() * n_channels * n_channels], n_sources, n_channels })
    }

    /// N.
    pub fn n_sources(&self) -> usize {
        self.n_sources
    }

    pub(crate) fn square(&self) -> usize {
        self.n_channels * self.n_channels
    }

    pub(crate) fn bin(&self, bin: usize) -> &[C64] {
        &self.w[bin * self.square()..][..self.square()]
    }

    /// w_n^H of one bin.
    pub(crate) fn row(&self, bin: usize, source: usize) -> &[C64] {
        &self.bin(bin)[source * self.n_channels..][..self.n_channels]
    }

    /// sum_i log |det W_i| in the coordinates of the microphones (of the mixture at level 1).
    pub(crate) fn log_det<T: Scalar>(&self, mixture: &Mixture<T>) -> f64 {
        let tasks = self.w.par_chunks(64 * self.square());
        let logs: Vec<f64> = tasks.map(|bins| sum_log_abs_det(self.n_channels, bins)).collect();
        logs.iter().sum::<f64>() + mixture.log_det()
    }

    /// Background rows of unit power, uncorrelated with the sources and each other.
    pub(crate) fn orthogonalise_background<T: Scalar>(&mut self, mixture: &Mixture<T>) {
        let (m, n) = (self.n_channels, self.n_sources);
        if n == m {
            return;
        }
        self.w.par_chunks_exact_mut(m * m).enumerate().for_each(|(bin, w)| {
            orthogonalise_background(m, n, w, mixture.covariance(bin));
        });
    }

    /// W_i in the coordinates of the microphones, (bins, sources, channels): rows are w^H, y = W x with x as it was
    /// given.
    pub fn matrices<T: Scalar>(&self, mixture: &Mixture<T>) -> Array3<C64> {
        let m = self.n_channels;
        let mut out = Array3::zeros((mixture.n_bins(), self.n_sources, m));
        let mut w = vec![ZERO; m * m];
        for bin in 0..mixture.n_bins() {
            multiply(m, self.bin(bin), mixture.whitening(bin), &mut w);
            for n in 0..self.n_sources {
                for c in 0..m {
                    out[[bin, n, c]] = w[n * m + c] / mixture.level();
                }
            }
        }
        out
    }

    /// A_i = W_i^-1 in the coordinates of the microphones, (bins, channels, sources): image n is a_n y_n. With more
    /// microphones than sources, the columns of the sources alone. Columns of a singular W are 0.
    pub fn mixing<T: Scalar>(&self, mixture: &Mixture<T>) -> Array3<C64> {
        let m = self.n_channels;
        let mut out = Array3::zeros((mixture.n_bins(), m, self.n_sources));
        let mut a = vec![ZERO; m * m];
        for bin in 0..mixture.n_bins() {
            let Some(inverse) = inverse(m, self.bin(bin)) else { continue };
            multiply(m, mixture.colouring(bin), &inverse, &mut a);
            for c in 0..m {
                for n in 0..self.n_sources {
                    out[[bin, c, n]] = a[c * m + n] * mixture.level();
                }
            }
        }
        out
    }

    /// y_ijn of the mixture at level 1, (sources, bins, frames).
    pub fn estimates<T: Scalar>(&self, mixture: &Mixture<T>) -> Array3<Complex<T>> {
        let (n, n_bins, n_frames, stride) =
            (self.n_sources, mixture.n_bins(), mixture.n_frames(), mixture.stride());
        let mut out = Array3::zeros((n, n_bins, n_frames));
        for (source, mut y) in out.outer_iter_mut().enumerate() {
            y.outer_iter_mut().into_par_iter().enumerate().for_each_init(
                || (vec![T::ZERO; stride], vec![T::ZERO; stride]),
                |(re, im), (bin, mut y)| {
                    let row = self.row(bin, source);
                    T::run(mixture.simd, Estimate { x: mixture.bin(bin), row, re, im });
                    for ((y, &re), &im) in y.iter_mut().zip(&*re).zip(&*im) {
                        *y = Complex::new(re, im);
                    }
                },
            );
        }
        out
    }
}

/// Gram and Schmidt under the covariance: rows n.. of w become orthogonal to all before them, with unit power.
pub(crate) fn orthogonalise_background(m: usize, n: usize, w: &mut [C64], covariance: &[C64]) {
    // the space orthogonal to the sources has dimension m - n; the unit vectors span it after projection
    let mut basis: Vec<Vec<C64>> = Vec::with_capacity(m);
    let product = |a: &[C64], b: &[C64]| crate::matrix::form(covariance, a, b);
    let reduce = |mut row: Vec<C64>, basis: &[Vec<C64>]| {
        // twice is enough: Kahan and Parlett
        for _ in 0..2 {
            for b in basis {
                let share = product(&row, b);
                row.iter_mut().zip(b).for_each(|(x, b)| *x -= share * b);
            }
        }
        let power = product(&row, &row).re;
        (row, power)
    };
    let scaled = |row: Vec<C64>, power: f64| -> Vec<C64> { row.iter().map(|x| x / power.sqrt()).collect() };
    for source in 0..n {
        let (row, power) = reduce(w[source * m..][..m].to_vec(), &basis);
        if power > 0.0 {
            basis.push(scaled(row, power));
        }
    }
    let mut candidates = vec![ZERO; m * m];
    set_identity(m, &mut candidates);
    for row in n..m {
        let best = candidates
            .chunks_exact(m)
            .map(|unit| reduce(unit.to_vec(), &basis))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((best, power)) = best.filter(|(_, power)| *power > 0.0) else {
            // no power is left in this bin: any row will do that keeps W regular
            continue;
        };
        let best = scaled(best, power);
        w[row * m..][..m].copy_from_slice(&best);
        basis.push(best);
    }
}

/// |y_ijn|^2, computed when asked for.
pub struct Powers<'a, T> {
    pub(crate) mixture: &'a Mixture<T>,
    pub(crate) demixing: &'a Demixing,
    /// Powers that replace those of W x, (sources, bins, stride): a consistent spectrogram's.
    pub(crate) instead: Option<&'a [T]>,
}

impl<'a, T: Scalar> Powers<'a, T> {
    /// Those of W x.
    pub fn new(mixture: &'a Mixture<T>, demixing: &'a Demixing) -> Self {
        Self { mixture, demixing, instead: None }
    }
}

impl<T: Scalar> Powers<'_, T> {
    /// I.
    pub fn n_bins(&self) -> usize {
        self.mixture.n_bins()
    }

    /// J.
    pub fn n_frames(&self) -> usize {
        self.mixture.n_frames()
    }

    /// J rounded up to whole registers: the length that [`Powers::fill`] writes.
    pub fn stride(&self) -> usize {
        self.mixture.stride()
    }

    /// N.
    pub fn n_sources(&self) -> usize {
        self.demixing.n_sources
    }

    /// Writes |y_ijn|^2 of one bin and source: `stride` numbers, 0 behind the last frame.
    pub fn fill(&self, bin: usize, source: usize, out: &mut [T]) {
        match self.instead {
            Some(powers) => {
                let stride = self.stride();
                out.copy_from_slice(&powers[(source * self.n_bins() + bin) * stride..][..stride]);
            }
            None => {
                let row = self.demixing.row(bin, source);
                T::run(self.mixture.simd, Power { x: self.mixture.bin(bin), row, out });
            }
        }
    }

    pub(crate) fn simd(&self) -> demix_signal::simd::Simd {
        self.mixture.simd
    }
}
