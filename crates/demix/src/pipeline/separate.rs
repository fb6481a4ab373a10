//! One input to a folder of sources, a report and pictures.

use std::collections::{BTreeSet, HashSet};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use demix_files::FileError;
use demix_files::atomic::{NewFolders, check_output_folder, same_file};
use demix_files::audio::{
    self, AudioInfo, ClipMode, Container, ReadAudio, ReadOptions, SampleKind, WriteFormat, rescale_gain,
};
use demix_files::report;
use demix_signal::settings::{SettingError, Settings as _};
use demix_signal::{Progress, Stft, Watch, Waveform};
use ndarray::{Array2, Axis};
use serde_json::{Value, json};

use super::evaluate::against::Against;
use super::remix::check_ending;
use super::{PipelineError, automatic, filters};
use crate::method::{METHODS, Method, Request};
use crate::pictures;
use crate::separation::{Outcome, RESIDUAL, SeparationError, Separator, Source};

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
    /// Whether the filters of a demixing are written.
    pub filters: bool,
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
            filters: false,
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
    /// The true sources, for scores in the report; none for no scores.
    pub score_against: Vec<PathBuf>,
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

/// See [`Job::prepare`].
type Prepared = (Box<dyn Separator>, &'static Method, String, AudioInfo);

/// The files that a job will write.
struct Plan {
    track: String,
    folder: PathBuf,
    options: OutputOptions,
    /// Sound files and report.
    outputs: Vec<PathBuf>,
}

/// The pictures of every separation; masks come beside them.
const PICTURES: [&str; 6] =
    ["mixture.png", "sources.png", "waveforms.png", "cost.png", "factors.png", "scores.png"];

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

    /// Every sound file and report that the job will write: two jobs must not write the same.
    ///
    /// # Errors
    /// As [`Job::run`], before any work.
    pub fn outputs(&self) -> Result<Vec<PathBuf>, PipelineError> {
        let (separator, _, _, info) = self.prepare()?;
        Ok(self.plan(&*separator, self.n_channels(&info))?.outputs)
    }

    fn n_channels(&self, info: &AudioInfo) -> usize {
        if self.inputs.len() > 1 { self.inputs.len() } else { info.channels }
    }

    /// The separator, its method, why this method, and what the input is.
    fn prepare(&self) -> Result<Prepared, PipelineError> {
        let info = audio::info(&self.inputs[0])?;
        let wrong = |e: SeparationError| PipelineError::WrongUse(e.to_string());
        let n_channels = self.n_channels(&info);
        let mut request = Request { n_channels: Some(n_channels), ..self.request.clone() };
        let (method, why) = match self.method.as_str() {
            "auto" => {
                let choice = self.choose(n_channels)?;
                request.n_sources = choice.n_sources;
                (Method::named(choice.method).map_err(wrong)?, choice.why)
            }
            name => (Method::named(name).map_err(wrong)?, String::new()),
        };
        if n_channels < method.channels.0 {
            return Err(PipelineError::WrongUse(format!(
                "{}: {} needs at least {} channels, this has {n_channels}; take --method nmf, or --join the files of \
                 several microphones",
                self.inputs[0].display(),
                method.name,
                method.channels.0
            )));
        }
        let separator = method.build(&request).map_err(|e| match &e {
            // a setting of another method than the one that was chosen
            SeparationError::Setting(SettingError::Unknown { name, .. })
                if self.method == "auto" && is_known_setting(name) =>
            {
                PipelineError::WrongUse(format!(
                    "{}: there is no setting '{name}' of {}, which auto chose ({why}): name another --method, or leave \
                     it out",
                    self.inputs[0].display(),
                    method.name
                ))
            }
            _ => wrong(e),
        })?;
        if let Some(n) = request.n_sources.filter(|&n| separator.is_limited_by_channels() && n > n_channels) {
            return Err(PipelineError::WrongUse(format!(
                "--sources {n}: {} has {n_channels} channels and {} finds at most as many sources; ask for fewer, or \
                 take --method nmf",
                self.inputs[0].display(),
                method.name
            )));
        }
        Ok((separator, method, why, info))
    }

    /// What `auto` means for this input; several channels are looked at.
    fn choose(&self, n_channels: usize) -> Result<automatic::Choice, PipelineError> {
        let n_sources = self.request.n_sources;
        let nmf = |why: &str| Ok(automatic::Choice { method: "nmf", n_sources, why: why.into() });
        if !self.request.dictionaries.is_empty() || !self.request.free.is_empty() {
            return nmf("dictionaries of known sources: nmf");
        }
        if n_channels == 1 {
            return nmf("one channel: nmf, which tells sources apart by their spectra");
        }
        let part = ReadOptions {
            duration: Some(self.read.duration.unwrap_or(f64::INFINITY).min(automatic::LOOKED_AT)),
            ..self.read
        };
        let read = if self.inputs.len() > 1 {
            audio::join(&self.inputs, &part)?
        } else {
            audio::read(&self.inputs[0], &part)?
        };
        automatic::choose(&read.waveform, n_sources).map_err(|e| PipelineError::of(&self.inputs[0], e))
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
        let (separator, method, why, info) = self.prepare()?;
        let n_channels = self.n_channels(&info);
        let plan = self.plan(&*separator, n_channels)?;
        let stale = plan.stale();
        let new_folders = plan.check_folders()?;
        check_memory(self.expected_samples(&info), n_channels, info.sample_rate, &*separator)
            .map_err(|e| PipelineError::of(path, e))?;

        let reading = |done| Progress { stage: "read", done, total: self.inputs.len(), cost: None };
        watch.progress(reading(0)).map_err(|e| PipelineError::of(path, e.into()))?;
        let clock = Instant::now();
        let ReadAudio { waveform: mixture, info, warnings } = if self.inputs.len() > 1 {
            audio::join(&self.inputs, &self.read)?
        } else {
            audio::read(path, &self.read)?
        };
        let read_seconds = clock.elapsed().as_secs_f64();
        watch.progress(reading(self.inputs.len())).map_err(|e| PipelineError::of(path, e.into()))?;

        let against = match &self.score_against[..] {
            [] => None,
            files => Some(Against::new(files, &self.read, path, &mixture, plan.options.reference)?),
        };

        let mut writer = Writer::new(&plan, &mixture);
        let mut judged = Vec::new();
        let result = separator.separate_into(&mixture, watch, &mut |source| {
            if against.is_some() && source.name != RESIDUAL {
                judged.push(source.clone());
            }
            writer.take(source)
        });
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
        if plan.options.filters {
            for file in filters::write(&plan.folder, &outcome, &mixture)? {
                writer.written.push(file);
            }
        }
        let mut done = Done {
            folder: plan.folder.clone(),
            files: writer.files.clone(),
            pictures: Vec::new(),
            report: Value::Null,
            warnings: warnings
                .into_iter()
                .chain(automatic::clipping_warning(&mixture).filter(|_| separator.is_limited_by_channels()))
                .chain(outcome.warnings.clone())
                .chain(writer.warnings(outcome.sums_to_mixture))
                .chain(stale)
                .collect(),
        };
        if plan.options.plots {
            for (name, picture) in self.pictures(&mixture, &outcome, &writer, watch)? {
                let file = plan.folder.join(name);
                report::write_bytes(&file, &picture)?;
                writer.written.push(file.clone());
                done.pictures.push(file);
            }
        }
        let scores = match &against {
            None => None,
            Some(against) => {
                let iterations = outcome.iterations;
                let mut request = Request { n_channels: Some(n_channels), ..self.request.clone() };
                if self.method == "auto" {
                    // what it chose: the runs of fewer iterations find as many sources
                    request.n_sources = Some(judged.len());
                }
                Some(against.scores(method, &request, &mixture, iterations, &judged, watch)?)
            }
        };
        let curve = against.as_ref().zip(scores.as_ref()).filter(|_| plan.options.plots);
        if let Some(picture) = curve.and_then(|(against, scores)| against.picture(scores)) {
            let file = plan.folder.join("scores.png");
            report::write_bytes(&file, &picture)?;
            writer.written.push(file.clone());
            done.pictures.push(file);
        }
        done.report = self.report(method, &why, &*separator, &info, &outcome, &writer, &done, read_seconds);
        if let Some(scores) = scores {
            done.report["scores"] = scores;
        }
        report::write_json(&plan.folder.join("report.json"), &done.report)?;
        writer.keep();
        drop(new_folders);
        Ok(done)
    }

    /// Refuses what can be seen to fail before any work is done.
    fn plan(&self, separator: &dyn Separator, n_channels: usize) -> Result<Plan, PipelineError> {
        let mut options = self.output.clone();
        options.format.dither_seed = separator.settings().get("seed").and_then(Value::as_u64).unwrap_or(0);
        check_template(&options.filename)?;
        if let Some(channel) = options.reference.filter(|&m| m == 0 || m > n_channels) {
            return Err(PipelineError::WrongUse(format!(
                "--reference {channel}: {} has {n_channels} channel{}, counted from 1; choose one that is there",
                self.inputs[0].display(),
                if n_channels == 1 { "" } else { "s" }
            )));
        }
        let names = separator.source_names();
        let n_references = self.score_against.len();
        let judged: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != RESIDUAL).collect();
        if n_references > 0 && n_references != judged.len() {
            return Err(PipelineError::WrongUse(format!(
                "--score-against: {n_references} references, {} sources ({}); name one reference for each source",
                judged.len(),
                judged.join(", ")
            )));
        }
        let stems = match &options.two_stems {
            None => names,
            Some(name) if names.contains(name) => vec![name.clone(), format!("no_{name}")],
            Some(name) => {
                let known = names.join(", ");
                return Err(PipelineError::WrongUse(format!(
                    "--two-stems {name}: there is no such source; the sources are {known}"
                )));
            }
        };
        let mut plan = Plan { track: self.track(), folder: self.folder(), options, outputs: Vec::new() };
        let mut outputs: Vec<PathBuf> = stems.iter().map(|stem| plan.path(stem)).collect();
        for output in &outputs {
            check_ending(output, &plan.options.format)?;
        }
        outputs.push(plan.folder.join("report.json"));
        if plan.options.filters {
            if !separator.has_filters() {
                return Err(PipelineError::WrongUse(format!(
                    "{}: --filters: the method has none (masks are not filters); take a demixing method, ilrma for \
                     example",
                    self.inputs[0].display()
                )));
            }
            outputs.extend(filters::FILES.iter().map(|name| plan.folder.join(name)));
        }
        let mut seen = HashSet::new();
        for output in &outputs {
            if !seen.insert(output) {
                return Err(PipelineError::WrongUse(format!(
                    "two sources would be written to {}: give them names that differ in more than the characters \
                     that file names cannot have",
                    output.display()
                )));
            }
            if let Some(input) = self.inputs.iter().find(|input| same_file(input, output)) {
                return Err(PipelineError::WrongUse(format!(
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
        if plan.options.plots && !plan.options.overwrite {
            let picture = PICTURES.iter().map(|name| plan.folder.join(name)).find(|path| path.exists());
            if let Some(picture) = picture {
                return Err(PipelineError::Request(format!(
                    "{} exists: add --overwrite to replace it, or choose another folder with -o",
                    picture.display()
                )));
            }
        }
        plan.outputs = outputs;
        Ok(plan)
    }

    /// Samples per channel of the part that is asked for.
    fn expected_samples(&self, info: &AudioInfo) -> usize {
        let samples = |seconds: f64| (seconds * f64::from(info.sample_rate)) as u64;
        let rest = info.n_samples.saturating_sub(self.read.start.map_or(0, samples));
        rest.min(self.read.duration.map_or(u64::MAX, samples)).max(1) as usize
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
        let total = 1;
        let step = |done| Progress { stage: "pictures", done, total, cost: None };
        watch.progress(step(0)).map_err(|e| of(e.into()))?;
        let drawn =
            pictures::of_separation(mixture, &stft, outcome, &writer.spectrograms, &writer.envelopes());
        watch.progress(step(total)).map_err(|e| of(e.into()))?;
        drawn.map_err(of)
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
        // from where the report lies
        let relative =
            |file: &Path| match (file.strip_prefix(&done.folder), file.strip_prefix(&self.output.folder)) {
                (Ok(inside), _) => inside.display().to_string(),
                (_, Ok(beside)) => Path::new("..").join(beside).display().to_string(),
                _ => file.display().to_string(),
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
            // a method without a transform has pictures made with one, and no setting for it
            if settings.contains_key(&name) {
                settings.insert(name, value);
            }
        }
        let inputs: Vec<String> = self.inputs.iter().map(|path| path.display().to_string()).collect();
        let mut input = serde_json::to_value(info).unwrap_or_default();
        if let Value::Object(input) = &mut input {
            input.insert("files".into(), inputs.into());
            input.insert("start".into(), self.read.start.into());
            input.insert("duration".into(), self.read.duration.into());
        }
        let cost: Vec<Value> = outcome.cost.iter().map(|&cost| number(cost)).collect();
        let is_transformed = outcome.filters.first().is_none_or(|filters| filters.demixing.dim().0 > 1);
        json!({
            "demix": crate::VERSION,
            "input": input,
            "method": method.name,
            "why": why,
            "settings": settings,
            // what became of `auto`; real gains need none
            "transform": is_transformed.then(|| outcome.stft.values()),
            "seed": seed,
            "sources": sources,
            "iterations": outcome.iterations,
            "stopped": outcome.stopped,
            "cost": cost,
            "sums_to_input": outcome.sums_to_mixture
                && self.output.reference.is_none()
                && writer.is_faithful()
                && writer.adds_up(),
            "residual_db": writer.residual_db().map(number),
            "gain": writer.gain,
            "seconds": {
                "read": read_seconds,
                "stft": outcome.seconds.stft + outcome.seconds.synthesis,
                "separate": outcome.seconds.separate,
                "write": writer.seconds,
            },
            "warnings": done.warnings,
            "details": outcome.details,
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
        let extension = self.options.format.container.extension();
        // in one pass: a track may itself be called {stem}
        let mut name = String::new();
        let mut rest = self.options.filename.as_str();
        while let Some((before, placeholder, after)) = next_placeholder(rest) {
            name.push_str(before);
            match placeholder {
                "{track}" => name.push_str(&self.track),
                "{stem}" => name.push_str(&safe_name(stem)),
                "{ext}" => name.push_str(extension),
                other => name.push_str(other),
            }
            rest = after;
        }
        name.push_str(rest);
        self.options.folder.join(name)
    }

    /// What is to be said of sources that an earlier report lists and this separation does not write.
    fn stale(&self) -> Vec<String> {
        let report = std::fs::read(self.folder.join("report.json")).unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        let listed = report["sources"].as_array().into_iter().flatten();
        listed
            .filter_map(|source| Some(self.folder.join(source["file"].as_str()?)))
            .filter(|file| file.is_file() && !self.outputs.iter().any(|output| same_file(output, file)))
            .map(|file| format!("{}: is of an earlier separation, not of this one", file.display()))
            .collect()
    }

    /// Makes the folders of all outputs and tries to write in them.
    fn check_folders(&self) -> Result<Vec<NewFolders>, PipelineError> {
        let folders: BTreeSet<&Path> = self.outputs.iter().filter_map(|output| output.parent()).collect();
        // outermost first; dropped innermost first, lest a folder is not yet empty when its turn comes
        let mut made = Vec::new();
        for folder in folders {
            made.insert(0, check_output_folder(folder)?);
        }
        if let Some(folder) = self.outputs.iter().find(|output| output.is_dir()) {
            return Err(FileError::IsFolder { path: folder.clone() }.into());
        }
        Ok(made)
    }
}

const PLACEHOLDERS: [&str; 3] = ["{track}", "{stem}", "{ext}"];

/// Whether any method has a setting of this name.
fn is_known_setting(name: &str) -> bool {
    METHODS.iter().any(|method| method.settings().iter().any(|setting| setting.name == name))
}

/// What stands before the first `{...}`, that itself, and what follows it.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find('{')?;
    let end = begin + text[begin..].find('}')? + 1;
    Some((&text[..begin], &text[begin..end], &text[end..]))
}

fn check_template(template: &str) -> Result<(), PipelineError> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some((_, placeholder, after)) = next_placeholder(rest) {
        found.push(placeholder);
        rest = after;
    }
    let known = PLACEHOLDERS.join(", ");
    if let Some(unknown) = found.iter().find(|name| !PLACEHOLDERS.contains(name)) {
        return Err(PipelineError::WrongUse(format!(
            "--filename '{template}': {unknown} has no meaning, there are {known}"
        )));
    }
    let leaves = |part: Component<'_>| !matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(template).components().any(leaves) {
        return Err(PipelineError::WrongUse(format!(
            "--filename '{template}' leaves the output folder: name it with -o, and files below it here"
        )));
    }
    if !found.contains(&"{stem}") {
        return Err(PipelineError::WrongUse(format!(
            "--filename '{template}' has no {{stem}}, so all sources would have one name: add it, as in \
             '{{track}}/{{stem}}.{{ext}}'"
        )));
    }
    Ok(())
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

/// A residual below this, in dB, is rounding.
const ADDS_UP: f64 = -90.0;
/// And of files of integers: more is worth a word.
const ADDS_UP_ROUNDED: f64 = -40.0;
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
    /// The sum of all sources but the one of two stems.
    others: Option<Source>,
    /// Sources that wait for a common gain.
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
            others: None,
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
            // pictures take the names of all, but show the sound of some: the memory for the others is saved
            let shown = self.spectrograms.len() < pictures::MOST_SOURCES;
            let nothing = || Waveform::mono(Vec::new(), source.image.sample_rate);
            let image = if shown { source.image.clone() } else { nothing() };
            self.spectrograms.push(Source { name: source.name.clone(), image });
        }
        match &self.plan.options.two_stems {
            Some(name) if *name != source.name => match &mut self.others {
                Some(others) => others.image.samples += &source.image.samples,
                None => self.others = Some(Source { name: format!("no_{name}"), ..source }),
            },
            _ if self.plan.options.format.clip == ClipMode::Rescale => self.waiting.push(source),
            _ => self.write(&source)?,
        }
        self.seconds += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Writes what waited.
    fn finish(&mut self) -> Result<(), PipelineError> {
        let clock = Instant::now();
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(self.others.take());
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
        if self.rounds() && self.gain == 1.0 && self.plan.options.reference.is_none() {
            // the residual is that of the files
            self.sum +=
                &(audio::read(&path, &ReadOptions::default())?.waveform.samples - &source.image.samples);
        }
        self.names.push(source.name.clone());
        self.files.push(path.clone());
        self.peaks.push(written.peak);
        self.clipped.push(written.clipped_samples);
        self.written.push(path);
        Ok(())
    }

    fn warnings(&self, sums_to_mixture: bool) -> Vec<String> {
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
        let is_clipped = self.clipped.iter().any(|&n| n > 0);
        if let Some(residual) =
            self.residual_db().filter(|_| sums_to_mixture && !is_clipped && !self.adds_up())
        {
            let remedy = if self.rounds() { " (rounding): write float32" } else { ", not nothing" };
            warnings.push(format!("what the sources leave of the input is {residual:.0} dB of it{remedy}"));
        }
        warnings
    }

    /// Whether the files hold the sources as they are, up to rounding.
    fn is_faithful(&self) -> bool {
        self.gain == 1.0
            && self.plan.options.format.clip != ClipMode::Clamp
            && self.clipped.iter().all(|&n| n == 0)
    }

    /// Whether the files hold integers.
    fn rounds(&self) -> bool {
        let format = &self.plan.options.format;
        format.container == Container::Flac || format.samples != SampleKind::Float32
    }

    /// Whether the files add up to the mixture up to the rounding of single precision, or of the integers they hold.
    fn adds_up(&self) -> bool {
        let rounding = if self.rounds() { ADDS_UP_ROUNDED } else { ADDS_UP };
        self.residual_db().is_none_or(|residual| residual < rounding)
    }

    /// 10 log10 of the energy of mixture less sources over that of the mixture, of integer files as they were written;
    /// none for a silent mixture.
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
fn check_memory(
    n_samples: usize,
    n_channels: usize,
    sample_rate: u32,
    separator: &dyn Separator,
) -> Result<(), SeparationError> {
    let settings = separator.settings();
    let longest = separator.longest_block(n_samples, sample_rate);
    let stft = match separator.transform_of(longest, sample_rate) {
        Some(stft) => stft,
        None if settings.contains_key("fft") => {
            let mut stft = demix_signal::StftSettings::default();
            for name in ["fft", "window_length", "hop", "window"] {
                if let Some(value) = settings.get(name) {
                    let value = value.to_string();
                    demix_signal::settings::Settings::set(&mut stft, name, value.trim_matches('"'))?;
                }
            }
            stft.for_rate(sample_rate)
        }
        None => return Ok(()), // no transform
    };
    let transform = Stft::<f32>::new(&stft)?;
    let frames = transform.n_frames(longest);
    // complex single precision; the mixture, one source, their sum, and what a method keeps of it
    let held = separator.spectrograms_held(n_channels);
    let spectra = 8.0 * transform.n_bins() as f64 * frames as f64 * held as f64;
    let bytes = spectra + 4.0 * 4.0 * n_samples as f64 * n_channels as f64;
    let Some(free) = memory_available() else { return Ok(()) };
    if bytes > free {
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        return Err(SeparationError::Request(format!(
            "spectrograms of {} bins x {frames} frames, of which {held} stand in memory at once, need {:.1} GiB of \
             memory, {:.1} GiB are free: raise hop, lower block or take trials=none where the method has them, or \
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
    // what systems hide beside sound files is no sound
    let is_hidden =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let is_audio = |path: &Path| audio::has_known_ending(path) && !is_hidden(path) && path.is_file();
    let mut inputs = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            inputs.push(argument.clone());
            continue;
        }
        let inside = entries_of(argument).map_err(|e| FileError::from_io(argument, "read this folder", e))?;
        let found: Vec<PathBuf> = inside.into_iter().filter(|path| is_audio(path)).collect();
        if found.is_empty() {
            let hint = match folder_with_audio(argument, is_audio) {
                Some(inside) => format!("there is some in {}, for example: name that", inside.display()),
                None => format!("known endings are {}", audio::ENDINGS.join(", ")),
            };
            return Err(PipelineError::Request(format!(
                "{}: no audio file in this folder; {hint}",
                argument.display()
            )));
        }
        inputs.extend(found);
    }
    Ok(inputs)
}

/// What is in a folder, sorted.
fn entries_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    entries.sort();
    Ok(entries)
}

/// The first folder in this one that holds audio.
fn folder_with_audio(folder: &Path, is_audio: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let folders = entries_of(folder).ok()?.into_iter().filter(|path| path.is_dir());
    folders
        .into_iter()
        .find(|inside| entries_of(inside).is_ok_and(|all| all.iter().any(|path| is_audio(path))))
}

/// Settings by name, as [`Request`] takes them.
pub type SettingList = Vec<(String, String)>;

/// A settings file: `method` and settings by name, in TOML.
///
/// # Errors
/// A file that cannot be read or is not a flat TOML table.
pub fn read_settings(path: &Path) -> Result<(Option<String>, SettingList), PipelineError> {
    let not_settings = |why: String| {
        let path = path.display();
        PipelineError::Request(format!(
            "{path}: not a settings file: {why}; write one NAME = VALUE in each line"
        ))
    };
    let bytes = std::fs::read(path).map_err(|e| FileError::from_io(path, "read this file", e))?;
    let text = String::from_utf8(bytes).map_err(|_| not_settings("it is no text".into()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        not_settings(format!("line {line}: {}", e.message()))
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
