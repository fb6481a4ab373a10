//! The product of priors: its limits, its gradients, its marginal by integration, and the loop with it.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::sync::Arc;

use demix_signal::simd::Simd;
use demix_spatial::source::{
    Distribution, Experts, Factors, LowRank, PowerEstimate, PowerEstimator, Product, ProductOfPriors,
    ProductSettings,
};
use demix_spatial::{
    Blind, C64, DemixSettings, Demixing, DescentSettings, Guided, GuidedSettings, Input, Known, LookSettings,
    LoopSettings, Mixture, Model, Normalization, Pairs, Powers, SourceModel, SpatialError, Start, Update,
    Way, determined,
};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const BINS: usize = 9;
const FRAMES: usize = 70;
const K: usize = 3;

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(rng: &mut ChaCha8Rng) -> C64 {
    let radius = (-(1.0 - uniform(rng)).ln()).sqrt();
    C64::from_polar(radius, std::f64::consts::TAU * uniform(rng))
}

/// Sources of changing envelopes and spectra, (bins, sources, frames), and their mixture (bins, channels, frames).
fn scene(n: usize, m: usize, seed: u64) -> (Array3<C64>, Array3<C64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let envelope = Array2::from_shape_simple_fn((n, FRAMES), || uniform(&mut rng).powi(4) + 0.01);
    let spectrum = Array2::from_shape_simple_fn((n, BINS), || uniform(&mut rng).powi(2) + 0.01);
    let (mut s, mut x) = (Array3::zeros((BINS, n, FRAMES)), Array3::zeros((BINS, m, FRAMES)));
    for bin in 0..BINS {
        let a = Array2::from_shape_simple_fn((m, n), || normal(&mut rng));
        for j in 0..FRAMES {
            for source in 0..n {
                s[[bin, source, j]] = normal(&mut rng) * envelope[[source, j]] * spectrum[[source, bin]];
                for c in 0..m {
                    x[[bin, c, j]] += a[[c, source]] * s[[bin, source, j]];
                }
            }
            for c in 0..m {
                x[[bin, c, j]] += normal(&mut rng) * 1e-4;
            }
        }
    }
    (s, x)
}

/// Stands for a network: smooths |y|^2 over neighbouring frames, and is surer where it is loud.
struct Smooth {
    /// Scale of r.
    gain: f32,
    /// nu of a loud slot, where the network gives it.
    dof: Option<f32>,
}

impl PowerEstimator for Smooth {
    fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        let mean = magnitude.mean().unwrap();
        let variance = Array2::from_shape_fn(magnitude.dim(), |(i, j)| {
            let last = magnitude.ncols() - 1;
            let around = [j.saturating_sub(1), j, (j + 1).min(last)];
            self.gain * around.iter().map(|&j| magnitude[[i, j]].powi(2)).sum::<f32>() / 3.0
        });
        let dof = self.dof.map(|nu| magnitude.mapv(|y| if y > mean { nu } else { nu / 3.0 }));
        Ok(PowerEstimate { variance, dof, expected: None })
    }
}

/// Knows the source.
struct Oracle(Array2<f32>);

impl PowerEstimator for Oracle {
    fn estimate(&self, _: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        Ok(PowerEstimate::from(self.0.clone()))
    }
}

fn network(gain: f32, dof: Option<f32>) -> Vec<Arc<dyn PowerEstimator>> {
    vec![Arc::new(Smooth { gain, dof })]
}

const GAUSS: Product = Product::Gauss { eta: 0.3 };

fn settings(product: Product) -> ProductSettings {
    ProductSettings { product, variance_floor: 1e-2, rescale_model: true }
}

/// The same random factors for every call.
fn factors(n: usize, scale: f64) -> Vec<Factors> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut factors: Vec<Factors> =
        (0..n).map(|_| Factors::random((BINS, FRAMES), K, None, &mut rng)).collect();
    factors.iter_mut().for_each(|f| f.dictionary *= scale);
    factors
}

fn product(
    n: usize,
    scale: f64,
    network: Option<(f32, Option<f32>)>,
    low_rank: bool,
    settings: ProductSettings,
) -> ProductOfPriors<f64> {
    let experts = factors(n, scale).into_iter().map(|factors| Experts {
        low_rank: low_rank.then_some(factors),
        networks: network.map_or(vec![], |(gain, dof)| self::network(gain, dof)),
    });
    ProductOfPriors::new((BINS, FRAMES), experts.collect(), settings).unwrap()
}

