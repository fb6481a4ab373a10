//! Full-rank spatial covariances with given source powers: x_ij = sum_n c_ijn, c_ijn ~ N(0, r_ijn Sigma_in).
//!
//! Duong, Vincent and Gribonval 2010; with networks that give r: Nugraha, Liutkus and Vincent 2016. EM for Sigma_in,
//! between two looks of the networks:
//! G = r Sigma (sum_n r Sigma)^-1, c = G x                                            multichannel Wiener filter
//! Rhat = c c^H + (1 - G) r Sigma
//! Sigma_in = (1/J) sum_j Rhat / r, scaled to trace M; the scale goes to r

use std::sync::Arc;

use demix_signal::{Complex, Progress, Watch};
use ndarray::{Array2, Array3, ArrayView3, Axis};
use rayon::prelude::*;

use crate::SpatialError;
use crate::matrix::{C64, ZERO, inverse, log_abs_det, multiply, set_identity};
use crate::source::PowerEstimator;

demix_signal::settings! {
    /// Full-rank covariances with networks.
    pub struct FullRankSettings {
        /// How often the networks look at the estimates.
        pub outer: usize = 3, range 1.0 ..= 10000.0;
        /// Steps of the covariances between two looks of the networks.
        pub inner: usize = 10, range 0.0 ..= 10000.0;
        /// A network's variance is at least this share of the mixture's mean power.
        pub variance_floor: f64 = 1e-5, range 0.0 ..= 1.0;
    }
}

/// r_ijn and Sigma_in of all sources.
#[derive(Clone, Debug)]
pub struct FullRank {
    /// r, (sources, bins, frames): power.
    pub variance: Array3<f64>,
    /// Sigma, (sources, bins, M x M), trace M.
    pub covariance: Array3<C64>,
    /// The cost before the first and after every step of a stretch: sum log det R + x^H R^-1 x.
    pub cost: Vec<f64>,
}

/// The share of the mean power that is added to the diagonal of sum_n r Sigma, so that it can be inverted where all
/// sources come from one direction.
const LOADING: f64 = 1e-9;

/// One bin while it is filtered.
struct Filter {
    m: usize,
    /// R^-1.
    inverse: Vec<C64>,
    log_det: f64,
}

impl Filter {
    /// (sum_n r_n Sigma_n + load)^-1.
    fn new(m: usize, covariance: &[&[C64]], variance: &[f64], load: f64) -> Option<Self> {
        let mut r = vec![ZERO; m * m];
        for (sigma, &v) in covariance.iter().zip(variance) {
            r.iter_mut().zip(*sigma).for_each(|(r, s)| *r += s * v);
        }
        (0..m).for_each(|c| r[c * m + c] += load);
        Some(Self { m, log_det: log_abs_det(m, &r), inverse: inverse(m, &r)? })
    }

    /// G = r Sigma R^-1.
    fn gain(&self, sigma: &[C64], variance: f64, out: &mut [C64]) {
        multiply(self.m, sigma, &self.inverse, out);
        out.iter_mut().for_each(|g| *g *= variance);
    }
}

impl FullRank {
    /// Finds r and Sigma of a spectrogram x (bins, channels, frames), by networks for some sources; those without share
    /// what the networks leave of the mixture evenly.
    ///
    /// # Errors
    /// No network, an empty mixture, a network without an answer, cancelling.
    pub fn find(
        x: ArrayView3<'_, Complex<f32>>,
        networks: &[Vec<Arc<dyn PowerEstimator>>],
        settings: &FullRankSettings,
        watch: &mut dyn Watch,
    ) -> Result<Self, SpatialError> {
        let (n_bins, m, n_frames) = x.dim();
        let n = networks.len();
        if x.is_empty() {
            return Err(SpatialError::Empty { channels: m, samples: n_frames });
        }
        if networks.iter().all(Vec::is_empty) {
            return Err(SpatialError::Unsupported(
                "no source has a network: full-rank covariances need one".into(),
            ));
        }
        let power = x.iter().map(|x| f64::from(x.norm_sqr())).sum::<f64>() / x.len() as f64;
        if !power.is_finite() {
            return Err(SpatialError::Unsupported(
                "the spectrogram holds numbers that are not finite".into(),
            ));
        }
        let floor = (settings.variance_floor * power).max(f64::MIN_POSITIVE.sqrt());
        let mut unit = vec![ZERO; m * m];
        set_identity(m, &mut unit);
        let mut found = Self {
            variance: Array3::zeros((n, n_bins, n_frames)),
            covariance: Array3::from_shape_fn((n, n_bins, m * m), |(_, _, at)| unit[at]),
            cost: Vec::new(),
        };
        let total = settings.outer * settings.inner;
        for outer in 0..settings.outer {
            found.look(x, networks, floor, outer == 0)?;
            for inner in 0..settings.inner {
                let cost = found.step(x, LOADING * power);
                found.cost.push(cost);
                let done = outer * settings.inner + inner + 1;
                watch.progress(Progress { stage: "demix", done, total, cost: Some(cost) })?;
            }
        }
        let cost = found.cost_of(x, LOADING * power);
        found.cost.push(cost);
        Ok(found)
    }

