//! [`ProductOfPriors`]: a low-rank model, networks, or both, each an expert of a source's power spectrogram.
//!
//! Hasumi et al. 2023. Every expert l has a prior of r, an inverse gamma density with scale r_l and nu_l degrees of
//! freedom (23), (31). Their product is again one (25), and y is Student's t with
//! nu = sum nu_l + 2 (L - 1), r = sum nu_l r_l / nu                                                    (34), (35)
//! Gaussian experts, nu_l -> inf with fixed shares: r = sum eta_l r_l.                                        (59)
//!
//! | low-rank part | networks | Gaussian | Student's t |
//! | --- | --- | --- | --- |
//! | yes | none | ILRMA | t-ILRMA |
//! | none | one | IDLMA | t-IDLMA; EB-IDLMA where the network gives nu |
//! | yes | one | G-PoP-IDLMA | t-PoP-IDLMA |

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::low_rank::{SMALLEST, TASK_BINS, factor_floor, step_activations};
use super::{Absorbs, SingularVectors, SourceModel, Weights};
use crate::SpatialError;
use crate::demixing::Powers;
use crate::kernel::density::Gauss;
use crate::kernel::low_rank::ColumnSums;
use crate::kernel::product::{
    Cost, Everywhere, InverseWeights, Slopes, SlotDensity, StudentOfSlot, Sums, Variance,
};
use crate::kernel::step::RowStep;
use crate::kernel::{STRIDE_UNIT, Simd};
use crate::mixture::Scalar;

/// What knows a source's power spectrogram from the sound of its estimate: a trained network.
pub trait PowerEstimator: Send + Sync {
    /// From |y| of one source, (bins, frames), at the scale of the reference microphone up to one factor, which the
    /// answer has to follow: c |y| gives c^2 r.
    ///
    /// # Errors
    /// One sentence.
    fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String>;
}

/// What a [`PowerEstimator`] answers.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerEstimate {
    /// r >= 0, (bins, frames): power.
    pub variance: Array2<f32>,
    /// nu > 0 of every slot, (bins, frames), where the estimator knows how sure it is.
    pub dof: Option<Array2<f32>>,
    /// The power of the source, (bins, frames), where r is more than that: r of t-PoP-IDLMA makes up for a low-rank part
    /// that is silent, (57).
    pub expected: Option<Array2<f32>>,
}

impl From<Array2<f32>> for PowerEstimate {
    fn from(variance: Array2<f32>) -> Self {
        Self { variance, dof: None, expected: None }
    }
}

impl PowerEstimate {
    /// The power that the estimator expects of its source, (bins, frames).
    pub fn power(self) -> Array2<f32> {
        self.expected.unwrap_or(self.variance)
    }

    /// Whether it is of use for source number `source` of a spectrogram of (bins, frames).
    ///
    /// # Errors
    /// Another shape; numbers that are not finite, negative powers, degrees of freedom that are not positive.
    pub(crate) fn check(
        &self,
        source: usize,
        (n_bins, n_frames): (usize, usize),
    ) -> Result<(), SpatialError> {
        let dim = self.variance.dim();
        let refuse =
            |why: String| Err(SpatialError::Network(format!("the network of source {}: {why}", source + 1)));
        let others = [&self.dof, &self.expected];
        if dim != (n_bins, n_frames) || others.into_iter().flatten().any(|other| other.dim() != dim) {
            return refuse(format!(
                "it answers with {} bins and {} frames, the mixture has {n_bins} and {n_frames}",
                dim.0, dim.1
            ));
        }
        let mut powers = self.variance.iter().chain(self.expected.iter().flatten());
        if powers.any(|r| !(r.is_finite() && *r >= 0.0)) {
            return refuse("it answers with a power that is negative or not finite".into());
        }
        if self.dof.iter().flatten().any(|nu| !(nu.is_finite() && *nu > 0.0)) {
            return refuse("it answers with degrees of freedom that are not positive and finite".into());
        }
        Ok(())
    }
}

/// How the experts of a source are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Product {
    /// y is Gaussian: the low-rank part has the share `eta`, the networks share the rest evenly.
    Gauss {
        /// In [0, 1]; a source that has one kind of expert alone ignores it.
        eta: f64,
    },
    /// y is Student's t.
    Student {
        /// nu of the low-rank part, > 0.
        low_rank: f64,
        /// nu of a network that does not give its own, > 0.
        network: f64,
    },
}

