//! One function for each command.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::CommandFactory as _;
use demix::demo::DemoSettings;
use demix::files::atomic::same_file;
use demix::files::audio::{self, ClipMode, ReadOptions, SampleKind, WriteFormat};
use demix::files::dictionary_file::DictionaryFile;
use demix::pipeline::demo::demo as make_demo;
use demix::pipeline::separate::{Job, OutputOptions, expand_inputs, read_settings};
use demix::pipeline::{PipelineError, info as facts, learn, model, remix as mix};
use demix::signal::settings::Setting;
use demix::{Dictionary as Learned, METHODS, Method, Request};
use serde_json::{Value, json};

use crate::arguments::{
    Arguments, Clip, Completions, Container, Demo, Dictionary, Format, Info, Methods, Remix, Separate,
};
use crate::evaluate::decibel;
use crate::progress::{Reporter, interrupted, print};

pub fn wrong_use(problem: impl std::fmt::Display) -> anyhow::Error {
    PipelineError::WrongUse(problem.to_string()).into()
}

/// Whether what was typed has to change: exit code 2.
pub fn is_wrong_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<PipelineError>().is_some_and(PipelineError::is_wrong_use)
}

pub fn separate(options: &Separate, reporter: &Reporter) -> Result<ExitCode> {
    let request = request(options)?;
    let (file_method, mut settings) = match &options.settings {
        Some(path) => read_settings(path)?,
        None => (None, Vec::new()),
    };
    settings.extend(options.set.iter().cloned());
    let method = options.method.clone().or(file_method).unwrap_or_else(|| "auto".into());
    let inputs = expand_inputs(&options.inputs)?;
    if options.join && inputs.len() < 2 {
        bail!(wrong_use(
            "--join takes the channels of one recording as files of one channel each, 1 file is given: name all of them, or leave --join out"
        ));
    }
    let groups: Vec<Vec<PathBuf>> =
        if options.join { vec![inputs] } else { inputs.into_iter().map(|input| vec![input]).collect() };
    let jobs: Vec<Job> = groups
        .into_iter()
        .map(|inputs| Job {
            inputs,
            method: method.clone(),
            request: Request { settings: settings.clone(), ..request.clone() },
            read: ReadOptions { start: options.start, duration: options.duration },
            output: OutputOptions {
                folder: options.output.clone(),
                filename: options.filename.clone(),
                format: write_format(&options.format),
                overwrite: options.overwrite,
                plots: options.plots,
                filters: options.filters,
                reference: options.reference,
                two_stems: options.two_stems.clone(),
            },
            score_against: options.score_against.clone(),
        })
        .collect();
    if !options.score_against.is_empty() && jobs.len() > 1 {
        bail!(wrong_use(format!(
            "--score-against names the sources of one recording, {} are given: separate them one by one",
            jobs.len()
        )));
    }
    // wrong settings are the same for all inputs: found before the first of them is read
    if method != "auto" {
        Method::named(&method).and_then(|m| m.build(&Request { settings, ..request })).map_err(wrong_use)?;
    }
    refuse_shared_outputs(&jobs)?;
    run_jobs(&jobs, reporter)
}

