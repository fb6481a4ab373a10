//! What a reproduction leaves to be read and looked at.

use std::path::Path;

use demix_figure::{BarPlot, BarSeries, LearningPanel, Picture, bars, learning_curves};
use demix_files::report;
use serde_json::Value;

use super::MixtureScores;
use super::rows::{DRAWN_ETA, ETAS, GROUPS, NUS, Row, power_of_ten, sources};
use super::spectra::Spectra;
use super::table::{Cell, Pick, SongPart, bands_csv, csv, energies_csv, markdown, n_mixtures, picks};
use crate::corpus::Part;
use crate::demo::page::{STYLE, escape, push};
use crate::pipeline::PipelineError;

/// Writes `index.html`, `tables.md`, `scores.csv`, `energies.csv`, `bands.csv` and pictures; gives the tables.
///
/// # Errors
/// Files that cannot be written.
pub fn write(
    folder: &Path,
    rows: &[Row],
    scores: &[MixtureScores],
    parts: &[SongPart],
    spectra: &Spectra,
    described: &Value,
) -> Result<String, PipelineError> {
    let tables = markdown(rows, scores, parts);
    report::write_bytes(&folder.join("tables.md"), tables.as_bytes())?;
    for (name, text) in [
        ("scores.csv", csv(scores)),
        ("energies.csv", energies_csv(scores)),
        ("bands.csv", bands_csv(scores)),
    ] {
        report::write_bytes(&folder.join(name), text.as_bytes())?;
    }
    report::write_json(&folder.join("protocol.json"), described)?;
    let mut figures = Vec::new();
    for (name, title, picture) in pictures(rows, scores, spectra) {
        let file = format!("{name}.png");
        report::write_bytes(&folder.join(&file), &picture.to_png())?;
        figures.push((file, title));
    }
    let page = page(rows, scores, parts, &figures);
    report::write_bytes(&folder.join("index.html"), page.as_bytes())?;
    Ok(tables)
}

type Drawn = (String, String, Picture);

fn pictures(rows: &[Row], scores: &[MixtureScores], spectra: &Spectra) -> Vec<Drawn> {
    let mut all = Vec::new();
    let used: Vec<usize> =
        (0..GROUPS.len()).filter(|&g| scores.iter().any(|s| s.sources.iter().eq(GROUPS[g].iter()))).collect();
    all.extend(improvements(rows, scores, &used));
    all.extend(average_spectra(spectra));
    for &group in &used {
        all.extend(band_bars(scores, group));
        all.extend(energies(scores, group));
    }
    all.extend(by_mismatch(rows, scores));
    all.extend(sweep(scores, &used, "eta", &ETAS, Row::GPop));
    all.extend(sweep(scores, &used, "nu", &NUS, Row::TPop));
    all
}

fn name_of(group: usize) -> String {
    GROUPS[group].join("/")
}

/// Table I as bars: no more rows than there are colours.
fn improvements(rows: &[Row], scores: &[MixtureScores], used: &[usize]) -> Option<Drawn> {
    let shown = [
        Row::Ilrma,
        Row::DnnWf,
        Row::Idlma,
        Row::GPop(1e-2),
        Row::GPop(DRAWN_ETA),
        Row::IlrmaOfDemix,
        Row::GPopOfDemix,
        Row::TrueVariance,
    ];
    let names: Vec<String> = used.iter().map(|&group| name_of(group)).collect();
    let groups: Vec<&str> = names.iter().map(String::as_str).collect();
    let of_row = |row: &Row| -> (String, Vec<f64>, Vec<f64>) {
        let cells: Vec<Option<Cell>> =
            used.iter().map(|&group| Pick::Row(*row).cell(scores, group, &SongPart::default())).collect();
        let value = |cell: &Option<Cell>| cell.as_ref().map_or(f64::NAN, |cell| cell.mean);
        let error = |cell: &Option<Cell>| {
            cell.as_ref().map_or(f64::NAN, |cell| (cell.interval.1 - cell.interval.0) / 2.0)
        };
        (row.key(), cells.iter().map(value).collect(), cells.iter().map(error).collect())
    };
    let data: Vec<_> = shown.iter().filter(|row| rows.contains(row)).map(of_row).collect();
    let series: Vec<BarSeries<'_>> =
        data.iter().map(|(name, values, errors)| BarSeries { name, values, errors: Some(errors) }).collect();
    let title = "SDR improvement by method, with 95 % intervals";
    let plot = BarPlot { title, y_title: "SDR improvement (dB)", groups: &groups, series: &series };
    (!data.is_empty()).then(|| ("improvements".into(), title.into(), bars(&plot)))
}

