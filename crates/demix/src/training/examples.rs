//! [`AugmentedExamples`]: one source's stem and other stems, mixed at random.
//!
//! Example `index` of a seed is always the same, whatever was made before it and by which thread:
//!
//! 1. the target: an excerpt of a random training song that has the source, from anywhere (songs begin again after their
//!    end), a little faster or slower, of either sign, heard in a random room;
//! 2. one to three other stems, each of another kind where there are enough, treated alike and weighted at random: in
//!    some examples of the same song at the same time and speed, in others of random songs;
//! 3. the sum of the others, scaled so that the signal-to-noise ratio is a draw from the range asked for; in some
//!    examples the target is silent;
//! 4. the whole, scaled to one level, but for a random gain;
//! 5. the magnitudes of mixture and target; in some examples silence stands before or behind.

use std::sync::Arc;

use demix_nn::{Examples, Excerpt};
use demix_room::convolve;
use demix_signal::{Stft, StftSettings, Waveform};
use ndarray::{Array2, Axis, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::chance::{below, between, distinct, unit};
use super::room::room;
use super::speed::Speed;
use crate::corpus::{CorpusError, Reader, Song, Track};
use crate::separation::SeparationError;

demix_signal::settings! {
    /// How training mixtures are made.
    pub struct MixingSettings {
        /// Frames of an example, without the neighbours that a network sees of them.
        pub frames: usize = 16, unit "frames", range 1.0 ..= 100000.0;
        /// Lowest ratio of source to everything else. At -15 dB a network learns when to be silent.
        pub snr_low: f64 = -15.0, unit "dB", range -60.0 ..= 60.0;
        /// Highest ratio of source to everything else.
        pub snr_high: f64 = 15.0, unit "dB", range -60.0 ..= 60.0;
        /// At most so many other stems in a mixture.
        pub others: usize = 3, range 1.0 ..= 16.0;
        /// Levels of the other stems among each other differ by at most so much.
        pub spread: f64 = 12.0, unit "dB", range 0.0 ..= 60.0;
        /// Stems are played faster or slower by at most this share, which varies pitch and timbre; 0: never.
        pub speed: f64 = 0.06, range 0.0 ..= 0.5;
        /// Share of examples whose stems are of one song at one time, as in the mixtures to come; those of others are of
        /// random songs, of which there are more.
        pub coherent: f64 = 0.5, range 0.0 ..= 1.0;
        /// Stems are heard in rooms of random reverberation times up to this one; 0: as they are.
        pub reverberation: f64 = 0.4, unit "s", range 0.0 ..= 10.0;
        /// Levels of bands change by about this in every stem, which varies timbre; 0: never.
        pub colour: f64 = 3.0, unit "dB", range 0.0 ..= 12.0;
        /// Mixtures are louder or softer than the common level by at most so much.
        pub gain: f64 = 6.0, unit "dB", range 0.0 ..= 60.0;
        /// Share of examples in which the source is silent.
        pub silent: f64 = 0.05, range 0.0 ..= 1.0;
    }
}

/// Root mean square of a mixture whose random gain is 0 dB: far from full scale, as mixtures are.
const LEVEL: f64 = 0.1;
/// Below this root mean square, -80 dB of full scale, an excerpt is silent.
const SILENCE: f64 = 1e-4;
/// Excerpts that are tried where silent ones are found: stems rest for a few bars, rarely for most of a song.
const TRIES: usize = 8;

/// Share of the examples that stand at the beginning or the end of a song.
const ENDS: f64 = 0.2;

/// A target and others.
type Stems = (Vec<f32>, Vec<Vec<f32>>);

/// Speeds that are drawn from, evenly over the range: enough that none is heard twice.
const SPEEDS: usize = 33;

/// Mixtures for one source, made when they are asked for.
pub struct AugmentedExamples {
    reader: Arc<Reader>,
    stft: Stft<f32>,
    settings: MixingSettings,
    seed: u64,
    targets: Vec<Track>,
    /// Songs that have the source and others.
    songs: Vec<Together>,
    /// The other stems, by kind.
    others: Vec<Vec<Track>>,
    /// Empty where sound is played as it is.
    speeds: Vec<Speed>,
    /// Frames on both sides that are neighbours alone.
    margin: usize,
    /// Frame of an excerpt's transform that is the first without padding in it.
    first_frame: usize,
}

/// The stems of a song.
struct Together {
    target: Track,
    others: Vec<Track>,
}

/// Samples of a mixture and its target.
pub struct Mixed {
    /// Target and others.
    pub mixture: Vec<f32>,
    /// The target alone.
    pub target: Vec<f32>,
}

impl AugmentedExamples {
    /// Examples of `source` from `songs`, transformed by `stft` (without `auto`) at the reader's rate; `margin` frames on
    /// both sides of those to learn from.
    ///
    /// # Errors
    /// Stems that cannot be read; a transform that cannot be; no song with the source, or none with another.
    pub fn new(
        songs: &[&Song],
        source: &str,
        reader: Arc<Reader>,
        stft: &StftSettings,
        settings: &MixingSettings,
        margin: usize,
        seed: u64,
    ) -> Result<Self, ExamplesError> {
        if settings.snr_low > settings.snr_high {
            return Err(ExamplesError::SnrRange { low: settings.snr_low, high: settings.snr_high });
        }
        let stft = Stft::new(stft).map_err(SeparationError::from)?;
        let mut targets = Vec::new();
        let mut kinds: Vec<(&str, Vec<Track>)> = Vec::new();
        let mut whole = Vec::new();
        for song in songs {
            let (mut target, mut others) = (None, Vec::new());
            for stem in &song.stems {
                let track = reader.track(&stem.path)?;
                if stem.name == source {
                    targets.push(track.clone());
                    target = Some(track);
                    continue;
                }
                others.push(track.clone());
                match kinds.iter_mut().find(|(name, _)| *name == stem.name) {
                    Some((_, tracks)) => tracks.push(track),
                    None => kinds.push((&stem.name, vec![track])),
                }
            }
            whole.extend(target.filter(|_| !others.is_empty()).map(|target| Together { target, others }));
        }
        if targets.is_empty() || kinds.is_empty() {
            let missing = if targets.is_empty() { source.into() } else { format!("anything but {source}") };
            return Err(ExamplesError::NoStems { n_songs: songs.len(), missing });
        }
        kinds.sort_by_key(|(name, _)| *name);
        let others = kinds.into_iter().map(|(_, tracks)| tracks).collect();
        let (window, hop) = lengths(&stft);
        let first_frame = (window / 2).div_ceil(hop);
        let speed = |i: usize| 1.0 + settings.speed * (2.0 * i as f64 / (SPEEDS - 1) as f64 - 1.0);
        let speeds = match settings.speed > 0.0 {
            true => (0..SPEEDS).map(|i| Speed::new(speed(i))).collect(),
            false => Vec::new(),
        };
        let songs = whole;
        let settings = settings.clone();
        Ok(Self { reader, stft, settings, seed, targets, songs, others, speeds, margin, first_frame })
    }

    /// All stems that examples are made of.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.targets.iter().chain(self.others.iter().flatten())
    }

    /// Samples of an excerpt: enough for its frames to hold no padding.
    fn n_samples(&self) -> usize {
        let (window, hop) = lengths(&self.stft);
        (self.first_frame + self.settings.frames + 2 * self.margin - 1) * hop - window / 2 + window
    }

    /// The samples of example `index`.
    ///
    /// # Errors
    /// A stem that cannot be read.
    pub fn mixed(&self, index: u64) -> Result<Mixed, CorpusError> {
        let settings = &self.settings;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index);
        let is_silent = unit(&mut rng) < settings.silent;
        let n_others = 1 + below(&mut rng, settings.others as u64) as usize;
        let is_coherent = unit(&mut rng) < settings.coherent && !self.songs.is_empty();
        let (mut target, others) = match is_coherent {
            true => self.of_one_song(&mut rng, n_others)?,
            false => self.of_random_songs(&mut rng, n_others)?,
        };
        let mut rest = vec![0.0f32; target.len()];
        for other in others {
            let level = rms(&other);
            let wanted = amplitude(between(&mut rng, -settings.spread / 2.0, settings.spread / 2.0));
            if level > SILENCE {
                add(&mut rest, &other, wanted / level);
            }
        }

        let snr = between(&mut rng, settings.snr_low, settings.snr_high);
        let (loud, noise) = (rms(&target), rms(&rest));
        if is_silent || loud <= SILENCE {
            target.fill(0.0);
        } else if noise > SILENCE {
            scale(&mut rest, loud / noise / amplitude(snr));
        }
        let mut mixture = target.clone();
        add(&mut mixture, &rest, 1.0);
        let level = rms(&mixture);
        let gain = amplitude(between(&mut rng, -settings.gain, settings.gain)) * LEVEL;
        if level > 0.0 {
            scale(&mut mixture, gain / level);
            scale(&mut target, gain / level);
        }
        Ok(Mixed { mixture, target })
    }

    /// A target and others, each from anywhere.
    fn of_random_songs(&self, rng: &mut ChaCha8Rng, n_others: usize) -> Result<Stems, CorpusError> {
        let target = self.excerpt_of(rng, &self.targets)?;
        let n_kinds = self.others.len();
        let mut kinds = distinct(rng, n_kinds, n_others.min(n_kinds));
        while kinds.len() < n_others {
            kinds.push(below(rng, n_kinds as u64) as usize);
        }
        let mut others = Vec::new();
        for kind in kinds {
            others.push(self.excerpt_of(rng, &self.others[kind])?);
        }
        Ok((target, others))
    }

    /// A target and others of its song, from the same place at the same speed.
    fn of_one_song(&self, rng: &mut ChaCha8Rng, n_others: usize) -> Result<Stems, CorpusError> {
        let speed = below(rng, SPEEDS as u64) as usize;
        let (mut song, mut start) = (&self.songs[0], 0);
        for _ in 0..TRIES {
            song = &self.songs[below(rng, self.songs.len() as u64) as usize];
            start = below(rng, song.target.n_samples);
            if rms(&self.reader.read(&song.target, start, self.n_samples())?) > SILENCE {
                break;
            }
        }
        let target = self.play(rng, &song.target, start, speed)?;
        let mut others = Vec::new();
        for other in distinct(rng, song.others.len(), n_others.min(song.others.len())) {
            others.push(self.play(rng, &song.others[other], start, speed)?);
        }
        Ok((target, others))
    }

    /// An excerpt from anywhere in one of the tracks, not silent where that can be had, of random speed.
    fn excerpt_of(&self, rng: &mut ChaCha8Rng, tracks: &[Track]) -> Result<Vec<f32>, CorpusError> {
        let speed = below(rng, SPEEDS as u64) as usize;
        let (mut track, mut start) = (&tracks[0], 0);
        for _ in 0..TRIES {
            track = &tracks[below(rng, tracks.len() as u64) as usize];
            start = below(rng, track.n_samples);
            if rms(&self.reader.read(track, start, self.n_samples())?) > SILENCE {
                break;
            }
        }
        self.play(rng, track, start, speed)
    }

    /// A track from `start` on, at a speed, of random sign, in a random room.
    fn play(
        &self,
        rng: &mut ChaCha8Rng,
        track: &Track,
        start: u64,
        speed: usize,
    ) -> Result<Vec<f32>, CorpusError> {
        let length = self.n_samples();
        let sign = if unit(rng) < 0.5 { -1.0 } else { 1.0 };
        let (settings, rate) = (&self.settings, self.reader.rate());
        let room = room(rng, settings.reverberation, settings.colour, rate);
        // what was played before the excerpt is still heard in it
        let before = room.len() - 1;
        let speed = self.speeds.get(speed);
        let n = speed.map_or(length + before, |speed| speed.needed(length + before));
        let sound = self.reader.read(track, start, n)?;
        let mut sound = match speed {
            Some(speed) => speed.play(&sound, length + before),
            None => sound,
        };
        if before > 0 {
            sound = convolve(&sound, &[&room]).swap_remove(0);
            sound = sound[before..before + length].to_vec();
        }
        scale(&mut sound, sign);
        Ok(sound)
    }

    /// The magnitudes (bins, frames) of an excerpt.
    fn magnitudes(&self, samples: Vec<f32>) -> Array2<f32> {
        let sound = Waveform::mono(samples, self.reader.rate());
        let spectrogram = self.stft.forward(&sound).expect("an excerpt has samples");
        let frames = self.first_frame..self.first_frame + self.settings.frames + 2 * self.margin;
        spectrogram.data.index_axis(Axis(1), 0).slice(s![.., frames]).mapv(|x| x.norm_sqr().sqrt())
    }
}

