//! Whole blind methods: start, warm start, restarts, the loop, and the order of the outputs.

use demix_signal::{Complex, StftSettings, Watch};
use ndarray::{Array3, ArrayView3};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::determined::{self, Descent, LoopSettings, Normalization};
use crate::guided::Trial;
use crate::matrix::C64;
use crate::mixture::{Mixture, Scalar, unreduced};
use crate::plane_waves::Arrivals;
use crate::source::{Contrast, Distribution, Laplace, LowRank, SharedLowRank, SourceModel, Spherical};
use crate::start::{Share, Start};
use crate::update::{MatrixSettings, Update};
use crate::{Consistency, Demixing, Powers, SpatialError};

demix_signal::choices! {
    /// The step of the factors.
    pub enum SourceUpdate {
        /// Majorisation-minimisation: the cost never rises.
        Mm = "mm",
        /// Majorisation-equalisation: exponent 1, faster and without a guarantee.
        Me = "me",
    }
}

demix_signal::choices! {
    /// Where the factors begin.
    pub enum FactorStart {
        /// Uniform random numbers.
        Random = "random",
        /// The singular vectors of the outputs' spectrograms (NNDSVDa): nothing is drawn, every seed gives the same.
        SingularVectors = "singular-vectors",
    }
}

demix_signal::settings! {
    /// How a blind method descends.
    pub struct DescentSettings {
        /// Steps of source model and demixing at the most; auto: 100 for low-rank models, else 50.
        pub iterations: Option<usize> = None, range 0.0 ..= 100000.0;
        /// Stop when a step lowers the cost by less than this, in nats for each source, bin and frame; 0 never stops.
        pub tolerance: f64 = 1e-6, range 0.0 ..= 1.0;
        /// Where the demixing matrices begin; auto: fdica for low-rank models of two sources or more, else identity.
        pub start: Option<Start> = None;
        /// What fixes the scale of the outputs inside the loop.
        pub normalization: Normalization = Normalization::Power;
    }
}

demix_signal::settings_group! {
    /// What all blind methods share.
    pub struct DemixSettings {
        /// From where and how long.
        pub descent: DescentSettings,
        /// The demixing matrices.
        pub matrices: MatrixSettings,
    }
}

demix_signal::settings! {
    /// The low-rank model of each source.
    pub struct LowRankSettings {
        /// K: components of each source; with partition=true K times the sources are shared. auto: 10, and what is
        /// tried (see `trials`).
        pub components: Option<usize> = None, range 1.0 ..= 1000.0;
        /// p of the variance (T V)^(2/p).
        pub domain: f64 = 2.0, range 0.1 ..= 10.0;
        /// One dictionary for all sources; the sources share the components out among themselves.
        pub partition: bool = false;
        /// The step of the factors.
        pub source_update: SourceUpdate = SourceUpdate::Mm;
        /// Where the factors begin; auto: singular-vectors where the demixing matrices begin with the end of another
        /// run, else random.
        pub factors: Option<FactorStart> = None;
        /// After the end of another run, steps of the factors alone before the demixing matrices move: factors that do
        /// not fit would spoil them.
        pub fit_iterations: usize = 20, range 0.0 ..= 10000.0;
        /// Runs, the first from `factors`, the others from random ones; the one of the lowest cost is kept.
        pub restarts: usize = 1, range 1.0 ..= 100.0;
    }
}

/// K where nothing is said: few enough to be learned from half a minute.
pub const COMPONENTS: usize = 10;

/// The source model of a method.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// Every bin on its own, then alignment by activity; given the distance in metres of neighbouring microphones on a
    /// line, by directions of arrival as well, as far as they can be believed ([`crate::plane_waves`]).
    Fdica(Option<f64>),
    /// All bins of a source together.
    Auxiva(Contrast),
    /// Low-rank spectrograms.
    LowRank(Distribution, LowRankSettings),
    /// Low-rank spectrograms that some waveform has.
    Consistent(LowRankSettings),
}

/// A blind method with its settings.
#[derive(Clone, Debug)]
pub struct Blind {
    /// What is assumed of the sources.
    pub model: Model,
    /// Everything else.
    pub settings: DemixSettings,
}

