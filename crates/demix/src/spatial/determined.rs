//! Demixing of as many sources as microphones, or fewer, blind or guided: transform, demix, images on every microphone.
//!
//! Long recordings are demixed block by block: each block goes on from the demixing matrices of the one before, so that
//! sources keep their order, and neighbouring blocks are cross-faded. Only filters are kept between blocks; the sound of
//! one source at a time is made at the end.

use std::time::Instant;

use demix_signal::settings::Settings as _;
use demix_signal::{Complex, Progress, Stft, StftSettings, Watch, Waveform};
use demix_spatial::blind::COMPONENTS;
use demix_spatial::guided::START_TOLERANCE;
use demix_spatial::source::{Contrast, Distribution};
use demix_spatial::{
    Blind, C64, DemixSettings, Found, GuidedSettings, Input, LowRankSettings, MatrixSettings, Model, Ordered,
    Scalar, Scaling, SpatialError, rescale,
};
use ndarray::{Array2, Array3, Axis, s};
use serde_json::{Map, Value, json};

use super::blocks::{Block, Part};
use super::channels::{Distinct, told_by};
use super::guided::{self, Family, GPopSettings, IdlmaSettings, PartSettings, TIdlmaSettings, TPopSettings};
use super::memory::Memory;
use super::trials::{TrialSettings, Trials};
use crate::method::Request;
use crate::mono::nmf::Precision;
use crate::separation::{
    Filters, Outcome, RESIDUAL, Seconds, SeparationError, Separator, Source, SourceSink, check_mixture,
    numbered,
};

demix_signal::choices! {
    /// What is assumed of a frame of a source.
    pub enum ContrastName {
        /// A spherical Laplace density.
        Laplace = "laplace",
        /// A spherical Gaussian density whose variance changes from frame to frame.
        Gauss = "gauss",
        /// A spherical t density with nu degrees of freedom.
        Student = "student",
    }
}

demix_signal::choices! {
    /// What is done with more microphones than sources.
    pub enum Overdetermined {
        /// The sources are demixed from all microphones, the background stays orthogonal to them.
        Background = "background",
        /// The strongest principal components of each bin, as many as sources, stand for the microphones.
        Pca = "pca",
    }
}

demix_signal::settings! {
    /// From waveform to spectrogram and back.
    pub struct SpatialSoundSettings {
        /// How the outputs get the scale of the microphones.
        pub scaling: Scaling = Scaling::ProjectionBack;
        /// What is done with more microphones than sources; auto: pca, and background for a single source, of which pca
        /// would leave nothing to demix.
        pub overdetermined: Option<Overdetermined> = None;
        /// The numbers that the loop computes with; auto: single, which is within 0.01 dB of double, but
        /// double for fdica, t-ilrma and ggd-ilrma, whose weights follow the outputs and span too much for single.
        pub precision: Precision = Precision::Auto;
        /// Length of the blocks that a long recording is demixed in; auto: 300 s from 600 s on. 0: never.
        pub block: Option<f64> = None, unit "s", range 0.0 ..= 100000.0;
    }
}

demix_signal::settings! {
    /// The contrast of AuxIVA.
    pub struct ContrastSettings {
        /// What is assumed of a frame of a source.
        pub contrast: ContrastName = ContrastName::Laplace;
        /// Degrees of freedom of contrast=student.
        pub nu: f64 = 10.0, range 0.001 ..= 1e9;
    }
}

demix_signal::settings! {
    /// Student's t distribution.
    pub struct StudentSettings {
        /// Degrees of freedom: 1 is the Cauchy, many are the Gaussian distribution.
        pub nu: f64 = 100.0, range 0.001 ..= 1e9;
    }
}

demix_signal::settings! {
    /// The generalised Gaussian distribution.
    pub struct GeneralizedSettings {
        /// Shape: 2 is the Gaussian, 1 the Laplace distribution.
        pub shape: f64 = 1.5, range 0.05 ..= 2.0;
    }
}

demix_signal::settings! {
    /// How the bins of FDICA are put in one order.
    pub struct OrderSettings {
        /// Distance between neighbouring microphones, which stand on a straight line, equally far apart, in the order of
        /// the channels. Where hardly anything echoes (outdoors), the directions that the outputs come from then decide
        /// the order of bins that cannot be told by when they are loud; elsewhere it changes nothing, and the report says
        /// so. Of no use for circles and other arrays. auto: by when they are loud alone.
        pub spacing: Option<f64> = None, unit "m", range 0.0001 ..= 10.0;
    }
}

