//! Whether a mixture is convolutive: [`convolutive_evidence`].
//!
//! Real gains keep the phases of independent sources: at every frequency the cross spectra of an instantaneous mixture
//! are real but for chance, whatever the gains and whether or not its sources can be told apart. Delays and echoes
//! turn them. With S(f) = R + iJ, the evidence of a frequency is -tr((R^-1 J)^2) / N, between 0 (real) and 1 (each
//! frequency holds one source that reaches the channels at different times); it is the same for every invertible real
//! mixture of the channels. Frames are brought to one level first, so that a few loud ones do not decide.
//!
//! That of the mixture is the mean over the octave where it is clearest: noise is real, and may cover the sources in all
//! octaves but one. What chance gives a frequency, (N - 1) / 2 over the number of independent frames, is taken off, and
//! from the mean of an octave its standard error, so that the best of several octaves is not the luckiest.

use demix_signal::Waveform;
use nalgebra::DMatrix;
use ndarray::s;
use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::covariance::LaggedCovariances;
use super::jade::whiten;
use super::mixture::check;
use super::whitening::Whitening;
use crate::SpatialError;

/// The evidence above which a mixture is called convolutive; chosen and tested in `docs/instantaneous.md` and
/// `docs/separation-settings.md`.
pub const CONVOLUTIVE: f64 = 0.005;
/// The same for clipped recordings: what clipping adds hides a room's evidence. With 24 to 82 % of the samples clipped,
/// 6 of 7 rooms have 0.0013 to 0.06 (0.02 to 0.1 before), 8 mixtures by gains 0.
pub const CONVOLUTIVE_CLIPPED: f64 = 0.001;
/// The share of clipped samples from which on that holds.
const CLIPPED: f64 = 0.05;
/// Bins in an octave at the least: fewer are added to the octave above.
const FEWEST_BINS: usize = 8;
/// Length of a frame in seconds: many more samples than a short echo, and still many frames.
const FRAME: f64 = 0.064;
/// Samples of a frame at the least, whatever the rate.
const SHORTEST: usize = 16;
/// Frames whose power in a bin is less than this share of the mean of the bin are pauses.
const PAUSE: f64 = 1e-4;
/// Bins whose power is less than this share of the strongest are beyond what the recording holds (a codec's cut-off).
const EMPTY: f64 = 1e-8;
/// Parts that threads take.
const PARTS: usize = 16;

/// What tells convolutive from instantaneous mixtures.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvolutiveEvidence {
    /// Mean over the octave where it is clearest, 0 to 1, less its standard error and what chance gives.
    pub evidence: f64,
    /// What it is compared with: [`CONVOLUTIVE`], or [`CONVOLUTIVE_CLIPPED`].
    pub threshold: f64,
    /// Whether it is above that.
    pub convolutive: bool,
    /// Share of the samples that stand at their channel's peak beside another one there, 0 to 1, of the worst channel.
    pub clipped: f64,
    /// Centre of each bin in Hz.
    pub frequencies: Vec<f64>,
    /// The evidence of each bin, chance included; NaN where there is no power.
    pub bins: Vec<f64>,
}

