//! Demixing guided by networks: `idlma`, `t-idlma`, `eb-idlma`, `g-pop-idlma`, `t-pop-idlma`.
//!
//! What a method demands of a network, how networks, dictionaries and blind sources become the sources of one
//! [`Guided`] run, and the bridge from a checkpoint to the demixing, which knows a trait alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use demix_nn::{Loss, Network};
use demix_signal::settings::Settings as _;
use demix_signal::{StftSettings, Waveform};
use demix_spatial::blind::COMPONENTS;
use demix_spatial::source::{PowerEstimate, PowerEstimator, Product};
use demix_spatial::{Guided, GuidedSettings, Known, Start, Trial, Way};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::determined::SpatialSoundSettings;
use super::trials::{TrialSettings, Trials};
use crate::dictionary::Dictionary;
use crate::method::{DEFAULT_SOURCES, Request};
use crate::separation::{SeparationError, numbered};

/// A trained network and the source that it knows.
#[derive(Clone)]
pub struct SourceNetwork {
    /// Name of the source.
    pub name: String,
    /// Where it came from, for messages.
    pub file: String,
    /// The network.
    pub network: Arc<Network>,
}

impl std::fmt::Debug for SourceNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceNetwork")
            .field("name", &self.name)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

demix_signal::settings! {
    /// The low-rank parts.
    pub struct PartSettings {
        /// K: components of the low-rank part of each source; where a method has none beside a network, of the sources
        /// without one. auto: 10, and what is tried (see `trials`).
        pub components: Option<usize> = None, range 1.0 ..= 1000.0;
        /// Take networks that were trained for another method or another nu, too.
        pub any_network: bool = false;
        /// Distance of two frames, of which that of the networks is a multiple: more frames for the demixing to learn
        /// from; auto: a quarter of the networks'.
        pub hop: Option<usize> = None, unit "samples", range 1.0 ..= 1048576.0;
    }
}

demix_signal::settings! {
    /// Gaussian products.
    pub struct ShareSettings {
        /// The share of the low-rank part in the variance at the start, 0 to 1: the part grows until it is as strong as
        /// the networks, the later the smaller this is. 1 is ilrma, 0 is idlma. auto: tries 0.999 and 1e-6, and keeps
        /// the former unless the networks recognise the outputs of the latter better.
        pub eta: Option<f64> = None, range 0.0 ..= 1.0;
    }
}

demix_signal::settings! {
    /// Student's t with a network alone.
    pub struct NetworkDofSettings {
        /// Degrees of freedom; auto: those that the network was trained for, 500 where it was not.
        pub nu: Option<f64> = None, range 0.001 ..= 1e9;
    }
}

demix_signal::settings! {
    /// Products of Student's t experts.
    pub struct DofSettings {
        /// Degrees of freedom of the low-rank part; auto: those that the networks were trained beside, 100 where they
        /// were not.
        pub nu: Option<f64> = None, range 0.001 ..= 1e9;
        /// Degrees of freedom of a network that does not tell its own.
        pub nu_network: f64 = 100.0, range 0.001 ..= 1e9;
    }
}

