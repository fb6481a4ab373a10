//! [`EvalError`]: what is wrong with the input, with the numbers.

/// Which of the two groups of signals an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The true sources.
    Reference,
    /// What a method made of the mixture.
    Estimate,
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Group::Reference => "reference",
            Group::Estimate => "estimate",
        })
    }
}

/// Input that cannot be scored. Signals count from 0, references and estimates apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Nothing to compare with, or nothing to compare.
    #[error("there is no {0} to score")]
    None(Group),
    /// As many estimates as references are needed.
    #[error("{estimates} estimates for {references} references; give one estimate for every reference")]
    Count {
        /// Number of references.
        references: usize,
        /// Number of estimates.
        estimates: usize,
    },
    /// A given order names an estimate that is not there, or has another length than the references.
    #[error(
        "the order {given:?} does not give one of {estimates} estimates to each of {references} references"
    )]
    Order {
        /// The order as given.
        given: Vec<usize>,
        /// Number of references.
        references: usize,
        /// Number of estimates.
        estimates: usize,
    },
    /// Every signal must be as long as the first reference.
    #[error(
        "{group} {index} has {samples} samples, reference 0 has {expected}; cut or pad them to one length"
    )]
    Length {
        /// The group of the odd one.
        group: Group,
        /// Its place in the group.
        index: usize,
        /// Its length in samples.
        samples: usize,
        /// The length of reference 0 in samples.
        expected: usize,
    },
    /// Every signal must have the channels of the first reference.
    #[error("{group} {index} has {channels} channels, reference 0 has {expected}")]
    Channels {
        /// The group of the odd one.
        group: Group,
        /// Its place in the group.
        index: usize,
        /// Its number of channels.
        channels: usize,
        /// The number of channels of reference 0.
        expected: usize,
    },
    /// Every signal must have the sample rate of the first reference.
    #[error(
        "{group} {index} has {rate} samples per second, reference 0 has {expected}; resample one of them"
    )]
    Rate {
        /// The group of the odd one.
        group: Group,
        /// Its place in the group.
        index: usize,
        /// Its sample rate in Hz.
        rate: u32,
        /// The sample rate of reference 0 in Hz.
        expected: u32,
    },
    /// Signals without samples have no scores.
    #[error("the signals have no samples")]
    Empty,
    /// A sample that is not a number or infinite.
    #[error(
        "{group} {index} holds a sample that is not a finite number (channel {channel}, sample {sample})"
    )]
    NotFinite {
        /// The group of the signal.
        group: Group,
        /// Its place in the group.
        index: usize,
        /// Its channel.
        channel: usize,
        /// The first such sample found there.
        sample: usize,
    },
    /// A setting outside its range.
    #[error("{name} is {value}, it must be {range}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// Its range, in words.
        range: &'static str,
    },
    /// A transform that cannot be made or applied.
    #[error(transparent)]
    Stft(#[from] demix_signal::StftError),
    /// Samples could not be read.
    #[error("cannot read {group} {index}: {error}")]
    Read {
        /// The group of the signal.
        group: Group,
        /// Its place in the group.
        index: usize,
        /// What the reader says.
        #[source]
        error: std::io::Error,
    },
}
