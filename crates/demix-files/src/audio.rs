//! Sound files: reading ([`read`], [`info`], [`join`]) and writing ([`write()`]).

mod compressed;
mod flac;
mod mp4;
mod quantise;
mod sniff;
mod wav;
mod write;

pub use write::{ClipMode, Container, SampleKind, WriteFormat, WriteReport, rescale_gain, write};

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use demix_signal::Waveform;
use ndarray::Array2;
use serde::Serialize;

use crate::FileError;
pub(crate) use sniff::{Content, sniff};

/// Endings of the names of sound files, by which those in a folder are found.
pub const ENDINGS: [&str; 10] = ["wav", "wave", "rf64", "flac", "mp3", "ogg", "oga", "m4a", "mp4", "aac"];

/// Whether the name says that this is a sound file; [`read`] looks at the content instead.
pub fn has_known_ending(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}

/// Which part of a file to read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Where to begin, in seconds; the beginning where absent.
    pub start: Option<f64>,
    /// How much to read, in seconds; up to the end where absent, or where the file ends earlier.
    pub duration: Option<f64>,
}

/// How the samples of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleFormat {
    /// Whole numbers.
    Integer,
    /// Floating-point numbers.
    Float,
    /// No samples, but what a lossy codec keeps of them.
    Lossy,
}

/// What a sound file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AudioInfo {
    /// "WAV", "RF64", "FLAC", "MP3", "Ogg", "M4A", "AAC".
    pub container: String,
    /// "PCM", "FLAC", "MP3", "Vorbis", "AAC", "ALAC".
    pub codec: String,
    /// Samples per second and channel, in Hz.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: usize,
    /// Samples per channel in the whole file, the encoder's delay and padding excluded.
    pub n_samples: u64,
    /// Length of the whole file in seconds.
    pub seconds: f64,
    /// Bits per sample; absent for lossy codecs.
    pub bits_per_sample: Option<u32>,
    /// How samples are stored.
    pub sample_format: SampleFormat,
}

/// The sound of a file, or of a part of it.
#[derive(Clone, Debug)]
pub struct ReadAudio {
    /// Finite samples, at least one, shape (channels, samples).
    pub waveform: Waveform,
    /// The file's own description, of the whole file.
    pub info: AudioInfo,
    /// What is odd but not wrong, a line each.
    pub warnings: Vec<String>,
}

/// Reads a sound file: WAV (also RF64), FLAC, MP3, Ogg Vorbis, M4A (AAC or ALAC), at any rate and
/// with any number of channels. The content decides, not the name.
///
/// The length is exact: the delay and padding of lossy encoders are removed where the file states
/// them (MP3 with a LAME header, Ogg, M4A with an edit list).
///
/// A later `start` is found at once in WAV; other formats are decoded up to it.
///
/// # Errors
/// [`FileError`] when the file is missing, unreadable, no audio, empty, truncated or damaged, holds
/// no sample or one that is not finite, or ends before `start`. A lossy or FLAC file whose stream
/// breaks off is refused however much was decoded: nothing is ever cut silently.
///
/// # Example
/// ```
/// use demix_files::audio::{self, ReadOptions, WriteFormat};
/// use demix_signal::Waveform;
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("beep.wav");
/// let beep = Waveform::mono((0..800).map(|t| (t as f32 * 0.3).sin()).collect(), 8000);
/// audio::write(&path, &beep, &WriteFormat::default())?;
/// let part = ReadOptions { start: Some(0.05), duration: None };
/// assert_eq!(audio::read(&path, &part)?.waveform.n_samples(), 400);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read(path: &Path, options: &ReadOptions) -> Result<ReadAudio, FileError> {
    check_options(path, options)?;
    let mut warnings = Vec::new();
    let opened = open(path)?;
    let (info, samples) = match sniff(path, &opened)? {
        Content::Wav => wav::read(path, opened, options, &mut warnings)?,
        Content::Compressed(kind) => compressed::read(path, opened, kind, options, &mut warnings)?,
        other => return Err(other.refused(path)),
    };
    let start = window(path, options, info.sample_rate, info.n_samples)?.start;
    if let (Some(duration), n) = (options.duration, samples.ncols()) {
        let read = n as f64 / f64::from(info.sample_rate);
        // half a sample is rounding
        if read + 0.5 / f64::from(info.sample_rate) < duration {
            warnings.push(format!("asked for {duration} s, the file has {read:.3} s from there on"));
        }
    }
    check_finite(path, &samples, start, info.sample_rate, "repair or convert the file")?;
    Ok(ReadAudio { waveform: Waveform::new(samples, info.sample_rate), info, warnings })
}

/// Describes a sound file without decoding it.
///
/// # Errors
/// [`FileError`] as for [`read`], as far as the header and the size of the file tell.
pub fn info(path: &Path) -> Result<AudioInfo, FileError> {
    let opened = open(path)?;
    match sniff(path, &opened)? {
        Content::Wav => wav::info(path, opened),
        Content::Compressed(kind) => compressed::info(path, opened, kind),
        other => Err(other.refused(path)),
    }
}

