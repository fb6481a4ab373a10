//! One input to a folder of sources, a report and pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use demix_files::atomic::{check_output_folder, same_file};
use demix_files::audio::{self, AudioInfo, ClipMode, ReadAudio, ReadOptions, WriteFormat, rescale_gain};
use demix_files::report;
use demix_signal::{Progress, Stft, Watch, Waveform};
use ndarray::{Array2, Axis};
use serde::Serialize;
use serde_json::{Value, json};

use super::PipelineError;
use crate::method::{Method, Request};
use crate::pictures;
use crate::separation::{Outcome, SeparationError, Separator, Source};

/// Where results go and in what form.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// The folder that holds a folder for each input.
    pub folder: PathBuf,
    /// Path of each source below it: `{track}`, `{stem}` and `{ext}` are filled in.
    pub filename: String,
    /// Format of the sound files.
    pub format: WriteFormat,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
    /// Whether pictures are drawn.
    pub plots: bool,
    /// Only this channel (counted from 1) of every source.
    pub reference: Option<usize>,
    /// Only this source and the sum of all others.
    pub two_stems: Option<String>,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self {
            folder: "separated".into(),
            filename: "{track}/{stem}.{ext}".into(),
            format: WriteFormat::default(),
            overwrite: false,
            plots: false,
            reference: None,
            two_stems: None,
        }
    }
}

/// One separation of one input (several files when they are joined).
#[derive(Clone, Debug)]
pub struct Job {
    /// The file, or the one-channel files of one recording.
    pub inputs: Vec<PathBuf>,
    /// Name of a method, or `auto`.
    pub method: String,
    /// What it is asked to do.
    pub request: Request,
    /// Which part of the input.
    pub read: ReadOptions,
    /// Where the results go.
    pub output: OutputOptions,
}

/// What a job left.
#[derive(Clone, Debug)]
pub struct Done {
    /// The folder of the track.
    pub folder: PathBuf,
    /// The sound files.
    pub files: Vec<PathBuf>,
    /// The pictures.
    pub pictures: Vec<PathBuf>,
    /// `report.json`, as written.
    pub report: Value,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
}

/// The files that a job will write.
struct Plan {
    track: String,
    folder: PathBuf,
    options: OutputOptions,
}

impl Job {
    /// Name of the track: the (first) input's file name without its ending.
    pub fn track(&self) -> String {
        let stem = self.inputs[0].file_stem().map(|stem| stem.to_string_lossy().into_owned());
        safe_name(&stem.unwrap_or_else(|| "input".into()))
    }

    /// Where `report.json` and the pictures go.
    pub fn folder(&self) -> PathBuf {
        self.output.folder.join(self.track())
    }

    /// Reads, separates, writes.
    ///
    /// Everything that can be found out before the work starts is: settings, names of outputs, whether they exist
    /// and can be written. Every file appears whole; when the job fails or is cancelled, those that it wrote are
    /// removed again.
    ///
    /// # Errors
    /// One line that names the file or the setting.
    pub fn run(&self, watch: &mut dyn Watch) -> Result<Done, PipelineError> {
        let path = &self.inputs[0];
        let info = audio::info(path)?;
        let n_channels = if self.inputs.len() > 1 { self.inputs.len() } else { info.channels };
        let (method, why) = match self.method.as_str() {
            "auto" => Method::automatic(n_channels),
            name => (Method::named(name).map_err(|e| PipelineError::of(path, e))?, String::new()),
        };
        let separator = method.build(&self.request).map_err(|e| PipelineError::of(path, e))?;
        let plan = self.plan(&*separator, n_channels)?;
        let new_folders = check_output_folder(&plan.folder)?;

        let clock = Instant::now();
        let ReadAudio { waveform: mixture, info, warnings } = if self.inputs.len() > 1 {
            audio::join(&self.inputs, &self.read)?
        } else {
            audio::read(path, &self.read)?
        };
        let read_seconds = clock.elapsed().as_secs_f64();
        check_memory(&mixture, &*separator).map_err(|e| PipelineError::of(path, e))?;

        let mut writer = Writer::new(&plan, &mixture);
        let result = separator.separate_into(&mixture, watch, &mut |source| Ok(writer.take(source)?));
        let finished = result.map_err(|e| match e {
            // an error of ours that went through the method comes out as it was
            SeparationError::Sink(inner) => match inner.downcast::<PipelineError>() {
                Ok(ours) => *ours,
                Err(other) => PipelineError::of(path, SeparationError::Sink(other)),
            },
            other => PipelineError::of(path, other),
        });
        let outcome = finished?;
        writer.finish()?;
        let mut done = Done {
            folder: plan.folder.clone(),
            files: writer.files.clone(),
            pictures: Vec::new(),
            report: Value::Null,
            warnings: warnings.into_iter().chain(outcome.warnings.clone()).chain(writer.warnings()).collect(),
        };
        if plan.options.plots {
            for (name, picture) in self.pictures(&mixture, &outcome, &writer, watch)? {
                let file = plan.folder.join(name);
                report::write_bytes(&file, &picture)?;
                writer.written.push(file.clone());
                done.pictures.push(file);
            }
        }
        done.report = self.report(method, &why, &*separator, &info, &outcome, &writer, &done, read_seconds);
        report::write_json(&plan.folder.join("report.json"), &done.report)?;
        writer.keep();
        drop(new_folders);
        Ok(done)
    }

