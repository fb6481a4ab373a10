//! Small results: JSON reports and rendered bytes (pictures, pages), written whole or not at all; and whole small files.

use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;

use crate::FileError;
use crate::atomic::AtomicFile;

/// Writes `value` as indented JSON with a final newline.
///
/// # Errors
/// [`FileError`] when the file cannot be written; what was there before is then unchanged.
pub fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<(), FileError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| FileError::CannotWrite {
        path: path.to_path_buf(),
        what: format!("it has no JSON form ({error})"),
        remedy: "this is a fault of the program, please report it",
    })?;
    text.push(b'\n');
    write_bytes(path, &text)
}

/// Writes `bytes` as they are.
///
/// # Errors
/// [`FileError`] when the file cannot be written; what was there before is then unchanged.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|error| FileError::from_io(path, "write it", error))?;
    file.commit()
}

/// The bytes of a file that is small enough to be held whole: a checkpoint.
///
/// # Errors
/// [`FileError`] when the file is missing, a folder, empty or cannot be read.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    crate::audio::open(path)?
        .read_to_end(&mut bytes)
        .map_err(|error| FileError::from_io(path, "read it", error))?;
    Ok(bytes)
}
