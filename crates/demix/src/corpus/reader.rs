//! [`Reader`]: one-channel excerpts of stems at one rate, without the corpus in memory.
//!
//! A stem is read in pages of [`PAGE_SECONDS`]: a page of a WAV file is found at once, decoded with [`MARGIN_SECONDS`]
//! on both sides, mixed down and resampled, so that an excerpt never depends on what was read before. Formats that are
//! decoded from their beginning have one page. The pages used last are kept, up to a bound.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use demix_files::audio::{self, ReadOptions};
use demix_signal::{Waveform, resample};
use ndarray::Axis;

use super::CorpusError;

/// Length of a page in seconds; a whole number, so that pages begin at whole samples of every rate.
const PAGE_SECONDS: u64 = 20;
/// What is decoded beyond both ends of a page, in seconds: the filter of the resampling rings for less.
const MARGIN_SECONDS: u64 = 1;

/// A stem as a [`Reader`] sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The file.
    pub path: PathBuf,
    /// Rate of the file in Hz.
    pub file_rate: u32,
    /// Channels of the file; they are averaged.
    pub channels: usize,
    /// Length at the reader's rate, in samples; at least 1.
    pub n_samples: u64,
    /// Samples of a page at the reader's rate.
    page: u64,
}

/// Reads excerpts of tracks; may be shared between threads.
pub struct Reader {
    rate: u32,
    /// Most samples that are kept.
    bound: usize,
    pages: Mutex<Pages>,
}

/// The pages used last.
#[derive(Default)]
struct Pages {
    kept: HashMap<(PathBuf, u64), Kept>,
    n_samples: usize,
    uses: u64,
}

struct Kept {
    samples: Arc<Vec<f32>>,
    last_use: u64,
}

impl Reader {
    /// Reads at `rate` (Hz), keeping at most `cache_mib` MiB of samples.
    pub fn new(rate: u32, cache_mib: usize) -> Self {
        let bound = cache_mib.saturating_mul(1 << 20) / size_of::<f32>();
        Self { rate, bound, pages: Mutex::default() }
    }

    /// The rate of all excerpts in Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Looks at a file without decoding it.
    ///
    /// # Errors
    /// A file that cannot be read, or has no sample at this rate.
    pub fn track(&self, path: &Path) -> Result<Track, CorpusError> {
        let info = audio::info(path)?;
        let n_samples =
            (u128::from(info.n_samples) * u128::from(self.rate) / u128::from(info.sample_rate.max(1))) as u64;
        if n_samples == 0 {
            return Err(CorpusError::TooShort {
                path: path.to_path_buf(),
                n_samples: info.n_samples,
                from: info.sample_rate,
                to: self.rate,
            });
        }
        let is_seekable = matches!(&*info.container, "WAV" | "RF64");
        Ok(Track {
            path: path.to_path_buf(),
            file_rate: info.sample_rate,
            channels: info.channels,
            n_samples,
            page: if is_seekable { PAGE_SECONDS * u64::from(self.rate) } else { n_samples },
        })
    }

    /// `length` samples from `start` on; after the end the track begins again.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self, track: &Track, start: u64, length: usize) -> Result<Vec<f32>, CorpusError> {
        let mut samples = Vec::with_capacity(length);
        let mut at = start % track.n_samples;
        while samples.len() < length {
            let page = self.page(track, at / track.page)?;
            let from = (at % track.page) as usize;
            let n = (page.len() - from).min(length - samples.len());
            samples.extend_from_slice(&page[from..from + n]);
            at = (at + n as u64) % track.n_samples;
        }
        Ok(samples)
    }

    fn page(&self, track: &Track, index: u64) -> Result<Arc<Vec<f32>>, CorpusError> {
        let key = (track.path.clone(), index);
        if let Some(samples) = self.pages.lock().unwrap_or_else(PoisonError::into_inner).find(&key) {
            return Ok(samples);
        }
        // not under the lock: others read meanwhile
        let samples = Arc::new(self.decode(track, index)?);
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.keep(key, &samples, self.bound);
        Ok(samples)
    }

    /// A page, which is never empty and ends with the track.
    fn decode(&self, track: &Track, index: u64) -> Result<Vec<f32>, CorpusError> {
        let first = index * track.page;
        let n = (track.n_samples - first).min(track.page) as usize;
        let is_whole = track.page == track.n_samples;
        let begin = if is_whole { 0 } else { (index * PAGE_SECONDS).saturating_sub(MARGIN_SECONDS) };
        let duration = (!is_whole).then_some((PAGE_SECONDS + 2 * MARGIN_SECONDS) as f64);
        let options = ReadOptions { start: Some(begin as f64), duration };
        let sound = audio::read(&track.path, &options)?.waveform;
        let mono = mix_down(&sound);
        let failed = |reason| CorpusError::Resample { path: track.path.clone(), reason };
        let there = resample(&mono, self.rate).map_err(failed)?;
        let before = (first - begin * u64::from(self.rate)) as usize;
        let mut samples: Vec<f32> = there.samples.iter().skip(before).take(n).copied().collect();
        // a file that was cut while we read it
        samples.resize(n, 0.0);
        Ok(samples)
    }
}

