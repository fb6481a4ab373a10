//! `index.html` of a folder of tracks: all methods side by side, to be seen and heard. The sounds stay where they
//! are; the page links to them by relative paths.

use std::path::{Component, Path, PathBuf};

use super::metric::Metric;
use super::outputs::{ALL_SOURCES, SummaryRow, readable};
use super::tracks::{Listening, TrackScores};
use crate::demo::page::{SCRIPT, STYLE, audio, decibel, escape, gain, link, push, write_cell};

/// Where tables of this page differ from the demo's.
const OWN_STYLE: &str = ".scores { max-width: none; }\n.scores tbody th { padding-top: 10px; white-space: nowrap; }\n\
                         .heard { padding: 0 18px 8px; }\n";

/// A picture beside the page.
pub struct Drawing {
    /// Its file.
    pub path: String,
    /// What it shows.
    pub title: String,
    /// Width and height in pixels.
    pub size: (usize, usize),
}

/// The page that will stand in `folder`.
pub fn index(folder: &Path, scores: &TrackScores, summary: &[SummaryRow], drawings: &[Drawing]) -> String {
    let n_tracks = scores.listening.len();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>demix: scores of {n_tracks} tracks</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n\
         <div class=\"page\">\n<header>\n<h1>Scores of {n_tracks} tracks</h1>\n\
         <p>{}. Every number lies beside this page: <a href=\"scores.csv\">scores.csv</a> has a line for each \
         track, source and metric, <a href=\"summary.csv\">summary.csv</a> what follows here.</p>\n\
         <nav aria-label=\"Parts\"><ul>\n<li><a href=\"#summary\">Summary</a></li>\n\
         <li><a href=\"#boxes\">Box plots</a></li>\n<li><a href=\"#tracks\">Tracks</a></li>\n</ul></nav>\n\
         </header>\n<main>\n",
        escape(&scores.methods.join(", "))
    );
    write_summary(&mut page, scores, summary);
    page.push_str(
        "<section id=\"boxes\" aria-labelledby=\"boxes-title\">\n<h2 id=\"boxes-title\">Box plots</h2>\n",
    );
    page.push_str("<p>Line: median. Box: half of the tracks. Whiskers: the furthest tracks within 1.5 times the box. Dots: tracks beyond.</p>\n<div class=\"pictures\">\n");
    for Drawing { path, title, size: (width, height) } in drawings {
        let (href, title) = (link(path), escape(title));
        push(
            &mut page,
            format_args!(
                "<figure><a href=\"{href}\"><img src=\"{href}\" width=\"{width}\" height=\"{height}\" \
                 alt=\"Box plot, {title}\" loading=\"lazy\"></a><figcaption>{title}</figcaption></figure>\n"
            ),
        );
    }
    page.push_str("</div>\n</section>\n");
    page.push_str(
        "<section id=\"tracks\" aria-labelledby=\"tracks-title\">\n<h2 id=\"tracks-title\">Tracks</h2>\n",
    );
    for (n, heard) in scores.listening.iter().enumerate() {
        write_track(&mut page, folder, scores, heard, n == 0);
    }
    page.push_str("</section>\n");
    push(
        &mut page,
        format_args!(
            "</main>\n<footer><p>Made by demix {}. Sounds are played from where they were scored.</p></footer>\n\
             </div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
            escape(crate::VERSION)
        ),
    );
    page
}