impl Examples for AugmentedExamples {
    fn excerpt(&self, index: u64) -> Result<Excerpt, String> {
        let mixed = self.mixed(index).map_err(|error| error.to_string())?;
        let (mut mixture, mut source) = (self.magnitudes(mixed.mixture), self.magnitudes(mixed.target));
        // some begin or end a song: beyond is silence
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ u64::MAX);
        rng.set_stream(index);
        let end = unit(&mut rng) / ENDS;
        let (frames, margin) = (mixture.ncols(), self.margin);
        if end < 1.0 {
            let silent = if end < 0.5 { 0..margin } else { frames - margin..frames };
            mixture.slice_mut(s![.., silent.clone()]).fill(0.0);
            source.slice_mut(s![.., silent]).fill(0.0);
        }
        Ok(Excerpt { mixture, source, margin })
    }
}

/// Examples that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ExamplesError {
    /// The corpus.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The transform.
    #[error(transparent)]
    Transform(#[from] SeparationError),
    /// The range of levels is empty.
    #[error("snr_low={low} is above snr_high={high}: exchange them")]
    SnrRange {
        /// dB.
        low: f64,
        /// dB.
        high: f64,
    },
    /// Nothing to mix.
    #[error("none of the {n_songs} training songs has {missing}: add songs, or choose others with --seed")]
    NoStems {
        /// Songs looked at.
        n_songs: usize,
        /// What they lack.
        missing: String,
    },
}

/// Window and hop of a planned transform.
fn lengths(stft: &Stft<f32>) -> (usize, usize) {
    let settings = stft.settings();
    (settings.window_length.unwrap_or(1), settings.hop.unwrap_or(1))
}

/// Root mean square; 0 of nothing.
pub(super) fn rms(sound: &[f32]) -> f64 {
    let energy: f64 = sound.iter().map(|&x| f64::from(x).powi(2)).sum();
    (energy / sound.len().max(1) as f64).sqrt()
}

/// The factor of a gain in dB.
pub(super) fn amplitude(decibel: f64) -> f64 {
    10f64.powf(decibel / 20.0)
}

fn scale(sound: &mut [f32], factor: f64) {
    sound.iter_mut().for_each(|x| *x *= factor as f32);
}

pub(super) fn add(sum: &mut [f32], sound: &[f32], factor: f64) {
    sum.iter_mut().zip(sound).for_each(|(sum, x)| *sum += factor as f32 * x);
}
