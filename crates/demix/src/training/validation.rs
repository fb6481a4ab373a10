//! [`Validation`]: fixed mixtures of songs that training never sees, separated and scored.
//!
//! The target and each other stem of a song, at several ratios, go through the single-channel Wiener filter
//! r / (r + rest), where r is the power that the network expects of its source and rest = max(|X|^2 - r, 0) what that leaves.
//! The score is the improvement of SI-SDR over the mixture. It decides which network is kept, because the loss can
//! prefer networks that do not separate.

use demix_eval::{EvalError, Order, SiSettings, si_sdr};
use demix_nn::{Excerpt, Network, NnError};
use demix_signal::{Stft, StftSettings, Waveform};
use ndarray::{Array2, Axis, Zip};

use super::examples::{add, amplitude, rms};
use crate::corpus::{CorpusError, Reader, Song, Track};
use crate::separation::SeparationError;

demix_signal::settings! {
    /// How networks are judged.
    pub struct ValidationSettings {
        /// Songs kept from training to choose the best network by.
        pub validation: usize = 6, unit "songs", range 0.0 ..= 10000.0;
        /// Length of each validation mixture, from the middle of the song.
        pub validation_seconds: f64 = 10.0, unit "s", range 0.1 ..= 10000.0;
        /// Validation mixtures have ratios of source to other of minus this, 0 and plus this; 0: only 0 dB.
        pub validation_snr: f64 = 5.0, unit "dB", range 0.0 ..= 60.0;
    }
}

/// A stem quieter than this, -80 dB of full scale, is silent.
const SILENCE: f64 = 1e-4;
/// Parts of a song that are tried for one where both stems sound: shares of what is before and after it.
const PLACES: [f64; 5] = [0.5, 0.25, 0.75, 0.0, 1.0];

/// Mixtures with the truth.
pub struct Validation {
    stft: Stft<f32>,
    rate: u32,
    pairs: Vec<Pair>,
    /// Ratios of source to other in dB.
    snrs: Vec<f64>,
}

/// A target and an equally loud other stem.
struct Pair {
    song: String,
    target: Vec<f32>,
    other: Vec<f32>,
}

/// How good a network is.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationScore {
    /// Mean improvement of SI-SDR over the mixture, in dB.
    pub improvement: f64,
    /// The same for each song.
    pub by_song: Vec<(String, f64)>,
}