    /// r from what the networks say of the images at the first microphone, or of the mixture the first time.
    fn look(
        &mut self,
        x: ArrayView3<'_, Complex<f32>>,
        networks: &[Vec<Arc<dyn PowerEstimator>>],
        floor: f64,
        first: bool,
    ) -> Result<(), SpatialError> {
        let (n_bins, _, n_frames) = x.dim();
        let mut rest = x.index_axis(Axis(1), 0).mapv(|x| f64::from(x.norm_sqr()));
        for (source, networks) in networks.iter().enumerate().filter(|(_, networks)| !networks.is_empty()) {
            let magnitude = if first {
                x.index_axis(Axis(1), 0).mapv(|x| x.norm())
            } else {
                self.image(x, source).index_axis(Axis(1), 0).mapv(|c| c.norm())
            };
            let mut variance = Array2::<f64>::zeros((n_bins, n_frames));
            for network in networks {
                let said = network.estimate(magnitude.view()).map_err(SpatialError::Network)?;
                said.check(source, (n_bins, n_frames))?;
                variance
                    .zip_mut_with(&said.power(), |v, &said| *v += f64::from(said) / networks.len() as f64);
            }
            rest.zip_mut_with(&variance, |rest, v| *rest -= v);
            self.variance.index_axis_mut(Axis(0), source).assign(&variance.mapv(|v| v.max(floor)));
        }
        let blind = networks.iter().filter(|networks| networks.is_empty()).count();
        for (source, _) in networks.iter().enumerate().filter(|(_, networks)| networks.is_empty()) {
            let share = rest.mapv(|rest| (rest / blind as f64).max(floor));
            self.variance.index_axis_mut(Axis(0), source).assign(&share);
        }
        Ok(())
    }

    fn covariances(&self, bin: usize) -> Vec<&[C64]> {
        self.covariance
            .axis_iter(Axis(0))
            .map(|sigma| sigma.index_axis_move(Axis(0), bin).to_slice().expect("rows lie in one piece"))
            .collect()
    }

    /// One step of EM; gives the cost before it.
    fn step(&mut self, x: ArrayView3<'_, Complex<f32>>, load: f64) -> f64 {
        let (n_bins, m, n_frames) = x.dim();
        let n = self.variance.dim().0;
        let bins: Vec<(f64, Vec<C64>)> = (0..n_bins)
            .into_par_iter()
            .map(|bin| {
                let sigmas = self.covariances(bin);
                let mut sums = vec![ZERO; n * m * m];
                let mut cost = 0.0;
                let (mut g, mut rest, mut c) = (vec![ZERO; m * m], vec![ZERO; m * m], vec![ZERO; m]);
                for j in 0..n_frames {
                    let variance: Vec<f64> = (0..n).map(|s| self.variance[[s, bin, j]]).collect();
                    let Some(filter) = Filter::new(m, &sigmas, &variance, load) else { continue };
                    let x = frame(x, bin, j);
                    cost += slot_cost(&filter, &x);
                    for s in 0..n {
                        filter.gain(sigmas[s], variance[s], &mut g);
                        for a in 0..m {
                            c[a] = (0..m).map(|b| g[a * m + b] * x[b]).sum();
                        }
                        // (1 - G) r Sigma / r
                        multiply(m, &g, sigmas[s], &mut rest);
                        let sum = &mut sums[s * m * m..][..m * m];
                        for a in 0..m {
                            for b in 0..m {
                                sum[a * m + b] +=
                                    c[a] * c[b].conj() / variance[s] + sigmas[s][a * m + b] - rest[a * m + b];
                            }
                        }
                    }
                }
                (cost, sums)
            })
            .collect();
        for (bin, (_, sums)) in bins.iter().enumerate() {
            for s in 0..n {
                let sum = &sums[s * m * m..][..m * m];
                let trace: f64 = (0..m).map(|c| sum[c * m + c].re).sum();
                if !(trace > 0.0 && trace.is_finite()) {
                    continue;
                }
                let mut sigma = self.covariance.slice_mut(ndarray::s![s, bin, ..]);
                for a in 0..m {
                    for b in 0..m {
                        // Hermitian to the last digit
                        sigma[a * m + b] =
                            (sum[a * m + b] + sum[b * m + a].conj()) * (0.5 * m as f64 / trace);
                    }
                }
                let scale = trace / (m * n_frames) as f64;
                self.variance.slice_mut(ndarray::s![s, bin, ..]).mapv_inplace(|v| v * scale);
            }
        }
        bins.iter().map(|bin| bin.0).sum()
    }