/// The mean of the channels.
fn mix_down(sound: &Waveform) -> Waveform {
    let mean = sound.samples.mean_axis(Axis(0)).map_or_else(Vec::new, |mean| mean.to_vec());
    Waveform::mono(mean, sound.sample_rate)
}

impl Pages {
    fn find(&mut self, key: &(PathBuf, u64)) -> Option<Arc<Vec<f32>>> {
        self.uses += 1;
        let kept = self.kept.get_mut(key)?;
        kept.last_use = self.uses;
        Some(kept.samples.clone())
    }

    /// Keeps a page, and forgets those unused for longest until all fit.
    fn keep(&mut self, key: (PathBuf, u64), samples: &Arc<Vec<f32>>, bound: usize) {
        if samples.len() > bound {
            return;
        }
        let kept = Kept { samples: samples.clone(), last_use: self.uses };
        self.n_samples += samples.len();
        if let Some(twin) = self.kept.insert(key, kept) {
            self.n_samples -= twin.samples.len();
        }
        while self.n_samples > bound {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_use);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            if let Some(gone) = self.kept.remove(&oldest) {
                self.n_samples -= gone.samples.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use demix_files::audio::{Container, SampleKind, WriteFormat, write};
    use ndarray::Array2;

    use super::*;

    /// Two channels of tones, 43 s.
    fn stereo(rate: u32) -> Waveform {
        let n = 43 * rate as usize + 7;
        let tone = |hertz: f64, t: usize| (TAU * hertz * t as f64 / f64::from(rate)).sin() as f32;
        let samples = Array2::from_shape_fn((2, n), |(c, t)| 0.5 * tone([110.0, 330.0][c], t));
        Waveform::new(samples, rate)
    }

    #[test]
    fn pages_join_and_agree_with_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stem.wav");
        let sound = stereo(11025);
        write(&path, &sound, &WriteFormat::default()).unwrap();
        let whole = resample(&mix_down(&sound), 8000).unwrap();
        let reader = Reader::new(8000, 64);
        let track = reader.track(&path).unwrap();
        assert_eq!((track.channels, track.file_rate), (2, 11025));
        assert_eq!(track.n_samples, 43 * 8000 + 7 * 8000 / 11025);
        // over both joints of pages; the ends of the file ring alike
        let all = reader.read(&track, 0, track.n_samples as usize).unwrap();
        for (t, (a, b)) in all.iter().zip(whole.samples.iter()).enumerate() {
            assert!((a - b).abs() < 2e-4, "{t}: {a} {b}");
        }
        // beyond the end it begins again
        let end = track.n_samples - 5;
        let around = reader.read(&track, end, 12).unwrap();
        assert_eq!(around[..5], all[end as usize..]);
        assert_eq!(around[5..], all[..7]);
    }

    #[test]
    fn what_is_kept_changes_nothing_and_stays_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let sound = stereo(16000);
        let (wav, flac) = (folder.path().join("stem.wav"), folder.path().join("stem.flac"));
        write(&wav, &sound, &WriteFormat { samples: SampleKind::Int24, ..WriteFormat::default() }).unwrap();
        write(&flac, &sound, &WriteFormat { container: Container::Flac, ..WriteFormat::default() }).unwrap();
        let (roomy, small, none) = (Reader::new(8000, 64), Reader::new(8000, 1), Reader::new(8000, 0));
        for path in [&wav, &flac] {
            let track = roomy.track(path).unwrap();
            for start in [0, 150_000, 5, 300_000, 160_000 - 1, 0] {
                let first = roomy.read(&track, start, 4000).unwrap();
                assert_eq!(first, small.read(&track, start, 4000).unwrap());
                assert_eq!(first, none.read(&track, start, 4000).unwrap());
                let pages = small.pages.lock().unwrap();
                let held: usize = pages.kept.values().map(|kept| kept.samples.len()).sum();
                assert_eq!(held, pages.n_samples);
                assert!(held <= small.bound);
            }
        }
        assert!(!small.pages.lock().unwrap().kept.is_empty());
        assert!(none.pages.lock().unwrap().kept.is_empty());
    }
}
