//! [`identify`]: what kind of file is this?

use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::audio::{Content, open, sniff};
use crate::{FileError, dictionary_file, npy};

/// What a file holds, as far as its content tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// Sound that [`crate::audio::read`] reads.
    Audio,
    /// An NMF dictionary.
    Dictionary,
    /// A network, as safetensors.
    Network,
    /// A NumPy array.
    Array,
    /// The state of a training.
    Training,
    /// JSON: a report, a scene.
    Json,
    /// Settings as TOML.
    Settings,
    /// Anything else.
    Unknown,
}

/// The first bytes of the state of a training.
pub const TRAINING_MAGIC: [u8; 8] = *b"DEMIXTRN";

/// How much of a text is looked at.
const HEAD_BYTES: u64 = 1 << 16;

/// Looks at the content of a file.
///
/// # Errors
/// [`FileError`] when the file is missing, empty or cannot be read.
pub fn identify(path: &Path) -> Result<FileKind, FileError> {
    let file = open(path)?;
    if matches!(sniff(path, &file)?, Content::Wav | Content::Compressed(_)) {
        return Ok(FileKind::Audio);
    }
    let mut head = Vec::new();
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|error| FileError::from_io(path, "read it", error))?;
    if head.starts_with(&dictionary_file::MAGIC) {
        return Ok(FileKind::Dictionary);
    }
    if is_safetensors(&head) {
        return Ok(FileKind::Network);
    }
    if head.starts_with(&npy::MAGIC) {
        return Ok(FileKind::Array);
    }
    if head.starts_with(&TRAINING_MAGIC) {
        return Ok(FileKind::Training);
    }
    let text = match std::str::from_utf8(&head) {
        Ok(text) => text,
        // a character cut by the end of the head is still text
        Err(error) if error.valid_up_to() + 4 > HEAD_BYTES as usize => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Ok(FileKind::Unknown),
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with(['{', '"']) || text.starts_with('[') && is_json(text) {
        return Ok(FileKind::Json);
    }
    let said = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let is_settings = said.is_some_and(|line| is_table(line) || is_assignment(line));
    Ok(if is_settings { FileKind::Settings } else { FileKind::Unknown })
}

/// The length of a header, which is no text, and the JSON object that it is.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, header)) = head.split_first_chunk::<8>() else { return false };
    // the format allows at most 100 MB, so that the last bytes are zeros
    u64::from_le_bytes(*length) <= 100_000_000 && header.starts_with(b"{\"")
}

/// An array, where TOML would have the name of a table.
fn is_json(text: &str) -> bool {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    }
}

fn is_table(line: &str) -> bool {
    line.strip_prefix('[').is_some_and(|rest| rest.contains(']'))
}

fn is_assignment(line: &str) -> bool {
    let key = |c: char| c.is_ascii_alphanumeric() || "-_. \"".contains(c);
    line.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty() && name.chars().all(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.bin");
        for (content, kind) in [
            (&b"RIFF\x24\0\0\0WAVEfmt "[..], FileKind::Audio),
            (b"DEMIXDIC\x01\0\0\0", FileKind::Dictionary),
            (b"\x40\x02\0\0\0\0\0\0{\"__metadata__\":{}", FileKind::Network),
            (b"\x40\x02\0\0\0\0\0\x01{\"__metadata__\":{}", FileKind::Unknown),
            (b"\x93NUMPY\x01\0", FileKind::Array),
            (b"DEMIXTRN\x01\0\0\0", FileKind::Training),
            (b"{\"demix\": \"0.1.0\"}", FileKind::Json),
            (b" [1, 2]\n", FileKind::Json),
            (b"# settings of nmf\n[nmf]\ncomponents = 30\n", FileKind::Settings),
            (b"components = 30\n", FileKind::Settings),
            (b"Dear reader,\n", FileKind::Unknown),
            (b"\x89PNG\r\n\x1a\n\0\0", FileKind::Unknown),
            (b"\0\xff\xfe\0", FileKind::Unknown),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(identify(&path).unwrap(), kind, "{}", String::from_utf8_lossy(content));
        }
    }
}
