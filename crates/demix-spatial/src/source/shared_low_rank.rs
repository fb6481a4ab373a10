//! [`SharedLowRank`]: one dictionary for all sources, and a partition that says whose each component is: ILRMA of
//! type 2, Kitamura et al. 2016, section III-D.
//!
//! r_n = sum_k z_nk t_k v_k with sum_n z_nk = 1. Z, T and V take multiplicative steps in turn.

use ndarray::Array2;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::distribution::with_density;
use super::low_rank::{LowRank, SMALLEST, TASK_BINS, step_activations, stepped, weights_of};
use super::{Absorbs, Distribution, SingularVectors, SourceModel, Weights};
use crate::SpatialError;
use crate::demixing::Powers;
use crate::kernel::Simd;
use crate::kernel::density::Density;
use crate::kernel::low_rank::{ColumnSums, Cost, InverseWeights, RowSums, Slopes};
use crate::matrix::{C64, ZERO};
use crate::mixture::Scalar;

/// What the other sources have of a component at first.
const FOREIGN_SHARE: f64 = 0.1;

/// Z, T and V.
#[derive(Clone, Debug)]
pub struct SharedLowRank<T> {
    /// Z, (sources, components).
    partition: Array2<f64>,
    /// T and V as those of one source.
    factors: LowRank<T>,
    simd: Simd,
}

impl<T: Scalar> SharedLowRank<T> {
    /// Random factors for `n_components` in all, as [`LowRank::random`]; Z is random, too.
    pub fn random(
        (n_sources, n_bins, n_frames): (usize, usize, usize),
        n_components: usize,
        distribution: Distribution,
        domain: f64,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let factors = LowRank::random((1, n_bins, n_frames), n_components, distribution, domain, rng);
        let mut number = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut partition = Array2::from_shape_simple_fn((n_sources, n_components), || 0.01 + number());
        normalize_columns(&mut partition);
        Self { partition, factors, simd: Simd::Native }
    }

    /// The components of [`LowRank::singular`], `n_components` from each source, which owns nearly all of them.
    ///
    /// # Errors
    /// As [`LowRank::given`].
    pub fn singular(
        powers: &Powers<'_, T>,
        n_components: usize,
        distribution: Distribution,
        domain: f64,
    ) -> Result<Self, SpatialError> {
        let n = powers.n_sources();
        let (mut dictionary, mut activations) =
            (Array2::zeros((powers.n_bins(), 0)), Array2::zeros((0, powers.n_frames())));
        for source in 0..n {
            let vectors = SingularVectors::of(powers, source, n_components, domain);
            dictionary.append(ndarray::Axis(1), vectors.dictionary.view()).expect("the bins are the same");
            activations
                .append(ndarray::Axis(0), vectors.activations.view())
                .expect("the frames are the same");
        }
        // a share of exactly 0 would stay 0
        let foreign = if n > 1 { FOREIGN_SHARE / (n - 1) as f64 } else { 0.0 };
        let own = if n > 1 { 1.0 - FOREIGN_SHARE } else { 1.0 };
        let partition = Array2::from_shape_fn((n, n * n_components), |(source, k)| {
            if k / n_components == source { own } else { foreign }
        });
        Self::given(&partition, &dictionary, &activations, distribution, domain)
    }

    /// Given factors: Z (sources, components), T (bins, components), V (components, frames).
    ///
    /// # Errors
    /// As [`LowRank::given`].
    pub fn given(
        partition: &Array2<f64>,
        dictionary: &Array2<f64>,
        activations: &Array2<f64>,
        distribution: Distribution,
        domain: f64,
    ) -> Result<Self, SpatialError> {
        let of_one = |x: &Array2<f64>| x.clone().insert_axis(ndarray::Axis(0));
        let factors = LowRank::given(&of_one(dictionary), &of_one(activations), distribution, domain)?;
        if partition.ncols() != factors.n_components
            || partition.iter().any(|z| !(z.is_finite() && *z >= 0.0))
            || partition.columns().into_iter().any(|column| column.sum() <= 0.0)
        {
            return Err(SpatialError::Unsupported(format!(
                "the partition is {:?}: it needs one column for each of the {} components, none of them empty",
                partition.dim(),
                factors.n_components
            )));
        }
        Ok(Self { partition: partition.clone(), factors, simd: Simd::Native })
    }

