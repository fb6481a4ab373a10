//! Dry sources to a mixture as microphones hear it, with everything that it is made of.
//!
//! | room | holds |
//! | --- | --- |
//! | [`Place`] | a room, measured responses or gains |
//! | [`read_matrix`] | tables of gains, positions, absorption |

mod matrix;
mod place;

use std::path::{Path, PathBuf};

use demix_figure::{BarPlot, BarSeries, ScenePlot};
use demix_files::FileError;
use demix_files::atomic::{check_output_folder, same_file};
use demix_files::audio::{self, ClipMode, ReadOptions, WriteFormat, rescale_gain};
use demix_files::report;
use demix_room::{BAND_CENTRES, MixOptions, Mixture, decay, mix, octave_decay};
use demix_signal::{Progress, Watch, Waveform, resample};
use ndarray::{Array2, Axis};
use serde_json::{Map, Value, json};

pub use matrix::read_matrix;
pub use place::{Place, RoomScene};

use super::PipelineError;
use place::Scene;

/// What to simulate and where it goes.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Dry sound of one channel each.
    pub sources: Vec<PathBuf>,
    /// Where they sound.
    pub place: Place,
    /// The channel, from 1, to take of sources that have several; without it they are refused.
    pub channel: Option<usize>,
    /// Rate in Hz to which everything is resampled; without it different rates are refused.
    pub rate: Option<u32>,
    /// Levels, noise, seed, tail.
    pub mix: MixOptions,
    /// Whether the responses are written, too.
    pub write_rirs: bool,
    /// The folder of the results.
    pub folder: PathBuf,
    /// Format of the sound files.
    pub format: WriteFormat,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
}

/// What a simulation left.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// All files, the mixture first.
    pub files: Vec<PathBuf>,
    /// `scene.json`, as written.
    pub scene: Value,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
}

/// Simulates and writes `mixture`, `image-1`..., `noise`, `rir-1`..., `scene.json`, `scene.png`.
///
/// # Errors
/// A scene that cannot be; sources that cannot be read or do not fit together; outputs that exist or cannot be written.
pub fn simulate(what: &Simulation, watch: &mut dyn Watch) -> Result<Simulated, PipelineError> {
    let n_sources = what.sources.len();
    if n_sources == 0 {
        return Err(PipelineError::WrongUse("no source is given".into()));
    }
    if let Some(levels) = &what.mix.levels {
        place::count("levels", levels.len(), n_sources, "give one for each source, the first one included")?;
    }
    what.place.check(n_sources)?;
    let names = Names::new(what);
    names.check_free(what)?;
    let new_folders = check_output_folder(&what.folder)?;

    let (sources, mut warnings) = read_sources(what, watch)?;
    let sample_rate = sources[0].sample_rate;
    let scene = what.place.scene(n_sources, sample_rate, what.rate.is_some(), watch)?;
    warnings.extend(scene.warnings.iter().cloned());
    tell(watch, "mix", 0, 1)?;
    let mixed = mix(&sources, &scene.responses, &what.mix)?;
    warnings.extend(lengths(what, &sources, mixed.mixture.n_samples()));

    let mut written = Written::default();
    let format = match what.format.clip {
        // one gain for all, so that the images still sum
        ClipMode::Rescale => {
            let all = mixed.images.iter().chain(&mixed.noise).chain([&mixed.mixture]);
            WriteFormat { gain: rescale_gain(all), clip: ClipMode::None, ..what.format }
        }
        _ => what.format,
    };
    if format.gain != 1.0 {
        warnings.push(format!("--clip-mode rescale: everything was multiplied by {:.6}", format.gain));
    }
    let sounds = [&mixed.mixture].into_iter().chain(&mixed.images).chain(&mixed.noise);
    let total = names.sounds.len();
    for (i, (sound, path)) in sounds.zip(&names.sounds).enumerate() {
        tell(watch, "write", i, total)?;
        let dither_seed = what.mix.seed.wrapping_add(i as u64);
        let done = audio::write(path, sound, &WriteFormat { dither_seed, ..format })?;
        written.0.push(path.clone());
        if done.clipped_samples > 0 {
            warnings.push(format!(
                "{}: {} samples beyond full scale were clipped (peak {:.3}): write float32, or add --clip-mode rescale",
                path.display(),
                done.clipped_samples,
                done.peak
            ));
        }
    }
    for (response, path) in scene.responses.iter().zip(&names.responses) {
        let response = Waveform::new(response.mapv(|x| x as f32), sample_rate);
        audio::write(path, &response, &WriteFormat::default())?;
        written.0.push(path.clone());
    }
    let decays = Decays::measure(&scene, sample_rate);
    let value = describe(what, &sources, &scene, &mixed, &decays, &format, &names, &warnings);
    report::write_bytes(&names.picture, &picture(what, &scene, &decays, sample_rate).to_png())?;
    written.0.push(names.picture.clone());
    report::write_json(&names.scene, &value)?;
    written.0.clear();
    warnings.extend(names.leftovers(&what.folder));
    drop(new_folders);
    Ok(Simulated { files: names.all(), scene: value, warnings })
}

