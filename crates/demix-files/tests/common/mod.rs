//! The signal behind the fixtures, and WAV files made byte by byte.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};

use demix_files::FileError;
use demix_files::audio::{self, ReadAudio, ReadOptions};
use ndarray::Array2;

/// Samples per channel of every fixture: no multiple of any codec's frame.
pub const N: usize = 6543;

/// Two fading triangle waves per channel, in whole numbers: the same on every machine.
pub fn signal(n: usize, channels: usize) -> Vec<Vec<i16>> {
    let triangle = |phase: usize| {
        let phase = (phase % 65536) as i32;
        if phase < 32768 { phase - 16384 } else { 49151 - phase }
    };
    let sample = |t: usize, c: usize| {
        let fading = 32 - (24 * t / n) as i32;
        ((3 * triangle(t * (600 + 150 * c)) + triangle(t * (2100 + 100 * c))) / 4 * fading / 32) as i16
    };
    (0..channels).map(|c| (0..n).map(|t| sample(t, c)).collect()).collect()
}

/// The same as floats, shape (channels, samples).
pub fn floats(n: usize, channels: usize) -> Array2<f32> {
    let signal = signal(n, channels);
    Array2::from_shape_fn((channels, n), |(c, t)| f32::from(signal[c][t]) / 32768.0)
}

/// A chunk with its pad byte.
pub fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = [&name[..], &(content.len() as u32).to_le_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// A plain `fmt ` chunk.
pub fn fmt(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let frame = channels * bits.div_ceil(8);
    let mut content = tag.to_le_bytes().to_vec();
    content.extend(channels.to_le_bytes());
    content.extend(rate.to_le_bytes());
    content.extend((rate * u32::from(frame)).to_le_bytes());
    content.extend(frame.to_le_bytes());
    content.extend(bits.to_le_bytes());
    chunk(b"fmt ", &content)
}

/// RIFF around chunks.
pub fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let content = chunks.concat();
    [&b"RIFF"[..], &(content.len() as u32 + 4).to_le_bytes(), b"WAVE", &content].concat()
}

/// A 16-bit file.
pub fn wav16(signal: &[Vec<i16>], rate: u32) -> Vec<u8> {
    let data: Vec<u8> =
        (0..signal[0].len()).flat_map(|t| signal.iter().flat_map(move |row| row[t].to_le_bytes())).collect();
    riff(&[fmt(1, signal.len() as u16, rate, 16), chunk(b"data", &data)])
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn read(path: &Path) -> Result<ReadAudio, FileError> {
    audio::read(path, &ReadOptions::default())
}

/// Reads `bytes` as a file of this name; an error must be one line that begins with the path.
pub fn read_bytes(bytes: &[u8], name: &str) -> Result<ReadAudio, FileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let read = read(&path);
    if let Err(error) = &read {
        one_line(error, &path);
    }
    read
}

/// The error read from `bytes`, without the path.
pub fn error_of(bytes: &[u8], name: &str) -> String {
    let error = read_bytes(bytes, name).expect_err("this file is wrong").to_string();
    error.split_once(&format!("{name}: ")).unwrap().1.to_string()
}

pub fn one_line(error: &FileError, path: &Path) {
    let error = error.to_string();
    assert!(error.starts_with(path.to_str().unwrap()) && !error.contains('\n'), "{error}");
    assert!(error.contains(';'), "no remedy: {error}");
}

/// 10 log10 of signal power over error power, in dB.
pub fn snr(reference: &Array2<f32>, estimate: &Array2<f32>) -> f64 {
    let power = |x: &Array2<f32>| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    10.0 * (power(reference) / power(&(reference - estimate))).log10()
}
