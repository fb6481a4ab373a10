//! [`Corpus`]: songs in a folder, each with its stems; nothing is decoded here before it is needed.
//!
//! Two shapes of folders are known:
//!
//! ```text
//! DSD100:   Mixtures/{Dev,Test}/SONG/mixture.wav   Sources/{Dev,Test}/SONG/{bass,drums,other,vocals}.wav
//! MUSDB18:  {train,test}/SONG/{mixture,bass,drums,other,vocals}.wav
//! ```
//!
//! The names of stems are those of the files, whatever they are; any format that [`demix_files::audio`] reads will do.
//!
//! | room | holds |
//! | --- | --- |
//! | `layout` | finds the songs |
//! | [`split`](Corpus::split) | songs for training and for validation |
//! | [`Reader`] | one-channel excerpts of stems at one rate, in bounded memory |

mod error;
mod layout;
mod reader;
mod split;

use std::path::{Path, PathBuf};

pub use error::CorpusError;
pub use reader::{Reader, Track};
pub use split::Split;

/// The part of a corpus that a song belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// To learn from and to choose by: `Dev`, `train`.
    Dev,
    /// For final figures only: `Test`, `test`.
    Test,
}

/// One source of a song.
#[derive(Clone, Debug, PartialEq)]
pub struct Stem {
    /// Name of the file without its ending: `bass`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// One song.
#[derive(Clone, Debug, PartialEq)]
pub struct Song {
    /// Name of its folder.
    pub name: String,
    /// Where it belongs.
    pub part: Part,
    /// The mixture, where the corpus has it.
    pub mixture: Option<PathBuf>,
    /// The sources, by name.
    pub stems: Vec<Stem>,
}

impl Song {
    /// The stem of this name, if the song has it.
    pub fn stem(&self, name: &str) -> Option<&Stem> {
        self.stems.iter().find(|stem| stem.name == name)
    }
}

/// Songs in a folder.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The folder.
    pub folder: PathBuf,
    /// All songs, by part and name.
    pub songs: Vec<Song>,
}

impl Corpus {
    /// Finds the songs of a folder; no sound is read.
    ///
    /// # Errors
    /// A folder that cannot be read, has neither shape, holds no song with a stem, or holds undivided
    /// `*.stem.mp4` files.
    pub fn open(folder: &Path) -> Result<Self, CorpusError> {
        Ok(Self { folder: folder.to_path_buf(), songs: layout::songs(folder)? })
    }

    /// The songs of one part.
    pub fn part(&self, part: Part) -> impl Iterator<Item = &Song> {
        self.songs.iter().filter(move |song| song.part == part)
    }

    /// The names of all stems, sorted, each once.
    pub fn sources(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.songs.iter().flat_map(|song| &song.stems).map(|stem| stem.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Refuses the name of a source that no song has.
    ///
    /// # Errors
    /// [`CorpusError::NoSuchSource`] with the names that there are.
    pub fn check_source(&self, name: &str) -> Result<(), CorpusError> {
        let known = self.sources();
        if known.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(CorpusError::NoSuchSource { folder: self.folder.clone(), name: name.into(), known })
    }
}
