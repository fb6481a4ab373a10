//! Source models against finite differences of their cost, against each other in their limits, and one from outside.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use demix_signal::simd::Simd;
use demix_spatial::source::{
    Absorbs, Contrast, Distribution, Laplace, LowRank, SharedLowRank, Spherical, Weights,
};
use demix_spatial::{
    C64, Demixing, LoopSettings, Mixture, Normalization, Pairs, Powers, Scalar, SourceModel, SpatialError,
    Update, determined,
};
use ndarray::{Array2, Array3, Axis};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const BINS: usize = 7;
const FRAMES: usize = 60;

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(rng: &mut ChaCha8Rng) -> C64 {
    let radius = (-(1.0 - uniform(rng)).ln()).sqrt();
    C64::from_polar(radius, std::f64::consts::TAU * uniform(rng))
}

/// N sources with envelopes of their own at N microphones: (bins, channels, frames), and what mixed them (bins,
/// channels, sources).
fn mixed(n: usize, n_bins: usize, n_frames: usize, seed: u64) -> (Array3<C64>, Array3<C64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let envelope = Array2::from_shape_simple_fn((n, n_frames), || uniform(&mut rng).powi(4) + 0.01);
    let rooms = Array3::from_shape_simple_fn((n_bins, n, n), || normal(&mut rng));
    let mut x = Array3::zeros((n_bins, n, n_frames));
    for (mut bin, room) in x.outer_iter_mut().zip(rooms.outer_iter()) {
        for j in 0..n_frames {
            for s in 0..n {
                let y = normal(&mut rng) * envelope[[s, j]];
                (0..n).for_each(|c| bin[[c, j]] += room[[c, s]] * y);
            }
            (0..n).for_each(|c| bin[[c, j]] += normal(&mut rng) * 1e-3);
        }
    }
    (x, rooms)
}

fn mixture(x: &Array3<C64>) -> Mixture<f64> {
    Mixture::new(x.view(), Simd::Native).unwrap()
}

type AnyModel = Box<dyn SourceModel<f64>>;

/// A model that stands still: its weights and its cost, without its step.
struct Still(AnyModel);

impl SourceModel<f64> for Still {
    fn update(&mut self, powers: &Powers<'_, f64>) -> f64 {
        self.0.cost(powers)
    }
    fn cost(&mut self, powers: &Powers<'_, f64>) -> f64 {
        self.0.cost(powers)
    }
    fn weights(&self) -> Weights {
        self.0.weights()
    }
    fn look(&mut self, powers: &Powers<'_, f64>, sources: &[usize]) {
        self.0.look(powers, sources);
    }
    fn inverse_weights(&self, bin: usize, source: usize, power: &[f64], out: &mut [f64]) {
        self.0.inverse_weights(bin, source, power, out);
    }
    fn absorbs(&self) -> Absorbs {
        Absorbs::Nothing
    }
    fn absorb(&mut self, _: usize, _: &[f64]) {}
}

const DENSITIES: [(Distribution, f64); 7] = [
    (Distribution::Gauss, 2.0),
    (Distribution::Gauss, 0.7),
    (Distribution::Student(1.5), 2.0),
    (Distribution::Student(4.0), 1.0),
    (Distribution::Generalized(0.8), 2.0),
    (Distribution::Generalized(1.5), 1.0),
    (Distribution::Generalized(1.2), 3.0),
];

/// Every model of N sources, with its name: the same at every call.
fn models(n: usize) -> Vec<(String, AnyModel)> {
    let shape = (n, BINS, FRAMES);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut all: Vec<(String, AnyModel)> = vec![("fdica".into(), Box::new(Laplace::default()))];
    for contrast in [Contrast::Laplace, Contrast::Gauss, Contrast::Student(0.5), Contrast::Student(20.0)] {
        all.push((format!("iva {contrast:?}"), Box::new(Spherical::new(contrast))));
    }
    for (distribution, domain) in DENSITIES {
        let name = format!("{distribution:?}, domain {domain}");
        let own = LowRank::random(shape, 2, distribution, domain, &mut rng);
        all.push((name.clone(), Box::new(own)));
        let shared = SharedLowRank::random(shape, 5, distribution, domain, &mut rng);
        all.push((format!("shared {name}"), Box::new(shared)));
    }
    all
}

