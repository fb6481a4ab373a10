//! [`Sound`]: a file to be scored, held in memory or read where asked; [`open`] and [`check_alike`].

use std::io;
use std::path::{Path, PathBuf};

use demix_eval::Recording;
use demix_files::audio::{self, ReadOptions};
use demix_signal::Waveform;
use ndarray::ArrayViewMut2;

use crate::pipeline::PipelineError;

/// Files that together are larger stay on the disk, in bytes: an hour of five stereo files.
const MOST_IN_MEMORY: u64 = 1 << 30;

/// A signal to be scored, with the name of its file.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Its file, or what it is made of.
    pub path: PathBuf,
    samples: Samples,
}

#[derive(Clone, Debug)]
enum Samples {
    Held(Waveform),
    /// A WAV file, in which any stretch is found at once.
    OnDisk {
        n_channels: usize,
        n_samples: usize,
        sample_rate: u32,
    },
}

impl Sound {
    /// A signal that is no file.
    pub fn held(path: impl Into<PathBuf>, waveform: Waveform) -> Self {
        Self { path: path.into(), samples: Samples::Held(waveform) }
    }

    /// All samples.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn waveform(&self) -> Result<Waveform, PipelineError> {
        match &self.samples {
            Samples::Held(waveform) => Ok(waveform.clone()),
            Samples::OnDisk { .. } => Ok(audio::read(&self.path, &ReadOptions::default())?.waveform),
        }
    }
}

/// Reads the files; large WAV files are left on the disk and read while they are scored.
///
/// # Errors
/// A file that is missing, no audio, damaged, or holds samples that are not finite.
pub fn open(paths: &[PathBuf], part: &ReadOptions) -> Result<Vec<Sound>, PipelineError> {
    let bytes: u64 =
        paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum();
    let whole = *part == ReadOptions::default();
    paths.iter().map(|path| open_one(path, part, whole && bytes > MOST_IN_MEMORY)).collect()
}

fn open_one(path: &Path, part: &ReadOptions, on_disk: bool) -> Result<Sound, PipelineError> {
    if on_disk {
        let info = audio::info(path)?;
        if matches!(info.container.as_str(), "WAV" | "RF64") {
            let n_samples = info.n_samples as usize;
            let samples =
                Samples::OnDisk { n_channels: info.channels, n_samples, sample_rate: info.sample_rate };
            return Ok(Sound { path: path.into(), samples });
        }
    }
    Ok(Sound::held(path, audio::read(path, part)?.waveform))
}

impl Recording for Sound {
    fn n_channels(&self) -> usize {
        match &self.samples {
            Samples::Held(waveform) => waveform.n_channels(),
            Samples::OnDisk { n_channels, .. } => *n_channels,
        }
    }

    fn n_samples(&self) -> usize {
        match &self.samples {
            Samples::Held(waveform) => waveform.n_samples(),
            Samples::OnDisk { n_samples, .. } => *n_samples,
        }
    }

    fn sample_rate(&self) -> u32 {
        match &self.samples {
            Samples::Held(waveform) => waveform.sample_rate,
            Samples::OnDisk { sample_rate, .. } => *sample_rate,
        }
    }

    fn read(&self, start: usize, mut out: ArrayViewMut2<'_, f32>) -> io::Result<()> {
        match &self.samples {
            Samples::Held(waveform) => waveform.read(start, out),
            Samples::OnDisk { sample_rate, .. } => {
                // whole numbers of samples: the reader rounds them back
                let seconds = |samples: usize| Some(samples as f64 / f64::from(*sample_rate));
                let part = ReadOptions { start: seconds(start), duration: seconds(out.ncols()) };
                let read = audio::read(&self.path, &part).map_err(io::Error::other)?.waveform.samples;
                if read.dim() != out.dim() {
                    let path = self.path.display();
                    return Err(io::Error::other(format!("{path}: changed while it was scored")));
                }
                out.assign(&read);
                Ok(())
            }
        }
    }
}

/// Refuses signals that cannot be compared, by name and number.
///
/// # Errors
/// The first that differs from the first signal in rate, channels or length.
pub fn check_alike<'a>(sounds: impl IntoIterator<Item = &'a Sound>) -> Result<(), PipelineError> {
    let mut sounds = sounds.into_iter();
    let Some(first) = sounds.next() else { return Ok(()) };
    for other in sounds {
        let quantities = [
            ("rate (Hz)", first.sample_rate() as usize, other.sample_rate() as usize),
            ("channels", first.n_channels(), other.n_channels()),
            ("samples", first.n_samples(), other.n_samples()),
        ];
        if let Some((what, a, b)) = quantities.into_iter().find(|(_, a, b)| a != b) {
            return Err(PipelineError::Request(format!(
                "{} and {} differ in {what}: {a} and {b}; scores need signals that are alike",
                first.path.display(),
                other.path.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use demix_eval::{Order, snr};
    use demix_files::audio::WriteFormat;
    use ndarray::Array2;

    use super::*;

    #[test]
    fn scores_do_not_depend_on_where_the_samples_are() {
        let folder = tempfile::tempdir().unwrap();
        // a rate at which times of samples are not round, longer than one task of a pass
        let wave = |step: f32| {
            let samples = Array2::from_shape_fn((2, 150_001), |(m, t)| ((t + m) as f32 * step).sin());
            Waveform::new(samples, 44_100)
        };
        let paths: Vec<PathBuf> = ["a.wav", "b.wav"].iter().map(|name| folder.path().join(name)).collect();
        audio::write(&paths[0], &wave(0.1), &WriteFormat::default()).unwrap();
        audio::write(&paths[1], &wave(0.1001), &WriteFormat::default()).unwrap();
        let held = open(&paths, &ReadOptions::default()).unwrap();
        let on_disk: Vec<Sound> =
            paths.iter().map(|path| open_one(path, &ReadOptions::default(), true).unwrap()).collect();
        assert!(matches!(on_disk[0].samples, Samples::OnDisk { .. }));
        let score = |sounds: &[Sound]| snr(&sounds[..1], &sounds[1..], &Order::Best).unwrap();
        assert_eq!(score(&held), score(&on_disk));
        assert_eq!(on_disk[1].waveform().unwrap(), held[1].waveform().unwrap());
        // what went away meanwhile is told by name
        std::fs::remove_file(&paths[1]).unwrap();
        let lost = snr(&on_disk[..1], &on_disk[1..], &Order::Best).unwrap_err().to_string();
        assert!(lost.contains("b.wav: no such file"), "{lost}");
    }
}
