//! How many sources a convolutive mixture holds: [`count_directions`].
//!
//! In one bin of the transform N sources are N directions of the M channels, if the window is long against the room's
//! echoes. The covariance of the channels has more eigenvalues than N that are not zero: what the window cuts off of
//! the echoes adds weaker directions, noise adds all M. Their power does not tell them from sources, which fall by 4 to
//! 10 dB from one to the next (by 20 dB and more below 400 Hz, where small arrays hear little difference). Two other
//! figures do:
//!
//! - Echoes that are cut off lose power when the window grows: those after a delay d leave about (d / L)^2 of it beside
//!   a Hann window of length L, 12 dB less in a window four times as long. A source keeps its power. The *fall* is
//!   what the longer window takes off a direction, more than off the first one, in dB.
//! - Noise is steady: |y|^2 of a Gaussian has the *kurtosis* E|y|^4 / (E|y|^2)^2 = 2, that of speech and music is higher,
//!   that of a source beneath noise in between.
//!
//! A direction is a source where its kurtosis is above [`STEADY`] and its fall below the kurtosis less 2 (and below
//! [`LARGEST_FALL`]): the more of it is noise, the less an echo in it can fall. Short windows hold fewer sources at once,
//! so that weak sources gain in longer ones: the fall is counted from that of the second direction, a source by
//! assumption, where this is negative. All is asked of the medians over the bins of each octave, from the strongest
//! direction on; the octave that counts most decides, as a bass is heard in one and a voice in another. Measured in
//! `docs/separation-settings.md`, "How many sources".
//!
//! Cost: 9 eigenvalue problems of size M for each bin of the shorter window that is looked at, 2400 at the most.

use std::ops::Range;

use demix_signal::{Complex, Stft, StftSettings, Waveform};
use ndarray::{Array3, ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use crate::SpatialError;
use crate::mixture::{eigenvalues, principal_components};

/// Kurtosis below which a direction is steady noise: medians over the bins of an octave are 1.8 to 2.05 in white noise.
const STEADY: f64 = 2.1;
/// Kurtosis of Gaussian noise.
const GAUSSIAN: f64 = 2.0;
/// Fall in dB from which on a direction is an echo however unsteady it is. Sources fall by -3 to 3 dB, the bass of a
/// song in the bins where it is faint by 4; echoes of rooms with a T60 of 0.1 to 0.5 s by 3.5 to 10, mostly 5 to 9.
const LARGEST_FALL: f64 = 4.5;
/// By how much more dB the last direction may fall. In doubt all channels are used: with too few sources two are left
/// in one output, with one too many an output holds echoes.
const BENEFIT_OF_DOUBT: f64 = 0.75;
/// A direction of less power than this, in dB below the first, is rounding.
const ROUNDING: f64 = -90.0;

/// The longer window in seconds, at most. Longer ones would ask that nobody moves for so long.
const LONGEST_WINDOW: f64 = 2.0;
/// The longer window in seconds, at least: a quarter of it holds what a syllable is made of.
const SHORTEST_WINDOW: f64 = 0.25;
/// Longer windows that a recording holds at the least before they are shortened: 8 s are looked at through 1 s.
const FEWEST_WINDOWS: usize = 7;
/// The shorter window is so many times shorter.
const RATIO: usize = 4;
/// The shorter windows overlap by half; every fourth is as independent of the next as the longer ones are, which overlap
/// by three quarters, and there are as many: so chance spreads the eigenvalues of both alike.
const GROUPS: usize = 4;

/// Lower edge of the lowest octave and number of octaves: 100 Hz to 6.4 kHz. Below, rumble; above, little of speech.
const LOWEST: f64 = 100.0;
const N_OCTAVES: i32 = 6;
/// Bins in an octave, at least, for a median.
const FEWEST_BINS: usize = 10;
/// Bins in an octave, at most, evenly spread: more tell nothing new and take time.
const MOST_BINS: usize = 400;
/// Bins of less power than this share of the strongest are beyond what the recording holds (a codec's cut-off).
const EMPTY: f64 = 1e-8;

/// A number of sources with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionCount {
    /// N: at least two, at most as many as channels.
    pub n_sources: usize,
    /// Length of the longer window in seconds; none where the recording is too short or too quiet to tell, then N is the
    /// number of channels.
    pub window: Option<f64>,
    /// Direction N + 1 in the octave where it is nearest to being counted; none where N is the number of channels.
    pub next: Option<Direction>,
}