    fn cost_of(&self, x: ArrayView3<'_, Complex<f32>>, load: f64) -> f64 {
        let (n_bins, m, n_frames) = x.dim();
        let n = self.variance.dim().0;
        let bins: Vec<f64> = (0..n_bins)
            .into_par_iter()
            .map(|bin| {
                let sigmas = self.covariances(bin);
                (0..n_frames)
                    .filter_map(|j| {
                        let variance: Vec<f64> = (0..n).map(|s| self.variance[[s, bin, j]]).collect();
                        Some(slot_cost(&Filter::new(m, &sigmas, &variance, load)?, &frame(x, bin, j)))
                    })
                    .sum()
            })
            .collect();
        bins.iter().sum()
    }

    /// The image of a source on all microphones, (bins, channels, frames): the multichannel Wiener filter. All images
    /// sum to the mixture.
    pub fn image(&self, x: ArrayView3<'_, Complex<f32>>, source: usize) -> Array3<Complex<f32>> {
        let (n_bins, m, n_frames) = x.dim();
        let n = self.variance.dim().0;
        let mut image = Array3::zeros((n_bins, m, n_frames));
        image.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(bin, mut image)| {
            let sigmas = self.covariances(bin);
            let mut g = vec![ZERO; m * m];
            for j in 0..n_frames {
                let variance: Vec<f64> = (0..n).map(|s| self.variance[[s, bin, j]]).collect();
                let x = frame(x, bin, j);
                // relative to the slot, and shared out, so that the images sum to the mixture
                let load = LOADING * variance.iter().sum::<f64>();
                let Some(filter) = Filter::new(m, &sigmas, &variance, load) else { continue };
                filter.gain(sigmas[source], variance[source], &mut g);
                (0..m).for_each(|c| {
                    g[c * m..][..m]
                        .iter_mut()
                        .zip(&filter.inverse[c * m..][..m])
                        .for_each(|(g, i)| *g += i * (load / n as f64));
                });
                for a in 0..m {
                    let c: C64 = (0..m).map(|b| g[a * m + b] * x[b]).sum();
                    image[[a, j]] = Complex::new(c.re as f32, c.im as f32);
                }
            }
        });
        image
    }
}

fn frame(x: ArrayView3<'_, Complex<f32>>, bin: usize, j: usize) -> Vec<C64> {
    (0..x.dim().1)
        .map(|c| {
            let x = x[[bin, c, j]];
            C64::new(f64::from(x.re), f64::from(x.im))
        })
        .collect()
}

