//! Instantaneous mixtures: W from statistics of the samples, images by gains, no transform.

use std::time::Instant;

use demix_signal::settings::{SettingError, Settings};
use demix_signal::{Complex, Progress, StftSettings, Watch, Waveform};
use demix_spatial::SpatialError;
use demix_spatial::instantaneous::{InstantaneousDemixing, InstantaneousMethod};
use ndarray::{Array2, Axis};
use serde_json::{Map, Value, json};

use crate::method::{DEFAULT_SOURCES, Request};
use crate::separation::{
    Filters, Outcome, RESIDUAL, Seconds, SeparationError, Separator, Source, SourceSink, check_mixture,
    numbered,
};

/// A method for instantaneous mixtures on waveforms.
pub struct InstantaneousSeparator {
    method: Box<dyn InstantaneousMethod>,
    values: Map<String, Value>,
    n_sources: usize,
    /// More microphones than sources leave a residual.
    residual: bool,
}

impl InstantaneousSeparator {
    /// A separator with the settings that are asked for, into as many sources as are asked for, else as there are
    /// channels, else `n_sources`. When the request tells that there are more channels than sources, what is left of
    /// the mixture comes as a last source.
    ///
    /// # Errors
    /// Settings that do not exist or are out of range; dictionaries; a number of sources that the channels do not
    /// allow.
    pub fn new<S, M>(
        request: &Request,
        build: impl Fn(S) -> Result<M, SpatialError>,
        n_sources: Option<usize>,
    ) -> Result<Self, SeparationError>
    where
        S: Settings + Default,
        M: InstantaneousMethod + 'static,
    {
        let mut settings = S::default();
        for (name, value) in &request.settings {
            settings.set(name, value)?;
        }
        if let Some(seed) = request.seed {
            match settings.set("seed", &seed.to_string()) {
                // a method without random numbers
                Ok(()) | Err(SettingError::Unknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let values = settings.values();
        let method = build(settings)?;
        let n_sources = request.n_sources.or(n_sources).or(request.n_channels).unwrap_or(DEFAULT_SOURCES);
        if n_sources == 0 {
            return Err(SpatialError::NoSource.into());
        }
        if let Some(channels) = request.n_channels.filter(|&channels| channels < n_sources) {
            return Err(
                SpatialError::TooManySources { method: method.name(), sources: n_sources, channels }.into()
            );
        }
        let residual = request.n_channels.is_some_and(|channels| channels > n_sources);
        Ok(Self { method: Box::new(method), values, n_sources, residual })
    }
}

impl Separator for InstantaneousSeparator {
    fn source_names(&self) -> Vec<String> {
        numbered("source", self.n_sources).chain(self.residual.then(|| RESIDUAL.into())).collect()
    }

    fn is_limited_by_channels(&self) -> bool {
        true
    }

    fn has_filters(&self) -> bool {
        true
    }

    fn settings(&self) -> Map<String, Value> {
        self.values.clone()
    }

    fn separate_into(
        &self,
        mixture: &Waveform,
        watch: &mut dyn Watch,
        sink: &mut SourceSink<'_>,
    ) -> Result<Outcome, SeparationError> {
        check_mixture(mixture)?;
        let clock = Instant::now();
        watch.progress(Progress { stage: "demix", done: 0, total: 1, cost: None })?;
        let found = self.method.demix(mixture, self.n_sources, watch)?;
        let mut seconds = Seconds { separate: clock.elapsed().as_secs_f64(), ..Seconds::default() };
        let names = self.source_names();
        let total = names.len();
        for (source, name) in names.into_iter().enumerate() {
            let clock = Instant::now();
            let image =
                if source < self.n_sources { found.image(mixture, source) } else { found.residual(mixture) };
            seconds.synthesis += clock.elapsed().as_secs_f64();
            sink(Source { name, image }).map_err(SeparationError::Sink)?;
            watch.progress(Progress { stage: "synthesis", done: source + 1, total, cost: None })?;
        }
        let rows =
            |matrix: &Array2<f64>| -> Vec<Vec<f64>> { matrix.outer_iter().map(|row| row.to_vec()).collect() };
        let mut details = Map::new();
        details.insert("demixing".into(), json!(rows(&found.demixing)));
        details.insert("mixing".into(), json!(rows(&found.mixing)));
        Ok(Outcome {
            iterations: found.iterations,
            stopped: found.stopped.name(),
            sums_to_mixture: self.residual || self.n_sources == mixture.n_channels(),
            stft: StftSettings::default().for_rate(mixture.sample_rate),
            seconds,
            factors: None,
            filters: vec![filters(&found)],
            details,
            cost: found.cost,
            warnings: found.warnings,
        })
    }
}

/// The same gains at every frequency: one bin.
fn filters(found: &InstantaneousDemixing) -> Filters {
    let complex = |matrix: &Array2<f64>| matrix.mapv(|x| Complex::new(x, 0.0)).insert_axis(Axis(0));
    Filters { first_sample: 0, demixing: complex(&found.demixing), images: complex(&found.mixing) }
}