/// What a method found.
#[derive(Clone, Debug)]
pub struct Found {
    /// W, (bins, sources, channels): y = W x.
    pub demixing: Array3<C64>,
    /// Its inverse, (bins, channels, sources).
    pub mixing: Array3<C64>,
    /// Cost and iterations of the run that was kept.
    pub descent: Descent,
    /// How much of every output is its source's in the ears of the networks or the dictionary that know it:
    /// 1 - sum (|y| - sqrt r)^2 / sum |y|^2, 1 for all of it; none for blind sources.
    pub explained: Vec<Option<f64>>,
    /// The ways that were tried; none in blind methods.
    pub trials: Vec<Trial>,
    /// The final cost of every run.
    pub costs: Vec<f64>,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
}

/// The spectrogram that a method works on.
pub struct Input<'a> {
    /// (bins, channels, frames).
    pub x: ArrayView3<'a, Complex<f32>>,
    /// The transform that made it.
    pub stft: &'a StftSettings,
    /// Length of the waveform in samples.
    pub n_samples: usize,
    /// Its rate in Hz.
    pub sample_rate: u32,
    /// W of an earlier block (bins, sources, channels), to go on from.
    pub begin: Option<&'a Array3<C64>>,
}

impl Blind {
    /// The iterations that `auto` means.
    pub fn iterations(&self) -> usize {
        self.settings.descent.iterations.unwrap_or(match self.model {
            Model::Fdica(_) | Model::Auxiva(_) => 50,
            Model::LowRank(..) | Model::Consistent(_) => 100,
        })
    }

