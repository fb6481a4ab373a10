//! Long-term spectra of training and Test songs (Fig. 8 of the paper), and how far a Test song lies from training.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use demix_files::audio::{self, ReadOptions};
use demix_files::report;
use demix_signal::{Stft, StftSettings, Watch, Waveform};
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::folder::canonical;
use super::rows::sources;
use super::tell;
use crate::corpus::{Corpus, Part};
use crate::pipeline::PipelineError;

/// Bands, evenly spaced in the logarithm of frequency.
pub const N_BANDS: usize = 24;
/// Lowest frequency in Hz.
const LOWEST: f64 = 50.0;
/// Seconds of a song that are looked at.
const SECONDS: f64 = 120.0;
/// A band below this level, in dB below the loudest, is as good as empty.
const RANGE: f64 = 80.0;

/// Average spectra in dB, by source and song.
pub struct Spectra {
    /// Centre of each band in Hz.
    pub centres: Vec<f64>,
    /// By source, part and song: a training song and a test song may share a name.
    songs: BTreeMap<(String, Part, String), Vec<f64>>,
}

/// Levels of the bands in dB of every stem that was looked at, as they are kept from run to run.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The corpus.
    data: String,
    /// The rate in Hz that the bands are for.
    sample_rate: u32,
    /// By path in the corpus; none where a stem is silent.
    levels: BTreeMap<PathBuf, Option<Vec<f64>>>,
}

impl Kept {
    /// What `file` holds of this corpus and rate; nothing where it is of others, or damaged: it can be made again.
    fn read(file: &Path, data: String, sample_rate: u32) -> Self {
        let read =
            report::read_bytes(file).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        let fits = |kept: &Self| {
            let is_whole = kept.levels.values().flatten().all(|levels| levels.len() == N_BANDS);
            is_whole && kept.data == data && kept.sample_rate == sample_rate
        };
        read.filter(fits).unwrap_or(Self { data, sample_rate, levels: BTreeMap::new() })
    }
}

impl Spectra {
    /// Of all songs' stems that tables are about; what was found is kept in `file`.
    ///
    /// # Errors
    /// Files that cannot be read or written; cancelling, after which the stems that were read stay in `file`.
    pub fn of(
        corpus: &Corpus,
        sample_rate: u32,
        file: &Path,
        watch: &mut dyn Watch,
    ) -> Result<Self, PipelineError> {
        let highest = f64::from(sample_rate) / 2.0 * 0.975;
        let edge = |band: usize| LOWEST * (highest / LOWEST).powf(band as f64 / N_BANDS as f64);
        let centres = (0..N_BANDS).map(|band| (edge(band) * edge(band + 1)).sqrt()).collect();
        let edges: Vec<f64> = (0..=N_BANDS).map(edge).collect();
        let mut kept = Kept::read(file, canonical(&corpus.folder), sample_rate);
        let n_kept = kept.levels.len();
        let found = look(corpus, &edges, &mut kept.levels, watch);
        if kept.levels.len() > n_kept {
            report::write_json(file, &kept)?;
        }
        found?;

        let mut spectra = Self { centres, songs: BTreeMap::new() };
        for song in &corpus.songs {
            for source in sources() {
                let Some(stem) = song.stem(source) else { continue };
                if let Some(Some(levels)) = kept.levels.get(inside(corpus, &stem.path)) {
                    spectra.songs.insert((source.to_string(), song.part, song.name.clone()), levels.clone());
                }
            }
        }
        Ok(spectra)
    }

    /// The mean power of a source's bands in dB over the songs of a part, each song with the same weight.
    pub fn average(&self, source: &str, part: Part) -> Vec<f64> {
        let songs: Vec<&Vec<f64>> = self
            .songs
            .iter()
            .filter(|(key, _)| key.0 == source && key.1 == part)
            .map(|(_, levels)| levels)
            .collect();
        let mean = |band: usize| {
            let sum: f64 = songs.iter().map(|levels| 10f64.powf(levels[band] / 10.0)).sum();
            10.0 * (sum / songs.len().max(1) as f64).max(1e-30).log10()
        };
        (0..N_BANDS).map(mean).collect()
    }