demix_signal::settings_group! {
    /// All settings of the method `fdica`.
    pub struct FdicaSettings {
        /// The loop.
        pub demix: DemixSettings,
        /// The order of the bins.
        pub order: OrderSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `auxiva`.
    pub struct AuxivaSettings {
        /// The loop.
        pub demix: DemixSettings,
        /// The contrast.
        pub contrast: ContrastSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the methods `ilrma` and `consistent-ilrma`.
    pub struct IlrmaSettings {
        /// The loop.
        pub demix: DemixSettings,
        /// The low-rank model.
        pub low_rank: LowRankSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `t-ilrma`.
    pub struct TIlrmaSettings {
        /// The loop.
        pub demix: DemixSettings,
        /// The low-rank model.
        pub low_rank: LowRankSettings,
        /// The distribution.
        pub student: StudentSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `ggd-ilrma`.
    pub struct GgdIlrmaSettings {
        /// The loop.
        pub demix: DemixSettings,
        /// The low-rank model.
        pub low_rank: LowRankSettings,
        /// The distribution.
        pub generalized: GeneralizedSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
        /// The transform.
        pub stft: StftSettings,
    }
}

/// What finds the demixing matrices.
#[derive(Clone)]
pub(super) enum Finder {
    /// Nothing is known of the sources.
    Blind(Blind),
    /// Networks know some of them.
    Guided(Box<guided::Plan>),
}

/// A method of determined demixing on waveforms.
pub struct DeterminedSeparator {
    pub(super) finder: Finder,
    pub(super) sound: SpatialSoundSettings,
    pub(super) stft: StftSettings,
    pub(super) trials: Trials,
    values: Map<String, Value>,
    n_sources: usize,
    /// Whether what the sources leave of the mixture is a further output.
    residual: bool,
}

impl Finder {
    /// Whether the weights of a covariance are as far apart as the powers of the outputs: sums in single precision then
    /// hold little more than the rounding of the largest.
    fn weights_follow_outputs(&self) -> bool {
        let Self::Blind(blind) = self else { return false };
        match &blind.model {
            Model::Fdica(_) => true,
            Model::LowRank(distribution, _) => *distribution != Distribution::Gauss,
            Model::Auxiva(_) | Model::Consistent(_) => false,
        }
    }

    /// Steps of all runs.
    pub(super) fn iterations(&self) -> usize {
        match self {
            Self::Blind(blind) => blind.restarts() * blind.iterations(),
            Self::Guided(plan) => plan.guided.iterations(),
        }
    }

    /// The same with the first way of a guided method alone.
    pub(super) fn first_way(&self) -> Self {
        match self {
            Self::Blind(blind) => Self::Blind(blind.clone()),
            Self::Guided(plan) => Self::Guided(Box::new(plan.as_ref().clone().first_way())),
        }
    }

    /// The same for the longer window of a guided method.
    pub(super) fn through_longer(&self) -> Self {
        match self {
            Self::Blind(blind) => Self::Blind(blind.clone()),
            Self::Guided(plan) => Self::Guided(Box::new(plan.as_ref().clone().through_longer())),
        }
    }

    /// The same with so many components where that is free.
    pub(super) fn with_components(&self, components: usize) -> Self {
        match self {
            Self::Blind(blind) => Self::Blind(blind.clone().with_components(components)),
            Self::Guided(plan) => Self::Guided(Box::new(plan.as_ref().clone().with_components(components))),
        }
    }

    /// Components of a source that is learned here.
    pub(super) fn components(&self) -> Option<usize> {
        match self {
            Self::Blind(blind) => blind.low_rank().map(|low_rank| low_rank.components.unwrap_or(COMPONENTS)),
            Self::Guided(plan) => plan.guided.sources.iter().map(|known| known.components).find(|k| *k > 0),
        }
    }

    /// The number of components, where it may be another.
    pub(super) fn free_components(&self) -> Option<usize> {
        match self {
            Self::Blind(blind) => {
                blind.low_rank().filter(|low_rank| low_rank.components.is_none()).map(|_| COMPONENTS)
            }
            Self::Guided(plan) => {
                let mut sources = plan.guided.sources.iter().zip(&plan.is_free);
                sources.find(|(_, is_free)| **is_free).map(|(known, _)| known.components)
            }
        }
    }

    /// How FDICA descends, and when it stops.
    pub(super) fn of_start(&self) -> (&MatrixSettings, f64) {
        match self {
            Self::Blind(blind) => (&blind.settings.matrices, blind.settings.descent.tolerance),
            Self::Guided(plan) => (&plan.guided.settings.matrices, START_TOLERANCE),
        }
    }

    fn find<T: Scalar>(
        &self,
        input: &Input<'_>,
        components: Option<&Array3<C64>>,
        ordered: Option<Ordered<'_>>,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        match self {
            Self::Blind(blind) => {
                let begin = input.begin.or(ordered.map(|ordered| ordered.demixing));
                blind.demix_components::<T>(&Input { begin, ..*input }, components, n_sources, watch)
            }
            Self::Guided(plan) if n_sources < plan.names.len() => Err(SpatialError::Unsupported(format!(
                "the channels tell {n_sources} apart (silent or copied ones do not count), {} sources are named: name fewer, or take \
                 --method dnn-wf",
                plan.names.len()
            ))),
            Self::Guided(plan) => plan.guided.demix_from::<T>(input, ordered, watch, &mut |_| {}),
        }
    }
}

/// Where the demixing matrices of a block begin.
#[derive(Clone, Copy)]
pub(super) enum Begin<'a> {
    /// Where the method says.
    Start,
    /// At W of the block before.
    Block(&'a Array3<C64>),
    /// At W of FDICA, its bins in order; `is_named` where its outputs are in the order of the sources as well.
    Ordered { demixing: &'a Array3<C64>, is_named: bool },
}

impl ContrastSettings {
    fn contrast(&self) -> Contrast {
        match self.contrast {
            ContrastName::Laplace => Contrast::Laplace,
            ContrastName::Gauss => Contrast::Gauss,
            ContrastName::Student => Contrast::Student(self.nu),
        }
    }
}

impl DeterminedSeparator {
    /// `fdica` into so many sources.
    ///
    /// # Errors
    /// Settings out of range or that do not fit together; no source.
    pub fn fdica(settings: FdicaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::Fdica(settings.order.spacing);
        Self::new(model, settings.demix, Trials::None, settings.sound, settings.stft, values, n_sources)
    }

    /// `auxiva` into so many sources.
    ///
    /// # Errors
    /// As [`DeterminedSeparator::fdica`].
    pub fn auxiva(settings: AuxivaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::Auxiva(settings.contrast.contrast());
        Self::new(model, settings.demix, Trials::None, settings.sound, settings.stft, values, n_sources)
    }

    /// `ilrma` into so many sources.
    ///
    /// # Errors
    /// As [`DeterminedSeparator::fdica`].
    pub fn ilrma(settings: IlrmaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::LowRank(Distribution::Gauss, settings.low_rank);
        Self::new(
            model,
            settings.demix,
            settings.trials.trials,
            settings.sound,
            settings.stft,
            values,
            n_sources,
        )
    }

    /// `consistent-ilrma` into so many sources.
    ///
    /// # Errors
    /// As [`DeterminedSeparator::fdica`].
    pub fn consistent_ilrma(settings: IlrmaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::Consistent(settings.low_rank);
        Self::new(
            model,
            settings.demix,
            settings.trials.trials,
            settings.sound,
            settings.stft,
            values,
            n_sources,
        )
    }

    /// `t-ilrma` into so many sources.
    ///
    /// # Errors
    /// As [`DeterminedSeparator::fdica`].
    pub fn t_ilrma(settings: TIlrmaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::LowRank(Distribution::Student(settings.student.nu), settings.low_rank);
        Self::new(
            model,
            settings.demix,
            settings.trials.trials,
            settings.sound,
            settings.stft,
            values,
            n_sources,
        )
    }

    /// `ggd-ilrma` into so many sources.
    ///
    /// # Errors
    /// As [`DeterminedSeparator::fdica`].
    pub fn ggd_ilrma(settings: GgdIlrmaSettings, n_sources: usize) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.check()?;
        let model = Model::LowRank(Distribution::Generalized(settings.generalized.shape), settings.low_rank);
        Self::new(
            model,
            settings.demix,
            settings.trials.trials,
            settings.sound,
            settings.stft,
            values,
            n_sources,
        )
    }

    fn new(
        model: Model,
        demix: DemixSettings,
        trials: Trials,
        sound: SpatialSoundSettings,
        stft: StftSettings,
        values: Map<String, Value>,
        n_sources: usize,
    ) -> Result<Self, SeparationError> {
        let blind = Blind { model, settings: demix };
        if n_sources == 0 {
            return Err(SeparationError::Request("0 sources are asked for: ask for at least 1".into()));
        }
        blind.check(n_sources, n_sources)?;
        Ok(Self { finder: Finder::Blind(blind), sound, stft, trials, values, n_sources, residual: false })
    }

    /// `idlma` with the models of a request.
    ///
    /// # Errors
    /// Settings out of range; models that do not fit together, the method, or the number of sources.
    pub fn idlma(settings: IdlmaSettings, request: &Request) -> Result<Self, SeparationError> {
        let values = settings.values();
        Self::guided(
            request,
            Family::Idlma,
            settings.guided,
            (&settings.part, settings.trials.trials),
            settings.sound,
            values,
        )
    }

    /// `eb-idlma`; see [`DeterminedSeparator::idlma`].
    ///
    /// # Errors
    /// As there.
    pub fn eb_idlma(settings: IdlmaSettings, request: &Request) -> Result<Self, SeparationError> {
        let values = settings.values();
        Self::guided(
            request,
            Family::EbIdlma,
            settings.guided,
            (&settings.part, settings.trials.trials),
            settings.sound,
            values,
        )
    }

    /// `t-idlma`; see [`DeterminedSeparator::idlma`].
    ///
    /// # Errors
    /// As there.
    pub fn t_idlma(settings: TIdlmaSettings, request: &Request) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.dof.check()?;
        let family = Family::TIdlma(settings.dof.nu);
        Self::guided(
            request,
            family,
            settings.guided,
            (&settings.part, settings.trials.trials),
            settings.sound,
            values,
        )
    }

    /// `g-pop-idlma`; see [`DeterminedSeparator::idlma`].
    ///
    /// # Errors
    /// As there.
    pub fn g_pop_idlma(settings: GPopSettings, request: &Request) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.share.check()?;
        let family = Family::GPop(settings.share.eta);
        Self::guided(
            request,
            family,
            settings.guided,
            (&settings.part, settings.trials.trials),
            settings.sound,
            values,
        )
    }

    /// `t-pop-idlma`; see [`DeterminedSeparator::idlma`].
    ///
    /// # Errors
    /// As there.
    pub fn t_pop_idlma(settings: TPopSettings, request: &Request) -> Result<Self, SeparationError> {
        let values = settings.values();
        settings.dof.check()?;
        let family = Family::TPop(settings.dof.nu, settings.dof.nu_network);
        Self::guided(
            request,
            family,
            settings.guided,
            (&settings.part, settings.trials.trials),
            settings.sound,
            values,
        )
    }

    fn guided(
        request: &Request,
        family: Family,
        settings: GuidedSettings,
        (part, trials): (&PartSettings, Trials),
        sound: SpatialSoundSettings,
        mut values: Map<String, Value>,
    ) -> Result<Self, SeparationError> {
        sound.check()?;
        let plan = guided::plan(request, family, settings, part, trials)?;
        values.insert("seed".into(), plan.guided.settings.matrices.seed.into());
        let (stft, n_sources) = (plan.stft.clone(), plan.names.len());
        Ok(Self {
            finder: Finder::Guided(Box::new(plan)),
            sound,
            stft,
            trials,
            values,
            n_sources,
            residual: false,
        })
    }

    /// For a mixture of so many channels: with more of them than sources, what the sources leave becomes an output, too.
    pub fn for_channels(mut self, n_channels: usize) -> Self {
        self.residual = n_channels > self.n_sources && self.sound.scaling == Scaling::ProjectionBack;
        self
    }

    /// The transform for a recording: windows of about half a second, which hold most of a room's echoes, but not so
    /// long that too few frames are left to learn from, overlapped eight times.
    fn transform(&self, sample_rate: u32, n_samples: usize) -> StftSettings {
        let mut settings = self.stft.clone();
        if settings.fft.is_none() && settings.window_length.is_none() {
            let rate = f64::from(sample_rate);
            let long = (rate * WINDOW_SECONDS).log2().round().clamp(5.0, 17.0) as u32;
            let mut fft = 1usize << long;
            while fft > 32 && n_samples < FEWEST_WINDOWS * fft {
                fft /= 2;
            }
            settings.fft = Some(fft);
        }
        let filled = settings.for_rate(sample_rate);
        let hop = filled.window_length.map(|length| (length / HOPS).max(1));
        StftSettings { hop: settings.hop.or(hop), ..filled }
    }
}

/// Length of the automatic window: see docs/separation-settings.md for others.
const WINDOW_SECONDS: f64 = 0.512;
/// Hops in an automatic window: more frames to learn from.
const HOPS: usize = 8;
/// Windows that a recording holds at the least before they are shortened.
const FEWEST_WINDOWS: usize = 8;
/// What was found in one block.
struct Solved {
    block: Block,
    found: Found,
    /// Gains from y to the images.
    gains: Array3<C64>,
    /// The spectrogram (bins, channels, frames), where the block is the whole recording.
    x: Option<Array3<Complex<f32>>>,
    /// What was tried, for the report.
    tried: Map<String, Value>,
}

/// A block through one window.
pub(super) struct Spectrum<'a> {
    pub(super) stft: &'a Stft<f32>,
    /// (bins, channels, frames).
    pub(super) x: Array3<Complex<f32>>,
    /// The components that stand for the channels, and the way to them (bins, N, M).
    reduction: Option<(Array3<Complex<f32>>, Array3<C64>)>,
}

