//! [`Header`]: all that a checkpoint says of itself.

use demix_signal::settings::Settings;
use demix_signal::{Stft, StftSettings};
use serde_json::{Map, Value};

use crate::layers;
use crate::{Loss, NetworkSettings, NnError};

/// The version of the format that this crate writes and reads: names and order of the layers, the features of the
/// input, the meaning of the outputs.
pub const VERSION: u32 = 1;

/// What a network is, what it was trained for and on.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Its form.
    pub network: NetworkSettings,
    /// The transform of the magnitudes, every length filled in ([`StftSettings::for_rate`]).
    pub stft: StftSettings,
    /// Of the recordings, in Hz.
    pub sample_rate: u32,
    /// What it finds: `vocals`, `bass`, ...
    pub source: String,
    /// What training made small.
    pub loss: Loss,
    /// Whatever else is worth knowing: songs, epochs, scores.
    pub log: Value,
}

impl Header {
    /// Bins of the magnitudes: fft/2 + 1; 0 while `fft` is not filled in.
    pub fn n_bins(&self) -> usize {
        self.stft.fft.map_or(0, |fft| fft / 2 + 1)
    }

    /// Numbers that training finds: the weights of all layers.
    pub fn n_weights(&self) -> u64 {
        layers::count(self)
    }

    /// Checks that such a network can be built.
    ///
    /// # Errors
    /// A setting out of its range, another version, a transform that is not filled in or cannot be inverted, a loss with
    /// wrong numbers, a network with more weights than memory is asked for.
    pub fn check(&self) -> Result<(), NnError> {
        if self.version != VERSION {
            return Err(NnError::Header(format!(
                "the network has format version {}, this program knows version {VERSION}",
                self.version
            )));
        }
        self.network.check()?;
        // the transform itself tells what cannot be: lengths left at auto, a window longer than it, gaps between windows
        Stft::<f32>::new(&self.stft)
            .map_err(|problem| NnError::Header(format!("the network's transform: {problem}")))?;
        if self.sample_rate == 0 {
            return Err(NnError::Header("the network's sample rate is 0 Hz: at least 1 is needed".into()));
        }
        self.loss.check().map_err(NnError::Header)?;
        let weights = layers::count(self);
        if weights > layers::MOST_WEIGHTS {
            return Err(NnError::Header(format!(
                "the network would have {weights} weights, {} are possible: take a smaller width or the input \
                 'bands'",
                layers::MOST_WEIGHTS
            )));
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::json!({
            "version": self.version,
            "network": self.network.values(),
            "stft": self.stft.values(),
            "sample_rate": self.sample_rate,
            "source": self.source,
            "loss": self.loss.to_string(),
            "log": self.log,
        })
    }

    pub(crate) fn from_json(json: Value) -> Result<Self, NnError> {
        let mut fields = object(json, "header")?;
        // the version first: another one may have other fields
        let version = whole(take(&mut fields, "version")?, "version")?;
        if version != VERSION {
            return Err(NnError::Checkpoint(format!(
                "the checkpoint has format version {version}, this program knows version {VERSION}"
            )));
        }
        let header = Self {
            version,
            network: settings(take(&mut fields, "network")?, "network")?,
            stft: settings(take(&mut fields, "stft")?, "stft")?,
            sample_rate: whole(take(&mut fields, "sample_rate")?, "sample_rate")?,
            source: text(take(&mut fields, "source")?, "source")?,
            loss: Loss::parse(&text(take(&mut fields, "loss")?, "loss")?)
                .map_err(|problem| NnError::Checkpoint(format!("the checkpoint's loss: {problem}")))?,
            log: take(&mut fields, "log")?,
        };
        nothing_left(&fields, "header")?;
        header.check()?;
        Ok(header)
    }
}

/// The fields of a JSON object.
pub(crate) fn object(json: Value, what: &str) -> Result<Map<String, Value>, NnError> {
    match json {
        Value::Object(fields) => Ok(fields),
        _ => Err(NnError::Checkpoint(format!("the checkpoint's {what} is not a JSON object"))),
    }
}

/// Takes a field out.
pub(crate) fn take(fields: &mut Map<String, Value>, name: &str) -> Result<Value, NnError> {
    let missing = || NnError::Checkpoint(format!("the checkpoint does not say its '{name}'"));
    fields.shift_remove(name).ok_or_else(missing)
}

/// Refuses what was not taken out.
pub(crate) fn nothing_left(fields: &Map<String, Value>, what: &str) -> Result<(), NnError> {
    match fields.keys().next() {
        None => Ok(()),
        Some(name) => Err(NnError::Checkpoint(format!(
            "the checkpoint's {what} has '{name}', which version {VERSION} does not know"
        ))),
    }
}

fn text(json: Value, name: &str) -> Result<String, NnError> {
    match json {
        Value::String(text) => Ok(text),
        _ => Err(NnError::Checkpoint(format!("the checkpoint's '{name}' is not a text"))),
    }
}

fn whole(json: Value, name: &str) -> Result<u32, NnError> {
    let number = json.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| NnError::Checkpoint(format!("the checkpoint's '{name}' is not a number of 32 bits")))
}

/// Settings as [`Settings::values`] writes them, every one of them there.
pub(crate) fn settings<S: Settings + Default>(json: Value, what: &str) -> Result<S, NnError> {
    let mut fields = object(json, what)?;
    let mut settings = S::default();
    for setting in S::table() {
        let text = match take(&mut fields, setting.name)? {
            Value::String(text) => text,
            value => value.to_string(),
        };
        settings
            .set(setting.name, &text)
            .map_err(|problem| NnError::Checkpoint(format!("the checkpoint's {what}: {problem}")))?;
    }
    nothing_left(&fields, what)?;
    Ok(settings)
}
