//! Writing FLAC (RFC 9639): flacenc encodes the frames, one block at a time; the stream header is
//! ours, since flacenc counts the short last block into the smallest block size, which readers
//! refuse.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, StreamInfo};
use flacenc::config;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, Fill, FrameBuf};

use super::quantise::Quantiser;
use super::write::Prepared;
use crate::FileError;
use crate::atomic::AtomicFile;

/// The highest rate of RFC 9639 section 9.1.2 that every decoder must expect.
pub(super) const MAX_RATE: u32 = 655_350;

/// flacenc states higher rates wrongly or not at all.
const MAX_FRAME_RATE: u32 = 96_000;

/// A rate that frame headers cannot state: they then refer to the stream header, which can.
const UNSTATED_RATE: usize = 65_537;

const BLOCK: usize = 4096;

pub(super) fn write(
    path: &Path,
    file: &mut BufWriter<AtomicFile>,
    prepared: &mut Prepared,
    bits: usize,
    mut quantiser: Quantiser,
) -> Result<u64, FileError> {
    let refused = |error| FileError::from_io(path, "write it", error);
    let cannot = |what: String| FileError::CannotWrite {
        path: path.to_path_buf(),
        what: format!("the FLAC encoder refuses it ({})", crate::error::one_line(&what)),
        remedy: "write WAV",
    };
    let (channels, n) = (prepared.waveform.n_channels(), prepared.waveform.n_samples());
    let rate = prepared.waveform.sample_rate;
    let frame_rate = if rate > MAX_FRAME_RATE { UNSTATED_RATE } else { rate as usize };

    let settings: Verified<config::Encoder> =
        config::Encoder::default().into_verified().map_err(|(_, error)| cannot(error.to_string()))?;
    let frame_info =
        StreamInfo::new(frame_rate, channels, bits).map_err(|error| cannot(error.to_string()))?;
    let mut frame = FrameBuf::with_size(channels, BLOCK).map_err(|error| cannot(error.to_string()))?;
    let mut checksum = Context::new(bits, channels);
    let mut block = vec![0; BLOCK * channels];

    // a placeholder: frame sizes and checksum are known at the end
    file.write_all(&[0; HEADER_BYTES]).map_err(refused)?;
    let mut bytes = HEADER_BYTES as u64;
    let (mut smallest, mut largest) = (u32::MAX, 0);
    for (number, first) in (0..n).step_by(BLOCK).enumerate() {
        let length = BLOCK.min(n - first);
        for (sample, interleaved) in block.chunks_exact_mut(channels).take(length).enumerate() {
            for (channel, value) in interleaved.iter_mut().enumerate() {
                *value = quantiser.quantise(prepared.sample(channel, first + sample));
            }
        }
        let block = &block[..length * channels];
        let mut sink = ByteSink::new();
        frame.fill_interleaved(block).map_err(|error| cannot(error.to_string()))?;
        checksum.fill_interleaved(block).map_err(|error| cannot(error.to_string()))?;
        flacenc::encode_fixed_size_frame(&settings, &frame, number, &frame_info)
            .map_err(|error| cannot(error.to_string()))?
            .write(&mut sink)
            .map_err(|error| cannot(error.to_string()))?;
        let encoded = sink.as_slice();
        file.write_all(encoded).map_err(refused)?;
        bytes += encoded.len() as u64;
        smallest = smallest.min(encoded.len() as u32);
        largest = largest.max(encoded.len() as u32);
    }
    let header = header(rate, channels, bits, n as u64, [smallest, largest], checksum.md5_digest());
    file.seek(SeekFrom::Start(0)).map_err(refused)?;
    file.write_all(&header).map_err(refused)?;
    Ok(bytes)
}

const HEADER_BYTES: usize = 42;

/// `fLaC` and the STREAMINFO block, RFC 9639 section 8.2.
fn header(
    rate: u32,
    channels: usize,
    bits: usize,
    n: u64,
    frame_bytes: [u32; 2],
    md5: [u8; 16],
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(b"fLaC\x80\0\0\x22");
    for size in [8, 10] {
        header[size..size + 2].copy_from_slice(&(BLOCK as u16).to_be_bytes());
    }
    for (at, size) in [12, 15].into_iter().zip(frame_bytes) {
        header[at..at + 3].copy_from_slice(&size.to_be_bytes()[1..]);
    }
    // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of length (0: unknown)
    let n = if n < 1 << 36 { n } else { 0 };
    let packed = u64::from(rate) << 44 | (channels as u64 - 1) << 41 | (bits as u64 - 1) << 36 | n;
    header[18..26].copy_from_slice(&packed.to_be_bytes());
    header[26..].copy_from_slice(&md5);
    header
}