impl Separator for DeterminedSeparator {
    fn source_names(&self) -> Vec<String> {
        let names = match &self.finder {
            Finder::Blind(_) => numbered("source", self.n_sources).collect(),
            Finder::Guided(plan) => plan.names.clone(),
        };
        names.into_iter().chain(self.residual.then(|| RESIDUAL.into())).collect::<Vec<_>>()
    }

    fn has_filters(&self) -> bool {
        true
    }

    fn is_limited_by_channels(&self) -> bool {
        true
    }

    fn longest_block(&self, n_samples: usize, sample_rate: u32) -> usize {
        Block::longest(n_samples, sample_rate, self.sound.block)
    }

    fn transform_of(&self, n_samples: usize, sample_rate: u32) -> Option<StftSettings> {
        Some(self.transform(sample_rate, n_samples))
    }

    fn spectrograms_held(&self, n_channels: usize) -> usize {
        // measured: the mixture, whitened, with the source models; several of each where orders are compared
        n_channels * if self.trials == Trials::None { 4 } else { 9 }
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
        let mut warnings = Vec::new();
        let distinct = Distinct::of(mixture, &mut warnings);
        if mixture.n_channels() < self.n_sources {
            return Err(SeparationError::Request(format!(
                "{} sources are asked for, the input has {} channel{}: demixing needs a channel for each source; ask for \
                 fewer, or take --method nmf",
                self.n_sources,
                mixture.n_channels(),
                if mixture.n_channels() == 1 { "" } else { "s" }
            )));
        }
        let heard = distinct.pick(mixture);
        let n_found = self.n_sources.min(distinct.len());
        if n_found == 0 {
            warnings.push("all channels are silent, and so are the sources".into());
        } else if n_found < self.n_sources {
            warnings.push(format!(
                "{} different channel{} can tell {} apart: the other sources are silent",
                distinct.len(),
                if distinct.len() == 1 { "" } else { "s" },
                if n_found == 1 { "no sources".into() } else { format!("{n_found} sources") },
            ));
        }
        if let Finder::Blind(blind) = &self.finder
            && n_found > 0
        {
            let is_reduced = self.is_reduced(n_found, distinct.len());
            // one source of several stays one of several, whatever stands for the channels
            let n_inputs = if is_reduced && n_found > 1 { n_found } else { distinct.len() };
            blind.check(n_found, n_inputs)?;
            if matches!(blind.model, Model::Fdica(Some(_))) && distinct.len() < mixture.n_channels() {
                return Err(SeparationError::Request(format!(
                    "spacing: {} of {} channels are silent or copies, so it is not the distance of those that are left: \
                     leave spacing out",
                    mixture.n_channels() - distinct.len(),
                    mixture.n_channels()
                )));
            }
        }
        if let Finder::Guided(plan) = &self.finder {
            guided::check_rate(&plan.whose, plan.sample_rate, mixture)?;
            warnings.extend(plan.warnings.iter().cloned());
        }
        let transform = self.transform(mixture.sample_rate, mixture.n_samples());
        let stft = Stft::<f32>::new(&transform)?;
        warnings.extend(stft.warning());
        self.refuse_crumbs(&transform, mixture.sample_rate)?;
        let mut seconds = Seconds::default();
        let (stft, solved) = if n_found == 0 {
            (stft, Vec::new())
        } else {
            self.solve(&heard, stft, n_found, watch, &mut seconds, &mut warnings)?
        };
        let mut rest = self.residual.then(|| mixture.samples.clone());
        for (source, name) in self.source_names().into_iter().enumerate().take(self.n_sources) {
            let clock = Instant::now();
            let mut image = Array2::zeros((heard.n_channels(), heard.n_samples()));
            if source < n_found {
                for part in &solved {
                    self.add_image(part, source, &heard, &stft, &mut image)?;
                }
            }
            let image = Waveform::new(distinct.restore(image), mixture.sample_rate);
            if let Some(rest) = &mut rest {
                *rest -= &image.samples;
            }
            seconds.synthesis += clock.elapsed().as_secs_f64();
            sink(Source { name, image }).map_err(SeparationError::Sink)?;
            let (done, total) = (source + 1, self.n_sources);
            watch.progress(Progress { stage: "synthesis", done, total, cost: None })?;
        }
        let whole = rest.is_some() || n_found == distinct.len();
        if let Some(rest) = rest {
            let image = Waveform::new(rest, mixture.sample_rate);
            sink(Source { name: RESIDUAL.into(), image }).map_err(SeparationError::Sink)?;
        }
        let exact = self.sound.scaling == Scaling::ProjectionBack && whole;
        if self.sound.scaling != Scaling::ProjectionBack {
            warnings.push(format!("scaling={}: the sources do not add up to the input", self.sound.scaling));
        }
        let mut details = Map::new();
        let costs: Vec<&Vec<f64>> = solved.iter().map(|part| &part.found.costs).collect();
        details.insert("final_costs".into(), json!(costs));
        if solved.len() > 1 {
            let firsts: Vec<f64> =
                solved.iter().map(|p| p.block.first as f64 / f64::from(mixture.sample_rate)).collect();
            details.insert("blocks".into(), json!(firsts));
        }
        if let Finder::Guided(plan) = &self.finder {
            details.insert("network_seconds".into(), json!(plan.clock.seconds()));
            details.insert("network_share".into(), json!(plan.clock.seconds() / seconds.separate.max(1e-9)));
            // how much of each output its network takes for its own, block by block
            let explained: Vec<&Vec<Option<f64>>> = solved.iter().map(|part| &part.found.explained).collect();
            details.insert("explained".into(), json!(explained));
            let trials = solved.iter().map(|part| part.found.trials.iter().map(guided::trial).collect());
            details.insert("ways".into(), Value::Array(trials.collect()));
        }
        for part in &solved {
            details.extend(part.tried.clone());
        }
        let filters = solved.iter().map(|part| Filters {
            first_sample: part.block.first,
            demixing: distinct.spread(part.found.demixing.clone()),
            images: distinct.restore_rows(part.gains.clone()),
        });
        let longest = solved.iter().map(|part| part.found.descent.iterations).max().unwrap_or(0);
        Ok(Outcome {
            cost: sum_of_costs(&solved),
            iterations: longest,
            stopped: if solved.iter().all(|part| part.found.descent.converged) {
                "tolerance"
            } else {
                "iterations"
            },
            sums_to_mixture: exact,
            stft: stft.settings().clone(),
            warnings,
            seconds,
            factors: None,
            filters: filters.collect(),
            details,
        })
    }
}