/// The low-rank part of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// T, (bins, components): power.
    pub dictionary: Array2<f64>,
    /// V, (components, frames).
    pub activations: Array2<f64>,
    /// So many of the last components keep their column of T: a dictionary learned elsewhere.
    pub learned: usize,
}

impl Factors {
    /// T and V uniform in 0..1, for a mixture of level 1, and behind them the columns of a learned dictionary, each
    /// with mean 1.
    ///
    /// # Panics
    /// A learned dictionary with another number of bins.
    pub fn random(
        (n_bins, n_frames): (usize, usize),
        n_components: usize,
        learned: Option<&Array2<f64>>,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut number = move || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let dictionary = Array2::from_shape_simple_fn((n_bins, n_components), &mut number);
        let activations = Array2::from_shape_simple_fn((n_components, n_frames), &mut number);
        Self { dictionary, activations, learned: 0 }.and_learned(learned, number)
    }

    /// T and V at the singular vectors of an output's spectrogram as it stands, and behind them the learned columns:
    /// nothing is drawn.
    ///
    /// # Panics
    /// As [`Factors::random`].
    pub fn singular<T: Scalar>(
        powers: &Powers<'_, T>,
        source: usize,
        n_components: usize,
        learned: Option<&Array2<f64>>,
    ) -> Self {
        let SingularVectors { dictionary, activations, mean } =
            SingularVectors::of(powers, source, n_components, 2.0);
        // together as strong as half of the output
        let begun = 0.5 * mean / learned.map_or(1, |learned| learned.ncols().max(1)) as f64;
        Self { dictionary, activations, learned: 0 }.and_learned(learned, || begun)
    }

    /// With the columns of a learned dictionary, each with mean 1, and activations that begin at `number`.
    fn and_learned(mut self, learned: Option<&Array2<f64>>, mut number: impl FnMut() -> f64) -> Self {
        let Some(learned) = learned else { return self };
        let means = learned.mean_axis(Axis(0)).unwrap_or_else(|| Array1::ones(learned.ncols()));
        let means = means.mapv(|mean| mean.max(f64::MIN_POSITIVE));
        let begun = Array2::from_shape_simple_fn((learned.ncols(), self.activations.ncols()), &mut number);
        self.dictionary.append(Axis(1), (learned / &means).view()).expect("the bins were checked");
        self.activations.append(Axis(0), begun.view()).expect("the frames are the same");
        self.learned = learned.ncols();
        self
    }
}

/// The experts of one source; at least one.
#[derive(Clone, Default)]
pub struct Experts {
    /// T V.
    pub low_rank: Option<Factors>,
    /// Networks.
    pub networks: Vec<Arc<dyn PowerEstimator>>,
}

/// How a [`ProductOfPriors`] treats its networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProductSettings {
    /// How the experts are put together.
    pub product: Product,
    /// epsilon_1 of (19), (56), (66): a network's r is at least this share of the mean of |y_n|^2.
    pub variance_floor: f64,
    /// Whether the model follows when y is rescaled, so that the cost does not change; the paper rescales y alone.
    pub rescale_model: bool,
}

/// The sums of Section V-E over all slots of a source, at level 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energies {
    /// sum T V.
    pub low_rank: f64,
    /// sum of what the low-rank part adds to r.
    pub weighted_low_rank: f64,
    /// sum of what the networks add to r.
    pub weighted_network: f64,
}

/// The product of a source's experts, for all sources.
pub struct ProductOfPriors<T> {
    sources: Vec<State<T>>,
    n_bins: usize,
    n_frames: usize,
    stride: usize,
    settings: ProductSettings,
    simd: Simd,
}

/// One source: r = a T V + b.
struct State<T> {
    /// T, (bins, K).
    dictionary: Vec<T>,
    /// V, (K, stride), 1 in the padding.
    activations: Vec<T>,
    n_components: usize,
    learned: usize,
    /// The last columns of T as they were learned, (bins, learned).
    learned_columns: Vec<T>,
    networks: Vec<Arc<dyn PowerEstimator>>,
    /// a: one row for all bins (Gauss), or (bins, stride).
    share: Vec<T>,
    /// b, (bins, stride), 1 in the padding.
    given: Vec<T>,
    /// nu, (bins, stride), 1 in the padding; empty for Gauss.
    dof: Vec<T>,
}

/// Runs `$body` with the density of a bin's slots.
macro_rules! with_slots {
    ($source:expr, $bin:expr, $stride:expr, $density:ident, $body:expr) => {
        if $source.dof.is_empty() {
            let $density = Everywhere(Gauss);
            $body
        } else {
            let $density = StudentOfSlot { nu: &$source.dof[$bin * $stride..][..$stride] };
            $body
        }
    };
}

