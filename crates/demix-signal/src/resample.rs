//! [`resample`]: the same sound at another rate.

use ndarray::Array2;
use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::Waveform;

/// About so many samples of a block, at the lower rate: long enough for an edge of some 1 % of the band.
const BLOCK: usize = 2048;

/// Why a waveform cannot be resampled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResampleError {
    /// A rate of nothing per second.
    #[error("resampling from {from} to {to} Hz: both rates must be at least 1 Hz")]
    NoRate {
        /// The rate there is, in Hz.
        from: u32,
        /// The rate asked for, in Hz.
        to: u32,
    },
    /// The library's reason.
    #[error("resampling from {from} to {to} Hz: {reason}")]
    Failed {
        /// The rate there is, in Hz.
        from: u32,
        /// The rate asked for, in Hz.
        to: u32,
        /// Why.
        reason: String,
    },
}

/// The same sound at `rate` Hz; frequencies above half the lower rate are lost. Nothing is done where the rate agrees.
///
/// The length is that of the input times the ratio of the rates, rounded up; the filter's delay is removed.
///
/// # Errors
/// A rate of 0 Hz.
pub fn resample(waveform: &Waveform, rate: u32) -> Result<Waveform, ResampleError> {
    let from = waveform.sample_rate;
    if from == rate {
        return Ok(waveform.clone());
    }
    if from == 0 || rate == 0 {
        return Err(ResampleError::NoRate { from, to: rate });
    }
    let failed = |reason: String| ResampleError::Failed { from, to: rate, reason };
    let n = (waveform.n_samples() as u64 * u64::from(rate)).div_ceil(u64::from(from)) as usize;
    let mut samples = Array2::zeros((waveform.n_channels(), n));
    let block = block(from, rate);
    for (row, mut out) in waveform.samples.rows().into_iter().zip(samples.rows_mut()) {
        let window = WindowFunction::BlackmanHarris2;
        let mut resampler =
            Fft::<f32>::new_custom(from as usize, rate as usize, block, 1, 1, window, FixedSync::Both)
                .map_err(|error| failed(error.to_string()))?;
        let channel = [row.to_vec()];
        let input =
            SequentialSliceOfVecs::new(&channel, 1, row.len()).map_err(|error| failed(error.to_string()))?;
        let found =
            resampler.process_all(&input, row.len(), None).map_err(|error| failed(error.to_string()))?;
        out.iter_mut().zip(found.take_data()).for_each(|(y, x)| *y = x);
    }
    Ok(Waveform::new(samples, rate))
}

/// Samples of a block at the rate `from`: a whole number of the shortest common periods, and an even one, because the
/// filter's delay is half a block and would otherwise be half a sample more than is removed.
fn block(from: u32, rate: u32) -> usize {
    let (mut a, mut b) = (from as usize, rate as usize);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    let shorter = from.min(rate) as usize / a;
    2 * (BLOCK / (2 * shorter)).max(1) * (from as usize / a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32, seconds: f64) -> Vec<f32> {
        let n = (seconds * f64::from(rate)).round() as usize;
        (0..n).map(|t| (std::f64::consts::TAU * hertz * t as f64 / f64::from(rate)).sin() as f32).collect()
    }

    #[test]
    fn a_tone_stays_a_tone_in_its_place() {
        for (from, to) in
            [(44100, 16000), (16000, 44100), (8000, 16000), (16000, 22050), (48000, 44100), (11025, 8000)]
        {
            let there = resample(&Waveform::mono(tone(440.0, from, 1.0), from), to).unwrap();
            assert_eq!((there.n_samples(), there.sample_rate), (to as usize, to));
            let want = tone(440.0, to, 1.0);
            // the ends ring, since the tone begins at once
            for t in to as usize / 10..to as usize * 9 / 10 {
                let error = (there.samples[[0, t]] - want[t]).abs();
                assert!(error < 1e-4, "{from} to {to}: {error} at {t}");
            }
        }
    }

    #[test]
    fn lengths_are_exact_and_frequencies_that_have_no_place_are_gone() {
        for n in [1, 2, 100, 4411, 30_000] {
            let there = resample(&Waveform::mono(vec![0.5; n], 44100), 16000).unwrap();
            assert_eq!(there.n_samples(), (n * 16000).div_ceil(44100));
        }
        let high = resample(&Waveform::mono(tone(9000.0, 44100, 1.0), 44100), 16000).unwrap();
        assert!(high.samples.iter().skip(2000).take(12_000).all(|x| x.abs() < 1e-4));
        let same = Waveform::mono(tone(440.0, 8000, 0.1), 8000);
        assert_eq!(resample(&same, 8000).unwrap(), same);
        assert!(resample(&same, 0).is_err());
    }
}