/// Fig. 8: average spectra of training and Test songs.
fn average_spectra(spectra: &Spectra) -> Vec<Drawn> {
    let of_source = |source: &'static str| {
        let curve = |part: Part| -> Vec<(f64, f64)> {
            let levels = spectra.average(source, part);
            spectra.centres.iter().map(|hertz| hertz.log10()).zip(levels).collect()
        };
        let curves = vec![("training", curve(Part::Dev)), ("Test", curve(Part::Test))];
        let title = format!("Average spectrum of {source} in 24 bands");
        let panel = LearningPanel { y_title: "level (dB)", curves };
        let picture = learning_curves(&title, "log10 of frequency in Hz", &[panel]);
        (format!("spectrum-{source}"), title, picture)
    };
    sources().into_iter().map(of_source).collect()
}

/// Figs. 9 to 11: band-wise signal-to-noise ratios over iterations.
fn band_bars(scores: &[MixtureScores], group: usize) -> Option<Drawn> {
    let of_row = |row: Row| -> Option<Vec<f64>> {
        let runs: Vec<&Vec<f64>> = scores
            .iter()
            .filter(|s| s.sources.iter().eq(GROUPS[group].iter()))
            .filter_map(|s| s.rows.get(&row.key())?.iter().find_map(|run| run.bands.last()))
            .collect();
        let n_bands = runs.first()?.len();
        let mean = |band: usize| runs.iter().map(|bands| bands[band]).sum::<f64>() / runs.len() as f64;
        Some((0..n_bands).map(mean).collect())
    };
    let (idlma, product) = (of_row(Row::Idlma)?, of_row(Row::GPop(DRAWN_ETA))?);
    let names: Vec<String> = (1..=idlma.len()).map(|band| format!("band {band}")).collect();
    let groups: Vec<&str> = names.iter().map(String::as_str).collect();
    let key = Row::GPop(DRAWN_ETA).key();
    let title = format!("Band-wise signal-to-noise ratio at the end, {}", name_of(group));
    let series = [
        BarSeries { name: "idlma", values: &idlma, errors: None },
        BarSeries { name: &key, values: &product, errors: None },
    ];
    let picture = bars(&BarPlot { title: &title, y_title: "FBW-SNR (dB)", groups: &groups, series: &series });
    Some((format!("bands-{}", name_of(group).replace('/', "-")), title, picture))
}

/// Section V-E: the energies of the parts over iterations.
fn energies(scores: &[MixtureScores], group: usize) -> Option<Drawn> {
    let of_eta = |eta: f64| -> Option<Vec<(f64, f64)>> {
        let row = Row::GPop(eta).key();
        let runs: Vec<_> = scores
            .iter()
            .filter(|s| s.sources.iter().eq(GROUPS[group].iter()))
            .filter_map(|s| s.rows.get(&row)?.iter().find(|run| !run.energies.is_empty()))
            .collect();
        let first = runs.first()?;
        let ratio = |at: usize| {
            // the geometric mean: ratios span many powers of ten
            let logs = runs.iter().filter_map(|run| run.energies.get(at)).map(|e| (e[1] / e[2]).log10());
            logs.sum::<f64>() / runs.len() as f64
        };
        Some(first.iterations.iter().enumerate().map(|(at, &i)| (i as f64, ratio(at))).collect())
    };
    let names: Vec<String> = ETAS.iter().map(|&eta| format!("eta {}", power_of_ten(eta))).collect();
    let curves: Vec<(&str, Vec<(f64, f64)>)> =
        ETAS.iter().zip(&names).filter_map(|(&eta, name)| Some((name.as_str(), of_eta(eta)?))).collect();
    if curves.is_empty() {
        return None;
    }
    let title = format!("Energy of the low-rank part re the networks', {}", name_of(group));
    let panel = LearningPanel { y_title: "log10 of the ratio", curves };
    let picture = learning_curves(&title, "iterations", &[panel]);
    Some((format!("energies-{}", name_of(group).replace('/', "-")), title, picture))
}

/// Section V-C: what eta does for songs that are near the training songs and for those that are not.
fn by_mismatch(rows: &[Row], scores: &[MixtureScores]) -> Option<Drawn> {
    let etas: Vec<f64> = ETAS.into_iter().filter(|&eta| rows.contains(&Row::GPop(eta))).collect();
    let mut order: Vec<&MixtureScores> = scores.iter().collect();
    order.sort_by(|a, b| a.mismatch.total_cmp(&b.mismatch));
    if order.len() < 3 || etas.len() < 2 {
        return None;
    }
    let third = order.len().div_ceil(3);
    let names: Vec<String> = etas.iter().map(|&eta| format!("eta {}", power_of_ten(eta))).collect();
    let groups: Vec<&str> = names.iter().map(String::as_str).collect();
    let data: Vec<(String, Vec<f64>)> = order
        .chunks(third)
        .map(|chunk| {
            let name = format!(
                "mismatch {:.1} to {:.1} dB",
                chunk.first().map_or(0.0, |s| s.mismatch),
                chunk.last().map_or(0.0, |s| s.mismatch)
            );
            let of_eta = |&eta: &f64| {
                // relative to networks alone, so that easy and hard mixtures are comparable
                let gains: Vec<f64> = chunk
                    .iter()
                    .filter_map(|s| Some(mean_of(s, Row::GPop(eta))? - mean_of(s, Row::Idlma)?))
                    .collect();
                gains.iter().sum::<f64>() / gains.len().max(1) as f64
            };
            (name, etas.iter().map(of_eta).collect())
        })
        .collect();
    let series: Vec<BarSeries<'_>> =
        data.iter().map(|(name, values)| BarSeries { name, values, errors: None }).collect();
    let title = "What the low-rank part adds, by distance from the training songs";
    let plot = BarPlot { title, y_title: "SDR over idlma's (dB)", groups: &groups, series: &series };
    Some(("mismatch".into(), title.into(), bars(&plot)))
}