fn run_jobs(jobs: &[Job], reporter: &Reporter) -> Result<ExitCode> {
    let mut failed = 0;
    for job in jobs {
        let result = {
            let mut follower = reporter.follow(&job.track());
            job.run(&mut follower)
        };
        match result {
            Ok(done) => {
                for warning in &done.warnings {
                    reporter.warn(&format!("{}: {warning}", job.inputs[0].display()));
                }
                reporter.event(&json!({ "event": "done", "input": shown(&job.inputs[0]),
                    "folder": shown(&done.folder), "files": all_shown(&done.files),
                    "pictures": all_shown(&done.pictures), "warnings": done.warnings }));
                reporter.say(&summary(&done));
            }
            Err(PipelineError::Cancelled) => return Ok(ExitCode::FAILURE),
            Err(error) if jobs.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                reporter.error(&error.to_string());
            }
        }
        if interrupted() {
            return Ok(ExitCode::FAILURE);
        }
    }
    if jobs.len() > 1 && failed > 0 {
        reporter.error(&format!("{failed} of {} inputs failed, see above", jobs.len()));
    }
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn summary(done: &demix::pipeline::separate::Done) -> String {
    let report = &done.report;
    let seconds =
        ["read", "stft", "separate", "write"].iter().map(|k| report["seconds"][*k].as_f64().unwrap_or(0.0));
    // the names of files that lie together, or their paths
    let folder = done.files.first().and_then(|file| file.parent()).unwrap_or(&done.folder);
    let lie_together = done.files.iter().all(|file| file.parent() == Some(folder));
    let name = |file: &PathBuf| match lie_together {
        true => file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        false => shown(file),
    };
    let names: Vec<String> = done.files.iter().map(name).collect();
    let shown = if names.len() > 6 {
        format!("{} ... {}", names[..3].join(", "), names[names.len() - 1])
    } else {
        names.join(", ")
    };
    let mut text = format!(
        "{}: {shown}\n  {} ({}); {} iterations{}; {:.1} s",
        if lie_together { folder } else { &done.folder }.display(),
        report["method"].as_str().unwrap_or(""),
        report["why"].as_str().filter(|why| !why.is_empty()).unwrap_or("as asked"),
        report["iterations"],
        stopped(report["stopped"].as_str().unwrap_or("")),
        seconds.sum::<f64>(),
    );
    if let Some(residual) = report["residual_db"].as_f64().filter(|_| report["sums_to_input"] == true) {
        text += &format!("; the sources add up to the input ({residual:.0} dB)");
    }
    if let Some(scores) = done.report["scores"]["metrics"]["si-sdr"].as_object() {
        let mean = |key: &str| {
            let values: Vec<f64> =
                scores[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            values.iter().sum::<f64>() / values.len() as f64
        };
        text += &format!(
            "\n  mean SI-SDR {} dB, improvement over the input {} dB; all scores are in report.json",
            decibel(mean("sdr")),
            decibel(mean("sdr_improvement"))
        );
    }
    text
}

/// Why iterations ended, for people.
fn stopped(reason: &str) -> &'static str {
    if reason == "tolerance" { ", then hardly anything changed" } else { ", as many as allowed" }
}

fn request(options: &Separate) -> Result<Request> {
    let mut dictionaries = Vec::new();
    for path in &options.dictionary {
        let file = DictionaryFile::read(path)?;
        dictionaries.push(Learned::from_file(file).map_err(|e| anyhow!("{}: {e}", path.display()))?);
    }
    Ok(Request {
        n_channels: None,
        settings: Vec::new(),
        n_sources: options.sources,
        seed: options.seed,
        dictionaries,
        free: options.free.clone(),
        models: options.model.iter().map(|(name, path)| model::read(name, path)).collect::<Result<_, _>>()?,
    })
}

/// Refuses inputs whose results would overwrite each other, or another input.
fn refuse_shared_outputs(jobs: &[Job]) -> Result<()> {
    if jobs.len() < 2 {
        return Ok(());
    }
    let mut writers: HashMap<PathBuf, &Job> = HashMap::new();
    for job in jobs {
        // an input that cannot be read is told when its turn comes
        for output in job.outputs().unwrap_or_default() {
            let output = &output;
            if let Some(other) =
                jobs.iter().flat_map(|job| &job.inputs).find(|input| same_file(input, output))
            {
                bail!(wrong_use(format!(
                    "{} is an input and would be written for {}: choose another folder with -o",
                    other.display(),
                    job.inputs[0].display()
                )));
            }
            if let Some(other) = writers.insert(output.clone(), job) {
                bail!(wrong_use(format!(
                    "{} and {} would both be written to {}: separate them one by one with different -o, or rename one",
                    other.inputs[0].display(),
                    job.inputs[0].display(),
                    output.display()
                )));
            }
        }
    }
    Ok(())
}

