//! Demixing that knows something of its sources: networks, learned dictionaries, and blind low-rank parts beside them.
//!
//! Hasumi et al. 2023, Algorithms 2 and 3, with `ProductOfPriors` in the one loop: every `inner` iterations the networks
//! look at the estimates again.

use std::sync::Arc;

use demix_signal::Watch;
use ndarray::{Array2, Array3, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::blind::{self, Found, Input};
use crate::determined::{self, Descent, LoopSettings, Normalization};
use crate::mixture::{Mixture, Scalar};
use crate::permutation::assign;
use crate::source::{
    Energies, Experts, Factors, PowerEstimator, Product, ProductOfPriors, ProductSettings, SourceModel as _,
};
use crate::start::{Share, Start};
use crate::update::{MatrixSettings, Update};
use crate::{C64, Demixing, Powers, SpatialError};

demix_signal::settings! {
    /// How networks take part.
    pub struct LookSettings {
        /// How often the networks look at the estimates.
        pub outer: usize = 10, range 1.0 ..= 10000.0;
        /// Steps of source model and demixing between two looks of the networks.
        pub inner: usize = 10, range 1.0 ..= 10000.0;
        /// Where the demixing matrices begin; after a run of another method, the networks find out which output is whose.
        /// auto: tries fdica and identity, and keeps the former unless the networks recognise the outputs of the latter
        /// better; identity alone for a single source.
        pub start: Option<Start> = None;
        /// A network's variance is at least this share of the estimate's mean power: too small a floor trusts a network
        /// that hears nothing; auto: 0.01, and 0.001 where every network has a low-rank part beside it.
        pub variance_floor: Option<f64> = None, range 0.0 ..= 1.0;
        /// What fixes the scale of the outputs inside the loop; networks want that of the reference microphone.
        pub normalization: Normalization = Normalization::ProjectionBack;
        /// Whether the source models follow when an output is rescaled, so that the cost does not change; the paper
        /// rescales the output alone.
        pub rescale_model: bool = true;
    }
}

demix_signal::settings_group! {
    /// What all guided methods share.
    pub struct GuidedSettings {
        /// From where, how long, and how networks take part.
        pub looks: LookSettings,
        /// The demixing matrices.
        pub matrices: MatrixSettings,
    }
}

/// What is known of one source.
#[derive(Clone, Default)]
pub struct Known {
    /// Networks; none for a blind source.
    pub networks: Vec<Arc<dyn PowerEstimator>>,
    /// Columns of T that were learned elsewhere, (bins, components): power spectra.
    pub dictionary: Option<Array2<f64>>,
    /// Components that are learned here; a source without networks and dictionary needs one at least.
    pub components: usize,
}

/// A guided method with its settings.
#[derive(Clone)]
pub struct Guided {
    /// What is known of each source, in the order of the outputs.
    pub sources: Vec<Known>,
    /// Where to begin and how to put the experts of a source together. Of several ways all are run; the first is kept, or a
    /// later one whose outputs networks and dictionaries recognise better ([`Found::explained`]): a choice without the
    /// truth.
    pub ways: Vec<Way>,
    /// Everything else.
    pub settings: GuidedSettings,
}

/// A way to run a guided method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Where the demixing matrices begin.
    pub start: Start,
    /// How the experts are put together.
    pub product: Product,
}

/// How a way went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The way.
    pub way: Way,
    /// The mean of [`Found::explained`] over the sources of which something is known.
    pub explained: f64,
    /// Whether its matrices are those of [`Found`].
    pub kept: bool,
}

/// Matrices of FDICA whose bins are in one order already.
#[derive(Clone, Copy, Debug)]
pub struct Ordered<'a> {
    /// W, (bins, sources, channels).
    pub demixing: &'a Array3<C64>,
    /// Whether the outputs are in the order of the sources; else the networks find out which is whose.
    pub is_named: bool,
}

/// What may be looked at before every look of the networks, and at the end.
pub struct Moment<'a> {
    /// Iterations done.
    pub iterations: usize,
    /// The parts of the experts.
    pub energies: Vec<Energies>,
    /// W and its inverse, as [`Found::demixing`] and [`Found::mixing`].
    pub matrices: &'a dyn Fn() -> (Array3<C64>, Array3<C64>),
}

impl Guided {
    /// Steps of source model and demixing in all.
    pub fn iterations(&self) -> usize {
        self.iterations_of_a_way().saturating_mul(self.possible_ways().len())
    }

    /// The ways without those that cannot begin.
    fn possible_ways(&self) -> Vec<Way> {
        // of one source alone, FDICA would be another one in every bin
        let possible = |way: &&Way| self.sources.len() > 1 || way.start != Start::Fdica;
        let ways: Vec<Way> = self.ways.iter().filter(possible).copied().collect();
        if ways.is_empty() { self.ways.clone() } else { ways }
    }