/// Looks at the `n_sources` strongest principal components of the channels. With one of them, or where all channels
/// are the same, there is nothing to tell and the evidence is 0.
///
/// # Errors
/// An empty mixture, samples that are not finite, no source, more sources than channels.
pub fn convolutive_evidence(
    mixture: &Waveform,
    n_sources: usize,
) -> Result<ConvolutiveEvidence, SpatialError> {
    check("this test", mixture, n_sources)?;
    let covariances = LaggedCovariances::new(mixture, &[]);
    let whitening = Whitening::new(&covariances.covariances[0], &covariances.mean, n_sources);
    let n = whitening.rank();
    let length = ((FRAME * f64::from(mixture.sample_rate)) as usize).next_power_of_two().max(SHORTEST);
    let n_bins = length / 2 + 1;
    let step = f64::from(mixture.sample_rate) / length as f64;
    let frequencies = (0..n_bins).map(|bin| bin as f64 * step).collect();
    let hop = length / 2;
    let n_frames = (mixture.n_samples().saturating_sub(length)) / hop + 1;
    let clipped = clipped_share(mixture);
    let threshold = if clipped < CLIPPED { CONVOLUTIVE } else { CONVOLUTIVE_CLIPPED };
    let found = |evidence, frequencies, bins| {
        let convolutive = evidence > threshold;
        Ok(ConvolutiveEvidence { evidence, threshold, convolutive, clipped, frequencies, bins })
    };
    if n < 2 || mixture.n_samples() < length {
        return found(0.0, frequencies, vec![f64::NAN; n_bins]);
    }
    let frames = Frames { mixture, whitening: &whitening, mean: &covariances.mean, length, hop, n_frames };
    let mean_power = frames.sum(vec![0.0; n_bins], |z, power: &mut Vec<f64>| {
        for z in z {
            power.iter_mut().zip(z).for_each(|(power, z)| *power += z.norm_sqr());
        }
    });
    let sums = frames.sum(vec![Cross::new(n); n_bins], |z, cross: &mut Vec<Cross>| {
        for (bin, cross) in cross.iter_mut().enumerate() {
            cross.add(z, bin, PAUSE * mean_power[bin] / n_frames as f64);
        }
    });
    let floor = EMPTY * mean_power.iter().fold(0.0f64, |m, &p| m.max(p));
    let bins: Vec<f64> = sums
        .iter()
        .zip(&mean_power)
        // DC and the highest frequency are real by themselves
        .enumerate()
        .map(
            |(bin, (cross, &power))| {
                if bin == 0 || bin + 1 == n_bins || power <= floor { f64::NAN } else { cross.evidence() }
            },
        )
        .collect();
    let evidence =
        bins.iter().zip(&sums).map(|(evidence, cross)| evidence - cross.chance()).collect::<Vec<_>>();
    found(clearest_octave(&evidence), frequencies, bins)
}

/// The largest mean over an octave of bins, less its standard error, at least 0; bins that are NaN do not count.
fn clearest_octave(bins: &[f64]) -> f64 {
    let (mut clearest, mut begin, mut end) = (0.0f64, 1, 2);
    while begin < bins.len() {
        let octave: Vec<f64> =
            bins[begin..end.min(bins.len())].iter().copied().filter(|x| x.is_finite()).collect();
        if octave.len() >= FEWEST_BINS {
            let n = octave.len() as f64;
            let mean = octave.iter().sum::<f64>() / n;
            let variance = octave.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            clearest = clearest.max(mean - (variance / n).sqrt());
            begin = end;
        } else if end >= bins.len() {
            break;
        }
        end *= 2;
    }
    clearest
}

/// The largest share of a channel's samples at its peak that have a neighbour there: a peak of natural sound is one
/// sample. Of silence, none.
pub fn clipped_share(mixture: &Waveform) -> f64 {
    let shares = mixture.samples.outer_iter().map(|row| {
        let peak = row.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        let at_peak = |x: &f32| peak > 0.0 && x.abs() == peak;
        let pairs = row.iter().zip(row.iter().skip(1)).filter(|(a, b)| at_peak(a) && at_peak(b)).count();
        pairs as f64 / row.len().max(1) as f64
    });
    shares.fold(0.0, f64::max)
}

/// Spectra of white frames.
struct Frames<'a> {
    mixture: &'a Waveform,
    whitening: &'a Whitening,
    mean: &'a nalgebra::DVector<f64>,
    length: usize,
    hop: usize,
    n_frames: usize,
}

/// What is summed over frames.
trait Sum {
    fn add_up(&mut self, other: &Self);
}

impl Sum for f64 {
    fn add_up(&mut self, other: &Self) {
        *self += other;
    }
}

impl Frames<'_> {
    /// Sums over all frames, in parts that do not depend on the number of threads.
    fn sum<T: Sum + Clone + Send + Sync>(
        &self,
        zero: Vec<T>,
        take: impl Fn(&[Vec<Complex<f64>>], &mut Vec<T>) + Sync,
    ) -> Vec<T> {
        let transform = RealFftPlanner::new().plan_fft_forward(self.length);
        let window: Vec<f64> = (0..self.length)
            .map(|t| (std::f64::consts::PI * (t as f64 + 0.5) / self.length as f64).sin().powi(2))
            .collect();
        let parts: Vec<Vec<T>> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let mut sum = zero.clone();
                let mut scratch = transform.make_scratch_vec();
                let mut spectra = vec![transform.make_output_vec(); self.whitening.rank()];
                for frame in part * self.n_frames / PARTS..(part + 1) * self.n_frames / PARTS {
                    let begin = frame * self.hop;
                    let mut z =
                        whiten(self.mixture, &self.whitening.whitener, self.mean, begin, begin + self.length);
                    for (k, spectrum) in spectra.iter_mut().enumerate() {
                        let mut z = z.slice_mut(s![k, ..]);
                        z.iter_mut().zip(&window).for_each(|(z, w)| *z *= w);
                        let z = z.as_slice_mut().expect("rows are contiguous");
                        transform
                            .process_with_scratch(z, spectrum, &mut scratch)
                            .expect("buffers are of the plan's length");
                    }
                    take(&spectra, &mut sum);
                }
                sum
            })
            .collect();
        let mut sum = zero;
        for part in &parts {
            sum.iter_mut().zip(part).for_each(|(sum, part)| sum.add_up(part));
        }
        sum
    }
}

