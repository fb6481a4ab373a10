//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::evaluate::Evaluate;
use crate::reproduce::{self, Reproduce};
use crate::simulate::{self, Simulate};
use crate::train::{self, Train};

/// Heading of the options that all commands have.
const EVERYWHERE: &str = "Options of all commands";

/// Pulls sounds apart: separates a recording into its sources.
#[derive(Parser)]
#[command(name = "demix", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
First steps:
  demix demo                                          hear what it does, without a file
  demix separate song.flac --sources 3 --plots        separate a recording
  demix separate --help                               all that can be said about it")]
pub struct Arguments {
    /// No progress and no summary, only errors.
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Print events and results as JSON lines.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Number of threads [default: all processors]; results do not depend on it.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "N", value_parser = thread_count)]
    pub threads: Option<usize>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make sounds, separate them, show and play the result: needs no file and no network.
    #[command(after_help = "Example:\n  demix demo -o demo && open demo/index.html")]
    Demo(Demo),
    /// Separate recordings into their sources.
    #[command(after_help = "\
Examples:
  demix separate song.flac --sources 3 --plots
  demix separate song.wav --dictionary bass.dict --dictionary drums.dict
  demix separate song.wav --dictionary drums.dict --free rest=30
  demix separate left.wav right.wav --join -o out")]
    Separate(Box<Separate>),
    /// Make a test mixture: sources in a simulated room, through measured responses or gains.
    #[command(after_help = simulate::after_help())]
    Simulate(Box<Simulate>),
    /// List the methods, or all settings of one.
    #[command(after_help = "Examples:\n  demix methods\n  demix methods nmf")]
    Methods(Methods),
    /// Learn from isolated audio what a source sounds like.
    #[command(after_help = "Example:\n  demix dictionary drums1.wav drums2.wav --name drums -o drums.dict")]
    Dictionary(Dictionary),
    /// Train the network of one source on songs with stems.
    #[command(after_help = train::after_help())]
    Train(Box<Train>),
    /// Run the protocol of the PoP-IDLMA paper on songs with stems: networks, tables, pictures.
    #[command(after_help = reproduce::after_help())]
    Reproduce(Box<Reproduce>),
    /// Mix separated sources again, with other levels.
    #[command(
        after_help = "Example:\n  demix remix separated/song --gain vocals=-inf --gain drums=+3 -o karaoke.wav"
    )]
    Remix(Remix),
    /// Tell what a file holds: audio, a dictionary, network, report, scene, filters, settings.
    #[command(after_help = "Example:\n  demix info song.m4a drums.dict")]
    Info(Info),
    /// Score separated sources against the true ones.
    #[command(after_help = "\
Examples:
  demix evaluate --reference bass.wav drums.wav --mixture mix.wav \\
    --estimate out/source-1.wav out/source-2.wav
  demix evaluate --tracks out/nmf --tracks out/ilrma --reference-dir MUSDB18 -o scores")]
    Evaluate(Box<Evaluate>),
    /// Print completions for a shell.
    #[command(
        after_help = "Example:\n  demix completions bash > ~/.local/share/bash-completion/completions/demix"
    )]
    Completions(Completions),
}

#[derive(Args)]
pub struct Demo {
    /// Folder for sound, pictures and page.
    #[arg(long, short, default_value = "demix-demo", value_name = "DIR")]
    pub output: PathBuf,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Replace existing files.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args)]
