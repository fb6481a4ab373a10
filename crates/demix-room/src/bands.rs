//! Octave bands: where absorption is told, and how responses of bands become one.
//!
//! The bands overlap as cos^2 over the logarithm of the frequency and add up to one at every frequency, so that equal
//! responses of all bands give that response back. The lowest band reaches down to 0 Hz, the highest up to the end.

use demix_signal::Complex;
use realfft::RealFftPlanner;

/// Number of octave bands.
pub const N_BANDS: usize = 7;

/// Centres of the bands, in Hz.
pub const BAND_CENTRES: [f64; N_BANDS] = [125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0];

/// Share of each band in the frequency `hertz`; they sum to one.
pub(crate) fn shares(hertz: f64) -> [f64; N_BANDS] {
    let mut shares = [0.0; N_BANDS];
    let place = (hertz.max(1e-9) / BAND_CENTRES[0]).log2().clamp(0.0, (N_BANDS - 1) as f64);
    let below = (place as usize).min(N_BANDS - 2);
    let angle = std::f64::consts::FRAC_PI_2 * (place - below as f64);
    shares[below] = angle.cos().powi(2);
    shares[below + 1] = angle.sin().powi(2);
    shares
}

/// The response whose spectrum is, at every frequency, that of the bands in their shares (zero phase).
///
/// A reflection whose gain differs between bands rings a few milliseconds before and after itself; what would ring
/// before time 0 or after the end is left out.
pub(crate) fn join(bands: &[Vec<f64>], sample_rate: u32) -> Vec<f64> {
    let n = bands[0].len();
    // room for the ringing on both sides of the circle: 50 ms are six periods of the lowest band
    let padded = (n + sample_rate as usize / 10).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(padded), planner.plan_fft_inverse(padded));
    let mut sum = forward.make_output_vec();
    let mut spectrum = forward.make_output_vec();
    for (b, band) in bands.iter().enumerate() {
        let mut samples = forward.make_input_vec();
        samples[..n].copy_from_slice(band);
        forward.process(&mut samples, &mut spectrum).expect("the planner made these buffers");
        for (k, (sum, x)) in sum.iter_mut().zip(&spectrum).enumerate() {
            let hertz = k as f64 * f64::from(sample_rate) / padded as f64;
            *sum += x * shares(hertz)[b];
        }
    }
    // a real signal has real ends; rounding left next to nothing there
    let last = sum.len() - 1;
    (sum[0], sum[last]) = (Complex::new(sum[0].re, 0.0), Complex::new(sum[last].re, 0.0));
    let mut samples = inverse.make_output_vec();
    inverse.process(&mut sum, &mut samples).expect("the planner made these buffers");
    samples.truncate(n);
    samples.iter_mut().for_each(|x| *x /= padded as f64);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_sum_to_one_and_are_whole_at_their_centres() {
        for hertz in [0.0, 10.0, 125.0, 170.0, 999.0, 7000.0, 8000.0, 20000.0] {
            assert!((shares(hertz).iter().sum::<f64>() - 1.0).abs() < 1e-14, "{hertz}");
        }
        for (b, centre) in BAND_CENTRES.iter().enumerate() {
            assert!((shares(*centre)[b] - 1.0).abs() < 1e-14);
        }
    }

    #[test]
    fn equal_bands_give_themselves_back() {
        let band: Vec<f64> = (0..300).map(|t| ((t * t) as f64 * 0.1).sin()).collect();
        let joined = join(&vec![band.clone(); N_BANDS], 8000);
        assert_eq!(joined.len(), band.len());
        assert!(joined.iter().zip(&band).all(|(a, b)| (a - b).abs() < 1e-13));
    }

    #[test]
    fn a_band_that_is_louder_is_louder_at_its_frequency_only() {
        let mut bands = vec![vec![0.0; 2048]; N_BANDS];
        bands.iter_mut().enumerate().for_each(|(b, band)| band[1000] = if b == 3 { 1.0 } else { 0.1 });
        let joined = join(&bands, 16000);
        let gain = |hertz: f64| {
            let z: Complex<f64> = joined
                .iter()
                .enumerate()
                .map(|(t, x)| Complex::from_polar(*x, -std::f64::consts::TAU * hertz * t as f64 / 16000.0))
                .sum();
            z.norm()
        };
        assert!((gain(1000.0) - 1.0).abs() < 1e-3 && (gain(250.0) - 0.1).abs() < 1e-3, "{}", gain(1000.0));
        assert!((gain(4000.0) - 0.1).abs() < 1e-3);
    }
}