impl<T: Scalar> ProductOfPriors<T> {
    /// The experts of every source, for a mixture of (bins, frames) at level 1.
    ///
    /// # Errors
    /// A source without an expert, shapes that do not fit, numbers outside their range.
    pub fn new(
        (n_bins, n_frames): (usize, usize),
        sources: Vec<Experts>,
        settings: ProductSettings,
    ) -> Result<Self, SpatialError> {
        let refuse = |why: String| Err(SpatialError::Unsupported(why));
        let positive = |x: f64| x > 0.0 && !x.is_nan();
        match settings.product {
            Product::Gauss { eta } if !(0.0..=1.0).contains(&eta) => {
                return refuse(format!("eta={eta}: the share of the low-rank part lies in 0 to 1"));
            }
            Product::Student { low_rank, network } if !(positive(low_rank) && positive(network)) => {
                return refuse(format!(
                    "{low_rank} and {network} degrees of freedom: both need to be more than 0"
                ));
            }
            _ => {}
        }
        if !(settings.variance_floor >= 0.0 && settings.variance_floor.is_finite()) {
            return refuse(format!("variance_floor={} is no share of a power", settings.variance_floor));
        }
        let stride = n_frames.next_multiple_of(STRIDE_UNIT);
        let floor = factor_floor::<T>();
        let floored = |x: f64| if T::of(x) > floor { T::of(x) } else { floor };
        let mut states = Vec::with_capacity(sources.len());
        for (n, source) in sources.into_iter().enumerate() {
            let (mut dictionary, mut activations, mut n_components, mut learned) = (vec![], vec![], 0, 0);
            if let Some(factors) = &source.low_rank {
                let (bins, k) = factors.dictionary.dim();
                let (also_k, frames) = factors.activations.dim();
                if (bins, frames) != (n_bins, n_frames) || k != also_k || k == 0 || factors.learned > k {
                    return refuse(format!(
                        "source {}: T is {bins} x {k} with {} learned columns and V {also_k} x {frames}, the mixture has \
                         {n_bins} bins and {n_frames} frames",
                        n + 1,
                        factors.learned
                    ));
                }
                if factors
                    .dictionary
                    .iter()
                    .chain(&factors.activations)
                    .any(|x| !(x.is_finite() && *x >= 0.0))
                {
                    return refuse("T and V need finite numbers that are not negative".into());
                }
                (n_components, learned) = (k, factors.learned);
                dictionary = factors.dictionary.iter().map(|&x| floored(x)).collect();
                activations = vec![T::ONE; k * stride];
                for (row, out) in
                    factors.activations.rows().into_iter().zip(activations.chunks_exact_mut(stride))
                {
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = floored(x));
                }
            } else if source.networks.is_empty() {
                return refuse(format!("source {} has neither a network nor a low-rank part", n + 1));
            }
            let columns = dictionary.chunks_exact(n_components.max(1));
            let learned_columns = columns.flat_map(|row: &[T]| row[row.len() - learned..].to_vec()).collect();
            let student = matches!(settings.product, Product::Student { .. });
            let mut state = State {
                dictionary,
                activations,
                n_components,
                learned,
                learned_columns,
                networks: source.networks,
                share: vec![T::ZERO; if student { n_bins * stride } else { stride }],
                given: vec![T::ZERO; n_bins * stride],
                dof: if student { vec![T::ONE; n_bins * stride] } else { vec![] },
            };
            state.pad(n_frames, stride);
            state.combine(&[], settings.product, 0.0, n_frames, stride);
            states.push(state);
        }
        Ok(Self { sources: states, n_bins, n_frames, stride, settings, simd: Simd::Native })
    }

    /// T of a source, (bins, components), where it has one.
    pub fn dictionary(&self, source: usize) -> Option<Array2<f64>> {
        let state = &self.sources[source];
        let t = state.dictionary.iter().map(|t| t.to_double()).collect();
        (state.n_components > 0)
            .then(|| Array2::from_shape_vec((self.n_bins, state.n_components), t).expect("the shape is kept"))
    }

    /// V of a source, (components, frames), where it has one.
    pub fn activations(&self, source: usize) -> Option<Array2<f64>> {
        let state = &self.sources[source];
        let rows = state.activations.chunks_exact(self.stride).flat_map(|row| &row[..self.n_frames]);
        let v = rows.map(|v| v.to_double()).collect();
        (state.n_components > 0).then(|| {
            Array2::from_shape_vec((state.n_components, self.n_frames), v).expect("the shape is kept")
        })
    }

    /// r of a source as the model stands, (bins, frames): power at level 1.
    pub fn variance(&self, source: usize) -> Array2<f64> {
        let state = &self.sources[source];
        Array2::from_shape_fn((self.n_bins, self.n_frames), |(bin, j)| {
            let tv: f64 = (0..state.n_components)
                .map(|k| {
                    state.dictionary[bin * state.n_components + k].to_double()
                        * state.activations[k * self.stride + j].to_double()
                })
                .sum();
            let share = state.share_of(bin, self.stride)[j].to_double();
            share * tv + state.given[bin * self.stride + j].to_double()
        })
    }

    /// 1 - sum (|y| - sqrt r)^2 / sum |y|^2 of a source: how much of an output its experts explain, 1 for all of it, 0 of
    /// silence; at least -1.
    pub(crate) fn explained(&self, source: usize, powers: &Powers<'_, T>) -> f64 {
        let r = self.variance(source);
        let mut power = vec![T::ZERO; self.stride];
        let (mut missed, mut total) = (0.0, 0.0);
        for (bin, r) in r.rows().into_iter().enumerate() {
            powers.fill(bin, source, &mut power);
            for (r, power) in r.iter().zip(&power) {
                let power = power.to_double();
                missed += (power.sqrt() - r.sqrt()).powi(2);
                total += power;
            }
        }
        if total > 0.0 { (1.0 - missed / total).max(-1.0) } else { 0.0 }
    }

    /// Sums of the experts' parts of every source (Section V-E of the paper).
    pub fn energies(&mut self, powers: &Powers<'_, T>) -> Vec<Energies> {
        (0..self.sources.len())
            .map(|source| {
                let sums = self.sums(source, powers);
                Energies {
                    low_rank: sums.low_rank,
                    weighted_low_rank: sums.weighted_low_rank,
                    weighted_network: sums.given,
                }
            })
            .collect()
    }

    fn sums(&self, source: usize, powers: &Powers<'_, T>) -> Sums {
        let (state, stride, n_frames) = (&self.sources[source], self.stride, self.n_frames);
        let rows: Vec<Sums> = (0..self.n_bins)
            .into_par_iter()
            .map_init(
                || vec![T::ZERO; stride],
                |power, bin| {
                    powers.fill(bin, source, power);
                    with_slots!(state, bin, stride, density, {
                        let variance = state.variance(density, bin, stride);
                        T::run(powers.simd(), Cost { variance, power, n_frames })
                    })
                },
            )
            .collect();
        rows.iter().fold(Sums::default(), |a, b| Sums {
            cost: a.cost + b.cost,
            low_rank: a.low_rank + b.low_rank,
            weighted_low_rank: a.weighted_low_rank + b.weighted_low_rank,
            given: a.given + b.given,
        })
    }

    /// One step of T, then of V: (51), (52), and (63), (64) for Gauss; gives the cost before.
    fn step(&mut self, source: usize, powers: &Powers<'_, T>) -> f64 {
        let (stride, n_frames, simd) = (self.stride, self.n_frames, powers.simd());
        let state = &mut self.sources[source];
        let (k, free) = (state.n_components, state.n_components - state.learned);
        let mut dictionary = std::mem::take(&mut state.dictionary);
        let here = &*state;
        let tasks: Vec<(f64, Vec<T>, Vec<T>)> = dictionary
            .par_chunks_mut(TASK_BINS * k)
            .enumerate()
            .map(|(task, rows)| {
                let mut cost = 0.0;
                let mut power = vec![T::ZERO; stride];
                let (mut positive, mut negative) = (vec![T::ZERO; stride], vec![T::ZERO; stride]);
                let (mut positive_sums, mut negative_sums) =
                    (vec![T::ZERO; k * stride], vec![T::ZERO; k * stride]);
                for (b, t) in rows.chunks_exact_mut(k).enumerate() {
                    let bin = task * TASK_BINS + b;
                    let (positive, negative) = (&mut positive[..], &mut negative[..]);
                    powers.fill(bin, source, &mut power);
                    let power = &power;
                    with_slots!(here, bin, stride, density, {
                        let variance = Variance { t: &*t, ..here.variance(density, bin, stride) };
                        let (positive, negative) = (&mut *positive, &mut *negative);
                        cost += T::run(
                            simd,
                            Slopes { variance, power, positive, negative, n_frames, cost: true },
                        );
                    });
                    // learned columns stay
                    let v = &here.activations[..free * stride];
                    let (exponent, floor) = (0.5, factor_floor());
                    T::run(simd, RowStep { t: &mut t[..free], v, positive, negative, exponent, floor });
                    with_slots!(here, bin, stride, density, {
                        let variance = Variance { t: &*t, ..here.variance(density, bin, stride) };
                        let (positive, negative) = (&mut *positive, &mut *negative);
                        T::run(simd, Slopes { variance, power, positive, negative, n_frames, cost: false });
                    });
                    let (positive_sums, negative_sums) = (&mut *positive_sums, &mut *negative_sums);
                    T::run(simd, ColumnSums { t, bins: 1, positive, negative, negative_sums, positive_sums });
                }
                (cost, negative_sums, positive_sums)
            })
            .collect();
        let state = &mut self.sources[source];
        state.dictionary = dictionary;
        step_activations(&mut state.activations, &tasks, stride, n_frames, 0.5, simd);
        tasks.iter().map(|task| task.0).sum()
    }
}

