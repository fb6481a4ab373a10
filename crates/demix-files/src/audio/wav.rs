//! WAV and RF64: a reader that checks every promise of the header against the file, and the
//! headers for the writer.
//!
//! Layout (RIFF, EBU Tech 3306): `RIFF size WAVE`, then chunks `name size content [pad byte]`. In
//! RF64 the 32-bit sizes are 0xFFFFFFFF and the true ones stand in a `ds64` chunk.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ndarray::Array2;

use super::{AudioInfo, ReadOptions, SampleFormat, window};
use crate::FileError;

/// The 32-bit size that means "unknown" or, in RF64, "see ds64".
const UNKNOWN: u32 = u32::MAX;
/// What SoX writes as data size when it cannot seek back.
const UNKNOWN_SOX: u32 = 0x7fff_f000;

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;
/// Bytes 2..16 of a WAVE_FORMAT_EXTENSIBLE sub-format; bytes 0..2 hold the format tag.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// Samples per read; bounds the extra memory.
const BLOCK_BYTES: usize = 1 << 16;

/// How one sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Unsigned8,
    /// Signed, little endian, left-justified in this many bytes.
    Signed(usize),
    Float32,
    Float64,
}

impl Coding {
    fn bytes(self) -> usize {
        match self {
            Self::Unsigned8 => 1,
            Self::Signed(bytes) => bytes,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    fn decode(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::Unsigned8, [b]) => (f32::from(*b) - 128.0) / 128.0,
            (Self::Float32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::Float64, [a, b, c, d, e, f, g, h]) => {
                f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as f32
            }
            _ => {
                // to the top of 32 bits, so that the sign falls into place
                let mut wide = [0; 4];
                wide[4 - bytes.len()..].copy_from_slice(bytes);
                (f64::from(i32::from_le_bytes(wide)) / 2f64.powi(31)) as f32
            }
        }
    }
}

/// What the header says, checked.
#[derive(Clone, Debug)]
struct Header {
    rf64: bool,
    channels: usize,
    sample_rate: u32,
    bits: u32,
    coding: Coding,
    data_start: u64,
    n_samples: u64,
}

impl Header {
    fn info(&self) -> AudioInfo {
        AudioInfo {
            container: if self.rf64 { "RF64" } else { "WAV" }.to_string(),
            codec: "PCM".to_string(),
            sample_rate: self.sample_rate,
            channels: self.channels,
            n_samples: self.n_samples,
            seconds: self.n_samples as f64 / f64::from(self.sample_rate),
            bits_per_sample: Some(self.bits),
            sample_format: match self.coding {
                Coding::Float32 | Coding::Float64 => SampleFormat::Float,
                _ => SampleFormat::Integer,
            },
        }
    }
}

pub(super) fn info(path: &Path, file: File) -> Result<AudioInfo, FileError> {
    let header = read_header(path, &mut BufReader::new(file), &mut Vec::new())?;
    if header.n_samples == 0 {
        return Err(FileError::NoSamples { path: path.to_path_buf() });
    }
    Ok(header.info())
}

pub(super) fn read(
    path: &Path,
    file: File,
    options: &ReadOptions,
    warnings: &mut Vec<String>,
) -> Result<(AudioInfo, Array2<f32>), FileError> {
    let mut file = BufReader::new(file);
    let header = read_header(path, &mut file, warnings)?;
    let part = window(path, options, header.sample_rate, header.n_samples)?;
    let frame_bytes = header.channels * header.coding.bytes();
    let refused = |error: std::io::Error| FileError::from_io(path, "read it", error);
    file.seek(SeekFrom::Start(header.data_start + part.start * frame_bytes as u64)).map_err(refused)?;

    let n = (part.end - part.start) as usize;
    // the header was checked against the size of the file: at most 8 times its bytes
    let mut samples = Array2::zeros((header.channels, n));
    let block = (BLOCK_BYTES / frame_bytes).max(1);
    let mut bytes = vec![0; block.min(n) * frame_bytes];
    for first in (0..n).step_by(block) {
        let frames = block.min(n - first);
        let bytes = &mut bytes[..frames * frame_bytes];
        file.read_exact(bytes).map_err(refused)?;
        for channel in 0..header.channels {
            let offset = channel * header.coding.bytes();
            let mut row = samples.row_mut(channel);
            for (frame, x) in bytes.chunks_exact(frame_bytes).zip(row.iter_mut().skip(first)) {
                *x = header.coding.decode(&frame[offset..offset + header.coding.bytes()]);
            }
        }
    }
    Ok((header.info(), samples))
}

