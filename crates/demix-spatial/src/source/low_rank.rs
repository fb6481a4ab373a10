//! [`LowRank`]: each source's variance is a product of factors, r_n = (T_n V_n)^(2/p): the model of ILRMA.
//!
//! Kitamura et al. 2016, eqs. (12), (13) of Hasumi et al. 2023; t-ILRMA: eqs. (51), (52), the NMF part alone.
//! T <- T .* [(neg V^T) / (pos V^T)]^g, then V likewise, with the slopes of `crate::kernel::low_rank`.

use demix_signal::simd::Aligned;
use ndarray::Array3;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::distribution::with_density;
use super::{Absorbs, Distribution, SingularVectors, SourceModel, Weights};
use crate::SpatialError;
use crate::demixing::Powers;
use crate::kernel::density::Density;
use crate::kernel::low_rank::{ColumnSums, Cost, InverseWeights, Slopes};
use crate::kernel::step::{self, RowStep};
use crate::kernel::{STRIDE_UNIT, Simd};
use crate::mixture::Scalar;

/// Bins of one task; fixed, so that the sums do not depend on the number of threads.
pub(crate) const TASK_BINS: usize = 64;
/// Bins whose slopes are held together for the sums over bins.
const GROUP: usize = 4;

/// T and V of every source.
#[derive(Clone, Debug)]
pub struct LowRank<T> {
    /// (sources, bins, components).
    pub(crate) dictionary: Vec<T>,
    /// (sources, components, stride), 1 in the padding.
    pub(crate) activations: Vec<T>,
    pub(crate) n_sources: usize,
    pub(crate) n_bins: usize,
    pub(crate) n_components: usize,
    pub(crate) n_frames: usize,
    pub(crate) stride: usize,
    /// The density of a slot.
    pub distribution: Distribution,
    /// p of r = (T V)^(2/p).
    pub domain: f64,
    /// Exponent of the multiplicative update.
    pub exponent: f64,
    simd: Simd,
}

/// The smallest entry of a factor, relative to a mixture of level 1: small enough to mean nothing, large enough that
/// 1 / (T V)^2 is finite.
pub(crate) fn factor_floor<T: Scalar>() -> T {
    T::of(if size_of::<T>() == 4 { 1e-8 } else { 1e-10 })
}

/// What a factor is at least when it is rescaled: a normal number in single precision.
pub(crate) const SMALLEST: f64 = 1e-30;

impl<T: Scalar> LowRank<T> {
    /// Random factors: T uniform in 0..scale^(p/2), V uniform in 0..1, where `scale` is the mean power of a slot
    /// (1 for a mixture of level 1).
    pub fn random(
        (n_sources, n_bins, n_frames): (usize, usize, usize),
        n_components: usize,
        distribution: Distribution,
        domain: f64,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut number = move || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let dictionary = Array3::from_shape_simple_fn((n_sources, n_bins, n_components), &mut number);
        let activations = Array3::from_shape_simple_fn((n_sources, n_components, n_frames), &mut number);
        Self::given(&dictionary, &activations, distribution, domain).expect("the shapes fit")
    }

    /// Factors at the singular vectors of the outputs' spectrograms as they stand: nothing is drawn.
    ///
    /// # Errors
    /// As [`LowRank::given`].
    pub fn singular(
        powers: &Powers<'_, T>,
        n_components: usize,
        distribution: Distribution,
        domain: f64,
    ) -> Result<Self, SpatialError> {
        let (n_sources, n_bins, n_frames) = (powers.n_sources(), powers.n_bins(), powers.n_frames());
        let mut dictionary = Array3::zeros((n_sources, n_bins, n_components));
        let mut activations = Array3::zeros((n_sources, n_components, n_frames));
        for (n, (mut t, mut v)) in dictionary.outer_iter_mut().zip(activations.outer_iter_mut()).enumerate() {
            let vectors = SingularVectors::of(powers, n, n_components, domain);
            t.assign(&vectors.dictionary);
            v.assign(&vectors.activations);
        }
        Self::given(&dictionary, &activations, distribution, domain)
    }

    /// Given factors: T (sources, bins, components), V (sources, components, frames).
    ///
    /// # Errors
    /// Shapes that do not fit, negative numbers, a domain or a distribution that is none.
    pub fn given(
        dictionary: &Array3<f64>,
        activations: &Array3<f64>,
        distribution: Distribution,
        domain: f64,
    ) -> Result<Self, SpatialError> {
        let (n_sources, n_bins, n_components) = dictionary.dim();
        let (n, k, n_frames) = activations.dim();
        let refuse = |why: String| Err(SpatialError::Unsupported(why));
        if (n, k) != (n_sources, n_components) || n_components == 0 {
            return refuse(format!(
                "T has {n_sources} sources and {n_components} components, V has {n} and {k}: both need the same, and at \
                 least one component"
            ));
        }
        if dictionary.iter().chain(activations).any(|x| !(x.is_finite() && *x >= 0.0)) {
            return refuse("T and V need finite numbers that are not negative".into());
        }
        let sound = match distribution {
            Distribution::Gauss => true,
            Distribution::Student(nu) => nu > 0.0,
            Distribution::Generalized(shape) => shape > 0.0 && shape <= 2.0,
        };
        if !(sound && domain > 0.0 && domain.is_finite()) {
            return refuse(format!("{distribution:?} in the domain {domain} is no distribution"));
        }
        let stride = n_frames.next_multiple_of(STRIDE_UNIT);
        let floor = factor_floor::<T>();
        let floored = |x: f64| if T::of(x) > floor { T::of(x) } else { floor };
        let mut v = vec![T::ONE; n_sources * n_components * stride];
        for (row, out) in activations.rows().into_iter().zip(v.chunks_exact_mut(stride)) {
            out.iter_mut().zip(row).for_each(|(out, &x)| *out = floored(x));
        }
        Ok(Self {
            dictionary: dictionary.iter().map(|&x| floored(x)).collect(),
            activations: v,
            n_sources,
            n_bins,
            n_components,
            n_frames,
            stride,
            distribution,
            domain,
            exponent: distribution.exponent(domain),
            simd: Simd::Native,
        })
    }

