//! What is left of a folder of tracks: `scores.csv`, `summary.csv`, `summary.json`, box plots, `index.html`.

use std::path::{Path, PathBuf};

use demix_figure::{BoxPlot, BoxSeries, boxes};
use demix_files::atomic::check_output_folder;
use demix_files::report;
use serde_json::{Map, Value, json};

use super::metric::Metric;
use super::page;
use super::statistics::Summary;
use super::tracks::TrackScores;
use crate::pipeline::PipelineError;
use crate::pipeline::separate::number;

/// A line of the summary: one quantity of one source of one method, over the tracks.
#[derive(Clone, Debug)]
pub struct SummaryRow {
    /// Name of the method.
    pub method: String,
    /// Name of the source; [`ALL_SOURCES`] for the means over the sources of each track.
    pub source: String,
    /// Which metric.
    pub metric: Metric,
    /// `sdr`, `sdr_improvement`...
    pub quantity: String,
    /// The numbers.
    pub summary: Summary,
}

/// The source of a summary of all sources.
pub const ALL_SOURCES: &str = "all";

/// Sums up every quantity of every method and source, and of all sources.
///
/// An average of sources is taken in each track first, so that tracks, not sources, are what intervals are drawn from.
pub fn summarise(scores: &TrackScores, seed: u64) -> Vec<SummaryRow> {
    let mut rows = Vec::new();
    for &metric in &scores.metrics {
        for quantity in scores.quantities(metric) {
            for method in &scores.methods {
                let mut add = |source: &str, values: Vec<f64>| {
                    if !values.is_empty() {
                        let summary = Summary::new(&values, seed);
                        let (method, source, quantity) = (method.clone(), source.into(), quantity.clone());
                        rows.push(SummaryRow { method, source, metric, quantity, summary });
                    }
                };
                for source in &scores.sources {
                    add(source, scores.values(method, source, metric, &quantity));
                }
                add(ALL_SOURCES, scores.track_means(method, metric, &quantity));
            }
        }
    }
    rows
}

/// For JSON: `{"summary": [{"method", "source", "metric", "quantity", "n", "mean"...}...], "failures", "warnings"}`.
pub fn summary_value(scores: &TrackScores, summary: &[SummaryRow]) -> Value {
    let pair = |(low, high): (f64, f64)| json!([number(low), number(high)]);
    let rows: Vec<Value> = summary
        .iter()
        .map(|row| {
            let s = &row.summary;
            json!({
                "method": row.method, "source": row.source, "metric": row.metric.name(), "quantity": row.quantity,
                "n": s.n, "left_out": s.left_out, "mean": number(s.mean), "mean_interval": pair(s.mean_interval),
                "median": number(s.median), "median_interval": pair(s.median_interval),
                "standard_deviation": number(s.deviation), "quartiles": pair(s.quartiles),
            })
        })
        .collect();
    let mut value = Map::new();
    value.insert("tracks".into(), scores.listening.len().into());
    value.insert("methods".into(), json!(scores.methods));
    value.insert("summary".into(), rows.into());
    value.insert("failures".into(), json!(scores.failures));
    value.insert("warnings".into(), json!(scores.warnings));
    value.into()
}

/// Refuses a folder that holds such results already, before any work.
///
/// # Errors
/// Names the first file.
pub fn check_free(folder: &Path, overwrite: bool) -> Result<(), PipelineError> {
    let there = FILES.iter().map(|name| folder.join(name)).find(|path| path.exists());
    match there.filter(|_| !overwrite) {
        Some(path) => Err(PipelineError::Request(format!(
            "{} exists: add --overwrite to replace it, or choose another folder with -o",
            path.display()
        ))),
        None => Ok(()),
    }
}

const FILES: [&str; 4] = ["index.html", "scores.csv", "summary.csv", "summary.json"];

/// Writes everything; the page, which shows the rest, comes last.
///
/// # Errors
/// A folder that cannot be written or, unless `overwrite`, has such results already.
pub fn write(
    folder: &Path,
    scores: &TrackScores,
    summary: &[SummaryRow],
    overwrite: bool,
) -> Result<Vec<PathBuf>, PipelineError> {
    check_free(folder, overwrite)?;
    let new_folders = check_output_folder(folder)?;
    let mut pictures = Vec::new();
    let mut files = vec![
        ("scores.csv".to_string(), scores_csv(scores).into_bytes()),
        ("summary.csv".to_string(), summary_csv(summary).into_bytes()),
    ];
    for (name, title, picture) in box_plots(scores) {
        pictures.push(page::Drawing { path: name.clone(), title, size: (picture.width, picture.height) });
        files.push((name, picture.to_png()));
    }
    let page = page::index(folder, scores, summary, &pictures);
    for (name, bytes) in &files {
        report::write_bytes(&folder.join(name), bytes)?;
    }
    report::write_json(&folder.join("summary.json"), &summary_value(scores, summary))?;
    report::write_bytes(&folder.join("index.html"), page.as_bytes())?;
    drop(new_folders);
    let names = files.iter().map(|(name, _)| name.as_str()).chain(["summary.json", "index.html"]);
    Ok(names.map(|name| folder.join(name)).collect())
}