fn read_header(
    path: &Path,
    file: &mut BufReader<File>,
    warnings: &mut Vec<String>,
) -> Result<Header, FileError> {
    let refused = |error| FileError::from_io(path, "read it", error);
    let file_bytes = file.seek(SeekFrom::End(0)).map_err(refused)?;
    file.rewind().map_err(refused)?;
    let truncated = |promised| {
        Err(FileError::Truncated { path: path.to_path_buf(), unit: "bytes", promised, found: file_bytes })
    };
    let mut riff = [0; 12];
    if file_bytes < 12 {
        return truncated(44);
    }
    file.read_exact(&mut riff).map_err(refused)?;
    let rf64 = !riff.starts_with(b"RIFF");
    let riff_size = le32(&riff[4..]);

    let mut format = None;
    let mut sizes64 = None;
    let mut at = 12;
    loop {
        if at + 8 > file_bytes {
            return Err(match format {
                None => FileError::damaged(path, format!("no fmt chunk within its {file_bytes} bytes")),
                Some(_) => FileError::damaged(path, format!("no data chunk within its {file_bytes} bytes")),
            });
        }
        file.seek(SeekFrom::Start(at)).map_err(refused)?;
        let mut chunk = [0; 8];
        file.read_exact(&mut chunk).map_err(refused)?;
        let (name, size) = (&chunk[..4], le32(&chunk[4..]));
        let start = at + 8;
        let left = file_bytes - start;
        match name {
            b"fmt " | b"ds64" if u64::from(size) > left => return truncated(start + u64::from(size)),
            b"fmt " => {
                let mut content = vec![0; size.min(40) as usize];
                file.read_exact(&mut content).map_err(refused)?;
                format = Some(read_format(path, &content)?);
            }
            b"ds64" => {
                let mut content = [0; 24];
                if size < 24 {
                    return Err(FileError::damaged(
                        path,
                        format!("its ds64 chunk has {size} bytes, it needs 24"),
                    ));
                }
                file.read_exact(&mut content).map_err(refused)?;
                sizes64 = Some(le64(&content[8..]));
            }
            b"data" => {
                let Some((channels, sample_rate, bits, coding)) = format else {
                    return Err(FileError::damaged(path, "its data chunk comes before its fmt chunk"));
                };
                let frame_bytes = (channels * coding.bytes()) as u64;
                let promised = match (rf64, sizes64, size) {
                    (true, Some(bytes), UNKNOWN) => Some(bytes),
                    // an unpatched placeholder: the header was written, and never came true
                    (_, _, UNKNOWN | UNKNOWN_SOX) => None,
                    (_, _, 0) if left > 0 && is_placeholder(riff_size, start) => None,
                    (_, _, bytes) => Some(u64::from(bytes)),
                };
                // a ds64 of a stream that could not be seeked
                let promised =
                    promised.filter(|bytes| !(rf64 && (*bytes == 0 && left > 0 || *bytes == u64::MAX)));
                let data_bytes = match promised {
                    Some(bytes) if bytes > left => {
                        return Err(FileError::Truncated {
                            path: path.to_path_buf(),
                            unit: "samples per channel",
                            promised: bytes / frame_bytes,
                            found: left / frame_bytes,
                        });
                    }
                    Some(bytes) => bytes,
                    None => {
                        warnings.push(
                            "the header does not state the length (a streamed file): read up to the end of the file"
                                .to_string(),
                        );
                        left
                    }
                };
                let n_samples = data_bytes / frame_bytes;
                if !data_bytes.is_multiple_of(frame_bytes) {
                    warnings.push(format!(
                        "the last {} bytes are less than one sample of {channels} channels and were left out",
                        data_bytes % frame_bytes
                    ));
                }
                return Ok(Header {
                    rf64,
                    channels,
                    sample_rate,
                    bits,
                    coding,
                    data_start: start,
                    n_samples,
                });
            }
            _ => {}
        }
        // chunks begin at even offsets
        at = start + u64::from(size) + u64::from(size & 1);
    }
}

/// Whether the RIFF size was never filled in: 0, unknown, or that of a header alone.
fn is_placeholder(riff_size: u32, data_start: u64) -> bool {
    riff_size == UNKNOWN || u64::from(riff_size) + 8 <= data_start
}

