//! Encoder delay and padding of M4A files, which the demultiplexer leaves in.
//!
//! Two places state them (ISO/IEC 14496-12, edit list `moov/trak/edts/elst`; and the tag `iTunSMPB`
//! of Apple's encoders, in samples). Boxes are `size name content`, nested.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Larger `moov` boxes (cover art aside, 16 bytes per packet) are days of sound.
const MOOV_LIMIT: u64 = 1 << 26;

/// What to cut from the decoded sound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Edit {
    /// Stated in samples: what to leave out at the beginning, and how much to keep.
    Samples { delay: u64, length: u64 },
    /// Stated in seconds, the length (where there is one) with the resolution of that number.
    Seconds { delay: f64, length: Option<(f64, f64)> },
}

/// The edit of the first sound track, if the file states one that can be followed. Leaves the file
/// at its beginning.
pub(super) fn edit(mut file: &File) -> Option<Edit> {
    let moov = read_moov(&mut file);
    file.rewind().ok()?;
    let moov = moov?;
    gapless_tag(&moov).or_else(|| edit_list(&moov))
}

fn read_moov(file: &mut &File) -> Option<Vec<u8>> {
    let file_bytes = file.seek(SeekFrom::End(0)).ok()?;
    let mut at = 0;
    loop {
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut head = [0; 16];
        file.read_exact(&mut head[..8]).ok()?;
        let (size, head_bytes) = match be32(&head)? {
            0 => (file_bytes - at, 8),
            1 => {
                file.read_exact(&mut head[8..]).ok()?;
                (be64(&head[8..])?, 16)
            }
            size => (u64::from(size), 8),
        };
        let end = at.checked_add(size)?;
        if size < head_bytes || end > file_bytes {
            return None;
        }
        if &head[4..8] == b"moov" {
            let mut moov = Vec::new();
            file.take((size - head_bytes).min(MOOV_LIMIT)).read_to_end(&mut moov).ok()?;
            return Some(moov);
        }
        at = end;
    }
}

/// The boxes directly in `content`, as (name, content).
fn boxes(mut content: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let size = be32(content)? as usize;
        let (name, inner) = (content.get(4..8)?, content.get(8..size)?);
        content = &content[size..];
        Some((name, inner))
    })
}

fn find<'a>(content: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(content, |content, name| {
        boxes(content).find(|(found, _)| found == *name).map(|(_, inner)| inner)
    })
}

fn edit_list(moov: &[u8]) -> Option<Edit> {
    // creation and modification times come first, in 4 or, from version 1 on, 8 bytes each
    let timescale = |header: &[u8]| {
        let ticks = be32(header.get(if *header.first()? == 0 { 12 } else { 20 }..)?)?;
        (ticks > 0).then_some(f64::from(ticks))
    };
    let is_sound = |track: &&[u8]| {
        find(track, &[b"mdia", b"hdlr"]).and_then(|handler| handler.get(8..12)) == Some(b"soun".as_slice())
    };
    let track = boxes(moov).filter(|(name, _)| name == b"trak").map(|(_, track)| track).find(is_sound)?;
    let movie_ticks = timescale(find(moov, &[b"mvhd"])?)?;
    let media_ticks = timescale(find(track, &[b"mdia", b"mdhd"])?)?;
    let list = find(track, &[b"edts", b"elst"])?;
    let entry_bytes = if *list.first()? == 0 { 12 } else { 20 };
    let mut entries = list.get(8..)?.chunks_exact(entry_bytes).filter_map(|entry| match entry_bytes {
        12 => Some((u64::from(be32(entry)?), i64::from(be32(&entry[4..])?.cast_signed()))),
        _ => Some((be64(entry)?, be64(&entry[8..])?.cast_signed())),
    });
    // an empty edit (time -1) delays the sound against the picture: nothing to cut
    let (length, time) = entries.find(|(_, time)| *time >= 0)?;
    if entries.any(|(_, time)| time >= 0) {
        return None; // a cut film: the stream as it is says more than one piece of it
    }
    let length = (length > 0).then_some((length as f64 / movie_ticks, 1.0 / movie_ticks));
    Some(Edit::Seconds { delay: time as f64 / media_ticks, length })
}

/// `iTunSMPB`: hexadecimal words, of which the second is the delay and the fourth the length.
fn gapless_tag(moov: &[u8]) -> Option<Edit> {
    let mark = b"iTunSMPB";
    let tag = moov.windows(mark.len()).position(|bytes| bytes == mark)?;
    // "data", type, locale, then the text
    let text = moov.get(tag + mark.len() + 16..)?;
    let text = std::str::from_utf8(&text[..text.len().min(60)]).ok()?;
    let mut words = text.split_ascii_whitespace().map(|word| u64::from_str_radix(word, 16));
    let delay = words.nth(1)?.ok()?;
    let length = words.nth(1)?.ok()?;
    (length > 0).then_some(Edit::Samples { delay, length })
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_apple_encoders_counts_samples() {
        let mut moov = b"....mean....name....iTunSMPB\0\0\0\x90data\0\0\0\x01\0\0\0\0".to_vec();
        moov.extend(b" 00000000 00000840 000001CA 00000000003F31F6 00000000 00000000");
        assert_eq!(gapless_tag(&moov), Some(Edit::Samples { delay: 2112, length: 4_141_558 }));
    }
}