/// The first block that tells at least half as much of several sources as the one that tells most.
fn telling_block(blocks: &[Block], heard: &Waveform) -> usize {
    if blocks.len() < 2 {
        return 0; // nothing to choose, and no copy of the whole recording to look at
    }
    let told: Vec<f64> = blocks
        .iter()
        .map(|block| told_by(block.samples_of(heard).view()) / block.n_samples().max(1) as f64)
        .collect();
    let most = told.iter().copied().fold(0.0, f64::max);
    told.iter().position(|&told| told >= 0.5 * most).unwrap_or(0)
}

/// The cost of all blocks by iteration; those that stopped stay at their last.
fn sum_of_costs(solved: &[Solved]) -> Vec<f64> {
    let costs: Vec<&[f64]> = solved.iter().map(|part| &part.found.descent.cost[..]).collect();
    let longest = costs.iter().map(|cost| cost.len()).max().unwrap_or(0);
    let at = |cost: &[f64], iteration: usize| cost.get(iteration).or(cost.last()).copied().unwrap_or(0.0);
    (0..longest).map(|iteration| costs.iter().map(|cost| at(cost, iteration)).sum()).collect()
}

impl DeterminedSeparator {
    /// Refuses blocks that hold hardly a window.
    fn refuse_crumbs(&self, transform: &StftSettings, sample_rate: u32) -> Result<(), SeparationError> {
        let window = transform.window_length.unwrap_or(0) as f64 / f64::from(sample_rate);
        let least = FEWEST_WINDOWS as f64 * window;
        match self.sound.block {
            Some(block) if block > 0.0 && block < least => Err(SeparationError::Request(format!(
                "block={block}: a block holds at least {FEWEST_WINDOWS} windows of {window:.3} s; take {least:.1} or \
                 more, or 0 for none"
            ))),
            _ => Ok(()),
        }
    }