/// Channels, sample rate, bits and coding of a `fmt ` chunk.
fn read_format(path: &Path, content: &[u8]) -> Result<(usize, u32, u32, Coding), FileError> {
    if content.len() < 16 {
        let what = format!("its fmt chunk has {} bytes, it needs 16", content.len());
        return Err(FileError::damaged(path, what));
    }
    let mut tag = le16(content);
    let channels = usize::from(le16(&content[2..]));
    let sample_rate = le32(&content[4..]);
    let block_align = usize::from(le16(&content[12..]));
    let bits = u32::from(le16(&content[14..]));
    if tag == EXTENSIBLE {
        if content.len() < 40 {
            let what = format!("its extensible fmt chunk has {} bytes, it needs 40", content.len());
            return Err(FileError::damaged(path, what));
        }
        if content[26..40] != GUID_TAIL {
            return Err(unsupported(path, "a WAV file of an unknown sub-format".to_string()));
        }
        tag = le16(&content[24..]);
    }
    if channels == 0 {
        return Err(FileError::damaged(path, "its header says 0 channels, it needs at least 1"));
    }
    if sample_rate == 0 {
        return Err(FileError::damaged(path, "its header says a sample rate of 0 Hz, it needs at least 1"));
    }
    if !block_align.is_multiple_of(channels) || block_align == 0 {
        let what = format!("its header says {block_align} bytes for {channels} channels");
        return Err(FileError::damaged(path, what));
    }
    let bytes = block_align / channels;
    if bits == 0 || bits as usize > 8 * bytes {
        let what = format!("its header says {bits} bits per sample in {bytes} bytes");
        return Err(FileError::damaged(path, what));
    }
    let coding = match (tag, bits, bytes) {
        (PCM, 1..=8, 1) => Coding::Unsigned8,
        (PCM, _, 2..=4) => Coding::Signed(bytes),
        (FLOAT, 32, 4) => Coding::Float32,
        (FLOAT, 64, 8) => Coding::Float64,
        (PCM | FLOAT, _, _) => {
            let kind = if tag == PCM { "integers" } else { "floats" };
            return Err(unsupported(path, format!("a WAV file of {bits}-bit {kind} in {bytes} bytes")));
        }
        _ => return Err(unsupported(path, format!("a WAV file with {} inside", codec_name(tag)))),
    };
    Ok((channels, sample_rate, bits, coding))
}

fn unsupported(path: &Path, what: String) -> FileError {
    FileError::Unsupported {
        path: path.to_path_buf(),
        what,
        remedy: "convert it to plain WAV or FLAC".into(),
    }
}

fn codec_name(tag: u16) -> String {
    match tag {
        2 | 0x11 => "ADPCM".to_string(),
        6 => "A-law".to_string(),
        7 => "mu-law".to_string(),
        0x31 => "GSM".to_string(),
        0x50 | 0x55 => "MP3".to_string(),
        tag => format!("codec 0x{tag:04x}"),
    }
}

fn le16(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(bytes)) | u64::from(le32(&bytes[4..])) << 32
}

