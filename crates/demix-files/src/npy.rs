//! Arrays of complex numbers as NumPy files, for filters.

use std::io::Write as _;
use std::path::Path;

use demix_signal::Complex;
use ndarray::{ArrayBase, Data, Dimension};

use crate::FileError;
use crate::atomic::AtomicFile;

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
    bytes.extend(b"\x93NUMPY\x01\x00");
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
        let bytes = std::fs::read(&path).unwrap();
        let file = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(file.shape(), [2, 3, 4]);
        let numbers: Vec<Complex<f64>> = file.into_vec().unwrap();
        assert!(array.iter().eq(&numbers));
    }
}