/// ILRMA from the same factors.
fn low_rank(n: usize, scale: f64, distribution: Distribution) -> LowRank<f64> {
    let factors = factors(n, scale);
    let t = Array3::from_shape_fn((n, BINS, K), |(n, i, k)| factors[n].dictionary[[i, k]]);
    let v = Array3::from_shape_fn((n, K, FRAMES), |(n, k, j)| factors[n].activations[[k, j]]);
    LowRank::given(&t, &v, distribution, 2.0).unwrap()
}

fn loops(iterations: usize, inner: usize) -> LoopSettings {
    LoopSettings {
        iterations,
        inner,
        normalization: Normalization::ProjectionBack,
        ..LoopSettings::default()
    }
}

/// The demixing matrices and the cost after some iterations.
fn demix(
    x: &Array3<C64>,
    n: usize,
    model: &mut dyn SourceModel<f64>,
    loops: &LoopSettings,
) -> (Array3<C64>, Vec<f64>) {
    let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
    let mut demixing = Demixing::identity(&mixture, n).unwrap();
    let update = Update::Ip1.build(Pairs::Neighbours, 0.1);
    let descent = determined::run(&mixture, model, &*update, loops, None, &mut demixing, &mut ()).unwrap();
    (demixing.matrices(&mixture), descent.cost)
}

/// The largest difference, relative to the largest number.
fn distance(a: &Array3<C64>, b: &Array3<C64>) -> f64 {
    let largest = a.iter().map(|a| a.norm()).fold(0.0, f64::max);
    a.iter().zip(b).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max) / largest
}

#[test]
fn the_whole_share_is_ilrma_and_none_is_idlma() {
    let (_, x) = scene(2, 2, 1);
    let loops = loops(20, 5);
    let (ilrma, cost) = demix(&x, 2, &mut low_rank(2, 1.0, Distribution::Gauss), &loops);
    let whole = Product::Gauss { eta: 1.0 };
    let (w, also) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, settings(whole)), &loops);
    assert!(distance(&ilrma, &w) < 1e-9, "{}", distance(&ilrma, &w));
    assert!((cost[20] - also[20]).abs() < 1e-9 * cost[20].abs());

    let (idlma, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), false, settings(GAUSS)), &loops);
    let none = Product::Gauss { eta: 0.0 };
    let (w, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, settings(none)), &loops);
    assert!(distance(&idlma, &w) < 1e-12);
    // and they are three methods
    let (both, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, settings(GAUSS)), &loops);
    assert!(distance(&ilrma, &both) > 1e-3 && distance(&idlma, &both) > 1e-3);
}

#[test]
fn many_degrees_of_freedom_are_gaussian() {
    let (_, x) = scene(2, 2, 2);
    let loops = loops(10, 5);
    let (gauss, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), false, settings(GAUSS)), &loops);
    let many = settings(Product::Student { low_rank: 1e12, network: 1e12 });
    let (t, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), false, many), &loops);
    assert!(distance(&gauss, &t) < 1e-8, "{}", distance(&gauss, &t));
    // nu_NMF = nu_DNN -> inf: G-PoP with eta = 1/2
    let half = settings(Product::Gauss { eta: 0.5 });
    let (gauss, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, half), &loops);
    let (t, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, many), &loops);
    assert!(distance(&gauss, &t) < 1e-8, "{}", distance(&gauss, &t));
}

#[test]
fn an_expert_that_knows_nothing_leaves_the_other_with_two_degrees_more() {
    let (_, x) = scene(2, 2, 3);
    let loops = loops(12, 4);
    // nu_DNN -> 0: t-ILRMA with nu_N + 2 from T nu_N / (nu_N + 2)
    let nu = 5.0;
    let silent = settings(Product::Student { low_rank: nu, network: 1e-12 });
    let (w, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, silent), &loops);
    let mut alone = low_rank(2, nu / (nu + 2.0), Distribution::Student(nu + 2.0));
    let (t_ilrma, _) = demix(&x, 2, &mut alone, &loops);
    assert!(distance(&t_ilrma, &w) < 1e-8, "{}", distance(&t_ilrma, &w));
    // nu_NMF -> 0: t-IDLMA with nu_D + 2 and r_DNN nu_D / (nu_D + 2), at every refresh
    let weak = settings(Product::Student { low_rank: 1e-12, network: nu });
    let (w, _) = demix(&x, 2, &mut product(2, 1.0, Some((1.0, None)), true, weak), &loops);
    let floor = settings(Product::Student { low_rank: 1.0, network: nu + 2.0 });
    let scaled = ProductSettings { variance_floor: 1e-2 * nu / (nu + 2.0), ..floor };
    let gain = (nu / (nu + 2.0)) as f32;
    let (t_idlma, _) = demix(&x, 2, &mut product(2, 1.0, Some((gain, None)), false, scaled), &loops);
    // the network answers in single precision
    assert!(distance(&t_idlma, &w) < 1e-5, "{}", distance(&t_idlma, &w));
}

