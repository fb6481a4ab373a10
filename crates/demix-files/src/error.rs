//! [`FileError`]: what can be wrong with a file, in one line each.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read or written; shown as one line with file, fault and remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Nothing is there.
    #[error("{}: no such file; check the path", Shown(path))]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder where a file is needed.
    #[error("{}: is a folder, not a file; name a file in it", Shown(path))]
    IsFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// A pipe, socket or device, where a file that can be read twice or replaced is needed.
    #[error("{}: is not a regular file (a pipe, socket or device); save it to a file first", Shown(path))]
    NotRegular {
        /// The path as given.
        path: PathBuf,
    },
    /// The system refuses access.
    #[error("{}: no permission to {doing}; change its permissions or choose another place", Shown(path))]
    NoPermission {
        /// The path as given.
        path: PathBuf,
        /// What was tried: "read it", "write here".
        doing: &'static str,
    },
    /// A file of 0 bytes.
    #[error("{}: is empty (0 bytes); check that it was copied or recorded completely", Shown(path))]
    Empty {
        /// The path as given.
        path: PathBuf,
    },
    /// Not sound, or not sound as this program knows it.
    #[error(
        "{}: is not audio that demix reads ({found}); give WAV, FLAC, MP3, Ogg Vorbis or M4A",
        Shown(path)
    )]
    NotAudio {
        /// The path as given.
        path: PathBuf,
        /// What the content looks like.
        found: String,
    },
    /// Audio in a format or with a feature that is not supported.
    #[error("{}: {what} is not supported; {remedy}", Shown(path))]
    Unsupported {
        /// The path as given.
        path: PathBuf,
        /// The feature.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The file holds less than its header says.
    #[error(
        "{}: truncated: the header promises {promised} {unit}, the file holds {found}; copy or download it again",
        Shown(path)
    )]
    Truncated {
        /// The path as given.
        path: PathBuf,
        /// "samples per channel" or "bytes".
        unit: &'static str,
        /// How many the header promises.
        promised: u64,
        /// How many are there.
        found: u64,
    },
    /// The content contradicts its own format.
    #[error(
        "{}: damaged: {what}; copy or download it again, or convert it with another program",
        Shown(path)
    )]
    Damaged {
        /// The path as given.
        path: PathBuf,
        /// The contradiction, with its numbers.
        what: String,
    },
    /// Audio without a sample.
    #[error("{}: holds 0 samples; check that it was recorded completely", Shown(path))]
    NoSamples {
        /// The path as given.
        path: PathBuf,
    },
    /// A sample is not a number, or infinite.
    #[error(
        "{}: {count} of its samples are not finite numbers, the first in channel {} at sample {sample} ({seconds:.3} s); {remedy}",
        Shown(path), channel + 1
    )]
    NotFinite {
        /// The path as given.
        path: PathBuf,
        /// Channel of the earliest one, from 0 (the message counts from 1).
        channel: usize,
        /// Its sample index within the channel, from 0.
        sample: u64,
        /// Its time in seconds.
        seconds: f64,
        /// How many there are in all channels.
        count: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The part asked for begins after the end.
    #[error("{}: start {start} s is beyond the end at {seconds:.3} s; choose an earlier start", Shown(path))]
    StartBeyondEnd {
        /// The path as given.
        path: PathBuf,
        /// The start asked for, in seconds.
        start: f64,
        /// The length of the file, in seconds.
        seconds: f64,
    },
    /// Start or duration make no sense.
    #[error("{}: {name} is {value} s, it must be {allowed}", Shown(path))]
    BadPart {
        /// The path as given.
        path: PathBuf,
        /// "start" or "duration".
        name: &'static str,
        /// The value given.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Files that are to be joined do not fit together.
    #[error("{}: has {what} {found}, but {} has {expected}; {remedy}", Shown(path), Shown(first))]
    JoinMismatch {
        /// The file that differs.
        path: PathBuf,
        /// The file it was compared with.
        first: PathBuf,
        /// "sample rate (Hz)", "length (samples)".
        what: &'static str,
        /// The number of the first file.
        expected: u64,
        /// The number of this file.
        found: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// A file to be joined is not one channel.
    #[error("{}: has {channels} channels, files to join have 1 each; split it first", Shown(path))]
    JoinChannels {
        /// The file that has several channels.
        path: PathBuf,
        /// How many.
        channels: usize,
    },
    /// Nothing to join.
    #[error("no file to join; name at least 1")]
    JoinNothing,
    /// The sound does not fit the format to be written.
    #[error("{}: cannot be written: {what}; {remedy}", Shown(path))]
    CannotWrite {
        /// The path as given.
        path: PathBuf,
        /// The limit, with both numbers.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The disk has no room.
    #[error("{}: the disk is full; free some space or choose another place", Shown(path))]
    DiskFull {
        /// The path as given.
        path: PathBuf,
    },
    /// The file is not a dictionary.
    #[error("{}: is not a demix dictionary ({found}); make one with `demix dictionary`", Shown(path))]
    NotDictionary {
        /// The path as given.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// A file of a version this program does not know.
    #[error("{}: has format version {found}, this program reads version {known}; {remedy}", Shown(path))]
    Version {
        /// The path as given.
        path: PathBuf,
        /// Version of the file.
        found: u32,
        /// Version of this program.
        known: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// Anything else the system says.
    #[error("{}: cannot {doing}: {}; check the disk and the path", Shown(path), one_line(&reason.to_string()))]
    Io {
        /// The path as given.
        path: PathBuf,
        /// What was tried: "read it".
        doing: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}

impl FileError {
    /// The error for what the system said about `path` while `doing` ("read it", "write here").
    pub fn from_io(path: &Path, doing: &'static str, reason: io::Error) -> Self {
        let path = path.to_path_buf();
        match reason.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::IsADirectory => Self::IsFolder { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NoPermission { path, doing }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, doing, reason },
        }
    }

    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), what: one_line(&what.into()) }
    }
}

/// A path on one line, whatever characters it is made of.
struct Shown<'a>(&'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&one_line(&self.0.to_string_lossy()))
    }
}

/// `text` with control characters escaped.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_even_when_the_path_is_not() {
        let error = FileError::Missing { path: PathBuf::from("a\nb\u{1b}[31m") };
        assert_eq!(error.to_string(), "a\\nb\\u{1b}[31m: no such file; check the path");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        use std::io::Write;
        let full = Path::new("/dev/full");
        let reason = std::fs::File::create(full).unwrap().write_all(b"x").unwrap_err();
        let error = FileError::from_io(full, "write it", reason);
        assert!(matches!(error, FileError::DiskFull { .. }), "{error}");
    }
}
