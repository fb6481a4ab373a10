//! Every kernel against plain loops, for all instructions, sizes and lengths.

use demix_signal::Complex;
use demix_signal::simd::{Kernel, Lanes, Simd, Vectors};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::covariance::Covariance;
use super::density::{Density, Gauss, Generalized, Student};
use super::laplace::{LaplaceCost, LaplaceWeights};
use super::log_sum::LogSum;
use super::low_rank::{ColumnSums, Cost, InverseWeights, RowSums, Slopes};
use super::step::{RowStep, Step};
use crate::matrix::{C64, ZERO};

const SIMD: [Simd; 3] = [Simd::Native, Simd::Avx2, Simd::Portable];

fn numbers<T: Vectors>(n: usize, seed: u64) -> Vec<T> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| T::of(0.05 + (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64)).collect()
}

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}: {got} instead of {want}");
}

fn covariances<T: Vectors>(tolerance: f64) {
    for simd in SIMD {
        for m in 1..8 {
            for n in 1..5 {
                for stride in [16, 48, 1040] {
                    let x = numbers::<T>(2 * m * stride, 1);
                    let g = numbers::<T>(n * stride, 2);
                    let mut out = vec![C64::new(9.0, 9.0); n * m * m];
                    T::run(simd, Covariance { x: &x, channels: m, inverse_weights: &g, out: &mut out });
                    let at = |c: usize, j: usize| {
                        C64::new(x[2 * c * stride + j].to_double(), x[(2 * c + 1) * stride + j].to_double())
                    };
                    for s in 0..n {
                        for a in 0..m {
                            for b in 0..m {
                                let want: C64 = (0..stride)
                                    .map(|j| at(a, j) * at(b, j).conj() * g[s * stride + j].to_double())
                                    .sum();
                                let got = out[s * m * m + a * m + b];
                                let error = (got - want).norm() / stride as f64;
                                assert!(error < tolerance, "{simd} {m} {n} {stride} {a} {b}: {got} {want}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn covariances_are_sums_over_frames() {
    covariances::<f32>(1e-6);
    covariances::<f64>(1e-14);
}

/// (weight, cost) by the formulas as printed.
trait Plain: Density {
    fn weight(&self, r: f64, p: f64) -> f64;
    fn cost(&self, r: f64, p: f64) -> f64;
}

impl Plain for Gauss {
    fn weight(&self, r: f64, _: f64) -> f64 {
        r
    }
    fn cost(&self, r: f64, p: f64) -> f64 {
        p / r + r.ln()
    }
}

impl Plain for Student {
    fn weight(&self, r: f64, p: f64) -> f64 {
        (self.nu * r + 2.0 * p) / (self.nu + 2.0)
    }
    fn cost(&self, r: f64, p: f64) -> f64 {
        (1.0 + self.nu / 2.0) * (1.0 + 2.0 * p / (self.nu * r)).ln() + r.ln()
    }
}

impl Plain for Generalized {
    fn weight(&self, r: f64, p: f64) -> f64 {
        2.0 / self.shape * r.powf(self.shape / 2.0) * p.powf(1.0 - self.shape / 2.0)
    }
    fn cost(&self, r: f64, p: f64) -> f64 {
        (p / r).powf(self.shape / 2.0) + r.ln()
    }
}

fn low_rank<T: Vectors>(density: impl Plain, tolerance: f64) {
    for simd in SIMD {
        for (k, n_frames, stride) in [(1, 1, 16), (2, 37, 48), (5, 64, 64), (7, 150, 160)] {
            for domain in [2.0, 1.0, 1.5] {
                let power_of_tv = 2.0 / domain;
                let t = numbers::<T>(k, 3);
                let mut v = numbers::<T>(k * stride, 4);
                let mut power = numbers::<T>(stride, 5);
                power[n_frames..].fill(T::ZERO);
                v.chunks_exact_mut(stride).for_each(|row| row[n_frames..].fill(T::ONE));
                let tv = |j: usize| -> f64 {
                    (0..k).map(|k| t[k].to_double() * v[k * stride + j].to_double()).sum()
                };
                let (mut positive, mut negative) = (vec![T::ONE; stride], vec![T::ONE; stride]);
                let slopes = Slopes {
                    density,
                    power_of_tv,
                    t: &t,
                    v: &v,
                    power: &power,
                    positive: &mut positive,
                    negative: &mut negative,
                    n_frames,
                    cost: true,
                };
                let cost = T::run(simd, slopes);
                let mut weights = vec![T::ZERO; stride];
                let inverse =
                    InverseWeights { density, power_of_tv, t: &t, v: &v, power: &power, out: &mut weights };
                T::run(simd, inverse);
                let mut sum = 0.0;
                for j in 0..stride {
                    if j >= n_frames {
                        assert!(positive[j] == T::ZERO && negative[j] == T::ZERO && weights[j].is_finite());
                        continue;
                    }
                    let (r, p) = (tv(j).powf(power_of_tv), power[j].to_double());
                    let xi = density.weight(r, p);
                    close(positive[j].to_double(), 1.0 / tv(j), tolerance, "pos");
                    close(negative[j].to_double(), p / (tv(j) * xi), tolerance, "neg");
                    close(weights[j].to_double(), 1.0 / xi, tolerance, "weight");
                    sum += density.cost(r, p);
                }
                close(cost, sum, tolerance * n_frames as f64, "cost");
                let again = Cost { density, power_of_tv, t: &t, v: &v, power: &power, n_frames };
                close(T::run(simd, again), sum, tolerance * n_frames as f64, "cost alone");

                let mut rows = vec![ZERO; k];
                let sums = RowSums { v: &v, positive: &positive, negative: &negative, out: &mut rows };
                T::run(simd, sums);
                for (at, row) in rows.iter().enumerate() {
                    let sum = |x: &[T]| -> f64 {
                        (0..n_frames).map(|j| x[j].to_double() * v[at * stride + j].to_double()).sum()
                    };
                    close(row.re, sum(&negative), tolerance * n_frames as f64, "row of neg");
                    close(row.im, sum(&positive), tolerance * n_frames as f64, "row of pos");
                }
            }
        }
    }
}

#[test]
fn slopes_weights_and_costs_are_those_of_the_formulas() {
    low_rank::<f32>(Gauss, 3e-6);
    low_rank::<f64>(Gauss, 1e-13);
    low_rank::<f32>(Student { nu: 1.7 }, 3e-6);
    low_rank::<f64>(Student { nu: 1.7 }, 1e-13);
    low_rank::<f32>(Generalized { shape: 1.3 }, 3e-6);
    low_rank::<f64>(Generalized { shape: 1.3 }, 1e-13);
}

#[test]
fn column_sums_add_all_bins() {
    for simd in SIMD {
        for bins in 1..7 {
            for k in 1..6 {
                let stride = 32;
                let t = numbers::<f64>(bins * k, 6);
                let (pos, neg) = (numbers::<f64>(bins * stride, 7), numbers::<f64>(bins * stride, 8));
                let (mut n, mut p) = (vec![0.5; k * stride], vec![0.25; k * stride]);
                let sums = ColumnSums {
                    t: &t,
                    bins,
                    positive: &pos,
                    negative: &neg,
                    negative_sums: &mut n,
                    positive_sums: &mut p,
                };
                f64::run(simd, sums);
                for at in 0..k {
                    for j in 0..stride {
                        let sum =
                            |x: &[f64]| -> f64 { (0..bins).map(|b| t[b * k + at] * x[b * stride + j]).sum() };
                        close(n[at * stride + j], 0.5 + sum(&neg), 1e-14, "neg");
                        close(p[at * stride + j], 0.25 + sum(&pos), 1e-14, "pos");
                    }
                }
            }
        }
    }
}

#[test]
fn estimates_are_products() {
    use super::estimate::{Estimate, Power};
    for simd in SIMD {
        for m in 1..6 {
            let stride = 48;
            let x = numbers::<f64>(2 * m * stride, 9);
            let row: Vec<C64> =
                numbers::<f64>(2 * m, 10).chunks(2).map(|w| Complex::new(w[0], -w[1])).collect();
            let (mut re, mut im, mut power) = (vec![0.0; stride], vec![0.0; stride], vec![0.0; stride]);
            f64::run(simd, Estimate { x: &x, row: &row, re: &mut re, im: &mut im });
            f64::run(simd, Power { x: &x, row: &row, out: &mut power });
            for j in 0..stride {
                let y: C64 = (0..m)
                    .map(|c| row[c] * C64::new(x[2 * c * stride + j], x[(2 * c + 1) * stride + j]))
                    .sum();
                assert!((y - C64::new(re[j], im[j])).norm() < 1e-13);
                close(power[j], y.norm_sqr(), 1e-13, "power");
            }
        }
    }
}

/// The logarithms of whole registers, summed.
struct Logs<'a, T>(&'a [T]);

impl<T: Vectors> Kernel<T> for Logs<'_, T> {
    type Output = f64;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> f64 {
        unsafe {
            let mut sum = LogSum::<L>::new();
            self.0.chunks_exact(L::N).for_each(|x| sum.add(L::load(x.as_ptr())));
            sum.total()
        }
    }
}

#[test]
fn a_product_of_any_size_has_the_sum_of_the_logarithms() {
    fn check<T: Vectors>(tolerance: f64) {
        for simd in SIMD {
            // far more than the range of a number: 3000 times 1e-18 or 1e18
            for scale in [1e-18, 1.0, 1e18] {
                let x: Vec<T> = numbers::<T>(3008, 11).iter().map(|x| T::of(x.to_double() * scale)).collect();
                let want: f64 = x.iter().map(|x| x.to_double().ln()).sum();
                close(T::run(simd, Logs(&x)), want, tolerance, &format!("{simd} {scale}"));
            }
        }
    }
    check::<f32>(2e-6);
    check::<f64>(1e-13);
}

/// x (num / den)^exponent, one number.
fn plain_step(x: f64, num: f64, den: f64, exponent: f64, floor: f64) -> f64 {
    let ratio = if den > 0.0 { num / den } else { 1.0 };
    (x * ratio.powf(exponent)).max(floor)
}

#[test]
fn steps_are_powers_of_quotients_above_the_floor() {
    fn check<T: Vectors>(tolerance: f64) {
        for simd in SIMD {
            for exponent in [0.5, 1.0, 0.4] {
                for n in [1, 7, 16, 37] {
                    let start = numbers::<T>(48, 12);
                    let (mut num, mut den) = (numbers::<T>(48, 13), numbers::<T>(48, 14));
                    (num[0], num[2]) = (T::of(1e-9), T::of(f64::NAN));
                    (num[3], den[3]) = (T::ZERO, T::ZERO);
                    let (mut x, floor) = (start.clone(), T::of(0.1));
                    T::run(simd, Step { x: &mut x, numerator: &num, denominator: &den, exponent, floor, n });
                    for (j, got) in x.iter().enumerate() {
                        let (x, num, den) = (start[j].to_double(), num[j].to_double(), den[j].to_double());
                        let want = if j < n { plain_step(x, num, den, exponent, 0.1) } else { x };
                        close(got.to_double(), want, tolerance, &format!("{simd} {exponent} {n} {j}"));
                    }
                }
            }
        }
    }
    check::<f32>(1e-6);
    check::<f64>(1e-14);
}

#[test]
fn a_step_of_a_row_is_that_of_its_sums() {
    for simd in SIMD {
        for k in (1..8).chain([15, 16, 17, 35]) {
            let stride = 48;
            let (mut t, v) = (numbers::<f64>(k, 15), numbers::<f64>(k * stride, 16));
            let (positive, negative) = (numbers::<f64>(stride, 17), numbers::<f64>(stride, 18));
            let before = t.clone();
            let step = RowStep {
                t: &mut t,
                v: &v,
                positive: &positive,
                negative: &negative,
                exponent: 0.5,
                floor: 1e-10,
            };
            f64::run(simd, step);
            for (at, (got, x)) in t.iter().zip(before).enumerate() {
                let sum = |g: &[f64]| -> f64 { g.iter().zip(&v[at * stride..]).map(|(g, v)| g * v).sum() };
                close(*got, plain_step(x, sum(&negative), sum(&positive), 0.5, 1e-10), 1e-14, "row");
            }
        }
    }
}

#[test]
fn laplace_costs_are_absolute_values_and_weights_their_inverses() {
    fn check<T: Vectors>(tolerance: f64) {
        for simd in SIMD {
            for n in [16, 48, 160] {
                let mut power = numbers::<T>(n, 19);
                (power[1], power[n - 1]) = (T::ZERO, T::of(1e-6));
                let (mut out, floor) = (vec![T::ZERO; n], T::of(0.1));
                let cost: f64 = power.iter().map(|p| 2.0 * p.to_double().sqrt()).sum();
                close(T::run(simd, LaplaceCost { power: &power }), cost, tolerance, "cost");
                T::run(simd, LaplaceWeights { power: &power, floor, out: &mut out });
                for (p, out) in power.iter().zip(&out) {
                    close(out.to_double(), 1.0 / p.to_double().sqrt().max(0.1), tolerance, "weight");
                }
            }
        }
    }
    check::<f32>(1e-6);
    check::<f64>(1e-14);
}