/// Cross spectra of one bin, each frame at power one.
#[derive(Clone)]
struct Cross {
    real: DMatrix<f64>,
    imaginary: DMatrix<f64>,
    frames: usize,
}

impl Sum for Cross {
    fn add_up(&mut self, other: &Self) {
        self.real += &other.real;
        self.imaginary += &other.imaginary;
        self.frames += other.frames;
    }
}

impl Cross {
    fn new(n: usize) -> Self {
        Self { real: DMatrix::zeros(n, n), imaginary: DMatrix::zeros(n, n), frames: 0 }
    }

    fn add(&mut self, z: &[Vec<Complex<f64>>], bin: usize, pause: f64) {
        let power: f64 = z.iter().map(|z| z[bin].norm_sqr()).sum();
        if power <= pause || power <= 0.0 {
            return;
        }
        for i in 0..z.len() {
            for j in 0..z.len() {
                let product = z[i][bin] * z[j][bin].conj() / power;
                self.real[(i, j)] += product.re;
                self.imaginary[(i, j)] += product.im;
            }
        }
        self.frames += 1;
    }

    /// What independent circular sources give: each entry of J has a variance of 1 / (2 frames), and there are N (N - 1);
    /// windows that overlap by half count as one and a half.
    fn chance(&self) -> f64 {
        0.75 * (self.real.nrows() - 1) as f64 / self.frames.max(1) as f64
    }