/// The cost of a model as it stands, of W in the coordinates of the microphones.
fn cost(mixture: &Mixture<f64>, model: &mut dyn SourceModel<f64>, w: &Array3<C64>) -> f64 {
    let mut demixing = Demixing::given(mixture, w).unwrap();
    let settings =
        LoopSettings { iterations: 0, normalization: Normalization::None, ..LoopSettings::default() };
    let update = Update::Ip1.build(Pairs::All, 0.1);
    determined::run(mixture, model, &*update, &settings, None, &mut demixing, &mut ()).unwrap().cost[0]
}

/// W after so many steps of an update from a start.
fn steps(
    mixture: &Mixture<f64>,
    model: &mut dyn SourceModel<f64>,
    (update, step): (Update, f64),
    iterations: usize,
    start: &Array3<C64>,
) -> Array3<C64> {
    let mut demixing = Demixing::given(mixture, start).unwrap();
    let settings = LoopSettings { iterations, normalization: Normalization::None, ..LoopSettings::default() };
    let update = update.build(Pairs::All, step);
    determined::run(mixture, model, &*update, &settings, None, &mut demixing, &mut ()).unwrap();
    demixing.matrices(mixture)
}

#[test]
fn the_natural_gradient_is_that_of_the_cost_of_every_model() {
    let n = 2;
    let (x, _) = mixed(n, BINS, FRAMES, 1);
    let mixture = mixture(&x);
    // no point of rest, and no identity
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let start = Array3::from_shape_simple_fn((BINS, n, n), || normal(&mut rng));
    const STEP: f64 = 1e-3;
    for (name, model) in models(n) {
        let mut still = Still(model);
        let end = steps(&mixture, &mut still, (Update::NaturalGradient, STEP), 1, &start);
        for bin in [0, 4] {
            // rows of (1 + epsilon e_nm) W: the cost changes by 2 J Re(epsilon conj(R_nm - delta_nm))
            let mut slope = |a: usize, b: usize, direction: C64| {
                let mut moved = |h: f64| {
                    let mut w = start.clone();
                    (0..n).for_each(|c| w[[bin, a, c]] += direction * h * start[[bin, b, c]]);
                    cost(&mixture, &mut still, &w)
                };
                (moved(1e-5) - moved(-1e-5)) / 2e-5 / (2.0 * FRAMES as f64)
            };
            let mut numeric = Array2::<C64>::zeros((n, n));
            for a in 0..n {
                for b in 0..n {
                    let i = C64::new(0.0, 1.0);
                    numeric[[a, b]] = C64::new(slope(a, b, C64::new(1.0, 0.0)), slope(a, b, i));
                }
            }
            // W after the step is (1 - mu (R - 1)) W, with a mu that is shorter far from rest
            let size = numeric.iter().map(|r| r.norm_sqr()).sum::<f64>().sqrt();
            let mu = STEP / size.max(1.0);
            for a in 0..n {
                for c in 0..n {
                    let step: C64 = (0..n).map(|b| numeric[[a, b]] * start[[bin, b, c]]).sum();
                    let wanted = start[[bin, a, c]] - step * mu;
                    let error = (end[[bin, a, c]] - wanted).norm() / (mu * size);
                    assert!(error < 1e-5, "{name}, bin {bin}: {error:.1e}");
                }
            }
        }
    }
}

