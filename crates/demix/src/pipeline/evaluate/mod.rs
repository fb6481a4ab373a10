//! Scores of sound files against references.
//!
//! | room | holds |
//! | --- | --- |
//! | [`metric`] | the metrics by name; estimates, mixture and oracles against the references |
//! | [`sound`] | files in memory or, where they are long, on the disk |
//! | [`oracles`] | what masks and filters could have reached |
//! | [`tracks`] | every track of every method against a data set |
//! | [`statistics`] | mean, median, spread, bootstrap intervals |
//! | [`against`] | the scores of a separation where it is made |
//! | [`outputs`] | CSV, box plots and the page of a folder of tracks |

pub mod against;
pub mod metric;
pub mod oracles;
pub mod outputs;
mod page;
pub mod sound;
pub mod statistics;
pub mod tracks;

use std::path::PathBuf;

use demix_files::audio::ReadOptions;
use serde_json::{Map, Value, json};

pub use metric::{DEFAULT_METRICS, Metric, MetricSettings};

use super::PipelineError;
use metric::{Contest, MetricScores, list};
use oracles::{ORACLES, shares};
use sound::{Sound, check_alike, open};

/// What to score.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// The true sources.
    pub references: Vec<PathBuf>,
    /// The separated sources, in any order.
    pub estimates: Vec<PathBuf>,
    /// The mixture, for improvements.
    pub mixture: Option<PathBuf>,
    /// Names of metrics; empty for [`DEFAULT_METRICS`].
    pub metrics: Vec<String>,
    /// How they measure.
    pub settings: MetricSettings,
    /// Whether oracles are scored, too; needs the mixture.
    pub oracle: bool,
}

/// `{"metrics": {name: columns}}`, with `oracle` also `{"oracle": {oracle: {name: columns}}}`.
///
/// Columns are lists of dB, one value per reference: every quantity, with a mixture its improvement, for oracles
/// the estimate's share of the oracle's improvement; and `permutation`, the estimate of each reference.
///
/// # Errors
/// Unknown metrics; files that cannot be read, or differ in rate, channels or length; counts that differ.
pub fn evaluate(what: &Evaluation) -> Result<Value, PipelineError> {
    let metrics = Metric::all_named(&what.metrics)?;
    what.settings.check()?;
    let wrong = |text: String| Err(PipelineError::WrongUse(text));
    let (n_references, n_estimates) = (what.references.len(), what.estimates.len());
    if n_references == 0 {
        return wrong("no reference is given".into());
    }
    if n_references != n_estimates {
        return wrong(format!(
            "references: {n_references}, estimates: {n_estimates}; give one estimate for each reference"
        ));
    }
    if what.oracle && what.mixture.is_none() {
        return wrong("--oracle needs the mixture, which it filters: name it with --mixture".into());
    }
    let paths: Vec<PathBuf> =
        what.references.iter().chain(&what.estimates).chain(&what.mixture).cloned().collect();
    let sounds = open(&paths, &ReadOptions::default())?;
    check_alike(&sounds)?;
    let (references, rest) = sounds.split_at(n_references);
    let (estimates, mixture) = rest.split_at(n_estimates);
    let scored = score(references, estimates, mixture, what.oracle, &metrics, &what.settings)?;
    Ok(scored.value())
}

/// The scores of one set of estimates.
#[derive(Clone, Debug)]
pub struct Scored {
    metrics: Vec<Metric>,
    sample_rate: u32,
    /// Of each metric: the estimates, then the mixture, then each oracle.
    scores: Vec<Vec<MetricScores>>,
}

/// Scores signals that are alike; `mixture` holds one or none.
///
/// # Errors
/// Samples that cannot be read; settings that do not fit the signals.
pub fn score(
    references: &[Sound],
    estimates: &[Sound],
    mixture: &[Sound],
    with_oracles: bool,
    metrics: &[Metric],
    settings: &MetricSettings,
) -> Result<Scored, PipelineError> {
    let best = match mixture.first() {
        Some(mixture) if with_oracles => oracles::oracles(references, mixture)?,
        _ => Vec::new(),
    };
    let mut contest = Contest::new(references, estimates, settings);
    if !mixture.is_empty() {
        contest.add(&mixture[..1]);
    }
    best.iter().for_each(|estimates| contest.add(estimates));
    let (scores, sample_rate) = (contest.scores(metrics)?, contest.sample_rate());
    Ok(Scored { metrics: metrics.to_vec(), sample_rate, scores })
}

/// One entrant's scores by one metric.
pub struct Entry<'a> {
    /// Which metric.
    pub metric: Metric,
    /// The scores.
    pub scores: &'a MetricScores,
    /// Those of the mixture, where it is known.
    pub mixture: Option<&'a MetricScores>,
}

impl Scored {
    /// The estimates' scores, metric by metric.
    pub fn estimates(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entrant(0)
    }

    /// Names of the oracles that were scored, with their scores metric by metric.
    pub fn oracles(&self) -> impl Iterator<Item = (&'static str, Vec<Entry<'_>>)> {
        let n_oracles = self.scores.first().map_or(0, |entrants| entrants.len().saturating_sub(2));
        (0..n_oracles).map(|o| (ORACLES[o].0, self.entrant(o + 2).collect()))
    }

    fn entrant(&self, entrant: usize) -> impl Iterator<Item = Entry<'_>> {
        self.metrics.iter().zip(&self.scores).map(move |(&metric, entrants)| Entry {
            metric,
            scores: &entrants[entrant],
            mixture: entrants.get(1),
        })
    }

    /// For JSON, as [`evaluate`] tells.
    pub fn value(&self) -> Value {
        let columns = |entry: &Entry<'_>| entry.scores.value(entry.mixture, self.sample_rate);
        let metrics: Map<String, Value> =
            self.estimates().map(|entry| (entry.metric.name().into(), columns(&entry).into())).collect();
        let mut value = json!({ "metrics": metrics });
        let mut oracles = Map::new();
        for (name, entries) in self.oracles() {
            let mut of_oracle = Map::new();
            for (entry, estimate) in entries.iter().zip(self.estimates()) {
                let mut columns = columns(entry);
                columns.remove("permutation");
                if let Some(mixture) = entry.mixture {
                    for (quantity, share) in shares(estimate.scores, entry.scores, mixture) {
                        columns.insert(format!("{quantity}_share"), list(&share));
                    }
                }
                of_oracle.insert(entry.metric.name().into(), columns.into());
            }
            oracles.insert(name.into(), of_oracle.into());
        }
        if !oracles.is_empty() {
            value["oracle"] = oracles.into();
        }
        value
    }
}
