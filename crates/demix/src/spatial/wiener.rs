//! Masks from networks: `dnn-wf` on every channel alone, `fscm-dnn` with full-rank spatial covariances.
//!
//! Any number of sources, also more than microphones. The sources sum to the mixture.

use std::sync::Arc;
use std::time::Instant;

use demix_signal::settings::Settings as _;
use demix_signal::{Complex, Progress, Stft, StftSettings, Watch, Waveform};
use demix_spatial::source::PowerEstimator;
use demix_spatial::{FullRank, FullRankSettings};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde_json::{Map, Value, json};

use super::channels::Distinct;
use super::guided::{Bridge, Clock, check_rate, common_transform, refuse_loss, source_names};
use crate::method::Request;
use crate::separation::{Outcome, Seconds, SeparationError, Separator, Source, SourceSink, check_mixture};

demix_signal::settings! {
    /// Wiener filters from networks.
    pub struct WienerSettings {
        /// A source's variance is at least this share of the mixture's mean power in the frame: where no network hears
        /// anything, the sources share the sound evenly.
        pub variance_floor: f64 = 1e-5, range 0.0 ..= 1.0;
        /// Take networks that were trained for another method, too.
        pub any_network: bool = false;
    }
}

demix_signal::settings! {
    /// What `fscm-dnn` asks of networks.
    pub struct AnyNetworkSettings {
        /// Take networks that were trained for another method, too.
        pub any_network: bool = false;
    }
}

demix_signal::settings_group! {
    /// All settings of the method `fscm-dnn`.
    pub struct FscmSettings {
        /// The covariances.
        pub full_rank: FullRankSettings,
        /// The networks.
        pub networks: AnyNetworkSettings,
    }
}

/// How the sources' variances become filters.
enum Filter {
    /// r / sum r on every channel.
    PerChannel(WienerSettings),
    /// r Sigma (sum r Sigma)^-1.
    FullRank(FullRankSettings),
}

/// A separation by masks from networks.
pub struct WienerSeparator {
    filter: Filter,
    names: Vec<String>,
    networks: Vec<Vec<Arc<dyn PowerEstimator>>>,
    stft: StftSettings,
    sample_rate: u32,
    whose: String,
    clock: Clock,
    values: Map<String, Value>,
}

impl WienerSeparator {
    /// `dnn-wf` with the models of a request.
    ///
    /// # Errors
    /// Settings out of range; models that do not fit together or the method.
    pub fn per_channel(settings: WienerSettings, request: &Request) -> Result<Self, SeparationError> {
        settings.check()?;
        let (values, any) = (settings.values(), settings.any_network);
        Self::new("dnn-wf", Filter::PerChannel(settings), values, any, request)
    }

    /// `fscm-dnn` with the models of a request.
    ///
    /// # Errors
    /// As [`WienerSeparator::per_channel`].
    pub fn full_rank(settings: FscmSettings, request: &Request) -> Result<Self, SeparationError> {
        settings.check()?;
        let (values, any) = (settings.values(), settings.networks.any_network);
        Self::new("fscm-dnn", Filter::FullRank(settings.full_rank), values, any, request)
    }