    /// The demixing of every block, and the transform that it is for.
    fn solve(
        &self,
        heard: &Waveform,
        mut stft: Stft<f32>,
        n_found: usize,
        watch: &mut dyn Watch,
        seconds: &mut Seconds,
        warnings: &mut Vec<String>,
    ) -> Result<(Stft<f32>, Vec<Solved>), SeparationError> {
        let blocks = Block::of(heard.n_samples(), heard.sample_rate, self.sound.block);
        let n_blocks = blocks.len();
        let shortest = blocks.iter().map(|block| block.n_samples()).min().unwrap_or(0);
        let mut kept: Option<Finder> = None;
        let mut memory = Memory::default();
        let mut solved: Vec<Solved> = Vec::new();
        // from the first block that tells much to the end, then back to the beginning: silence and a lonely talker are
        // no start for the rest
        let first = telling_block(&blocks, heard);
        let (before, after) = blocks.split_at(first);
        let blocks: Vec<Block> = after.iter().chain(before.iter().rev()).cloned().collect();
        for (at, block) in blocks.into_iter().enumerate() {
            let watch = &mut Part { watch: &mut *watch, block: at, n_blocks };
            let total = self.finder.iterations();
            watch.progress(Progress { stage: "demix", done: 0, total, cost: None })?;
            let samples = Waveform::new(block.samples_of(heard), heard.sample_rate);
            let clock = Instant::now();
            let mut tried = None;
            if at == 0 && self.has_trials(n_found) {
                let best = self.best_of_trials(&stft, &samples, n_found, shortest, watch)?;
                (stft, kept) = (best.stft, Some(best.finder));
                tried = Some((best.found, best.told));
            }
            seconds.separate += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            let spectrum = self.spectrum(&stft, &samples, n_found)?;
            seconds.stft += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            let before = memory.demixing().map(|w| match &spectrum.reduction {
                None => w.clone(),
                Some((_, projection)) => onto_components(w, projection),
            });
            let begin = before.as_ref().map_or(Begin::Start, Begin::Block);
            let finder = kept.as_ref().unwrap_or(&self.finder);
            let (mut found, tried) = match tried {
                Some(tried) => tried,
                None => (self.find(finder, &spectrum, &samples, begin, n_found, watch)?, Map::new()),
            };
            let x = spectrum.x;
            if n_blocks > 1 {
                // networks know which source is whose
                let is_in_order = matches!(self.finder, Finder::Guided(_));
                found = memory.take(found, x.view(), is_in_order);
            }
            let cancellation = demix_spatial::cancellation_warning(found.demixing.view(), x.view());
            found.warnings.extend(cancellation);
            let gains =
                rescale::gains(self.sound.scaling, found.demixing.view(), found.mixing.view(), x.view());
            for warning in &found.warnings {
                if !warnings.iter().any(|said| without_figures(said).eq(without_figures(warning))) {
                    warnings.push(warning.clone());
                }
            }
            seconds.separate += clock.elapsed().as_secs_f64();
            // of several blocks only the filters are kept: the memory stays that of one
            let x = (n_blocks == 1).then_some(x);
            solved.push(Solved { block, found, gains, x, tried });
        }
        solved.sort_by_key(|part| part.block.first);
        Ok((stft, solved))
    }