    /// Of a test song: root mean square distance in dB over the bands from the nearest training song, the mean over the sources.
    pub fn mismatch(&self, song: &str, sources: &[&str]) -> f64 {
        let of = |source: &str| -> Option<f64> {
            let own = self.songs.get(&(source.to_string(), Part::Test, song.to_string()))?;
            let training = self
                .songs
                .iter()
                .filter(|(key, _)| key.0 == source && key.1 == Part::Dev)
                .map(|(_, levels)| distance(own, levels));
            training.min_by(f64::total_cmp)
        };
        let distances: Vec<f64> = sources.iter().filter_map(|source| of(source)).collect();
        distances.iter().sum::<f64>() / distances.len().max(1) as f64
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (squares / a.len() as f64).sqrt()
}

/// The path of a stem in its corpus, the same however the corpus is typed.
fn inside<'a>(corpus: &Corpus, stem: &'a Path) -> &'a Path {
    stem.strip_prefix(&corpus.folder).unwrap_or(stem)
}

/// Reads every stem that has no levels yet.
fn look(
    corpus: &Corpus,
    edges: &[f64],
    levels: &mut BTreeMap<PathBuf, Option<Vec<f64>>>,
    watch: &mut dyn Watch,
) -> Result<(), PipelineError> {
    let stems: Vec<&Path> = corpus
        .songs
        .iter()
        .flat_map(|song| sources().into_iter().filter_map(|source| song.stem(source)))
        .map(|stem| stem.path.as_path())
        .filter(|path| !levels.contains_key(inside(corpus, path)))
        .collect();
    for (done, path) in stems.iter().enumerate() {
        tell(watch, "spectra", done, stems.len())?;
        let options = ReadOptions { duration: Some(SECONDS), ..ReadOptions::default() };
        let read = audio::read(path, &options)?.waveform;
        let mono = read.samples.mean_axis(Axis(0)).map_or_else(Vec::new, |mono| mono.to_vec());
        let found = bands(&Waveform::mono(mono, read.sample_rate), edges);
        levels.insert(inside(corpus, path).to_path_buf(), found);
    }
    tell(watch, "spectra", stems.len(), stems.len())
}

/// Levels of the bands in dB re the sum of all; `None` of silence. Four digits behind the point: what is written as text
/// and read again is then the same number.
fn bands(sound: &Waveform, edges: &[f64]) -> Option<Vec<f64>> {
    let rate = f64::from(sound.sample_rate);
    // bins of about 8 Hz, narrower than the lowest band
    let fft = ((rate / 8.0) as usize).next_power_of_two().max(2);
    let stft = Stft::<f32>::new(&StftSettings::new(fft, fft / 2)).ok()?;
    let x = stft.forward_samples(&sound.samples).ok()?;
    let mut powers = vec![0.0; edges.len() - 1];
    for (bin, rows) in x.outer_iter().enumerate() {
        let hertz = bin as f64 * rate / fft as f64;
        let Some(band) = edges.windows(2).position(|pair| (pair[0]..pair[1]).contains(&hertz)) else {
            continue;
        };
        powers[band] += rows.iter().map(|x| f64::from(x.norm_sqr())).sum::<f64>();
    }
    let all: f64 = powers.iter().sum();
    let level = |power: f64| (10.0 * (power / all).max(1e-30).log10()).max(-RANGE);
    (all > 0.0).then(|| powers.iter().map(|&power| (level(power) * 1e4).round() / 1e4).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_in_its_band_and_the_nearest_song_counts() {
        let edges: Vec<f64> = (0..=N_BANDS).map(|b| 50.0 * 78f64.powf(b as f64 / N_BANDS as f64)).collect();
        let tone = |hertz: f64| -> Waveform {
            let sine = |t: usize| (std::f64::consts::TAU * hertz * t as f64 / 8000.0).sin() as f32;
            Waveform::mono((0..16000).map(sine).collect(), 8000)
        };
        let levels = bands(&tone(1000.0), &edges).unwrap();
        let loudest = (0..N_BANDS).max_by(|a, b| levels[*a].total_cmp(&levels[*b])).unwrap();
        assert!(edges[loudest] < 1000.0 && edges[loudest + 1] > 1000.0);
        assert!(bands(&Waveform::mono(vec![0.0; 4000], 8000), &edges).is_none());

        let mut spectra = Spectra { centres: vec![], songs: BTreeMap::new() };
        for (song, part, level) in
            [("a", Part::Dev, 0.0), ("b", Part::Dev, 6.0), ("c", Part::Test, 5.0), ("b", Part::Test, 9.0)]
        {
            spectra.songs.insert(("bass".to_string(), part, song.to_string()), vec![level; N_BANDS]);
        }
        assert!((spectra.mismatch("c", &["bass"]) - 1.0).abs() < 1e-12);
        // a test song called as a training song is another one
        assert!((spectra.mismatch("b", &["bass"]) - 3.0).abs() < 1e-12);
        assert!((spectra.average("bass", Part::Dev)[3] - 10.0 * (2.49054f64).log10()).abs() < 1e-4);
    }
}
