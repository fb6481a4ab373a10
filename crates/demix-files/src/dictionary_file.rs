//! NMF dictionaries that say what they hold: spectra of one source and how they were made.
//!
//! ```text
//! "DEMIXDIC" | u32 format version | u64 bytes of header | header, JSON | W, f32, row by row
//! ```
//! Numbers are little endian. The header gives the shape of W; the size of the file must be exactly
//! what it implies.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::FileError;
use crate::atomic::AtomicFile;

/// The first bytes of every dictionary.
pub const MAGIC: [u8; 8] = *b"DEMIXDIC";
/// The format version this program writes and reads.
pub const VERSION: u32 = 1;

/// Magic, version, header length.
const PREAMBLE_BYTES: u64 = 8 + 4 + 8;
/// A header is a few hundred bytes and one line per training file.
const HEADER_LIMIT: u64 = 1 << 24;

/// The short-time Fourier transform that the spectra belong to; other settings need another
/// dictionary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DictionaryStft {
    /// Length of the Fourier transform in samples; `fft / 2 + 1` bins.
    pub fft: usize,
    /// Length of the window in samples.
    pub window_length: usize,
    /// Samples from frame to frame.
    pub hop: usize,
    /// Name of the window.
    pub window: String,
    /// Name of what is done at the edges.
    pub padding: String,
}

/// Spectra of one source, learned by NMF from isolated sound.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryFile {
    /// The source: "piano".
    pub name: String,
    /// Sample rate of the training sound in Hz.
    pub sample_rate: u32,
    /// The transform that the spectra belong to.
    pub stft: DictionaryStft,
    /// Power of the magnitudes that W explains: 1 magnitude, 2 power.
    pub exponent: f64,
    /// W, shape (bins, components), not negative.
    pub components: Array2<f32>,
    /// Names of the training files.
    pub trained_on: Vec<String>,
    /// Version of the program that wrote it.
    pub demix_version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    sample_rate: u32,
    stft: DictionaryStft,
    exponent: f64,
    bins: usize,
    components: usize,
    trained_on: Vec<String>,
    demix_version: String,
}

