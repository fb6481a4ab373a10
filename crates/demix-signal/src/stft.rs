//! The short-time Fourier transform and its least-squares inverse.
//!
//! X_ij = sum_t w\[t\] x\[t + j hop\] e^(-2 pi i t / n), unnormalised. Frames are centred: half a window of
//! padding stands before the first and after the last sample, then zeros up to a whole number of hops. A
//! window shorter than the transform is followed by zeros. The inverse adds window times frame and divides
//! by the overlapped squared window: the signal whose transform is nearest to the given one in the least
//! squares sense (Griffin and Lim 1984, eq. 6).

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, Array3, Axis, s};
use rayon::prelude::*;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};

use crate::settings::{SettingError, Settings as _};
use crate::{Real, Spectrogram, Waveform, Window};

crate::choices! {
    /// What stands before the first and after the last sample.
    pub enum Padding {
        /// The signal, mirrored at its ends.
        Reflect = "reflect",
        /// Zeros.
        Zero = "zero",
    }
}

crate::settings! {
    /// Settings of the short-time Fourier transform.
    pub struct StftSettings {
        /// Length of the transform. Longer tells close pitches apart and holds more of a room's echoes, shorter
        /// follows attacks; auto: the next power of two above `window_length`, else the one nearest to 93 ms for
        /// masks (4096 at 44.1 kHz; dictionaries: twice that), to 512 ms for demixing, where eight windows fit into
        /// the recording.
        pub fft: Option<usize> = None, unit "samples", range 2.0 ..= 1048576.0;
        /// Length of the window, at most `fft` (the rest is zeros); auto: `fft`.
        pub window_length: Option<usize> = None, unit "samples", range 1.0 ..= 1048576.0;
        /// Distance of two frames, at most `window_length`; auto: a quarter of the window for masks, an eighth for
        /// demixing.
        pub hop: Option<usize> = None, unit "samples", range 1.0 ..= 1048576.0;
        /// Window of analysis and synthesis.
        pub window: Window = Window::Hann;
        /// What stands beyond the ends of the signal.
        pub padding: Padding = Padding::Reflect;
    }
}

/// Length of the automatic window in seconds: 4096 samples at 44.1 kHz.
const AUTO_WINDOW_SECONDS: f64 = 4096.0 / 44100.0;

impl StftSettings {
    /// Window and transform of one length, hop, hann, reflected ends.
    pub fn new(fft: usize, hop: usize) -> Self {
        Self { fft: Some(fft), window_length: Some(fft), hop: Some(hop), ..Self::default() }
    }

    /// Replaces every `auto` by the number that it means at this rate (Hz).
    pub fn for_rate(&self, sample_rate: u32) -> Self {
        let fft = self.fft.unwrap_or_else(|| match self.window_length {
            Some(window_length) => window_length.next_power_of_two().max(2),
            None => {
                let samples = f64::from(sample_rate) * AUTO_WINDOW_SECONDS;
                1 << samples.log2().round().clamp(5.0, 17.0) as u32
            }
        });
        let window_length = self.window_length.unwrap_or(fft);
        let hop = self.hop.unwrap_or((window_length / 4).max(1));
        Self { fft: Some(fft), window_length: Some(window_length), hop: Some(hop), ..self.clone() }
    }
}

/// A transform that cannot be built or applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StftError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A length is still `auto`.
    #[error("'{0}' is auto: fill it in with StftSettings::for_rate")]
    Auto(&'static str),
    /// Window longer than the transform.
    #[error("window_length={window_length} is longer than fft={fft}: raise fft or shorten the window")]
    WindowTooLong {
        /// Samples.
        window_length: usize,
        /// Samples.
        fft: usize,
    },
    /// Gaps between the windows.
    #[error(
        "hop={hop} is longer than the window ({window_length} samples): take a hop of at most a half of it"
    )]
    HopTooLong {
        /// Samples.
        hop: usize,
        /// Samples.
        window_length: usize,
    },
    /// The overlapped squared windows come too close to zero.
    #[error(
        "a {window} window of {window_length} samples with hop={hop} cannot be inverted (the overlapped \
         squared windows fall to {ratio:.1e} of their maximum, 1e-6 is needed): shorten the hop"
    )]
    NotInvertible {
        /// Shape of the window.
        window: Window,
        /// Samples.
        window_length: usize,
        /// Samples.
        hop: usize,
        /// Smallest over largest overlapped squared window.
        ratio: f64,
    },
    /// A signal without samples.
    #[error("the signal has no samples: at least 1 is needed")]
    Empty,
}