fn tell(watch: &mut dyn Watch, stage: &'static str, done: usize, total: usize) -> Result<(), PipelineError> {
    watch.progress(Progress { stage, done, total, cost: None }).map_err(|_| PipelineError::Cancelled)
}

/// The sources, one channel each, of one rate.
fn read_sources(
    what: &Simulation,
    watch: &mut dyn Watch,
) -> Result<(Vec<Waveform>, Vec<String>), PipelineError> {
    let mut sources: Vec<Waveform> = Vec::new();
    let mut warnings = Vec::new();
    for (i, path) in what.sources.iter().enumerate() {
        tell(watch, "read", i, what.sources.len())?;
        let read = audio::read(path, &ReadOptions::default())?;
        warnings.extend(read.warnings.iter().map(|warning| format!("{}: {warning}", path.display())));
        let mut source = read.waveform;
        let shown = path.display();
        match (source.n_channels(), what.channel) {
            (1, _) => {}
            (n, None) => {
                return Err(PipelineError::Request(format!(
                    "{shown}: has {n} channels, a source in a room has 1: choose one with --channel 1 to {n}"
                )));
            }
            (n, Some(channel)) if channel > n => {
                return Err(PipelineError::WrongUse(format!(
                    "--channel {channel}: {shown} has {n} channels, choose one from 1 to {n}"
                )));
            }
            (n, Some(channel)) => {
                let row = source.samples.index_axis(Axis(0), channel - 1).to_vec();
                source = Waveform::mono(row, source.sample_rate);
                warnings.push(format!("{shown}: channel {channel} of {n} was taken"));
            }
        }
        let rate = source.sample_rate;
        match (what.rate, sources.first()) {
            (Some(wanted), _) if wanted != rate => {
                source = resample(&source, wanted).map_err(|e| PipelineError::Request(e.to_string()))?;
                warnings.push(format!("{shown}: resampled from {rate} to {wanted} Hz"));
            }
            (None, Some(first)) if first.sample_rate != rate => {
                let (expected, path) = (first.sample_rate, what.sources[0].display());
                return Err(PipelineError::Request(format!(
                    "{shown}: has {rate} Hz, {path} has {expected} Hz: add --rate {expected} to resample"
                )));
            }
            _ => {}
        }
        sources.push(source);
    }
    Ok((sources, warnings))
}

/// What was done about lengths.
fn lengths(what: &Simulation, sources: &[Waveform], n_samples: usize) -> Vec<String> {
    let longest = sources.iter().map(Waveform::n_samples).max().unwrap_or(0);
    let mut said = Vec::new();
    for (source, path) in sources.iter().zip(&what.sources).filter(|(source, _)| source.n_samples() < longest)
    {
        let (own, all) = (source.seconds(), longest as f64 / f64::from(source.sample_rate));
        said.push(format!("{}: ends after {own:.3} s, silence follows up to {all:.3} s", path.display()));
    }
    if what.mix.cut_tail && n_samples == longest {
        said.push("--cut-tail: the reverberation after the end of the longest source was cut".into());
    }
    said
}

/// Where everything goes.
struct Names {
    /// Mixture, images, noise.
    sounds: Vec<PathBuf>,
    responses: Vec<PathBuf>,
    scene: PathBuf,
    picture: PathBuf,
}