    /// Refuses what can be seen to fail before any work is done.
    fn plan(&self, separator: &dyn Separator, n_channels: usize) -> Result<Plan, PipelineError> {
        let options = self.output.clone();
        if !options.filename.contains("{stem}") {
            return Err(PipelineError::Request(format!(
                "--filename '{}' has no {{stem}}: all sources would have one name",
                options.filename
            )));
        }
        if let Some(channel) = options.reference.filter(|&m| m == 0 || m > n_channels) {
            return Err(PipelineError::Request(format!(
                "--reference {channel}: the input has {n_channels} channel{}, counted from 1",
                if n_channels == 1 { "" } else { "s" }
            )));
        }
        let names = separator.source_names();
        let stems = match &options.two_stems {
            None => names,
            Some(name) if names.contains(name) => vec![name.clone(), format!("no_{name}")],
            Some(name) => {
                let known = names.join(", ");
                return Err(PipelineError::Request(format!("--two-stems {name}: the sources are {known}")));
            }
        };
        let plan = Plan { track: self.track(), folder: self.folder(), options };
        let mut outputs: Vec<PathBuf> = stems.iter().map(|stem| plan.path(stem)).collect();
        outputs.push(plan.folder.join("report.json"));
        for (n, output) in outputs.iter().enumerate() {
            if outputs[..n].contains(output) {
                return Err(PipelineError::Request(format!(
                    "two sources would be written to {}",
                    output.display()
                )));
            }
            if let Some(input) = self.inputs.iter().find(|input| same_file(input, output)) {
                return Err(PipelineError::Request(format!(
                    "{} is an input and would be written: choose another folder with -o",
                    input.display()
                )));
            }
            if !plan.options.overwrite && output.exists() {
                return Err(PipelineError::Request(format!(
                    "{} exists: add --overwrite to replace it, or choose another folder with -o",
                    output.display()
                )));
            }
        }
        Ok(plan)
    }

