//! The folder of results: the settings that its results were made with, which bind later runs.

use std::path::{Path, PathBuf};

use demix_files::report;
use demix_signal::settings::Settings as _;
use serde_json::{Map, Value};

use super::{ReproduceRequest, ReproduceSettings, networks};
use crate::pipeline::PipelineError;

/// The file of the settings.
const SETTINGS_FILE: &str = "settings.json";

/// More seeds and songs add results to those that are there; the cache costs memory alone.
const MAY_CHANGE: [&str; 7] = ["seeds", "songs", "triples", "conditions", "few_rows", "parts", "cache"];

/// These decide when a training ends, so they may change as long as none has ended.
const UNTIL_A_NETWORK_IS_FINISHED: [&str; 2] = ["epochs", "patience"];

/// Folders, of which the same one can be typed in many ways.
const FOLDERS: [&str; 2] = ["data", "responses"];

/// A folder whose results are of one kind.
pub struct Folder {
    path: PathBuf,
    now: Map<String, Value>,
    is_written: bool,
}

impl Folder {
    /// Refuses to mix results of different settings in one folder; writes nothing.
    ///
    /// # Errors
    /// Results that were made with other settings, or whose settings cannot be read.
    pub fn new(request: &ReproduceRequest, settings: &ReproduceSettings) -> Result<Self, PipelineError> {
        let responses: Vec<String> = request.responses.iter().map(|folder| canonical(folder)).collect();
        let mut now = settings.values();
        now.insert("data".into(), canonical(&request.data).into());
        now.insert("responses".into(), responses.into());
        let folder = Self { path: request.folder.clone(), now, is_written: false };
        // settings of nothing bind nobody
        let network = first_file(&networks::folder(&folder.path), networks::ENDING);
        if network.is_some() || first_file(&scores_folder(&folder.path), SCORES_ENDING).is_some() {
            folder.compare(network.as_deref())?;
        }
        Ok(folder)
    }

    fn compare(&self, network: Option<&Path>) -> Result<(), PipelineError> {
        let file = self.path.join(SETTINGS_FILE);
        if !file.exists() {
            return Ok(());
        }
        let refused = |why: String| {
            Err(PipelineError::Request(format!("{}: {why}; choose another folder", file.display())))
        };
        let before: Map<String, Value> = match serde_json::from_slice(&report::read_bytes(&file)?) {
            Ok(before) => before,
            Err(why) => return refused(format!("is no settings file ({why})")),
        };
        for (name, value) in &self.now {
            let old = before.get(name);
            let is_same = match old {
                Some(old) if FOLDERS.contains(&name.as_str()) => same_folders(old) == *value,
                _ => old == Some(value),
            };
            if is_same || MAY_CHANGE.contains(&name.as_str()) {
                continue;
            }
            let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
            let (old, value) = (old.map_or_else(|| "nothing".into(), plain), plain(value));
            match network {
                Some(network) if UNTIL_A_NETWORK_IS_FINISHED.contains(&name.as_str()) => {
                    return Err(PipelineError::Request(format!(
                        "{}: its training is finished with {name}={old}, so all of this folder have that, and \
                         {name}={value} is asked for: ask for {name}={old}, or choose another folder",
                        network.display()
                    )));
                }
                _ => return refused(format!("was made with {name}={old}, and {name}={value} is asked for")),
            }
        }
        Ok(())
    }

    /// Writes the settings, once: to be called when a result is kept.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn bind(&mut self) -> Result<(), PipelineError> {
        if !self.is_written {
            report::write_json(&self.path.join(SETTINGS_FILE), &self.now)?;
            self.is_written = true;
        }
        Ok(())
    }
}

/// Where the scores of mixtures are.
pub fn scores_folder(folder: &Path) -> PathBuf {
    folder.join("scores")
}

/// The ending of their files.
pub const SCORES_ENDING: &str = "json";

/// A path that is the same however it is typed; as it is typed where nothing is there.
pub fn canonical(path: &Path) -> String {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// One folder or several as [`canonical`] writes them, where they were kept as they were typed.
fn same_folders(kept: &Value) -> Value {
    match kept {
        Value::String(path) => canonical(Path::new(path)).into(),
        Value::Array(paths) => paths.iter().map(same_folders).collect(),
        other => other.clone(),
    }
}

/// The first file with an ending, if the folder is there and has one.
fn first_file(folder: &Path, ending: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|found| found == ending)).min()
}
