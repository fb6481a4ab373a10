//! [`Spectrogram`]: complex amplitudes over frequency, channel and time.

use ndarray::{Array2, Array3, ArrayView2, Axis, Zip, s};
use rustfft::num_complex::Complex;

use crate::{Real, StftSettings};

/// The short-time Fourier transform of a waveform.
#[derive(Clone, Debug)]
pub struct Spectrogram<T> {
    /// X_imj, shape (bins, channels, frames): bin-major, because every spatial step is per bin.
    pub data: Array3<Complex<T>>,
    /// Samples per second of the waveform, in Hz.
    pub sample_rate: u32,
    /// The transform that made it, nothing left at `auto`.
    pub stft: StftSettings,
}

impl<T: Real> Spectrogram<T> {
    /// Number of frequency bins, I = fft / 2 + 1.
    pub fn n_bins(&self) -> usize {
        self.data.len_of(Axis(0))
    }

    /// Number of channels, M.
    pub fn n_channels(&self) -> usize {
        self.data.len_of(Axis(1))
    }

    /// Number of time frames, J.
    pub fn n_frames(&self) -> usize {
        self.data.len_of(Axis(2))
    }

    /// One channel, shape (bins, frames).
    pub fn channel(&self, channel: usize) -> ArrayView2<'_, Complex<T>> {
        self.data.slice(s![.., channel, ..])
    }

    /// mean_m |X_imj|^q, the power mean over channels raised to q / 2: shape (bins, frames).
    ///
    /// For one channel this is |X|^q. The exponent q is 1 (magnitude), 2 (power) or any positive number.
    pub fn mean_magnitude(&self, exponent: f64) -> Array2<T> {
        let scale = T::of(1.0 / self.n_channels() as f64);
        let half = T::of(exponent / 2.0);
        let raise = move |power: T| match exponent {
            1.0 => power.sqrt(),
            2.0 => power,
            _ => power.powf(half),
        };
        let mut v = Array2::zeros((self.n_bins(), self.n_frames()));
        Zip::from(v.rows_mut()).and(self.data.outer_iter()).par_for_each(|mut row, channels| {
            for channel in channels.rows() {
                row.zip_mut_with(&channel, |sum, x| *sum += x.norm_sqr());
            }
            row.mapv_inplace(|power| raise(power * scale));
        });
        v
    }
}