    fn pictures(
        &self,
        mixture: &Waveform,
        outcome: &Outcome,
        writer: &Writer<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Vec<(String, Vec<u8>)>, PipelineError> {
        let of = |e| PipelineError::of(&self.inputs[0], e);
        let stft = Stft::<f32>::new(&outcome.stft).map_err(|e| of(e.into()))?;
        let total = writer.spectrograms.len();
        let step = |done| Progress { stage: "pictures", done, total, cost: None };
        watch.progress(step(0)).map_err(|e| of(e.into()))?;
        let drawn =
            pictures::of_separation(mixture, &stft, outcome, &writer.spectrograms, &writer.envelopes());
        watch.progress(step(total)).map_err(|e| of(e.into()))?;
        drawn.map_err(|e| of(e.into()))
    }

    #[allow(clippy::too_many_arguments)]
    fn report(
        &self,
        method: &Method,
        why: &str,
        separator: &dyn Separator,
        info: &AudioInfo,
        outcome: &Outcome,
        writer: &Writer<'_>,
        done: &Done,
        read_seconds: f64,
    ) -> Value {
        let relative = |file: &Path| match file.strip_prefix(&done.folder) {
            Ok(inside) => inside.display().to_string(),
            Err(_) => file.display().to_string(),
        };
        let sources: Vec<Value> = writer
            .names
            .iter()
            .zip(&writer.files)
            .zip(&writer.peaks)
            .map(|((name, file), peak)| json!({ "name": name, "file": relative(file), "peak": peak }))
            .collect();
        let mut settings = separator.settings();
        let seed = settings.get("seed").cloned().unwrap_or_else(|| 0.into());
        // what `auto` meant for this input
        for (name, value) in demix_signal::settings::Settings::values(&outcome.stft) {
            settings.insert(name, value);
        }
        let inputs: Vec<String> = self.inputs.iter().map(|path| path.display().to_string()).collect();
        let mut input = serde_json::to_value(info).unwrap_or_default();
        if let Value::Object(input) = &mut input {
            input.insert("files".into(), inputs.into());
            input.insert("start".into(), self.read.start.into());
            input.insert("duration".into(), self.read.duration.into());
        }
        let cost: Vec<Value> = outcome.cost.iter().map(|&cost| number(cost)).collect();
        json!({
            "demix": crate::VERSION,
            "input": input,
            "method": method.name,
            "why": why,
            "settings": settings,
            "seed": seed,
            "sources": sources,
            "iterations": outcome.iterations,
            "stopped": outcome.stopped,
            "cost": cost,
            "sums_to_input": outcome.sums_to_mixture && self.output.reference.is_none(),
            "residual_db": writer.residual_db().map(number),
            "gain": writer.gain,
            "seconds": {
                "read": read_seconds,
                "stft": outcome.seconds.stft + outcome.seconds.synthesis,
                "separate": outcome.seconds.separate,
                "write": writer.seconds,
            },
            "warnings": done.warnings,
            "pictures": done.pictures.iter().map(|file| relative(file)).collect::<Vec<_>>(),
        })
    }
}

/// A number for JSON, infinities by name.
pub(crate) fn number(x: f64) -> Value {
    match x {
        x if x.is_nan() => Value::Null,
        f64::INFINITY => "inf".into(),
        f64::NEG_INFINITY => "-inf".into(),
        x => x.into(),
    }
}

impl Plan {
    fn path(&self, stem: &str) -> PathBuf {
        let name = self
            .options
            .filename
            .replace("{track}", &self.track)
            .replace("{stem}", &safe_name(stem))
            .replace("{ext}", self.options.format.container.extension());
        self.options.folder.join(name)
    }
}

/// A name that is one part of a path on every system.
pub(crate) fn safe_name(name: &str) -> String {
    let cleaned: String =
        name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    let cleaned = cleaned.trim().trim_end_matches('.').to_string();
    if cleaned.is_empty() || cleaned.starts_with('.') {
        format!("_{}", cleaned.trim_start_matches('.'))
    } else {
        cleaned
    }
}

/// Pixels of a kept spectrogram's time axis: more than any picture shows.
const PICTURE_FRAMES: usize = 4000;

/// Writes sources as they come and keeps what the report and the pictures need of them.
struct Writer<'a> {
    plan: &'a Plan,
    mixture: &'a Waveform,
    names: Vec<String>,
    files: Vec<PathBuf>,
    peaks: Vec<f32>,
    clipped: Vec<u64>,
    /// Removed again unless the job succeeds.
    written: Vec<PathBuf>,
    /// The sum of all sources so far.
    sum: Array2<f32>,
    /// Sources that wait for a common gain, or for the others of two stems.
    waiting: Vec<Source>,
    spectrograms: Vec<Source>,
    gain: f32,
    seconds: f64,
}