    /// Z, (sources, components): columns sum to one.
    pub fn partition(&self) -> &Array2<f64> {
        &self.partition
    }

    /// T, (bins, components).
    pub fn dictionary(&self) -> Array2<f64> {
        self.factors.dictionary().remove_axis(ndarray::Axis(0))
    }

    /// V, (components, frames).
    pub fn activations(&self) -> Array2<f64> {
        self.factors.activations().remove_axis(ndarray::Axis(0))
    }

    /// Row z_n t_i of a source's own dictionary.
    fn row(&self, bin: usize, source: usize, out: &mut [T]) {
        let k = self.factors.n_components;
        let t = &self.factors.dictionary[bin * k..][..k];
        for (out, (&t, &z)) in out.iter_mut().zip(t.iter().zip(self.partition.row(source))) {
            *out = T::of(t.to_double() * z);
        }
    }

    /// Runs `each(bin, source, neg, pos, sums)` over all slots with their slopes and the sums over frames; gives the
    /// cost. Tasks are summed in order.
    fn slopes<D: Density, R: Send>(
        &self,
        density: D,
        powers: &Powers<'_, T>,
        start: impl Fn() -> R + Sync,
        each: impl Fn(&mut R, usize, usize, &[T], &[T], &[C64]) + Sync,
    ) -> Vec<(f64, R)> {
        let f = &self.factors;
        let (k, stride, n_frames, power_of_tv) = (f.n_components, f.stride, f.n_frames, 2.0 / f.domain);
        let simd = powers.simd();
        (0..f.n_bins.div_ceil(TASK_BINS))
            .into_par_iter()
            .map(|task| {
                let mut state = start();
                let mut cost = 0.0;
                let (mut power, mut t) = (vec![T::ZERO; stride], vec![T::ZERO; k]);
                let (mut positive, mut negative) = (vec![T::ZERO; stride], vec![T::ZERO; stride]);
                let mut sums = vec![ZERO; k];
                for bin in task * TASK_BINS..f.n_bins.min((task + 1) * TASK_BINS) {
                    for source in 0..powers.n_sources() {
                        powers.fill(bin, source, &mut power);
                        self.row(bin, source, &mut t);
                        let v = &f.activations[..];
                        let slopes = Slopes {
                            density,
                            power_of_tv,
                            t: &t,
                            v,
                            power: &power,
                            positive: &mut positive,
                            negative: &mut negative,
                            n_frames,
                            cost: true,
                        };
                        cost += T::run(simd, slopes);
                        let (positive, negative) = (&positive, &negative);
                        T::run(simd, RowSums { v, positive, negative, out: &mut sums });
                        each(&mut state, bin, source, negative, positive, &sums);
                    }
                }
                (cost, state)
            })
            .collect()
    }

