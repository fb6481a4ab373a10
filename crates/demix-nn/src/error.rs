//! [`NnError`]: networks, trainings and checkpoints that cannot be.

use demix_signal::Cancelled;
use demix_signal::settings::SettingError;

/// What a network cannot do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NnError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A header that describes no network that can be built.
    #[error("{0}")]
    Header(String),
    /// A spectrogram of another size than the network was made for.
    #[error(
        "the spectrogram has {given} bins and the network was trained for {expected} (fft={}): transform with the \
         network's settings", 2 * (.expected - 1)
    )]
    Bins {
        /// Of the spectrogram.
        given: usize,
        /// Of the network.
        expected: usize,
    },
    /// A magnitude that is no magnitude.
    #[error("{what} is {value} in bin {bin} of frame {frame}: magnitudes are finite and not negative")]
    NotAMagnitude {
        /// Whose magnitude.
        what: &'static str,
        /// The value.
        value: f32,
        /// Counted from 0.
        bin: usize,
        /// Counted from 0.
        frame: usize,
    },
    /// The weights are so large that the output overflows, or is beyond all that a source can be.
    #[error("the network's output overflows in frame {frame}: its weights are too large, train it again")]
    Overflow {
        /// Counted from 0.
        frame: usize,
    },
    /// A network that was trained for many values of nu_NMF is not told which.
    #[error(
        "the network is trained for nu_NMF from {lowest} to {highest} and needs to know which: give a value"
    )]
    NuMissing {
        /// Smallest.
        lowest: f64,
        /// Largest.
        highest: f64,
    },
    /// A value of nu_NMF that the network was not trained for.
    #[error(
        "nu_NMF={given}, but the network is trained for {lowest} to {highest}: take a value between them"
    )]
    NuOutOfRange {
        /// As asked for.
        given: f64,
        /// Smallest.
        lowest: f64,
        /// Largest.
        highest: f64,
    },
    /// Bytes that are no checkpoint, or a broken one.
    #[error("{0}")]
    Checkpoint(String),
    /// An example that cannot be had.
    #[error("example {index}: {problem}")]
    Example {
        /// Its number.
        index: u64,
        /// What went wrong.
        problem: String,
    },
    /// Examples in which nothing sounds.
    #[error("{0} examples in a row are silent: check the recordings")]
    Silent(u64),
    /// The loss or its gradient left the numbers.
    #[error("the {what} is {value} in step {step}: lower the rate, or start from another loss")]
    Diverged {
        /// `loss` or `gradient`.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Counted from 0.
        step: u64,
    },
    /// A device that is not there.
    #[error("{0}")]
    Device(String),
    /// The caller asked for it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
