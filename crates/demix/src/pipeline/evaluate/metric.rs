//! [`Metric`] by name, and [`Contest`]: every metric of estimates, mixture and oracles against the references.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;

use demix_eval::{
    BandScores, BandSettings, BssEval, EvalError, FILTER_LENGTH, FrameScores, Order, Scores, SiSettings,
    Windows, band_snr, si_sdr, snr,
};
use demix_signal::settings::nearest_name;
use serde_json::{Map, Value, json};

use super::sound::Sound;
use crate::pipeline::PipelineError;
use crate::pipeline::separate::number;

/// A measure of separation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// BSS Eval version 3, sources: any filter of a reference is right.
    BssEvalV3,
    /// BSS Eval version 3, images: only the reference itself is right.
    BssEvalV3Images,
    /// BSS Eval version 4: one filter for the track, scores by windows, their medians.
    BssEvalV4,
    /// BSS Eval without filters.
    Projection,
    /// Scale-invariant SDR, SIR, SAR.
    SiSdr,
    /// Signal-to-noise ratio.
    Snr,
    /// Signal-to-noise ratio by frequency bands.
    FbwSnr,
}

/// Names and metrics, in the order of the documentation.
const NAMES: [(&str, Metric); 7] = [
    ("bss-eval-v3", Metric::BssEvalV3),
    ("bss-eval-v3-images", Metric::BssEvalV3Images),
    ("bss-eval-v4", Metric::BssEvalV4),
    ("projection", Metric::Projection),
    ("si-sdr", Metric::SiSdr),
    ("snr", Metric::Snr),
    ("fbw-snr", Metric::FbwSnr),
];

/// What is scored where nothing is asked for: the two of the literature, and the plain one.
pub const DEFAULT_METRICS: [Metric; 3] = [Metric::SiSdr, Metric::BssEvalV3, Metric::Snr];

impl Metric {
    /// The names of all metrics.
    pub fn names() -> [&'static str; 7] {
        NAMES.map(|(name, _)| name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name)
    }

