//! The method and the number of sources for a recording, and why: `--method auto`.

use std::ops::Range;

use demix_signal::Waveform;
use demix_spatial::instantaneous::{clipped_share, convolutive_evidence, count_sources};
use demix_spatial::{DirectionCount, count_directions};
use ndarray::{ArrayView2, Axis, concatenate, s};
use rayon::prelude::*;

use crate::method::DEFAULT_SOURCES;
use crate::separation::{SeparationError, check_mixture};
use crate::spatial::channels::{Distinct, told_by};

/// How much of a recording may be read, in seconds: parts of its first hour are looked at.
pub(super) const LOOKED_AT: f64 = 3600.0;
/// A longer recording is looked at in parts: their number, and their length in seconds.
const N_PARTS: usize = 6;
const PART: f64 = 10.0;
/// Two channels that differ by less than this share of their power are one channel: -60 dB.
const SAME: f64 = 1e-6;
/// Without echoes, what lies so many dB beneath the weakest source is the rounding of the samples: 16 bits leave 60 to
/// 90 dB, sources panned 5 degrees apart are 27 dB apart.
const ROUNDING_GAP: f64 = 40.0;
/// Clipping that is worth a word, as a share of the samples.
const CLIPPED: f64 = 0.001;

/// What `auto` chose.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub method: &'static str,
    pub n_sources: Option<usize>,
    /// The evidence, one sentence.
    pub why: String,
}

/// One channel: `nmf`. Several: demixing, instantaneous where the channels differ by gains alone, convolutive elsewhere,
/// into as many sources as there are directions that are neither echo nor noise; `nmf` again where all channels are
/// one, or more sources are asked for than there are channels.
pub(super) fn choose(recording: &Waveform, n_sources: Option<usize>) -> Result<Choice, SeparationError> {
    let m = recording.n_channels();
    if m == 1 {
        let why = "one channel: nmf, which tells sources apart by their spectra".into();
        return Ok(Choice { method: "nmf", n_sources, why });
    }
    check_mixture(recording)?;
    let parts = parts(recording);
    let mut choice = choose_by(&parts, n_sources)?;
    if parts.len() > 1 {
        let seconds = recording.n_samples() as f64 / f64::from(recording.sample_rate);
        choice.why += &format!("; {N_PARTS} parts of {PART} s, spread over {seconds:.0} s, were looked at");
    }
    Ok(choice)
}

/// As [`choose`], by parts of the recording.
fn choose_by(parts: &[Waveform], n_sources: Option<usize>) -> Result<Choice, SeparationError> {
    let views: Vec<ArrayView2<'_, f32>> = parts.iter().map(|part| part.samples.view()).collect();
    let samples = concatenate(Axis(1), &views).expect("parts of one recording have the same channels");
    let whole = Waveform::new(samples, parts[0].sample_rate);
    let m = whole.n_channels();
    let nmf = |why: String| Ok(Choice { method: "nmf", n_sources, why });
    let n_different = Distinct::within(&whole, SAME, &mut Vec::new()).len();
    if n_different < 2 {
        return nmf(format!(
            "{m} channels, of which no two differ (silent ones do not count): nmf, which tells sources apart by their \
             spectra"
        ));
    }
    if let Some(n) = n_sources.filter(|&n| n > n_different) {
        return nmf(format!(
            "{n} sources in {n_different} different channels, too few to demix: nmf on their mean power, one mask for all"
        ));
    }
    let mut next = None;
    let (counted, how) = match n_sources {
        Some(n) => (n, format!("{n} source{} as asked for", if n == 1 { "" } else { "s" })),
        None if n_different == 2 => (2, "2 sources, as many as different channels".into()),
        None => {
            let count = count_directions(parts)?;
            next = count.next;
            (count.n_sources.min(n_different), told(&count, n_different))
        }
    };
    let evidence = convolutive_evidence(&whole, counted.max(DEFAULT_SOURCES))?;
    let figures = format!("evidence {:.4}, threshold {}", evidence.evidence, evidence.threshold);
    // noise hides echoes from the evidence, and not from a longer window
    let echoes = next.is_some_and(|next| next.is_echo() && next.fall > ECHO);
    if evidence.convolutive || echoes {
        let why = format!("{m} channels that differ by delays and echoes ({figures}): {CONVOLUTIVE}; {how}");
        let n = n_sources.unwrap_or(counted.max(DEFAULT_SOURCES));
        return Ok(Choice { method: CONVOLUTIVE, n_sources: Some(n), why });
    }
    let without_rounding = count_sources(&whole, ROUNDING_GAP)?.n_sources.max(DEFAULT_SOURCES);
    let (n, how) = match n_sources {
        None if without_rounding < counted => {
            let how = format!(
                "{without_rounding} sources: what else is in {n_different} different channels is rounding"
            );
            (without_rounding, how)
        }
        _ => (counted, how),
    };
    let why = format!("{m} channels that differ by gains alone ({figures}): {INSTANTANEOUS}; {how}");
    Ok(Choice { method: INSTANTANEOUS, n_sources: Some(n), why })
}