/// log det R + x^H R^-1 x.
fn slot_cost(filter: &Filter, x: &[C64]) -> f64 {
    let m = filter.m;
    let quadratic: C64 =
        (0..m).map(|a| x[a].conj() * (0..m).map(|b| filter.inverse[a * m + b] * x[b]).sum::<C64>()).sum();
    filter.log_det + quadratic.re
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may: its panic is the report

    use ndarray::ArrayView2;
    use rand::Rng as _;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::source::PowerEstimate;

    /// Knows the source.
    struct Oracle(Array2<f32>);

    impl PowerEstimator for Oracle {
        fn estimate(&self, _: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
            Ok(PowerEstimate::from(self.0.clone()))
        }
    }

    type Scene = (Vec<Array3<Complex<f32>>>, Array3<Complex<f32>>, Vec<Array2<f32>>);

    /// Three sources that take turns, on two microphones: images (sources, bins, channels, frames), their sum, powers.
    fn scene() -> Scene {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut number = move || (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        let (bins, m, frames) = (5, 2, 60);
        let mut images = Vec::new();
        let mut powers = Vec::new();
        for n in 0..3 {
            let power =
                Array2::from_shape_fn(
                    (bins, frames),
                    |(i, j)| {
                        if (j / 10 + i + n) % 3 == 0 { 1.0f32 } else { 0.05 }
                    },
                );
            let mut image = Array3::zeros((bins, m, frames));
            for i in 0..bins {
                let a: Vec<Complex<f32>> = (0..m).map(|_| Complex::new(number(), number())).collect();
                for j in 0..frames {
                    let s = Complex::new(number(), number()) * power[[i, j]].sqrt();
                    (0..m).for_each(|c| image[[i, c, j]] = a[c] * s);
                }
            }
            images.push(image);
            powers.push(power);
        }
        let mixture = &(&images[0] + &images[1]) + &images[2];
        (images, mixture, powers)
    }

    fn oracles(powers: &[Array2<f32>]) -> Vec<Vec<Arc<dyn PowerEstimator>>> {
        powers.iter().map(|p| vec![Arc::new(Oracle(p.clone())) as Arc<dyn PowerEstimator>]).collect()
    }

    fn error(a: &Array3<Complex<f32>>, b: &Array3<Complex<f32>>) -> f64 {
        let power = |x: &Array3<Complex<f32>>| x.iter().map(|x| f64::from(x.norm_sqr())).sum::<f64>();
        power(&(a - b)) / power(b)
    }

    #[test]
    fn the_cost_falls_covariances_have_trace_m_and_the_images_are_found_and_sum_to_the_mixture() {
        let (images, x, powers) = scene();
        let settings = FullRankSettings { outer: 1, inner: 30, ..FullRankSettings::default() };
        let found = FullRank::find(x.view(), &oracles(&powers), &settings, &mut ()).unwrap();
        assert_eq!(found.cost.len(), 31);
        assert!(found.cost.windows(2).all(|pair| pair[1] < pair[0] + 1e-6), "{:?}", found.cost);
        let mut sum = Array3::zeros(x.dim());
        for (n, image) in images.iter().enumerate() {
            let estimate = found.image(x.view(), n);
            // three sources on two microphones: 10 dB is what powers and directions give
            assert!(error(&estimate, image) < 0.25, "{n}: {}", error(&estimate, image));
            // and more than what powers alone give
            let none = FullRankSettings { outer: 1, inner: 0, ..settings.clone() };
            let plain =
                FullRank::find(x.view(), &oracles(&powers), &none, &mut ()).unwrap().image(x.view(), n);
            assert!(error(&estimate, image) < 0.7 * error(&plain, image));
            sum += &estimate;
        }
        assert!(error(&sum, &x) < 1e-10, "{}", error(&sum, &x));
        for sigma in found.covariance.rows() {
            let trace: f64 = (0..2).map(|c| sigma[c * 3].re).sum();
            assert!((trace - 2.0).abs() < 1e-9 && (sigma[1] - sigma[2].conj()).norm() < 1e-12);
        }
    }

    #[test]
    fn without_a_step_it_is_the_wiener_filter_of_the_powers() {
        let (_, x, powers) = scene();
        let settings = FullRankSettings { outer: 1, inner: 0, variance_floor: 0.0 };
        let found = FullRank::find(x.view(), &oracles(&powers), &settings, &mut ()).unwrap();
        let image = found.image(x.view(), 1);
        for ((i, c, j), image) in image.indexed_iter() {
            let all: f32 = powers.iter().map(|p| p[[i, j]]).sum();
            let expected = x[[i, c, j]] * (powers[1][[i, j]] / all);
            assert!((image - expected).norm() < 1e-6);
        }
    }

    #[test]
    fn a_source_without_a_network_gets_what_is_left() {
        let (images, x, powers) = scene();
        let mut networks = oracles(&powers);
        networks[2].clear();
        let settings = FullRankSettings { outer: 2, inner: 10, ..FullRankSettings::default() };
        let found = FullRank::find(x.view(), &networks, &settings, &mut ()).unwrap();
        assert!(error(&found.image(x.view(), 0), &images[0]) < 0.5);
        networks.iter_mut().for_each(Vec::clear);
        assert!(FullRank::find(x.view(), &networks, &settings, &mut ()).is_err());
    }
}
