//! Everything of demix that opens a file: audio, dictionaries, reports.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`audio`] | reading WAV, FLAC, MP3, Ogg Vorbis, M4A; writing WAV and FLAC |
//! | [`atomic`] | files that appear whole or not at all; checks before hours of work |
//! | [`dictionary_file`] | NMF dictionaries that say what they hold |
//! | [`npy`] | filters for NumPy |
//! | [`report`] | JSON and other small results |
//! | [`identify`] | what kind of file is this? |
//!
//! No function panics on the content of a file, and none allocates what a header promises before
//! the size of the file has confirmed it. Every error is one line: file, what is wrong with both
//! numbers, what to do.

#![forbid(unsafe_code)]

pub mod atomic;
pub mod audio;
pub mod dictionary_file;
mod error;
mod identify;
pub mod npy;
pub mod report;

pub use error::FileError;
pub use identify::{FileKind, TRAINING_MAGIC, identify};