impl Names {
    fn new(what: &Simulation) -> Self {
        let in_folder = |name: String| what.folder.join(name);
        let ending = what.format.container.extension();
        let n = what.sources.len();
        let mut sounds = vec![in_folder(format!("mixture.{ending}"))];
        sounds.extend((1..=n).map(|i| in_folder(format!("image-{i}.{ending}"))));
        if what.mix.snr.is_some() {
            sounds.push(in_folder(format!("noise.{ending}")));
        }
        let responses = match what.write_rirs {
            true => (1..=n).map(|i| in_folder(format!("rir-{i}.wav"))).collect(),
            false => Vec::new(),
        };
        Self {
            sounds,
            responses,
            scene: in_folder("scene.json".into()),
            picture: in_folder("scene.png".into()),
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        self.sounds.iter().chain(&self.responses).chain([&self.scene, &self.picture]).cloned().collect()
    }

    /// What an earlier scene left in the folder: it does not belong to this one.
    fn leftovers(&self, folder: &Path) -> Vec<String> {
        let is_ours = |name: &str| {
            let stem = name.strip_suffix(".wav").or(name.strip_suffix(".flac")).unwrap_or("");
            let numbered =
                |prefix: &str| stem.strip_prefix(prefix).is_some_and(|n| n.parse::<usize>().is_ok());
            matches!(stem, "mixture" | "noise") || numbered("image-") || numbered("rir-")
        };
        let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours))
            .collect();
        let now = self.all();
        found.retain(|path| !now.iter().any(|file| same_file(file, path)));
        found.sort();
        found
            .iter()
            .map(|path| format!("{}: is of an earlier scene, not of this one", path.display()))
            .collect()
    }

    /// Refuses outputs that are inputs, or exist.
    fn check_free(&self, what: &Simulation) -> Result<(), PipelineError> {
        let tables = match &what.place {
            Place::Room(_) => Vec::new(),
            Place::Responses(files) => files.clone(),
            Place::Gains(file) => vec![file.clone()],
        };
        let inputs = || what.sources.iter().chain(&tables);
        for output in &self.all() {
            if let Some(input) = inputs().find(|input| same_file(input, output)) {
                return Err(PipelineError::WrongUse(format!(
                    "{} is an input and would be written: choose another -o",
                    input.display()
                )));
            }
            if output.is_dir() {
                return Err(FileError::IsFolder { path: output.clone() }.into());
            }
            if output.exists() && !what.overwrite {
                return Err(PipelineError::Request(format!(
                    "{} exists: add --overwrite to replace it, or choose another folder with -o",
                    output.display()
                )));
            }
        }
        Ok(())
    }
}

/// Files that this run has written, removed again unless all of them were.
#[derive(Default)]
struct Written(Vec<PathBuf>);

impl Drop for Written {
    fn drop(&mut self) {
        for file in &self.0 {
            // already gone is as good
            let _ = std::fs::remove_file(file);
        }
    }
}

/// How the responses reverberate.
struct Decays {
    /// T60 in s of every source at every microphone; none where a response is too short to tell.
    t60: Vec<Vec<Option<f64>>>,
    /// Decay at the first microphone, in dB.
    curves: Vec<Vec<f64>>,
    /// Mean T60 of each octave, as far as the rate reaches.
    octaves: Map<String, Value>,
}

/// A shorter decay is that of the filter that puts sound between two samples, not of a room.
const SHORTEST_T60: f64 = 0.015;

impl Decays {
    fn measure(scene: &Scene, sample_rate: u32) -> Self {
        let mut decays = Self { t60: Vec::new(), curves: Vec::new(), octaves: Map::new() };
        let rows = |n: usize| scene.responses[n].rows().into_iter().map(|row| row.to_vec());
        // a response of one sample is a gain
        if scene.responses.iter().all(|response| response.ncols() <= 1) {
            return decays;
        }
        for n in 0..scene.responses.len() {
            let found: Vec<_> = rows(n).map(|row| decay(&row, sample_rate)).collect();
            let echoes = |t60: &f64| *t60 >= SHORTEST_T60;
            decays.t60.push(found.iter().map(|found| found.t60.filter(echoes)).collect());
            decays.curves.push(found.into_iter().next().map(|found| found.curve).unwrap_or_default());
        }
        if decays.mean().is_none() {
            return decays;
        }
        for centre in BAND_CENTRES.iter().filter(|centre| **centre * 1.5 < f64::from(sample_rate) / 2.0) {
            let all = (0..scene.responses.len()).flat_map(rows);
            let t60 = mean(all.map(|row| octave_decay(&row, sample_rate, *centre).t60));
            decays.octaves.insert(centre.to_string(), json!(t60));
        }
        decays
    }