impl<'a> Writer<'a> {
    fn new(plan: &'a Plan, mixture: &'a Waveform) -> Self {
        Self {
            plan,
            mixture,
            names: Vec::new(),
            files: Vec::new(),
            peaks: Vec::new(),
            clipped: Vec::new(),
            written: Vec::new(),
            sum: Array2::zeros(mixture.samples.dim()),
            waiting: Vec::new(),
            spectrograms: Vec::new(),
            gain: 1.0,
            seconds: 0.0,
        }
    }

    fn take(&mut self, source: Source) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let clock = Instant::now();
        self.sum += &source.image.samples;
        if self.plan.options.plots {
            self.spectrograms.push(source.clone());
        }
        match &self.plan.options.two_stems {
            Some(name) if *name != source.name => {
                match self.waiting.iter_mut().find(|s| s.name.starts_with("no_")) {
                    Some(others) => others.image.samples += &source.image.samples,
                    None => self.waiting.push(Source { name: format!("no_{name}"), ..source }),
                }
            }
            _ if self.plan.options.format.clip == ClipMode::Rescale => self.waiting.push(source),
            _ => self.write(&source)?,
        }
        self.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Writes what waited.
    fn finish(&mut self) -> Result<(), PipelineError> {
        let clock = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        if self.plan.options.format.clip == ClipMode::Rescale {
            self.gain = rescale_gain(waiting.iter().map(|source| &source.image));
        }
        for source in &waiting {
            self.write(source)?;
        }
        self.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }

    fn write(&mut self, source: &Source) -> Result<(), PipelineError> {
        let path = self.plan.path(&source.name);
        if let Some(folder) = path.parent() {
            drop(check_output_folder(folder)?);
            std::fs::create_dir_all(folder)
                .map_err(|e| demix_files::FileError::from_io(folder, "make this folder", e))?;
        }
        // each source has its own dither, lest the dither of all adds up
        let dither_seed = self.plan.options.format.dither_seed.wrapping_add(self.names.len() as u64);
        let clip = match self.plan.options.format.clip {
            ClipMode::Rescale => ClipMode::None,
            other => other,
        };
        let format = WriteFormat { dither_seed, gain: self.gain, clip, ..self.plan.options.format };
        let written = match self.plan.options.reference {
            None => audio::write(&path, &source.image, &format)?,
            Some(channel) => {
                let one = source.image.samples.row(channel - 1).to_vec();
                audio::write(&path, &Waveform::mono(one, source.image.sample_rate), &format)?
            }
        };
        self.names.push(source.name.clone());
        self.files.push(path.clone());
        self.peaks.push(written.peak);
        self.clipped.push(written.clipped_samples);
        self.written.push(path);
        Ok(())
    }

    fn warnings(&self) -> Vec<String> {
        let clipped = self.names.iter().zip(&self.clipped).zip(&self.peaks);
        let mut warnings: Vec<String> = clipped
            .filter(|((_, n), _)| **n > 0)
            .map(|((name, n), peak)| {
                format!(
                    "{name}: {n} samples beyond full scale were clipped (peak {peak:.3}): write float32, or \
                     --clip-mode rescale"
                )
            })
            .collect();
        if self.gain != 1.0 {
            warnings.push(format!("--clip-mode rescale: all sources were multiplied by {:.6}", self.gain));
        }
        warnings
    }

    /// 10 log10 of the energy of mixture less sources over that of the mixture; none for a silent mixture.
    fn residual_db(&self) -> Option<f64> {
        let energy = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let mixture = energy(&mut self.mixture.samples.iter().copied());
        let rest = energy(&mut self.mixture.samples.iter().zip(&self.sum).map(|(x, y)| x - y));
        (mixture > 0.0).then(|| 10.0 * (rest / mixture).log10())
    }

    fn envelopes(&self) -> Vec<(&str, &Waveform)> {
        self.spectrograms.iter().map(|source| (source.name.as_str(), &source.image)).collect()
    }