demix_signal::settings_group! {
    /// All settings of the methods `idlma` and `eb-idlma`.
    pub struct IdlmaSettings {
        /// The loop.
        pub guided: GuidedSettings,
        /// The low-rank parts.
        pub part: PartSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `t-idlma`.
    pub struct TIdlmaSettings {
        /// The loop.
        pub guided: GuidedSettings,
        /// The low-rank parts.
        pub part: PartSettings,
        /// The distribution.
        pub dof: NetworkDofSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `g-pop-idlma`.
    pub struct GPopSettings {
        /// The loop.
        pub guided: GuidedSettings,
        /// The low-rank parts.
        pub part: PartSettings,
        /// The shares.
        pub share: ShareSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
    }
}

demix_signal::settings_group! {
    /// All settings of the method `t-pop-idlma`.
    pub struct TPopSettings {
        /// The loop.
        pub guided: GuidedSettings,
        /// The low-rank parts.
        pub part: PartSettings,
        /// The distributions.
        pub dof: DofSettings,
        /// What is tried.
        pub trials: TrialSettings,
        /// Scale, blocks, precision.
        pub sound: SpatialSoundSettings,
    }
}

/// Which of the family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family {
    /// Networks, Gaussian.
    Idlma,
    /// Networks, Student's t of one nu.
    TIdlma(Option<f64>),
    /// Networks that tell nu.
    EbIdlma,
    /// Networks and low-rank parts, Gaussian.
    GPop(Option<f64>),
    /// Networks and low-rank parts, Student's t.
    TPop(Option<f64>, f64),
}

/// Frames of the demixing for one of the networks.
const FINER: usize = 4;
/// What eta=auto tries: a part that is low-rank at once, and networks first.
const ETAS: [f64; 2] = [0.999, 1e-6];
/// What start=auto tries: activity settles the order of the bins, or the networks do, as in the paper.
const STARTS: [Start; 2] = [Start::Fdica, Start::Identity];
/// nu of `t-idlma` with networks that were trained for none: the paper's.
const NU_OF_T_IDLMA: f64 = 500.0;
/// nu of the low-rank part of `t-pop-idlma` with networks that were trained beside none.
const NU_OF_LOW_RANK: f64 = 100.0;

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Idlma => "idlma",
            Self::TIdlma(_) => "t-idlma",
            Self::EbIdlma => "eb-idlma",
            Self::GPop(_) => "g-pop-idlma",
            Self::TPop(..) => "t-pop-idlma",
        }
    }

    fn has_low_rank_part(self) -> bool {
        matches!(self, Self::GPop(_) | Self::TPop(..))
    }

    /// The ways to put the experts together, and nu_NMF for networks that take it as an input.
    fn products(self, models: &[SourceNetwork]) -> (Vec<Product>, Option<f64>) {
        let (product, nu_nmf) = match self {
            Self::GPop(None) => return (ETAS.map(|eta| Product::Gauss { eta }).to_vec(), None),
            _ => self.product(models),
        };
        (vec![product], nu_nmf)
    }

    /// The first of [`Self::products`].
    fn product(self, models: &[SourceNetwork]) -> (Product, Option<f64>) {
        let losses = || models.iter().map(|model| &model.network.header().loss);
        match self {
            Self::Idlma => (Product::Gauss { eta: 0.0 }, None),
            Self::GPop(eta) => (Product::Gauss { eta: eta.unwrap_or(ETAS[0]) }, None),
            Self::EbIdlma => (Product::Student { low_rank: NU_OF_LOW_RANK, network: NU_OF_LOW_RANK }, None),
            Self::TIdlma(nu) => {
                let trained = losses().find_map(|loss| match loss {
                    Loss::Student { nu } => Some(*nu),
                    _ => None,
                });
                let nu = nu.or(trained).unwrap_or(NU_OF_T_IDLMA);
                (Product::Student { low_rank: nu, network: nu }, None)
            }
            Self::TPop(nu, network) => {
                let trained = losses().find_map(|loss| match loss {
                    Loss::Product { nu_nmf } => Some(*nu_nmf),
                    _ => None,
                });
                let nu = nu.or(trained).unwrap_or(NU_OF_LOW_RANK);
                (Product::Student { low_rank: nu, network }, Some(nu))
            }
        }
    }

    /// Why a network does not serve, if so.
    fn refusal(self, loss: &Loss, product: Product, nu_nmf: Option<f64>) -> Option<String> {
        let differs = |a: f64, b: f64| (a - b).abs() > 1e-6 * b.abs();
        match (self, loss) {
            // plain magnitude estimates serve everywhere but where a network has to tell its nu
            (Self::EbIdlma, Loss::EmpiricalBayes) => None,
            (Self::EbIdlma, Loss::Product { .. } | Loss::ConditionedProduct { .. }) => {
                Some("tells the nu of a network beside a low-rank part".into())
            }
            (Self::EbIdlma, _) => Some("does not tell nu".into()),
            (_, Loss::SquareRoot | Loss::ItakuraSaito) => None,
            (Self::TIdlma(_), Loss::Student { nu }) => match product {
                Product::Student { network, .. } if differs(network, *nu) => {
                    Some(format!("was trained for nu={nu}, and nu={network} is asked for"))
                }
                _ => None,
            },
            (Self::TPop(..), Loss::Product { nu_nmf: trained }) => nu_nmf
                .filter(|nu| differs(*nu, *trained))
                .map(|nu| format!("was trained beside nu={trained}, and nu={nu} is asked for")),
            (Self::TPop(..), Loss::ConditionedProduct { lowest, highest }) => nu_nmf
                .filter(|nu| !(*lowest..=*highest).contains(nu))
                .map(|nu| format!("was trained beside nu={lowest} to {highest}, and nu={nu} is asked for")),
            (_, loss) => Some(format!("was trained with the loss {loss}")),
        }
    }
}

