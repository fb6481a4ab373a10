//! What a file is, from its first bytes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::FileError;

/// Formats that are not WAV and that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compressed {
    Flac,
    Ogg,
    Mp4,
    /// MPEG layer 1, 2 or 3.
    Mpeg,
    /// AAC without a container (ADTS).
    Adts,
}

/// What the first bytes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Wav,
    Compressed(Compressed),
    /// Sound in a format that we do not read.
    OtherAudio(&'static str),
    /// Not sound.
    Other(&'static str),
}

impl Content {
    /// The error for content that we do not read.
    pub(crate) fn refused(self, path: &Path) -> FileError {
        let path = path.to_path_buf();
        match self {
            Self::OtherAudio(what) => FileError::Unsupported {
                path,
                what: what.to_string(),
                remedy: "convert it to WAV or FLAC".to_string(),
            },
            Self::Other(found) => FileError::NotAudio { path, found: found.to_string() },
            Self::Wav | Self::Compressed(_) => FileError::NotAudio { path, found: "unreadable".to_string() },
        }
    }
}

/// First bytes of formats that are met by mistake.
const OTHERS: [(&[u8], Content); 20] = [
    (b"RIFX", Content::OtherAudio("a big-endian WAV file (RIFX)")),
    (b"riff", Content::OtherAudio("a Wave64 file")),
    (b"FORM", Content::OtherAudio("an AIFF file")),
    (b"caff", Content::OtherAudio("a Core Audio file")),
    (b".snd", Content::OtherAudio("an AU file")),
    (b"wvpk", Content::OtherAudio("a WavPack file")),
    (b"MAC ", Content::OtherAudio("a Monkey's Audio file")),
    (b"TTA1", Content::OtherAudio("a True Audio file")),
    (b"MPCK", Content::OtherAudio("a Musepack file")),
    (b"MThd", Content::OtherAudio("a MIDI file (notes, not sound)")),
    (b"\x30\x26\xb2\x75", Content::OtherAudio("a Windows Media file")),
    (b"\x1a\x45\xdf\xa3", Content::OtherAudio("a Matroska or WebM file")),
    (b"#!AMR", Content::OtherAudio("an AMR file")),
    (b"DEMIXDIC", Content::Other("a demix dictionary")),
    (b"\x89PNG", Content::Other("a PNG picture")),
    (b"\xff\xd8\xff", Content::Other("a JPEG picture")),
    (b"GIF8", Content::Other("a GIF picture")),
    (b"%PDF", Content::Other("a PDF document")),
    (b"PK\x03\x04", Content::Other("a ZIP archive")),
    (b"\x1f\x8b", Content::Other("a gzip archive")),
];

/// Looks at the first bytes of `file`, and leaves it at its beginning.
pub(crate) fn sniff(path: &Path, mut file: &File) -> Result<Content, FileError> {
    let mut head = Vec::with_capacity(4096);
    let refused = |error| FileError::from_io(path, "read it", error);
    file.take(4096).read_to_end(&mut head).map_err(refused)?;
    if head.starts_with(b"ID3") {
        // the tag may hold pictures: what follows it decides (an MP3, or an AAC or FLAC file)
        head.clear();
        file.seek(SeekFrom::Start(after_id3v2(path, file)?)).map_err(refused)?;
        file.take(4096).read_to_end(&mut head).map_err(refused)?;
        file.rewind().map_err(refused)?;
        // zeros may fill the space behind the tag
        return Ok(match content(&head[head.iter().position(|byte| *byte != 0).unwrap_or(0)..]) {
            Content::Other(_) => Content::Compressed(Compressed::Mpeg),
            known => known,
        });
    }
    file.rewind().map_err(refused)?;
    let found = content(&head);
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    // streams cut out of a broadcast begin anywhere: the name must vouch for them
    if matches!(found, Content::Other("unknown bytes")) && extension.as_deref() == Some("mp3") {
        return Ok(Content::Compressed(Compressed::Mpeg));
    }
    Ok(found)
}

/// Where the sound begins behind an ID3v2 tag; 0 without one.
pub(crate) fn after_id3v2(path: &Path, mut file: &File) -> Result<u64, FileError> {
    let refused = |error| FileError::from_io(path, "read it", error);
    let mut header = [0; 10];
    file.rewind().map_err(refused)?;
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"ID3") {
        return Ok(0);
    }
    // 4 x 7 bits; bit 4 of the flags announces a footer of 10 more bytes
    let size = header[6..].iter().fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f));
    Ok(10 + size + if header[5] & 0x10 != 0 { 10 } else { 0 })
}

fn content(head: &[u8]) -> Content {
    let at = |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    if (at(0, b"RIFF") || at(0, b"RF64") || at(0, b"BW64")) && at(8, b"WAVE") {
        return Content::Wav;
    }
    if at(0, b"RIFF") {
        // an AVI, a WebP picture; or a WAV cut within its first 12 bytes
        return if head.len() < 12 { Content::Wav } else { Content::Other("a RIFF file without sound") };
    }
    if at(0, b"fLaC") {
        return Content::Compressed(Compressed::Flac);
    }
    if at(0, b"OggS") {
        return Content::Compressed(Compressed::Ogg);
    }
    if at(4, b"ftyp") {
        return Content::Compressed(Compressed::Mp4);
    }
    if let Some((_, other)) = OTHERS.iter().find(|(mark, _)| at(0, mark)) {
        return other.clone();
    }
    if let [0xff, second, ..] = head {
        // 12 or 11 sync bits, then layer: 0 is ADTS
        if second & 0xf6 == 0xf0 {
            return Content::Compressed(Compressed::Adts);
        }
        if second & 0xe0 == 0xe0 && second & 0x06 != 0 {
            return Content::Compressed(Compressed::Mpeg);
        }
    }
    if !head.is_empty()
        && std::str::from_utf8(head).map_or_else(|error| error.valid_up_to(), str::len) + 4 > head.len()
    {
        return Content::Other("text");
    }
    Content::Other("unknown bytes")
}