pub fn write_format(format: &Format) -> WriteFormat {
    WriteFormat {
        container: match format.format {
            Container::Wav => audio::Container::Wav,
            Container::Flac => audio::Container::Flac,
        },
        samples: match (format.int16, format.int24) {
            (true, _) => SampleKind::Int16,
            (_, true) => SampleKind::Int24,
            _ => SampleKind::Float32,
        },
        clip: match format.clip_mode {
            Clip::None => ClipMode::None,
            Clip::Clamp => ClipMode::Clamp,
            Clip::Rescale => ClipMode::Rescale,
        },
        ..WriteFormat::default()
    }
}

pub fn methods(options: &Methods, reporter: &Reporter) -> Result<ExitCode> {
    if let Some(name) = &options.name {
        let method = Method::named(name).map_err(wrong_use)?;
        let mut text = wrapped(&format!("{}: {}", method.name, method.summary), 0)
            + &wrapped(&format!("Source: {}", method.reference), 0);
        for setting in &method.settings() {
            text += &describe(setting);
        }
        reporter.result(&text, &method_value(method));
        return Ok(ExitCode::SUCCESS);
    }
    let text: Vec<String> =
        METHODS.iter().map(|m| wrapped(&format!("- {}: {}", m.name, m.summary), 0)).collect();
    let value: Value = METHODS.iter().map(method_value).collect();
    reporter.result(&format!("{}\nSettings of one: demix methods NAME", text.join("")), &value);
    Ok(ExitCode::SUCCESS)
}

fn method_value(method: &Method) -> Value {
    json!({
        "name": method.name,
        "meaning": method.summary,
        "source": method.reference,
        "settings": method.settings().iter().map(setting_value).collect::<Vec<_>>(),
    })
}

pub fn describe(setting: &Setting) -> String {
    let default = setting.default.to_string().replace('"', "");
    let unit = if setting.unit.is_empty() { String::new() } else { format!(" {}", setting.unit) };
    let range = setting.range.map_or_else(String::new, |(low, high)| format!(", {low} to {high}"));
    let mut text = format!("\n  {}={default}{unit}  ({}{range})\n", setting.name, setting.kind);
    text += &wrapped(&setting.doc, 6);
    for (name, meaning) in &setting.choices {
        text += &wrapped(&format!("- {name}: {meaning}"), 6);
    }
    text
}

/// Lines of at most 100 characters; those after a dash stand below what follows it.
fn wrapped(text: &str, indent: usize) -> String {
    let hang = indent + if text.starts_with("- ") { 2 } else { 0 };
    let mut lines = vec![" ".repeat(indent)];
    for word in text.split_whitespace() {
        let line = &lines[lines.len() - 1];
        let is_new = line.trim().is_empty();
        if !is_new && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(" ".repeat(hang));
        } else if !is_new {
            lines.last_mut().map(|line| line.push(' ')).unwrap_or_default();
        }
        lines.last_mut().map(|line| line.push_str(word)).unwrap_or_default();
    }
    lines.join("\n") + "\n"
}

fn setting_value(setting: &Setting) -> Value {
    json!({
        "name": setting.name,
        "type": setting.kind,
        "default": setting.default,
        "unit": setting.unit,
        "range": setting.range.map(|(low, high)| [low, high]),
        "choices": setting.choices.iter().map(|(name, doc)| json!({ "name": name, "meaning": doc })).collect::<Vec<_>>(),
        "meaning": setting.doc,
    })
}