pub struct Separate {
    /// Audio files (WAV, FLAC, MP3, Ogg Vorbis, AAC/M4A) or folders of them.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Folder for the results; each input gets a folder in it.
    #[arg(long, short, default_value = "separated", value_name = "DIR")]
    pub output: PathBuf,
    /// Method, or `auto`; `demix methods` lists them [default: auto]
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Number of sources [default: those of dictionaries and networks; else as many as channels, or as `auto` counts; 2
    /// for one channel]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub sources: Option<usize>,
    /// A setting of the method; `demix methods NAME` lists them.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Settings (and method) from a TOML file; --set wins.
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
    /// What a known source sounds like (`demix dictionary` learns it).
    #[arg(long, value_name = "FILE")]
    pub dictionary: Vec<PathBuf>,
    /// The network of a source (`demix train` makes it), for the methods that networks guide.
    #[arg(long, value_name = "NAME=FILE", value_parser = file_pair)]
    pub model: Vec<(String, PathBuf)>,
    /// An unknown source beside dictionaries and networks, with its number of components.
    #[arg(long, value_name = "NAME=K", value_parser = count_pair)]
    pub free: Vec<(String, usize)>,
    /// Take all inputs, of one channel each, as the channels of one recording.
    #[arg(long)]
    pub join: bool,
    /// Begin at this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub start: Option<f64>,
    /// Take so much, from there.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Write only this channel of every source, counted from 1.
    #[arg(long, value_name = "M", value_parser = at_least_one, allow_negative_numbers = true)]
    pub reference: Option<usize>,
    /// The true sources: scores, and what fewer iterations would have reached, go into the report (takes half the
    /// time of the separation more).
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub score_against: Vec<PathBuf>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub format: Format,
    /// Where each source goes in the output folder.
    #[arg(long, value_name = "TEMPLATE", default_value = "{track}/{stem}.{ext}")]
    pub filename: String,
    /// Write only this source and the sum of all others (as no_NAME).
    #[arg(long, value_name = "NAME")]
    pub two_stems: Option<String>,
    /// Draw pictures: spectrograms, factors, masks, cost, waveforms.
    #[arg(long)]
    pub plots: bool,
    /// Write the filters of a demixing method: demixing.npy, images.npy and filters.json, which explains them.
    #[arg(long)]
    pub filters: bool,
    /// Replace existing files.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args)]
pub struct Format {
    /// Format of sound files; FLAC holds 24 bits unless --int16.
    #[arg(long, value_enum, default_value = "wav")]
    pub format: Container,
    /// 24-bit integers instead of 32-bit floats.
    #[arg(long, conflicts_with = "int16")]
    pub int24: bool,
    /// 16-bit integers with dither instead of 32-bit floats.
    #[arg(long)]
    pub int16: bool,
    /// What to do with samples beyond full scale.
    #[arg(long, value_enum, default_value = "none", value_name = "MODE")]
    pub clip_mode: Clip,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Container {
    Wav,
    Flac,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Clip {
    /// Floats keep them, integers are limited and it is reported
    None,
    /// They are limited to full scale
    Clamp,
    /// All sources are divided by the largest peak
    Rescale,
}

#[derive(Args)]
pub struct Methods {
    /// Show the settings of this method.
    pub name: Option<String>,
}

#[derive(Args)]
pub struct Dictionary {
    /// Isolated audio of the source: files or folders.
    #[arg(required = true, value_name = "AUDIO")]
    pub inputs: Vec<PathBuf>,
    /// Name of the source.
    #[arg(long)]
    pub name: String,
    /// The dictionary file.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// A setting of the method nmf: `components`, `beta`, `fft`...
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Settings from a TOML file; --set wins.
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
    /// Begin each recording at this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub start: Option<f64>,
    /// Take so much of each recording.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub duration: Option<f64>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Replace an existing file.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args)]
pub struct Remix {
    /// A folder that `demix separate` wrote, or any folder of sources.
    pub folder: PathBuf,
    /// Gain of a source in dB; -inf mutes it [default: 0 for every source]
    #[arg(long, value_name = "NAME=DB", value_parser = gain, allow_hyphen_values = true)]
    pub gain: Vec<(String, f64)>,
    /// The mix.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub format: Format,
    /// Replace an existing file.
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Args)]
pub struct Info {
    /// Files of any kind that demix reads or writes.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().into(), value.trim().into()))
}

fn file_pair(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.trim().is_empty() && !file.is_empty() => {
            Ok((name.trim().into(), file.into()))
        }
        _ => Err("write NAME=FILE".into()),
    }
}

fn count_pair(text: &str) -> Result<(String, usize), String> {
    let (name, count) = pair(text).map_err(|_| "write NAME=K")?;
    let count = count.parse().map_err(|_| format!("'{count}' is not a number of components"))?;
    Ok((name, count))
}

fn gain(text: &str) -> Result<(String, f64), String> {
    let (name, db) = text.rsplit_once('=').ok_or("write NAME=DB")?;
    match db.trim().parse::<f64>() {
        Ok(db) if db < f64::INFINITY && !db.is_nan() => Ok((name.trim().into(), db)),
        _ => Err(format!("'{db}' is not a gain in dB (a number, or -inf)")),
    }
}

pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x >= 0.0 => Ok(x),
        _ => Err("a number of seconds, 0 or more, was expected".into()),
    }
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1 was expected".into()),
        Ok(n) => Ok(n),
    }
}

/// More threads than any machine has processors.
const MOST_THREADS: usize = 4096;

fn thread_count(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        n if n > MOST_THREADS => {
            Err(format!("at most {MOST_THREADS} are possible; leave it out to take all processors"))
        }
        n => Ok(n),
    }
}
