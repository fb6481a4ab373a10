//! Masks from networks: `dnn-wf` on every channel alone, `fscm-dnn` with full-rank spatial covariances.
//!
//! Any number of sources, also more than microphones. The sources sum to the mixture. Long recordings are filtered block
//! by block; since the filters change with every frame, the sources' sound is kept and not the filters.

use std::sync::Arc;
use std::time::Instant;

use demix_signal::settings::Settings as _;
use demix_signal::{Complex, Progress, Stft, StftSettings, Watch, Waveform};
use demix_spatial::source::PowerEstimator;
use demix_spatial::{FullRank, FullRankSettings};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, s};
use serde_json::{Map, Value, json};

use super::blocks::{Block, Part};
use super::channels::Distinct;
use super::guided::{Bridge, Clock, check_rate, common_transform, misnamed, refuse_loss, source_names};
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
    /// Sentences a user should read.
    warnings: Vec<String>,
    values: Map<String, Value>,
    /// Length of the blocks in seconds.
    block: Option<f64>,
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
        let warnings = misnamed(&request.models);
        Ok(Self { filter, names, networks, stft, sample_rate, whose, clock, warnings, values, block: None })
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

/// The filters of one block.
enum Filters {
    /// For every channel, (sources, bins, frames).
    Masks(Vec<Array3<f32>>),
    /// Covariances.
    FullRank(FullRank),
}

impl WienerSeparator {
    /// Filters blocks of so many seconds, 0 for the whole recording at once; else blocks of 300 s from 600 s on.
    pub fn in_blocks(mut self, seconds: f64) -> Self {
        self.block = Some(seconds);
        self
    }

    /// The filters for x (bins, channels, frames).
    fn filters(
        &self,
        x: ArrayView3<'_, Complex<f32>>,
        watch: &mut dyn Watch,
    ) -> Result<Filters, SeparationError> {
        match &self.filter {
            Filter::PerChannel(settings) => {
                let total = x.len_of(Axis(1));
                let mut masks = Vec::new();
                for channel in 0..total {
                    masks.push(self.masks(x.index_axis(Axis(1), channel), settings.variance_floor)?);
                    let done = channel + 1;
                    watch.progress(Progress { stage: "networks", done, total, cost: None })?;
                }
                Ok(Filters::Masks(masks))
            }
            Filter::FullRank(settings) => {
                Ok(Filters::FullRank(FullRank::find(x, &self.networks, settings, watch)?))
            }
        }
    }
}

impl Filters {
    /// A source on all microphones, (bins, channels, frames).
    fn image(&self, x: ArrayView3<'_, Complex<f32>>, source: usize) -> Array3<Complex<f32>> {
        match self {
            Self::FullRank(found) => found.image(x, source),
            Self::Masks(masks) => Array3::from_shape_fn(x.dim(), |(bin, channel, frame)| {
                x[[bin, channel, frame]] * masks[channel][[source, bin, frame]]
            }),
        }
    }
}

impl Separator for WienerSeparator {
    fn source_names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn longest_block(&self, n_samples: usize, sample_rate: u32) -> usize {
        Block::longest(n_samples, sample_rate, self.block)
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
        let mut warnings = self.warnings.clone();
        let distinct = Distinct::of(mixture, &mut warnings);
        let heard = distinct.pick(mixture);
        let stft = Stft::<f32>::new(&self.stft)?;
        warnings.extend(stft.warning());
        let mut seconds = Seconds::default();
        let blocks = match heard.n_channels() {
            0 => Vec::new(),
            _ => Block::of(heard.n_samples(), heard.sample_rate, self.block),
        };
        let (mut cost, mut iterations) = (Vec::new(), 0);
        let mut images = vec![Array2::zeros(heard.samples.dim()); self.names.len()];
        for (at, block) in blocks.iter().enumerate() {
            let watch = &mut Part { watch: &mut *watch, block: at, n_blocks: blocks.len() };
            let clock = Instant::now();
            let x = stft.forward_samples(&block.samples_of(&heard))?;
            seconds.stft += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            let filters = self.filters(x.view(), watch)?;
            seconds.separate += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            for (n, whole) in images.iter_mut().enumerate() {
                let image = filters.image(x.view(), n);
                for (channel, whole) in whole.rows_mut().into_iter().enumerate() {
                    block.write(sound(&stft, &image, channel, block.n_samples()), whole);
                }
            }
            seconds.synthesis += clock.elapsed().as_secs_f64();
            if let Filters::FullRank(found) = filters {
                iterations = iterations.max(found.cost.len().saturating_sub(1));
                cost.extend(found.cost);
            }
        }
        for (n, (name, image)) in self.names.iter().zip(images).enumerate() {
            let clock = Instant::now();
            let image = Waveform::new(distinct.restore(image), mixture.sample_rate);
            seconds.synthesis += clock.elapsed().as_secs_f64();
            sink(Source { name: name.clone(), image }).map_err(SeparationError::Sink)?;
            let (done, total) = (n + 1, self.names.len());
            watch.progress(Progress { stage: "synthesis", done, total, cost: None })?;
        }
        let mut details = Map::new();
        details.insert("network_seconds".into(), json!(self.clock.seconds()));
        Ok(Outcome {
            iterations,
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

/// One channel of a spectrogram (bins, channels, frames).
fn sound(stft: &Stft<f32>, image: &Array3<Complex<f32>>, channel: usize, n_samples: usize) -> Vec<f32> {
    let (n_bins, _, n_frames) = image.dim();
    let sound = stft.inverse_blocks(n_frames, n_samples, |frames, out| {
        for (at, frame) in frames.enumerate() {
            for bin in 0..n_bins {
                out[at * n_bins + bin] = image[[bin, channel, frame]];
            }
        }
    });
    sound.to_vec()
}