impl<T: Scalar> State<T> {
    /// Puts the learned columns back, which the rescaling of bins has turned into the spectrum of the output: each as
    /// strong as it is now.
    fn restore_learned(&mut self) {
        let (k, learned) = (self.n_components, self.learned);
        for column in 0..learned {
            let now = self.dictionary.iter().skip(k - learned + column).step_by(k);
            let then = self.learned_columns.iter().skip(column).step_by(learned);
            let sum = |values: &mut dyn Iterator<Item = &T>| values.map(|t| t.to_double()).sum::<f64>();
            let gain = sum(&mut now.into_iter()) / sum(&mut then.into_iter()).max(SMALLEST);
            let rows = self.dictionary.chunks_exact_mut(k).zip(self.learned_columns.chunks_exact(learned));
            for (row, learnt) in rows {
                row[k - learned + column] = T::of((learnt[column].to_double() * gain).max(SMALLEST));
            }
        }
    }

    fn share_of(&self, bin: usize, stride: usize) -> &[T] {
        let row = if self.dof.is_empty() { 0 } else { bin };
        &self.share[row * stride..][..stride]
    }

    /// The variance of one bin with all of its components.
    fn variance<D: SlotDensity>(&self, density: D, bin: usize, stride: usize) -> Variance<'_, T, D> {
        Variance {
            density,
            t: self.dictionary.get(bin * self.n_components..).map_or(&[][..], |t| {
                // the step takes the dictionary out while it writes to it
                &t[..self.n_components.min(t.len())]
            }),
            v: &self.activations,
            share: self.share_of(bin, stride),
            given: &self.given[bin * stride..][..stride],
        }
    }

    /// Ones behind the last frame, where r and nu have to be positive.
    fn pad(&mut self, n_frames: usize, stride: usize) {
        for rows in [&mut self.given, &mut self.dof] {
            for row in rows.chunks_exact_mut(stride) {
                row[n_frames..].fill(T::ONE);
            }
        }
    }

    /// a, b and nu of every slot from what the networks say; r of a network is at least `floor`.
    fn combine(
        &mut self,
        said: &[PowerEstimate],
        product: Product,
        floor: f64,
        n_frames: usize,
        stride: usize,
    ) {
        let has_factors = self.n_components > 0;
        let networks = said.len() as f64;
        match product {
            Product::Gauss { eta } => {
                let eta = match (has_factors, said.is_empty()) {
                    (true, true) => 1.0,
                    (true, false) => eta,
                    (false, _) => 0.0,
                };
                self.share.fill(T::of(eta)); // (59)
                let each = (1.0 - eta) / networks.max(1.0);
                for (bin, row) in self.given.chunks_exact_mut(stride).enumerate() {
                    for (j, b) in row.iter_mut().take(n_frames).enumerate() {
                        let power = |s: &PowerEstimate| {
                            f64::from(s.expected.as_ref().unwrap_or(&s.variance)[[bin, j]])
                        };
                        let sum: f64 = said.iter().map(|s| power(s).max(floor)).sum();
                        *b = T::of(each * sum);
                    }
                }
            }
            Product::Student { low_rank, network } => {
                let experts = networks + f64::from(u8::from(has_factors));
                for bin in 0..self.given.len() / stride {
                    for j in 0..n_frames {
                        let nu_of =
                            |s: &PowerEstimate| s.dof.as_ref().map_or(network, |nu| f64::from(nu[[bin, j]]));
                        let of_factors = if has_factors { low_rank } else { 0.0 };
                        let of_networks: f64 = said.iter().map(nu_of).sum();
                        let nu = of_factors + of_networks + 2.0 * (experts - 1.0).max(0.0); // (35)
                        let given: f64 = said
                            .iter()
                            .map(|s| match &s.expected {
                                // its r makes up for one silent low-rank part, and here is none, or another network
                                Some(expected) if !(has_factors && said.len() == 1) => {
                                    nu * nu_of(s) / of_networks * f64::from(expected[[bin, j]]).max(floor)
                                }
                                _ => nu_of(s) * f64::from(s.variance[[bin, j]]).max(floor),
                            })
                            .sum();
                        let at = bin * stride + j;
                        // (34): (nu - 2) / nu * eta = nu_NMF / nu
                        self.share[at] = T::of(of_factors / nu.max(f64::MIN_POSITIVE));
                        self.given[at] = T::of(given / nu.max(f64::MIN_POSITIVE));
                        self.dof[at] = T::of(nu.max(SMALLEST));
                    }
                }
            }
        }
    }
}

