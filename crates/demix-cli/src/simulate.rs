//! `demix simulate`: what can be typed, and what is said of the scene.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use demix::pipeline::simulate::{Place, RoomScene, Simulation, simulate as make};
use demix::room::{MixOptions, RoomSettings};
use demix::signal::settings::Settings as _;
use serde_json::{Value, json};

use crate::arguments::{Format, at_least_one, pair};
use crate::commands::{describe, write_format};
use crate::progress::Reporter;

#[derive(Args)]
pub struct Simulate {
    /// Dry sources, a file of one channel each.
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<PathBuf>,
    /// Folder for mixture, images and scene.json.
    #[arg(long, short, default_value = "scene", value_name = "DIR")]
    pub output: PathBuf,
    /// Sides of the room in m: to the right, to the front, up [default: 6,4.4,2.5]
    #[arg(long, value_name = "X,Y,Z", conflicts_with_all = ["rir", "gains"])]
    pub room: Option<String>,
    /// Reverberation time in seconds, or seven for the octave bands from 125 Hz; 0 for none [default: 0.3]
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["rir", "gains"])]
    pub t60: Option<String>,
    /// Instead of --t60: share of the energy that walls absorb, one for all or six for left, right, back, front, floor,
    /// ceiling; or a file of these rows x seven octave bands.
    #[arg(long, value_name = "NUMBERS|FILE", conflicts_with_all = ["rir", "gains", "t60"])]
    pub absorption: Option<String>,
    /// In place of a room: measured responses, for each source a file with a channel for each microphone.
    #[arg(long, num_args = 1.., value_name = "FILE", conflicts_with = "gains")]
    pub rir: Vec<PathBuf>,
    /// In place of a room: a table of gains, microphones (rows) x sources (columns), as CSV or JSON.
    #[arg(long, value_name = "FILE")]
    pub gains: Option<PathBuf>,
    /// Microphones: line:M:SPACING, circle:M:RADIUS (in m, or 5.66cm), or a file of x,y,z around the centre
    /// [default: a line with as many microphones as sources, 5.66 cm apart]
    #[arg(long, value_name = "ARRAY", conflicts_with_all = ["rir", "gains"])]
    pub array: Option<String>,
    /// Centre of the array in m [default: 0.52, 0.36, 0.48 of the sides]
    #[arg(long, value_name = "X,Y,Z", value_parser = point, conflicts_with_all = ["rir", "gains"])]
    pub centre: Option<[f64; 3]>,
    /// Degrees from broadside of each source, positive to the right [default: evenly from -50 to 50]
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = number, allow_hyphen_values = true,
        conflicts_with_all = ["rir", "gains", "positions"])]
    pub angles: Vec<f64>,
    /// Distance of the sources from the centre in m, one for all or one each [default: 2]
    #[arg(long, value_name = "M", value_delimiter = ',', value_parser = number, allow_hyphen_values = true,
        conflicts_with_all = ["rir", "gains", "positions"])]
    pub distance: Vec<f64>,
    /// Instead of angles: a file with x,y,z in the room (m) for each source.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rir", "gains"])]
    pub positions: Option<PathBuf>,
    /// A scene of the literature for two or three sources: 2 m, T60 300 ms, microphones 5.66 cm apart, at -50,50 or
    /// -50,0,50 degrees (1), -30,70 or -70,-10,40 degrees (2); what else is given wins.
    #[arg(long, value_name = "NAME", value_parser = ["pop-idlma-1", "pop-idlma-2"], conflicts_with_all = ["rir", "gains"])]
    pub preset: Option<String>,
    /// Levels of the images relative to each other in dB; the first source keeps its own [default: all keep their own]
    #[arg(long, value_name = "DB,DB", value_delimiter = ',', value_parser = number, allow_hyphen_values = true)]
    pub levels: Vec<f64>,
    /// White noise at every microphone, so many dB below the sum of the images [default: none]
    #[arg(long, value_name = "DB", value_parser = number, allow_hyphen_values = true)]
    pub snr: Option<f64>,
    /// Seed of the noise.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Channel, counted from 1, of sources that have several; without it they are refused.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub channel: Option<usize>,
    /// Resample everything to this rate; without it different rates are refused.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(1000..=768_000))]
    pub rate: Option<u32>,
    /// End with the longest source, not with its reverberation.
    #[arg(long)]
    pub cut_tail: bool,
    /// Write the responses, too, as rir-1.wav...
    #[arg(long)]
    pub write_rirs: bool,
    /// A setting of the room, listed below.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair, conflicts_with_all = ["rir", "gains"])]
    pub set: Vec<(String, String)>,
    #[command(flatten)]
    pub format: Format,
    /// Replace existing files.
    #[arg(long)]
    pub overwrite: bool,
}

