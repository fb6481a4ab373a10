//! `demix reproduce`: what can be typed, and what is said of the result.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use demix::pipeline::reproduce::{ProtocolSettings, ReproduceRequest, reproduce as run};
use demix::pipeline::separate::read_settings;
use demix::signal::settings::Settings as _;
use serde_json::json;

use crate::arguments::pair;
use crate::commands::describe;
use crate::progress::Reporter;

#[derive(Args)]
pub struct Reproduce {
    /// Songs with stems, in the shape of DSD100 (Sources/Dev/SONG/bass.wav) or MUSDB18 (train/SONG/bass.wav).
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Folder for networks, scores, tables and pictures; the same command goes on where it stopped.
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    /// A small version: few songs, small networks, minutes.
    #[arg(long)]
    pub quick: bool,
    /// Folders of measured responses, one for each number of microphones, with a file for each angle (az-050.wav);
    /// rooms are simulated without them.
    #[arg(long, num_args = 1.., value_name = "DIR")]
    pub responses: Vec<PathBuf>,
    /// A setting, listed below, or one of `demix train`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Settings from a TOML file; --set wins.
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
}

/// Below the options: examples, and the settings of the protocol.
pub fn after_help() -> String {
    let settings: String = ProtocolSettings::table().iter().map(describe).collect();
    format!(
        "\
Examples:
  demix reproduce --data DSD100 -o tables --quick
  demix reproduce --data DSD100 -o tables --set width=2048 --set input=linear --set output=relu

Settings (--set), beside those of 'demix train':
{settings}"
    )
}

pub fn reproduce(options: &Reproduce, reporter: &Reporter) -> Result<ExitCode> {
    let mut settings = match &options.settings {
        Some(path) => read_settings(path)?.1,
        None => Vec::new(),
    };
    settings.extend(options.set.iter().cloned());
    let request = ReproduceRequest {
        data: options.data.clone(),
        folder: options.output.clone(),
        responses: options.responses.clone(),
        quick: options.quick,
        settings,
    };
    let done = {
        let mut follower = reporter.follow("reproduce");
        run(&request, &mut |text| reporter.say(text), &mut follower)?
    };
    reporter.event(
        &json!({ "event": "done", "page": done.page.display().to_string(), "mixtures": done.n_mixtures }),
    );
    reporter.say(&format!(
        "{}\n{} mixtures; the page: {}",
        done.tables,
        done.n_mixtures,
        done.page.display()
    ));
    Ok(ExitCode::SUCCESS)
}