/// Reads several one-channel files as the channels of one waveform, in this order.
///
/// # Errors
/// [`FileError`] as for [`read`], and where a file has several channels, or another rate or length
/// than the first.
pub fn join(paths: &[PathBuf], options: &ReadOptions) -> Result<ReadAudio, FileError> {
    let Some(first) = paths.first() else { return Err(FileError::JoinNothing) };
    let mut channels: Vec<ReadAudio> = Vec::with_capacity(paths.len());
    for path in paths {
        let one = read(path, options)?;
        if one.info.channels != 1 {
            return Err(FileError::JoinChannels { path: path.clone(), channels: one.info.channels });
        }
        let mismatch = |what, expected, found, remedy| {
            Err(FileError::JoinMismatch {
                path: path.clone(),
                first: first.clone(),
                what,
                expected,
                found,
                remedy,
            })
        };
        let reference = &channels.first().unwrap_or(&one).info;
        if one.info.sample_rate != reference.sample_rate {
            let (expected, found) = (reference.sample_rate.into(), one.info.sample_rate.into());
            return mismatch("sample rate (Hz)", expected, found, "resample one of them");
        }
        if one.info.n_samples != reference.n_samples {
            let (expected, found) = (reference.n_samples, one.info.n_samples);
            return mismatch("length (samples)", expected, found, "cut or pad one of them");
        }
        channels.push(one);
    }
    let rows: Vec<_> = channels.iter().map(|one| one.waveform.samples.row(0)).collect();
    let samples = ndarray::stack(ndarray::Axis(0), &rows)
        .map_err(|error| FileError::damaged(first, format!("its channels do not fit together ({error})")))?;
    let warnings = paths
        .iter()
        .zip(&channels)
        .flat_map(|(path, one)| one.warnings.iter().map(|warning| format!("{}: {warning}", path.display())));
    let warnings = warnings.collect();
    let info = AudioInfo { channels: rows.len(), ..channels[0].info.clone() };
    Ok(ReadAudio { waveform: Waveform::new(samples, info.sample_rate), info, warnings })
}

/// Opens a regular file that is not empty.
pub(crate) fn open(path: &Path) -> Result<File, FileError> {
    let refused = |error| FileError::from_io(path, "read it", error);
    // before opening: opening a pipe without a writer would wait for ever
    let there = std::fs::metadata(path).map_err(refused)?;
    if there.is_dir() {
        return Err(FileError::IsFolder { path: path.to_path_buf() });
    }
    if !there.is_file() {
        return Err(FileError::NotRegular { path: path.to_path_buf() });
    }
    let file = File::open(path).map_err(refused)?;
    if there.len() == 0 {
        return Err(FileError::Empty { path: path.to_path_buf() });
    }
    Ok(file)
}

fn check_options(path: &Path, options: &ReadOptions) -> Result<(), FileError> {
    let bad =
        |name, value, allowed| Err(FileError::BadPart { path: path.to_path_buf(), name, value, allowed });
    match (options.start, options.duration) {
        (Some(start), _) if !(start.is_finite() && start >= 0.0) => bad("start", start, "0 or more"),
        (_, Some(duration)) if !(duration.is_finite() && duration > 0.0) => {
            bad("duration", duration, "more than 0")
        }
        _ => Ok(()),
    }
}

/// The samples that `options` asks for, of `n_samples`; never empty.
fn window(
    path: &Path,
    options: &ReadOptions,
    sample_rate: u32,
    n_samples: u64,
) -> Result<Range<u64>, FileError> {
    let Range { start, end } = asked(options, sample_rate);
    if n_samples == 0 {
        return Err(FileError::NoSamples { path: path.to_path_buf() });
    }
    if start >= n_samples {
        let seconds = n_samples as f64 / f64::from(sample_rate);
        let start = options.start.unwrap_or(0.0);
        return Err(FileError::StartBeyondEnd { path: path.to_path_buf(), start, seconds });
    }
    Ok(start..end.min(n_samples))
}

/// The samples that `options` asks for, of a file without end.
fn asked(options: &ReadOptions, sample_rate: u32) -> Range<u64> {
    // `as` saturates, which is what a start beyond every file needs
    let samples = |seconds: f64| (seconds * f64::from(sample_rate)).round() as u64;
    let start = samples(options.start.unwrap_or(0.0));
    let end = options.duration.map_or(u64::MAX, |duration| start.saturating_add(samples(duration).max(1)));
    start..end
}

/// Refuses NaN and infinities; `start` is the index of the first sample within the file.
fn check_finite(
    path: &Path,
    samples: &Array2<f32>,
    start: u64,
    sample_rate: u32,
    remedy: &'static str,
) -> Result<(), FileError> {
    let mut count = 0;
    let mut earliest: Option<(usize, usize)> = None;
    for (channel, row) in samples.rows().into_iter().enumerate() {
        for (sample, x) in row.iter().enumerate() {
            if !x.is_finite() {
                count += 1;
                let here = (sample, channel);
                earliest = Some(earliest.map_or(here, |earliest| earliest.min(here)));
            }
        }
    }
    let Some((sample, channel)) = earliest else { return Ok(()) };
    let sample = start + sample as u64;
    let seconds = sample as f64 / f64::from(sample_rate);
    Err(FileError::NotFinite { path: path.to_path_buf(), channel, sample, seconds, count, remedy })
}