/// Equations (26) to (30): the marginal of a Gaussian whose variance has the product of two inverse gamma priors.
#[test]
fn the_product_of_two_inverse_gammas_makes_the_t_of_the_model() {
    let (nu_nmf, r_nmf, nu_dnn, r_dnn) = (3.0, 0.7, 6.0f64, 2.5);
    let inverse_gamma = |r: f64, nu: f64, scale: f64| {
        // alpha = nu / 2, beta = alpha r~, without the constant                                     (24), (31)
        r.powf(-nu / 2.0 - 1.0) * (-nu / 2.0 * scale / r).exp()
    };
    // trapezoids over log r
    let integral = |f: &dyn Fn(f64) -> f64| -> f64 {
        let step = 1e-3;
        (-15_000..15_000).map(|k| (k as f64 * step).exp()).map(|r| f(r) * r * step).sum()
    };
    let prior = |r: f64| inverse_gamma(r, nu_nmf, r_nmf) * inverse_gamma(r, nu_dnn, r_dnn); // (22)
    let constant = integral(&prior);
    let marginal = |power: f64| {
        integral(&|r| prior(r) / constant * (-power / r).exp() / (std::f64::consts::PI * r)) // (28)
    };
    // the model's cost for |y|^2 = P in every slot, with T V = r_nmf: its differences are those of -log p
    let cost = |power: f64| {
        let x = Array3::from_elem((BINS, 1, FRAMES), C64::new(power.sqrt(), 0.0));
        let mixture = Mixture::<f64>::with_level(x.view(), 1.0, Simd::Native).unwrap();
        let demixing = Demixing::identity(&mixture, 1).unwrap();
        let factors = Factors {
            dictionary: Array2::from_elem((BINS, 1), r_nmf),
            activations: Array2::from_elem((1, FRAMES), 1.0),
            learned: 0,
        };
        struct Known(f32);
        impl PowerEstimator for Known {
            fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
                Ok(PowerEstimate::from(Array2::from_elem(magnitude.dim(), self.0)))
            }
        }
        let experts = Experts { low_rank: Some(factors), networks: vec![Arc::new(Known(r_dnn as f32))] };
        let student = Product::Student { low_rank: nu_nmf, network: nu_dnn };
        let settings = ProductSettings { variance_floor: 0.0, ..settings(student) };
        let mut model = ProductOfPriors::<f64>::new((BINS, FRAMES), vec![experts], settings).unwrap();
        let powers = Powers::new(&mixture, &demixing);
        model.refresh(&powers).unwrap();
        model.cost(&powers) / (BINS * FRAMES) as f64
    };
    for power in [0.01, 0.3, 2.0, 40.0f64] {
        let (by_model, by_integral) = (cost(power), -(marginal(power) * std::f64::consts::PI).ln());
        assert!((by_model - by_integral).abs() < 1e-6, "{power}: {by_model} {by_integral}");
    }
}

/// Five products with two kinds of network, and learned columns in the second source.
fn products(n: usize) -> Vec<(String, ProductOfPriors<f64>)> {
    let student = Product::Student { low_rank: 4.0, network: 7.0 };
    let mut all = Vec::new();
    for (name, of, dof, low_rank) in [
        ("g-pop", GAUSS, None, true),
        ("g-pop, small eta", Product::Gauss { eta: 1e-6 }, None, true),
        ("t-pop", student, None, true),
        ("t-pop, nu of the network", student, Some(20.0), true),
        ("idlma", GAUSS, None, false),
        ("eb-idlma", student, Some(20.0), false),
    ] {
        all.push((name.to_string(), product(n, 1.0, Some((0.8, dof)), low_rank, settings(of))));
    }
    // one source blind, one with two networks and a dictionary
    for of in [GAUSS, student] {
        let mut parts = factors(n, 1.0);
        parts[n - 1].learned = 2;
        let experts = parts.into_iter().enumerate().map(|(n, factors)| Experts {
            low_rank: Some(factors),
            networks: if n == 0 { vec![] } else { [network(0.5, None), network(1.5, Some(9.0))].concat() },
        });
        let model = ProductOfPriors::new((BINS, FRAMES), experts.collect(), settings(of)).unwrap();
        all.push((format!("mixed experts, {of:?}"), model));
    }
    all
}