/// What a longer window takes off a direction that is an echo, at the least, in dB: gains have none.
const ECHO: f64 = 1.0;
/// The methods for mixtures without delays and with them.
const INSTANTANEOUS: &str = "sobi";
const CONVOLUTIVE: &str = "ilrma";

/// The number of sources and what was seen of it.
fn told(count: &DirectionCount, n_different: usize) -> String {
    let n = count.n_sources.min(n_different);
    match (count.window, count.next) {
        (None, _) => format!("{n} sources, as many as different channels: too short or too quiet to count"),
        (Some(window), Some(next)) if n < n_different => {
            let of = format!("direction {} of {n_different}", n + 1);
            match next.is_echo() {
                true => format!(
                    "{n} sources: {of} is echoes, which a window of {window:.1} s makes {:.1} dB weaker than one of {:.2} s",
                    next.fall,
                    window / 4.0
                ),
                false => format!("{n} sources: {of} is as steady as noise"),
            }
        }
        _ => {
            format!("{n} sources: no direction of {n_different} different channels is mostly echoes or noise")
        }
    }
}

/// What is to be said of clipped samples.
pub(super) fn clipping_warning(mixture: &Waveform) -> Option<String> {
    let share = clipped_share(mixture);
    (share >= CLIPPED).then(|| {
        format!(
            "{:.1} % of the samples of a channel are clipped: what was cut off is not a sum of sources, so they will leak \
             into each other; record it softer",
            100.0 * share
        )
    })
}