/// The header of a file to be written, up to the first sample.
///
/// Sound above 4 GiB gets an RF64 header; integers of more than 16 bits and more than two channels
/// get WAVE_FORMAT_EXTENSIBLE, as its specification demands.
pub(super) fn header(channels: u16, sample_rate: u32, bits: u16, float: bool, data_bytes: u64) -> Vec<u8> {
    let tag = if float { FLOAT } else { PCM };
    let extensible = channels > 2 || (!float && bits > 16);
    let frame_bytes = channels * (bits / 8);

    let mut format = Vec::new();
    format.extend((if extensible { EXTENSIBLE } else { tag }).to_le_bytes());
    format.extend(channels.to_le_bytes());
    format.extend(sample_rate.to_le_bytes());
    format.extend(sample_rate.saturating_mul(frame_bytes.into()).to_le_bytes());
    format.extend(frame_bytes.to_le_bytes());
    format.extend(bits.to_le_bytes());
    if extensible {
        format.extend(22u16.to_le_bytes());
        format.extend(bits.to_le_bytes());
        format.extend(speakers(channels).to_le_bytes());
        format.extend(tag.to_le_bytes());
        format.extend(GUID_TAIL);
    } else if float {
        format.extend(0u16.to_le_bytes());
    }
    let n_samples = data_bytes / u64::from(frame_bytes);
    let mut chunks = chunk(b"fmt ", &format);
    if float || extensible {
        chunks.extend(chunk(b"fact", &u32::try_from(n_samples).unwrap_or(UNKNOWN).to_le_bytes()));
    }
    // "WAVE", the chunks, the head of the data chunk, the data, its pad byte
    let riff_bytes = 4 + chunks.len() as u64 + 8 + data_bytes + (data_bytes & 1);

    let mut header = Vec::new();
    if riff_bytes < u64::from(UNKNOWN) {
        header.extend(b"RIFF");
        header.extend((riff_bytes as u32).to_le_bytes());
        header.extend(b"WAVE");
        header.extend(chunks);
        header.extend(b"data");
        header.extend((data_bytes as u32).to_le_bytes());
    } else {
        let mut sizes = Vec::new();
        // the ds64 chunk itself takes 8 + 28 bytes
        sizes.extend((riff_bytes + 36).to_le_bytes());
        sizes.extend(data_bytes.to_le_bytes());
        sizes.extend(n_samples.to_le_bytes());
        sizes.extend(0u32.to_le_bytes());
        header.extend(b"RF64");
        header.extend(UNKNOWN.to_le_bytes());
        header.extend(b"WAVE");
        header.extend(chunk(b"ds64", &sizes));
        header.extend(chunks);
        header.extend(b"data");
        header.extend(UNKNOWN.to_le_bytes());
    }
    header
}

fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = name.to_vec();
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    bytes
}

/// The usual loudspeakers of so many channels, as bits of the channel mask; 0 where there is no
/// usual layout.
fn speakers(channels: u16) -> u32 {
    const LEFT_RIGHT: u32 = 0x3;
    const CENTRE: u32 = 0x4;
    const SUB: u32 = 0x8;
    const BACK: u32 = 0x30;
    const SIDE: u32 = 0x600;
    match channels {
        1 => CENTRE,
        2 => LEFT_RIGHT,
        3 => LEFT_RIGHT | CENTRE,
        4 => LEFT_RIGHT | BACK,
        5 => LEFT_RIGHT | CENTRE | BACK,
        6 => LEFT_RIGHT | CENTRE | SUB | BACK,
        8 => LEFT_RIGHT | CENTRE | SUB | BACK | SIDE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this header and all samples 0; sparse, it takes no room on the disk.
    fn silence(folder: &Path, header: &[u8], data_bytes: u64) -> std::path::PathBuf {
        let path = folder.join("long.wav");
        std::fs::write(&path, header).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(header.len() as u64 + data_bytes).unwrap();
        path
    }

    #[test]
    fn more_than_4_gib_are_rf64() {
        let folder = tempfile::tempdir().unwrap();
        let data_bytes = 6 * 900_000_000;
        let header = header(2, 48000, 24, false, data_bytes);
        assert!(header.starts_with(b"RF64\xff\xff\xff\xffWAVEds64"));
        let path = silence(folder.path(), &header, data_bytes);
        let file_bytes = std::fs::metadata(&path).unwrap().len();
        assert_eq!(le64(&header[20..]) + 8, file_bytes);
        let info = crate::audio::info(&path).unwrap();
        assert_eq!((info.container.as_str(), info.n_samples, info.channels), ("RF64", 900_000_000, 2));
        let end = ReadOptions { start: Some(18_749.0), duration: None };
        let end = crate::audio::read(&path, &end).unwrap();
        assert_eq!((end.waveform.n_samples(), end.warnings.len()), (48_000, 0));
    }

    #[test]
    fn the_last_size_of_riff_and_the_first_of_rf64() {
        let folder = tempfile::tempdir().unwrap();
        let riff_head = header(1, 8000, 16, false, 2).len() as u64;
        let most = u64::from(UNKNOWN) - 1 + 8 - riff_head;
        for (data_bytes, container) in [(most & !1, "WAV"), ((most & !1) + 2, "RF64")] {
            let header = header(1, 8000, 16, false, data_bytes);
            let path = silence(folder.path(), &header, data_bytes);
            let info = crate::audio::info(&path).unwrap();
            assert_eq!((info.container.as_str(), info.n_samples), (container, data_bytes / 2));
        }
    }
}