    pub(super) fn spectrum<'a>(
        &self,
        stft: &'a Stft<f32>,
        heard: &Waveform,
        n_found: usize,
    ) -> Result<Spectrum<'a>, SeparationError> {
        let x = stft.forward_samples(&heard.samples)?;
        let reduction = self.reduced(&x, n_found);
        Ok(Spectrum { stft, x, reduction })
    }

    /// What a method works on: the components that stand for the channels, or the channels.
    pub(super) fn input<'a>(&self, spectrum: &'a Spectrum<'_>, heard: &Waveform) -> Input<'a> {
        let Spectrum { stft, x, reduction } = spectrum;
        Input {
            x: reduction.as_ref().map_or(x.view(), |(components, _)| components.view()),
            stft: stft.settings(),
            n_samples: heard.n_samples(),
            sample_rate: heard.sample_rate,
            begin: None,
        }
    }

    /// The demixing of the channels by `finder`; `begin` is W of the channels or components.
    pub(super) fn find(
        &self,
        finder: &Finder,
        spectrum: &Spectrum<'_>,
        heard: &Waveform,
        begin: Begin<'_>,
        n_found: usize,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        let mut input = self.input(spectrum, heard);
        let ordered = match begin {
            Begin::Ordered { demixing, is_named } => Some(Ordered { demixing, is_named }),
            Begin::Start | Begin::Block(_) => None,
        };
        if let Begin::Block(w) = begin {
            input.begin = Some(w);
        }
        let projection = spectrum.reduction.as_ref().map(|(_, projection)| projection);
        let is_double = match self.sound.precision {
            Precision::Auto => finder.weights_follow_outputs(),
            precision => precision == Precision::Double,
        };
        let found = match is_double {
            true => finder.find::<f64>(&input, projection, ordered, n_found, watch)?,
            false => finder.find::<f32>(&input, projection, ordered, n_found, watch)?,
        };
        Ok(match projection {
            Some(projection) => unreduced(found, projection),
            None => found,
        })
    }

    /// Whether principal components stand for the channels.
    pub(super) fn is_reduced(&self, n: usize, n_channels: usize) -> bool {
        let usual = if n == 1 { Overdetermined::Background } else { Overdetermined::Pca };
        n != n_channels && self.sound.overdetermined.unwrap_or(usual) == Overdetermined::Pca
    }

    /// As many principal components as sources, where that is asked for, and the way to them (bins, N, M).
    fn reduced(&self, x: &Array3<Complex<f32>>, n: usize) -> Option<(Array3<Complex<f32>>, Array3<C64>)> {
        if !self.is_reduced(n, x.len_of(Axis(1))) {
            return None;
        }
        let projection = demix_spatial::principal_components(x.view(), n);
        Some((demix_spatial::search::components(x, &projection), projection))
    }

    /// Adds a source's image in one block to the whole.
    fn add_image(
        &self,
        part: &Solved,
        source: usize,
        heard: &Waveform,
        stft: &Stft<f32>,
        out: &mut Array2<f32>,
    ) -> Result<(), SeparationError> {
        let block = part.block;
        let again;
        let x = match &part.x {
            Some(x) => x,
            None => {
                again = stft.forward_samples(&block.samples_of(heard))?;
                &again
            }
        };
        let (n_bins, m, n_frames) = x.dim();
        for channel in 0..m {
            // one row for each bin: from the microphones to this image. Where microphones hear nearly the same its gains
            // are large and cancel, so single precision would not let the images add up to the mixture
            let rows = Array2::from_shape_fn((n_bins, m), |(bin, c)| {
                part.gains[[bin, channel, source]] * part.found.demixing[[bin, source, c]]
            });
            let image = stft.inverse_blocks(n_frames, block.n_samples(), |frames, out| {
                for bin in 0..n_bins {
                    let row = rows.row(bin);
                    let x = x.slice(s![bin, .., frames.clone()]);
                    for (frame, x) in x.columns().into_iter().enumerate() {
                        let double = |x: &Complex<f32>| C64::new(f64::from(x.re), f64::from(x.im));
                        let y: C64 = row.iter().zip(x).map(|(w, x)| w * double(x)).sum();
                        out[frame * n_bins + bin] = Complex::new(y.re as f32, y.im as f32);
                    }
                }
            });
            block.write(image, out.row_mut(channel));
        }
        Ok(())
    }
}

