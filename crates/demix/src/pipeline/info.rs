//! What a file holds.

use std::path::Path;

use demix_files::dictionary_file::DictionaryFile;
use demix_files::{FileError, FileKind, audio, identify, npy};
use demix_nn::Network;
use demix_signal::settings::Settings as _;
use serde_json::{Value, json};

use super::{PipelineError, filters};
use crate::training::state::TrainingState;

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
        FileKind::Array => {
            let array = npy::describe(path)?;
            json!({ "kind": "array", "element": array.element, "shape": array.shape })
        }
        FileKind::Training => training(path)?,
        FileKind::Json => {
            let text =
                std::fs::read_to_string(path).map_err(|e| FileError::from_io(path, "read this file", e))?;
            let value = serde_json::from_str(&text)
                .map_err(|e| PipelineError::Request(format!("{}: not JSON: {e}", path.display())))?;
            of_json(&value)
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
                "{}: is neither audio nor a dictionary, network, training, array, report or settings; give a file that demix reads or writes",
                path.display()
            )));
        }
    };
    Ok(value)
}

/// What tells one JSON file of ours from another, what it is then called, and what is told of it (entries of entries by
/// paths).
const JSON_KINDS: [(&str, &str, &[&str]); 4] = [
    (
        "residual_db",
        "report",
        &["demix", "method", "seed", "iterations", "stopped", "residual_db", "warnings"],
    ),
    (
        "t60_octaves",
        "scene",
        &[
            "demix",
            "seed",
            "sample_rate",
            "channels",
            "samples",
            "preset",
            "snr",
            "room/size",
            "array/shape",
            "t60_measured",
            "warnings",
        ],
    ),
    (
        filters::FILES[0],
        "filters",
        &["sample_rate", "first_sample_of_block", "transform", filters::FILES[0], filters::FILES[1]],
    ),
    ("networks", "protocol", &["demix", "data", "responses"]),
];

/// A JSON file by what only it has.
fn of_json(content: &Value) -> Value {
    let known = JSON_KINDS.iter().find(|(mark, ..)| content.get(mark).is_some());
    let Some((_, kind, told)) = known else {
        let holds = match content {
            Value::Object(entries) => entries.keys().cloned().collect(),
            Value::Array(items) => vec![format!("{} items", items.len())],
            one => vec![one.to_string()],
        };
        return json!({ "kind": "JSON", "holds": holds });
    };
    let mut value = json!({ "kind": kind });
    for path in *told {
        if let Some(found) = content.pointer(&format!("/{path}")).filter(|found| !found.is_null()) {
            value[path.replace('/', "_")] = found.clone();
        }
    }
    if let Some(sources) = content["sources"].as_array() {
        value["sources"] = sources.len().into();
    }
    for part in ["stft", "settings"] {
        merge(&mut value, content[part].clone());
    }
    value
}

/// How far a training is.
fn training(path: &Path) -> Result<Value, PipelineError> {
    let done =
        TrainingState::read(path).map_err(|error| PipelineError::Request(error.to_string()))?.description;
    let best = done.best_epoch.and_then(|best| done.record.epochs.get(best - 1));
    let mut value = json!({
        "kind": "training",
        "source": done.source,
        "for": done.method,
        "nu": done.nu,
        "epochs_done": done.epochs,
        "batches_of_next_epoch": done.batches,
        "minutes": (done.seconds / 6.0).round() / 10.0,
        "best_epoch": done.best_epoch,
        "si_sdr_improvement": best.and_then(|row| row.improvement),
        "training_songs": done.training,
        "validation_songs": done.validation,
    });
    merge(&mut value, Value::Object(done.settings));
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