    /// The job succeeded: nothing is removed.
    fn keep(&mut self) {
        self.written.clear();
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        for file in &self.written {
            // already gone is as good
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Refuses a transform that does not fit into memory, before it is tried.
fn check_memory(mixture: &Waveform, separator: &dyn Separator) -> Result<(), SeparationError> {
    let settings = separator.settings();
    let mut stft = demix_signal::StftSettings::default();
    for name in ["fft", "window_length", "hop", "window"] {
        if let Some(value) = settings.get(name) {
            let value = value.to_string();
            demix_signal::settings::Settings::set(&mut stft, name, value.trim_matches('"'))?;
        }
    }
    let transform = Stft::<f32>::new(&stft.for_rate(mixture.sample_rate))?;
    let frames = transform.n_frames(mixture.n_samples());
    // complex single precision, and the factorised spectrogram in two layouts
    let bytes = 8.0 * transform.n_bins() as f64 * frames as f64 * (mixture.n_channels() as f64 + 1.0);
    let Some(free) = memory_available() else { return Ok(()) };
    if bytes > free {
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        return Err(SeparationError::Request(format!(
            "the spectrogram ({} bins x {frames} frames) needs {:.1} GiB, {:.1} GiB are free: raise hop, or \
             separate a part with --start and --duration",
            transform.n_bins(),
            gib(bytes),
            gib(free)
        )));
    }
    Ok(())
}

/// Bytes of memory that can be had, where the system tells.
fn memory_available() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0)
}

/// The audio files named by arguments: files as they are, folders by their audio files, sorted.
///
/// # Errors
/// A folder without audio files, or one that cannot be read.
pub fn expand_inputs(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, PipelineError> {
    const ENDINGS: [&str; 10] = ["wav", "wave", "rf64", "flac", "mp3", "ogg", "oga", "m4a", "mp4", "aac"];
    let mut inputs = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            inputs.push(argument.clone());
            continue;
        }
        let entries = std::fs::read_dir(argument)
            .map_err(|e| demix_files::FileError::from_io(argument, "read this folder", e))?;
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
                path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
            })
            .collect();
        if found.is_empty() {
            return Err(PipelineError::Request(format!(
                "{}: no audio file in this folder (endings: {})",
                argument.display(),
                ENDINGS.join(", ")
            )));
        }
        found.sort();
        inputs.extend(found);
    }
    Ok(inputs)
}

/// A settings file: `method` and settings by name, in TOML.
///
/// # Errors
/// A file that cannot be read or is not a flat TOML table.
pub fn read_settings(path: &Path) -> Result<(Option<String>, Vec<(String, String)>), PipelineError> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| demix_files::FileError::from_io(path, "read this file", e))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        PipelineError::Request(format!("{}: not a settings file: {}", path.display(), e.message()))
    })?;
    let mut method = None;
    let mut settings = Vec::new();
    for (name, value) in table {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Table(_) | toml::Value::Array(_) => {
                return Err(PipelineError::Request(format!(
                    "{}: '{name}' is a table or a list; settings are written NAME = VALUE",
                    path.display()
                )));
            }
            other => other.to_string(),
        };
        if name == "method" {
            method = Some(text);
        } else {
            settings.push((name, text));
        }
    }
    Ok((method, settings))
}

/// The spectrogram of at most so many frames that pictures show.
pub(crate) fn thinned_power(
    stft: &Stft<f32>,
    waveform: &Waveform,
) -> Result<(Array2<f32>, usize), SeparationError> {
    let power = stft.forward(waveform)?.mean_magnitude(2.0);
    let every = power.ncols().div_ceil(PICTURE_FRAMES).max(1);
    if every == 1 {
        return Ok((power, 1));
    }
    let mut thin = Array2::zeros((power.nrows(), power.ncols().div_ceil(every)));
    for (chunk, mut out) in power.axis_chunks_iter(Axis(1), every).zip(thin.columns_mut()) {
        for (row, out) in chunk.outer_iter().zip(out.iter_mut()) {
            *out = row.fold(0.0f32, |m, &x| m.max(x));
        }
    }
    Ok((thin, every))
}

/// What `serde` is told of a job's end, for programs that follow events.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
    /// The folder of the track.
    pub folder: PathBuf,
    /// The sound files.
    pub files: Vec<PathBuf>,
}