    /// The metric of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, PipelineError> {
        if let Some((_, metric)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*metric);
        }
        let hint = match nearest_name(name, Self::names()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("take {}", Self::names().join(", ")),
        };
        Err(PipelineError::WrongUse(format!("there is no metric '{name}'; {hint}")))
    }

    /// Those of these names, each once; [`DEFAULT_METRICS`] where none is named.
    ///
    /// # Errors
    /// A name that there is not.
    pub fn all_named(names: &[String]) -> Result<Vec<Self>, PipelineError> {
        let mut metrics = Vec::new();
        for name in names {
            let metric = Self::named(name)?;
            if !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        Ok(if metrics.is_empty() { DEFAULT_METRICS.to_vec() } else { metrics })
    }

    /// The quantities that it measures, the one that sums up first.
    pub fn quantities(self) -> &'static [&'static str] {
        match self {
            Self::BssEvalV3 | Self::Projection | Self::SiSdr => &["sdr", "sir", "sar"],
            Self::BssEvalV3Images | Self::BssEvalV4 => &["sdr", "isr", "sir", "sar"],
            Self::Snr | Self::FbwSnr => &["snr"],
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the metrics measure.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSettings {
    /// Taps of the distortion filters of BSS Eval.
    pub filter_length: usize,
    /// Length of the windows of version 4, in seconds.
    pub window: f64,
    /// Distance of their beginnings, in seconds; as long as the window where absent.
    pub hop: Option<f64>,
    /// Whether estimate n belongs to reference n.
    pub keep_order: bool,
}

impl Default for MetricSettings {
    fn default() -> Self {
        Self { filter_length: FILTER_LENGTH, window: 1.0, hop: None, keep_order: false }
    }
}

impl MetricSettings {
    /// Refuses what no signal can be measured with.
    ///
    /// # Errors
    /// Names the setting.
    pub fn check(&self) -> Result<(), PipelineError> {
        let wrong = |text: String| Err(PipelineError::WrongUse(text));
        if self.filter_length == 0 {
            return wrong("--filter-length is 0 taps, it must be 1 or more".into());
        }
        for (name, seconds) in [("--window", Some(self.window)), ("--hop", self.hop)] {
            if let Some(seconds) = seconds.filter(|s| !(s.is_finite() && *s > 0.0)) {
                return wrong(format!("{name} is {seconds} s, it must be more than 0"));
            }
        }
        Ok(())
    }

    fn windows(&self, sample_rate: u32) -> Windows {
        let samples = |seconds: f64| ((seconds * f64::from(sample_rate)).round() as usize).max(1);
        let length = samples(self.window);
        Windows { length, hop: self.hop.map_or(length, samples), ..Windows::seconds(sample_rate) }
    }
}

/// One metric of one set of estimates.
#[derive(Clone, Debug)]
pub struct MetricScores {
    /// Quantities in dB, one value per reference.
    pub columns: Vec<(&'static str, Vec<f64>)>,
    /// The estimate that belongs to each reference.
    pub permutation: Vec<usize>,
    /// Version 4, window by window.
    pub frames: Option<FrameScores>,
    /// Frequency bands: their scores, and their edges in Hz.
    pub bands: Option<(BandScores, Vec<f64>)>,
}

impl MetricScores {
    fn of(scores: Scores, first: usize) -> Self {
        let mut columns = vec![("sdr", scores.sdr)];
        columns.extend(scores.isr.map(|isr| ("isr", isr)));
        columns.extend([("sir", scores.sir), ("sar", scores.sar)]);
        let permutation = scores.permutation.into_iter().map(|e| e - first).collect();
        Self { columns, permutation, frames: None, bands: None }
    }

    /// The values of a quantity.
    pub fn column(&self, quantity: &str) -> Option<&[f64]> {
        self.columns.iter().find(|(name, _)| *name == quantity).map(|(_, values)| &values[..])
    }

    /// How much better each value is than that of `baseline`.
    pub fn improvements(&self, baseline: &MetricScores) -> Vec<(&'static str, Vec<f64>)> {
        let of = |name: &str, values: &[f64]| -> Vec<f64> {
            let baseline = baseline.column(name).unwrap_or_default();
            values.iter().zip(baseline).map(|(value, baseline)| value - baseline).collect()
        };
        self.columns.iter().map(|(name, values)| (*name, of(name, values))).collect()
    }

    /// For JSON: a list for each quantity and its improvement over `baseline`, then the rest.
    pub fn value(&self, baseline: Option<&MetricScores>, sample_rate: u32) -> Map<String, Value> {
        let mut value = Map::new();
        for (name, values) in &self.columns {
            value.insert((*name).into(), list(values));
        }
        for (name, values) in baseline.map_or_else(Vec::new, |baseline| self.improvements(baseline)) {
            value.insert(format!("{name}_improvement"), list(&values));
        }
        value.insert("permutation".into(), json!(self.permutation));
        if let Some((bands, edges)) = &self.bands {
            let rows = |table: &ndarray::Array2<f64>| -> Value {
                table.outer_iter().map(|row| list(row.iter())).collect()
            };
            value.insert("band_snr".into(), rows(&bands.snr));
            if let Some((baseline, _)) = baseline.and_then(|baseline| baseline.bands.as_ref()) {
                value.insert("band_snr_improvement".into(), rows(&(&bands.snr - &baseline.snr)));
            }
            value.insert("band_edges_hz".into(), list(edges));
        }
        if let Some(frames) = &self.frames {
            value.insert("frames".into(), frames_value(frames, sample_rate));
        }
        value
    }
}

fn frames_value(frames: &FrameScores, sample_rate: u32) -> Value {
    let starts = frames.starts.iter().map(|&start| start as f64 / f64::from(sample_rate)).collect::<Vec<_>>();
    let mut value = Map::new();
    value.insert("start_seconds".into(), list(&starts));
    let tables = [
        ("sdr", Some(&frames.sdr)),
        ("isr", frames.isr.as_ref()),
        ("sir", Some(&frames.sir)),
        ("sar", Some(&frames.sar)),
    ];
    for (name, table) in tables.into_iter().filter_map(|(name, table)| Some((name, table?))) {
        value.insert(name.into(), table.outer_iter().map(|row| list(row.iter())).collect());
    }
    value.into()
}

/// Numbers for JSON, infinities by name, null where there is none.
pub(crate) fn list<'a>(values: impl IntoIterator<Item = &'a f64>) -> Value {
    values.into_iter().map(|&x| number(x)).collect()
}

/// References and all that is compared with them: the estimates, and sets whose order is known.
pub struct Contest<'a> {
    references: &'a [Sound],
    sounds: Vec<&'a Sound>,
    /// Which sounds each entrant has; one sound may stand for every reference.
    entrants: Vec<Range<usize>>,
    settings: MetricSettings,
}

impl<'a> Contest<'a> {
    /// The estimates are the first entrant. Signals were checked to be alike, as many as references.
    pub fn new(references: &'a [Sound], estimates: &'a [Sound], settings: &MetricSettings) -> Self {
        let sounds: Vec<&Sound> = estimates.iter().collect();
        Self {
            references,
            entrants: std::iter::once(0..sounds.len()).collect(),
            sounds,
            settings: settings.clone(),
        }
    }

    /// Adds an entrant: one sound for each reference, in order, or one for all of them.
    pub fn add(&mut self, sounds: &'a [Sound]) {
        debug_assert!(sounds.len() == 1 || sounds.len() == self.references.len(), "one for each, or for all");
        let first = self.sounds.len();
        self.sounds.extend(sounds);
        self.entrants.push(first..self.sounds.len());
    }

    /// The scores of every entrant by every metric, shape (metrics, entrants).
    ///
    /// # Errors
    /// Settings that do not fit the signals; samples that cannot be read.
    pub fn scores(&self, metrics: &[Metric]) -> Result<Vec<Vec<MetricScores>>, PipelineError> {
        // made once for all metrics that filter by as many taps
        let mut projections: HashMap<usize, BssEval<'_, Sound, &Sound>> = HashMap::new();
        let mut all = Vec::new();
        for metric in metrics {
            let taps = match metric {
                Metric::BssEvalV3 | Metric::BssEvalV3Images | Metric::BssEvalV4 => {
                    Some(self.settings.filter_length)
                }
                Metric::Projection => Some(1),
                Metric::SiSdr | Metric::Snr | Metric::FbwSnr => None,
            };
            let projection = match taps {
                None => None,
                Some(taps) => {
                    let made = match projections.entry(taps) {
                        Entry::Occupied(made) => made.into_mut(),
                        Entry::Vacant(place) => place.insert(
                            BssEval::new(self.references, &self.sounds, taps).map_err(|e| self.refusal(e))?,
                        ),
                    };
                    Some(&*made)
                }
            };
            let scores: Result<Vec<MetricScores>, EvalError> = (0..self.entrants.len())
                .map(|entrant| match projection {
                    Some(projection) => self.projected(*metric, projection, entrant),
                    None => self.direct(*metric, entrant),
                })
                .collect();
            all.push(scores.map_err(|e| self.refusal(e))?);
        }
        Ok(all)
    }

    fn projected(
        &self,
        metric: Metric,
        projection: &BssEval<'a, Sound, &'a Sound>,
        entrant: usize,
    ) -> Result<MetricScores, EvalError> {
        let sounds = self.entrants[entrant].clone();
        let order = match (entrant, sounds.len()) {
            (0, n) if !self.settings.keep_order => Order::BestOf(n),
            (_, 1) => Order::Given(vec![sounds.start; self.references.len()]),
            _ => Order::Given(sounds.clone().collect()),
        };
        Ok(match metric {
            Metric::BssEvalV3Images => MetricScores::of(projection.images(&order)?, sounds.start),
            Metric::BssEvalV4 => {
                let windows = self.settings.windows(self.sample_rate());
                let frames = projection.version4(&windows, &order)?;
                MetricScores {
                    frames: Some(frames.clone()),
                    ..MetricScores::of(frames.median(), sounds.start)
                }
            }
            _ => MetricScores::of(projection.sources(&order)?, sounds.start),
        })
    }

    fn direct(&self, metric: Metric, entrant: usize) -> Result<MetricScores, EvalError> {
        let sounds = &self.sounds[self.entrants[entrant].clone()];
        let order = match (entrant, sounds.len()) {
            (0, _) if !self.settings.keep_order => Order::Best,
            (_, 1) => Order::all_from_one(self.references.len()),
            _ => Order::Fixed,
        };
        Ok(match metric {
            Metric::Snr => {
                let scores = snr(self.references, sounds, &order)?;
                let columns = vec![("snr", scores.snr)];
                MetricScores { columns, permutation: scores.permutation, frames: None, bands: None }
            }
            Metric::FbwSnr => {
                let settings = BandSettings { order, ..BandSettings::default() };
                let scores = band_snr(self.references, sounds, &settings)?;
                let columns = vec![("snr", scores.snr.outer_iter().map(|bands| mean(&bands)).collect())];
                let permutation = scores.permutation.clone();
                let edges = (0..=settings.n_bands).map(|band| band as f64 * settings.band_hz).collect();
                MetricScores { columns, permutation, frames: None, bands: Some((scores, edges)) }
            }
            _ => {
                let settings = SiSettings { order, ..SiSettings::default() };
                MetricScores::of(si_sdr(self.references, sounds, &settings)?, 0)
            }
        })
    }

    /// Samples per second of the signals.
    pub fn sample_rate(&self) -> u32 {
        self.references.first().map_or(1, demix_eval::Recording::sample_rate)
    }

    /// The error with the option's name where a setting is at fault.
    fn refusal(&self, error: EvalError) -> PipelineError {
        match error {
            EvalError::Setting { name: "filter length", value, range } => {
                let unknowns = self.references.len()
                    * self.references.first().map_or(1, demix_eval::Recording::n_channels);
                PipelineError::WrongUse(format!(
                    "--filter-length is {value} taps for {unknowns} channels of all references, it must be {range}"
                ))
            }
            other => other.into(),
        }
    }
}

/// Mean over the bands that there are.
fn mean(bands: &ndarray::ArrayView1<'_, f64>) -> f64 {
    let numbers: Vec<f64> = bands.iter().copied().filter(|x| !x.is_nan()).collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}