    /// T, (sources, bins, components).
    pub fn dictionary(&self) -> Array3<f64> {
        let shape = (self.n_sources, self.n_bins, self.n_components);
        let t = self.dictionary.iter().map(|t| t.to_double()).collect();
        Array3::from_shape_vec(shape, t).expect("the shape is kept")
    }

    /// V, (sources, components, frames).
    pub fn activations(&self) -> Array3<f64> {
        let shape = (self.n_sources, self.n_components, self.n_frames);
        let rows = self.activations.chunks_exact(self.stride).flat_map(|row| &row[..self.n_frames]);
        Array3::from_shape_vec(shape, rows.map(|v| v.to_double()).collect()).expect("the shape is kept")
    }

    fn row(&self, source: usize, bin: usize) -> &[T] {
        &self.dictionary[(source * self.n_bins + bin) * self.n_components..][..self.n_components]
    }

    fn activations_of(&self, source: usize) -> &[T] {
        let size = self.n_components * self.stride;
        &self.activations[source * size..][..size]
    }

    /// One step of T, then of V; gives the cost before.
    fn step<D: Density>(&mut self, density: D, powers: &Powers<'_, T>) -> f64 {
        let (k, stride, simd) = (self.n_components, self.stride, powers.simd());
        let (exponent, n_frames, n_sources) = (self.exponent, self.n_frames, self.n_sources);
        let step = GroupStep { density, power_of_tv: 2.0 / self.domain, exponent, n_frames, powers };
        let activations = &self.activations;
        // the rows of T of a task, source by source
        let mut rows: Vec<Vec<&mut [T]>> =
            (0..self.n_bins.div_ceil(TASK_BINS)).map(|_| Vec::with_capacity(n_sources)).collect();
        for t in self.dictionary.chunks_mut(self.n_bins * k) {
            rows.iter_mut().zip(t.chunks_mut(TASK_BINS * k)).for_each(|(rows, t)| rows.push(t));
        }
        let tasks: Vec<(f64, Vec<T>, Vec<T>)> = rows
            .into_par_iter()
            .enumerate()
            .map(|(task, mut rows)| {
                let size = k * stride;
                let mut scratch = Scratch::new(stride);
                let (mut neg, mut pos) = (vec![T::ZERO; n_sources * size], vec![T::ZERO; n_sources * size]);
                let mut cost = 0.0;
                let n_bins = rows[0].len() / k;
                for first in (0..n_bins).step_by(GROUP) {
                    let group = first..n_bins.min(first + GROUP);
                    // all sources while the signal of these bins is in the cache
                    for (source, t) in rows.iter_mut().enumerate() {
                        let of_source = source * size..(source + 1) * size;
                        cost += step.group(
                            &mut scratch,
                            (source, task * TASK_BINS + first),
                            &mut t[group.start * k..group.end * k],
                            &activations[of_source.clone()],
                            (&mut neg[of_source.clone()], &mut pos[of_source]),
                        );
                    }
                }
                (cost, neg, pos)
            })
            .collect();
        step_activations(&mut self.activations, &tasks, stride, n_frames, exponent, simd);
        tasks.iter().map(|task| task.0).sum()
    }
}

/// What the steps of all groups of bins share.
struct GroupStep<'a, 'b, T, D> {
    density: D,
    power_of_tv: f64,
    exponent: f64,
    n_frames: usize,
    powers: &'a Powers<'b, T>,
}

/// The buffers of one task.
struct Scratch<T> {
    power: Aligned<T>,
    positive: Aligned<T>,
    negative: Aligned<T>,
}

impl<T: Scalar> Scratch<T> {
    fn new(stride: usize) -> Self {
        let zeros = |n: usize| Aligned::new(n, T::ZERO);
        Self { power: zeros(stride), positive: zeros(GROUP * stride), negative: zeros(GROUP * stride) }
    }
}

