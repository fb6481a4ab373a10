//! [`SpatialError`]: mixtures and settings that cannot be demixed.

use demix_signal::settings::SettingError;
use demix_signal::{Cancelled, StftError};

/// A demixing that cannot be done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpatialError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The mixture has no channels or no samples.
    #[error("the mixture has {channels} channels of {samples} samples: at least one of each is needed")]
    Empty {
        /// M.
        channels: usize,
        /// Of each channel.
        samples: usize,
    },
    /// Nothing is asked for.
    #[error("0 sources are asked for: ask for at least 1")]
    NoSource,
    /// Fewer microphones than sources.
    #[error(
        "{sources} sources are asked for and the mixture has {channels} channel{}: {method} finds at most as many \
         sources as there are channels, ask for fewer",
        if *.channels == 1 { "" } else { "s" }
    )]
    TooManySources {
        /// Who refuses.
        method: &'static str,
        /// N.
        sources: usize,
        /// M.
        channels: usize,
    },
    /// A method that is made for one number of sources.
    #[error(
        "{method} finds {expected} sources and {sources} are asked for: ask for {expected}, or take {instead}"
    )]
    OtherNumberOfSources {
        /// Who refuses.
        method: &'static str,
        /// What it finds.
        expected: usize,
        /// N.
        sources: usize,
        /// A method that does it.
        instead: &'static str,
    },
    /// A sample is not a number.
    #[error("channel {channel} has a sample that is not finite, the first at {sample}: repair it first")]
    NotFinite {
        /// Counted from 1.
        channel: usize,
        /// Counted from 0.
        sample: usize,
    },
    /// Settings, models and updates that do not fit together.
    #[error("{0}")]
    Unsupported(String),
    /// A network has no answer, or one that is none.
    #[error("{0}")]
    Network(String),
    /// The transform.
    #[error(transparent)]
    Stft(#[from] StftError),
    /// The caller asked for it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
