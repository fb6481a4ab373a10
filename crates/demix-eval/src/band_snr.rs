//! Signal-to-noise ratio by frequency bands (FBW-SNR): Hasumi et al. 2023, eq. (68).
//!
//! ```text
//! SNR_wn = mean over bins i of band w of 10 log10 sum_j |x_ijn|^2 / sum_j |y_ijn - x_ijn|^2          (68)
//! ```
//!
//! x_n is the image of source n at the reference channel, y_n its estimate there. The paper has
//! bands of 250 bins at 8 kHz and 4096 samples, 488.28 Hz; with other transforms that width in Hz
//! holds. Cost: a transform of every signal; spectrograms of the references are held in memory.

use demix_signal::{Complex, Stft, StftError, StftSettings, Window};
use ndarray::{Array2, Array3, Axis};

use crate::error::EvalError;
use crate::recording::{Ensemble, Recording};
use crate::scores::{Order, decibel};

/// Settings of [`band_snr`]; the default is the paper's.
#[derive(Clone, Debug, PartialEq)]
pub struct BandSettings {
    /// The transform. `fft` at auto is the power of two nearest to 512 ms, `hop` at auto is half the
    /// window.
    pub stft: StftSettings,
    /// Width of a band in Hz, above 0.
    pub band_hz: f64,
    /// Number of bands from 0 Hz on, 1 or more; those above half the sample rate are `NaN`.
    pub n_bands: usize,
    /// The channel that is compared, counted from 0.
    pub reference_channel: usize,
    /// Which estimate belongs to which reference; the best order maximises the mean over the bands.
    pub order: Order,
}

impl Default for BandSettings {
    fn default() -> Self {
        Self {
            stft: StftSettings { window: Window::Hamming, ..StftSettings::default() },
            band_hz: 250.0 * 8000.0 / 4096.0,
            n_bands: 7,
            reference_channel: 0,
            order: Order::Best,
        }
    }
}

/// Ratios by bands.
#[derive(Clone, Debug, PartialEq)]
pub struct BandScores {
    /// In dB, shape (references, bands).
    pub snr: Array2<f64>,
    /// The first bin of each band, then the end of the last one.
    pub edges: Vec<usize>,
    /// The estimate that belongs to each reference.
    pub permutation: Vec<usize>,
}

/// Frequency-band-wise signal-to-noise ratios of each reference's estimate.
///
/// Bins in which the reference is silent are left out of the means; a band without others is `NaN`,
/// and a band in which a bin has no error is +infinity.
///
/// # Errors
/// Signals that differ in length, channels or rate; counts that do not fit the order; samples that
/// are not finite or cannot be read; settings out of their ranges.
///
/// # Example
/// ```
/// use demix_eval::{BandSettings, band_snr};
/// use demix_signal::Waveform;
/// let hum: Vec<f32> = (0..16000).map(|t| (t as f32 * t as f32 * 1e-4).sin()).collect();
/// let reference = Waveform::mono(hum.clone(), 8000);
/// let estimate = Waveform::mono(hum.iter().map(|x| 0.9 * x).collect(), 8000);
/// let scores = band_snr(&[reference], &[estimate], &BandSettings::default())?;
/// assert_eq!(scores.edges[..3], [0, 250, 500]);
/// assert!(scores.snr.iter().all(|snr| (snr - 20.0).abs() < 1e-3));
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub fn band_snr<R: Recording, E: Recording>(
    references: &[R],
    estimates: &[E],
    settings: &BandSettings,
) -> Result<BandScores, EvalError> {
    let ensemble = Ensemble::new(references, estimates)?;
    let shape = (references.len(), estimates.len());
    settings.order.check(shape.0, shape.1)?;
    settings.check(ensemble.n_channels)?;
    let rate = references[0].sample_rate();
    let stft = Stft::<f64>::new(&settings.stft_for_rate(rate))?;
    let edges = settings.edges(rate, stft.n_bins(), stft.settings().fft.unwrap_or_default());

    let channel = settings.reference_channel;
    let images: Result<Vec<Array2<f64>>, EvalError> =
        (0..shape.0).map(|n| channel_of(&ensemble, n, channel)).collect();
    let images = images?;
    let energies: Result<Vec<Vec<f64>>, StftError> =
        images.iter().map(|x| Ok(bin_energies(&stft.forward_samples(x)?))).collect();
    let energies = energies?;

    let mut bands = Array3::from_elem((shape.0, shape.1, settings.n_bands), f64::NAN);
    for e in 0..shape.1 {
        let estimate = channel_of(&ensemble, shape.0 + e, channel)?;
        for n in 0..shape.0 {
            // the transform is linear: that of the error is the error of the transforms
            let errors = bin_energies(&stft.forward_samples(&(&estimate - &images[n]))?);
            for band in 0..settings.n_bands {
                bands[[n, e, band]] = band_mean(&energies[n], &errors, edges[band]..edges[band + 1]);
            }
        }
    }

    let criterion = bands.map_axis(Axis(2), |snr| mean_of_numbers(snr.iter().copied()));
    let permutation = settings.order.permutation(&criterion);
    let snr =
        Array2::from_shape_fn((shape.0, settings.n_bands), |(n, band)| bands[[n, permutation[n], band]]);
    Ok(BandScores { snr, edges, permutation })
}

