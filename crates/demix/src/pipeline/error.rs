//! [`PipelineError`].

use std::path::{Path, PathBuf};

use demix_eval::EvalError;
use demix_files::FileError;
use demix_nn::NnError;
use demix_room::RoomError;
use demix_signal::Cancelled;

use crate::corpus::CorpusError;
use crate::separation::SeparationError;
use crate::training::examples::ExamplesError;
use crate::training::state::StateError;
use crate::training::validation::ValidationError;

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
    /// The corpus cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The network.
    #[error(transparent)]
    Network(NnError),
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
            Self::Corpus(reason) => reason.is_wrong_use(),
            Self::Network(reason) => {
                matches!(reason, NnError::Setting(_) | NnError::Header(_) | NnError::Device(_))
            }
            Self::Separation { reason, .. } => reason.is_wrong_use(),
            _ => false,
        }
    }
}

impl From<Cancelled> for PipelineError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<NnError> for PipelineError {
    fn from(error: NnError) -> Self {
        match error {
            NnError::Cancelled(cancelled) => cancelled.into(),
            other => Self::Network(other),
        }
    }
}

impl From<ExamplesError> for PipelineError {
    fn from(error: ExamplesError) -> Self {
        match error {
            ExamplesError::Corpus(error) => error.into(),
            other => Self::WrongUse(other.to_string()),
        }
    }
}

impl From<ValidationError> for PipelineError {
    fn from(error: ValidationError) -> Self {
        match error {
            ValidationError::Corpus(error) => error.into(),
            ValidationError::Network(error) => error.into(),
            ValidationError::Eval(error) => error.into(),
            ValidationError::Transform(error) => Self::WrongUse(error.to_string()),
        }
    }
}

impl From<StateError> for PipelineError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::File(error) => error.into(),
            other => Self::Request(other.to_string()),
        }
    }
}