pub fn dictionary(options: &Dictionary, reporter: &Reporter) -> Result<ExitCode> {
    let mut settings = match &options.settings {
        Some(path) => read_settings(path)?.1,
        None => Vec::new(),
    };
    settings.extend(options.set.iter().cloned());
    if let Some(seed) = options.seed {
        settings.push(("seed".into(), seed.to_string()));
    }
    let inputs = expand_inputs(&options.inputs)?;
    let read = ReadOptions { start: options.start, duration: options.duration };
    let learned = {
        let mut follower = reporter.follow(&options.name);
        learn::dictionary(
            &options.name,
            &inputs,
            &settings,
            &read,
            &options.output,
            options.overwrite,
            &mut follower,
        )?
    };
    let dictionary = &learned.dictionary;
    let text = format!(
        "{}: '{}', {} components of {} bins at {} Hz from {:.1} s of audio ({} iterations{})",
        options.output.display(),
        dictionary.name,
        dictionary.components.ncols(),
        dictionary.components.nrows(),
        dictionary.sample_rate,
        learned.seconds,
        learned.cost.len().saturating_sub(1),
        stopped(learned.stopped.name()),
    );
    reporter.say(&text);
    reporter.event(&json!({ "event": "done", "file": shown(&options.output), "name": dictionary.name,
        "components": dictionary.components.ncols(), "cost": learned.cost, "stopped": learned.stopped.name() }));
    Ok(ExitCode::SUCCESS)
}

pub fn remix(options: &Remix, reporter: &Reporter) -> Result<ExitCode> {
    let mut format = write_format(&options.format);
    if options.output.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("flac")) {
        format.container = audio::Container::Flac;
    }
    let written = mix::remix(&options.folder, &options.gain, &options.output, &format, options.overwrite)?;
    if written.clipped_samples > 0 {
        reporter.warn(&format!(
            "{} samples beyond full scale were clipped (peak {:.3})",
            written.clipped_samples, written.peak
        ));
    }
    reporter.say(&format!("{} (peak {:.3})", options.output.display(), written.peak));
    reporter.event(&json!({ "event": "done", "file": shown(&options.output), "peak": written.peak,
        "clipped_samples": written.clipped_samples }));
    Ok(ExitCode::SUCCESS)
}

pub fn info(options: &Info, reporter: &Reporter) -> Result<ExitCode> {
    let mut failed = false;
    for file in &options.files {
        match facts::info(file) {
            Ok(mut value) => {
                let mut text = format!("{}\n", file.display());
                for (key, value) in value.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
                    text += &format!("  {key}: {}\n", plain(value));
                }
                value["file"] = shown(file).into();
                reporter.result(&text, &value);
            }
            Err(error) => {
                failed = true;
                reporter.error(&error.to_string());
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A path as text, for JSON as well, which has no others.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn all_shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| shown(path)).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

pub fn demo(options: &Demo, reporter: &Reporter) -> Result<ExitCode> {
    let settings = DemoSettings { seed: options.seed, ..DemoSettings::default() };
    let result = {
        let mut follower = reporter.follow("demo");
        make_demo(&settings, &options.output, options.overwrite, &mut follower)?
    };
    let rows = result.rows();
    let mut text = format!(
        "{:<6} {:<28} {:<12} {:>8} {:>12}\n",
        "case", "separation", "source", "SI-SDR", "improvement"
    );
    for row in &rows {
        text += &format!(
            "{:<6} {:<28} {:<12} {:>5.1} dB {:>+9.1} dB\n",
            row.case, row.attempt, row.source, row.si_sdr, row.improvement
        );
    }
    let page = options.output.join("index.html");
    text += &format!("\n{}\n\nHear and see it: open {}", result.ranking.sentence, page.display());
    let scores: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({ "case": row.case, "separation": row.attempt, "source": row.source,
            "si_sdr": row.si_sdr, "improvement": row.improvement })
        })
        .collect();
    let value = json!({ "event": "done", "page": shown(&page), "scores": scores,
        "ranking_holds": result.ranking.holds, "ranking": result.ranking.sentence });
    reporter.result(&text, &value);
    Ok(ExitCode::SUCCESS)
}

pub fn completions(options: &Completions) -> Result<ExitCode> {
    // into memory first: the generator panics where nobody reads its output to the end
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "demix", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