/// Below this ratio of smallest to largest overlapped squared window the inverse is refused.
const RATIO_REFUSED: f64 = 1e-6;
/// Below this ratio the inverse is exact to fewer digits, and says so.
const RATIO_WARNED: f64 = 1e-3;
/// Frames that one task transforms: enough for whole cache lines when a block is written bin by bin.
const BLOCK_FRAMES: usize = 32;
/// Blocks that are inverted side by side before they are added up.
const BLOCKS_AT_ONCE: usize = 64;

/// A planned transform; it may be shared between threads.
///
/// # Example
/// ```
/// use demix_signal::{Stft, StftSettings, Waveform};
/// let sound = Waveform::mono((0..5000).map(|t| (t as f32 * 0.05).sin()).collect(), 16000);
/// let stft = Stft::<f32>::new(&StftSettings::new(1024, 256))?;
/// let spectrogram = stft.forward(&sound)?;
/// assert_eq!(spectrogram.data.dim(), (513, 1, 21));
/// let back = stft.inverse(&spectrogram, sound.n_samples());
/// assert!((&back - &sound.samples).iter().all(|error| error.abs() < 1e-5));
/// # Ok::<(), demix_signal::StftError>(())
/// ```
pub struct Stft<T> {
    settings: StftSettings,
    fft: usize,
    hop: usize,
    window: Vec<T>,
    ratio: f64,
    plan: Plan<T>,
}

/// The Fourier transform of one frame.
enum Plan<T> {
    /// The fastest instructions of this machine.
    Native { forward: Arc<dyn RealToComplex<T>>, inverse: Arc<dyn ComplexToReal<T>> },
    /// Scalar arithmetic in one order on every machine.
    Portable { forward: Arc<dyn Fft<T>>, inverse: Arc<dyn Fft<T>> },
}

impl<T: Real> Stft<T> {
    /// Plans the transform.
    ///
    /// # Errors
    /// Lengths that are `auto` or out of range, a hop longer than the window, a window that cannot be inverted.
    pub fn new(settings: &StftSettings) -> Result<Self, StftError> {
        Self::plan(settings, false)
    }

    /// As [`Stft::new`], in scalar arithmetic: the same bits on every machine.
    ///
    /// # Errors
    /// As [`Stft::new`].
    pub fn portable(settings: &StftSettings) -> Result<Self, StftError> {
        Self::plan(settings, true)
    }

    fn plan(settings: &StftSettings, portable: bool) -> Result<Self, StftError> {
        settings.check()?;
        let fft = settings.fft.ok_or(StftError::Auto("fft"))?;
        let window_length = settings.window_length.ok_or(StftError::Auto("window_length"))?;
        let hop = settings.hop.ok_or(StftError::Auto("hop"))?;
        if window_length > fft {
            return Err(StftError::WindowTooLong { window_length, fft });
        }
        if hop > window_length {
            return Err(StftError::HopTooLong { hop, window_length });
        }
        let window = settings.window.samples(window_length);
        let ratio = overlap_ratio(&window, hop);
        if ratio < RATIO_REFUSED {
            return Err(StftError::NotInvertible { window: settings.window, window_length, hop, ratio });
        }
        let plan = if portable {
            let mut planner = FftPlannerScalar::new();
            Plan::Portable { forward: planner.plan_fft_forward(fft), inverse: planner.plan_fft_inverse(fft) }
        } else {
            let mut planner = RealFftPlanner::new();
            Plan::Native { forward: planner.plan_fft_forward(fft), inverse: planner.plan_fft_inverse(fft) }
        };
        let window = window.into_iter().map(T::of).collect();
        Ok(Self { settings: settings.clone(), fft, hop, window, ratio, plan })
    }

    /// The settings it was planned with.
    pub fn settings(&self) -> &StftSettings {
        &self.settings
    }

    /// I = fft / 2 + 1.
    pub fn n_bins(&self) -> usize {
        self.fft / 2 + 1
    }

    /// Number of frames J for a signal of `n_samples` >= 1.
    pub fn n_frames(&self, n_samples: usize) -> usize {
        let padded = n_samples + 2 * self.margin();
        1 + padded.saturating_sub(self.window.len()).div_ceil(self.hop)
    }

    /// A sentence when the inverse is exact to fewer digits than usual.
    pub fn warning(&self) -> Option<String> {
        (self.ratio < RATIO_WARNED).then(|| {
            format!(
                "the overlapped squared windows fall to {:.1e} of their maximum: the inverse transform \
                 amplifies rounding there; a shorter hop cures it",
                self.ratio
            )
        })
    }

