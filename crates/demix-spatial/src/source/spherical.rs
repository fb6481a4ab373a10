//! Models without parameters: one density for a whole frame of a source (IVA), or for each slot alone (FDICA).
//!
//! Auxiliary-function IVA: Ono 2011; with the norm over bins |y_jn| = (sum_i |y_ijn|^2)^(1/2),
//!
//! | contrast | cost of a frame | xi |
//! | --- | --- | --- |
//! | Laplace | 2 norm | norm |
//! | Gauss | I log r + norm^2 / r, r = norm^2 / I | r |
//! | Student | (nu/2 + I) log(1 + 2 norm^2 / nu) | (nu + 2 norm^2) / (nu + 2 I) |
//!
//! Student's scale is the mixture's level. FDICA with the Laplace contrast: cost 2 |y|, xi = |y|.

use rayon::prelude::*;

use super::{Absorbs, SourceModel, Weights};
use crate::demixing::Powers;
use crate::kernel::Simd;
use crate::kernel::laplace::{LaplaceCost, LaplaceWeights};
use crate::mixture::Scalar;

/// Norms and powers below this share of the level count as this much.
const FLOOR: f64 = 1e-10;
/// Bins whose powers one task sums; fixed, so that the result does not depend on the number of threads.
const TASK_BINS: usize = 64;

/// What is assumed of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contrast {
    /// Spherical Laplace density.
    Laplace,
    /// Spherical Gaussian density whose variance changes from frame to frame.
    Gauss,
    /// Spherical t density with so many degrees of freedom.
    Student(f64),
}

/// The source model of AuxIVA: all bins of a source sound together.
#[derive(Clone, Debug)]
pub struct Spherical<T> {
    contrast: Contrast,
    /// norm^2 of each source and frame, (sources, stride).
    energy: Vec<f64>,
    /// 1 / xi, the same shape.
    inverse: Vec<T>,
    stride: usize,
}

impl<T: Scalar> Spherical<T> {
    /// The model; it has nothing to start from.
    pub fn new(contrast: Contrast) -> Self {
        Self { contrast, energy: Vec::new(), inverse: Vec::new(), stride: 0 }
    }

    /// norm^2 over bins of some sources, all of them while the signal of a bin is in the cache.
    fn gather(&mut self, powers: &Powers<'_, T>, sources: &[usize]) {
        let (n_bins, stride) = (powers.n_bins(), powers.stride());
        let tasks: Vec<Vec<f64>> = (0..n_bins.div_ceil(TASK_BINS))
            .into_par_iter()
            .map(|task| {
                let mut power = vec![T::ZERO; stride];
                let mut sums = vec![0.0; sources.len() * stride];
                for bin in task * TASK_BINS..n_bins.min((task + 1) * TASK_BINS) {
                    for (sum, &source) in sums.chunks_exact_mut(stride).zip(sources) {
                        powers.fill(bin, source, &mut power);
                        sum.iter_mut().zip(&power).for_each(|(sum, p)| *sum += p.to_double());
                    }
                }
                sums
            })
            .collect();
        let (n_bins, contrast) = (n_bins as f64, self.contrast);
        for (at, &source) in sources.iter().enumerate() {
            let energy = &mut self.energy[source * stride..][..stride];
            energy.fill(0.0);
            for task in &tasks {
                energy.iter_mut().zip(&task[at * stride..]).for_each(|(sum, p)| *sum += p);
            }
            for (inverse, &energy) in self.inverse[source * stride..][..stride].iter_mut().zip(&*energy) {
                let xi = match contrast {
                    Contrast::Laplace => energy.sqrt(),
                    Contrast::Gauss => energy / n_bins,
                    Contrast::Student(nu) => (nu + 2.0 * energy) / (nu + 2.0 * n_bins),
                };
                *inverse = T::of(1.0 / xi.max(FLOOR));
            }
        }
    }

    fn cost_of(&self, n_bins: usize, n_frames: usize) -> f64 {
        let n_bins = n_bins as f64;
        let frame = |energy: f64| match self.contrast {
            Contrast::Laplace => 2.0 * energy.sqrt(),
            Contrast::Gauss => {
                let r = (energy / n_bins).max(FLOOR);
                n_bins * r.ln() + energy / r
            }
            Contrast::Student(nu) => (nu / 2.0 + n_bins) * (2.0 * energy / nu).ln_1p(),
        };
        self.energy.chunks_exact(self.stride).flat_map(|e| &e[..n_frames]).map(|&e| frame(e)).sum()
    }
}

impl<T: Scalar> SourceModel<T> for Spherical<T> {
    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.cost(powers)
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.stride = powers.stride();
        let size = powers.n_sources() * self.stride;
        self.energy.resize(size, 0.0);
        self.inverse.resize(size, T::ZERO);
        let all: Vec<usize> = (0..powers.n_sources()).collect();
        self.gather(powers, &all);
        self.cost_of(powers.n_bins(), powers.n_frames())
    }

    fn weights(&self) -> Weights {
        Weights::Tied
    }

    fn look(&mut self, powers: &Powers<'_, T>, sources: &[usize]) {
        self.gather(powers, sources);
    }

    fn inverse_weights(&self, _: usize, source: usize, _: &[T], out: &mut [T]) {
        out.copy_from_slice(&self.inverse[source * self.stride..][..self.stride]);
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::Nothing
    }

    fn absorb(&mut self, _: usize, _: &[f64]) {}
}

/// The source model of FDICA: every bin on its own, Laplace density. The order of the sources may differ from bin to bin
/// afterwards (see [`crate::permutation`]).
#[derive(Clone, Copy, Debug)]
pub struct Laplace {
    simd: Simd,
}

impl Default for Laplace {
    fn default() -> Self {
        Self { simd: Simd::Native }
    }
}

impl<T: Scalar> SourceModel<T> for Laplace {
    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.cost(powers)
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.simd = powers.simd();
        let bins: Vec<f64> = (0..powers.n_bins())
            .into_par_iter()
            .map_init(
                || vec![T::ZERO; powers.stride()],
                |power, bin| {
                    let mut sum = 0.0;
                    for source in 0..powers.n_sources() {
                        powers.fill(bin, source, power);
                        sum += T::run(powers.simd(), LaplaceCost { power });
                    }
                    sum
                },
            )
            .collect();
        bins.iter().sum()
    }

    fn weights(&self) -> Weights {
        Weights::PerSlot
    }

    fn inverse_weights(&self, _: usize, _: usize, power: &[T], out: &mut [T]) {
        T::run(self.simd, LaplaceWeights { power, floor: T::of(FLOOR), out });
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::Nothing
    }

    fn absorb(&mut self, _: usize, _: &[f64]) {}
}
