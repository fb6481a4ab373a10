//! How far apart outputs are, told from the outputs alone: [`Apart`].
//!
//! Of several demixings of one mixture, through other windows or with bins in other orders, two figures tell which is best:
//!
//! - Sources are seldom loud in the same slot of a spectrogram. What one leaves in another's output is. The *overlap* of two
//!   outputs is sum sqrt(P_1 P_2) / sqrt(sum P_1 sum P_2), the mean over pairs.
//! - All bands of a source are loud at the same times. Where a band went to the wrong output, they are not. In each band the
//!   share of every output in the sum of amplitudes follows time; the *coherence* is the mean correlation of these shares
//!   between all pairs of bands, weighted by their loudness (the mean over outputs).
//!
//! One window for all candidates, 32 ms, makes them comparable, whatever transform they come from. Measured in
//! `docs/separation-settings.md`, "What is tried".

use demix_signal::{Stft, StftError, StftSettings};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, s};

use crate::permutation::activities;

/// Length of the windows in seconds.
const WINDOW: f64 = 0.032;
/// What the logarithm of the coherence counts beside that of the overlap: on 24 mixtures 0.2 to 1 choose alike.
const COHERENCE_WEIGHT: f64 = 0.5;

/// How far apart outputs are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// 0 where outputs never sound in the same slot, 1 where they are alike.
    pub overlap: f64,
    /// 1 where all bands of an output come and go together.
    pub coherence: f64,
}

impl Apart {
    /// Of outputs (sources, samples) at one rate in Hz, two or more.
    ///
    /// # Errors
    /// Outputs without samples.
    pub fn of(outputs: ArrayView2<'_, f32>, sample_rate: u32) -> Result<Self, StftError> {
        let length = 1 << (f64::from(sample_rate) * WINDOW).log2().round().clamp(5.0, 16.0) as u32;
        let stft = Stft::<f32>::new(&StftSettings::new(length, length / 4))?;
        let amplitudes = stft.forward_samples(&outputs.to_owned())?.mapv(|y| f64::from(y.norm()));
        Ok(Self { overlap: overlap(&amplitudes), coherence: coherence(&amplitudes) })
    }

    /// The higher, the further apart.
    pub fn score(&self) -> f64 {
        let log = |x: f64| x.max(f64::MIN_POSITIVE).ln();
        COHERENCE_WEIGHT * log(self.coherence) - log(self.overlap)
    }
}

/// Of amplitudes (bins, outputs, frames), the mean over pairs.
fn overlap(amplitudes: &Array3<f64>) -> f64 {
    let n = amplitudes.len_of(Axis(1));
    let of_output = |n: usize| amplitudes.index_axis(Axis(1), n);
    let powers: Vec<f64> = (0..n).map(|n| of_output(n).iter().map(|a| a * a).sum()).collect();
    let mut total = 0.0;
    for a in 0..n {
        for b in a + 1..n {
            let both: f64 = of_output(a).iter().zip(of_output(b)).map(|(a, b)| a * b).sum();
            let size = (powers[a] * powers[b]).sqrt();
            // an output that is silent has taken nothing from the other
            total += if size > 0.0 { both / size } else { 1.0 };
        }
    }
    total / (n * n.saturating_sub(1) / 2).max(1) as f64
}