    /// Samples of padding before the first sample.
    fn margin(&self) -> usize {
        self.window.len() / 2
    }

    /// Transforms every channel: shape (bins, channels, frames).
    ///
    /// # Errors
    /// A waveform without samples.
    pub fn forward(&self, waveform: &Waveform) -> Result<Spectrogram<T>, StftError> {
        let samples = waveform.samples.mapv(|x| T::of(f64::from(x)));
        let data = self.forward_samples(&samples)?;
        Ok(Spectrogram { data, sample_rate: waveform.sample_rate, stft: self.settings.clone() })
    }

    /// Transforms samples of shape (channels, samples) into (bins, channels, frames).
    ///
    /// # Errors
    /// No samples.
    pub fn forward_samples(&self, samples: &Array2<T>) -> Result<Array3<Complex<T>>, StftError> {
        let (n_channels, n_samples) = samples.dim();
        if n_samples == 0 {
            return Err(StftError::Empty);
        }
        let mut data = Array3::zeros((self.n_bins(), n_channels, self.n_frames(n_samples)));
        for (channel, signal) in samples.outer_iter().enumerate() {
            let signal = signal.to_vec();
            data.slice_mut(s![.., channel, ..])
                .axis_chunks_iter_mut(Axis(1), BLOCK_FRAMES)
                .into_par_iter()
                .enumerate()
                .for_each(|(block, mut out)| {
                    let n_frames = out.ncols();
                    let frames = self.forward_frames(&signal, block * BLOCK_FRAMES, n_frames);
                    for (bin, mut row) in out.rows_mut().into_iter().enumerate() {
                        for (frame, x) in row.iter_mut().enumerate() {
                            *x = frames[frame * self.n_bins() + bin];
                        }
                    }
                });
        }
        Ok(data)
    }

    /// Frames `first..first + n_frames` of a signal, one after another.
    fn forward_frames(&self, signal: &[T], first: usize, n_frames: usize) -> Vec<Complex<T>> {
        let mut spectra = vec![Complex::default(); n_frames * self.n_bins()];
        let mut frame = vec![T::zero(); self.fft];
        let mut scratch = self.scratch();
        for (j, spectrum) in spectra.chunks_exact_mut(self.n_bins()).enumerate() {
            let start = ((first + j) * self.hop) as isize - self.margin() as isize;
            for (t, (x, &w)) in frame.iter_mut().zip(&self.window).enumerate() {
                *x = w * self.padded(signal, start + t as isize);
            }
            frame[self.window.len()..].fill(T::zero());
            self.transform(&mut frame, spectrum, &mut scratch);
        }
        spectra
    }

    /// The sample at `t`, which may lie in the padding.
    fn padded(&self, signal: &[T], t: isize) -> T {
        let n = signal.len() as isize;
        if (0..n).contains(&t) {
            return signal[t as usize];
        }
        // zeros stand beyond the margin whatever the padding, up to a whole number of hops
        let margin = self.margin() as isize;
        if matches!(self.settings.padding, Padding::Zero) || t < -margin || t >= n + margin {
            return T::zero();
        }
        let period = (2 * (n - 1)).max(1);
        let t = t.rem_euclid(period);
        signal[t.min(period - t).min(n - 1) as usize]
    }

    fn scratch(&self) -> Vec<Complex<T>> {
        let length = match &self.plan {
            Plan::Native { forward, inverse } => forward.get_scratch_len().max(inverse.get_scratch_len()),
            Plan::Portable { forward, inverse } => {
                self.fft + forward.get_inplace_scratch_len().max(inverse.get_inplace_scratch_len())
            }
        };
        vec![Complex::default(); length]
    }

    /// One frame of `fft` samples into `n_bins` bins; the frame's content is lost.
    fn transform(&self, frame: &mut [T], spectrum: &mut [Complex<T>], scratch: &mut [Complex<T>]) {
        match &self.plan {
            Plan::Native { forward, .. } => {
                let length = forward.get_scratch_len();
                forward
                    .process_with_scratch(frame, spectrum, &mut scratch[..length])
                    .expect("buffers have the planned lengths");
            }
            Plan::Portable { forward, .. } => {
                let (buffer, scratch) = scratch.split_at_mut(self.fft);
                buffer.iter_mut().zip(frame.iter()).for_each(|(z, &x)| *z = Complex::new(x, T::zero()));
                forward.process_with_scratch(buffer, scratch);
                spectrum.copy_from_slice(&buffer[..self.n_bins()]);
            }
        }
    }