/// A guided run, what its sources are called, and the transform and rate that its networks demand.
#[derive(Clone)]
pub(crate) struct Plan {
    pub guided: Guided,
    pub names: Vec<String>,
    pub stft: StftSettings,
    /// The sources through windows twice as long, and the transform.
    pub longer: Option<(Vec<Known>, StftSettings)>,
    /// Of each source whether its number of components is free to be tried.
    pub is_free: Vec<bool>,
    pub sample_rate: u32,
    /// A model or dictionary to name where the rate does not fit.
    pub whose: String,
    /// Seconds that the networks took, summed over the runs of this plan.
    pub clock: Clock,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The plan through windows twice as long, if there are such.
    #[must_use]
    pub fn through_longer(mut self) -> Self {
        if let Some((sources, _)) = &self.longer {
            self.guided.sources.clone_from(sources);
        }
        self
    }

    /// The plan with so many components for the sources that leave it free.
    #[must_use]
    pub fn with_components(mut self, components: usize) -> Self {
        for (known, _) in self.guided.sources.iter_mut().zip(&self.is_free).filter(|(_, is_free)| **is_free) {
            known.components = components;
        }
        self
    }

    /// The plan with the first way alone.
    #[must_use]
    pub fn first_way(mut self) -> Self {
        self.guided.ways.truncate(1);
        self
    }
}

/// Nanoseconds, counted by several runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Seconds so far.
    pub fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 * 1e-9
    }

    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let done = work();
        self.0.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }
}

/// A network as the demixing sees it.
pub(crate) struct Bridge {
    network: Arc<Network>,
    name: String,
    nu_nmf: Option<f64>,
    /// Frames of the spectrogram from one frame of the network to the next.
    step: usize,
    /// Whether the spectrogram has twice the network's bins.
    is_double: bool,
    clock: Clock,
}

impl Bridge {
    pub fn new(model: &SourceNetwork, nu_nmf: Option<f64>, step: usize, clock: Clock) -> Self {
        Self {
            network: model.network.clone(),
            name: format!("'{}' ({})", model.name, model.file),
            nu_nmf: nu_nmf.or_else(|| model.network.header().loss.usual_nu()),
            step,
            is_double: false,
            clock,
        }
    }

    /// For spectrograms of twice the network's bins.
    pub fn double(self) -> Self {
        Self { is_double: true, ..self }
    }
}

impl PowerEstimator for Bridge {
    fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        if !self.is_double {
            return self.hear(magnitude);
        }
        let power = magnitude.mapv(|m| m * m);
        let wide = wide_bins(&power);
        let said = self.hear(wide.mapv(f32::sqrt).view())?;
        Ok(PowerEstimate {
            variance: narrow_bins(&said.variance, &wide, &power),
            dof: said.dof.map(|nu| Array2::from_shape_fn(power.dim(), |(bin, j)| nu[[bin.div_ceil(2), j]])),
            expected: said.expected.map(|expected| narrow_bins(&expected, &wide, &power)),
        })
    }
}

/// Powers of every second bin, with halves of both neighbours: what a window of half the length hears.
fn wide_bins(power: &Array2<f32>) -> Array2<f32> {
    let (n_bins, n_frames) = power.dim();
    Array2::from_shape_fn((n_bins / 2 + 1, n_frames), |(wide, j)| {
        let bin = 2 * wide;
        let below = if bin > 0 { power[[bin - 1, j]] } else { 0.0 };
        let above = if bin + 1 < n_bins { power[[bin + 1, j]] } else { 0.0 };
        power[[bin, j]] + 0.5 * (below + above)
    })
}

