//! Separated sources to one mixture again.

use std::path::{Path, PathBuf};

use demix_files::FileError;
use demix_files::atomic::{check_output_folder, same_file};
use demix_files::audio::{self, ReadOptions, WriteFormat, WriteReport};
use demix_signal::Waveform;
use serde_json::Value;

use super::PipelineError;

/// The sources in a folder, by name: as its `report.json` or `scene.json` lists them, or all audio files by their names.
///
/// # Errors
/// A folder without sources; a report that names files which are not there.
pub fn sources(folder: &Path) -> Result<Vec<(String, PathBuf)>, PipelineError> {
    let report = folder.join("report.json");
    if report.is_file() {
        let value = json(&report)?;
        let named = |source: &Value| {
            Some((source["name"].as_str()?.to_string(), folder.join(source["file"].as_str()?)))
        };
        let found: Vec<_> = value["sources"].as_array().into_iter().flatten().filter_map(named).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let scene = folder.join("scene.json");
    if scene.is_file() {
        // the images and the noise, not their mixture
        let value = json(&scene)?;
        let images = value["sources"].as_array().into_iter().flatten().map(|source| &source["image"]);
        let files = images.chain([&value["noise"]]).filter_map(Value::as_str).map(|file| folder.join(file));
        let found: Vec<_> = files.map(|file| (stem(&file), file)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let files = super::separate::expand_inputs(&[folder.to_path_buf()])?;
    Ok(files.into_iter().map(|file| (stem(&file), file)).collect())
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn json(path: &Path) -> Result<Value, PipelineError> {
    let text = std::fs::read_to_string(path).map_err(|e| FileError::from_io(path, "read this file", e))?;
    serde_json::from_str(&text)
        .map_err(|e| PipelineError::Request(format!("{}: not a report: {e}", path.display())))
}

/// Refuses a name that promises another kind of file.
pub(super) fn check_ending(file: &Path, format: &WriteFormat) -> Result<(), PipelineError> {
    let kind = format.container.extension();
    let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_wav = kind == "wav" && ["wave", "rf64"].contains(&&*ending);
    if audio::has_known_ending(file) && ending != kind && !is_wav {
        return Err(PipelineError::WrongUse(format!(
            "{}: {} would be written there; let the name end in .{kind}, or say --format wav or --format flac",
            file.display(),
            kind.to_uppercase()
        )));
    }
    Ok(())
}

/// Adds the sources of `folder` with gains in dB (0 where none is given) and writes the sum.
///
/// # Errors
/// A gain for a source that is not there; sources that differ in rate, channels or length; files.
pub fn remix(
    folder: &Path,
    gains: &[(String, f64)],
    output: &Path,
    format: &WriteFormat,
    overwrite: bool,
) -> Result<WriteReport, PipelineError> {
    let sources = sources(folder)?;
    let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    for (name, _) in gains {
        if !names.contains(&name.as_str()) {
            return Err(PipelineError::WrongUse(format!(
                "--gain {name}: there is no such source; those in {} are {}",
                folder.display(),
                names.join(", ")
            )));
        }
    }
    if let Some((_, source)) = sources.iter().find(|(_, source)| same_file(source, output)) {
        return Err(PipelineError::WrongUse(format!(
            "{} is an input and would be written: choose another -o",
            source.display()
        )));
    }
    check_ending(output, format)?;
    if output.is_dir() {
        return Err(FileError::IsFolder { path: output.to_path_buf() }.into());
    }
    if output.exists() && !overwrite {
        return Err(PipelineError::Request(format!(
            "{} exists: add --overwrite to replace it",
            output.display()
        )));
    }
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new_folders = check_output_folder(parent)?;
    let mut sum: Option<Waveform> = None;
    let alike = |x: &Waveform| {
        let channels = x.n_channels();
        let plural = if channels == 1 { "" } else { "s" };
        format!("{channels} channel{plural} of {} samples at {} Hz", x.n_samples(), x.sample_rate)
    };
    for (name, path) in &sources {
        let mut source = audio::read(path, &ReadOptions::default())?.waveform;
        let gain = gains.iter().rev().find(|(other, _)| other == name).map_or(0.0, |(_, db)| *db);
        let factor = 10f64.powf(gain / 20.0) as f32;
        if factor != 1.0 {
            source.samples *= factor;
        }
        sum = Some(match sum {
            None => source,
            Some(mut sum) => {
                if (sum.samples.dim(), sum.sample_rate) != (source.samples.dim(), source.sample_rate) {
                    return Err(PipelineError::Request(format!(
                        "{} has {}, {} has {}: sources of one recording are alike; take out what is none of them",
                        sources[0].1.display(),
                        alike(&sum),
                        path.display(),
                        alike(&source)
                    )));
                }
                sum.samples += &source.samples;
                sum
            }
        });
    }
    let sum = sum.ok_or_else(|| PipelineError::Request(format!("{}: no source", folder.display())))?;
    let written = audio::write(output, &sum, format)?;
    drop(new_folders);
    Ok(written)
}