/// What is known of a direction in an octave: medians over the bins.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Direction {
    /// Power in dB below the first, in the longer window.
    pub level: f64,
    /// What the longer window takes off the level, in dB.
    pub fall: f64,
    /// E|y|^4 / (E|y|^2)^2 in the shorter window.
    pub kurtosis: f64,
}

impl Direction {
    /// By how many dB its fall, beyond that of a source, is below what is allowed one; negative where it is none.
    fn margin(&self, of_a_source: f64, is_last: bool) -> f64 {
        if self.level < ROUNDING || self.kurtosis < STEADY {
            return f64::NEG_INFINITY;
        }
        let doubt = if is_last { BENEFIT_OF_DOUBT } else { 0.0 };
        LARGEST_FALL.min(self.kurtosis - GAUSSIAN) + doubt - (self.fall - of_a_source)
    }

    /// Whether it is an echo that the shorter window cuts off, rather than noise.
    pub fn is_echo(&self) -> bool {
        self.kurtosis >= STEADY && self.level >= ROUNDING
    }
}

/// Counts sources in one recording, of which any number of parts is given: (channels, samples) each, all at one rate.
///
/// # Errors
/// No part, a part without samples, samples that are not finite.
pub fn count_directions(parts: &[Waveform]) -> Result<DirectionCount, SpatialError> {
    let (channels, shortest) = (
        parts.first().map_or(0, Waveform::n_channels),
        parts.iter().map(Waveform::n_samples).min().unwrap_or(0),
    );
    if channels == 0 || shortest == 0 {
        return Err(SpatialError::Empty { channels, samples: shortest });
    }
    for part in parts {
        if let Some(((channel, sample), _)) = part.samples.indexed_iter().find(|(_, x)| !x.is_finite()) {
            return Err(SpatialError::NotFinite { channel: channel + 1, sample });
        }
    }
    let all = DirectionCount { n_sources: channels, window: None, next: None };
    let rate = f64::from(parts[0].sample_rate);
    let n_samples: usize = parts.iter().map(Waveform::n_samples).sum();
    let Some(long) = window_length(rate, n_samples / FEWEST_WINDOWS, shortest).filter(|_| channels > 1)
    else {
        return Ok(all);
    };
    let octaves = octaves(parts, long)?;
    if octaves.is_empty() {
        return Ok(all);
    }
    let margin = |octave: &[Direction], k: usize| {
        let of_a_source = octave[1].fall.min(0.0);
        octave[k].margin(of_a_source, k + 1 == channels)
    };
    let count = |octave: &Vec<Direction>| 1 + (1..channels).take_while(|&k| margin(octave, k) > 0.0).count();
    let n_sources = octaves.iter().map(count).max().unwrap_or(1).max(2);
    let nearest = octaves.iter().filter(|_| n_sources < channels).max_by(|a, b| {
        let nearness = |octave: &[Direction]| (margin(octave, n_sources), octave[n_sources].level);
        let (a, b) = (nearness(a), nearness(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    Ok(DirectionCount {
        n_sources,
        window: Some(long as f64 / rate),
        next: nearest.map(|octave| octave[n_sources]),
    })
}

/// Samples of the longer window, at most `longest` and half of the shortest part; none where that is too short.
fn window_length(rate: f64, longest: usize, shortest_part: usize) -> Option<usize> {
    let samples = |seconds: f64| 1usize << (rate * seconds).log2().round().clamp(6.0, 20.0) as u32;
    let mut length = samples(LONGEST_WINDOW);
    while length > longest.min(shortest_part / 2) {
        length /= 2;
    }
    (length >= samples(SHORTEST_WINDOW)).then_some(length)
}

/// The directions of each octave, the strongest first.
fn octaves(parts: &[Waveform], long: usize) -> Result<Vec<Vec<Direction>>, SpatialError> {
    let rate = f64::from(parts[0].sample_rate);
    let short = long / RATIO;
    let bin_of = |hz: f64| (hz * short as f64 / rate).round() as usize;
    // the highest bin is real by itself
    let edges: Vec<usize> =
        (0..=N_OCTAVES).map(|octave| bin_of(LOWEST * 2f64.powi(octave)).clamp(1, short / 2)).collect();
    let bins = edges[0]..edges[edges.len() - 1];
    if bins.is_empty() {
        return Ok(Vec::new());
    }
    let x = spectra(parts, short, short / 2, bins.clone())?;
    // bin b of the shorter window is as wide as bins 4 b - 2 to 4 b + 1 of the longer one
    let wide = bins.start * RATIO - RATIO / 2..bins.end * RATIO - RATIO / 2;
    let longer = spectra(parts, long, long / 4, wide)?;
    let powers: Vec<f64> =
        x.axis_iter(Axis(0)).map(|x| x.iter().map(|x| f64::from(x.norm_sqr())).sum()).collect();
    let floor = EMPTY * powers.iter().fold(0.0f64, |m, &p| m.max(p));
    let of_bin = |bin: usize| {
        let axes = principal_components(x.slice(s![bin..=bin, .., ..]), x.len_of(Axis(1)));
        let wide = longer.slice(s![bin * RATIO..(bin + 1) * RATIO, .., ..]);
        directions(x.index_axis(Axis(0), bin), axes.index_axis(Axis(0), 0), wide.axis_iter(Axis(0)))
    };
    let of_octave = |edges: &[usize]| {
        let bins: Vec<usize> = (edges[0] - bins.start..edges[1] - bins.start)
            .step_by((edges[1] - edges[0]).div_ceil(MOST_BINS).max(1))
            .filter(|&bin| powers[bin] > floor)
            .collect();
        let found: Vec<Vec<Direction>> = bins.into_par_iter().map(of_bin).collect();
        (found.len() >= FEWEST_BINS).then(|| medians(&found))
    };
    Ok(edges.windows(2).filter_map(of_octave).collect())
}

/// Spectra (bins, channels, frames) of the frames that lie within the parts.
fn spectra(
    parts: &[Waveform],
    length: usize,
    hop: usize,
    bins: Range<usize>,
) -> Result<Array3<Complex<f32>>, SpatialError> {
    let stft = Stft::<f32>::new(&StftSettings::new(length, hop))?;
    let mut inner = Vec::with_capacity(parts.len());
    for part in parts {
        // frames are centred; the first and the last ones would hold padding
        let first = (length / 2).div_ceil(hop);
        let last = (part.n_samples() - length / 2) / hop;
        let x = stft.forward(part)?.data;
        inner.push(x.slice(s![bins.clone(), .., first..=last]).to_owned());
    }
    let views: Vec<_> = inner.iter().map(|x| x.view()).collect();
    Ok(concatenate(Axis(2), &views).expect("all parts have the same bins and channels"))
}

/// The directions of one bin: `x` and its principal axes in the shorter window, the same band in the longer one.
fn directions<'a>(
    x: ArrayView2<'_, Complex<f32>>,
    axes: ArrayView2<'_, Complex<f64>>,
    longer: impl ExactSizeIterator<Item = ArrayView2<'a, Complex<f32>>>,
) -> Vec<Direction> {
    let groups = (0..GROUPS.min(x.ncols())).map(|group| x.slice(s![.., group..;GROUPS]));
    let (short, long) = (mean_levels(groups), mean_levels(longer));
    let axes = axes.outer_iter().zip(short.iter().zip(&long));
    axes.map(|(axis, (short, long))| {
        let (mut square, mut fourth) = (0.0, 0.0);
        for x in x.columns() {
            let y: Complex<f64> =
                axis.iter().zip(x).map(|(a, x)| a * Complex::new(f64::from(x.re), f64::from(x.im))).sum();
            square += y.norm_sqr();
            fourth += y.norm_sqr().powi(2);
        }
        let kurtosis = if square > 0.0 { fourth * x.ncols() as f64 / (square * square) } else { 0.0 };
        Direction { level: *long, fall: short - long, kurtosis }
    })
    .collect()
}

/// Eigenvalues in dB below the first, mean over several covariances.
fn mean_levels<'a>(xs: impl ExactSizeIterator<Item = ArrayView2<'a, Complex<f32>>>) -> Vec<f64> {
    let n = xs.len() as f64;
    let mut levels: Vec<f64> = Vec::new();
    for x in xs {
        let values = eigenvalues(x);
        levels.resize(values.len(), 0.0);
        let first = values[0].max(f64::MIN_POSITIVE);
        for (level, value) in levels.iter_mut().zip(&values) {
            // eigenvalues of single precision are exact to about the last bit of the first
            *level += 10.0 * (value / first).max(1e-14).log10() / n;
        }
    }
    levels
}

/// The median over bins of each figure of each direction.
fn medians(bins: &[Vec<Direction>]) -> Vec<Direction> {
    let median = |k: usize, of: fn(&Direction) -> f64| {
        let mut values: Vec<f64> = bins.iter().map(|bin| of(&bin[k])).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable_by(middle, f64::total_cmp).1
    };
    let of = |k| Direction {
        level: median(k, |d| d.level),
        fall: median(k, |d| d.fall),
        kurtosis: median(k, |d| d.kurtosis),
    };
    (0..bins[0].len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    const RATE: u32 = 8000;

    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Noise in syllables: each has a loudness and a colour of its own.
    fn talker(n_samples: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
        let (mut left, mut loud, mut pole, mut state) = (0, 0.0, 0.0, 0.0);
        (0..n_samples)
            .map(|_| {
                if left == 0 {
                    left = RATE as usize / 10 + random.random_range(0..RATE as usize / 5);
                    loud = random.random::<f64>().powi(3);
                    pole = 1.4 * random.random::<f64>() - 0.7;
                }
                left -= 1;
                state = pole * state + loud * normal(random);
                state
            })
            .collect()
    }

    /// Talkers before microphones: the direct sound, and echoes that fade by 60 dB in `t60` seconds.
    fn room(n: usize, m: usize, t60: f64, snr: Option<f64>, seed: u64) -> Waveform {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let n_samples = 10 * RATE as usize;
        let mut x = Array2::<f64>::zeros((m, n_samples));
        for _ in 0..n {
            let dry = talker(n_samples, &mut random);
            for mut row in x.rows_mut() {
                let direct = (0.0, random.random_range(0..8), 1.0);
                let echoes = (0..60).map(|_| {
                    let seconds = 0.005 + t60 * random.random::<f64>();
                    let gain = 0.3 * normal(&mut random) * 10f64.powf(-3.0 * seconds / t60);
                    (seconds, 0, gain)
                });
                for (seconds, samples, gain) in std::iter::once(direct).chain(echoes.collect::<Vec<_>>()) {
                    let delay = samples + (seconds * f64::from(RATE)) as usize;
                    row.iter_mut().skip(delay).zip(&dry).for_each(|(x, s)| *x += gain * s);
                }
            }
        }
        if let Some(snr) = snr {
            let power = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let gain = (power * 10f64.powf(-snr / 10.0)).sqrt();
            x.mapv_inplace(|x| x + gain * normal(&mut random));
        }
        Waveform::new(x.mapv(|x| x as f32), RATE)
    }

    #[test]
    fn sources_are_told_from_echoes_and_from_noise() {
        for (n, m, t60, snr) in [
            (2, 3, 0.3, None),
            (2, 4, 0.3, None),
            (3, 4, 0.3, None),
            (3, 3, 0.3, None),
            (2, 3, 0.1, Some(30.0)),
            (2, 8, 0.3, Some(30.0)),
            (2, 4, 0.02, Some(20.0)),
            (3, 3, 0.3, Some(30.0)),
        ] {
            let found = count_directions(&[room(n, m, t60, snr, 5)]).unwrap();
            assert_eq!(found.n_sources, n, "{n} before {m}, T60 {t60} s, SNR {snr:?}: {found:?}");
            assert_eq!(found.next.is_some(), n < m);
            if let Some(next) = found.next.filter(|_| snr.is_none()) {
                assert!(next.is_echo() && next.fall > 3.0, "{found:?}");
            }
            if let Some(next) = found.next.filter(|_| snr == Some(20.0)) {
                assert!(!next.is_echo(), "{found:?}");
            }
        }
    }

    #[test]
    fn parts_of_a_recording_count_as_the_whole_and_any_level_does() {
        let whole = room(2, 4, 0.3, None, 6);
        let half = whole.n_samples() / 2;
        let part = |range: Range<usize>| {
            let samples = whole.samples.slice(s![.., range]).mapv(|x| 1e-4 * x);
            Waveform::new(samples, RATE)
        };
        let found = count_directions(&[part(0..half), part(half..2 * half)]).unwrap();
        assert_eq!(found.n_sources, 2, "{found:?}");
    }

    #[test]
    fn who_cannot_tell_says_all_channels() {
        let short = Waveform::new(room(2, 4, 0.1, None, 7).samples.slice(s![.., ..8000]).to_owned(), RATE);
        let silent = Waveform::new(Array2::zeros((3, 80000)), RATE);
        for x in [short, silent, Waveform::mono(vec![0.5; 80000], RATE)] {
            let m = x.n_channels();
            let all = DirectionCount { n_sources: m, window: None, next: None };
            assert_eq!(count_directions(&[x]).unwrap(), all);
        }
        assert!(count_directions(&[]).is_err());
        assert!(count_directions(&[Waveform::new(Array2::zeros((2, 0)), RATE)]).is_err());
        let mut x = room(2, 2, 0.1, None, 8);
        x.samples[[1, 7]] = f32::NAN;
        let error = count_directions(&[x]).unwrap_err();
        assert_eq!(error, SpatialError::NotFinite { channel: 2, sample: 7 });
    }
}