#[test]
fn the_steps_of_the_shared_dictionary_are_those_of_the_gradient_of_the_cost() {
    let (n, k) = (2, 4);
    let (x, _) = mixed(n, BINS, FRAMES, 3);
    let mixture = mixture(&x);
    let demixing = Demixing::identity(&mixture, n).unwrap();
    let powers = Powers::new(&mixture, &demixing);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for (distribution, domain) in DENSITIES {
        let case = format!("{distribution:?}, domain {domain}");
        let start = SharedLowRank::<f64>::random((n, BINS, FRAMES), k, distribution, domain, &mut rng);
        let mut end = start.clone();
        end.update(&powers);
        let (z, t, v) = (start.partition().clone(), start.dictionary(), start.activations());
        let (z_end, t_end, v_end) = (end.partition().clone(), end.dictionary(), end.activations());
        let cost = |z: &Array2<f64>, t: &Array2<f64>, v: &Array2<f64>| {
            // columns of Z need not sum to one for the cost
            SharedLowRank::<f64>::given(z, t, v, distribution, domain).unwrap().cost(&powers)
        };
        // a factor f takes f (neg / pos)^g where the slope of the cost is (2 / domain) (pos - neg)
        let ratio =
            |slope: f64, pos: f64| (1.0 - domain / 2.0 * slope / pos).powf(distribution.exponent(domain));
        // of five points: some factors are small beside the cost's rounding, so steps must be long
        let slope = |f: &dyn Fn(f64) -> f64, at: f64| {
            let h = 3e-3 * at;
            (8.0 * (f(h) - f(-h)) - f(2.0 * h) + f(-2.0 * h)) / (12.0 * h)
        };
        let tv = |z: &Array2<f64>, t: &Array2<f64>, v: &Array2<f64>, s: usize, i: usize, j: usize| -> f64 {
            (0..k).map(|k| z[[s, k]] * t[[i, k]] * v[[k, j]]).sum()
        };
        for (at, bin, frame) in [(0, 0, 3), (1, 4, 20), (3, BINS - 1, FRAMES - 1)] {
            // Z: columns are scaled to sum to one, so their ratio tells
            let of_source = |s: usize| {
                let moved = |h: f64| {
                    let mut z = z.clone();
                    z[[s, at]] += h;
                    cost(&z, &t, &v)
                };
                let slots = (0..BINS).flat_map(|i| (0..FRAMES).map(move |j| (i, j)));
                let pos: f64 = slots.map(|(i, j)| t[[i, at]] * v[[at, j]] / tv(&z, &t, &v, s, i, j)).sum();
                z[[s, at]] * ratio(slope(&moved, z[[s, at]]), pos)
            };
            let (one, other) = (of_source(0), of_source(1));
            let wanted = one / (one + other);
            assert!((z_end[[0, at]] - wanted).abs() < 1e-7, "{case}: z {} {wanted}", z_end[[0, at]]);
            // T, with the new Z
            let moved = |h: f64| {
                let mut t = t.clone();
                t[[bin, at]] += h;
                cost(&z_end, &t, &v)
            };
            let slots = (0..n).flat_map(|s| (0..FRAMES).map(move |j| (s, j)));
            let pos: f64 =
                slots.map(|(s, j)| z_end[[s, at]] * v[[at, j]] / tv(&z_end, &t, &v, s, bin, j)).sum();
            let wanted = t[[bin, at]] * ratio(slope(&moved, t[[bin, at]]), pos);
            let got = t_end[[bin, at]];
            assert!((got - wanted).abs() < 1e-5 * wanted, "{case}: t {got} {wanted}");
            // V, with the new Z and T
            let moved = |h: f64| {
                let mut v = v.clone();
                v[[at, frame]] += h;
                cost(&z_end, &t_end, &v)
            };
            let slots = (0..n).flat_map(|s| (0..BINS).map(move |i| (s, i)));
            let pos: f64 = slots
                .map(|(s, i)| z_end[[s, at]] * t_end[[i, at]] / tv(&z_end, &t_end, &v, s, i, frame))
                .sum();
            let wanted = v[[at, frame]] * ratio(slope(&moved, v[[at, frame]]), pos);
            let got = v_end[[at, frame]];
            assert!((got - wanted).abs() < 1e-5 * wanted, "{case}: v {got} {wanted}");
        }
    }
}

/// |a - b| over the peak of b.
fn distance(a: &Array3<C64>, b: &Array3<C64>) -> f64 {
    let peak = b.iter().fold(0.0f64, |p, x| p.max(x.norm()));
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).norm() / peak))
}

/// W after ten steps of IP1 with the model, from W = 1.
fn ten_steps(x: &Array3<C64>, model: &mut dyn SourceModel<f64>) -> Array3<C64> {
    steps_from_one(x, model, 10)
}

