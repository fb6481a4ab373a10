//! [`Separator`]: what every method is, and [`Separation`]: what it gives.

use demix_nmf::{Factorization, NmfError};
use demix_signal::settings::SettingError;
use demix_signal::{Cancelled, Complex, StftError, StftSettings, Watch, Waveform};
use demix_spatial::SpatialError;
use ndarray::Array3;

/// One separated source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name: of a dictionary or model, or `source-1`...
    pub name: String,
    /// Its image on all channels of the mixture: same rate, channels and length.
    pub image: Waveform,
}

/// `source-1`, `source-2`..., with as many digits as the last needs.
pub(crate) fn numbered(what: &str, n: usize) -> impl Iterator<Item = String> {
    let width = n.to_string().len();
    (1..=n).map(move |n| format!("{what}-{n:0width$}"))
}

/// Name of what is left of the mixture, beside the sources, where these do not hold all of it.
pub const RESIDUAL: &str = "residual";

/// What a separation tells besides the sound.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The cost before the first and after every iteration; empty where a method has none.
    pub cost: Vec<f64>,
    /// Iterations done.
    pub iterations: usize,
    /// `"tolerance"` or `"iterations"`.
    pub stopped: &'static str,
    /// Whether the sources add up to the mixture.
    pub sums_to_mixture: bool,
    /// The transform that was used, with nothing left at `auto`.
    pub stft: StftSettings,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
    /// Seconds of (transform, separation, synthesis).
    pub seconds: Seconds,
    /// The factors of a non-negative factorisation.
    pub factors: Option<Factors>,
    /// The filters of a demixing, block by block; empty for other methods.
    pub filters: Vec<Filters>,
    /// What else the report should hold.
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// The filters of a demixing, for samples from `first_sample` on: y = W x, images = A y.
#[derive(Clone, Debug)]
pub struct Filters {
    /// Where the block begins.
    pub first_sample: usize,
    /// W, (bins, sources, channels); a single bin where gains are the same at all frequencies.
    pub demixing: Array3<Complex<f64>>,
    /// From the outputs to their images, (bins, channels, sources).
    pub images: Array3<Complex<f64>>,
}

/// Where the time went, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// The short-time Fourier transform.
    pub stft: f64,
    /// The method itself.
    pub separate: f64,
    /// Masks and the inverse transform.
    pub synthesis: f64,
}

/// V ~ W H with the source of each component.
#[derive(Clone, Debug)]
pub struct Factors {
    /// W, H, their start and the cost.
    pub factorization: Factorization<f32>,
    /// Source of each component.
    pub source_of: Vec<usize>,
    /// q of V = |X|^q.
    pub exponent: f64,
    /// p of the masks (W_s H_s)^p / sum (W_s H_s)^p.
    pub mask_exponent: f64,
}

/// A separation, complete in memory.
#[derive(Clone, Debug)]
pub struct Separation {
    /// The sources.
    pub sources: Vec<Source>,
    /// The rest.
    pub outcome: Outcome,
}

/// A separation that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum SeparationError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The transform.
    #[error(transparent)]
    Stft(#[from] StftError),
    /// The factorisation.
    #[error(transparent)]
    Nmf(#[from] NmfError),
    /// The demixing.
    #[error(transparent)]
    Spatial(SpatialError),
    /// The input.
    #[error(
        "channel {channel} has {count} samples that are not finite, the first at {seconds:.3} s: repair them first"
    )]
    NotFinite {
        /// Counted from 1.
        channel: usize,
        /// How many.
        count: usize,
        /// Where the first is.
        seconds: f64,
    },
    /// What was asked for does not fit together.
    #[error("{0}")]
    Request(String),
    /// The caller asked for it.
    #[error("stopped on request")]
    Cancelled,
    /// A source could not be taken by the caller.
    #[error(transparent)]
    Sink(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Cancelled> for SeparationError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl From<SpatialError> for SeparationError {
    fn from(error: SpatialError) -> Self {
        match error {
            SpatialError::Cancelled(cancelled) => cancelled.into(),
            other => Self::Spatial(other),
        }
    }
}

impl SeparationError {
    /// Whether the caller's watch ended the work.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Nmf(NmfError::Cancelled(_)))
    }

    /// Whether other settings would help, whatever the input holds.
    pub fn is_wrong_use(&self) -> bool {
        match self {
            Self::Setting(_) => true,
            Self::Stft(error) => !matches!(error, StftError::Empty),
            Self::Spatial(error) => {
                !matches!(error, SpatialError::Empty { .. } | SpatialError::NotFinite { .. })
            }
            Self::Nmf(error) => matches!(error, NmfError::Setting(_) | NmfError::TooFewComponents { .. }),
            _ => false,
        }
    }
}

/// Takes one source after another.
pub type SourceSink<'a> = dyn FnMut(Source) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// A method with its settings; state lives in the run, so several threads may share one.
pub trait Separator: Send + Sync {
    /// Separates, handing over each source as soon as it is made, so that all of them never stand in memory at once.
    ///
    /// # Errors
    /// Settings or input that do not fit, cancelling, and what `sink` returns.
    fn separate_into(
        &self,
        mixture: &Waveform,
        watch: &mut dyn Watch,
        sink: &mut SourceSink<'_>,
    ) -> Result<Outcome, SeparationError>;

    /// The names of the sources, in the order in which they come.
    fn source_names(&self) -> Vec<String>;

    /// Whether [`Outcome::filters`] will hold something.
    fn has_filters(&self) -> bool {
        false
    }

    /// Whether it finds at most as many sources as there are channels.
    fn is_limited_by_channels(&self) -> bool {
        false
    }

    /// The most samples of a recording of so many that are worked on at once: what bounds the memory of spectrograms.
    fn longest_block(&self, n_samples: usize, sample_rate: u32) -> usize {
        let _ = sample_rate;
        n_samples
    }

    /// The transform of a recording of so many samples, where the settings leave it open.
    fn transform_of(&self, n_samples: usize, sample_rate: u32) -> Option<StftSettings> {
        let _ = (n_samples, sample_rate);
        None
    }

    /// How many complex spectrograms of one channel stand in memory at once, for an input of so many channels.
    fn spectrograms_held(&self, n_channels: usize) -> usize {
        n_channels + 1 // the mixture, and the factorised spectrogram in two layouts
    }

    /// All settings with their values, for reports.
    fn settings(&self) -> serde_json::Map<String, serde_json::Value>;

    /// Separates in memory.
    ///
    /// # Errors
    /// As [`Separator::separate_into`].
    fn separate(&self, mixture: &Waveform, watch: &mut dyn Watch) -> Result<Separation, SeparationError> {
        let mut sources = Vec::new();
        let outcome = self.separate_into(mixture, watch, &mut |source| {
            sources.push(source);
            Ok(())
        })?;
        Ok(Separation { sources, outcome })
    }
}

/// Refuses a mixture with samples that no method can use.
pub(crate) fn check_mixture(mixture: &Waveform) -> Result<(), SeparationError> {
    if mixture.n_samples() == 0 || mixture.n_channels() == 0 {
        return Err(StftError::Empty.into());
    }
    for (channel, samples) in mixture.samples.outer_iter().enumerate() {
        let bad = |x: &&f32| !x.is_finite();
        if let Some(first) = samples.iter().position(|x| !x.is_finite()) {
            return Err(SeparationError::NotFinite {
                channel: channel + 1,
                count: samples.iter().filter(bad).count(),
                seconds: first as f64 / f64::from(mixture.sample_rate),
            });
        }
    }
    Ok(())
}