/// What a sentence says but for its figures: blocks need not say the same one after the other.
fn without_figures(sentence: &str) -> impl Iterator<Item = char> {
    sentence.chars().filter(|c| !c.is_ascii_digit())
}

/// W of the microphones for the components of a block: W P^H, since x is P^H (P x) but for what they leave out.
fn onto_components(demixing: &Array3<C64>, projection: &Array3<C64>) -> Array3<C64> {
    let (n_bins, k, m) = projection.dim();
    Array3::from_shape_fn((n_bins, demixing.len_of(Axis(1)), k), |(bin, source, p)| {
        (0..m).map(|c| demixing[[bin, source, c]] * projection[[bin, p, c]].conj()).sum()
    })
}

/// W and A of the components turned into those of the microphones: W P, and P^H A, since rows of P are orthonormal.
fn unreduced(found: Found, projection: &Array3<C64>) -> Found {
    Found {
        demixing: demix_spatial::search::of_channels(&found.demixing, projection),
        mixing: demix_spatial::unreduced(&found.mixing, projection),
        ..found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;
    use demix_signal::Spectrogram;

    /// Two noises that come and go, at three microphones; the second of them is silent or not.
    fn scene(n: usize, silent: bool) -> Waveform {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let source = |next: &mut dyn FnMut() -> f32, period: usize| -> Vec<f32> {
            (0..n).map(|t| if (t / period).is_multiple_of(3) { next() } else { 0.05 * next() }).collect()
        };
        let sources = [source(&mut next, 900), source(&mut next, 1300)];
        let heard = |m: usize, t: usize| -> f32 {
            let late = |k: usize| t.checked_sub((m + k) % 3).map_or(0.0, |t| sources[k][t]);
            if silent && m == 1 { 0.0 } else { 0.2 * late(0) + 0.15 * late(1) }
        };
        Waveform::new(Array2::from_shape_fn((3, n), |(m, t)| heard(m, t)), 8000)
    }

    #[test]
    fn filters_make_the_sound_of_the_input_also_where_channels_are_left_out() {
        for (silent, settings) in
            [(true, vec![]), (false, vec![("overdetermined", "background")]), (false, vec![])]
        {
            let mixture = scene(24_000, silent);
            let settings = [vec![("fft", "256"), ("hop", "128"), ("iterations", "20")], settings].concat();
            let settings = settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let request = Request { n_sources: Some(2), n_channels: Some(3), settings, ..Request::default() };
            let separator = Method::named("ilrma").unwrap().build(&request).unwrap();
            let found = separator.separate(&mixture, &mut ()).unwrap();
            let stft = Stft::<f64>::new(&found.outcome.stft).unwrap();
            let x = stft.forward(&mixture).unwrap();
            let filters = &found.outcome.filters[0];
            assert_eq!(filters.demixing.dim(), (129, 2, 3));
            for (n, source) in found.sources.iter().take(2).enumerate() {
                let image = Array3::from_shape_fn(x.data.dim(), |(bin, channel, frame)| {
                    let y: C64 =
                        (0..3).map(|m| filters.demixing[[bin, n, m]] * x.data[[bin, m, frame]]).sum();
                    filters.images[[bin, channel, n]] * y
                });
                let sound = stft.inverse(&Spectrogram { data: image, ..x.clone() }, mixture.n_samples());
                let power = |x: &Array2<f64>| x.iter().map(|x| x * x).sum::<f64>();
                let written = source.image.samples.mapv(f64::from);
                let error = power(&(&sound - &written)) / power(&written);
                assert!(error < 1e-10, "{silent}, source {n}: {:.0} dB", 10.0 * error.log10());
            }
        }
    }

    #[test]
    fn what_is_tried_is_told_and_can_be_left_out() {
        let mixture = {
            let three = scene(120_000, false);
            Waveform::new(three.samples.slice(s![..2, ..]).to_owned(), three.sample_rate)
        };
        let run = |settings: &[(&str, &str)], mixture: &Waveform| {
            let settings = [&[("iterations", "5"), ("start_iterations", "10")], settings].concat();
            let settings = settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let request = Request { n_sources: Some(2), n_channels: Some(2), settings, ..Request::default() };
            let separator = Method::named("ilrma").unwrap().build(&request).unwrap();
            let mut steps = Vec::new();
            let mut watch = |progress: Progress| {
                steps.extend((progress.stage == "demix").then_some((progress.done, progress.total)));
                true
            };
            let outcome = separator.separate(mixture, &mut watch).unwrap().outcome;
            assert!(steps.iter().all(|(done, total)| done <= total), "{steps:?}");
            outcome
        };
        let tried = |outcome: &Outcome, name: &str| -> Vec<u64> {
            let tried = outcome.details.get("tried").and_then(|tried| tried.as_array());
            tried.map_or(Vec::new(), |tried| tried.iter().filter_map(|t| t[name].as_u64()).collect())
        };
        let ffts = |outcome: &Outcome| tried(outcome, "fft");
        let all = run(&[], &mixture);
        assert_eq!((&ffts(&all)[..2], tried(&all, "components")), (&[4096, 8192][..], vec![10, 10, 20]));
        let told = all.details["tried"].as_array().unwrap();
        let overlap = |told: &Value| told["overlap"].as_f64().unwrap();
        let chosen: Vec<&Value> = told.iter().filter(|t| t["chosen"] == true).collect();
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0]["fft"].as_u64(), all.stft.fft.map(|fft| fft as u64));
        // by a share where the window is another, by anything where the components are
        let is_longer = overlap(&told[1]) < 0.99 * overlap(&told[0]);
        assert_eq!(told[2]["fft"], told[usize::from(is_longer)]["fft"]);
        let best = usize::from(is_longer);
        let expected = if overlap(&told[2]) < overlap(&told[best]) { 2 } else { best };
        assert_eq!(told[expected]["chosen"], true, "{told:?}");
        let orders = all.details["orders"].as_array().unwrap();
        assert_eq!(orders[0]["order_of"], "activity");
        assert!(orders.iter().all(|order| order["coherence"].as_f64().is_some()), "{orders:?}");
        assert!(orders.iter().any(|order| order["order_of"] == told[0]["order_of"]));
        // of few windows, and where transform or components are given
        let short = Waveform::new(mixture.samples.slice(s![.., ..32_768]).to_owned(), 8000);
        assert_eq!(ffts(&run(&[], &short))[..2], [4096, 8192]);
        let short = Waveform::new(mixture.samples.slice(s![.., ..32_767]).to_owned(), 8000);
        assert_eq!(ffts(&run(&[], &short))[..2], [2048, 4096]);
        assert_eq!(ffts(&run(&[("fft", "1024")], &mixture)), [1024, 1024]);
        let six = run(&[("components", "6")], &mixture);
        assert_eq!((ffts(&six), tried(&six, "components")), (vec![4096, 8192], vec![6, 6]));
        assert_eq!(ffts(&run(&[("trials", "orders")], &mixture)), [4096]);
        for settings in [[("trials", "none")], [("start", "identity")], [("start", "auxiva")]] {
            let none = run(&settings, &mixture);
            assert!(ffts(&none).is_empty() && none.stft.fft == Some(4096), "{settings:?}");
        }
        // one transform for all blocks
        let blocks = run(&[("block", "6")], &mixture);
        assert!(blocks.filters.len() > 1 && ffts(&blocks).contains(&(blocks.stft.fft.unwrap() as u64)));
        let bins: Vec<usize> = blocks.filters.iter().map(|filters| filters.demixing.dim().0).collect();
        assert!(bins.iter().all(|bins| *bins == blocks.stft.fft.unwrap() / 2 + 1), "{bins:?}");
    }

    #[test]
    fn a_block_is_longer_than_a_few_windows_and_bounds_the_memory() {
        let request = |block: &str| Request {
            n_channels: Some(3),
            settings: vec![("block".into(), block.into())],
            ..Request::default()
        };
        let build = |block: &str| Method::named("auxiva").unwrap().build(&request(block)).unwrap();
        let error = build("0.01").separate(&scene(24_000, false), &mut ()).unwrap_err().to_string();
        assert!(error.contains("block=0.01") && error.contains("take 2.0 or more"), "{error}");
        assert!(build("30").longest_block(8000 * 3600, 8000) < 8000 * 34);
        assert_eq!(build("0").longest_block(8000 * 3600, 8000), 8000 * 3600);
    }
}
