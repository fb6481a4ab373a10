//! [`AugmentedExamples`]: one source's stem and other stems, mixed at random.
//!
//! Example `index` of a seed is always the same, whatever was made before it and by which thread:
//!
//! 1. the target: an excerpt of a random training song that has the source, from anywhere (songs begin again after their
//!    end), a little faster or slower, of either sign;
//! 2. one to three other stems, each of another kind where there are enough, of random songs, treated alike and
//!    weighted at random;
//! 3. the sum of the others, scaled so that the signal-to-noise ratio is a draw from the range asked for; in some
//!    examples the target is silent;
//! 4. the whole, scaled to one level, but for a random gain;
//! 5. the magnitudes of mixture and target.

use std::sync::Arc;

use demix_nn::{Examples, Excerpt};
use demix_signal::{Stft, StftSettings, Waveform};
use ndarray::{Array2, Axis, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::chance::{below, between, distinct, unit};
use super::speed::Speed;
use crate::corpus::{CorpusError, Reader, Song, Track};
use crate::separation::SeparationError;

demix_signal::settings! {
    /// How training mixtures are made.
    pub struct MixingSettings {
        /// Frames of an example.
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

/// Speeds that are drawn from, evenly over the range: enough that none is heard twice.
const SPEEDS: usize = 33;

/// Mixtures for one source, made when they are asked for.
pub struct AugmentedExamples {
    reader: Arc<Reader>,
    stft: Stft<f32>,
    settings: MixingSettings,
    seed: u64,
    targets: Vec<Track>,
    /// The other stems, by kind.
    others: Vec<Vec<Track>>,
    /// Empty where sound is played as it is.
    speeds: Vec<Speed>,
    /// Frame of an excerpt's transform that is the first without padding in it.
    first_frame: usize,
}

/// Samples of a mixture and its target.
pub struct Mixed {
    /// Target and others.
    pub mixture: Vec<f32>,
    /// The target alone.
    pub target: Vec<f32>,
}

impl AugmentedExamples {
    /// Examples of `source` from `songs`, transformed by `stft` (without `auto`) at the reader's rate.
    ///
    /// # Errors
    /// Stems that cannot be read; a transform that cannot be; no song with the source, or none with another.
    pub fn new(
        songs: &[&Song],
        source: &str,
        reader: Arc<Reader>,
        stft: &StftSettings,
        settings: &MixingSettings,
        seed: u64,
    ) -> Result<Self, ExamplesError> {
        if settings.snr_low > settings.snr_high {
            return Err(ExamplesError::SnrRange { low: settings.snr_low, high: settings.snr_high });
        }
        let stft = Stft::new(stft).map_err(SeparationError::from)?;
        let mut targets = Vec::new();
        let mut kinds: Vec<(&str, Vec<Track>)> = Vec::new();
        for stem in songs.iter().flat_map(|song| &song.stems) {
            let track = reader.track(&stem.path)?;
            if stem.name == source {
                targets.push(track);
            } else if let Some((_, tracks)) = kinds.iter_mut().find(|(name, _)| *name == stem.name) {
                tracks.push(track);
            } else {
                kinds.push((&stem.name, vec![track]));
            }
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
        Ok(Self { reader, stft, settings: settings.clone(), seed, targets, others, speeds, first_frame })
    }

    /// All stems that examples are made of.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.targets.iter().chain(self.others.iter().flatten())
    }

    /// Samples of an excerpt: enough for its frames to hold no padding.
    fn n_samples(&self) -> usize {
        let (window, hop) = lengths(&self.stft);
        (self.first_frame + self.settings.frames - 1) * hop - window / 2 + window
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
        let mut target = self.excerpt_of(&mut rng, &self.targets)?;

        let n_kinds = self.others.len();
        let n_others = 1 + below(&mut rng, settings.others as u64) as usize;
        let mut kinds = distinct(&mut rng, n_kinds, n_others.min(n_kinds));
        while kinds.len() < n_others {
            kinds.push(below(&mut rng, n_kinds as u64) as usize);
        }
        let mut rest = vec![0.0f32; target.len()];
        for kind in kinds {
            let other = self.excerpt_of(&mut rng, &self.others[kind])?;
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

    /// An excerpt from anywhere in one of the tracks, not silent where that can be had, of random speed and sign.
    fn excerpt_of(&self, rng: &mut ChaCha8Rng, tracks: &[Track]) -> Result<Vec<f32>, CorpusError> {
        let length = self.n_samples();
        let speed = self.speeds.get(below(rng, SPEEDS as u64) as usize);
        let sign = if unit(rng) < 0.5 { -1.0 } else { 1.0 };
        let n = speed.map_or(length, |speed| speed.needed(length));
        let mut sound = Vec::new();
        for _ in 0..TRIES {
            let track = &tracks[below(rng, tracks.len() as u64) as usize];
            sound = self.reader.read(track, below(rng, track.n_samples), n)?;
            if rms(&sound) > SILENCE {
                break;
            }
        }
        let mut sound = match speed {
            Some(speed) => speed.play(&sound, length),
            None => sound,
        };
        scale(&mut sound, sign);
        Ok(sound)
    }

    /// The magnitudes (bins, frames) of an excerpt.
    fn magnitudes(&self, samples: Vec<f32>) -> Array2<f32> {
        let sound = Waveform::mono(samples, self.reader.rate());
        let spectrogram = self.stft.forward(&sound).expect("an excerpt has samples");
        let frames = self.first_frame..self.first_frame + self.settings.frames;
        spectrogram.data.index_axis(Axis(1), 0).slice(s![.., frames]).mapv(|x| x.norm_sqr().sqrt())
    }
}

impl Examples for AugmentedExamples {
    fn excerpt(&self, index: u64) -> Result<Excerpt, String> {
        let mixed = self.mixed(index).map_err(|error| error.to_string())?;
        Ok(Excerpt { mixture: self.magnitudes(mixed.mixture), source: self.magnitudes(mixed.target) })
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
