//! The demo, written to a folder.

use std::path::Path;

use demix_files::atomic::check_output_folder;
use demix_files::audio::{self, SampleKind, WriteFormat};
use demix_files::{FileError, report};
use demix_signal::Watch;

use super::PipelineError;
use crate::demo::{DemoContent, DemoResult, DemoSettings, run};

/// Makes the demo and writes sound, pictures and `index.html` into `folder`.
///
/// # Errors
/// A folder that cannot be written or has a page already (unless `overwrite`); cancelling.
pub fn demo(
    settings: &DemoSettings,
    folder: &Path,
    overwrite: bool,
    watch: &mut dyn Watch,
) -> Result<DemoResult, PipelineError> {
    let page = folder.join("index.html");
    if page.exists() && !overwrite {
        return Err(PipelineError::Request(format!(
            "{} exists: add --overwrite to replace it, or choose another folder with -o",
            page.display()
        )));
    }
    let new_folders = check_output_folder(folder)?;
    let result = run(settings, watch).map_err(|e| {
        if e.is_cancelled() { PipelineError::Cancelled } else { PipelineError::Request(e.to_string()) }
    })?;
    // what browsers play everywhere
    let format = WriteFormat { samples: SampleKind::Int16, ..WriteFormat::default() };
    for file in &result.files {
        let path = folder.join(&file.path);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|e| FileError::from_io(parent, "make this folder", e))?;
        match &file.content {
            DemoContent::Sound(waveform) => {
                audio::write(&path, waveform, &format)?;
            }
            DemoContent::Bytes(bytes) => report::write_bytes(&path, bytes)?,
        }
    }
    drop(new_folders);
    Ok(result)
}