/// Below the options: examples, and every setting of the room.
pub fn after_help() -> String {
    let settings: String = RoomSettings::table().iter().map(describe).collect();
    format!(
        "\
Examples:
  demix simulate anna.flac ben.flac --t60 0.15 -o scene
  demix simulate a.wav b.wav c.wav --preset pop-idlma-2 --snr 30
  demix simulate a.wav b.wav --rir at-a.wav at-b.wav
  demix simulate a.wav b.wav --gains mix.csv

Settings of the room (--set):
{settings}"
    )
}

impl Simulate {
    fn simulation(&self) -> Simulation {
        let given = |values: &Vec<f64>| (!values.is_empty()).then(|| values.clone());
        let place = match &self.gains {
            Some(path) => Place::Gains(path.clone()),
            None if !self.rir.is_empty() => Place::Responses(self.rir.clone()),
            None => {
                let flags = [("room", &self.room), ("t60", &self.t60)];
                let flags = flags.into_iter().filter_map(|(name, value)| Some((name.into(), value.clone()?)));
                Place::Room(Box::new(RoomScene {
                    settings: flags.chain(self.set.iter().cloned()).collect(),
                    absorption: self.absorption.clone(),
                    preset: self.preset.clone(),
                    array: self.array.clone(),
                    centre: self.centre,
                    angles: given(&self.angles),
                    distance: given(&self.distance),
                    positions: self.positions.clone(),
                }))
            }
        };
        Simulation {
            sources: self.sources.clone(),
            place,
            channel: self.channel,
            rate: self.rate,
            mix: MixOptions {
                levels: given(&self.levels),
                snr: self.snr,
                seed: self.seed,
                cut_tail: self.cut_tail,
            },
            write_rirs: self.write_rirs,
            folder: self.output.clone(),
            format: write_format(&self.format),
            overwrite: self.overwrite,
        }
    }
}

pub fn simulate(options: &Simulate, reporter: &Reporter) -> Result<ExitCode> {
    let done = {
        let mut follower = reporter.follow("simulate");
        make(&options.simulation(), &mut follower)?
    };
    for warning in &done.warnings {
        reporter.warn(warning);
    }
    let files: Vec<String> = done.files.iter().map(|file| file.display().to_string()).collect();
    reporter.event(&json!({ "event": "done", "folder": options.output.display().to_string(), "files": files,
        "scene": done.scene, "warnings": done.warnings }));
    reporter.say(&summary(options, &done.scene));
    Ok(ExitCode::SUCCESS)
}

/// What was made, in a few lines.
fn summary(options: &Simulate, scene: &Value) -> String {
    let list = |value: &Value| {
        let numbers: Vec<String> = value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .map(|x| format!("{x}"))
            .collect();
        numbers.join(" x ")
    };
    let n_sources = scene["sources"].as_array().map_or(0, Vec::len);
    let seconds = scene["samples"].as_f64().unwrap_or(0.0) / scene["sample_rate"].as_f64().unwrap_or(1.0);
    let mut text = format!(
        "{}: mixture of {n_sources} source{} at {} microphone{}, {seconds:.1} s at {} Hz",
        options.output.display(),
        if n_sources == 1 { "" } else { "s" },
        scene["channels"],
        if scene["channels"] == 1 { "" } else { "s" },
        scene["sample_rate"],
    );
    let room = &scene["room"];
    if room.is_object() {
        text += &format!("\n  room of {} m", list(&room["size"]));
        if let Some([asked]) = room["t60_asked"].as_array().map(Vec::as_slice) {
            text += &format!(", T60 {asked} s asked for");
        }
    }
    if let Some(measured) = scene["t60_measured"].as_f64() {
        text += &format!("{} {measured:.3} s measured (T30)", if room.is_object() { "," } else { "\n  T60" });
    }
    text
}

fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err("finite numbers with commas between them were expected".into()),
    }
}

fn point(text: &str) -> Result<[f64; 3], String> {
    let numbers: Result<Vec<f64>, String> = text.split(',').map(number).collect();
    let numbers = numbers?;
    let n = numbers.len();
    numbers.try_into().map_err(|_| format!("3 numbers X,Y,Z were expected, {n} are given"))
}