    /// The start that `auto` means for so many sources.
    pub fn start(&self, n_sources: usize) -> Start {
        self.settings.descent.start.unwrap_or(match self.model {
            Model::Fdica(_) | Model::Auxiva(_) => Start::Identity,
            // every bin of one source alone would take the source it likes
            Model::LowRank(..) | Model::Consistent(_) if n_sources == 1 => Start::Identity,
            Model::LowRank(..) | Model::Consistent(_) => Start::Fdica,
        })
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// A combination that theory does not allow, named.
    pub fn check(&self, n_sources: usize, n_channels: usize) -> Result<(), SpatialError> {
        let refuse = |why: &str| Err(SpatialError::Unsupported(why.into()));
        let low_rank = self.low_rank();
        if self.settings.matrices.update == Update::NaturalGradient && n_sources < n_channels {
            return refuse(
                "update=natural-gradient needs as many sources as microphones: take ip1, or overdetermined=pca",
            );
        }
        if low_rank.is_none() && self.settings.descent.normalization == Normalization::ProjectionBack {
            return refuse(
                "normalization=projection-back needs a model that absorbs a gain for each source and bin, which the \
                 contrasts of fdica and auxiva, that fix the scale themselves, are not: leave it out, or take ilrma",
            );
        }
        if matches!(self.model, Model::Fdica(_)) && n_sources == 1 && n_channels > 1 {
            return Err(SpatialError::Unsupported(format!(
                "fdica looks at every bin on its own, and one source of {n_channels} microphones would be another one in \
                 each: take auxiva or ilrma, or ask for as many sources as there are and keep one"
            )));
        }
        self.start(n_sources).check(n_sources, n_channels)?;
        if let Some(low_rank) = low_rank {
            if low_rank.partition && self.settings.descent.normalization == Normalization::ProjectionBack {
                return refuse(
                    "partition=true shares its dictionary, which cannot absorb a gain for each source and bin: take \
                     normalization=power",
                );
            }
            if low_rank.source_update == SourceUpdate::Me && low_rank.partition {
                return refuse(
                    "source_update=me is known for dictionaries of their own alone: take mm, or partition=false",
                );
            }
            if low_rank.source_update == SourceUpdate::Me && low_rank.domain != 2.0 {
                return refuse("source_update=me is known for domain=2 alone: take mm");
            }
            let gauss = matches!(self.model, Model::LowRank(Distribution::Gauss, _) | Model::Consistent(_));
            if low_rank.source_update == SourceUpdate::Me && !gauss {
                return refuse("source_update=me is known for the Gaussian model alone: take mm");
            }
        }
        Ok(())
    }

    /// Demixes.
    ///
    /// # Errors
    /// As [`Blind::check`], a mixture that does not fit, cancelling.
    pub fn demix<T: Scalar>(
        &self,
        input: &Input<'_>,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        self.demix_components::<T>(input, None, n_sources, watch)
    }

    /// Demixes principal components: `components` is P (bins, components, microphones) of [`principal_components`], the
    /// input P x; directions are those at the microphones.
    ///
    /// [`principal_components`]: crate::principal_components
    ///
    /// # Errors
    /// As [`Blind::demix`].
    pub fn demix_components<T: Scalar>(
        &self,
        input: &Input<'_>,
        components: Option<&Array3<C64>>,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        let mixture = Mixture::<T>::new(input.x, self.settings.matrices.simd)?;
        self.check(n_sources, mixture.n_channels())?;
        let (iterations, restarts) = (self.iterations(), self.restarts());
        let warm = match input.begin {
            Some(_) => 0,
            None => self.start(n_sources).iterations(self.settings.matrices.start_iterations),
        };
        let total = warm + restarts * iterations;
        let begin = match input.begin {
            Some(w) => Demixing::given(&mixture, w)?,
            None => {
                let settings = self.loop_settings(self.settings.matrices.start_iterations);
                let watch = &mut Share { watch: &mut *watch, before: 0, total };
                self.start(n_sources).begin(&mixture, n_sources, &*self.update(), &settings, None, watch)?
            }
        };
        let is_warm = warm > 0 || input.begin.is_some();
        let mut best: Option<(Demixing, Descent)> = None;
        let mut costs = Vec::new();
        for run in 0..restarts {
            let mut demixing = begin.clone();
            let mut model = self.fitted(&Powers::new(&mixture, &demixing), is_warm, run)?;
            let mut consistency = match self.model {
                Model::Consistent(_) => Some(Consistency::new(input.stft, input.n_samples)?),
                _ => None,
            };
            let descent = determined::run(
                &mixture,
                &mut *model,
                &*self.update(),
                &self.loop_settings(iterations),
                consistency.as_mut(),
                &mut demixing,
                &mut Share { watch: &mut *watch, before: warm + run * iterations, total },
            )?;
            let cost = descent.cost.last().copied().unwrap_or(f64::INFINITY);
            costs.push(cost);
            let lowest = costs[..run].iter().all(|other| cost < *other || !other.is_finite());
            if lowest {
                best = Some((demixing, descent));
            }
        }
        let (mut demixing, descent) = best.expect("there is at least one run");
        let mut warnings = self.warnings(&mixture, &descent);
        if n_sources == 1 && mixture.n_channels() > 1 {
            warnings.push(
                "one source is taken out of what else sounds as if that were steady noise: where others speak or play, ask \
                 for as many sources as there are and keep the one you want"
                    .into(),
            );
        }
        match self.model {
            // bins keep the order of the block before
            Model::Fdica(_) if input.begin.is_some() => {}
            Model::Fdica(None) => demixing.align(&mixture, None),
            Model::Fdica(Some(spacing)) => {
                let step = f64::from(input.sample_rate) / (2.0 * (mixture.n_bins().max(2) - 1) as f64);
                let mixing = demixing.mixing(&mixture);
                let mixing = components.map_or(mixing.clone(), |components| unreduced(&mixing, components));
                let arrivals = Arrivals::of(mixing.view(), step, spacing);
                demixing.align_by_arrival(&mixture, &arrivals);
                if arrivals.orders.is_none() {
                    warnings.push(format!(
                        "spacing={spacing}: the outputs are plane waves in {:.0} of 100 bins (echoes, or microphones \
                         that stand otherwise): directions are not believed, the bins are in order by activity",
                        100.0 * arrivals.share
                    ));
                }
            }
            _ => {}
        }
        Ok(Found {
            demixing: demixing.matrices(&mixture),
            mixing: demixing.mixing(&mixture),
            descent,
            explained: Vec::new(),
            trials: Vec::new(),
            costs,
            warnings,
        })
    }

    /// The low-rank model's settings, of a method that has one.
    pub fn low_rank(&self) -> Option<&LowRankSettings> {
        match &self.model {
            Model::LowRank(_, low_rank) | Model::Consistent(low_rank) => Some(low_rank),
            Model::Fdica(_) | Model::Auxiva(_) => None,
        }
    }

    /// The same with so many components for each source.
    #[must_use]
    pub fn with_components(mut self, components: usize) -> Self {
        if let Model::LowRank(_, low_rank) | Model::Consistent(low_rank) = &mut self.model {
            low_rank.components = Some(components);
        }
        self
    }

    /// The runs from one start.
    pub fn restarts(&self) -> usize {
        self.low_rank().map_or(1, |low_rank| low_rank.restarts)
    }

    /// The source model of a run; after a warm start it fits the outputs as they stand.
    fn fitted<T: Scalar>(
        &self,
        powers: &Powers<'_, T>,
        is_warm: bool,
        run: usize,
    ) -> Result<Box<dyn SourceModel<T>>, SpatialError> {
        let mut model = self.source_model(powers, is_warm, run)?;
        let iterations = match &self.model {
            Model::LowRank(_, low_rank) | Model::Consistent(low_rank) if is_warm => low_rank.fit_iterations,
            _ => 0,
        };
        for _ in 0..iterations {
            model.update(powers);
        }
        Ok(model)
    }

    fn update(&self) -> Box<dyn crate::SpatialUpdate> {
        self.settings.matrices.build()
    }

    fn loop_settings(&self, iterations: usize) -> LoopSettings {
        LoopSettings {
            iterations,
            tolerance: self.settings.descent.tolerance,
            normalization: self.settings.descent.normalization,
            ..LoopSettings::default()
        }
    }

    fn source_model<T: Scalar>(
        &self,
        powers: &Powers<'_, T>,
        is_warm: bool,
        run: usize,
    ) -> Result<Box<dyn SourceModel<T>>, SpatialError> {
        match &self.model {
            Model::Fdica(_) => Ok(Box::new(Laplace::default())),
            Model::Auxiva(contrast) => Ok(Box::new(Spherical::new(*contrast))),
            Model::LowRank(distribution, settings) => {
                self.factors(powers, *distribution, settings, is_warm, run)
            }
            Model::Consistent(settings) => self.factors(powers, Distribution::Gauss, settings, is_warm, run),
        }
    }

    fn factors<T: Scalar>(
        &self,
        powers: &Powers<'_, T>,
        distribution: Distribution,
        settings: &LowRankSettings,
        is_warm: bool,
        run: usize,
    ) -> Result<Box<dyn SourceModel<T>>, SpatialError> {
        let (k, domain) = (settings.components.unwrap_or(COMPONENTS), settings.domain);
        let shape = (powers.n_sources(), powers.n_bins(), powers.n_frames());
        let mut rng = ChaCha8Rng::seed_from_u64(self.settings.matrices.seed);
        rng.set_stream(run as u64);
        let auto = if is_warm { FactorStart::SingularVectors } else { FactorStart::Random };
        // another run from the same factors would be the same run
        let factors = if run > 0 { FactorStart::Random } else { settings.factors.unwrap_or(auto) };
        if settings.partition {
            return Ok(Box::new(match factors {
                FactorStart::SingularVectors => SharedLowRank::singular(powers, k, distribution, domain)?,
                FactorStart::Random => {
                    SharedLowRank::random(shape, k.saturating_mul(shape.0), distribution, domain, &mut rng)
                }
            }));
        }
        let mut model = match factors {
            FactorStart::SingularVectors => LowRank::singular(powers, k, distribution, domain)?,
            FactorStart::Random => LowRank::random(shape, k, distribution, domain, &mut rng),
        };
        if settings.source_update == SourceUpdate::Me {
            model.exponent = 1.0;
        }
        Ok(Box::new(model))
    }

    fn warnings<T: Scalar>(&self, mixture: &Mixture<T>, descent: &Descent) -> Vec<String> {
        let mut warnings = warnings_of(mixture);
        if !descent.converged && self.settings.descent.tolerance > 0.0 && descent.iterations > 0 {
            let last = descent.cost.len() - 1;
            let slots = (mixture.n_bins() * mixture.n_frames()) as f64;
            let decrease = (descent.cost[last - 1] - descent.cost[last]) / slots;
            if decrease > 1e-2 {
                warnings.push(format!(
                    "the cost still fell by {decrease:.3} nats for each bin and frame when iterations={} was reached: \
                     raise iterations",
                    descent.iterations
                ));
            }
        }
        warnings
    }
}

/// What a user should know of a mixture before believing its outputs.
pub(crate) fn warnings_of<T: Scalar>(mixture: &Mixture<T>) -> Vec<String> {
    let mut warnings = Vec::new();
    let n_bins = mixture.n_bins();
    let poor = mixture.ranks().iter().filter(|&&rank| rank < mixture.n_channels()).count();
    if poor == n_bins {
        warnings.push(
            "the channels are not independent of each other (copies or sums of one another): they cannot tell all \
             sources apart"
                .into(),
        );
    } else if poor * 20 > n_bins {
        warnings.push(format!(
            "{poor} of {n_bins} frequency bins hold signal in fewer directions than there are channels (empty above a \
             codec's limit?): their outputs mean little"
        ));
    }
    if mixture.n_frames() < 2 * mixture.n_channels() {
        warnings.push(format!(
            "there are only {} frames: too few to tell {} sources apart; take a shorter window or a longer part",
            mixture.n_frames(),
            mixture.n_channels()
        ));
    }
    warnings
}