/// What was said of wide bins as the same shares of the narrow ones' powers; a bin between two has the mean of theirs.
fn narrow_bins(said: &Array2<f32>, wide: &Array2<f32>, power: &Array2<f32>) -> Array2<f32> {
    let share = |bin: usize, j: usize| match wide[[bin, j]] {
        power if power > 0.0 => said[[bin, j]] / power,
        _ => 0.0,
    };
    Array2::from_shape_fn(power.dim(), |(bin, j)| {
        power[[bin, j]] * 0.5 * (share(bin / 2, j) + share(bin.div_ceil(2), j))
    })
}

impl Bridge {
    /// From a spectrogram of the network's own bins.
    fn hear(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        self.clock.time(|| {
            let dim = magnitude.dim();
            let mut variance = Array2::zeros(dim);
            let (mut dof, mut expected): (Option<Array2<f32>>, Option<Array2<f32>>) = (None, None);
            // a finer spectrogram is several of the network's, interleaved; each is heard on its own
            let frames_of = |first: usize| s![.., first..;self.step];
            let phases = (0..self.step.min(dim.1)).into_par_iter().map(|first| {
                let said = self.network.estimate(magnitude.slice(frames_of(first)), self.nu_nmf);
                said.map_err(|e| format!("the network of {}: {e}", self.name))
            });
            for (first, said) in phases.collect::<Result<Vec<_>, _>>()?.into_iter().enumerate() {
                let frames = frames_of(first);
                variance.slice_mut(frames).assign(&said.sigma.mapv(|sigma| sigma * sigma));
                if said.beside.is_some() {
                    expected
                        .get_or_insert_with(|| Array2::zeros(dim))
                        .slice_mut(frames)
                        .assign(&said.power());
                }
                if let Some(nu) = said.dof {
                    dof.get_or_insert_with(|| Array2::ones(dim)).slice_mut(frames).assign(&nu);
                }
            }
            Ok(PowerEstimate { variance, dof, expected })
        })
    }
}

/// What the transforms of networks and dictionaries are compared by.
fn transform_text(stft: &StftSettings, sample_rate: u32) -> String {
    let filled = stft.for_rate(sample_rate);
    let n = |x: Option<usize>| x.unwrap_or(0);
    format!(
        "{} Hz, fft={}, window_length={}, hop={}, window={}",
        sample_rate,
        n(filled.fft),
        n(filled.window_length),
        n(filled.hop),
        filled.window
    )
}

/// The models' common transform; an error names two that differ, or says that there is no model.
pub(crate) fn common_transform(
    models: &[SourceNetwork],
    dictionaries: &[Dictionary],
    method: &str,
) -> Result<(StftSettings, u32, String), SeparationError> {
    let refuse = |why: String| Err(SeparationError::Request(why));
    let Some(first) = models.first() else {
        return refuse(format!(
            "{method} needs a network: add --model NAME=FILE ('demix train' makes one), or take --method ilrma"
        ));
    };
    let header = first.network.header();
    let own = transform_text(&header.stft, header.sample_rate);
    let whose = format!("model '{}' ({})", first.name, first.file);
    for other in models {
        let header = other.network.header();
        let theirs = transform_text(&header.stft, header.sample_rate);
        if theirs != own {
            return refuse(format!(
                "{whose} works at {own}, model '{}' ({}) at {theirs}: train both for one transform",
                other.name, other.file
            ));
        }
    }
    for other in dictionaries {
        let theirs = transform_text(&other.stft, other.sample_rate);
        if theirs != own {
            return refuse(format!(
                "{whose} works at {own}, dictionary '{}' at {theirs}: learn the dictionary for the model's transform",
                other.name
            ));
        }
        if other.exponent != 2.0 {
            return refuse(format!(
                "dictionary '{}' holds spectra |X|^{}, beside a network it has to hold powers: learn it with \
                 --set spectrum_exponent=2",
                other.name, other.exponent
            ));
        }
    }
    Ok((header.stft.for_rate(header.sample_rate), header.sample_rate, whose))
}

/// Sentences of models that were trained to find what another name stands for here.
pub(crate) fn misnamed(models: &[SourceNetwork]) -> Vec<String> {
    let mixed_up = models.iter().filter(|model| {
        let trained = &model.network.header().source;
        *trained != model.name && models.iter().any(|other| other.name == *trained)
    });
    let say = |model: &SourceNetwork| {
        let (name, trained) = (&model.name, &model.network.header().source);
        format!(
            "model '{name}' ({}) was trained to find {trained}, which another --model is named",
            model.file
        )
    };
    mixed_up.map(say).collect()
}