    fn step<D: Density>(&mut self, density: D, powers: &Powers<'_, T>) -> f64 {
        let (k, n_sources) = (self.factors.n_components, powers.n_sources());
        let (stride, n_frames, exponent) =
            (self.factors.stride, self.factors.n_frames, self.factors.exponent);
        // Z
        let tasks = self.slopes(
            density,
            powers,
            || vec![ZERO; n_sources * k],
            |z, bin, source, _, _, sums| {
                let t = &self.factors.dictionary[bin * k..][..k];
                for ((z, t), sum) in z[source * k..][..k].iter_mut().zip(t).zip(sums) {
                    *z += sum * t.to_double();
                }
            },
        );
        let cost = tasks.iter().map(|task| task.0).sum();
        for source in 0..n_sources {
            for component in 0..k {
                let sum: C64 = tasks.iter().map(|task| task.1[source * k + component]).sum();
                let z = &mut self.partition[[source, component]];
                *z = stepped(*z, sum.re, sum.im, exponent);
            }
        }
        normalize_columns(&mut self.partition);
        // T
        let tasks = self.slopes(density, powers, Vec::new, |rows: &mut Vec<C64>, _, source, _, _, sums| {
            if source == 0 {
                rows.extend(std::iter::repeat_n(ZERO, k));
            }
            let first = rows.len() - k;
            for ((row, z), sum) in rows[first..].iter_mut().zip(self.partition.row(source)).zip(sums) {
                *row += sum * *z;
            }
        });
        let sums = tasks.iter().flat_map(|task| &task.1);
        for (t, sum) in self.factors.dictionary.iter_mut().zip(sums) {
            *t = stepped(*t, sum.re, sum.im, exponent);
        }
        // V
        let simd = powers.simd();
        let tasks = self.slopes(
            density,
            powers,
            || (vec![T::ZERO; k * stride], vec![T::ZERO; k * stride], vec![T::ZERO; k]),
            |(negative_sums, positive_sums, t), bin, source, negative, positive, _| {
                self.row(bin, source, t);
                T::run(simd, ColumnSums { t, bins: 1, positive, negative, negative_sums, positive_sums });
            },
        );
        let tasks: Vec<(f64, Vec<T>, Vec<T>)> =
            tasks.into_iter().map(|(cost, (neg, pos, _))| (cost, neg, pos)).collect();
        step_activations(&mut self.factors.activations, &tasks, stride, n_frames, exponent, simd);
        cost
    }
}

/// sum_n z_nk = 1.
fn normalize_columns(z: &mut Array2<f64>) {
    for mut column in z.columns_mut() {
        let sum = column.sum();
        column /= sum;
    }
}

impl<T: Scalar> SourceModel<T> for SharedLowRank<T> {
    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.simd = powers.simd();
        let distribution = self.factors.distribution;
        with_density!(distribution, density, self.step(density, powers))
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        let f = &self.factors;
        let (n_frames, power_of_tv) = (f.n_frames, 2.0 / f.domain);
        let costs: Vec<f64> = (0..f.n_bins * powers.n_sources())
            .into_par_iter()
            .map_init(
                || (vec![T::ZERO; f.stride], vec![T::ZERO; f.n_components]),
                |(power, t), at| {
                    let (source, bin) = (at / f.n_bins, at % f.n_bins);
                    powers.fill(bin, source, power);
                    self.row(bin, source, t);
                    let v = &f.activations[..];
                    with_density!(
                        f.distribution,
                        density,
                        T::run(powers.simd(), Cost { density, power_of_tv, t, v, power, n_frames })
                    )
                },
            )
            .collect();
        costs.iter().sum()
    }

    fn weights(&self) -> Weights {
        with_density!(self.factors.distribution, density, weights_of(density))
    }

    fn inverse_weights(&self, bin: usize, source: usize, power: &[T], out: &mut [T]) {
        let mut t = vec![T::ZERO; self.factors.n_components];
        self.row(bin, source, &mut t);
        let (v, power_of_tv) = (&self.factors.activations[..], 2.0 / self.factors.domain);
        with_density!(
            self.factors.distribution,
            density,
            T::run(self.simd, InverseWeights { density, power_of_tv, t: &t, v, power, out })
        );
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::PerSource
    }

    /// z_nk takes the gain, and the columns of Z are normalised again by way of T.
    fn absorb(&mut self, source: usize, gains: &[f64]) {
        let gain = gains[0].powf(self.factors.domain / 2.0);
        self.partition.row_mut(source).mapv_inplace(|z| z * gain);
        let k = self.factors.n_components;
        let sums: Vec<f64> = self.partition.columns().into_iter().map(|column| column.sum()).collect();
        normalize_columns(&mut self.partition);
        for row in self.factors.dictionary.chunks_exact_mut(k) {
            for (t, &sum) in row.iter_mut().zip(&sums) {
                *t = T::of((t.to_double() * sum).max(SMALLEST));
            }
        }
    }
}