    fn mean(&self) -> Option<f64> {
        mean(self.t60.iter().flatten().copied())
    }
}

/// Of those that are there.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// `scene.json`: all that is needed to make the mixture again.
#[allow(clippy::too_many_arguments)] // everything there is goes into it
fn describe(
    what: &Simulation,
    sources: &[Waveform],
    scene: &Scene,
    mixed: &Mixture,
    decays: &Decays,
    format: &WriteFormat,
    names: &Names,
    warnings: &[String],
) -> Value {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let listed: Vec<Value> = (0..sources.len())
        .map(|n| {
            let mut source = json!({
                "file": what.sources[n].display().to_string(),
                "image": name(&names.sounds[n + 1]),
                "samples": sources[n].n_samples(),
                "gain": mixed.gains[n],
                "t60": decays.t60.get(n),
            });
            for (key, value) in scene.sources[n].as_object().into_iter().flatten() {
                source[key] = value.clone();
            }
            if let Some(path) = names.responses.get(n) {
                source["rir"] = json!(name(path));
            }
            source
        })
        .collect();
    let mut value = json!({
        "demix": crate::VERSION,
        "seed": what.mix.seed,
        "sample_rate": mixed.mixture.sample_rate,
        "samples": mixed.mixture.n_samples(),
        "channels": mixed.mixture.n_channels(),
        "mixture": name(&names.sounds[0]),
        "noise": what.mix.snr.and(names.sounds.last()).map(name),
        "snr": what.mix.snr,
        "levels": what.mix.levels,
        "cut_tail": what.mix.cut_tail,
        "file_gain": format.gain,
        "delay_samples": scene.delay,
        "t60_measured": decays.mean(),
        "t60_octaves": decays.octaves,
        "sources": listed,
    });
    for (key, part) in scene.value.as_object().into_iter().flatten() {
        value[key] = part.clone();
    }
    value["warnings"] = json!(warnings);
    value
}

fn picture(what: &Simulation, scene: &Scene, decays: &Decays, sample_rate: u32) -> demix_figure::Picture {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let names: Vec<String> = what.sources.iter().map(|path| stem(path).unwrap_or_default()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if matches!(what.place, Place::Gains(_)) {
        return picture_of_gains(&names, &scene.responses);
    }
    let title = match decays.mean() {
        Some(t60) => format!("T60 {:.0} ms", 1000.0 * t60),
        None => "No reverberation to measure".into(),
    };
    let plan = scene.plan.as_ref();
    demix_figure::scene(&ScenePlot {
        title: &title,
        names: &names,
        room: plan.map(|plan| plan.room),
        microphones: plan.map_or(&[][..], |plan| &plan.microphones),
        sources: plan.map_or(&[][..], |plan| &plan.sources),
        decays: &decays.curves,
        sample_rate,
    })
}

/// `responses`: for each source (microphones, 1).
fn picture_of_gains(names: &[&str], responses: &[Array2<f64>]) -> demix_figure::Picture {
    let microphones: Vec<String> =
        (1..=responses.first().map_or(0, Array2::nrows)).map(|m| format!("microphone {m}")).collect();
    let gains: Vec<Vec<f64>> = responses.iter().map(|response| response.iter().copied().collect()).collect();
    let series: Vec<BarSeries<'_>> =
        names.iter().zip(&gains).map(|(name, values)| BarSeries { name, values, errors: None }).collect();
    demix_figure::bars(&BarPlot {
        title: "What each microphone hears",
        y_title: "Gain",
        groups: &microphones.iter().map(String::as_str).collect::<Vec<_>>(),
        series: &series,
    })
}