impl DictionaryFile {
    /// Writes the dictionary; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`FileError`] when its entries are not what [`DictionaryFile::read`] would accept, or the disk
    /// refuses.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let cannot = |what| FileError::CannotWrite {
            path: path.to_path_buf(),
            what,
            remedy: "learn the dictionary again, from sound that is not silent",
        };
        let (bins, components) = self.components.dim();
        let header = Header {
            name: self.name.clone(),
            sample_rate: self.sample_rate,
            stft: self.stft.clone(),
            exponent: self.exponent,
            bins,
            components,
            trained_on: self.trained_on.clone(),
            demix_version: self.demix_version.clone(),
        };
        check_header(&header).map_err(cannot)?;
        check_components(&self.components).map_err(cannot)?;
        let json = serde_json::to_vec(&header).map_err(|error| cannot(error.to_string()))?;

        let mut file = BufWriter::new(AtomicFile::create(path)?);
        let mut put = || {
            file.write_all(&MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            file.write_all(&(json.len() as u64).to_le_bytes())?;
            file.write_all(&json)?;
            // by rows, whatever the order in memory
            self.components.iter().try_for_each(|w| file.write_all(&w.to_le_bytes()))
        };
        let refused = |error| FileError::from_io(path, "write it", error);
        put().map_err(refused)?;
        file.into_inner().map_err(|error| refused(error.into_error()))?.commit()
    }

    /// Reads a dictionary.
    ///
    /// # Errors
    /// [`FileError`] when the file is missing, no dictionary, of another version, longer or shorter
    /// than its header says, or holds entries that are negative or not finite.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let refused = |error| FileError::from_io(path, "read it", error);
        let file = crate::audio::open(path)?;
        let file_bytes = file.metadata().map_err(refused)?.len();
        let truncated = |promised| {
            Err(FileError::Truncated { path: path.to_path_buf(), unit: "bytes", promised, found: file_bytes })
        };
        let mut file = BufReader::new(file);
        check_magic(path, &mut file, file_bytes)?;
        if file_bytes < PREAMBLE_BYTES {
            return truncated(PREAMBLE_BYTES);
        }
        let (mut version, mut header_bytes) = ([0; 4], [0; 8]);
        file.read_exact(&mut version).map_err(refused)?;
        file.read_exact(&mut header_bytes).map_err(refused)?;
        let found = u32::from_le_bytes(version);
        if found != VERSION {
            let remedy = if found > VERSION { "use a newer demix" } else { "learn the dictionary again" };
            return Err(FileError::Version { path: path.to_path_buf(), found, known: VERSION, remedy });
        }
        let header_bytes = u64::from_le_bytes(header_bytes);
        if header_bytes > file_bytes - PREAMBLE_BYTES {
            return truncated(PREAMBLE_BYTES.saturating_add(header_bytes));
        }
        if header_bytes > HEADER_LIMIT {
            let what = format!("its header claims {header_bytes} bytes, at most {HEADER_LIMIT} make sense");
            return Err(FileError::damaged(path, what));
        }
        let mut json = vec![0; header_bytes as usize];
        file.read_exact(&mut json).map_err(refused)?;
        let header: Header = serde_json::from_slice(&json)
            .map_err(|error| FileError::damaged(path, format!("its header cannot be read ({error})")))?;
        check_header(&header).map_err(|what| FileError::damaged(path, what))?;

        let entries = header.bins.checked_mul(header.components);
        let promised = entries
            .and_then(|entries| (entries as u64).checked_mul(4))
            .and_then(|bytes| bytes.checked_add(PREAMBLE_BYTES + header_bytes));
        match promised {
            Some(bytes) if bytes == file_bytes => {}
            Some(bytes) if bytes < file_bytes => {
                let what = format!("its header promises {bytes} bytes, the file has {file_bytes}");
                return Err(FileError::damaged(path, what));
            }
            bytes => return truncated(bytes.unwrap_or(u64::MAX)),
        }
        let components = read_components(&mut file, header.bins, header.components).map_err(refused)?;
        check_components(&components).map_err(|what| FileError::damaged(path, what))?;
        Ok(Self {
            name: header.name,
            sample_rate: header.sample_rate,
            stft: header.stft,
            exponent: header.exponent,
            components,
            trained_on: header.trained_on,
            demix_version: header.demix_version,
        })
    }
}

fn check_magic(path: &Path, file: &mut BufReader<File>, file_bytes: u64) -> Result<(), FileError> {
    let mut magic = [0; 8];
    let read = file_bytes.min(8) as usize;
    file.read_exact(&mut magic[..read]).map_err(|error| FileError::from_io(path, "read it", error))?;
    if magic[..read] == MAGIC[..read] {
        return Ok(());
    }
    let found = format!("it begins with {:?}", String::from_utf8_lossy(&magic[..read]));
    Err(FileError::NotDictionary { path: path.to_path_buf(), found })
}

/// The shape was checked against the size of the file: this allocates no more than that.
fn read_components(file: &mut impl Read, bins: usize, components: usize) -> std::io::Result<Array2<f32>> {
    let mut w = Array2::zeros((bins, components));
    let mut row_bytes = vec![0; 4 * components];
    for mut row in w.rows_mut() {
        file.read_exact(&mut row_bytes)?;
        for (w, bytes) in row.iter_mut().zip(row_bytes.as_chunks().0) {
            *w = f32::from_le_bytes(*bytes);
        }
    }
    Ok(w)
}

fn check_header(header: &Header) -> Result<(), String> {
    let Header { stft, bins, components, .. } = header;
    if header.sample_rate == 0 {
        return Err("its sample rate is 0 Hz, it must be at least 1".to_string());
    }
    if !(header.exponent.is_finite() && header.exponent > 0.0) {
        return Err(format!("its exponent is {}, it must be more than 0", header.exponent));
    }
    if *components == 0 {
        return Err("it has 0 components, it needs at least 1".to_string());
    }
    if stft.hop == 0 || stft.window_length == 0 || stft.window_length > stft.fft {
        return Err(format!(
            "its transform has hop {}, window {}, fft {}; it needs 1 or more each, and a window within the fft",
            stft.hop, stft.window_length, stft.fft
        ));
    }
    if *bins != stft.fft / 2 + 1 {
        return Err(format!("it has {bins} bins, an fft of {} has {}", stft.fft, stft.fft / 2 + 1));
    }
    Ok(())
}

