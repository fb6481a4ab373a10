//! Folders of tracks: every track of every method against the data set.
//!
//! A folder that holds sound files is a track, its name is the folder's, each file is a source, its name is the
//! file's. Tracks may lie at any depth, so that these are all understood, for references and estimates:
//!
//! ```text
//! DIR/track/vocals.wav                  what `demix separate` writes
//! DIR/test/track/vocals.wav             MUSDB18, decoded to WAV: mixture.wav lies beside
//! DIR/Sources/Test/track/vocals.wav     DSD100, with DIR/Mixtures/Test/track/mixture.wav
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use demix_eval::Recording as _;
use demix_files::FileError;
use demix_files::audio::ReadOptions;
use demix_signal::{Progress, Watch, Waveform};

use super::metric::{Metric, MetricScores, MetricSettings};
use super::sound::{Sound, check_alike, open};
use super::{Entry, score};
use crate::pipeline::PipelineError;
use crate::pipeline::separate::expand_inputs;

/// Folders to score.
#[derive(Clone, Debug, Default)]
pub struct TrackEvaluation {
    /// The data set: true sources, and mixtures where they are there.
    pub references: PathBuf,
    /// One folder of estimates for each method; the method is called as the folder.
    pub methods: Vec<PathBuf>,
    /// Names of metrics; empty for the default.
    pub metrics: Vec<String>,
    /// How they measure.
    pub settings: MetricSettings,
    /// Whether oracles are scored as further methods; needs mixtures.
    pub oracle: bool,
}

/// One source of one track by one metric.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the method, or of the oracle.
    pub method: String,
    /// Name of the track.
    pub track: String,
    /// Name of the source, as the data set has it.
    pub source: String,
    /// Which metric.
    pub metric: Metric,
    /// Quantities and improvements, `sdr`, `sdr_improvement`..., in dB.
    pub values: Vec<(String, f64)>,
}

/// What can be heard of a track.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Name of the track.
    pub track: String,
    /// Its mixture.
    pub mixture: Option<PathBuf>,
    /// Names of sources and their true sound.
    pub references: Vec<(String, PathBuf)>,
    /// Method, source and what was found.
    pub estimates: Vec<(String, String, PathBuf)>,
}

/// The scores of all tracks.
#[derive(Clone, Debug, Default)]
pub struct TrackScores {
    /// The metrics, in the order asked for.
    pub metrics: Vec<Metric>,
    /// Names of methods (oracles last) in their order.
    pub methods: Vec<String>,
    /// Names of sources in the order of their first track.
    pub sources: Vec<String>,
    /// One per method, track, source and metric.
    pub rows: Vec<Row>,
    /// What can be heard, track by track.
    pub listening: Vec<Listening>,
    /// Tracks that could not be scored, one line each.
    pub failures: Vec<String>,
    /// What a user should know, one line each.
    pub warnings: Vec<String>,
}

/// The files of a track by name of source.
#[derive(Clone, Debug, Default)]
struct Track {
    sources: Vec<(String, PathBuf)>,
    mixture: Option<PathBuf>,
}

