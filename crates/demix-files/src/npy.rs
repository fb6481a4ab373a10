//! Arrays as NumPy files: complex numbers are written, for filters; of any array it is told what it holds.

use std::io::{Read as _, Write as _};
use std::path::Path;

use demix_signal::Complex;
use ndarray::{ArrayBase, Data, Dimension};

use crate::FileError;
use crate::atomic::AtomicFile;
use crate::audio::open;

/// The first bytes of every array.
pub const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// How long a description may be: nobody's array has more dimensions or fields.
const HEAD_BYTES: u64 = 1 << 16;

/// What an array holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The type of an element as NumPy writes it, such as `<c16`.
    pub element: String,
    /// Extents.
    pub shape: Vec<u64>,
}

/// Reads what an array holds, not the array.
///
/// # Errors
/// [`FileError`] when the file cannot be read or is no array.
pub fn describe(path: &Path) -> Result<Description, FileError> {
    let mut head = Vec::new();
    open(path)?
        .take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(|error| FileError::from_io(path, "read it", error))?;
    parse(&head).ok_or_else(|| FileError::Damaged {
        path: path.into(),
        what: "its NumPy header cannot be read".into(),
    })
}

/// Magic, version (1 has two bytes of length, later ones four), length, and a Python dictionary whose entries NumPy
/// sorts.
fn parse(head: &[u8]) -> Option<Description> {
    let (version, rest) = head.strip_prefix(&MAGIC)?.split_first_chunk::<2>()?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (usize::from(u16::from_le_bytes(*n)), rest))?,
        _ => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n) as usize, rest))?,
    };
    let text = std::str::from_utf8(rest.get(..length)?).ok()?;
    let (element, rest) = text.split_once("'descr':")?.1.split_once("'fortran_order'")?;
    let (shape, _) = rest.split_once("'shape':")?.1.split_once('(')?.1.split_once(')')?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    Some(Description {
        element: element.trim_matches(|c: char| c.is_whitespace() || c == ',' || c == '\'').into(),
        shape: extents.map(|extent| extent.parse().ok()).collect::<Option<_>>()?,
    })
}

/// Writes an array as complex128 in C order (`.npy`, format 1.0), whole or not at all.
///
/// # Errors
/// [`FileError`] when the file cannot be written; what was there before is then unchanged.
pub fn write<S: Data<Elem = Complex<f64>>, D: Dimension>(
    path: &Path,
    array: &ArrayBase<S, D>,
) -> Result<(), FileError> {
    let shape: Vec<String> = array.shape().iter().map(|n| format!("{n},")).collect();
    let mut header = format!("{{'descr': '<c16', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    // magic, version and length take 10 bytes; all together a multiple of 64, ending in a new line
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(padded - header.len() - 1));
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + padded + 16 * array.len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for x in array {
        bytes.extend(x.re.to_le_bytes());
        bytes.extend(x.im.to_le_bytes());
    }
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes).map_err(|error| FileError::from_io(path, "write it", error))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    #[test]
    fn what_is_written_is_read_back_by_another_library() {
        let array =
            Array3::from_shape_fn((2, 3, 4), |(a, b, c)| Complex::new(a as f64 - 0.5, (b * c) as f64));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.npy");
        write(&path, &array).unwrap();
        let described = Description { element: "<c16".into(), shape: vec![2, 3, 4] };
        assert_eq!(describe(&path).unwrap(), described);
        let bytes = std::fs::read(&path).unwrap();
        let file = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(file.shape(), [2, 3, 4]);
        let numbers: Vec<Complex<f64>> = file.into_vec().unwrap();
        assert!(array.iter().eq(&numbers));
    }

    #[test]
    fn a_header_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.npy");
        write(&path, &Array3::from_elem((1, 2, 3), Complex::new(1.0, 0.0))).unwrap();
        let good = std::fs::read(&path).unwrap();
        let promise = [&good[..8], &[255, 255], &good[10..]].concat();
        let nested = [&good[..8], &[0, 16], &[b'('; 4096]].concat();
        let later = [&good[..6], &[3, 0, 255, 255, 255, 255], &good[10..]].concat();
        for bytes in [&good[..7], &good[..9], &good[..40], &promise, &nested, &later] {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(describe(&path), Err(FileError::Damaged { .. })), "{} bytes", bytes.len());
        }
    }
}
