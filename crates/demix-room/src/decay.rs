//! [`decay()`]: how long a response reverberates.

use realfft::RealFftPlanner;

use crate::reverberation::slope;

/// Energy below this frequency (Hz) does not count: the lower edge of the 125 Hz octave, as ISO 3382-1 measures.
const LOWEST: f64 = 88.4;

/// The decay of a response, by Schroeder's backward integration (1965).
#[derive(Clone, Debug, PartialEq)]
pub struct Decay {
    /// Energy that is still to come at every sample, in dB re all of it; the last ones may be -inf.
    pub curve: Vec<f64>,
    /// T30: 60 dB at the slope of the regression line from -5 to -35 dB, in s; `None` where the curve ends before.
    pub t60: Option<f64>,
    /// T20: the same from -5 to -25 dB.
    pub t20: Option<f64>,
}

/// Measures the decay of the part above 88 Hz (the octave bands from 125 Hz on) of a response.
///
/// What lies below is left out because image sources swell there, see [`Shoebox`](crate::Shoebox). Noise in measured
/// responses is not removed: it lengthens T30 where it lies less than 45 dB below the direct sound.
pub fn decay(response: &[f64], sample_rate: u32) -> Decay {
    of_samples(&between(response, sample_rate, LOWEST, f64::INFINITY), sample_rate)
}

/// Measures the decay in the octave around `centre` (Hz).
pub fn octave_decay(response: &[f64], sample_rate: u32, centre: f64) -> Decay {
    let half = std::f64::consts::SQRT_2;
    of_samples(&between(response, sample_rate, centre / half, centre * half), sample_rate)
}

fn of_samples(heard: &[f64], sample_rate: u32) -> Decay {
    let mut curve = vec![0.0; heard.len()];
    let mut rest = 0.0;
    for (energy, x) in curve.iter_mut().zip(heard).rev() {
        rest += x * x;
        *energy = rest;
    }
    for energy in &mut curve {
        *energy = 10.0 * (*energy / rest).log10();
    }
    let time = |low: f64| {
        // a silent response has no curve: NaN is nowhere
        let start = curve.iter().position(|db| *db <= -5.0)?;
        let end = curve.iter().position(|db| *db <= low)?;
        let points = (start..end).map(|t| (t as f64, curve[t]));
        let is_line = end > start + 1;
        is_line.then(|| -60.0 / slope(points) / f64::from(sample_rate))
    };
    let (t60, t20) = (time(-35.0), time(-25.0));
    Decay { curve, t60, t20 }
}

/// The part of a response between two frequencies (Hz), with zero phase and edges of a third of an octave.
fn between(response: &[f64], sample_rate: u32, low: f64, high: f64) -> Vec<f64> {
    // the filter rings for some periods on both sides, which must not fold over
    let n = response.len();
    let padded = (n + sample_rate as usize / 5).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(padded), planner.plan_fft_inverse(padded));
    let (mut samples, mut spectrum) = (forward.make_input_vec(), forward.make_output_vec());
    samples[..n].copy_from_slice(response);
    forward.process(&mut samples, &mut spectrum).expect("the planner made these buffers");
    // from 0 to 1 around an edge
    let rise =
        |octaves: f64| (std::f64::consts::FRAC_PI_2 * (3.0 * octaves + 0.5).clamp(0.0, 1.0)).sin().powi(2);
    for (k, x) in spectrum.iter_mut().enumerate() {
        let hertz = (k as f64 * f64::from(sample_rate) / padded as f64).max(1e-9);
        *x *= rise((hertz / low).log2()) * rise((high / hertz).log2()) / padded as f64;
    }
    inverse.process(&mut spectrum, &mut samples).expect("the planner made these buffers");
    samples.truncate(n);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise that decays by 60 dB in `t60` s.
    fn noise(t60: f64, seconds: f64, rate: u32) -> Vec<f64> {
        let mut state = 1u64;
        let n = (seconds * f64::from(rate)) as usize;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        (0..n).map(|t| random() * 10f64.powf(-3.0 * t as f64 / f64::from(rate) / t60)).collect()
    }

    #[test]
    fn the_time_of_decaying_noise_is_found() {
        for (t60, rate) in [(0.1, 8000), (0.3, 16000), (1.0, 44100)] {
            let found = decay(&noise(t60, 1.2 * t60, rate), rate);
            // the spread of noise of bandwidth B: about 1 / sqrt(B t60)
            let tolerance = 2.0 / (0.5 * f64::from(rate) * t60).sqrt();
            assert!((found.t60.unwrap() / t60 - 1.0).abs() < tolerance, "{t60}: {:?}", found.t60);
            assert!((found.t20.unwrap() / t60 - 1.0).abs() < tolerance);
            assert_eq!(found.curve[0], 0.0);
            assert!(found.curve.windows(2).all(|pair| pair[1] <= pair[0]));
        }
    }

    #[test]
    fn too_short_or_silent_responses_have_no_time() {
        assert_eq!(decay(&[0.0; 100], 8000).t60, None);
        assert_eq!(decay(&[], 8000).t60, None);
        assert_eq!(decay(&[1.0, 0.9, 0.9], 8000).t20, None);
    }

    #[test]
    fn what_lies_below_is_left_out() {
        let rate = 8000;
        let mut response = noise(0.2, 0.5, rate);
        let clean = decay(&response, rate).t60.unwrap();
        response.iter_mut().enumerate().for_each(|(t, x)| *x += 0.2 * (t as f64 / 8000.0 * 8.0).cos());
        let swell = decay(&response, rate);
        // it starts and ends suddenly, which sounds
        assert!((swell.t20.unwrap() / clean - 1.0).abs() < 0.3, "{swell:?}");
    }
}