    fn iterations_of_a_way(&self) -> usize {
        self.settings.looks.outer.saturating_mul(self.settings.looks.inner)
    }

    /// Steps of a start.
    fn warm(&self, start: Start) -> usize {
        start.iterations(self.settings.matrices.start_iterations)
    }

    /// What `auto` means for the floor of the networks' variances.
    fn variance_floor(&self) -> f64 {
        let alone = |known: &Known| known.components == 0 && known.dictionary.is_none();
        if self.sources.iter().any(alone) { FLOOR_ALONE } else { FLOOR_BESIDE_LOW_RANK }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// A source of which nothing is known and that has no components; an update that does not serve fewer sources than
    /// microphones.
    pub fn check(&self, n_channels: usize) -> Result<(), SpatialError> {
        let refuse = |why: String| Err(SpatialError::Unsupported(why));
        if self.sources.is_empty() {
            return Err(SpatialError::NoSource);
        }
        if self.settings.matrices.update == Update::NaturalGradient && self.sources.len() < n_channels {
            return refuse(
                "update=natural-gradient needs as many sources as microphones: take ip1, or overdetermined=pca".into(),
            );
        }
        let nothing =
            |known: &Known| known.networks.is_empty() && known.dictionary.is_none() && known.components == 0;
        if let Some(n) = self.sources.iter().position(nothing) {
            return refuse(format!("source {} has neither a network nor components", n + 1));
        }
        Ok(())
    }

    /// Demixes; `observe` is called before every look of the networks but the first, and at the end, of every way.
    ///
    /// # Errors
    /// As [`Guided::check`], a mixture that does not fit, a network without an answer, cancelling.
    pub fn demix<T: Scalar>(
        &self,
        input: &Input<'_>,
        watch: &mut dyn Watch,
        observe: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Found, SpatialError> {
        self.demix_from::<T>(input, None, watch, observe)
    }

    /// Demixes; the ways that start with FDICA begin from `ordered`.
    ///
    /// # Errors
    /// As [`Guided::demix`].
    pub fn demix_from<T: Scalar>(
        &self,
        input: &Input<'_>,
        ordered: Option<Ordered<'_>>,
        watch: &mut dyn Watch,
        observe: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Found, SpatialError> {
        let mixture = Mixture::<T>::new(input.x, self.settings.matrices.simd)?;
        self.check(mixture.n_channels())?;
        for (n, known) in self.sources.iter().enumerate() {
            if let Some(dictionary) = known.dictionary.as_ref().filter(|d| d.nrows() != mixture.n_bins()) {
                return Err(SpatialError::Unsupported(format!(
                    "the dictionary of source {} has {} bins, the mixture {}",
                    n + 1,
                    dictionary.nrows(),
                    mixture.n_bins()
                )));
            }
        }
        let mut ways = self.possible_ways();
        if input.begin.is_some() {
            // the block before is the start of all
            ways.dedup_by_key(|way| way.product);
        }
        let is_ordered = |way: &Way| ordered.is_some() && way.start == Start::Fdica;
        let warm = |way: &Way| match input.begin {
            None if !is_ordered(way) => self.warm(way.start),
            _ => 0,
        };
        let total = ways.iter().map(|way| warm(way) + self.iterations_of_a_way()).sum();
        let mut best: Option<Run> = None;
        let mut trials: Vec<Trial> = Vec::new();
        let mut before = 0;
        for way in ways {
            let demixing = match (input.begin, ordered) {
                (Some(w), _) => Demixing::given(&mixture, w)?,
                (None, Some(ordered)) if way.start == Start::Fdica => {
                    let mut demixing = Demixing::given(&mixture, ordered.demixing)?;
                    if !ordered.is_named {
                        self.name_outputs(&mixture, &mut demixing)?;
                    }
                    demixing
                }
                _ => {
                    let watch = &mut Share { watch: &mut *watch, before, total };
                    self.begin(&mixture, input, way.start, watch)?
                }
            };
            before += warm(&way);
            let is_warm = warm(&way) > 0 || input.begin.is_some() || is_ordered(&way);
            let watch = &mut Share { watch: &mut *watch, before, total };
            let run = self.run(&mixture, way.product, demixing, is_warm, watch, observe)?;
            before += self.iterations_of_a_way();
            let known: Vec<f64> = run.explained.iter().flatten().copied().collect();
            let explained = known.iter().sum::<f64>() / known.len().max(1) as f64;
            let to_beat = trials.iter().find(|trial| trial.kept).map(|trial| trial.explained + MARGIN);
            let kept = to_beat.is_none_or(|least| explained > least);
            if kept {
                trials.iter_mut().for_each(|trial| trial.kept = false);
                best = Some(run);
            }
            trials.push(Trial { way, explained, kept });
        }
        let Some(Run { demixing, descent, explained }) = best else {
            return Err(SpatialError::Unsupported("there is no way to try: give one at least".into()));
        };
        Ok(Found {
            demixing: demixing.matrices(&mixture),
            mixing: demixing.mixing(&mixture),
            explained,
            trials,
            costs: descent.cost.last().copied().into_iter().collect(),
            descent,
            warnings: blind::warnings_of(&mixture),
        })
    }

    /// W before the first look.
    fn begin<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        input: &Input<'_>,
        start: Start,
        watch: &mut dyn Watch,
    ) -> Result<Demixing, SpatialError> {
        let (settings, n) = (&self.settings, self.sources.len());
        let update = settings.matrices.build();
        let iterations = self.warm(start);
        let loops = LoopSettings { iterations, tolerance: START_TOLERANCE, ..LoopSettings::default() };
        let heard = if start == Start::Fdica { self.heard(input)? } else { None };
        let heard = heard.as_ref().map(|heard| heard.view());
        let mut demixing = start.begin(mixture, n, &*update, &loops, heard, watch)?;
        if iterations > 0 {
            self.name_outputs(mixture, &mut demixing)?;
        }
        Ok(demixing)
    }

    /// The experts of all sources. Their factors fit the outputs as they stand after a warm start, else they are random,
    /// the same ones at every call: outputs that are microphones are too alike to tell the sources' factors apart.
    fn experts<T: Scalar>(&self, powers: &Powers<'_, T>, is_warm: bool) -> Vec<Experts> {
        let shape = (powers.n_bins(), powers.n_frames());
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.matrices.seed);
        let mut experts = Vec::with_capacity(self.sources.len());
        for (n, known) in self.sources.iter().enumerate() {
            let learned = known.dictionary.as_ref();
            let low_rank = (known.components > 0 || learned.is_some()).then(|| match is_warm {
                true => Factors::singular(powers, n, known.components, learned),
                false => Factors::random(shape, known.components, learned, &mut rng),
            });
            experts.push(Experts { low_rank, networks: known.networks.clone() });
        }
        experts
    }

    /// One way, from W on; factors that do not fit would spoil matrices that know something.
    fn run<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        product: Product,
        mut demixing: Demixing,
        is_warm: bool,
        watch: &mut dyn Watch,
        observe: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Run, SpatialError> {
        let settings = &self.settings;
        let shape = (mixture.n_bins(), mixture.n_frames());
        let variance_floor = settings.looks.variance_floor.unwrap_or_else(|| self.variance_floor());
        let together =
            ProductSettings { product, variance_floor, rescale_model: settings.looks.rescale_model };
        let powers = Powers::new(mixture, &demixing);
        let mut model = ProductOfPriors::<T>::new(shape, self.experts(&powers, is_warm), together)?;
        if is_warm {
            model.refresh(&powers)?;
            (0..FIT_ITERATIONS).for_each(|_| {
                model.update(&powers);
            });
        }
        let update = settings.matrices.build();
        let stretch = LoopSettings {
            iterations: settings.looks.inner,
            tolerance: 0.0,
            inner: 0, // one look at the start of each stretch
            normalization: settings.looks.normalization,
            reference: 0,
        };
        let (total, mut descent) =
            (self.iterations_of_a_way(), Descent { cost: vec![], iterations: 0, converged: false });
        for outer in 0..settings.looks.outer {
            let watch = &mut Share { watch: &mut *watch, before: outer * settings.looks.inner, total };
            let part = determined::run(mixture, &mut model, &*update, &stretch, None, &mut demixing, watch)?;
            // the cost at the end of a stretch and that of the next beginning differ by what the networks said
            descent.cost.extend(&part.cost[..settings.looks.inner]);
            if outer + 1 == settings.looks.outer {
                descent.cost.push(part.cost[settings.looks.inner]);
            }
            descent.iterations += part.iterations;
            observe(&Moment {
                iterations: descent.iterations,
                energies: model.energies(&Powers::new(mixture, &demixing)),
                matrices: &|| (demixing.matrices(mixture), demixing.mixing(mixture)),
            });
        }
        let explained = self.explained(mixture, &demixing)?;
        Ok(Run { demixing, descent, explained })
    }
}

/// What one way came to.
struct Run {
    demixing: Demixing,
    descent: Descent,
    explained: Vec<Option<f64>>,
}

/// A later way is kept when its outputs are recognised better by this much: smaller differences are noise.
const MARGIN: f64 = 0.03;
/// The start need not be exact, in nats for each slot.
pub const START_TOLERANCE: f64 = 1e-6;

impl Known {
    /// Whether anything is known that was learned elsewhere.
    fn is_informed(&self) -> bool {
        !self.networks.is_empty() || self.dictionary.is_some()
    }
}

impl Guided {
    /// What the networks hear of their sources in the first microphone, (bins, sources, frames); what they leave is the
    /// other sources'. None where there is no network.
    ///
    /// # Errors
    /// A network without an answer.
    pub fn heard(&self, input: &Input<'_>) -> Result<Option<Array3<f32>>, SpatialError> {
        let blind = self.sources.iter().filter(|known| known.networks.is_empty()).count();
        if blind == self.sources.len() {
            return Ok(None);
        }
        let heard = input.x.index_axis(Axis(1), 0).mapv(|x| x.norm_sqr());
        let magnitude = heard.mapv(f32::sqrt);
        let (n_bins, n_frames) = heard.dim();
        let mut expected = Array3::zeros((n_bins, self.sources.len(), n_frames));
        let mut left = heard;
        for (n, known) in self.sources.iter().enumerate().filter(|(_, known)| !known.networks.is_empty()) {
            let mut sum = Array2::<f32>::zeros((n_bins, n_frames));
            for network in &known.networks {
                let said = network.estimate(magnitude.view()).map_err(SpatialError::Network)?;
                said.check(n, (n_bins, n_frames))?;
                sum += &said.power();
            }
            sum /= known.networks.len() as f32;
            left -= &sum;
            expected.index_axis_mut(Axis(1), n).assign(&sum);
        }
        left.mapv_inplace(|left| left.max(0.0) / blind.max(1) as f32);
        for (n, _) in self.sources.iter().enumerate().filter(|(_, known)| known.networks.is_empty()) {
            expected.index_axis_mut(Axis(1), n).assign(&left);
        }
        Ok(Some(expected))
    }