impl<T: Scalar, D: Density> GroupStep<'_, '_, T, D> {
    /// The rows `t` of one source take their step, and (sum neg, sum pos) for V grow; gives the cost before.
    fn group(
        &self,
        scratch: &mut Scratch<T>,
        (source, first_bin): (usize, usize),
        t: &mut [T],
        v: &[T],
        (negative_sums, positive_sums): (&mut [T], &mut [T]),
    ) -> f64 {
        let (powers, n_frames, density, power_of_tv) =
            (self.powers, self.n_frames, self.density, self.power_of_tv);
        let (simd, stride) = (powers.simd(), powers.stride());
        let k = v.len() / stride;
        let bins = t.len() / k;
        let mut cost = 0.0;
        for (b, t) in t.chunks_exact_mut(k).enumerate() {
            powers.fill(first_bin + b, source, &mut scratch.power);
            let power = &scratch.power[..];
            let positive = &mut scratch.positive[b * stride..][..stride];
            let negative = &mut scratch.negative[b * stride..][..stride];
            let (exponent, floor) = (self.exponent, factor_floor());
            let slopes =
                Slopes { density, power_of_tv, t, v, power, positive, negative, n_frames, cost: true };
            cost += T::run(simd, slopes);
            T::run(simd, RowStep { t, v, positive, negative, exponent, floor });
            let slopes =
                Slopes { density, power_of_tv, t, v, power, positive, negative, n_frames, cost: false };
            T::run(simd, slopes);
        }
        let (positive, negative) = (&scratch.positive[..bins * stride], &scratch.negative[..bins * stride]);
        T::run(simd, ColumnSums { t, bins, positive, negative, negative_sums, positive_sums });
        cost
    }
}

/// x (num / den)^exponent above the floor.
pub(crate) fn stepped<T: Scalar>(x: T, num: f64, den: f64, exponent: f64) -> T {
    // a denominator of 0 means that the factor has no effect: it stays
    let ratio = if den > 0.0 { num / den } else { 1.0 };
    let factor = match exponent {
        0.5 => ratio.sqrt(),
        1.0 => ratio,
        _ => ratio.powf(exponent),
    };
    let x = T::of(x.to_double() * factor);
    // also where x is not a number
    if x > factor_floor() { x } else { factor_floor() }
}

/// V <- V .* (sum neg / sum pos)^exponent with the sums of all tasks, added in order.
pub(crate) fn step_activations<T: Scalar>(
    v: &mut [T],
    tasks: &[(f64, Vec<T>, Vec<T>)],
    stride: usize,
    n_frames: usize,
    exponent: f64,
    simd: Simd,
) {
    v.par_chunks_exact_mut(stride).enumerate().for_each(|(k, x)| {
        let mut numerator = vec![T::ZERO; stride];
        let mut denominator = vec![T::ZERO; stride];
        for (_, negative, positive) in tasks {
            let row = k * stride..(k + 1) * stride;
            numerator.iter_mut().zip(&negative[row.clone()]).for_each(|(sum, x)| *sum += *x);
            denominator.iter_mut().zip(&positive[row]).for_each(|(sum, x)| *sum += *x);
        }
        let (numerator, denominator, floor) = (&numerator, &denominator, factor_floor());
        T::run(simd, step::Step { x, numerator, denominator, exponent, floor, n: n_frames });
    });
}

impl<T: Scalar> SourceModel<T> for LowRank<T> {
    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.simd = powers.simd();
        with_density!(self.distribution, density, self.step(density, powers))
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        let slots = (0..self.n_sources * self.n_bins).into_par_iter();
        let (power_of_tv, n_frames) = (2.0 / self.domain, self.n_frames);
        let costs: Vec<f64> = slots
            .map_init(
                || vec![T::ZERO; self.stride],
                |power, at| {
                    let (source, bin) = (at / self.n_bins, at % self.n_bins);
                    powers.fill(bin, source, power);
                    let (t, v) = (self.row(source, bin), self.activations_of(source));
                    with_density!(
                        self.distribution,
                        density,
                        T::run(powers.simd(), Cost { density, power_of_tv, t, v, power, n_frames })
                    )
                },
            )
            .collect();
        costs.iter().sum()
    }

    fn weights(&self) -> Weights {
        with_density!(self.distribution, density, weights_of(density))
    }

    fn inverse_weights(&self, bin: usize, source: usize, power: &[T], out: &mut [T]) {
        let (t, v, power_of_tv) = (self.row(source, bin), self.activations_of(source), 2.0 / self.domain);
        with_density!(
            self.distribution,
            density,
            T::run(self.simd, InverseWeights { density, power_of_tv, t, v, power, out })
        );
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::PerBin
    }

    fn absorb(&mut self, source: usize, gains: &[f64]) {
        let k = self.n_components;
        let rows = &mut self.dictionary[source * self.n_bins * k..][..self.n_bins * k];
        for (bin, row) in rows.chunks_exact_mut(k).enumerate() {
            let gain = gains[if gains.len() == 1 { 0 } else { bin }].powf(self.domain / 2.0);
            // no floor here: it would change the cost
            row.iter_mut().for_each(|t| *t = T::of((t.to_double() * gain).max(SMALLEST)));
        }
    }
}

pub(crate) fn weights_of<D: Density>(_: D) -> Weights {
    if D::NEEDS_POWER { Weights::PerSlot } else { Weights::Fixed }
}