fn check_components(components: &Array2<f32>) -> Result<(), String> {
    match components.indexed_iter().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
        None => Ok(()),
        Some(((bin, component), w)) => Err(format!(
            "entry {w} at bin {bin} of component {component}; entries must be 0 or more, and finite"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> DictionaryFile {
        DictionaryFile {
            name: "piano".to_string(),
            sample_rate: 44100,
            stft: DictionaryStft {
                fft: 8,
                window_length: 8,
                hop: 2,
                window: "hann".to_string(),
                padding: "reflect".to_string(),
            },
            exponent: 1.0,
            components: Array2::from_shape_fn((5, 3), |(f, k)| (f * 3 + k) as f32 / 7.0),
            trained_on: vec!["a.wav".to_string(), "b\n.wav".to_string()],
            demix_version: "0.1.0".to_string(),
        }
    }

    fn bytes() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("piano.dic");
        example().write(&path).unwrap();
        std::fs::read(path).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<DictionaryFile, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.dic");
        std::fs::write(&path, bytes).unwrap();
        let read = DictionaryFile::read(&path);
        if let Err(error) = &read {
            let error = error.to_string();
            assert!(error.starts_with(path.to_str().unwrap()) && !error.contains('\n'), "{error}");
        }
        read
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&bytes()).unwrap(), example());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("column-major.dic");
        let by_columns = example().components.t().as_standard_layout().into_owned().reversed_axes();
        DictionaryFile { components: by_columns, ..example() }.write(&path).unwrap();
        assert_eq!(DictionaryFile::read(&path).unwrap(), example());
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        let bytes = bytes();
        for n in 0..bytes.len() {
            assert!(read(&bytes[..n]).is_err(), "{n} bytes");
        }
        let error = read(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
        let n = bytes.len();
        assert!(error.contains(&format!("promises {n} bytes, the file holds {}", n - 1)), "{error}");
        let error = read(&[&bytes[..], b"x"].concat()).unwrap_err().to_string();
        assert!(error.contains(&format!("promises {n} bytes, the file has {}", n + 1)), "{error}");
    }

    #[test]
    fn entries_that_are_no_spectrum_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.dic");
        for entry in [-1e-9, f32::NAN, f32::INFINITY] {
            let mut bytes = bytes();
            let n = bytes.len();
            bytes[n - 4..].copy_from_slice(&entry.to_le_bytes());
            assert!(read(&bytes).unwrap_err().to_string().contains("at bin 4 of component 2"));
            let mut dictionary = example();
            dictionary.components[[4, 2]] = entry;
            assert!(dictionary.write(&path).is_err());
            assert!(!path.exists());
        }
    }

    #[test]
    fn another_version_is_named_with_ours() {
        let mut bytes = bytes();
        bytes[8] = 7;
        let error = read(&bytes).unwrap_err().to_string();
        assert!(error.contains("version 7, this program reads version 1"), "{error}");
        assert!(matches!(read(b"RIFF....WAVE"), Err(FileError::NotDictionary { .. })));
    }

    #[test]
    fn hostile_sizes_are_refused_before_allocation() {
        let header = br#"{"name":"x","sample_rate":1,"stft":{"fft":18446744073709551614,"window_length":8,"hop":2,"window":"","padding":""},"exponent":1,"bins":9223372036854775808,"components":9223372036854775807,"trained_on":[],"demix_version":""}"#;
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend((header.len() as u64).to_le_bytes());
        file.extend(header);
        assert!(matches!(read(&file), Err(FileError::Truncated { .. })));
        let mut file = bytes();
        file[12..20].fill(0xff);
        assert!(matches!(read(&file), Err(FileError::Truncated { promised: u64::MAX, .. })));
    }

    #[test]
    fn no_flipped_byte_panics() {
        let bytes = bytes();
        for i in 0..bytes.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut flipped = bytes.clone();
                flipped[i] ^= flip;
                if let Ok(dictionary) = read(&flipped) {
                    assert!(dictionary.components.iter().all(|w| *w >= 0.0 && w.is_finite()));
                }
            }
        }
    }
}