fn steps_from_one(x: &Array3<C64>, model: &mut dyn SourceModel<f64>, iterations: usize) -> Array3<C64> {
    let mixture = mixture(x);
    let start = Demixing::identity(&mixture, x.len_of(Axis(1))).unwrap().matrices(&mixture);
    steps(&mixture, model, (Update::Ip1, 0.1), iterations, &start)
}

#[test]
fn a_partition_that_shares_nothing_is_a_dictionary_for_each_source() {
    let (n, k) = (2, 3);
    let (x, _) = mixed(n, BINS, FRAMES, 5);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    for (distribution, domain) in DENSITIES {
        let mut own = LowRank::<f64>::random((n, BINS, FRAMES), k, distribution, domain, &mut rng);
        let (t, v) = (own.dictionary(), own.activations());
        // a share of 0 becomes the smallest factor, 1e-10
        let z = Array2::from_shape_fn((n, n * k), |(s, at)| if at / k == s { 1.0 } else { 0.0 });
        let all_t = Array2::from_shape_fn((BINS, n * k), |(i, at)| t[[at / k, i, at % k]]);
        let all_v = Array2::from_shape_fn((n * k, FRAMES), |(at, j)| v[[at / k, at % k, j]]);
        let mut shared = SharedLowRank::<f64>::given(&z, &all_t, &all_v, distribution, domain).unwrap();
        // later, the smallest factors have told
        let error = distance(&steps_from_one(&x, &mut shared, 3), &steps_from_one(&x, &mut own, 3));
        assert!(error < 1e-7, "{distribution:?}, {domain}: {error:.1e}");
    }
}

#[test]
fn the_shared_dictionary_has_the_gaussian_as_its_limit() {
    let (x, _) = mixed(2, BINS, FRAMES, 8);
    for domain in [2.0, 1.0] {
        let of = |distribution| {
            let mut rng = ChaCha8Rng::seed_from_u64(9);
            let shape = (2, BINS, FRAMES);
            let mut model = SharedLowRank::<f64>::random(shape, 5, distribution, domain, &mut rng);
            ten_steps(&x, &mut model)
        };
        let gauss = of(Distribution::Gauss);
        assert!(distance(&of(Distribution::Student(1e12)), &gauss) < 1e-7, "{domain}");
        assert!(distance(&of(Distribution::Student(f64::INFINITY)), &gauss) == 0.0, "{domain}");
        assert!(distance(&of(Distribution::Generalized(2.0 - 1e-10)), &gauss) < 1e-6, "{domain}");
        assert!(distance(&of(Distribution::Student(1.0)), &gauss) > 1e-2, "{domain}");
        assert!(distance(&of(Distribution::Generalized(1.0)), &gauss) > 1e-2, "{domain}");
    }
}

#[test]
fn a_t_density_of_all_bins_lies_between_changing_and_constant_variance() {
    let (x, _) = mixed(3, BINS, FRAMES, 10);
    let of = |contrast| ten_steps(&x, &mut Spherical::new(contrast));
    // xi = (nu + 2 norm^2) / (nu + 2 I): norm^2 / I for few degrees of freedom
    let changing = of(Contrast::Gauss);
    assert!(distance(&of(Contrast::Student(1e-10)), &changing) < 1e-7);
    assert!(distance(&of(Contrast::Student(1.0)), &changing) > 1e-3);
    // 1 for many: stationary Gaussian sources, of which W only makes uncorrelated ones of power 1
    let w = of(Contrast::Student(1e12));
    let mixture = mixture(&x);
    let y = Demixing::given(&mixture, &w).unwrap().estimates(&mixture);
    for bin in 0..BINS {
        for a in 0..3 {
            for b in 0..3 {
                let mean: C64 =
                    (0..FRAMES).map(|j| y[[a, bin, j]] * y[[b, bin, j]].conj()).sum::<C64>() / FRAMES as f64;
                let wanted = if a == b { 1.0 } else { 0.0 };
                assert!((mean - wanted).norm() < 1e-8, "{a} {b}: {mean}");
            }
        }
    }
}