/// A validation that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// The corpus.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The transform.
    #[error(transparent)]
    Transform(#[from] SeparationError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NnError),
    /// The judge.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl Validation {
    /// Reads the mixtures of `source` with every other stem of each song; songs where the source is missing or silent
    /// are left out.
    ///
    /// # Errors
    /// Stems that cannot be read, a transform that cannot be.
    pub fn new(
        songs: &[&Song],
        source: &str,
        reader: &Reader,
        stft: &StftSettings,
        settings: &ValidationSettings,
    ) -> Result<Self, ValidationError> {
        let stft = Stft::new(stft).map_err(SeparationError::from)?;
        let most = (settings.validation_seconds * f64::from(reader.rate())).ceil() as u64;
        let mut pairs = Vec::new();
        for song in songs {
            let Some(stem) = song.stem(source) else { continue };
            let target = reader.track(&stem.path)?;
            for other in song.stems.iter().filter(|other| other.name != source) {
                let other = reader.track(&other.path)?;
                if let Some((target, other)) = sounding(reader, &target, &other, most)? {
                    pairs.push(Pair { song: song.name.clone(), target, other });
                }
            }
        }
        let snr = settings.validation_snr;
        let snrs = if snr > 0.0 { vec![-snr, 0.0, snr] } else { vec![0.0] };
        Ok(Self { stft, rate: reader.rate(), pairs, snrs })
    }

    /// Number of mixtures.
    pub fn n_mixtures(&self) -> usize {
        self.pairs.len() * self.snrs.len()
    }

    /// Names of the songs that are used.
    pub fn songs(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.pairs.iter().map(|pair| &*pair.song).collect();
        names.dedup();
        names
    }

    /// The magnitudes of a mixture and its target, for the loss; `index` below [`Validation::n_mixtures`].
    pub fn excerpt(&self, index: usize) -> Excerpt {
        let (pair, gain) = self.of(index);
        let mixture = mixed(pair, gain);
        Excerpt {
            mixture: self.transform(&mixture).mapv(|x| x.norm_sqr().sqrt()),
            source: self.transform(&pair.target).mapv(|x| x.norm_sqr().sqrt()),
            margin: 0,
        }
    }

    /// Separates every mixture with `network` and scores it; `nu_nmf` for networks that take it.
    ///
    /// # Errors
    /// A network that does not fit the transform; NaN or infinity where it diverged.
    pub fn score(&self, network: &Network, nu_nmf: Option<f64>) -> Result<ValidationScore, ValidationError> {
        let mut by_song: Vec<(String, Vec<f64>)> = Vec::new();
        for index in 0..self.n_mixtures() {
            let (pair, gain) = self.of(index);
            let improvement = self.improvement(pair, gain, network, nu_nmf)?;
            match by_song.last_mut() {
                Some((song, all)) if *song == pair.song => all.push(improvement),
                _ => by_song.push((pair.song.clone(), vec![improvement])),
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let all: Vec<f64> = by_song.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        Ok(ValidationScore {
            improvement: mean(&all),
            by_song: by_song.into_iter().map(|(song, values)| (song, mean(&values))).collect(),
        })
    }

    fn improvement(
        &self,
        pair: &Pair,
        gain: f64,
        network: &Network,
        nu_nmf: Option<f64>,
    ) -> Result<f64, ValidationError> {
        let mixture = mixed(pair, gain);
        let mut spectrum = self.transform(&mixture);
        let magnitude = spectrum.mapv(|x| x.norm_sqr().sqrt());
        let power = network.estimate(magnitude.view(), nu_nmf)?.power();
        Zip::from(&mut spectrum).and(&magnitude).and(&power).for_each(|x, &m, &power| {
            let whole = m * m;
            // 0 / 0 where neither is anything
            *x *= if power > 0.0 { power / whole.max(power) } else { 0.0 };
        });
        let data = spectrum.insert_axis(Axis(1));
        let found =
            demix_signal::Spectrogram { data, sample_rate: self.rate, stft: self.stft.settings().clone() };
        let estimate = Waveform::new(self.stft.inverse(&found, mixture.len()), self.rate);
        let target = Waveform::mono(pair.target.clone(), self.rate);
        let mixture = Waveform::mono(mixture, self.rate);
        let settings = SiSettings { order: Order::Fixed, ..SiSettings::default() };
        let score = |estimate| -> Result<f64, EvalError> {
            Ok(si_sdr(std::slice::from_ref(&target), &[estimate], &settings)?.sdr[0])
        };
        // a silent estimate has no SI-SDR: it is as bad as can be told, not a reason to stop
        let found = score(estimate)?;
        let before = score(mixture)?;
        Ok(if found.is_nan() { WORST - before } else { found - before })
    }

    fn of(&self, index: usize) -> (&Pair, f64) {
        let n = self.snrs.len();
        (&self.pairs[index / n], amplitude(-self.snrs[index % n]))
    }

    /// (bins, frames) of a mono signal.
    fn transform(&self, sound: &[f32]) -> Array2<demix_signal::Complex<f32>> {
        let sound = Waveform::mono(sound.to_vec(), self.rate);
        let spectrogram = self.stft.forward(&sound).expect("a pair has samples");
        spectrogram.data.index_axis_move(Axis(1), 0)
    }
}

/// SI-SDR in dB of an estimate without sound.
const WORST: f64 = -60.0;

fn mixed(pair: &Pair, gain: f64) -> Vec<f32> {
    let mut mixture = pair.target.clone();
    add(&mut mixture, &pair.other, gain);
    mixture
}

/// A source and what is beside it.
type Sounds = (Vec<f32>, Vec<f32>);

/// The same part of both tracks, where both sound, at one level; at most `most` samples.
fn sounding(
    reader: &Reader,
    target: &Track,
    other: &Track,
    most: u64,
) -> Result<Option<Sounds>, CorpusError> {
    let whole = target.n_samples.min(other.n_samples);
    let length = whole.min(most);
    for place in PLACES {
        let start = ((whole - length) as f64 * place) as u64;
        let sound = reader.read(target, start, length as usize)?;
        let mut rest = reader.read(other, start, length as usize)?;
        let (loud, noise) = (rms(&sound), rms(&rest));
        if loud > SILENCE && noise > SILENCE {
            rest.iter_mut().for_each(|x| *x *= (loud / noise) as f32);
            return Ok(Some((sound, rest)));
        }
    }
    Ok(None)
}