    fn new(
        method: &'static str,
        filter: Filter,
        values: Map<String, Value>,
        any_network: bool,
        request: &Request,
    ) -> Result<Self, SeparationError> {
        if let Some(dictionary) = request.dictionaries.first() {
            return Err(SeparationError::Request(format!(
                "dictionary '{}' serves --method nmf or g-pop-idlma; {method} takes networks alone",
                dictionary.name
            )));
        }
        let (stft, sample_rate, whose) = common_transform(&request.models, &[], method)?;
        if !any_network {
            for model in &request.models {
                refuse_loss(model, method)?;
            }
        }
        // without a number the networks' sources, and one for the rest where there is one alone
        let mut known: Vec<&str> = request.models.iter().map(|model| model.name.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        let n_sources = request.n_sources.or(Some(known.len().max(2)));
        let names = source_names(&Request { n_sources, ..request.clone() })?;
        let clock = Clock::default();
        let networks = names.iter().map(|name| {
            let of_source = request.models.iter().filter(|model| model.name == *name);
            of_source
                .map(|model| Arc::new(Bridge::new(model, None, 1, clock.clone())) as Arc<dyn PowerEstimator>)
                .collect()
        });
        let networks = networks.collect();
        Ok(Self { filter, names, networks, stft, sample_rate, whose, clock, values })
    }

    /// Masks of all sources for one channel's spectrogram, (sources, bins, frames).
    fn masks(&self, x: ArrayView2<'_, Complex<f32>>, floor: f64) -> Result<Array3<f32>, SeparationError> {
        let magnitude = x.mapv(|x| x.norm());
        let (n_bins, n_frames) = x.dim();
        let mut variance = Array3::<f32>::zeros((self.names.len(), n_bins, n_frames));
        let mut rest = magnitude.mapv(|x| x * x);
        for (n, networks) in self.networks.iter().enumerate() {
            let mut of_source = variance.index_axis_mut(Axis(0), n);
            for network in networks {
                let said = network
                    .estimate(magnitude.view())
                    .map_err(|why| SeparationError::Request(format!("{why}: train it again")))?;
                of_source.zip_mut_with(&said.power(), |v, said| *v += said / networks.len() as f32);
            }
            rest.zip_mut_with(&of_source, |rest, v| *rest -= v);
        }
        let blind = self.networks.iter().filter(|networks| networks.is_empty()).count();
        for (n, _) in self.networks.iter().enumerate().filter(|(_, networks)| networks.is_empty()) {
            variance.index_axis_mut(Axis(0), n).assign(&rest.mapv(|rest| (rest / blind as f32).max(0.0)));
        }
        for frame in 0..n_frames {
            let column = magnitude.column(frame);
            let power = column.iter().map(|x| f64::from(x * x)).sum::<f64>() / n_bins as f64;
            let least = ((floor * power) as f32).max(f32::MIN_POSITIVE);
            for bin in 0..n_bins {
                let mut slot = variance.slice_mut(s![.., bin, frame]);
                slot.mapv_inplace(|v| v.max(least));
                let sum = slot.sum();
                slot.mapv_inplace(|v| v / sum);
            }
        }
        Ok(variance)
    }
}

impl Separator for WienerSeparator {
    fn source_names(&self) -> Vec<String> {
        self.names.clone()
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
        check_rate(&self.whose, self.sample_rate, mixture)?;
        let mut warnings = Vec::new();
        let distinct = Distinct::of(mixture, &mut warnings);
        let heard = distinct.pick(mixture);
        let stft = Stft::<f32>::new(&self.stft)?;
        warnings.extend(stft.warning());
        let mut seconds = Seconds::default();
        let clock = Instant::now();
        let x = if heard.n_channels() == 0 {
            Array3::zeros((stft.n_bins(), 0, 0))
        } else {
            stft.forward_samples(&heard.samples)?
        };
        seconds.stft += clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        let total = heard.n_channels();
        let mut masks = Vec::new();
        let mut full_rank = None;
        match &self.filter {
            _ if total == 0 => {}
            Filter::PerChannel(settings) => {
                for channel in 0..total {
                    masks.push(self.masks(x.index_axis(Axis(1), channel), settings.variance_floor)?);
                    let done = channel + 1;
                    watch.progress(Progress { stage: "networks", done, total, cost: None })?;
                }
            }
            Filter::FullRank(settings) => {
                full_rank = Some(FullRank::find(x.view(), &self.networks, settings, watch)?);
            }
        }
        seconds.separate += clock.elapsed().as_secs_f64();
        let (n_bins, _, n_frames) = x.dim();
        for (n, name) in self.names.iter().enumerate() {
            let clock = Instant::now();
            let image = full_rank.as_ref().map(|found| found.image(x.view(), n));
            let mut samples = Array2::zeros(heard.samples.dim());
            for (channel, mut out) in samples.rows_mut().into_iter().enumerate() {
                let sound = stft.inverse_blocks(n_frames, heard.n_samples(), |frames, out| {
                    for (at, frame) in frames.enumerate() {
                        for bin in 0..n_bins {
                            out[at * n_bins + bin] = match &image {
                                Some(image) => image[[bin, channel, frame]],
                                None => x[[bin, channel, frame]] * masks[channel][[n, bin, frame]],
                            };
                        }
                    }
                });
                out.iter_mut().zip(sound).for_each(|(out, sound)| *out = sound);
            }
            let image = Waveform::new(distinct.restore(samples), mixture.sample_rate);
            seconds.synthesis += clock.elapsed().as_secs_f64();
            sink(Source { name: name.clone(), image }).map_err(SeparationError::Sink)?;
            let (done, total) = (n + 1, self.names.len());
            watch.progress(Progress { stage: "synthesis", done, total, cost: None })?;
        }
        let mut details = Map::new();
        details.insert("network_seconds".into(), json!(self.clock.seconds()));
        let cost = full_rank.map_or_else(Vec::new, |found| found.cost);
        Ok(Outcome {
            iterations: cost.len().saturating_sub(1),
            cost,
            stopped: "iterations",
            sums_to_mixture: true,
            stft: self.stft.clone(),
            warnings,
            seconds,
            factors: None,
            filters: Vec::new(),
            details,
        })
    }
}