    /// -tr((R^-1 J)^2) / N.
    fn evidence(&self) -> f64 {
        let n = self.real.nrows();
        if self.frames <= n {
            return f64::NAN;
        }
        // R is singular when one frame after the other held the same direction: a little of the identity
        let r = &self.real + DMatrix::identity(n, n) * (1e-9 * self.real.trace());
        match r.try_inverse() {
            Some(inverse) => {
                let turned = inverse * &self.imaginary;
                (-(&turned * &turned).trace() / n as f64).clamp(0.0, 1.0)
            }
            None => f64::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instantaneous::synthesis::{RATE, gains, mix, noise, sources};

    #[test]
    fn gains_are_instantaneous_and_delays_are_not() {
        for seed in 0..4 {
            for seconds in [1, 4] {
                let s = sources(2, seconds * RATE as usize, seed);
                let mut x = mix(&gains(2, 2, seed), &s);
                let evidence = |x: &Waveform| convolutive_evidence(x, 2).unwrap();
                let found = evidence(&x);
                assert!(!found.convolutive, "seed {seed}, {seconds} s: {}", found.evidence);
                // as every real mixture of it, with a constant, at another level
                let turned = DMatrix::from_row_slice(2, 2, &[0.3, 2.0, -1.0, 0.1]);
                let other = Waveform::new(
                    ndarray::Array2::from_shape_fn(x.samples.dim(), |(i, t)| {
                        let sum = turned[(i, 0)] as f32 * x.samples[[0, t]]
                            + turned[(i, 1)] as f32 * x.samples[[1, t]];
                        1e-3 * sum + 0.01
                    }),
                    RATE,
                );
                assert!((evidence(&other).evidence - found.evidence).abs() < 1e-4);
                // two samples between the microphones, more for one source than for the other
                for t in (3..x.n_samples()).rev() {
                    x.samples[[1, t]] = x.samples[[1, t - 2]] + 0.5 * x.samples[[0, t - 3]];
                }
                let found = evidence(&x);
                assert!(found.convolutive, "seed {seed}, {seconds} s: {}", found.evidence);
                assert_eq!(found.bins.len(), found.frequencies.len());
            }
        }
    }

    #[test]
    fn there_is_no_evidence_in_noise_silence_or_a_single_signal() {
        let x = noise(3, 64000, 1);
        assert!(!convolutive_evidence(&x, 3).unwrap().convolutive);
        let silent = Waveform::new(ndarray::Array2::zeros((2, 8000)), RATE);
        let slow = Waveform::new(noise(2, 4000, 2).samples, 1);
        assert!(!convolutive_evidence(&slow, 2).unwrap().convolutive);
        let short = noise(2, 50, 1);
        let one = mix(&ndarray::array![[1.0], [0.5]], &sources(1, 16000, 1));
        for x in [silent, short, one] {
            assert_eq!(convolutive_evidence(&x, 2).unwrap().evidence, 0.0);
        }
        assert!(convolutive_evidence(&x, 4).is_err());
    }

    /// The second channel hears each source two samples later than the first, or not at all.
    fn delayed(seconds: usize, seed: u64) -> Waveform {
        let s = sources(2, seconds * RATE as usize, seed);
        let late = |n: usize, t: usize| if t < 2 { 0.0 } else { s[[n, t - 2]] };
        let sample = |(channel, t): (usize, usize)| match channel {
            0 => s[[0, t]] + 0.7 * s[[1, t]],
            _ => 0.8 * late(0, t) + s[[1, t]],
        };
        Waveform::new(ndarray::Array2::from_shape_fn(s.dim(), sample), RATE)
    }

    #[test]
    fn noise_on_many_channels_is_no_evidence() {
        for (seed, snr) in [(1, 10.0), (2, 20.0), (3, 40.0)] {
            let mut x = mix(&gains(8, 2, seed), &sources(2, 4 * RATE as usize, seed));
            let power = x.samples.iter().map(|x| x * x).sum::<f32>() / x.samples.len() as f32;
            let hiss = noise(8, x.n_samples(), seed + 10);
            x.samples.scaled_add((power * 10f32.powf(-snr / 10.0)).sqrt(), &hiss.samples);
            for n in [2, 8] {
                let found = convolutive_evidence(&x, n).unwrap();
                assert!(!found.convolutive, "{snr} dB, {n}: {}", found.evidence);
            }
        }
    }

    #[test]
    fn noise_does_not_hide_delays() {
        for seed in 0..3 {
            let mut x = delayed(6, seed);
            let clean = convolutive_evidence(&x, 2).unwrap();
            let power = x.samples.iter().map(|x| x * x).sum::<f32>() / x.samples.len() as f32;
            let hiss = noise(2, x.n_samples(), seed + 20);
            x.samples.scaled_add((0.05 * power).sqrt(), &hiss.samples);
            let found = convolutive_evidence(&x, 2).unwrap();
            assert!(clean.convolutive && found.convolutive, "{}, then {}", clean.evidence, found.evidence);
        }
    }

    #[test]
    fn clipping_is_seen_and_changes_no_verdict() {
        let clip = |x: &Waveform, gain: f32| {
            let peak = x.peak();
            Waveform::new(x.samples.mapv(|x| (gain * x / peak).clamp(-1.0, 1.0)), RATE)
        };
        for seed in 0..3 {
            let (room, by_gains) =
                (delayed(4, seed), mix(&gains(2, 2, seed), &sources(2, 4 * RATE as usize, seed)));
            for (x, convolutive) in [(room, true), (by_gains, false)] {
                let found = convolutive_evidence(&x, 2).unwrap();
                assert_eq!((found.clipped, found.threshold), (0.0, CONVOLUTIVE));
                assert_eq!(found.convolutive, convolutive);
                let found = convolutive_evidence(&clip(&x, 100.0), 2).unwrap();
                assert!(found.clipped > 0.3, "seed {seed}: {}", found.clipped);
                assert_eq!(found.threshold, CONVOLUTIVE_CLIPPED);
                assert_eq!(found.convolutive, convolutive, "seed {seed}: {}", found.evidence);
            }
        }
    }

    #[test]
    fn the_clearest_octave_is_found_and_luck_is_not() {
        let mut bins = vec![0.0; 129];
        bins[32..64].fill(0.02);
        bins[40] = f64::NAN;
        assert!((clearest_octave(&bins) - 0.02).abs() < 1e-12);
        // one bin alone stands out by chance
        bins.fill(0.0);
        bins[20] = 0.1;
        assert!(clearest_octave(&bins) < 0.1 * 0.1 / 16.0);
        assert_eq!(clearest_octave(&[f64::NAN; 5]), 0.0);
    }
}