impl<T: Scalar> SourceModel<T> for ProductOfPriors<T> {
    fn refresh(&mut self, powers: &Powers<'_, T>) -> Result<(), SpatialError> {
        self.simd = powers.simd();
        let (n_bins, n_frames, stride) = (self.n_bins, self.n_frames, self.stride);
        for source in 0..self.sources.len() {
            self.sources[source].restore_learned();
            if self.sources[source].networks.is_empty() {
                continue;
            }
            let mut magnitude = Array2::<f32>::zeros((n_bins, n_frames));
            let mut row = vec![T::ZERO; stride];
            let mut total = 0.0;
            for (bin, mut out) in magnitude.rows_mut().into_iter().enumerate() {
                powers.fill(bin, source, &mut row);
                for (out, power) in out.iter_mut().zip(&row) {
                    let power = power.to_double();
                    total += power;
                    *out = power.sqrt() as f32;
                }
            }
            let floor = self.settings.variance_floor * total / (n_bins * n_frames) as f64;
            // a silent estimate has no level: the smallest variance stands for it
            let floor = floor.max(SMALLEST.sqrt());
            let mut said = Vec::new();
            for network in &self.sources[source].networks {
                let estimate = network.estimate(magnitude.view()).map_err(SpatialError::Network)?; // (55), (65)
                estimate.check(source, (n_bins, n_frames))?;
                said.push(estimate);
            }
            self.sources[source].combine(&said, self.settings.product, floor, n_frames, stride);
        }
        Ok(())
    }

    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        (0..self.sources.len())
            .map(|source| match self.sources[source].n_components {
                0 => self.sums(source, powers).cost,
                _ => self.step(source, powers),
            })
            .sum()
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        (0..self.sources.len()).map(|source| self.sums(source, powers).cost).sum()
    }

    fn weights(&self) -> Weights {
        match self.settings.product {
            Product::Gauss { .. } => Weights::Fixed,
            Product::Student { .. } => Weights::PerSlot,
        }
    }

    fn inverse_weights(&self, bin: usize, source: usize, power: &[T], out: &mut [T]) {
        let (state, stride) = (&self.sources[source], self.stride);
        with_slots!(state, bin, stride, density, {
            let variance = state.variance(density, bin, stride);
            T::run(self.simd, InverseWeights { variance, power, out }) // (44)
        });
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::PerBin
    }

    fn absorb(&mut self, source: usize, gains: &[f64]) {
        if !self.settings.rescale_model {
            return;
        }
        let (n_frames, stride) = (self.n_frames, self.stride);
        let state = &mut self.sources[source];
        let gain_of = |bin: usize| gains[if gains.len() == 1 { 0 } else { bin }];
        let scaled = |x: T, gain: f64| T::of((x.to_double() * gain).max(SMALLEST));
        // no floor here: it would change the cost
        for (bin, row) in state.dictionary.chunks_exact_mut(state.n_components.max(1)).enumerate() {
            row.iter_mut().for_each(|t| *t = scaled(*t, gain_of(bin)));
        }
        for (bin, row) in state.given.chunks_exact_mut(stride).enumerate() {
            for b in row.iter_mut().take(n_frames) {
                // a source without a network has nothing given
                if *b > T::ZERO {
                    *b = scaled(*b, gain_of(bin));
                }
            }
        }
    }
}
