//! Lagged covariances of all pairs of channels, over the whole signal and over its parts.
//!
//! `C_n[i, j] = (1/T) sum_t x_i(t) x_j(t-n)`, means removed. Blocks are correlated by the fast Fourier transform, cross
//! spectra are summed and transformed back once for each part: the time hardly depends on how many lags there are,
//! 10 minutes of stereo take a few tenths of a second. Parts are the same for any number of threads.

use demix_signal::Waveform;
use nalgebra::{DMatrix, DVector};
use ndarray::s;
use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

/// Parts of a signal whose covariances are kept: enough for a variance, long enough to hold the lags.
const PARTS: usize = 32;
/// The shortest part, in samples.
const SHORTEST_PART: usize = 64;
/// The shortest transform: below, calling it costs more than it does.
const SHORTEST_TRANSFORM: usize = 8192;
/// Samples that one thread takes at a time in plain sums.
pub(crate) const BLOCK: usize = 1 << 14;

/// Lagged covariances of a signal with M channels.
#[derive(Clone, Debug)]
pub struct LaggedCovariances {
    /// The lags n in samples, rising; the first is 0.
    pub lags: Vec<usize>,
    /// The mean of each channel, (channels).
    pub mean: DVector<f64>,
    /// For each lag C_n, (channels, channels), in the unit of x squared; not made symmetric.
    pub covariances: Vec<DMatrix<f64>>,
    /// The same of consecutive parts of the signal, `parts[part][lag]`, each over its own number of samples.
    pub parts: Vec<Vec<DMatrix<f64>>>,
}

impl LaggedCovariances {
    /// Covariances at lag 0 and `lags`, which rise.
    pub fn new(x: &Waveform, lags: &[usize]) -> Self {
        let (m, n_samples) = (x.n_channels(), x.n_samples());
        let mean = mean(x);
        let lags: Vec<usize> =
            std::iter::once(0).chain(lags.iter().copied().filter(|&lag| lag > 0)).collect();
        let n_parts = PARTS.min(n_samples / SHORTEST_PART).max(1);
        let bounds: Vec<usize> = (0..=n_parts).map(|part| part * n_samples / n_parts).collect();
        let sums: Vec<Vec<DMatrix<f64>>> = bounds
            .par_windows(2)
            .map_init(
                || Correlator::new(m, &lags),
                |correlator, part| correlator.sums(x, &mean, part[0], part[1]),
            )
            .collect();
        let scaled = |sum: &DMatrix<f64>, n: usize| sum / n.max(1) as f64;
        let covariances = (0..lags.len())
            .map(|lag| {
                let whole = sums.iter().fold(DMatrix::zeros(m, m), |sum, part| sum + &part[lag]);
                scaled(&whole, n_samples)
            })
            .collect();
        let parts = sums
            .iter()
            .zip(bounds.windows(2))
            .map(|(part, bound)| part.iter().map(|sum| scaled(sum, bound[1] - bound[0])).collect())
            .collect();
        Self { lags, mean, covariances, parts }
    }

    /// The same for V x: V C_n V^T at every lag.
    pub fn transformed(&self, v: &DMatrix<f64>) -> Self {
        let transform = |c: &Vec<DMatrix<f64>>| c.iter().map(|c| v * c * v.transpose()).collect::<Vec<_>>();
        Self {
            lags: self.lags.clone(),
            mean: v * &self.mean,
            covariances: transform(&self.covariances),
            parts: self.parts.iter().map(transform).collect(),
        }
    }

    /// The mean of C_n and its transpose, which is C at -n: without echoes both are the same but for chance.
    pub fn symmetric(&self) -> Vec<DMatrix<f64>> {
        self.covariances.iter().map(symmetric_part).collect()
    }
}

/// (C + C^T) / 2.
pub(crate) fn symmetric_part(c: &DMatrix<f64>) -> DMatrix<f64> {
    (c + c.transpose()) * 0.5
}

/// The mean of each channel.
pub(crate) fn mean(x: &Waveform) -> DVector<f64> {
    let n = x.n_samples().max(1) as f64;
    DVector::from_iterator(
        x.n_channels(),
        x.samples.outer_iter().map(|row| row.iter().map(|&x| f64::from(x)).sum::<f64>() / n),
    )
}

/// Correlates blocks of one part after the other.
struct Correlator<'a> {
    lags: &'a [usize],
    longest: usize,
    transform: std::sync::Arc<dyn realfft::RealToComplex<f64>>,
    inverse: std::sync::Arc<dyn realfft::ComplexToReal<f64>>,
    /// Real input or output of a transform.
    buffer: Vec<f64>,
    scratch: Vec<Complex<f64>>,
    /// Spectra of a block, one for each channel.
    now: Vec<Vec<Complex<f64>>>,
    /// Spectra of the block with what precedes it.
    before: Vec<Vec<Complex<f64>>>,
    /// Sums of cross spectra, `cross[i * m + j]`.
    cross: Vec<Vec<Complex<f64>>>,
}