/// Refuses a mixture that models of another rate cannot hear.
pub(crate) fn check_rate(whose: &str, sample_rate: u32, mixture: &Waveform) -> Result<(), SeparationError> {
    if mixture.sample_rate == sample_rate {
        return Ok(());
    }
    Err(SeparationError::Request(format!(
        "{whose} works at {sample_rate} Hz, the input has {} Hz: resample the input, or train at its rate",
        mixture.sample_rate
    )))
}

/// Refuses a network that was not trained to tell magnitudes alone, for `dnn-wf` and `fscm-dnn`.
pub(crate) fn refuse_loss(model: &SourceNetwork, method: &str) -> Result<(), SeparationError> {
    match Family::Idlma.refusal(&model.network.header().loss, Product::Gauss { eta: 0.0 }, None) {
        None => Ok(()),
        Some(why) => Err(refusal(model, method, &why)),
    }
}

fn refusal(model: &SourceNetwork, method: &str, why: &str) -> SeparationError {
    SeparationError::Request(format!(
        "{method}: model '{}' ({}) {why}; train one with --for {method}, or say --set any_network=true",
        model.name, model.file
    ))
}

/// The names of all sources: those of models, dictionaries and free sources in the order given, then blind ones.
pub(crate) fn source_names(request: &Request) -> Result<Vec<String>, SeparationError> {
    let mut names: Vec<String> = Vec::new();
    let given = request.models.iter().map(|m| &m.name);
    let given = given.chain(request.dictionaries.iter().map(|d| &d.name));
    for name in given.chain(request.free.iter().map(|(name, _)| name)) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let n = request.n_sources.or(request.n_channels).unwrap_or(names.len().max(DEFAULT_SOURCES));
    if names.len() > n {
        return Err(SeparationError::Request(format!(
            "{} sources are named ({}), {n} {}",
            names.len(),
            names.join(", "),
            if request.n_sources.is_some() {
                "are asked for: name fewer, or raise --sources"
            } else {
                "channels tell at most as many apart: name fewer, or take --method dnn-wf or fscm-dnn, which find any number"
            }
        )));
    }
    let blind = n - names.len();
    names.extend(numbered("source", blind));
    Ok(names)
}

/// A trial for the report.
pub(crate) fn trial(trial: &Trial) -> Value {
    let mut said = match trial.way.product {
        Product::Gauss { eta } => json!({ "eta": eta }),
        Product::Student { low_rank, network } => json!({ "nu": low_rank, "nu_network": network }),
    };
    said["start"] = trial.way.start.to_string().into();
    said["explained"] = trial.explained.into();
    said["kept"] = trial.kept.into();
    said
}