fn mean_of(scores: &MixtureScores, row: Row) -> Option<f64> {
    let runs = scores.rows.get(&row.key())?;
    let all: Vec<f64> = runs.iter().flat_map(|run| run.improvement.iter().copied()).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

/// Improvement over eta or nu.
fn sweep(
    scores: &[MixtureScores],
    used: &[usize],
    name: &str,
    values: &[f64],
    row: fn(f64) -> Row,
) -> Option<Drawn> {
    let names: Vec<String> = used.iter().map(|&group| name_of(group)).collect();
    let curves: Vec<(&str, Vec<(f64, f64)>)> = used
        .iter()
        .zip(&names)
        .map(|(&group, group_name)| {
            let points = values.iter().filter_map(|&x| {
                Some((x.log10(), Pick::Row(row(x)).cell(scores, group, &SongPart::default())?.mean))
            });
            (group_name.as_str(), points.collect::<Vec<_>>())
        })
        .filter(|(_, points)| points.len() > 1)
        .collect();
    if curves.is_empty() {
        return None;
    }
    let title = format!("SDR improvement over {name}");
    let panel = LearningPanel { y_title: "SDR improvement (dB)", curves };
    let picture = learning_curves(&title, &format!("log10 of {name}"), &[panel]);
    Some((format!("over-{name}"), title, picture))
}

fn page(rows: &[Row], scores: &[MixtureScores], parts: &[SongPart], figures: &[(String, String)]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>demix: the PoP-IDLMA protocol</title>\n<style>\n{STYLE}.scores {{ max-width: none; }}\n</style>\n</head>\n\
         <body>\n<div class=\"page\">\n<header>\n<h1>The PoP-IDLMA protocol on these songs</h1>\n\
         <p>{} mixtures, separated by the methods of Hasumi et al. 2023. SDR improvement in dB (BSS Eval version 3), mean \
         over sources, seeds and mixtures, with the 95 % bootstrap interval over mixtures and the standard deviation of the \
         seeds' means. The paper's figures stand beside ours; its songs, rooms and networks are others, so compare their \
         order, not their size. <a href=\"scores.csv\">scores.csv</a> has every number, \
         <a href=\"energies.csv\">energies.csv</a> and <a href=\"bands.csv\">bands.csv</a> those of the parts' energies and \
         of the bands over the iterations, <a href=\"protocol.json\">protocol.json</a> every setting.</p>\n</header>\n\
         <main>\n",
        scores.len()
    );
    for part in parts {
        let n = |group: usize| n_mixtures(rows, scores, group, part);
        let groups: Vec<usize> = (0..GROUPS.len()).filter(|&group| n(group) > 0).collect();
        if groups.is_empty() {
            continue;
        }
        push(
            &mut page,
            format_args!(
                "<section>\n<h2>{}</h2>\n<table class=\"scores\">\n<thead><tr><th scope=\"col\">method</th>",
                escape(&part.name)
            ),
        );
        for &group in &groups {
            push(
                &mut page,
                format_args!(
                    "<th scope=\"col\">{} ({} mixtures)</th><th scope=\"col\">paper</th>",
                    escape(&name_of(group)),
                    n(group)
                ),
            );
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for pick in picks(rows) {
            push(&mut page, format_args!("<tr><th scope=\"row\">{}</th>", escape(&pick.title())));
            for &group in &groups {
                let cell = pick.cell(scores, group, part);
                let text = cell.map_or_else(|| "n/a".into(), |cell| cell.text(n(group), "\u{b1}"));
                let paper = match pick {
                    Pick::Row(row) => row.paper(group),
                    _ => None,
                };
                let paper = paper.map_or_else(String::new, |sdr| format!("{sdr:.2}"));
                push(&mut page, format_args!("<td>{text}</td><td>{paper}</td>"));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n</table>\n</section>\n");
    }
    page.push_str("<section>\n<h2>Pictures</h2>\n<div class=\"pictures\">\n");
    for (file, title) in figures {
        push(
            &mut page,
            format_args!(
                "<figure><a href=\"{0}\"><img src=\"{0}\" alt=\"{1}\" loading=\"lazy\"></a><figcaption>{1}</figcaption></figure>\n",
                escape(file),
                escape(title)
            ),
        );
    }
    page.push_str("</div>\n</section>\n</main>\n</div>\n</body>\n</html>\n");
    page
}