    /// The inverse of [`Stft::transform`], scaled by `fft`; the spectrum's content is lost.
    fn transform_back(&self, spectrum: &mut [Complex<T>], frame: &mut [T], scratch: &mut [Complex<T>]) {
        // the inverse of a real signal has no imaginary part at DC and Nyquist: the nearest such spectrum
        spectrum[0].im = T::zero();
        if self.fft.is_multiple_of(2) {
            spectrum[self.fft / 2].im = T::zero();
        }
        match &self.plan {
            Plan::Native { inverse, .. } => {
                let length = inverse.get_scratch_len();
                inverse
                    .process_with_scratch(spectrum, frame, &mut scratch[..length])
                    .expect("buffers have the planned lengths");
            }
            Plan::Portable { inverse, .. } => {
                let (buffer, scratch) = scratch.split_at_mut(self.fft);
                buffer[..spectrum.len()].copy_from_slice(spectrum);
                for bin in spectrum.len()..self.fft {
                    buffer[bin] = spectrum[self.fft - bin].conj();
                }
                inverse.process_with_scratch(buffer, scratch);
                frame.iter_mut().zip(buffer.iter()).for_each(|(x, z)| *x = z.re);
            }
        }
    }

    /// The least-squares inverse: shape (channels, `n_samples`).
    pub fn inverse(&self, spectrogram: &Spectrogram<T>, n_samples: usize) -> Array2<T> {
        let mut samples = Array2::zeros((spectrogram.n_channels(), n_samples));
        for (channel, mut row) in samples.outer_iter_mut().enumerate() {
            let x = spectrogram.channel(channel);
            let signal = self.inverse_blocks(spectrogram.n_frames(), n_samples, |frames, out| {
                for (bin, row) in x.slice(s![.., frames]).outer_iter().enumerate() {
                    for (frame, &value) in row.iter().enumerate() {
                        out[frame * self.n_bins() + bin] = value;
                    }
                }
            });
            row.assign(&ndarray::ArrayView1::from(&signal));
        }
        samples
    }

    /// The least-squares inverse of frames that are made block by block, so that no second spectrogram
    /// needs to stand in memory.
    ///
    /// `fill(frames, out)` writes the spectra of `frames` one after another, `n_bins` each, into `out`.
    /// Blocks are made side by side and added in order: the result does not depend on the threads.
    pub fn inverse_blocks(
        &self,
        n_frames: usize,
        n_samples: usize,
        fill: impl Fn(Range<usize>, &mut [Complex<T>]) + Sync,
    ) -> Vec<T> {
        let length = self.window.len();
        let mut sum = vec![T::zero(); (n_frames.max(1) - 1) * self.hop + length];
        let blocks: Vec<Range<usize>> = (0..n_frames)
            .step_by(BLOCK_FRAMES)
            .map(|first| first..(first + BLOCK_FRAMES).min(n_frames))
            .collect();
        for wave in blocks.chunks(BLOCKS_AT_ONCE) {
            let parts: Vec<Vec<T>> = wave
                .par_iter()
                .map(|frames| {
                    let mut spectra = vec![Complex::default(); frames.len() * self.n_bins()];
                    fill(frames.clone(), &mut spectra);
                    self.overlap_add(&mut spectra)
                })
                .collect();
            for (frames, part) in wave.iter().zip(&parts) {
                let start = frames.start * self.hop;
                sum[start..start + part.len()].iter_mut().zip(part).for_each(|(s, &x)| *s += x);
            }
        }
        let norm = self.overlapped_window(n_frames);
        let scale = T::of(1.0 / self.fft as f64);
        let first = self.margin();
        (0..n_samples)
            .map(|t| match norm.get(first + t) {
                Some(&norm) if norm > T::zero() => sum[first + t] * scale / norm,
                _ => T::zero(),
            })
            .collect()
    }

    /// sum_j w\[t - j hop\] frame_j\[t - j hop\] of consecutive spectra, scaled by `fft`.
    fn overlap_add(&self, spectra: &mut [Complex<T>]) -> Vec<T> {
        let n_frames = spectra.len() / self.n_bins();
        let mut sum = vec![T::zero(); (n_frames - 1) * self.hop + self.window.len()];
        let mut frame = vec![T::zero(); self.fft];
        let mut scratch = self.scratch();
        for (j, spectrum) in spectra.chunks_exact_mut(self.n_bins()).enumerate() {
            self.transform_back(spectrum, &mut frame, &mut scratch);
            let out = &mut sum[j * self.hop..];
            for ((s, &x), &w) in out.iter_mut().zip(&frame).zip(&self.window) {
                *s += w * x;
            }
        }
        sum
    }