impl BandSettings {
    fn check(&self, n_channels: usize) -> Result<(), EvalError> {
        let setting = |name, value: String, range| Err(EvalError::Setting { name, value, range });
        if !(self.band_hz > 0.0 && self.band_hz.is_finite()) {
            return setting("band_hz", self.band_hz.to_string(), "above 0 Hz");
        }
        if self.n_bands == 0 {
            return setting("n_bands", self.n_bands.to_string(), "1 or more");
        }
        if self.reference_channel >= n_channels {
            let range = "one of the signals' channels, counted from 0";
            return setting("reference_channel", self.reference_channel.to_string(), range);
        }
        Ok(())
    }

    fn stft_for_rate(&self, rate: u32) -> StftSettings {
        let mut stft = self.stft.clone();
        if stft.fft.is_none() && stft.window_length.is_none() {
            stft.fft = Some(1 << (0.512 * f64::from(rate)).log2().round().max(1.0) as u32);
        }
        let window_length = stft.for_rate(rate).window_length.unwrap_or(2);
        stft.hop = stft.hop.or(Some((window_length / 2).max(1)));
        stft.for_rate(rate)
    }

    fn edges(&self, rate: u32, n_bins: usize, fft: usize) -> Vec<usize> {
        let bins = self.band_hz * fft as f64 / f64::from(rate);
        (0..=self.n_bands).map(|band| ((band as f64 * bins).round() as usize).min(n_bins)).collect()
    }
}

/// One channel of a signal (references before estimates), shape (1, samples).
fn channel_of<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    signal: usize,
    channel: usize,
) -> Result<Array2<f64>, EvalError> {
    let samples = ensemble.read_signal(signal)?;
    Ok(samples.row(channel).mapv(f64::from).insert_axis(Axis(0)))
}

/// Sum over the frames of each bin.
fn bin_energies(spectrogram: &Array3<Complex<f64>>) -> Vec<f64> {
    spectrogram.outer_iter().map(|bin| bin.iter().map(|x| x.norm_sqr()).sum()).collect()
}

fn band_mean(energies: &[f64], errors: &[f64], band: std::ops::Range<usize>) -> f64 {
    let pairs = energies[band.clone()].iter().zip(&errors[band]);
    mean_of_numbers(pairs.map(|(&x, &error)| if x == 0.0 { f64::NAN } else { decibel(x, error) }))
}

fn mean_of_numbers(values: impl Iterator<Item = f64>) -> f64 {
    let numbers: Vec<f64> = values.filter(|x| !x.is_nan()).collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}