#[test]
fn gains_that_a_model_absorbs_leave_its_cost_as_it_was() {
    let n = 2;
    let (x, _) = mixed(n, BINS, FRAMES, 11);
    let mixture = mixture(&x);
    let w = Demixing::identity(&mixture, n).unwrap().matrices(&mixture);
    for (name, mut model) in models(n) {
        let gains: Vec<f64> = match model.absorbs() {
            Absorbs::Nothing => continue,
            Absorbs::PerSource => vec![0.3],
            Absorbs::PerBin => (0..BINS).map(|bin| 0.1 + bin as f64).collect(),
        };
        let before = cost(&mixture, &mut *model, &w);
        let mut scaled = w.clone();
        for bin in 0..BINS {
            let gain = gains[if gains.len() == 1 { 0 } else { bin }].sqrt();
            (0..n).for_each(|c| scaled[[bin, 1, c]] *= gain);
        }
        model.absorb(1, &gains);
        let after = cost(&mixture, &mut *model, &scaled);
        assert!((after - before).abs() < 1e-9 * (BINS * FRAMES) as f64, "{name}: {before} {after}");
    }
}

/// What of the other sources is left in the outputs, in dB re what is meant, in the best order of each bin's outputs that
/// is the same for all bins (`rooms` mixed the sources).
fn interference(w: &Array3<C64>, rooms: &Array3<C64>) -> f64 {
    assert_eq!(w.dim().1, 2);
    let of = |order: [usize; 2]| {
        let (mut meant, mut rest) = (0.0, 0.0);
        for (w, room) in w.outer_iter().zip(rooms.outer_iter()) {
            let through = w.dot(&room);
            for output in 0..2 {
                let total = through.row(output).iter().map(|a| a.norm_sqr()).sum::<f64>();
                let own = through[[output, order[output]]].norm_sqr() / total;
                meant += own;
                rest += 1.0 - own;
            }
        }
        10.0 * (rest / meant).log10()
    };
    of([0, 1]).min(of([1, 0]))
}

#[test]
fn the_natural_gradient_separates() {
    let (x, rooms) = mixed(2, 12, 200, 12);
    let mixture = mixture(&x);
    let start = Demixing::identity(&mixture, 2).unwrap().matrices(&mixture);
    let before = interference(&start, &rooms);
    let after = |update, iterations| {
        let mut model = Spherical::new(Contrast::Laplace);
        interference(&steps(&mixture, &mut model, update, iterations, &start), &rooms)
    };
    let (projected, gradient) = (after((Update::Ip1, 0.1), 60), after((Update::NaturalGradient, 0.1), 600));
    assert!(before > -6.0, "{before}");
    assert!(gradient < -30.0 && projected < -30.0, "{before} {gradient} {projected}");
    // a tenth of the step needs ten times the steps
    let slow = after((Update::NaturalGradient, 0.01), 60);
    assert!(slow > gradient + 3.0, "{slow} {gradient}");
}

/// A model from outside: the bins of a band sound together, r_ijn = mean of |y|^2 over its band.
struct Bands {
    /// The first bin of every band.
    first: Vec<usize>,
    n_bins: usize,
    /// 1 / r, (sources, bands, stride).
    inverse: Vec<f64>,
    stride: usize,
    /// Looks until the next is refused.
    looks_left: usize,
}

impl Bands {
    fn new(first: Vec<usize>) -> Self {
        Self { first, n_bins: 0, inverse: Vec::new(), stride: 0, looks_left: usize::MAX }
    }

    fn bins(&self, band: usize) -> std::ops::Range<usize> {
        self.first[band]..self.first.get(band + 1).copied().unwrap_or(self.n_bins)
    }
}

impl<T: Scalar> SourceModel<T> for Bands {
    fn refresh(&mut self, _: &Powers<'_, T>) -> Result<(), SpatialError> {
        let left = self.looks_left.checked_sub(1);
        self.looks_left = left.ok_or_else(|| SpatialError::Network("the bands have looked enough".into()))?;
        Ok(())
    }

    fn update(&mut self, powers: &Powers<'_, T>) -> f64 {
        self.cost(powers)
    }