/// Scores all tracks of all methods; a track that fails is told in the result and the others go on.
///
/// # Errors
/// Unknown metrics, folders that cannot be read or hold no track in common, cancelling.
pub fn evaluate_tracks(what: &TrackEvaluation, watch: &mut dyn Watch) -> Result<TrackScores, PipelineError> {
    let metrics = Metric::all_named(&what.metrics)?;
    what.settings.check()?;
    let truth = find_tracks(&what.references)?;
    let names = method_names(&what.methods)?;
    let mut work = Vec::new();
    let mut found = TrackScores { metrics, methods: names.clone(), ..TrackScores::default() };
    for (name, folder) in names.iter().zip(&what.methods) {
        let estimates = find_tracks(folder)?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            estimates.into_iter().partition(|(track, _)| truth.contains_key(track));
        if known.is_empty() {
            return Err(PipelineError::Request(format!(
                "{} has {} tracks, {} has {}, none of the same name: a track is a folder of sound files",
                folder.display(),
                unknown.len(),
                what.references.display(),
                truth.len()
            )));
        }
        if let Some((first, _)) = unknown.first() {
            found.warnings.push(format!(
                "{}: {} of {} tracks have no reference and are left out ('{first}')",
                folder.display(),
                unknown.len(),
                unknown.len() + known.len()
            ));
        }
        if known.len() < truth.len() {
            let (n, all) = (known.len(), truth.len());
            found.warnings.push(format!("{}: holds {n} of {all} tracks", folder.display()));
        }
        work.extend(known.into_iter().map(|(track, estimates)| (track, name.clone(), estimates)));
    }
    // all methods of a track one after another: oracles are made once
    work.sort_by(|a, b| a.0.cmp(&b.0));
    for (done, (name, method, estimates)) in work.iter().enumerate() {
        let step = |done| Progress { stage: "tracks", done, total: work.len(), cost: None };
        watch.progress(step(done)).map_err(|_| PipelineError::Cancelled)?;
        let first = done == 0 || work[done - 1].0 != *name;
        if let Err(error) =
            found.score_track(what, name, method, &truth[name], estimates, what.oracle && first)
        {
            found.failures.push(format!("{method}, {name}: {error}"));
        }
        watch.progress(step(done + 1)).map_err(|_| PipelineError::Cancelled)?;
    }
    let oracles = super::oracles::ORACLES.iter().map(|(name, _)| (*name).to_string());
    let scored = |name: &String| found.rows.iter().any(|row| row.method == *name);
    let oracles: Vec<String> = oracles.filter(scored).collect();
    found.methods.extend(oracles);
    Ok(found)
}

impl TrackScores {
    fn score_track(
        &mut self,
        what: &TrackEvaluation,
        name: &str,
        method: &str,
        truth: &Track,
        estimates: &Track,
        oracle: bool,
    ) -> Result<(), PipelineError> {
        let pairs = Pairs::new(truth, estimates)?;
        if let Some(warning) = pairs.warning() {
            self.warnings.push(format!("{method}, {name}: {warning}"));
        }
        let references = pairs.references()?;
        let files: Vec<PathBuf> = pairs.files.iter().chain(&truth.mixture).cloned().collect();
        let sounds = open(&files, &ReadOptions::default())?;
        check_alike(references.iter().chain(&sounds))?;
        let (found, mixture) = sounds.split_at(references.len());
        if oracle && mixture.is_empty() {
            return Err(PipelineError::Request(
                "--oracle needs mixture.wav beside the sources (or in Mixtures, as DSD100 has it)".into(),
            ));
        }
        let settings =
            MetricSettings { keep_order: pairs.by_name || what.settings.keep_order, ..what.settings.clone() };
        let scored = score(&references, found, mixture, oracle, &self.metrics.clone(), &settings)?;

        for source in &pairs.names {
            if !self.sources.contains(source) {
                self.sources.push(source.clone());
            }
        }
        for entry in scored.estimates() {
            self.push_rows(method, name, &pairs.names, &entry);
        }
        for (oracle, entries) in scored.oracles() {
            entries.iter().for_each(|entry| self.push_rows(oracle, name, &pairs.names, entry));
        }
        let order =
            scored.estimates().next().map(|entry| entry.scores.permutation.clone()).unwrap_or_default();
        let place = match self.listening.iter().position(|heard| heard.track == name) {
            Some(place) => place,
            None => {
                self.listening.push(Listening {
                    track: name.into(),
                    mixture: truth.mixture.clone(),
                    references: truth.sources.clone(),
                    estimates: Vec::new(),
                });
                self.listening.len() - 1
            }
        };
        for (source, e) in pairs.names.iter().zip(order) {
            self.listening[place].estimates.push((method.into(), source.clone(), pairs.files[e].clone()));
        }
        Ok(())
    }

    fn push_rows(&mut self, method: &str, track: &str, sources: &[String], entry: &Entry<'_>) {
        let scores: &MetricScores = entry.scores;
        let gains = entry.mixture.map_or_else(Vec::new, |mixture| scores.improvements(mixture));
        for (n, source) in sources.iter().enumerate() {
            let values = scores.columns.iter().map(|(name, values)| ((*name).to_string(), values[n]));
            let gains = gains.iter().map(|(name, values)| (format!("{name}_improvement"), values[n]));
            self.rows.push(Row {
                method: method.into(),
                track: track.into(),
                source: source.clone(),
                metric: entry.metric,
                values: values.chain(gains).collect(),
            });
        }
    }