impl<'a> Correlator<'a> {
    fn new(m: usize, lags: &'a [usize]) -> Self {
        let longest = lags.last().copied().unwrap_or(0);
        let length = (4 * longest).next_power_of_two().max(SHORTEST_TRANSFORM);
        let mut planner = RealFftPlanner::new();
        let (transform, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
        let spectra = |n: usize| vec![transform.make_output_vec(); n];
        let scratch = transform.get_scratch_len().max(inverse.get_scratch_len());
        Self {
            lags,
            longest,
            buffer: vec![0.0; length],
            scratch: vec![Complex::new(0.0, 0.0); scratch],
            now: spectra(m),
            before: spectra(m),
            cross: spectra(m * m),
            transform,
            inverse,
        }
    }

    /// sum_t x_i(t) x_j(t-n) over t in `start..end` for every lag n; beyond the beginning x is its mean.
    fn sums(&mut self, x: &Waveform, mean: &DVector<f64>, start: usize, end: usize) -> Vec<DMatrix<f64>> {
        let m = x.n_channels();
        self.cross.iter_mut().for_each(|cross| cross.fill(Complex::new(0.0, 0.0)));
        let block = self.buffer.len() - self.longest;
        for begin in (start..end).step_by(block) {
            let stop = (begin + block).min(end);
            for channel in 0..m {
                // without history, then with the samples that the longest lag reaches
                for history in [0, self.longest] {
                    let from = begin.saturating_sub(history);
                    self.buffer.fill(0.0);
                    let samples = x.samples.slice(s![channel, from..stop]);
                    let gap = history - (begin - from);
                    for (out, &x) in self.buffer[gap..].iter_mut().zip(samples) {
                        *out = f64::from(x) - mean[channel];
                    }
                    let spectrum = if history == 0 { &mut self.now } else { &mut self.before };
                    self.transform
                        .process_with_scratch(&mut self.buffer, &mut spectrum[channel], &mut self.scratch)
                        .expect("buffers are of the plan's length");
                    if self.longest == 0 {
                        self.before[channel].clone_from(&self.now[channel]);
                        break;
                    }
                }
            }
            for i in 0..m {
                for j in 0..m {
                    let pairs = self.now[i].iter().zip(&self.before[j]);
                    for (sum, (now, before)) in self.cross[i * m + j].iter_mut().zip(pairs) {
                        *sum += now.conj() * before;
                    }
                }
            }
        }
        let mut sums = vec![DMatrix::zeros(m, m); self.lags.len()];
        let scale = 1.0 / self.buffer.len() as f64;
        for (pair, cross) in self.cross.iter_mut().enumerate() {
            // a real signal's spectrum: rounding aside these are real
            cross[0].im = 0.0;
            let last = cross.len() - 1;
            cross[last].im = 0.0;
            self.inverse
                .process_with_scratch(cross, &mut self.buffer, &mut self.scratch)
                .expect("buffers are of the plan's length");
            for (sum, &lag) in sums.iter_mut().zip(self.lags) {
                sum[(pair / m, pair % m)] = self.buffer[self.longest - lag] * scale;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instantaneous::synthesis::noise;

    /// The definition, sample by sample.
    fn oracle(x: &Waveform, lag: usize, range: std::ops::Range<usize>) -> DMatrix<f64> {
        let mean = mean(x);
        let at = |i: usize, t: usize| f64::from(x.samples[[i, t]]) - mean[i];
        let n = range.len() as f64;
        DMatrix::from_fn(x.n_channels(), x.n_channels(), |i, j| {
            range.clone().filter(|&t| t >= lag).map(|t| at(i, t) * at(j, t - lag)).sum::<f64>() / n
        })
    }

    #[test]
    fn covariances_are_those_of_the_definition() {
        for (n_samples, lags) in
            [(20000, vec![1, 7, 300]), (40000, vec![5000]), (100, vec![1, 50]), (30000, vec![])]
        {
            let mut x = noise(3, n_samples, 5);
            x.samples.row_mut(1).mapv_inplace(|x| 3.0 * x + 0.7);
            let found = LaggedCovariances::new(&x, &lags);
            assert_eq!(found.lags[1..], lags);
            for (lag, c) in found.lags.iter().zip(&found.covariances) {
                let error = (c - oracle(&x, *lag, 0..n_samples)).abs().max();
                // of values of about 1, summed in double precision
                assert!(error < 1e-12, "{n_samples} samples, lag {lag}: {error}");
            }
            let n_parts = found.parts.len();
            let last = (n_parts - 1) * n_samples / n_parts..n_samples;
            for (lag, c) in found.lags.iter().zip(&found.parts[n_parts - 1]) {
                assert!((c - oracle(&x, *lag, last.clone())).abs().max() < 1e-12, "lag {lag}");
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let x = noise(2, 50000, 6);
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| LaggedCovariances::new(&x, &[1, 2, 3]).covariances)
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn one_sample_and_a_constant_have_no_covariance() {
        for n_samples in [1, 1000] {
            let x = Waveform::new(ndarray::Array2::from_elem((2, n_samples), 0.25), 8000);
            let found = LaggedCovariances::new(&x, &[]);
            assert!(found.covariances[0].iter().all(|&c| c == 0.0));
        }
    }
}