/// A short recording as it is; of a longer one, the part of each sixth that tells most.
fn parts(recording: &Waveform) -> Vec<Waveform> {
    let length = (PART * f64::from(recording.sample_rate)) as usize;
    let n_pieces = recording.n_samples() / length;
    if recording.n_samples() <= N_PARTS * length {
        return vec![recording.clone()];
    }
    let told: Vec<f64> = (0..n_pieces)
        .into_par_iter()
        .map(|piece| told_by(recording.samples.slice(s![.., piece * length..(piece + 1) * length])))
        .collect();
    (0..N_PARTS)
        .map(|part| {
            let pieces: Range<usize> = part * n_pieces / N_PARTS..(part + 1) * n_pieces / N_PARTS;
            let best = pieces.max_by(|&a, &b| told[a].total_cmp(&told[b])).unwrap_or(0);
            let samples = recording.samples.slice(s![.., best * length..(best + 1) * length]);
            Waveform::new(samples.to_owned(), recording.sample_rate)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    const RATE: u32 = 8000;

    fn uniform(random: &mut ChaCha8Rng) -> f32 {
        2.0 * random.random::<f32>() - 1.0
    }

    /// Noise in syllables, each with a loudness and a colour of its own: (sources, samples).
    fn talkers(n: usize, seconds: usize, seed: u64) -> Array2<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Array2::zeros((n, seconds * RATE as usize));
        for mut row in all.rows_mut() {
            let (mut loud, mut pole, mut state) = (0.0, 0.0, 0.0);
            for (t, x) in row.iter_mut().enumerate() {
                if t % (RATE as usize / 6) == 0 {
                    loud = random.random::<f32>().powi(3);
                    pole = 0.7 * uniform(&mut random);
                }
                state = pole * state + 0.3 * loud * uniform(&mut random);
                *x = state;
            }
        }
        all
    }

    fn with_noise(mut samples: Array2<f32>, snr: f32, seed: u64) -> Waveform {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
        let gain = (3.0 * power * 10f32.powf(-snr / 10.0)).sqrt();
        samples.mapv_inplace(|x| x + gain * uniform(&mut random));
        Waveform::new(samples, RATE)
    }

    /// Gains of two sources on `m` channels, no two alike.
    fn panned(m: usize, seconds: usize, seed: u64) -> Array2<f32> {
        let gains = Array2::from_shape_fn((m, 2), |(channel, n)| {
            let angle = 0.3 + 2.5 * channel as f32 / m as f32;
            if n == 0 { angle.cos() } else { (angle * 0.9 + 0.2).sin() }
        });
        gains.dot(&talkers(2, seconds, seed))
    }

    /// The second channel hears each talker some samples later or earlier than the first.
    fn delayed(seconds: usize, seed: u64) -> Waveform {
        let s = talkers(2, seconds, seed);
        let at = |n: usize, t: usize, late: usize| if t < late { 0.0 } else { s[[n, t - late]] };
        let sample = |(channel, t): (usize, usize)| match channel {
            0 => at(0, t, 0) + 0.7 * at(1, t, 3),
            _ => 0.8 * at(0, t, 2) + at(1, t, 0),
        };
        Waveform::new(Array2::from_shape_fn(s.dim(), sample), RATE)
    }

    #[test]
    fn two_sources_by_gains_are_two_on_any_number_of_channels() {
        for m in [3, 4, 8] {
            let clean = Waveform::new(panned(m, 10, 1), RATE);
            let found = choose(&clean, None).unwrap();
            assert_eq!((found.method, found.n_sources), ("sobi", Some(2)), "{m}: {}", found.why);
            assert!(found.why.contains("differ by gains alone (evidence 0.0000, threshold 0.005)"));
            for snr in [40.0, 20.0, 10.0] {
                let found = choose(&with_noise(panned(m, 10, 1), snr, 2), None).unwrap();
                assert_eq!(
                    (found.method, found.n_sources),
                    ("sobi", Some(2)),
                    "{m}, {snr} dB: {}",
                    found.why
                );
                assert!(found.why.contains("direction 3 of "), "{}", found.why);
            }
        }
        // all sources that there are
        let gains = array![[1.0, 0.3, -0.4], [0.2, 1.0, 0.5], [-0.5, 0.1, 1.0]];
        let found = choose(&Waveform::new(gains.dot(&talkers(3, 10, 3)), RATE), None).unwrap();
        assert_eq!((found.method, found.n_sources), ("sobi", Some(3)), "{}", found.why);
        // who asks is given what is asked for
        let found = choose(&Waveform::new(panned(4, 10, 1), RATE), Some(3)).unwrap();
        assert_eq!((found.method, found.n_sources), ("sobi", Some(3)));
        let found = choose(&Waveform::new(panned(2, 10, 1), RATE), Some(3)).unwrap();
        assert_eq!((found.method, found.n_sources), ("nmf", Some(3)), "{}", found.why);
    }

    #[test]
    fn what_begins_late_is_seen() {
        let rate = RATE as usize;
        let scene = delayed(30, 4);
        let silence = Array2::zeros((2, 61 * rate));
        let mono = talkers(1, 61, 5);
        let mono = concatenate(Axis(0), &[mono.view(), mono.view()]).unwrap();
        for before in [silence, mono] {
            let samples = concatenate(Axis(1), &[before.view(), scene.samples.view()]).unwrap();
            let found = choose(&Waveform::new(samples, RATE), None).unwrap();
            assert_eq!((found.method, found.n_sources), ("ilrma", Some(2)), "{}", found.why);
            assert!(
                found.why.ends_with("; 6 parts of 10 s, spread over 91 s, were looked at"),
                "{}",
                found.why
            );
        }
        // what is short is looked at as a whole, and nothing is said of it
        let found = choose(&scene, None).unwrap();
        assert!(found.why.contains("delays and echoes (evidence 0."), "{}", found.why);
        assert!(!found.why.contains("parts"), "{}", found.why);
        // one signal at several gains stays one, wherever it is looked at
        let copies = array![[1.0], [0.5]].dot(&talkers(1, 70, 6));
        assert_eq!(choose(&Waveform::new(copies, RATE), None).unwrap().method, "nmf");
    }

    #[test]
    fn the_part_of_each_sixth_that_tells_most_is_taken() {
        let length = PART as usize * RATE as usize;
        let mut samples = Array2::<f32>::zeros((2, 12 * length));
        let noise = talkers(2, 10, 7);
        // loud and the same on both, then softer and different
        for (piece, gain, different) in [(0, 1.0, false), (1, 0.2, true), (4, 0.1, true), (5, 0.2, true)] {
            for (channel, mut row) in samples.rows_mut().into_iter().enumerate() {
                let of = noise.row(if different { channel } else { 0 });
                row.slice_mut(s![piece * length..(piece + 1) * length]).scaled_add(gain, &of);
            }
        }
        let taken = parts(&Waveform::new(samples.clone(), RATE));
        assert_eq!(taken.len(), N_PARTS);
        let piece = |k: usize| samples.slice(s![.., k * length..(k + 1) * length]);
        assert_eq!(taken[0].samples, piece(1));
        assert_eq!(taken[2].samples, piece(5));
    }

    #[test]
    fn clipping_is_named() {
        let mut x = delayed(10, 8);
        let loud = 50.0 / x.peak();
        assert_eq!(clipping_warning(&x), None);
        x.samples.mapv_inplace(|x| (loud * x).clamp(-1.0, 1.0));
        let found = choose(&x, None).unwrap();
        assert_eq!(found.method, "ilrma", "{}", found.why);
        let one = choose(&x, Some(1)).unwrap();
        assert_eq!((one.method, one.n_sources), ("ilrma", Some(1)), "{}", one.why);
        let warning = clipping_warning(&x).unwrap();
        assert!(warning.contains("% of the samples of a channel are clipped"), "{warning}");
    }

    #[test]
    fn echoes_that_hide_from_the_evidence_are_found_by_a_longer_window() {
        // gains, and echoes far below that differ from channel to channel
        let seconds = 12;
        let dry = talkers(2, seconds, 21);
        let mut samples = panned(3, seconds, 21);
        let mut random = ChaCha8Rng::seed_from_u64(22);
        for mut channel in samples.rows_mut() {
            for talker in dry.rows() {
                for _ in 0..40 {
                    let late = 400 + random.random_range(0..2400);
                    let gain = 0.012 * uniform(&mut random);
                    channel.iter_mut().skip(late).zip(talker).for_each(|(x, s)| *x += gain * s);
                }
            }
        }
        let found = choose(&Waveform::new(samples, RATE), None).unwrap();
        let evidence: f64 = found.why.split("evidence ").nth(1).unwrap()[..6].parse().unwrap();
        assert!(evidence < 0.005, "{}", found.why);
        assert_eq!((found.method, found.n_sources), ("ilrma", Some(2)), "{}", found.why);
        assert!(found.why.contains("direction 3 of 3 is echoes"), "{}", found.why);
        // the gains alone
        let found = choose(&Waveform::new(panned(3, seconds, 21), RATE), None).unwrap();
        assert_eq!(found.method, "sobi", "{}", found.why);
    }
}