#[test]
fn steps_of_the_factors_are_those_of_the_gradient_of_the_cost() {
    let (_, x) = scene(2, 2, 4);
    let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
    let demixing = Demixing::identity(&mixture, 2).unwrap();
    let powers = Powers::new(&mixture, &demixing);
    let student = Product::Student { low_rank: 4.0, network: 7.0 };
    for (of, dof) in [(GAUSS, None), (student, None), (student, Some(20.0))] {
        let build = |change: &dyn Fn(&mut Vec<Factors>)| {
            let mut parts = factors(2, 1.0);
            change(&mut parts);
            let experts = parts
                .into_iter()
                .map(|factors| Experts { low_rank: Some(factors), networks: network(0.8, dof) });
            let mut model =
                ProductOfPriors::<f64>::new((BINS, FRAMES), experts.collect(), settings(of)).unwrap();
            model.refresh(&powers).unwrap();
            model
        };
        let before = build(&|_| {});
        let mut after = build(&|_| {});
        after.update(&powers);
        for (source, bin, k, j) in [(0, 0, 0, 3), (1, 4, 2, 69), (0, 8, 1, 31)] {
            let t = before.dictionary(source).unwrap();
            let numeric = |along_t: bool| {
                let cost = |h: f64| {
                    build(&|parts| {
                        // V moves after T has
                        if along_t {
                            parts[source].dictionary[[bin, k]] *= 1.0 + h;
                        } else {
                            (0..2).for_each(|n| parts[n].dictionary = after.dictionary(n).unwrap());
                            parts[source].activations[[k, j]] *= 1.0 + h;
                        }
                    })
                    .cost(&powers)
                };
                (cost(1e-5) - cost(-1e-5)) / 2e-5
            };
            // x_new = x (neg / pos)^(1/2) and x dC/dx = x (pos - neg) = x pos (1 - (x_new / x)^2)
            let variance = before.variance(source);
            let share = |i: usize, j: usize, model: &ProductOfPriors<f64>| -> f64 {
                // a = d r / d (T V), by a change of V of everything
                let tv: f64 = (0..K)
                    .map(|k| {
                        model.dictionary(source).unwrap()[[i, k]] * model.activations(source).unwrap()[[k, j]]
                    })
                    .sum();
                let given = build(&|parts| parts[source].dictionary.fill(0.0)).variance(source)[[i, j]];
                (model.variance(source)[[i, j]] - given) / tv
            };
            let v = before.activations(source).unwrap();
            let positive: f64 = (0..FRAMES)
                .map(|j| t[[bin, k]] * v[[k, j]] * share(bin, j, &before) / variance[[bin, j]])
                .sum();
            let ratio = after.dictionary(source).unwrap()[[bin, k]] / t[[bin, k]];
            let (slope, by_step) = (numeric(true), positive * (1.0 - ratio * ratio));
            assert!((slope - by_step).abs() < 1e-6 * positive, "T, {of:?}: {slope} {by_step}");

            let moved =
                build(&|parts| (0..2).for_each(|n| parts[n].dictionary = after.dictionary(n).unwrap()));
            let (t, variance) = (moved.dictionary(source).unwrap(), moved.variance(source));
            let positive: f64 =
                (0..BINS).map(|i| t[[i, k]] * v[[k, j]] * share(i, j, &moved) / variance[[i, j]]).sum();
            let ratio = after.activations(source).unwrap()[[k, j]] / v[[k, j]];
            let (slope, by_step) = (numeric(false), positive * (1.0 - ratio * ratio));
            assert!((slope - by_step).abs() < 1e-6 * positive, "V, {of:?}: {slope} {by_step}");
        }
    }
}

