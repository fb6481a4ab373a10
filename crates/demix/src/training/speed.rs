//! Sound played faster or slower: pitch, tempo and timbre move together, as on a tape.
//!
//! y\[t\] = sum_k x\[k\] c sinc(c (t s - k)) w(t s - k) with speed s, cutoff c = min(1, 1 / s) and a Hann window w over
//! [`REACH`] samples on both sides. Cost: 2 `REACH` products per sample.

use std::f64::consts::PI;

/// Samples on both sides that a sample is made of.
const REACH: usize = 16;
/// Places between two samples for which the kernel is known: its error is below -50 dB.
const PHASES: usize = 512;

/// How many samples [`at_speed`] needs to give `length`.
pub(super) fn needed(length: usize, speed: f64) -> usize {
    (length as f64 * speed).ceil() as usize + 2 * REACH
}

/// `length` samples of `sound`, from [`REACH`] on, at `speed` times its own.
pub(super) fn at_speed(sound: &[f32], length: usize, speed: f64) -> Vec<f32> {
    debug_assert!(sound.len() >= needed(length, speed), "as many samples as `needed` says");
    let kernels = kernels(speed);
    (0..length)
        .map(|t| {
            let at = REACH as f64 + t as f64 * speed;
            let phase = (at.fract() * PHASES as f64).round() as usize;
            let kernel = &kernels[phase * 2 * REACH..][..2 * REACH];
            // the first sample within reach
            let first = at as usize + 1 - REACH;
            sound[first..].iter().zip(kernel).map(|(x, k)| x * k).sum()
        })
        .collect()
}

/// The weights of the samples in reach, for each place between two samples, both ends included.
fn kernels(speed: f64) -> Vec<f32> {
    let cutoff = (1.0 / speed).min(1.0);
    let weight = |phase: usize, k: usize| {
        // from the sample to the place
        let d = phase as f64 / PHASES as f64 + REACH as f64 - 1.0 - k as f64;
        let x = PI * cutoff * d;
        let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
        let window = 0.5 + 0.5 * (PI * d / REACH as f64).cos();
        (cutoff * sinc * window) as f32
    };
    (0..=PHASES).flat_map(|phase| (0..2 * REACH).map(move |k| weight(phase, k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_tone_of_another_pitch() {
        for speed in [0.9, 0.97, 1.0, 1.06] {
            let tone = |t: f64| (0.7 * t).sin();
            let sound: Vec<f32> = (0..needed(500, speed)).map(|t| tone(t as f64) as f32).collect();
            let there = at_speed(&sound, 500, speed);
            for (t, y) in there.iter().enumerate() {
                let want = tone(REACH as f64 + t as f64 * speed);
                assert!((f64::from(*y) - want).abs() < 4e-3, "{speed}, {t}: {y}, {want}");
            }
        }
        let sound: Vec<f32> = (0..100).map(|t| (t * t % 17) as f32).collect();
        let same = at_speed(&sound, 60, 1.0);
        assert!(same.iter().zip(&sound[REACH..]).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