/// A table for each metric: the median and its interval for every method and source.
fn write_summary(page: &mut String, scores: &TrackScores, summary: &[SummaryRow]) {
    page.push_str(
        "<section id=\"summary\" aria-labelledby=\"summary-title\">\n<h2 id=\"summary-title\">Summary</h2>\n\
         <p>Medians over the tracks, in brackets the 95 % bootstrap interval. \u{2018}all\u{2019} is of the mean over \
         the sources of each track.</p>\n",
    );
    for &metric in &scores.metrics {
        let Some(quantity) = shown_quantity(scores, metric) else { continue };
        push(
            page,
            format_args!(
                "<table class=\"scores\">\n<caption>{metric}: {} (dB)</caption>\n<thead><tr><th scope=\"col\">Method</th>",
                readable(&quantity)
            ),
        );
        let sources: Vec<&str> = scores.sources.iter().map(String::as_str).chain([ALL_SOURCES]).collect();
        for source in &sources {
            push(page, format_args!("<th scope=\"col\" class=\"number\">{}</th>", escape(source)));
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for method in &scores.methods {
            push(page, format_args!("<tr><th scope=\"row\">{}</th>", escape(method)));
            for source in &sources {
                let row = summary.iter().find(|row| {
                    row.metric == metric
                        && row.quantity == quantity
                        && row.method == *method
                        && row.source == *source
                });
                let text = row.map_or_else(
                    || "n/a".into(),
                    |row| {
                        let (low, high) = row.summary.median_interval;
                        let median = decibel(row.summary.median);
                        format!(
                            "{median} <span class=\"soft\">({} to {})</span>",
                            decibel(low),
                            decibel(high)
                        )
                    },
                );
                push(page, format_args!("<td class=\"number\">{text}</td>"));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n</table>\n");
    }
    for problem in &scores.failures {
        push(
            page,
            format_args!("<p class=\"finding\"><strong>Not scored.</strong> {}</p>\n", escape(problem)),
        );
    }
    page.push_str("</section>\n");
}

/// The improvement of the quantity that sums up where mixtures are known, else that quantity.
fn shown_quantity(scores: &TrackScores, metric: Metric) -> Option<String> {
    let first = metric.quantities().first()?;
    let present = scores.quantities(metric);
    let improvement = format!("{first}_improvement");
    Some(if present.contains(&improvement) { improvement } else { (*first).to_string() })
}

/// A column for each source; the references, then each method.
fn write_track(page: &mut String, folder: &Path, scores: &TrackScores, heard: &Listening, open: bool) {
    let sound = |path: &Path, label: &str| audio(&relative(folder, path), label);
    push(
        page,
        format_args!(
            "<details{}><summary>{}</summary>\n<div class=\"heard\">\n",
            if open { " open" } else { "" },
            escape(&heard.track)
        ),
    );
    if let Some(mixture) = &heard.mixture {
        let label = format!("{}: the mixture", heard.track);
        push(
            page,
            format_args!("<div class=\"mixture\"><strong>Mixture</strong>{}</div>\n", sound(mixture, &label)),
        );
    }
    page.push_str("<table class=\"listen\">\n<thead><tr><th scope=\"col\">Source</th>");
    let mut sources: Vec<&str> = heard.references.iter().map(|(name, _)| name.as_str()).collect();
    for (_, source, _) in &heard.estimates {
        if !sources.contains(&source.as_str()) {
            sources.push(source);
        }
    }
    for source in &sources {
        push(page, format_args!("<th scope=\"col\">{}</th>", escape(source)));
    }
    page.push_str("</tr></thead>\n<tbody>\n<tr><th scope=\"row\">Reference</th>");
    for source in &sources {
        let found = heard.references.iter().find(|(name, _)| name == source);
        let label = format!("{}: {source}, reference", heard.track);
        write_cell(page, source, &found.map_or_else(String::new, |(_, path)| sound(path, &label)), "");
    }
    page.push_str("</tr>\n");
    for method in &scores.methods {
        let of_method: Vec<_> = heard.estimates.iter().filter(|(name, ..)| name == method).collect();
        if of_method.is_empty() {
            continue;
        }
        push(page, format_args!("<tr><th scope=\"row\">{}</th>", escape(method)));
        for source in &sources {
            let label = format!("{}: {source}, {method}", heard.track);
            let found = of_method.iter().find(|(_, name, _)| name == source);
            let audio = found.map_or_else(|| "n/a".into(), |(.., path)| sound(path, &label));
            write_cell(page, source, &audio, &score_text(scores, heard, method, source));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n</details>\n");
}

/// The first metric's first quantity and its improvement.
fn score_text(scores: &TrackScores, heard: &Listening, method: &str, source: &str) -> String {
    let row = scores.rows.iter().find(|r| r.method == method && r.track == heard.track && r.source == source);
    let Some((row, quantity)) = row.and_then(|row| Some((row, row.metric.quantities().first()?))) else {
        return String::new();
    };
    let value = decibel(row.value(quantity).unwrap_or(f64::NAN));
    let text = format!("{} {} {value} dB", row.metric.name(), quantity.to_uppercase());
    match row.value(&format!("{quantity}_improvement")) {
        Some(improvement) => format!("{text} ({} dB)", gain(improvement)),
        None => text,
    }
}

/// The way from a folder to a file, as a link has it.
fn relative(folder: &Path, file: &Path) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (folder, file) = (whole(folder), whole(file));
    let shared = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        // another drive: there is no relative way
        return file.display().to_string();
    }
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(file.components().skip(shared)).collect();
    way.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_sound() {
        let root = tempfile::tempdir().unwrap();
        let place = |path: &str| {
            let folder = root.path().join(path);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let (page, data) = (place("out/scores"), place("data/a b"));
        std::fs::write(data.join("x.wav"), "").unwrap();
        assert_eq!(relative(&page, &data.join("x.wav")), "../../data/a b/x.wav");
        std::fs::write(page.join("y.wav"), "").unwrap();
        assert_eq!(relative(&page, &page.join("y.wav")), "y.wav");
    }
}
