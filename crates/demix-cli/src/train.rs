//! `demix train`: what can be typed, and what is said of the result.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use demix::pipeline::separate::read_settings;
use demix::pipeline::train::{TrainFor, TrainRequest, Trained, TrainingSettings, train as run};
use demix::signal::settings::{SettingValue as _, Settings as _};
use serde_json::json;

use crate::arguments::pair;
use crate::commands::{describe, wrong_use};
use crate::progress::Reporter;

#[derive(Args)]
pub struct Train {
    /// Songs with stems, in the shape of DSD100 (Sources/Dev/SONG/bass.wav) or MUSDB18 (train/SONG/bass.wav).
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The source to learn: the name of its stems, without the ending.
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// The network; learning curves (.curves.csv, .curves.png) and state (.state) go beside it.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// The method that will use it, which decides the loss; one network serves idlma, g-pop-idlma, dnn-wf and fscm-dnn.
    #[arg(long = "for", default_value = "idlma", value_name = "METHOD", value_parser = method)]
    pub method: TrainFor,
    /// Degrees of freedom: of t-idlma; of NMF in t-pop-idlma, where one network for all is trained without it.
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub nu: Option<f64>,
    /// Go on from the state, as if the training had never stopped.
    #[arg(long)]
    pub resume: bool,
    /// A setting, listed below.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Settings from a TOML file; --set wins.
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
    /// Seed of all random numbers: weights, examples, the choice of validation songs [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Replace existing files, and begin anew where there is a state.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
}

/// Below the options: examples, and every setting.
pub fn after_help() -> String {
    let settings: String = TrainingSettings::table().iter().map(describe).collect();
    format!(
        "\
Examples:
  demix train --data DSD100 --source bass -o bass.safetensors
  demix train --data DSD100 --source bass -o bass.safetensors --resume --set epochs=1000
  demix train --data musdb18 --source vocals -o vocals.safetensors \\
    --for t-idlma --nu 500 --set width=2048

Settings (--set):
{settings}"
    )
}

fn method(text: &str) -> Result<TrainFor, String> {
    TrainFor::parse(text)
}

pub fn train(options: &Train, reporter: &Reporter) -> Result<ExitCode> {
    let mut settings = match &options.settings {
        Some(path) => read_settings(path)?.1,
        None => Vec::new(),
    };
    settings.extend(options.set.iter().cloned());
    if let Some(seed) = options.seed {
        settings.push(("seed".into(), seed.to_string()));
    }
    if options.source.trim().is_empty() {
        return Err(wrong_use("--source is empty: name the stems to learn, as bass"));
    }
    let request = TrainRequest {
        data: options.data.clone(),
        source: options.source.clone(),
        output: options.output.clone(),
        method: options.method,
        nu: options.nu,
        settings,
        resume: options.resume,
        overwrite: options.overwrite,
    };
    let done = {
        let mut follower = reporter.follow(&options.source);
        run(&request, &mut |text| reporter.warn(text), &mut follower)?
    };
    let shown = |path: &PathBuf| path.display().to_string();
    reporter.event(&json!({ "event": "done", "file": shown(&done.output),
        "files": done.beside.iter().map(shown).collect::<Vec<_>>(), "epoch": done.epoch,
        "si_sdr_improvement": done.improvement, "stopped": done.stopped, "seconds": done.seconds,
        "steps": done.steps, "seconds_of": { "examples": done.times.examples.as_secs_f64(),
            "forward": done.times.forward.as_secs_f64(), "loss": done.times.loss.as_secs_f64(),
            "backward": done.times.backward.as_secs_f64(), "optimizer": done.times.optimizer.as_secs_f64() },
        "log": done.log }));
    reporter.say(&summary(options, &done));
    Ok(ExitCode::SUCCESS)
}

fn summary(options: &Train, done: &Trained) -> String {
    let [table, picture, state] = &done.beside;
    let judged = match done.improvement {
        Some(db) => format!("{db:+.2} dB SI-SDR on validation mixtures"),
        None => "not judged".into(),
    };
    let why = if done.stopped == "patience" { "none after it was better" } else { "as many as allowed" };
    format!(
        "{}: {} for {}, epoch {} of {} ({why}), {judged}; {:.0} s\n  curves: {}, {}\n  to go on: --resume ({})",
        done.output.display(),
        options.source,
        options.method,
        done.epoch,
        done.record.epochs.len(),
        done.seconds,
        table.display(),
        picture.display(),
        state.display(),
    )
}