/// Of amplitudes (bins, outputs, frames), the mean over outputs.
fn coherence(amplitudes: &Array3<f64>) -> f64 {
    let (n_bins, n, n_frames) = amplitudes.dim();
    // the lowest bin and half octaves from the next one on
    let band_of = |bin: usize| if bin == 0 { 0 } else { 1 + (2.0 * (bin as f64).log2()) as usize };
    let mut bands = Array3::<f64>::zeros((band_of(n_bins - 1) + 1, n, n_frames));
    for (bin, amplitudes) in amplitudes.outer_iter().enumerate() {
        let mut band = bands.slice_mut(s![band_of(bin), .., ..]);
        band += &amplitudes;
    }
    let loudness: Array1<f64> = bands.outer_iter().map(|band| band.sum()).collect();
    let total = loudness.sum();
    let mut together = Array2::<f64>::zeros((n, n_frames));
    for (share, loudness) in activities(bands.view()).outer_iter().zip(&loudness) {
        if total > 0.0 {
            together.scaled_add(loudness / total, &share);
        }
    }
    // |sum_b w_b r_b|^2 is the weighted mean of the correlations of all pairs of bands
    together.iter().map(|x| x * x).sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    const RATE: u32 = 8000;

    /// Tones in three octaves that come and go together, at times of their own for each of two sources, and 24 bands of
    /// each: (sources, bands, samples).
    fn bands(seed: u64) -> Array3<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let n_samples = 4 * RATE as usize;
        let mut out = Array3::zeros((2, 24, n_samples));
        for mut source in out.outer_iter_mut() {
            let phases: Vec<f64> = (0..24).map(|_| 6.0 * random.random::<f64>()).collect();
            let frequencies: Vec<f64> = (0..24)
                .map(|band| 120.0 * 1.15f64.powi(band) * (1.0 + 0.1 * random.random::<f64>()))
                .collect();
            let mut loud = 0.0;
            for t in 0..n_samples {
                if t % 1200 == 0 {
                    loud = random.random::<f64>().powi(4);
                }
                for band in 0..24 {
                    let phase =
                        phases[band] + frequencies[band] * t as f64 / f64::from(RATE) * std::f64::consts::TAU;
                    source[[band, t]] = (loud * phase.sin()) as f32;
                }
            }
        }
        out
    }

    /// The outputs, bands `turned` in the wrong one, and `leak` of each source in the other.
    fn outputs(bands: &Array3<f32>, turned: std::ops::Range<usize>, leak: f32) -> Array2<f32> {
        let mut out = Array2::zeros((2, bands.len_of(Axis(2))));
        for source in 0..2 {
            for band in 0..bands.len_of(Axis(1)) {
                let to = if turned.contains(&band) { 1 - source } else { source };
                let sound = bands.slice(s![source, band, ..]);
                out.row_mut(to).scaled_add(1.0, &sound);
                out.row_mut(1 - to).scaled_add(leak, &sound);
            }
        }
        out
    }

    #[test]
    fn what_is_apart_scores_higher_than_leaks_and_bands_in_the_wrong_output() {
        for seed in 0..5 {
            let bands = bands(seed);
            let of = |turned, leak| Apart::of(outputs(&bands, turned, leak).view(), RATE).unwrap();
            let right = of(0..0, 0.0);
            assert!(right.coherence > 0.8, "{right:?}");
            let mut before = right;
            for leak in [0.03, 0.1, 0.3, 1.0] {
                let leaky = of(0..0, leak);
                assert!(
                    leaky.overlap > before.overlap && leaky.score() < before.score(),
                    "{leak}: {leaky:?}"
                );
                before = leaky;
            }
            assert!((before.overlap - 1.0).abs() < 1e-6, "{before:?}");
            for turned in [0..4, 4..12, 12..24, 0..12, 20..24] {
                let wrong = of(turned.clone(), 0.0);
                assert!(
                    wrong.coherence < right.coherence && wrong.score() < right.score(),
                    "{turned:?}: {wrong:?}"
                );
            }
        }
    }

    #[test]
    fn levels_and_silence_are_no_trouble() {
        let bands = bands(7);
        let loud = outputs(&bands, 0..0, 0.1);
        let mut soft = loud.mapv(|x| 1e-6 * x);
        soft.row_mut(0).mapv_inplace(|x| 1e-2 * x);
        let (loud, soft) = (Apart::of(loud.view(), RATE).unwrap(), Apart::of(soft.view(), RATE).unwrap());
        assert!((loud.overlap / soft.overlap - 1.0).abs() < 1e-3, "{loud:?} {soft:?}");
        let mut half = outputs(&bands, 0..0, 0.0);
        half.row_mut(1).fill(0.0);
        let half = Apart::of(half.view(), RATE).unwrap();
        assert!(half.overlap == 1.0 && half.score().is_finite(), "{half:?}");
        let silent = Apart::of(Array2::zeros((3, 8000)).view(), RATE).unwrap();
        assert!(silent.overlap == 1.0 && silent.score().is_finite(), "{silent:?}");
        assert!(Apart::of(Array2::zeros((2, 0)).view(), RATE).is_err());
    }
}
