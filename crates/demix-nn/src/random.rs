//! Random numbers as functions of the seed and the step: nothing but the step need be kept to go on.

pub(crate) use rand::Rng;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// What the numbers are for; different uses never share numbers.
#[derive(Clone, Copy)]
pub(crate) enum Use {
    /// The weights at the start.
    Weights,
    /// nu_NMF of the rows of an excerpt whose loss is only measured.
    Measure(u64),
    /// Dropout of a step.
    Dropout(u64),
    /// nu_NMF of the rows of a step.
    Nu(u64),
}

/// A generator whose values are the same in every version and on every machine.
pub(crate) fn generator(seed: u64, purpose: Use) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(match purpose {
        Use::Weights => 0,
        Use::Measure(excerpt) => 4 * excerpt + 1,
        Use::Dropout(step) => 4 * step + 2,
        Use::Nu(step) => 4 * step + 3,
    });
    generator
}

/// A number in (0, 1].
pub(crate) fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    ((generator.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// A number of mean 0 and variance 1 (Box and Muller 1958).
pub(crate) fn normal(generator: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * uniform(generator).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(generator)).cos()
}

/// One factor for each unit: 0 with probability `share`, else 1 / (1 - share), so that the mean stays.
pub(crate) fn dropout(generator: &mut ChaCha8Rng, units: usize, share: f64) -> Vec<f32> {
    // 16 random bits are enough for a share and cost half of 32
    let limit = (share * 65536.0).round() as u32;
    let kept = (65536.0 / f64::from(65536 - limit)) as f32;
    let factor = |bits: u32| if bits < limit { 0.0 } else { kept };
    let mut factors = Vec::with_capacity(units + 1);
    while factors.len() < units {
        let bits = generator.next_u32();
        factors.extend([factor(bits & 0xffff), factor(bits >> 16)]);
    }
    factors.truncate(units);
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_silences_its_share_and_keeps_the_mean() {
        let factors = dropout(&mut generator(3, Use::Dropout(5)), 100_001, 0.3);
        let silent = factors.iter().filter(|&&factor| factor == 0.0).count() as f64 / 100_001.0;
        let mean = factors.iter().map(|&factor| f64::from(factor)).sum::<f64>() / 100_001.0;
        // four standard deviations of a share of 0.3
        assert!((silent - 0.3).abs() < 4.0 * (0.3f64 * 0.7 / 1e5).sqrt(), "{silent}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert!(dropout(&mut generator(3, Use::Dropout(5)), 100, 0.0).iter().all(|&factor| factor == 1.0));
    }

    #[test]
    fn steps_and_uses_draw_different_numbers() {
        let first = |purpose| generator(1, purpose).next_u64();
        let all = [0, 1].map(|i| [Use::Measure(i), Use::Dropout(i), Use::Nu(i)].map(first)).concat();
        assert!(!all.contains(&first(Use::Weights)));
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].contains(a));
        }
        let mut random = generator(2, Use::Weights);
        let draws: Vec<f64> = (0..20000).map(|_| normal(&mut random)).collect();
        let mean = draws.iter().sum::<f64>() / 20000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}
