//! Isolated recordings to a dictionary file.

use std::path::{Path, PathBuf};

use demix_files::FileError;
use demix_files::atomic::{check_output_folder, same_file};
use demix_files::audio::{self, ReadOptions};
use demix_signal::Watch;
use demix_signal::settings::Settings as _;

use super::PipelineError;
use crate::dictionary::{Learned, learn};
use crate::mono::NmfMethodSettings;

/// Learns the dictionary `name` from `inputs` and writes it to `output`.
///
/// `settings` are those of the method `nmf`, by name; its transform, exponent and factorisation are used.
///
/// # Errors
/// One line that names the file or the setting.
pub fn dictionary(
    name: &str,
    inputs: &[PathBuf],
    settings: &[(String, String)],
    read: &ReadOptions,
    output: &Path,
    overwrite: bool,
    watch: &mut dyn Watch,
) -> Result<Learned, PipelineError> {
    let of = |e| PipelineError::of(output, e);
    let mut all = NmfMethodSettings::default();
    for (setting, value) in settings {
        all.set(setting, value).map_err(|e| PipelineError::WrongUse(e.to_string()))?;
    }
    if name.trim().is_empty() {
        return Err(PipelineError::WrongUse(
            "--name is empty: name the source that the dictionary stands for".into(),
        ));
    }
    if let Some(input) = inputs.iter().find(|input| same_file(input, output)) {
        let input = input.display();
        return Err(PipelineError::WrongUse(format!(
            "{input} is an input and would be written: choose another -o"
        )));
    }
    if output.is_dir() {
        return Err(FileError::IsFolder { path: output.to_path_buf() }.into());
    }
    if output.exists() && !overwrite {
        let output = output.display();
        return Err(PipelineError::Request(format!("{output} exists: add --overwrite to replace it")));
    }
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new_folders = check_output_folder(folder)?;
    let mut recordings = Vec::new();
    for input in inputs {
        recordings.push((input.display().to_string(), audio::read(input, read)?.waveform));
    }
    let learned =
        learn(name, &recordings, &all.stft, all.sound.spectrum_exponent, &all.nmf, watch).map_err(of)?;
    learned.dictionary.to_file().write(output)?;
    drop(new_folders);
    Ok(learned)
}