/// Puts a guided run together.
pub(crate) fn plan(
    request: &Request,
    family: Family,
    mut settings: GuidedSettings,
    part: &PartSettings,
    trials: Trials,
) -> Result<Plan, SeparationError> {
    settings.check()?;
    part.check()?;
    if let Some(seed) = request.seed {
        settings.matrices.seed = seed;
    }
    let (mut stft, sample_rate, whose) =
        common_transform(&request.models, &request.dictionaries, family.name())?;
    let mut step = 1;
    let quarter = stft.hop.filter(|hop| hop.is_multiple_of(FINER)).map(|hop| hop / FINER);
    if let (Some(hop), Some(trained)) = (part.hop.or(quarter), stft.hop) {
        if hop > trained || trained % hop != 0 {
            return Err(SeparationError::Request(format!(
                "hop={hop}: {whose} was trained with hop={trained}, which has to be a multiple of it"
            )));
        }
        step = trained / hop;
        stft.hop = Some(hop);
    }
    let (products, nu_nmf) = family.products(&request.models);
    if !part.any_network {
        for model in &request.models {
            if let Some(why) = family.refusal(&model.network.header().loss, products[0], nu_nmf) {
                return Err(refusal(model, family.name(), &why));
            }
        }
    }
    let clock = Clock::default();
    let names = source_names(request)?;
    // twice the window, twice the hop, as far as the networks' frames allow
    let longer_step = (step / 2).max(1);
    let longer_stft = StftSettings {
        fft: stft.fft.map(|n| 2 * n),
        window_length: stft.window_length.map(|n| 2 * n),
        hop: stft.hop.map(|hop| hop * step / longer_step),
        ..stft.clone()
    };
    let known = |name: &String, is_double: bool| {
        let bridge = |model: &SourceNetwork| -> Arc<dyn PowerEstimator> {
            let bridge = |step| Bridge::new(model, nu_nmf, step, clock.clone());
            Arc::new(if is_double { bridge(longer_step).double() } else { bridge(step) })
        };
        let networks: Vec<_> =
            request.models.iter().filter(|model| model.name == *name).map(bridge).collect();
        let dictionary =
            request.dictionaries.iter().find(|d| d.name == *name).map(|d| d.components.mapv(f64::from));
        let free = request.free.iter().find(|(free, _)| free == name).map(|(_, k)| *k);
        let alone = networks.is_empty() && dictionary.is_none();
        if family == Family::Idlma && !networks.is_empty() && (dictionary.is_some() || free.is_some()) {
            let what = if dictionary.is_some() { "a dictionary" } else { "--free" };
            return Err(SeparationError::Request(format!(
                "idlma: source '{name}' has a network, beside which {what} would go unheard; take g-pop-idlma, where \
                 both are heard"
            )));
        }
        let components = match free {
            Some(k) => k,
            None if alone || family.has_low_rank_part() => part.components.unwrap_or(COMPONENTS),
            None => 0,
        };
        Ok(Known { networks, dictionary, components })
    };
    let all = |is_double| names.iter().map(|name| known(name, is_double)).collect::<Result<Vec<_>, _>>();
    let sources = all(false)?;
    let starts = settings.looks.start.map_or_else(|| STARTS.to_vec(), |start| vec![start]);
    // every start and every product has its turn, the first with the first
    let ways = (0..starts.len().max(products.len()))
        .map(|k| Way { start: starts[k % starts.len()], product: products[k % products.len()] })
        .collect();
    let guided = Guided { sources, ways, settings };
    guided.check(names.len())?;
    // every second bin of a longer window has to be one of the networks'
    let is_even = stft.fft.is_some_and(|fft| fft.is_multiple_of(2));
    let is_doubled = trials == Trials::All
        && is_even
        && request.dictionaries.is_empty()
        && guided.ways[0].start == Start::Fdica;
    let longer = match is_doubled && names.len() > 1 {
        true => Some((all(true)?, longer_stft)),
        false => None,
    };
    let is_free = |name: &String, known: &Known| {
        let is_said = request.free.iter().any(|(free, _)| free == name);
        part.components.is_none() && !is_said && known.components > 0 && known.dictionary.is_none()
    };
    Ok(Plan {
        is_free: names.iter().zip(&guided.sources).map(|(name, known)| is_free(name, known)).collect(),
        guided,
        names,
        stft,
        longer,
        sample_rate,
        whose,
        clock,
        warnings: misnamed(&request.models),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_bins_hold_the_power_of_narrow_ones_and_shares_come_back() {
        let power = Array2::from_shape_fn((9, 4), |(bin, j)| ((3 * bin + 5 * j) % 7) as f32);
        let wide = wide_bins(&power);
        assert_eq!(wide.dim(), (5, 4));
        for j in 0..4 {
            assert!((wide.column(j).sum() - power.column(j).sum()).abs() < 1e-4);
        }
        // a share that is the same everywhere, or everywhere but in one wide bin
        let same = narrow_bins(&wide.mapv(|p| 0.3 * p), &wide, &power);
        assert!(same.iter().zip(&power).all(|(said, p)| (said - 0.3 * p).abs() < 1e-5), "{same}");
        let mut silent = wide.clone();
        silent.row_mut(2).fill(0.0);
        let said = narrow_bins(&silent, &wide, &power);
        for (bin, share) in [(3, 0.5), (4, 0.0), (5, 0.5), (6, 1.0)] {
            for j in 0..4 {
                assert!((said[[bin, j]] - share * power[[bin, j]]).abs() < 1e-5, "bin {bin}");
            }
        }
        let nothing = Array2::zeros((9, 4));
        assert_eq!(narrow_bins(&wide_bins(&nothing), &wide_bins(&nothing), &nothing), nothing);
    }
}