    /// The values of one quantity, track by track.
    pub fn values(&self, method: &str, source: &str, metric: Metric, quantity: &str) -> Vec<f64> {
        let rows =
            self.rows.iter().filter(|r| r.method == method && r.source == source && r.metric == metric);
        rows.filter_map(|row| row.value(quantity)).collect()
    }

    /// The mean over the sources of each track, those that are finite.
    pub fn track_means(&self, method: &str, metric: Metric, quantity: &str) -> Vec<f64> {
        let mut of_track: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for row in self.rows.iter().filter(|r| r.method == method && r.metric == metric) {
            let values = of_track.entry(&row.track).or_default();
            values.extend(row.value(quantity).filter(|x| x.is_finite()));
        }
        of_track.values().map(|values| values.iter().sum::<f64>() / values.len() as f64).collect()
    }

    /// The quantities of a metric that any row has, improvements included.
    pub fn quantities(&self, metric: Metric) -> Vec<String> {
        let mut quantities: Vec<String> = Vec::new();
        for (name, _) in self.rows.iter().filter(|row| row.metric == metric).flat_map(|row| &row.values) {
            if !quantities.contains(name) {
                quantities.push(name.clone());
            }
        }
        quantities
    }
}

impl Row {
    /// A quantity, where it was measured.
    pub fn value(&self, quantity: &str) -> Option<f64> {
        self.values.iter().find(|(name, _)| name == quantity).map(|(_, value)| *value)
    }
}

/// Which references belong to which estimates.
struct Pairs {
    names: Vec<String>,
    /// What each reference is the sum of.
    truth: Vec<Vec<PathBuf>>,
    /// The estimates, in the order of the references when they have their names.
    files: Vec<PathBuf>,
    by_name: bool,
    missing: Vec<String>,
}

impl Pairs {
    /// By names of sources; `no_NAME` and `accompaniment` (no_vocals) are the sum of the others. Where no name is
    /// known but the number fits, the order is to be found.
    fn new(truth: &Track, estimates: &Track) -> Result<Self, PipelineError> {
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        let mut pairs =
            Self { names: vec![], truth: vec![], files: vec![], by_name: true, missing: Vec::new() };
        for (name, path) in &truth.sources {
            match estimates.sources.iter().find(|(estimate, _)| same(estimate, name)) {
                Some((_, estimate)) => {
                    pairs.names.push(name.clone());
                    pairs.truth.push(vec![path.clone()]);
                    pairs.files.push(estimate.clone());
                }
                None => pairs.missing.push(name.clone()),
            }
        }
        for (estimate, path) in estimates.sources.iter().filter(|_| !pairs.missing.is_empty()) {
            let without = estimate.to_lowercase();
            let without = if without == "accompaniment" { "no_vocals" } else { &without };
            let Some(without) = without.strip_prefix("no_") else { continue };
            let others: Vec<_> = truth.sources.iter().filter(|(name, _)| !same(name, without)).collect();
            // the others' sum must not hold what is scored beside it
            let apart = pairs.names.iter().all(|name| same(name, without));
            if others.len() < truth.sources.len() && apart {
                pairs.names.push(estimate.clone());
                pairs.truth.push(others.into_iter().map(|(_, path)| path.clone()).collect());
                pairs.files.push(path.clone());
                pairs.missing.clear();
                break;
            }
        }
        if pairs.files.is_empty() {
            let (n, found) = (truth.sources.len(), &estimates.sources);
            if found.len() != n {
                let names = |sources: &[(String, PathBuf)]| {
                    sources.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ")
                };
                return Err(PipelineError::Request(format!(
                    "{n} references ({}), {} estimates ({}), no name in common: name the estimates as the references",
                    names(&truth.sources),
                    found.len(),
                    names(found)
                )));
            }
            pairs.names = truth.sources.iter().map(|(name, _)| name.clone()).collect();
            pairs.truth = truth.sources.iter().map(|(_, path)| vec![path.clone()]).collect();
            pairs.files = found.iter().map(|(_, path)| path.clone()).collect();
            pairs.by_name = false;
            pairs.missing.clear();
        }
        Ok(pairs)
    }

