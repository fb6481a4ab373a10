//! What a file holds.

use std::path::Path;

use demix_files::dictionary_file::DictionaryFile;
use demix_files::{FileError, FileKind, audio, identify};
use demix_nn::Network;
use demix_signal::settings::Settings as _;
use serde_json::{Value, json};

use super::PipelineError;

/// What is known of a file, by name.
///
/// # Errors
/// A file that cannot be read, or is none of ours.
pub fn info(path: &Path) -> Result<Value, PipelineError> {
    let value = match identify(path)? {
        FileKind::Audio => {
            let mut value = json!({ "kind": "audio" });
            merge(&mut value, serde_json::to_value(audio::info(path)?).unwrap_or_default());
            value
        }
        FileKind::Dictionary => {
            let file = DictionaryFile::read(path)?;
            json!({
                "kind": "dictionary",
                "name": file.name,
                "components": file.components.ncols(),
                "bins": file.components.nrows(),
                "sample_rate": file.sample_rate,
                "fft": file.stft.fft,
                "window_length": file.stft.window_length,
                "hop": file.stft.hop,
                "window": file.stft.window,
                "padding": file.stft.padding,
                "spectrum_exponent": file.exponent,
                "trained_on": file.trained_on,
                "demix": file.demix_version,
            })
        }
        FileKind::Network => network(path)?,
        FileKind::Json => {
            let text =
                std::fs::read_to_string(path).map_err(|e| FileError::from_io(path, "read this file", e))?;
            let report: Value = serde_json::from_str(&text)
                .map_err(|e| PipelineError::Request(format!("{}: not JSON: {e}", path.display())))?;
            let mut value = json!({ "kind": "report" });
            for key in ["demix", "method", "seed", "iterations", "stopped", "residual_db"] {
                value[key] = report[key].clone();
            }
            value["sources"] = report["sources"].as_array().map_or(0, Vec::len).into();
            value
        }
        FileKind::Settings => {
            let (method, settings) = super::separate::read_settings(path)?;
            let mut value = json!({ "kind": "settings", "method": method });
            for (name, setting) in settings {
                value[name] = setting.into();
            }
            value
        }
        _ => {
            return Err(PipelineError::Request(format!(
                "{}: is neither audio nor a dictionary, a network, a report or settings; give a file that demix reads or writes",
                path.display()
            )));
        }
    };
    Ok(value)
}

/// A checkpoint, without its learning curve.
fn network(path: &Path) -> Result<Value, PipelineError> {
    let bytes = std::fs::read(path).map_err(|e| FileError::from_io(path, "read this file", e))?;
    let network = Network::from_bytes(&bytes)
        .map_err(|e| PipelineError::Request(format!("{}: {e}", path.display())))?;
    let header = network.header();
    let mut value = json!({
        "kind": "network",
        "source": header.source,
        "loss": header.loss.to_string(),
        "sample_rate": header.sample_rate,
        "version": header.version,
    });
    merge(&mut value, Value::Object(header.stft.values()));
    merge(&mut value, Value::Object(header.network.values()));
    for key in ["for", "epoch", "epochs", "stopped", "si_sdr_improvement", "validation_loss"] {
        value[key] = header.log[key].clone();
    }
    for key in ["training_songs", "validation_songs", "demix"] {
        value[key] = header.log[key].clone();
    }
    Ok(value)
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
