//! [`TrainingState`]: what a training needs to go on bit for bit, in one file.
//!
//! ```text
//! "DEMIXTRN" | u32 format version | 3 x (u64 bytes | content): description as JSON, trainer, best network (or nothing)
//! ```
//! Numbers are little endian.

use std::path::{Path, PathBuf};

use demix_files::{FileError, TRAINING_MAGIC, report};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::Record;

/// The format version this program writes and reads.
const VERSION: u32 = 1;

/// What is known of a training besides its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Name of the source.
    pub source: String,
    /// The method that the network is for.
    pub method: String,
    /// Degrees of freedom, where given.
    pub nu: Option<f64>,
    /// All settings.
    pub settings: Map<String, Value>,
    /// Songs to learn from.
    pub training: Vec<String>,
    /// Songs to choose by.
    pub validation: Vec<String>,
    /// Whole epochs that are done.
    pub epochs: usize,
    /// Batches of the next epoch that are done.
    pub batches: usize,
    /// Sum of their losses, as the bits of a double.
    pub loss_bits: u64,
    /// The curve so far.
    pub record: Record,
    /// The epoch of the best network so far, counted from 1.
    pub best_epoch: Option<usize>,
    /// Seconds of all runs.
    pub seconds: f64,
}

impl Description {
    /// Refuses what contradicts itself: whoever reads a description may rely on its numbers.
    fn check(&self) -> Result<(), String> {
        let rows = &self.record.epochs;
        let damaged = |what: String| Err(format!("its description is damaged ({what})"));
        if self.epochs != rows.len() {
            return damaged(format!("{} epochs are done, its curve has {}", self.epochs, rows.len()));
        }
        if let Some((number, row)) = (1..).zip(rows).find(|(number, row)| row.epoch != *number) {
            return damaged(format!("epoch {number} of its curve is called {}", row.epoch));
        }
        if let Some(best) = self.best_epoch {
            match best.checked_sub(1).and_then(|index| rows.get(index)) {
                None => return damaged(format!("its best epoch is {best} of {}", self.epochs)),
                Some(row) if !row.is_judged() => {
                    return damaged(format!("its best epoch, {best}, was never judged"));
                }
                Some(_) => {}
            }
        }
        let sum = f64::from_bits(self.loss_bits);
        if !sum.is_finite() || (self.batches == 0 && sum != 0.0) {
            return damaged(format!("the losses of {} batches sum to {sum}", self.batches));
        }
        if self.seconds < 0.0 {
            return damaged(format!("it took {} seconds", self.seconds));
        }
        Ok(())
    }
}

/// A training between two batches.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// In words and small numbers.
    pub description: Description,
    /// What [`demix_nn::Trainer::state`] gave.
    pub trainer: Vec<u8>,
    /// The best network so far, as a checkpoint; empty before the first validation.
    pub best: Vec<u8>,
}

/// A state that cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("{}: {problem}; start again without --resume, with --overwrite", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl TrainingState {
    /// Writes the state; the file appears whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let json = serde_json::to_vec(&self.description)
            .map_err(|error| StateError::Refused { path: path.into(), problem: error.to_string() })?;
        let mut bytes = Vec::with_capacity(64 + json.len() + self.trainer.len() + self.best.len());
        bytes.extend_from_slice(&TRAINING_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for part in [&json, &self.trainer, &self.best] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Ok(report::write_bytes(path, &bytes)?)
    }

    /// Reads a state.
    ///
    /// # Errors
    /// A file that is missing, no state, of another version, cut, or whose description contradicts itself. What the
    /// trainer and the network hold is seen when they are taken up.
    pub fn read(path: &Path) -> Result<Self, StateError> {
        let bytes = std::fs::read(path).map_err(|error| FileError::from_io(path, "read it", error))?;
        Self::from_bytes(&bytes).map_err(|problem| StateError::Refused { path: path.into(), problem })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let rest = bytes.strip_prefix(&TRAINING_MAGIC).ok_or("is not the state of a training")?;
        let cut = || format!("is cut: {} bytes hold less than they promise", bytes.len());
        let (version, mut rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let version = u32::from_le_bytes(*version);
        if version != VERSION {
            return Err(format!("has format version {version}, this program reads version {VERSION}"));
        }
        let mut part = || {
            let (length, after) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
            let (content, after) = after.split_at_checked(length).ok_or_else(cut)?;
            rest = after;
            Ok::<_, String>(content)
        };
        let (json, trainer, best) = (part()?, part()?.to_vec(), part()?.to_vec());
        if !rest.is_empty() {
            return Err(format!("has {} bytes more than it promises", rest.len()));
        }
        let description: Description =
            serde_json::from_slice(json).map_err(|error| format!("its description is damaged ({error})"))?;
        description.check()?;
        if description.best_epoch.is_some() && best.is_empty() {
            return Err("has lost its best network".into());
        }
        Ok(Self { description, trainer, best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_a_cut_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.state");
        let description = Description {
            source: "bass".into(),
            method: "idlma".into(),
            nu: Some(0.1),
            settings: Map::new(),
            training: vec!["a".into()],
            validation: vec![],
            epochs: 0,
            batches: 2,
            loss_bits: (0.1f64 + 0.2).to_bits(),
            record: Record::default(),
            best_epoch: None,
            seconds: 1.5,
        };
        let state = TrainingState { description, trainer: vec![1, 2, 3], best: vec![] };
        state.write(&path).unwrap();
        assert_eq!(TrainingState::read(&path).unwrap(), state);
        let bytes = std::fs::read(&path).unwrap();
        for n in 0..bytes.len() {
            assert!(TrainingState::from_bytes(&bytes[..n]).is_err(), "{n} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(TrainingState::from_bytes(&longer).is_err());
        let mut other = bytes.clone();
        other[8] = 9;
        assert!(TrainingState::from_bytes(&other).unwrap_err().contains("version 9"));
        // a length beyond all memory
        let mut hostile = bytes;
        hostile[12..20].fill(0xff);
        assert!(TrainingState::from_bytes(&hostile).is_err());
    }
}