    fn warning(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| {
            format!(
                "no estimate of {}: scored without it, its sound counts as artifacts",
                self.missing.join(", ")
            )
        })
    }

    fn references(&self) -> Result<Vec<Sound>, PipelineError> {
        let mut references = Vec::new();
        for (name, paths) in self.names.iter().zip(&self.truth) {
            let mut sounds = open(paths, &ReadOptions::default())?;
            check_alike(&sounds)?;
            if sounds.len() > 1 {
                let mut sum = sounds[0].waveform()?;
                for other in &sounds[1..] {
                    sum.samples += &other.waveform()?.samples;
                }
                let rate = sounds[0].sample_rate();
                sounds = vec![Sound::held(name, Waveform::new(sum.samples, rate))];
            }
            references.append(&mut sounds);
        }
        Ok(references)
    }
}

/// Names of folders, with more of the path where they are the same.
fn method_names(folders: &[PathBuf]) -> Result<Vec<String>, PipelineError> {
    let whole: Vec<PathBuf> = folders
        .iter()
        .map(|folder| folder.canonicalize().map_err(|e| FileError::from_io(folder, "read this folder", e)))
        .collect::<Result<_, _>>()?;
    if let Some(twice) = (1..whole.len()).find(|&n| whole[..n].contains(&whole[n])) {
        return Err(PipelineError::WrongUse(format!("--tracks {} is given twice", folders[twice].display())));
    }
    let tail = |path: &Path, parts: usize| {
        let parts: Vec<_> = path.iter().rev().take(parts).map(|part| part.to_string_lossy()).collect();
        parts.into_iter().rev().collect::<Vec<_>>().join("/")
    };
    let name = |path: &PathBuf| {
        let unique =
            |parts: &usize| whole.iter().filter(|w| tail(w, *parts) == tail(path, *parts)).count() == 1;
        tail(path, (1..path.iter().count()).find(unique).unwrap_or(usize::MAX))
    };
    Ok(whole.iter().map(name).collect())
}

/// Folders within folders; deeper ones are no data set.
const DEPTH: usize = 4;

/// Tracks by name.
fn find_tracks(folder: &Path) -> Result<BTreeMap<String, Track>, PipelineError> {
    let mut tracks = BTreeMap::new();
    let mut folders = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let refused = |e| FileError::from_io(&folder, "read this folder", e);
        for entry in std::fs::read_dir(&folder).map_err(refused)? {
            let path = entry.map_err(refused)?.path();
            if path.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            }
        }
        // a folder without sound is no track
        let files = expand_inputs(std::slice::from_ref(&folder)).unwrap_or_default();
        // a separated mixture.wav is called by the folder above
        let parts = folder.iter().rev().map(|part| part.to_string_lossy().into_owned());
        let Some(name) = parts.take(depth).find(|name| !is_mixture(name)) else { continue };
        if !files.is_empty() {
            tracks.entry(name).or_insert_with(Track::default).add(files)?;
        }
    }
    if tracks.is_empty() {
        return Err(PipelineError::Request(format!(
            "{}: no track in it; a track is a folder of sound files, one for each source",
            folder.display()
        )));
    }
    // the order of sources must not depend on that of the disk
    tracks.values_mut().for_each(|track| track.sources.sort());
    tracks.retain(|_, track| !track.sources.is_empty());
    Ok(tracks)
}

/// Whether a file, or the folder made of it, is the mixture of a track.
fn is_mixture(name: &str) -> bool {
    ["mixture", "mix"].contains(&name.to_lowercase().as_str())
}

impl Track {
    fn add(&mut self, files: Vec<PathBuf>) -> Result<(), PipelineError> {
        for file in files {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let known = match stem.to_lowercase().as_str() {
                // what a method leaves over is no source
                "residual" => None,
                name if is_mixture(name) => self.mixture.replace(file.clone()),
                _ => {
                    let known =
                        self.sources.iter().find(|(name, _)| *name == stem).map(|(_, path)| path.clone());
                    self.sources.push((stem, file.clone()));
                    known
                }
            };
            if let Some(known) = known {
                return Err(PipelineError::Request(format!(
                    "{} and {} are the same source of one track: tracks need different names",
                    known.display(),
                    file.display()
                )));
            }
        }
        Ok(())
    }
}
