//! Floating-point samples to whole numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Rounds samples to `bits`-bit integers; 1.0 is 2^(bits-1), what lies beyond is limited.
#[derive(Debug)]
pub(super) struct Quantiser {
    full_scale: f64,
    dither: Option<ChaCha8Rng>,
}

impl Quantiser {
    /// 24 bits, without dither: the rounding error is 144 dB below full scale.
    pub(super) fn int24() -> Self {
        Self { full_scale: f64::from(1 << 23), dither: None }
    }

    /// 16 bits with triangular dither of 2 LSB width, which makes mean and variance of the error
    /// independent of the signal (Lipshitz, Wannamaker, Vanderkooy 1992).
    pub(super) fn int16(seed: u64) -> Self {
        Self { full_scale: f64::from(1 << 15), dither: Some(ChaCha8Rng::seed_from_u64(seed)) }
    }

    pub(super) fn quantise(&mut self, x: f32) -> i32 {
        // the sum of two uniform numbers has a triangular distribution
        let dither = self.dither.as_mut().map_or(0.0, |random| uniform(random) + uniform(random) - 1.0);
        let value = f64::from(x) * self.full_scale + dither;
        value.round().clamp(-self.full_scale, self.full_scale - 1.0) as i32
    }
}

/// Uniform in 0..1.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.next_u32()) / 2f64.powi(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_16_bits_has_no_mean_and_stays_within_one_and_a_half_steps() {
        let step = 1.0 / 32768.0;
        for constant in [0.0, 0.3, 0.5, 0.77] {
            let x = (100.0 + constant) as f32 * step as f32;
            let mut quantiser = Quantiser::int16(7);
            let n = 100_000;
            let errors: Vec<f64> =
                (0..n).map(|_| f64::from(quantiser.quantise(x)) - f64::from(x) / step).collect();
            assert!(errors.iter().all(|error| error.abs() <= 1.5), "{constant}");
            let mean = errors.iter().sum::<f64>() / n as f64;
            let power = errors.iter().map(|error| error * error).sum::<f64>() / n as f64;
            // variance 2/12 of the dither and 1/12 of the rounding, whatever the signal
            assert!(mean.abs() < 4.0 * (0.25 / n as f64).sqrt(), "{constant}: mean {mean}");
            assert!((power - 0.25).abs() < 0.01, "{constant}: power {power}");
        }
    }

    #[test]
    fn full_scale_is_limited_not_wrapped() {
        let mut quantiser = Quantiser::int24();
        assert_eq!(quantiser.quantise(1.0), 8_388_607);
        assert_eq!(quantiser.quantise(-1.0), -8_388_608);
        assert_eq!(quantiser.quantise(1e30), 8_388_607);
        let mut quantiser = Quantiser::int16(0);
        assert!((0..1000).all(|_| quantiser.quantise(1.0) <= 32767 && quantiser.quantise(-1.5) == -32768));
    }
}