    /// sum_j w\[t - j hop\]^2 over `n_frames` frames.
    fn overlapped_window(&self, n_frames: usize) -> Vec<T> {
        let length = self.window.len();
        let mut norm = vec![T::zero(); (n_frames.max(1) - 1) * self.hop + length];
        for j in 0..n_frames {
            for (s, &w) in norm[j * self.hop..].iter_mut().zip(&self.window) {
                *s += w * w;
            }
        }
        norm
    }
}

/// Smallest over largest sum of squared windows, far from the ends.
fn overlap_ratio(window: &[f64], hop: usize) -> f64 {
    let sums = (0..hop).map(|t| window[t..].iter().step_by(hop).map(|w| w * w).sum::<f64>());
    let (low, high) = sums.fold((f64::INFINITY, 0.0f64), |(low, high), s| (low.min(s), high.max(s)));
    if high > 0.0 { low / high } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;
    use proptest::prelude::*;

    fn noise(n: usize) -> Vec<f64> {
        let mut state = 1u64;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    fn rows(x: &[f64]) -> Array2<f64> {
        Array1::from(x.to_vec()).insert_axis(Axis(0))
    }

    fn settings(
        fft: usize,
        window_length: usize,
        hop: usize,
        window: Window,
        padding: Padding,
    ) -> StftSettings {
        StftSettings { fft: Some(fft), window_length: Some(window_length), hop: Some(hop), window, padding }
    }

    /// Oracle: the definition, O(n^2), with the padded signal written out.
    #[test]
    fn forward_is_the_definition() {
        for (fft, window_length, hop, padding) in
            [(16, 16, 4, Padding::Zero), (16, 10, 3, Padding::Reflect), (15, 9, 4, Padding::Reflect)]
        {
            for n in [1, 2, 7, 40] {
                let x = noise(n);
                let settings = settings(fft, window_length, hop, Window::Hamming, padding);
                let stft = Stft::<f64>::new(&settings).unwrap();
                let portable = Stft::<f64>::portable(&settings).unwrap();
                let data = stft.forward_samples(&rows(&x)).unwrap();
                let data_portable = portable.forward_samples(&rows(&x)).unwrap();
                let margin = window_length / 2;
                let mirrored = |t: isize| {
                    if n == 1 {
                        return x[0];
                    }
                    let mut t = t;
                    while t < 0 || t >= n as isize {
                        t = if t < 0 { -t } else { 2 * (n as isize - 1) - t };
                    }
                    x[t as usize]
                };
                let padded: Vec<f64> = (0..n + 2 * margin)
                    .map(|t| {
                        let t = t as isize - margin as isize;
                        let inside = t >= 0 && t < n as isize;
                        if inside || padding == Padding::Reflect { mirrored(t) } else { 0.0 }
                    })
                    .collect();
                let w = Window::Hamming.samples(window_length);
                for frame in 0..data.dim().2 {
                    for bin in 0..fft / 2 + 1 {
                        let mut sum = Complex::new(0.0, 0.0);
                        for t in 0..window_length {
                            let x = padded.get(frame * hop + t).copied().unwrap_or(0.0);
                            let angle = -std::f64::consts::TAU * (bin * t) as f64 / fft as f64;
                            sum += Complex::from_polar(w[t] * x, angle);
                        }
                        // rounding of at most 16 terms of size 1
                        assert!((data[[bin, 0, frame]] - sum).norm() < 1e-13, "{fft} {n} {bin} {frame}");
                        assert!((data_portable[[bin, 0, frame]] - sum).norm() < 1e-13);
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        /// The documented accuracy holds for every shape whose windows overlap well.
        #[test]
        fn inverse_undoes_forward(
            n in 1usize..3000, fft in 2usize..700, shorten in 0usize..5, divide in 1usize..6,
            shape in 0usize..5, zero in any::<bool>(),
        ) {
            let window = [Window::Hann, Window::Hamming, Window::Blackman, Window::SqrtHann, Window::Rectangular][shape];
            let window_length = (fft - shorten * fft / 10).max(1);
            let hop = (window_length / divide).max(1);
            let padding = if zero { Padding::Zero } else { Padding::Reflect };
            let settings = settings(fft, window_length, hop, window, padding);
            let Ok(stft) = Stft::<f64>::new(&settings) else { return Ok(()) };
            prop_assume!(stft.ratio > RATIO_WARNED);
            let x = rows(&noise(n));
            let data = stft.forward_samples(&x).unwrap();
            prop_assert_eq!(data.dim().2, stft.n_frames(n));
            let spectrogram = Spectrogram { data, sample_rate: 8000, stft: settings.clone() };
            let back = stft.inverse(&spectrogram, n);
            let error = (&back - &x).mapv(|e| e * e).sum() / x.mapv(|e| e * e).sum();
            prop_assert!(10.0 * error.log10() < -280.0, "f64: {} dB", 10.0 * error.log10());

            let stft = Stft::<f32>::new(&settings).unwrap();
            let x = x.mapv(|x| x as f32);
            let spectrogram = Spectrogram {
                data: stft.forward_samples(&x).unwrap(), sample_rate: 8000, stft: settings,
            };
            let back = stft.inverse(&spectrogram, n);
            let error = (&back - &x).mapv(|e| e * e).sum() / x.mapv(|e| e * e).sum();
            prop_assert!(10.0 * error.log10() < -120.0, "f32: {} dB", 10.0 * error.log10());
        }
    }

    /// The inverse is the least-squares one: its error is orthogonal to every other consistent spectrogram.
    #[test]
    fn inverse_is_least_squares_on_inconsistent_input() {
        let settings = settings(32, 24, 7, Window::Hann, Padding::Zero);
        let stft = Stft::<f64>::new(&settings).unwrap();
        let mut data = stft.forward_samples(&rows(&noise(100))).unwrap();
        data.indexed_iter_mut()
            .for_each(|((bin, _, frame), x)| *x *= 0.5 + 0.5 * (bin as f64 + 3.0 * frame as f64).cos());
        let spectrogram = Spectrogram { data, sample_rate: 8000, stft: settings };
        let best = stft.inverse(&spectrogram, 100);
        let distance = |x: &Array2<f64>| {
            let again = stft.forward_samples(x).unwrap();
            let mut sum = 0.0;
            for bin in 0..17 {
                // bins between DC and Nyquist stand for two of the full transform
                let weight = if bin == 0 || bin == 16 { 1.0 } else { 2.0 };
                for frame in 0..again.dim().2 {
                    sum += weight * (again[[bin, 0, frame]] - spectrogram.data[[bin, 0, frame]]).norm_sqr();
                }
            }
            sum
        };
        let least = distance(&best);
        for t in [3, 50, 97] {
            for step in [1e-3, -1e-3] {
                let mut other = best.clone();
                other[[0, t]] += step;
                assert!(distance(&other) > least, "sample {t}");
            }
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let refuse = |s: StftSettings| Stft::<f32>::new(&s).err().unwrap().to_string();
        let hann = |fft, length, hop| settings(fft, length, hop, Window::Hann, Padding::Zero);
        assert!(refuse(hann(64, 128, 16)).contains("window_length=128 is longer than fft=64"));
        assert!(refuse(hann(64, 64, 65)).contains("hop=65 is longer than the window (64 samples)"));
        assert!(refuse(hann(64, 64, 64)).contains("cannot be inverted"));
        assert!(refuse(hann(1_000_000_000, 64, 16)).contains("out of range"));
        assert!(refuse(StftSettings::default()).contains("auto"));
        let stft = Stft::<f32>::new(&StftSettings::new(64, 16)).unwrap();
        assert_eq!(stft.forward(&Waveform::mono(vec![], 8000)).err(), Some(StftError::Empty));
        assert!(Stft::<f32>::new(&hann(64, 64, 62)).unwrap().warning().is_some());
    }

    #[test]
    fn automatic_lengths_follow_the_rate() {
        let auto = StftSettings::default();
        for (rate, fft) in
            [(44100, 4096), (48000, 4096), (22050, 2048), (16000, 2048), (8000, 1024), (96000, 8192)]
        {
            let settings = auto.for_rate(rate);
            assert_eq!(
                (settings.fft, settings.window_length, settings.hop),
                (Some(fft), Some(fft), Some(fft / 4))
            );
        }
        assert!(Stft::<f32>::new(&auto.for_rate(1)).is_ok());
        assert!(Stft::<f32>::new(&auto.for_rate(u32::MAX)).is_ok());
    }
}
