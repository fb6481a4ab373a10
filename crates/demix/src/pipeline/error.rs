//! [`PipelineError`].

use std::path::{Path, PathBuf};

use demix_eval::EvalError;
use demix_files::FileError;
use demix_room::RoomError;

use crate::separation::SeparationError;

/// Work on files that cannot be done; one line for people.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A separation failed on this file.
    #[error("{}: {reason}", path.display())]
    Separation {
        /// The input.
        path: PathBuf,
        /// Why.
        reason: SeparationError,
    },
    /// The scores could not be computed.
    #[error(transparent)]
    Evaluation(#[from] EvalError),
    /// The scene cannot be.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// What was asked for does not fit together, or not to the input: to be asked otherwise.
    #[error("{0}")]
    WrongUse(String),
    /// What is there forbids it: files that are in the way, or hold something else.
    #[error("{0}")]
    Request(String),
    /// The caller asked for it.
    #[error("stopped on request; nothing was left behind")]
    Cancelled,
}

impl PipelineError {
    pub(crate) fn of(path: &Path, reason: SeparationError) -> Self {
        if reason.is_cancelled() {
            return Self::Cancelled;
        }
        Self::Separation { path: path.to_path_buf(), reason }
    }

    /// Whether the fault lies in what was asked for, not in a file or the machine.
    pub fn is_wrong_use(&self) -> bool {
        match self {
            Self::WrongUse(_) | Self::Room(_) => true,
            Self::Separation { reason, .. } => reason.is_wrong_use(),
            _ => false,
        }
    }
}