    /// Gives every output to the source whose networks and dictionary explain most of it.
    fn name_outputs<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        demixing: &mut Demixing,
    ) -> Result<(), SpatialError> {
        let n = self.sources.len();
        if n < 2 || !self.sources.iter().any(Known::is_informed) {
            return Ok(());
        }
        let everywhere =
            |order: &[usize]| Array2::from_shape_fn((mixture.n_bins(), n), |(_, source)| order[source]);
        let mut explained = Array2::<f64>::zeros((n, n));
        for shift in 0..n {
            let order: Vec<usize> = (0..n).map(|source| (source + shift) % n).collect();
            let mut shifted = demixing.clone();
            shifted.reorder(&everywhere(&order));
            for (source, share) in self.explained(mixture, &shifted)?.into_iter().enumerate() {
                explained[[source, order[source]]] = share.unwrap_or(0.0);
            }
        }
        demixing.reorder(&everywhere(&assign(&explained)));
        Ok(())
    }

    /// [`Found::explained`].
    fn explained<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        demixing: &Demixing,
    ) -> Result<Vec<Option<f64>>, SpatialError> {
        let shape = (mixture.n_bins(), mixture.n_frames());
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.matrices.seed);
        let experts = self.sources.iter().map(|known| {
            let learned = known.dictionary.as_ref();
            // a source that nobody knows takes part, so that the outputs keep their numbers
            let any = usize::from(!known.is_informed());
            let low_rank =
                (any > 0 || learned.is_some()).then(|| Factors::random(shape, any, learned, &mut rng));
            Experts { low_rank, networks: known.networks.clone() }
        });
        let settings = ProductSettings { product: RECOGNITION, variance_floor: 0.0, rescale_model: true };
        let mut model = ProductOfPriors::<T>::new(shape, experts.collect(), settings)?;
        let powers = Powers::new(mixture, demixing);
        model.refresh(&powers)?;
        if self.sources.iter().any(|known| known.dictionary.is_some()) {
            (0..FIT_ITERATIONS).for_each(|_| {
                model.update(&powers);
            });
        }
        let shares = self.sources.iter().enumerate();
        Ok(shares.map(|(n, known)| known.is_informed().then(|| model.explained(n, &powers))).collect())
    }
}

/// How networks and dictionary of one source are heard together: as equals, and at the power that they expect.
const RECOGNITION: Product = Product::Gauss { eta: 0.5 };
/// The floor of a network's variance where nothing else is known of its source.
const FLOOR_ALONE: f64 = 1e-2;
/// The floor where a low-rank part fills what the network misses; docs/guided-demixing.md has the measurement.
const FLOOR_BESIDE_LOW_RANK: f64 = 1e-3;
/// Steps of the factors alone where the demixing matrices are given.
const FIT_ITERATIONS: usize = 20;