/// A table with a line for each method, track, source and metric; quantities that a metric lacks stay empty.
fn scores_csv(scores: &TrackScores) -> String {
    let mut quantities: Vec<String> = Vec::new();
    for quantity in scores.metrics.iter().flat_map(|&metric| scores.quantities(metric)) {
        if !quantities.contains(&quantity) {
            quantities.push(quantity);
        }
    }
    let fixed = ["method", "track", "source", "metric"];
    let mut text = line(fixed.iter().map(|name| (*name).to_string()).chain(quantities.iter().cloned()));
    for row in &scores.rows {
        let names = [&*row.method, &*row.track, &*row.source, row.metric.name()].map(str::to_string);
        let values = quantities.iter().map(|quantity| row.value(quantity).map_or_else(String::new, decimal));
        text += &line(names.into_iter().chain(values));
    }
    text
}

fn summary_csv(summary: &[SummaryRow]) -> String {
    let heading = "method,source,metric,quantity,n,left_out,mean,mean_low,mean_high,median,median_low,median_high,\
                   standard_deviation,lower_quartile,upper_quartile";
    let mut text = format!("{heading}\r\n");
    for row in summary {
        let s = &row.summary;
        let names = [&*row.method, &*row.source, row.metric.name(), &*row.quantity].map(str::to_string);
        let counts = [s.n.to_string(), s.left_out.to_string()];
        let numbers = [
            s.mean,
            s.mean_interval.0,
            s.mean_interval.1,
            s.median,
            s.median_interval.0,
            s.median_interval.1,
            s.deviation,
            s.quartiles.0,
            s.quartiles.1,
        ];
        text += &line(names.into_iter().chain(counts).chain(numbers.map(decimal)));
    }
    text
}

/// As statistics programs read it: nan, inf, -inf.
fn decimal(x: f64) -> String {
    if x.is_nan() { "nan".into() } else { x.to_string() }
}

/// RFC 4180: quotes where a cell has a comma, a quote or a break.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = cells.map(|cell| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    });
    format!("{}\r\n", quoted.collect::<Vec<_>>().join(","))
}

/// File name, title and picture of every quantity, and of the improvement of the first one.
fn box_plots(scores: &TrackScores) -> Vec<(String, String, demix_figure::Picture)> {
    let mut plots = Vec::new();
    let groups: Vec<&str> = scores.sources.iter().map(String::as_str).collect();
    for &metric in &scores.metrics {
        let present = scores.quantities(metric);
        let first = metric.quantities().first().copied().unwrap_or_default();
        let shown =
            |name: &&String| !name.ends_with("_improvement") || **name == format!("{first}_improvement");
        for quantity in present.iter().filter(shown) {
            let values: Vec<Vec<Vec<f64>>> = scores
                .methods
                .iter()
                .map(|method| {
                    scores.sources.iter().map(|s| scores.values(method, s, metric, quantity)).collect()
                })
                .collect();
            let series: Vec<BoxSeries<'_>> =
                scores.methods.iter().zip(&values).map(|(name, values)| BoxSeries { name, values }).collect();
            let readable = readable(quantity);
            let title = format!("{metric}: {readable} of {} tracks", scores.listening.len());
            let y_title = format!("{readable} (dB)");
            let plot =
                BoxPlot { title: &title, x_title: "", y_title: &y_title, groups: &groups, series: &series };
            plots.push((format!("boxes-{metric}-{quantity}.png"), title.clone(), boxes(&plot)));
        }
    }
    plots
}

/// `SDR improvement` for `sdr_improvement`.
pub(super) fn readable(quantity: &str) -> String {
    match quantity.split_once('_') {
        None => quantity.to_uppercase(),
        Some((name, rest)) => format!("{} {}", name.to_uppercase(), rest.replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["a", "b, c", "5\" disk", "", "-0.5"].map(str::to_string);
        assert_eq!(line(cells.into_iter()), "a,\"b, c\",\"5\"\" disk\",,-0.5\r\n");
        assert_eq!([f64::NAN, f64::INFINITY, 0.1].map(decimal), ["nan", "inf", "0.1"]);
        assert_eq!(readable("sdr_improvement"), "SDR improvement");
    }
}
