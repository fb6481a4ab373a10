//! [`CorpusError`].

use std::path::PathBuf;

use demix_files::FileError;
use demix_signal::ResampleError;

/// A corpus that cannot be used; one line for people.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither shape.
    #[error(
        "{}: no corpus: neither Sources/Dev/SONG (as DSD100) nor train/SONG (as MUSDB18) is in it; name the folder \
         above these",
        folder.display()
    )]
    NoShape {
        /// The folder.
        folder: PathBuf,
    },
    /// The right folders without a song in them.
    #[error("{}: no song in it has a stem: each wants a folder with bass.wav, drums.wav...", folder.display())]
    NoSong {
        /// The folder.
        folder: PathBuf,
    },
    /// MUSDB18 as it comes.
    #[error(
        "{}: holds all stems in one file, a folder of WAV files for each song is needed; this makes them for all \
         songs: {}",
        path.display(), super::layout::conversion(folder, path)
    )]
    StemFile {
        /// The corpus.
        folder: PathBuf,
        /// The first such file.
        path: PathBuf,
    },
    /// No stem has this name.
    #[error("--source {name}: no song in {} has such a stem; there are {}", folder.display(), known.join(", "))]
    NoSuchSource {
        /// The corpus.
        folder: PathBuf,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Nothing would be left to learn from.
    #[error(
        "{}: {found} songs for training and validation, {needed} are needed ({validation} for validation and 1 to \
         learn from): take fewer with --set validation={}, or add songs",
        folder.display(), found.saturating_sub(1).max(1)
    )]
    TooFewSongs {
        /// The corpus.
        folder: PathBuf,
        /// Songs of the part `Dev`.
        found: usize,
        /// At least so many.
        needed: usize,
        /// Songs asked for validation.
        validation: usize,
    },
    /// A stem that cannot be brought to the rate of training.
    #[error("{}: {reason}", path.display())]
    Resample {
        /// The stem.
        path: PathBuf,
        /// Why.
        reason: ResampleError,
    },
    /// A stem shorter than one sample at the rate of training.
    #[error("{}: {n_samples} samples at {from} Hz are none at {to} Hz: remove it", path.display())]
    TooShort {
        /// The stem.
        path: PathBuf,
        /// Its samples.
        n_samples: u64,
        /// Its rate in Hz.
        from: u32,
        /// The rate of training in Hz.
        to: u32,
    },
}

impl CorpusError {
    /// Whether something else should have been asked for.
    pub fn is_wrong_use(&self) -> bool {
        matches!(self, Self::NoSuchSource { .. } | Self::TooFewSongs { .. })
    }
}
