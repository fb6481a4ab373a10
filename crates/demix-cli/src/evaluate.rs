//! `demix evaluate`: what can be typed, and the table of scores.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use demix::pipeline::evaluate::outputs::{self, SummaryRow};
use demix::pipeline::evaluate::tracks::{TrackEvaluation, TrackScores, evaluate_tracks};
use demix::pipeline::evaluate::{Evaluation, Metric, MetricSettings, evaluate as scores};
use serde_json::Value;

use crate::arguments::{at_least_one, seconds};
use crate::progress::Reporter;

#[derive(Args)]
pub struct Evaluate {
    /// The true sources.
    #[arg(long, required_unless_present = "tracks", num_args = 1.., value_name = "FILE")]
    pub reference: Vec<PathBuf>,
    /// The separated sources, in any order.
    #[arg(long, required_unless_present = "tracks", num_args = 1.., value_name = "FILE")]
    pub estimate: Vec<PathBuf>,
    /// The mixture: prints improvements, too.
    #[arg(long, value_name = "FILE")]
    pub mixture: Option<PathBuf>,
    /// In place of files: a method's folder of tracks (DIR/TRACK/SOURCE.wav, at any depth, as DSD100 and MUSDB18
    /// estimates are laid out); once for every method to compare.
    #[arg(long, value_name = "DIR", requires = "reference_dir", conflicts_with_all = ["reference", "estimate", "mixture"])]
    pub tracks: Vec<PathBuf>,
    /// The true sources of --tracks: TRACK/SOURCE.wav and TRACK/mixture.wav (MUSDB18), or Sources/TRACK/SOURCE.wav
    /// and Mixtures/TRACK/mixture.wav (DSD100), at any depth.
    #[arg(long, value_name = "DIR", requires = "tracks")]
    pub reference_dir: Option<PathBuf>,
    /// Where --tracks leaves scores.csv, summary.csv, summary.json, box plots and a page to see and hear all of it.
    #[arg(long, short, value_name = "DIR", requires = "tracks")]
    pub output: Option<PathBuf>,
    /// Seed of the bootstrap intervals of --tracks.
    #[arg(long, default_value_t = 0, value_name = "N", requires = "tracks")]
    pub seed: u64,
    /// Replace existing files.
    #[arg(long, requires = "output")]
    pub overwrite: bool,
    /// Metrics, separated by commas: bss-eval-v3, bss-eval-v3-images, bss-eval-v4, projection, si-sdr, snr, fbw-snr
    /// [default: si-sdr,bss-eval-v3,snr]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub metrics: Vec<String>,
    /// Compare estimate n with reference n instead of finding the best order.
    #[arg(long)]
    pub keep_order: bool,
    /// Taps of the distortion filters of BSS Eval [default: 512]
    #[arg(long, value_name = "TAPS", value_parser = at_least_one)]
    pub filter_length: Option<usize>,
    /// Window of bss-eval-v4 [default: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub window: Option<f64>,
    /// Distance of the windows of bss-eval-v4 [default: the window]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub hop: Option<f64>,
    /// Score what masks and filters could reach if the sources were known, too; needs the mixture.
    #[arg(long)]
    pub oracle: bool,
}

impl Evaluate {
    fn settings(&self) -> MetricSettings {
        let default = MetricSettings::default();
        MetricSettings {
            filter_length: self.filter_length.unwrap_or(default.filter_length),
            window: self.window.unwrap_or(default.window),
            hop: self.hop,
            keep_order: self.keep_order,
        }
    }
}

pub fn evaluate(options: &Evaluate, reporter: &Reporter) -> Result<ExitCode> {
    if let Some(references) = &options.reference_dir {
        return evaluate_folders(options, references, reporter);
    }
    let value = scores(&Evaluation {
        references: options.reference.clone(),
        estimates: options.estimate.clone(),
        mixture: options.mixture.clone(),
        metrics: options.metrics.clone(),
        settings: options.settings(),
        oracle: options.oracle,
    })?;
    reporter.result(&score_text(&options.reference, &options.estimate, &value), &value);
    Ok(ExitCode::SUCCESS)
}

