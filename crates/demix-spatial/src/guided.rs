//! Demixing that knows something of its sources: networks, learned dictionaries, and blind low-rank parts beside them.
//!
//! Hasumi et al. 2023, Algorithms 2 and 3, with `ProductOfPriors` in the one loop: every `inner` iterations the networks
//! look at the estimates again.

use std::sync::Arc;

use demix_signal::simd::Simd;
use demix_signal::Watch;
use ndarray::{Array2, Array3};
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
use crate::update::{Pairs, Update};
use crate::{C64, Demixing, Powers, SpatialError};

demix_signal::settings! {
    /// What all guided methods share.
    pub struct GuidedSettings {
        /// How often the networks look at the estimates.
        pub outer: usize = 10, range 1.0 ..= 10000.0;
        /// Steps of source model and demixing between two looks of the networks.
        pub inner: usize = 10, range 1.0 ..= 10000.0;
        /// Where the demixing matrices begin; after a run of another method, the networks find out which output is whose.
        pub start: Start = Start::Fdica;
        /// Steps of the warm start.
        pub start_iterations: usize = 50, range 0.0 ..= 100000.0;
        /// So many of the last looks go without networks where a source has a low-rank part beside them, which then has
        /// learned what they know.
        pub release: usize = 0, range 0.0 ..= 10000.0;
        /// A network's variance is at least this share of the estimate's mean power: too small a floor trusts a network
        /// that hears nothing; auto: 0.01, and 0.001 where every network has a low-rank part beside it.
        pub variance_floor: Option<f64> = None, range 0.0 ..= 1.0;
        /// What fixes the scale of the outputs inside the loop; networks want that of the reference microphone.
        pub normalization: Normalization = Normalization::ProjectionBack;
        /// Whether the source models follow when an output is rescaled, so that the cost does not change; the paper
        /// rescales the output alone.
        pub rescale_model: bool = true;
        /// How the demixing matrices follow from the source model.
        pub update: Update = Update::Ip1;
        /// Which pairs of sources ip2 and iss2 take.
        pub pairs: Pairs = Pairs::Neighbours;
        /// Step of update=natural-gradient.
        pub step: f64 = 0.1, range 0.0001 ..= 1.0;
        /// Seed of all random numbers.
        pub seed: u64 = 0;
        /// The vector instructions that the kernels use.
        pub simd: Simd = Simd::Native;
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
    /// How the experts of a source are put together.
    pub product: Product,
    /// Everything else.
    pub settings: GuidedSettings,
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
        self.settings.outer.saturating_mul(self.settings.inner)
    }

    /// Steps of the warm start.
    fn warm(&self) -> usize {
        self.settings.start.iterations(self.settings.start_iterations)
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
        if self.settings.update == Update::NaturalGradient && self.sources.len() < n_channels {
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

    /// Demixes; `observe` is called before every look of the networks but the first, and at the end.
    ///
    /// # Errors
    /// As [`Guided::check`], a mixture that does not fit, a network without an answer, cancelling.
    pub fn demix<T: Scalar>(
        &self,
        input: &Input<'_>,
        watch: &mut dyn Watch,
        observe: &mut dyn FnMut(&Moment<'_>),
    ) -> Result<Found, SpatialError> {
        let mixture = Mixture::<T>::new(input.x, self.settings.simd)?;
        self.check(mixture.n_channels())?;
        let settings = &self.settings;
        let shape = (mixture.n_bins(), mixture.n_frames());
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut experts = Vec::with_capacity(self.sources.len());
        for (n, known) in self.sources.iter().enumerate() {
            if let Some(dictionary) = known.dictionary.as_ref().filter(|d| d.nrows() != shape.0) {
                return Err(SpatialError::Unsupported(format!(
                    "the dictionary of source {} has {} bins, the mixture {}",
                    n + 1,
                    dictionary.nrows(),
                    shape.0
                )));
            }
            let learned = known.dictionary.as_ref();
            let low_rank = (known.components > 0 || learned.is_some())
                .then(|| Factors::random(shape, known.components, learned, &mut rng));
            experts.push(Experts { low_rank, networks: known.networks.clone() });
        }
        let (product, rescale_model) = (self.product, settings.rescale_model);
        let variance_floor = settings.variance_floor.unwrap_or_else(|| self.variance_floor());
        let product = ProductSettings { product, variance_floor, rescale_model };
        let mut model = ProductOfPriors::<T>::new(shape, experts, product)?;
        let update = settings.update.build(settings.pairs, settings.step);
        let warm = if input.begin.is_some() { 0 } else { self.warm() };
        let total = warm + self.iterations();
        let mut demixing = match input.begin {
            Some(w) => Demixing::given(&mixture, w)?,
            None => {
                let loops = LoopSettings { iterations: warm, tolerance: 1e-6, ..LoopSettings::default() };
                let watch = &mut Share { watch: &mut *watch, before: 0, total };
                settings.start.begin(&mixture, self.sources.len(), &*update, &loops, watch)?
            }
        };
        if warm > 0 {
            self.name_outputs(&mixture, &mut demixing)?;
        }
        if warm > 0 || input.begin.is_some() {
            // random factors would spoil the matrices that are there
            let powers = Powers::new(&mixture, &demixing);
            model.refresh(&powers)?;
            (0..FIT_ITERATIONS).for_each(|_| {
                model.update(&powers);
            });
        }
        let stretch = LoopSettings {
            iterations: settings.inner,
            tolerance: 0.0,
            inner: 0, // one look at the start of each stretch
            normalization: settings.normalization,
            reference: 0,
        };
        let mut descent = Descent { cost: vec![], iterations: 0, converged: false };
        for outer in 0..settings.outer {
            let before = warm + outer * settings.inner;
            let watch = &mut Share { watch: &mut *watch, before, total };
            if outer + settings.release == settings.outer {
                model.release();
            }
            let part = determined::run(&mixture, &mut model, &*update, &stretch, None, &mut demixing, watch)?;
            // the cost at the end of a stretch and that of the next beginning differ by what the networks said
            descent.cost.extend(&part.cost[..settings.inner]);
            if outer + 1 == settings.outer {
                descent.cost.push(part.cost[settings.inner]);
            }
            descent.iterations += part.iterations;
            observe(&Moment {
                iterations: descent.iterations,
                energies: model.energies(&Powers::new(&mixture, &demixing)),
                matrices: &|| (demixing.matrices(&mixture), demixing.mixing(&mixture)),
            });
        }
        Ok(Found {
            demixing: demixing.matrices(&mixture),
            mixing: demixing.mixing(&mixture),
            explained: self.explained(&mixture, &demixing)?,
            costs: descent.cost.last().copied().into_iter().collect(),
            descent,
            warnings: blind::warnings_of(&mixture),
        })
    }
}

impl Known {
    /// Whether anything is known that was learned elsewhere.
    fn is_informed(&self) -> bool {
        !self.networks.is_empty() || self.dictionary.is_some()
    }
}

impl Guided {
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
        let everywhere = |order: &[usize]| {
            Array2::from_shape_fn((mixture.n_bins(), n), |(_, source)| order[source])
        };
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
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.seed);
        let experts = self.sources.iter().map(|known| {
            let learned = known.dictionary.as_ref();
            let any = usize::from(!known.is_informed());
            let low_rank = (any > 0 || learned.is_some()).then(|| Factors::random(shape, any, learned, &mut rng));
            Experts { low_rank, networks: known.networks.clone() }
        });
        let settings = ProductSettings { product: self.product, variance_floor: 0.0, rescale_model: true };
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

/// The floor of a network's variance where nothing else is known of its source.
const FLOOR_ALONE: f64 = 1e-2;
/// The floor where a low-rank part fills what the network misses; docs/guided-demixing.md has the measurement.
const FLOOR_BESIDE_LOW_RANK: f64 = 1e-3;
/// Steps of the factors alone where the demixing matrices are given.
const FIT_ITERATIONS: usize = 20;