#[test]
fn between_two_looks_of_the_network_the_cost_never_rises() {
    for (n, m) in [(2, 2), (3, 3), (2, 3)] {
        let (_, x) = scene(n, m, 5);
        for update in [Update::Ip1, Update::Ip2, Update::Iss1, Update::Iss2, Update::Ipa] {
            for (name, mut model) in products(n) {
                let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
                let mut demixing = Demixing::identity(&mixture, n).unwrap();
                let spatial = update.build(Pairs::Neighbours, 0.1);
                let loops = loops(12, 4);
                let descent =
                    determined::run(&mixture, &mut model, &*spatial, &loops, None, &mut demixing, &mut ())
                        .unwrap();
                let slots = (n * BINS * FRAMES) as f64;
                for (k, pair) in descent.cost.windows(2).enumerate() {
                    // the entry after a look is computed with the new variances
                    if (k + 1) % 4 != 0 {
                        assert!(
                            pair[1] <= pair[0] + 1e-9 * slots,
                            "{name}, {update}, {n} of {m}, {k}: {pair:?}"
                        );
                    }
                }
                // each output is at the scale of the reference: row 0 of the mixing matrix is one
                let mixing = demixing.mixing(&mixture);
                for bin in 0..BINS {
                    for s in 0..n {
                        let a = mixing[[bin, 0, s]] / mixture.level();
                        let elsewhere = mixing[[bin, 1, s]].norm() / mixture.level();
                        // an output that the reference does not hear keeps its scale
                        assert!(
                            (a - 1.0).norm() < 1e-9 || elsewhere > 1e6,
                            "{name}, {update}: {a} {elsewhere}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn rescaling_y_alone_as_the_paper_does_is_another_method() {
    let (_, x) = scene(2, 2, 6);
    let loops = loops(12, 12);
    let (ilrma, _) = demix(&x, 2, &mut low_rank(2, 1.0, Distribution::Gauss), &loops);
    let whole = Product::Gauss { eta: 1.0 };
    let of = |rescale_model: bool| {
        let settings = ProductSettings { rescale_model, ..settings(whole) };
        demix(&x, 2, &mut product(2, 1.0, None, true, settings), &loops).0
    };
    assert!(distance(&of(true), &ilrma) < 1e-9);
    assert!(distance(&of(false), &ilrma) > 1e-3);
}

#[test]
fn learned_columns_stay_and_the_level_of_the_input_does_not_matter() {
    let (_, x) = scene(2, 2, 7);
    for (name, mut model) in products(2) {
        let kept = model.dictionary(1).map(|t| t.slice(ndarray::s![.., 1..]).to_owned());
        let quiet = x.mapv(|x| x * 1e-4);
        // without a gain that the dictionary would follow
        let plain = LoopSettings { normalization: Normalization::None, ..loops(8, 4) };
        let (loud_w, _) = demix(&x, 2, &mut model, &plain);
        if name.starts_with("mixed") {
            assert_eq!(kept, model.dictionary(1).map(|t| t.slice(ndarray::s![.., 1..]).to_owned()), "{name}");
        }
        let (_, mut again) = products(2).into_iter().find(|(other, _)| *other == name).unwrap();
        let (quiet_w, _) = demix(&quiet, 2, &mut again, &plain);
        let error = distance(&loud_w, &quiet_w.mapv(|w| w * 1e-4));
        // the network answers in single precision
        assert!(error < 1e-4, "{name}: {error}");
    }
}

#[test]
fn the_rescaling_of_bins_does_not_wear_a_learned_spectrum_out() {
    let (_, x) = scene(2, 2, 7);
    let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
    let demixing = Demixing::identity(&mixture, 2).unwrap();
    let (_, mut model) = products(2).into_iter().find(|(name, _)| name.starts_with("mixed")).unwrap();
    let column = |model: &ProductOfPriors<f64>| model.dictionary(1).unwrap().column(K - 1).to_owned();
    let learned = column(&model);
    let gains: Vec<f64> = (0..BINS).map(|bin| 0.1 + bin as f64).collect();
    model.absorb(1, &gains);
    let worn = column(&model);
    assert!((&worn - &learned).iter().any(|x| x.abs() > 0.1));
    model.refresh(&Powers::new(&mixture, &demixing)).unwrap();
    let again = column(&model);
    assert!((again.sum() / worn.sum() - 1.0).abs() < 1e-9);
    let shape = |t: &ndarray::Array1<f64>| t / t.sum();
    assert!((shape(&again) - shape(&learned)).iter().all(|x| x.abs() < 1e-12));
}

#[test]
fn the_true_powers_separate_and_single_precision_agrees() {
    let (s, x) = scene(2, 2, 8);
    let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
    let oracles = |n: usize| -> Vec<Arc<dyn PowerEstimator>> {
        let scale = 1.0 / mixture.level().powi(2);
        let power = Array2::from_shape_fn((BINS, FRAMES), |(i, j)| (s[[i, n, j]].norm_sqr() * scale) as f32);
        vec![Arc::new(Oracle(power))]
    };
    let run = |oracle: bool| {
        let experts = (0..2).map(|n| Experts {
            low_rank: None,
            networks: if oracle { oracles(n) } else { network(1.0, None) },
        });
        let experts: Vec<Experts> = experts.collect();
        let shape = (BINS, FRAMES);
        let settings = ProductSettings { variance_floor: 1e-6, ..settings(GAUSS) };
        let model = ProductOfPriors::<f64>::new(shape, experts.clone(), settings);
        let double = demix(&x, 2, &mut model.unwrap(), &loops(10, 5)).0;
        let single = Mixture::<f32>::new(x.view(), Simd::Native).unwrap();
        let mut model = ProductOfPriors::<f32>::new(shape, experts, settings).unwrap();
        let mut demixing = Demixing::identity(&single, 2).unwrap();
        let update = Update::Ip1.build(Pairs::Neighbours, 0.1);
        determined::run(&single, &mut model, &*update, &loops(10, 5), None, &mut demixing, &mut ()).unwrap();
        assert!(distance(&double, &demixing.matrices(&single)) < 1e-3);
        // what of source 1 is left in output 0, where output 0 is y = w x = (w a) s
        let mut leak = 0.0;
        for bin in 0..BINS {
            let y =
                |n: usize, j: usize| -> C64 { (0..2).map(|c| double[[bin, n, c]] * x[[bin, c, j]]).sum() };
            let correlation = |n: usize, other: usize| {
                let along: C64 = (0..FRAMES).map(|j| y(n, j) * s[[bin, other, j]].conj()).sum();
                let powers: f64 = (0..FRAMES).map(|j| y(n, j).norm_sqr()).sum::<f64>()
                    * (0..FRAMES).map(|j| s[[bin, other, j]].norm_sqr()).sum::<f64>();
                along.norm_sqr() / powers
            };
            leak += (1.0 - correlation(0, 0)) / BINS as f64;
        }
        leak
    };
    let (oracle, blind) = (run(true), run(false));
    assert!(oracle < 2e-2 && blind > 5.0 * oracle, "{oracle} {blind}");
}

/// Hears the spectrum that it knows and nothing else.
struct Ear {
    share: Vec<f32>,
    /// nu_NMF that it was trained for, as t-PoP-IDLMA asks: beside a silent low-rank part its own has to be larger.
    beside: Option<f32>,
}

const EAR_DOF: f32 = 100.0;

impl PowerEstimator for Ear {
    fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
        let power = magnitude.mapv(|y| y * y);
        let expected = Array2::from_shape_fn(magnitude.dim(), |(i, j)| self.share[i] * power[[i, j]]);
        let Some(nu_nmf) = self.beside else { return Ok(expected.into()) };
        let variance = expected.mapv(|r| r * (nu_nmf + EAR_DOF + 2.0) / EAR_DOF);
        let dof = Some(Array2::from_elem(magnitude.dim(), EAR_DOF));
        Ok(PowerEstimate { variance, dof, expected: Some(expected) })
    }
}

#[test]
fn networks_find_their_outputs_after_a_blind_start_and_silence_is_not_recognised() {
    // source 0 is low, source 1 is high
    let (mut s, _) = scene(2, 2, 21);
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    for ((bin, n, _), s) in s.indexed_iter_mut() {
        *s *= if (bin < BINS / 2) == (n == 0) { 1.0 } else { 0.2 };
    }
    let mut x = Array3::zeros((BINS, 2, FRAMES));
    for bin in 0..BINS {
        let a = Array2::from_shape_simple_fn((2, 2), || normal(&mut rng));
        for j in 0..FRAMES {
            for c in 0..2 {
                x[[bin, c, j]] = (0..2).map(|n| a[[c, n]] * s[[bin, n, j]]).sum::<C64>();
            }
        }
    }
    let x = x.mapv(|x: C64| demix_signal::Complex::new(x.re as f32, x.im as f32));
    let ear = |n: usize, product: Product| -> Arc<dyn PowerEstimator> {
        let beside = match product {
            Product::Student { low_rank, .. } => Some(low_rank as f32),
            Product::Gauss { .. } => None,
        };
        let share = (0..BINS).map(|bin| if (bin < BINS / 2) == (n == 0) { 0.9 } else { 0.01 }).collect();
        Arc::new(Ear { share, beside })
    };
    let run = |x: &Array3<demix_signal::Complex<f32>>, order: [usize; 2], product: Product| {
        let known = |n: usize| Known { networks: vec![ear(n, product)], components: 2, ..Known::default() };
        let way = Way { start: Start::Fdica, product };
        let looks = LookSettings { outer: 2, inner: 5, ..LookSettings::default() };
        let settings = GuidedSettings { looks, ..GuidedSettings::default() };
        let guided = Guided { sources: order.map(known).to_vec(), ways: vec![way], settings };
        let stft = demix_signal::StftSettings::new(16, 8);
        let input = Input { x: x.view(), stft: &stft, n_samples: 8 * FRAMES, sample_rate: 8000, begin: None };
        guided.demix::<f64>(&input, &mut (), &mut |_| {}).unwrap()
    };
    let gauss = Product::Gauss { eta: 0.999 };
    let student = Product::Student { low_rank: 1e6, network: 1.0 };
    for (order, product) in [([0, 1], gauss), ([1, 0], gauss), ([0, 1], student), ([1, 0], student)] {
        let found = run(&x, order, product);
        for (output, &n) in order.iter().enumerate() {
            // its image: the level of the lower half over that of the upper
            let power = |bin: usize| -> f64 {
                let y = |j: usize| -> C64 {
                    let heard =
                        |c: usize| C64::new(f64::from(x[[bin, c, j]].re), f64::from(x[[bin, c, j]].im));
                    (0..2).map(|c| found.demixing[[bin, output, c]] * heard(c)).sum()
                };
                let image: f64 = (0..2).map(|c| found.mixing[[bin, c, output]].norm_sqr()).sum();
                (0..FRAMES).map(|j| y(j).norm_sqr()).sum::<f64>() * image
            };
            let (low, high): (f64, f64) = ((0..BINS / 2).map(power).sum(), (BINS / 2..BINS).map(power).sum());
            assert_eq!(low > high, n == 0, "{order:?}, output {output}: {low} {high}");
        }
        assert!(found.explained.iter().flatten().all(|&share| share > 0.5), "{:?}", found.explained);
    }
    let silent = run(&Array3::zeros((BINS, 2, FRAMES)), [0, 1], gauss);
    assert_eq!(silent.explained, [Some(0.0), Some(0.0)]);
    assert_eq!(silent.trials[0].explained, 0.0);
}

#[test]
fn networks_tell_which_output_of_a_bin_is_whose_where_activity_does_not() {
    // the envelopes of the two halves of the spectrum have nothing in common
    let mut wrong_without = 0;
    for seed in 0..6 {
        let (mut s, _) = scene(2, 2, 100 + seed);
        let (other, _) = scene(2, 2, 200 + seed);
        for bin in BINS / 2..BINS {
            s.index_axis_mut(Axis(0), bin).assign(&other.index_axis(Axis(0), bin));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(300 + seed);
        let mut x = Array3::zeros((BINS, 2, FRAMES));
        let mixing = Array3::from_shape_simple_fn((BINS, 2, 2), || normal(&mut rng));
        for ((bin, c, j), x) in x.indexed_iter_mut() {
            let sum: C64 = (0..2).map(|n| mixing[[bin, c, n]] * s[[bin, n, j]]).sum();
            *x = demix_signal::Complex::new(sum.re as f32, sum.im as f32);
        }
        let heard = |n: usize| -> Arc<dyn PowerEstimator> {
            let at_first = |bin: usize, j: usize| (mixing[[bin, 0, n]] * s[[bin, n, j]]).norm_sqr() as f32;
            Arc::new(Oracle(Array2::from_shape_fn((BINS, FRAMES), |(bin, j)| at_first(bin, j))))
        };
        let stft = demix_signal::StftSettings::new(16, 8);
        let input = Input { x: x.view(), stft: &stft, n_samples: 8 * FRAMES, sample_rate: 8000, begin: None };
        // as little as possible after the start, whose order is looked at
        let looks = LookSettings { outer: 1, inner: 1, ..LookSettings::default() };
        let settings = GuidedSettings { looks, ..GuidedSettings::default() };
        let known = |n: usize| Known { networks: vec![heard(n)], components: 2, ..Known::default() };
        let way = Way { start: Start::Fdica, product: Product::Gauss { eta: 0.999 } };
        let guided = Guided { sources: vec![known(0), known(1)], ways: vec![way], settings };
        let found = guided.demix::<f64>(&input, &mut (), &mut |_| {}).unwrap().demixing;
        let loose = DescentSettings { iterations: Some(50), ..DescentSettings::default() };
        let settings = DemixSettings { descent: loose, ..DemixSettings::default() };
        let blind = Blind { model: Model::Fdica(None), settings };
        let blind = blind.demix::<f64>(&input, 2, &mut ()).unwrap().demixing;
        // whether output 0 of a bin holds more of source 0 than of source 1
        let is_first = |w: &Array3<C64>, bin: usize| {
            let power = |n: usize| {
                let gain: C64 = (0..2).map(|c| w[[bin, 0, c]] * mixing[[bin, c, n]]).sum();
                (0..FRAMES).map(|j| (gain * s[[bin, n, j]]).norm_sqr()).sum::<f64>()
            };
            power(0) > power(1)
        };
        let right = (0..BINS).filter(|&bin| is_first(&found, bin)).count();
        assert_eq!(right, BINS, "seed {seed}");
        let same = (0..BINS).filter(|&bin| is_first(&blind, bin) == is_first(&blind, 0)).count();
        wrong_without += usize::from(same < BINS);
    }
    assert!(wrong_without > 0, "activity alone finds these orders: the test tells nothing");
}

#[test]
fn a_network_that_makes_up_for_a_low_rank_part_is_taken_at_its_word_where_there_is_none() {
    let mixture = Mixture::<f64>::new(scene(1, 1, 3).1.view(), Simd::Native).unwrap();
    let demixing = Demixing::identity(&mixture, 1).unwrap();
    let powers = Powers::new(&mixture, &demixing);
    let r = |product: Product, low_rank: bool, beside: &[Option<f32>]| -> f64 {
        let networks = beside
            .iter()
            .map(|&beside| -> Arc<dyn PowerEstimator> { Arc::new(Ear { share: vec![0.5; BINS], beside }) });
        let low_rank = low_rank.then(|| Factors {
            dictionary: Array2::zeros((BINS, K)),
            activations: Array2::zeros((K, FRAMES)),
            learned: 0,
        });
        let experts = vec![Experts { low_rank, networks: networks.collect() }];
        let no_floor = ProductSettings { variance_floor: 0.0, ..settings(product) };
        let mut model = ProductOfPriors::<f64>::new((BINS, FRAMES), experts, no_floor).unwrap();
        model.refresh(&powers).unwrap();
        model.energies(&powers)[0].weighted_network
    };
    let gauss = Product::Gauss { eta: 0.0 };
    let student = Product::Student { low_rank: 1e4, network: 1.0 };
    let expected = r(gauss, false, &[None]);
    let near = |x: f64| assert!((x / expected - 1.0).abs() < 1e-5, "{x} {expected}");
    near(r(gauss, false, &[Some(1e4)])); // another method's
    near(r(student, true, &[Some(1e4)])); // what it learned
    near(r(student, false, &[Some(1e4)])); // alone
    near(r(student, true, &[Some(1e4), Some(1e4)])); // two of them
}

#[test]
fn what_cannot_be_is_refused_with_both_numbers() {
    let error = |experts: Vec<Experts>, product: Product| -> String {
        match ProductOfPriors::<f64>::new((BINS, FRAMES), experts, settings(product)) {
            Err(SpatialError::Unsupported(why)) => why,
            other => panic!("{:?}", other.map(|_| ())),
        }
    };
    assert!(error(vec![Experts::default()], GAUSS).contains("neither"));
    let experts = || vec![Experts { low_rank: factors(1, 1.0).pop(), networks: vec![] }];
    assert!(error(experts(), Product::Gauss { eta: 1.5 }).contains("1.5"));
    assert!(error(experts(), Product::Student { low_rank: 0.0, network: 3.0 }).contains("0 and 3"));
    let short = Factors { activations: Array2::ones((K, 12)), ..factors(1, 1.0).remove(0) };
    let why = error(vec![Experts { low_rank: Some(short), networks: vec![] }], GAUSS);
    assert!(why.contains("3 x 12") && why.contains("70 frames"), "{why}");

    /// Answers nonsense.
    struct Broken(f32, usize);
    impl PowerEstimator for Broken {
        fn estimate(&self, magnitude: ArrayView2<'_, f32>) -> Result<PowerEstimate, String> {
            let (bins, frames) = magnitude.dim();
            if self.1 == 0 {
                return Err("no answer today".into());
            }
            Ok(PowerEstimate::from(Array2::from_elem((bins, frames + self.1 - 1), self.0)))
        }
    }
    let (_, x) = scene(1, 1, 9);
    for (value, extra, expected) in [
        (1.0, 3, "72 frames, the mixture has 9 and 70"),
        (f32::NAN, 1, "not finite"),
        (-1.0, 1, "negative"),
        (1.0, 0, "no answer today"),
    ] {
        let experts = vec![Experts { low_rank: None, networks: vec![Arc::new(Broken(value, extra))] }];
        let mut model = ProductOfPriors::<f64>::new((BINS, FRAMES), experts, settings(GAUSS)).unwrap();
        let mixture = Mixture::<f64>::new(x.view(), Simd::Native).unwrap();
        let mut demixing = Demixing::identity(&mixture, 1).unwrap();
        let update = Update::Ip1.build(Pairs::Neighbours, 0.1);
        let why = determined::run(&mixture, &mut model, &*update, &loops(1, 1), None, &mut demixing, &mut ())
            .unwrap_err()
            .to_string();
        assert!(why.contains(expected), "{why}");
    }
}