fn evaluate_folders(options: &Evaluate, references: &Path, reporter: &Reporter) -> Result<ExitCode> {
    if let Some(folder) = &options.output {
        outputs::check_free(folder, options.overwrite)?;
    }
    let what = TrackEvaluation {
        references: references.into(),
        methods: options.tracks.clone(),
        metrics: options.metrics.clone(),
        settings: options.settings(),
        oracle: options.oracle,
    };
    let found = evaluate_tracks(&what, &mut reporter.follow("tracks"))?;
    for warning in &found.warnings {
        reporter.warn(warning);
    }
    for failure in &found.failures {
        reporter.error(failure);
    }
    let summary = outputs::summarise(&found, options.seed);
    let mut value = outputs::summary_value(&found, &summary);
    let mut text = summary_text(&found, &summary);
    if let Some(folder) = &options.output {
        let files = outputs::write(folder, &found, &summary, options.overwrite)?;
        value["files"] = files.iter().map(|file| file.display().to_string()).collect();
        text += &format!("See and hear it: open {}", folder.join("index.html").display());
    }
    reporter.result(&text, &value);
    Ok(if found.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For each metric a row for each method and source: the quantity that sums up, and its improvement.
fn summary_text(found: &TrackScores, summary: &[SummaryRow]) -> String {
    let mut text = format!("{} tracks, {} methods\n\n", found.listening.len(), found.methods.len());
    for metric in &found.metrics {
        let Some(first) = metric.quantities().first() else { continue };
        for quantity in [(*first).to_string(), format!("{first}_improvement")] {
            let mut rows: Vec<&SummaryRow> =
                summary.iter().filter(|row| row.metric == *metric && row.quantity == quantity).collect();
            let Some(_) = rows.first() else { continue };
            let place = |row: &&SummaryRow| found.sources.iter().position(|source| *source == row.source);
            rows.sort_by_key(|row| place(row).unwrap_or(usize::MAX));
            let heading =
                ["source", "method", "n", "mean", "95 % interval", "median", "95 % interval", "deviation"];
            let mut table = vec![heading.map(str::to_string).to_vec()];
            for row in rows {
                let s = &row.summary;
                let interval = |(low, high)| format!("{} to {}", decibel(low), decibel(high));
                table.push(vec![
                    row.source.clone(),
                    row.method.clone(),
                    s.n.to_string(),
                    decibel(s.mean),
                    interval(s.mean_interval),
                    decibel(s.median),
                    interval(s.median_interval),
                    decibel(s.deviation),
                ]);
            }
            let readable = quantity.replace('_', " ").replacen(first, &first.to_uppercase(), 1);
            text += &format!("{metric}: {readable} (dB)\n{}\n", aligned(&table));
        }
    }
    text
}

/// A table for each metric, with a row for each reference; one for each oracle, too.
fn score_text(references: &[PathBuf], estimates: &[PathBuf], value: &Value) -> String {
    let mut text = String::new();
    let labels = labels(references);
    let estimate_labels = self::labels(estimates);
    let estimate_of =
        |e: &Value| e.as_u64().and_then(|e| estimate_labels.get(e as usize)).cloned().unwrap_or_default();
    for (name, columns) in value["metrics"].as_object().into_iter().flatten() {
        let mut table = table_of(name, columns, &labels);
        table[0].push("estimate".into());
        for (n, row) in table[1..].iter_mut().enumerate() {
            row.push(estimate_of(&columns["permutation"][n]));
        }
        text += &format!("{name} (dB)\n{}\n", aligned(&table));
    }
    for name in value["metrics"].as_object().into_iter().flatten().map(|(name, _)| name) {
        text += &oracle_text(name, &labels, &value["oracle"]);
    }
    text
}

/// One metric's first quantity of every oracle, and what share of its improvement the estimate reached.
fn oracle_text(metric: &str, labels: &[String], oracles: &Value) -> String {
    let Some(oracles) = oracles.as_object() else { return String::new() };
    let Some(quantity) = Metric::named(metric).ok().and_then(|metric| metric.quantities().first().copied())
    else {
        return String::new();
    };
    let heading = std::iter::once("reference".to_string()).chain(oracles.keys().cloned());
    let mut table = vec![heading.collect::<Vec<String>>()];
    for (n, label) in labels.iter().enumerate() {
        let cells = oracles.values().map(|metrics| {
            let share = match metrics[metric][format!("{quantity}_share")][n].as_f64() {
                Some(share) => format!("{:.0}%", 100.0 * share),
                None => "undefined".into(),
            };
            format!("{} ({share})", cell(&metrics[metric][quantity][n]))
        });
        table.push(std::iter::once(label.clone()).chain(cells).collect());
    }
    format!(
        "oracles, {metric}: {} (dB), in brackets the estimate's share of the oracle's improvement\n{}\n",
        quantity.to_uppercase(),
        aligned(&table)
    )
}

/// Heading and a row for each reference: the quantities and their improvements.
fn table_of(metric: &str, columns: &Value, labels: &[String]) -> Vec<Vec<String>> {
    let quantities = Metric::named(metric).map_or(&[][..], Metric::quantities);
    let mut keys: Vec<(String, String)> = Vec::new();
    for (suffix, heading) in [("", ""), ("_improvement", " improvement")] {
        // the mixture has no artifacts: its SAR is rounding, and so is what is gained over it
        let shown = quantities.iter().filter(|name| suffix.is_empty() || **name != "sar");
        keys.extend(
            shown.map(|name| (format!("{name}{suffix}"), format!("{}{heading}", name.to_uppercase()))),
        );
    }
    keys.retain(|(key, _)| columns.get(key).is_some());
    let heading = std::iter::once("reference".into()).chain(keys.iter().map(|(_, heading)| heading.clone()));
    let mut table = vec![heading.collect::<Vec<String>>()];
    for (n, label) in labels.iter().enumerate() {
        let cells = keys.iter().map(|(key, _)| cell(&columns[key.as_str()][n]));
        table.push(std::iter::once(label.clone()).chain(cells).collect());
    }
    table
}

/// A score as the contract writes it, for people.
fn cell(score: &Value) -> String {
    match score {
        Value::Number(x) => decibel(x.as_f64().unwrap_or(f64::NAN)),
        Value::String(infinite) => infinite.clone(),
        _ => "undefined".into(),
    }
}

/// Two decimals, no minus before nothing, and a word for what is no number.
pub fn decibel(x: f64) -> String {
    if x.is_nan() { "undefined".into() } else { format!("{:.2}", (100.0 * x).round() / 100.0 + 0.0) }
}

/// Columns side by side: the first to the left, numbers to the right, the names of files that follow to the left.
pub fn aligned(table: &[Vec<String>]) -> String {
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let mut text = String::new();
    for row in table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let is_text = column == 0 || ["estimate", "method"].contains(&table[0][column].as_str());
            line += &if is_text { format!("  {cell:width$}") } else { format!("  {cell:>width$}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Names of files where they tell them apart, paths where not.
fn labels(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let names: Vec<String> = paths.iter().filter_map(|path| name(path)).collect();
    let apart = names.len() == paths.len() && (1..names.len()).all(|n| !names[..n].contains(&names[n]));
    if apart { names } else { paths.iter().map(|path| path.display().to_string()).collect() }
}
