//! The mel scale: bands as wide as hearing's.

use ndarray::Array2;

/// Frequency in Hz to mel, 2595 log10(1 + f / 700) (O'Shaughnessy).
pub fn hz_to_mel(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

/// Mel to frequency in Hz.
pub fn mel_to_hz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

/// Triangular bands, equally spaced in mel from 0 to half the sample rate: shape (bands, bins).
///
/// Each row sums to one, so that a band is a mean over its bins; a band narrower than the distance of two bins
/// takes the nearest bin.
pub fn mel_bands(n_bands: usize, n_bins: usize, sample_rate: u32) -> Array2<f64> {
    let top = hz_to_mel(f64::from(sample_rate) / 2.0);
    let bin_of = |edge: usize| {
        let hz = mel_to_hz(top * edge as f64 / (n_bands + 1) as f64);
        hz / (f64::from(sample_rate) / 2.0) * (n_bins.max(2) - 1) as f64
    };
    let mut bands = Array2::zeros((n_bands, n_bins));
    for (band, mut row) in bands.outer_iter_mut().enumerate() {
        let [low, middle, high] = [bin_of(band), bin_of(band + 1), bin_of(band + 2)];
        for (bin, weight) in row.iter_mut().enumerate() {
            let bin = bin as f64;
            let rise = (bin - low) / (middle - low);
            let fall = (high - bin) / (high - middle);
            *weight = rise.min(fall).max(0.0);
        }
        let sum = row.sum();
        if sum > 0.0 {
            row /= sum;
        } else {
            row[(middle.round() as usize).min(n_bins - 1)] = 1.0;
        }
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_means_with_rising_centres() {
        for (n_bands, n_bins) in [(24, 1025), (40, 129), (24, 5)] {
            let bands = mel_bands(n_bands, n_bins, 16000);
            let centres: Vec<f64> = bands
                .outer_iter()
                .map(|row| {
                    assert!((row.sum() - 1.0).abs() < 1e-12);
                    row.iter().enumerate().map(|(bin, w)| bin as f64 * w).sum()
                })
                .collect();
            assert!(centres.windows(2).all(|pair| pair[0] <= pair[1]));
        }
        assert!((mel_to_hz(hz_to_mel(440.0)) - 440.0).abs() < 1e-9);
        assert!((hz_to_mel(1000.0) - 1000.0).abs() < 1.0);
    }
}