    fn cost(&mut self, powers: &Powers<'_, T>) -> f64 {
        (self.n_bins, self.stride) = (powers.n_bins(), powers.stride());
        let (bands, n) = (self.first.len(), powers.n_sources());
        self.inverse.resize(n * bands * self.stride, 0.0);
        let mut cost = 0.0;
        let mut power = vec![T::of(0.0); self.stride];
        for source in 0..n {
            for band in 0..bands {
                let bins = self.bins(band);
                let size = bins.len() as f64;
                let mut r = vec![0.0; self.stride];
                for bin in bins {
                    powers.fill(bin, source, &mut power);
                    r.iter_mut().zip(&power).for_each(|(r, p)| *r += p.to_double() / size);
                }
                for (j, r) in r.into_iter().enumerate() {
                    let r = r.max(1e-10);
                    self.inverse[(source * bands + band) * self.stride + j] = 1.0 / r;
                    if j < powers.n_frames() {
                        // sum over the band of log r + P / r
                        cost += size * (r.ln() + 1.0);
                    }
                }
            }
        }
        cost
    }

    fn weights(&self) -> Weights {
        Weights::Tied
    }

    fn look(&mut self, powers: &Powers<'_, T>, _: &[usize]) {
        self.cost(powers);
    }

    fn inverse_weights(&self, bin: usize, source: usize, _: &[T], out: &mut [T]) {
        let band = self.first.partition_point(|first| *first <= bin) - 1;
        let at = (source * self.first.len() + band) * self.stride;
        out.iter_mut().zip(&self.inverse[at..]).for_each(|(out, inverse)| *out = T::of(*inverse));
    }

    fn absorbs(&self) -> Absorbs {
        Absorbs::Nothing
    }

    fn absorb(&mut self, _: usize, _: &[f64]) {}
}

#[test]
fn a_model_from_outside_is_as_good_as_one_from_here() {
    let (x, rooms) = mixed(2, BINS, 200, 13);
    // one band of all bins is IVA with the Gaussian contrast
    for update in [Update::Ip1, Update::Ip2, Update::Iss1] {
        let mixture = mixture(&x);
        let start = Demixing::identity(&mixture, 2).unwrap().matrices(&mixture);
        let mut own = Bands::new(vec![0]);
        let of_own = steps(&mixture, &mut own, (update, 0.1), 10, &start);
        let mut iva = Spherical::new(Contrast::Gauss);
        let of_iva = steps(&mixture, &mut iva, (update, 0.1), 10, &start);
        assert!(distance(&of_own, &of_iva) < 1e-9, "{update}: {:.1e}", distance(&of_own, &of_iva));
    }
    // two bands: each is separated, and the cost falls
    let mixture = mixture(&x);
    let mut model = Bands::new(vec![0, 3]);
    let mut demixing = Demixing::identity(&mixture, 2).unwrap();
    let update = Update::Ip1.build(Pairs::All, 0.1);
    let settings = LoopSettings { iterations: 60, ..LoopSettings::default() };
    let descent =
        determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ()).unwrap();
    assert!(descent.cost.windows(2).all(|pair| pair[1] < pair[0] + 1e-6), "{:?}", descent.cost);
    let w = demixing.matrices(&mixture);
    let band = |bins: std::ops::Range<usize>| {
        let bins = ndarray::Slice::from(bins);
        interference(&w.slice_axis(Axis(0), bins).to_owned(), &rooms.slice_axis(Axis(0), bins).to_owned())
    };
    assert!(band(0..3) < -12.0 && band(3..BINS) < -12.0, "{} {}", band(0..3), band(3..BINS));
}

#[test]
fn what_a_model_from_outside_refuses_ends_the_loop_with_its_words() {
    let (x, _) = mixed(2, BINS, FRAMES, 14);
    let mixture = Mixture::<f32>::new(x.view(), Simd::Native).unwrap();
    let mut model = Bands { looks_left: 2, ..Bands::new(vec![0, 3]) };
    let mut demixing = Demixing::identity(&mixture, 2).unwrap();
    let update = Update::Ip1.build(Pairs::All, 0.1);
    let settings = LoopSettings { iterations: 10, inner: 4, ..LoopSettings::default() };
    let error = determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ());
    // at the start, after 4 and after 8 steps
    assert_eq!(error.unwrap_err().to_string(), "the bands have looked enough");
    let mut model = Bands { looks_left: 3, ..Bands::new(vec![0, 3]) };
    determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ()).unwrap();
    assert_eq!(model.looks_left, 0);
}
