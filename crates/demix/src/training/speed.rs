//! Sound played faster or slower: pitch, tempo and timbre move together, as on a tape.
//!
//! y\[t\] = sum_k x\[k\] c sinc(c (t s - k)) w(t s - k) with speed s, cutoff c = min(1, 1 / s) and a Hann window w over
//! [`REACH`] samples on both sides. Cost: 2 `REACH` products per sample; the weights are computed once for each speed.

use std::f64::consts::PI;

/// Samples on both sides that a sample is made of.
const REACH: usize = 8;
/// Places between two samples for which the weights are known: the error is below -50 dB.
const PHASES: usize = 512;
/// Positions are counted in so many parts of a sample: their drift over an excerpt is far below a place.
const PARTS: u64 = 1 << 32;
/// Sums that run side by side, in one register.
const LANES: usize = 8;

/// One speed, with its weights.
pub(super) struct Speed {
    speed: f64,
    /// For each place between two samples, both ends included, the weights of the samples in reach.
    weights: Vec<f32>,
}

impl Speed {
    /// `speed` times as fast.
    pub fn new(speed: f64) -> Self {
        let cutoff = (1.0 / speed).min(1.0);
        let weight = |phase: usize, k: usize| {
            // from the sample to the place
            let d = phase as f64 / PHASES as f64 + REACH as f64 - 1.0 - k as f64;
            let x = PI * cutoff * d;
            let sinc = if x.abs() < 1e-9 { 1.0 } else { x.sin() / x };
            let window = 0.5 + 0.5 * (PI * d / REACH as f64).cos();
            (cutoff * sinc * window) as f32
        };
        let weights = (0..=PHASES).flat_map(|phase| (0..2 * REACH).map(move |k| weight(phase, k))).collect();
        Self { speed, weights }
    }

    /// How many samples [`Speed::play`] needs to give `length`.
    pub fn needed(&self, length: usize) -> usize {
        (length as f64 * self.speed).ceil() as usize + 2 * REACH
    }

    /// `length` samples of `sound`, from [`REACH`] on.
    pub fn play(&self, sound: &[f32], length: usize) -> Vec<f32> {
        debug_assert!(sound.len() >= self.needed(length), "as many samples as `needed` says");
        let step = (self.speed * PARTS as f64).round() as u64;
        let half_place = PARTS / (2 * PHASES as u64);
        (0..length as u64)
            .map(|t| {
                // whole numbers: rounding floats takes longer than the sum
                let at = t * step;
                let phase = ((at % PARTS + half_place) / (PARTS / PHASES as u64)) as usize;
                // the first sample within reach of the place, which is REACH samples further on
                let first = (at / PARTS) as usize + 1;
                inner_product(
                    &sound[first..first + 2 * REACH],
                    &self.weights[phase * 2 * REACH..][..2 * REACH],
                )
            })
            .collect()
    }
}

/// Sum of products, [`LANES`] sums at a time: one sum would wait for each addition.
fn inner_product(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (x, y) in x.chunks_exact(LANES).zip(y.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_a_tone_of_another_pitch() {
        for speed in [0.9, 0.97, 1.0, 1.06] {
            let tone = |t: f64| (0.7 * t).sin();
            let tape = Speed::new(speed);
            let sound: Vec<f32> = (0..tape.needed(500)).map(|t| tone(t as f64) as f32).collect();
            let there = tape.play(&sound, 500);
            for (t, y) in there.iter().enumerate() {
                let want = tone(REACH as f64 + t as f64 * speed);
                assert!((f64::from(*y) - want).abs() < 4e-3, "{speed}, {t}: {y}, {want}");
            }
        }
        let sound: Vec<f32> = (0..100).map(|t| (t * t % 17) as f32).collect();
        let same = Speed::new(1.0).play(&sound, 60);
        assert!(same.iter().zip(&sound[REACH..]).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
