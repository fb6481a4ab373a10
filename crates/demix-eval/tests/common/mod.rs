//! What the integration tests share: golden arrays and synthetic sound.
#![allow(dead_code, clippy::unwrap_used)]

use demix_signal::Waveform;
use ndarray::{Array2, Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub const RATE: u32 = 8000;

/// The numbers of a golden array and its shape.
fn array<T: npyz::Deserialize>(path: &str) -> (Vec<T>, Vec<usize>) {
    let path = format!("{}/tests/golden/{path}.npy", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = file.shape().iter().map(|&n| n as usize).collect();
    (file.into_vec().unwrap(), shape)
}

/// Golden scores, rows in order.
pub fn scores(path: &str) -> Vec<f64> {
    array(path).0
}

/// A golden permutation.
pub fn permutation(path: &str) -> Vec<usize> {
    scores(path).into_iter().map(|n| n as usize).collect()
}

/// The references and estimates of a golden case.
pub fn signals(case: &str) -> (Vec<Waveform>, Vec<Waveform>) {
    let group = |name: &str| {
        let (samples, shape) = array::<f32>(&format!("{case}/{name}"));
        let all = Array3::from_shape_vec((shape[0], shape[1], shape[2]), samples).unwrap();
        all.axis_iter(Axis(0)).map(|x| Waveform::new(x.to_owned(), RATE)).collect()
    };
    (group("ref"), group("est"))
}

/// Noise of unit variance with some colour, shape (channels, samples).
pub fn noise(n_channels: usize, n_samples: usize, seed: u64) -> Waveform {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut before = vec![0.0f32; n_channels];
    let mut samples = Array2::zeros((n_channels, n_samples));
    for t in 0..n_samples {
        for channel in 0..n_channels {
            before[channel] = 0.6 * before[channel] + rng.random_range(-1.0..1.0);
            samples[[channel, t]] = before[channel];
        }
    }
    Waveform::new(samples, RATE)
}

/// `sum of gains[n] * parts[n]`.
pub fn mix(gains: &[f32], parts: &[&Waveform]) -> Waveform {
    let mut samples = Array2::zeros(parts[0].samples.dim());
    gains.iter().zip(parts).for_each(|(&gain, part)| samples.scaled_add(gain, &part.samples));
    Waveform::new(samples, parts[0].sample_rate)
}

/// Every number within `tolerance` of the expected one; equal where not finite.
#[track_caller]
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of scores");
    for (found_one, expected_one) in found.iter().zip(expected) {
        let same = (found_one.is_nan() && expected_one.is_nan())
            || found_one == expected_one
            || (found_one - expected_one).abs() <= tolerance;
        assert!(same, "{what}: {found:?} is not {expected:?} within {tolerance:e}");
    }
}
