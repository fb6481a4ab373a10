//! Small tables of numbers from CSV or JSON: gains, positions, absorption.

use std::path::Path;

use demix_files::FileError;
use ndarray::Array2;
use serde_json::Value;

use crate::pipeline::PipelineError;

/// Larger files are no tables written by hand.
const LARGEST: u64 = 1 << 24;

/// The rows of a table: JSON (a list of lists, or an object that has it under `name`), or lines of numbers with commas,
/// semicolons or blanks between them, `#` before remarks.
///
/// # Errors
/// A file that cannot be read, no number, rows of different lengths, a number that is not finite.
pub fn read_matrix(path: &Path, name: &str) -> Result<Array2<f64>, PipelineError> {
    let refused = |e| FileError::from_io(path, "read this file", e);
    let not_one = |why: String| {
        let path = path.display();
        PipelineError::Request(format!(
            "{path}: not a table of numbers: {why}; write a row in each line, numbers with commas between them, or a \
             JSON list of lists"
        ))
    };
    let size = std::fs::metadata(path).map_err(refused)?.len();
    if size > LARGEST {
        return Err(not_one(format!("it has {size} bytes, tables have at most {LARGEST}")));
    }
    let bytes = std::fs::read(path).map_err(refused)?;
    let text = String::from_utf8(bytes).map_err(|_| not_one("it is no text".into()))?;
    let rows =
        if text.trim_start().starts_with(['[', '{']) { json_rows(&text, name) } else { csv_rows(&text) };
    let rows = rows.map_err(not_one)?;
    let n_columns = rows.first().map_or(0, Vec::len);
    if n_columns == 0 {
        return Err(not_one("it holds no number".into()));
    }
    if let Some(odd) = rows.iter().position(|row| row.len() != n_columns) {
        let (row, found) = (odd + 1, rows[odd].len());
        return Err(not_one(format!("row {row} has {found} numbers, row 1 has {n_columns}")));
    }
    let n_rows = rows.len();
    Array2::from_shape_vec((n_rows, n_columns), rows.concat()).map_err(|e| not_one(e.to_string()))
}

fn csv_rows(text: &str) -> Result<Vec<Vec<f64>>, String> {
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim().trim_start_matches('\u{feff}');
        if line.is_empty() {
            continue;
        }
        let is_between = |c: char| c == ',' || c == ';' || c.is_whitespace();
        let row: Result<Vec<f64>, String> = line
            .split(is_between)
            .filter(|cell| !cell.is_empty())
            .map(|cell| match cell.parse::<f64>() {
                Ok(x) if x.is_finite() => Ok(x),
                _ => Err(format!("'{cell}' in line {} is not a finite number", i + 1)),
            })
            .collect();
        rows.push(row?);
    }
    Ok(rows)
}

fn json_rows(text: &str, name: &str) -> Result<Vec<Vec<f64>>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let table = value.get(name).unwrap_or(&value);
    let rows =
        table.as_array().ok_or_else(|| format!("there is no list of lists, nor one under '{name}'"))?;
    rows.iter()
        .enumerate()
        .map(|(i, row)| {
            let cells = row.as_array().ok_or_else(|| format!("row {} is no list", i + 1))?;
            let number =
                |cell: &Value| cell.as_f64().ok_or_else(|| format!("{cell} in row {} is no number", i + 1));
            cells.iter().map(number).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn tables_are_read_and_what_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_matrix(&path, "gains").map_err(|e| e.to_string())
        };
        let want = Ok(array![[1.0, -0.5], [0.25, 2.0]]);
        assert_eq!(read("1,-0.5\n0.25,2\n"), want);
        assert_eq!(read("\u{feff}# left and right\n 1; -0.5 # loud\r\n\n.25\t2"), want);
        assert_eq!(read("[[1, -0.5], [0.25, 2]]"), want);
        assert_eq!(read("{\"gains\": [[1, -0.5], [0.25, 2]], \"seed\": 3}"), want);
        for (text, why) in [
            ("1,2\n3\n", "row 2 has 1 numbers, row 1 has 2"),
            ("1,x\n", "'x' in line 1"),
            ("1,inf\n", "'inf' in line 1"),
            ("", "no number"),
            ("[[1, null]]", "null in row 1"),
            ("[1, 2]", "row 1 is no list"),
            ("{\"a\": 1}", "under 'gains'"),
            ("[[1", "not JSON"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why) && error.contains("table"), "{error}");
        }
    }
}
