//! Draws from a generator that are the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

/// A number of [0, 1).
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    // 53 bits, as many as a double holds
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A number of [low, high).
pub(crate) fn between(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * unit(rng)
}

/// A number of the standard normal distribution (Box and Muller).
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

/// A whole number below `n` >= 1.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    // the high bits of a product, as good as even
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// `count` different numbers below `n` >= `count`, in random order.
pub(crate) fn distinct(rng: &mut ChaCha8Rng, n: usize, count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in 0..count {
        let j = i + below(rng, (n - i) as u64) as usize;
        all.swap(i, j);
    }
    all.truncate(count);
    all
}
