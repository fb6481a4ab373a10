//! The loop by invariants, limits, gradients and robustness; the golden vectors are in `golden.rs`.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use demix_signal::simd::Simd;
use demix_signal::{Complex, StftSettings};
use demix_spatial::source::{Contrast, Distribution, Laplace, LowRank, SharedLowRank, Spherical};
use demix_spatial::{
    Blind, C64, DemixSettings, Demixing, DescentSettings, FactorStart, Input, LoopSettings, LowRankSettings,
    MatrixSettings, Mixture, Model, Normalization, Pairs, Powers, Scalar, SourceModel, Update, determined,
};
use ndarray::{Array2, Array3};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const BINS: usize = 9;
const FRAMES: usize = 70;

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(rng: &mut ChaCha8Rng) -> C64 {
    let radius = (-(1.0 - uniform(rng)).ln()).sqrt();
    C64::from_polar(radius, std::f64::consts::TAU * uniform(rng))
}

/// Sources with envelopes of their own, mixed by random matrices: (bins, channels, frames).
fn mixed(n: usize, m: usize, seed: u64) -> Array3<C64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let envelope = Array2::from_shape_simple_fn((n, FRAMES), || uniform(&mut rng).powi(4) + 0.01);
    let mut x = Array3::zeros((BINS, m, FRAMES));
    for mut bin in x.outer_iter_mut() {
        let a = Array2::from_shape_simple_fn((m, n), || normal(&mut rng));
        for j in 0..FRAMES {
            for s in 0..n {
                let y = normal(&mut rng) * envelope[[s, j]];
                for c in 0..m {
                    bin[[c, j]] += a[[c, s]] * y;
                }
            }
            for c in 0..m {
                bin[[c, j]] += normal(&mut rng) * 1e-3;
            }
        }
    }
    x
}

fn mixture<T: Scalar>(x: &Array3<C64>) -> Mixture<T> {
    Mixture::new(x.view(), Simd::Native).unwrap()
}

type AnyModel<T> = Box<dyn SourceModel<T>>;

/// Every source model of the blind methods for N sources, with a name.
fn models<T: Scalar>(n: usize) -> Vec<(&'static str, AnyModel<T>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let shape = (n, BINS, FRAMES);
    let mut low_rank = |d, p| -> AnyModel<T> { Box::new(LowRank::random(shape, 3, d, p, &mut rng)) };
    let mut all = vec![
        ("gauss", low_rank(Distribution::Gauss, 2.0)),
        ("gauss, domain 1", low_rank(Distribution::Gauss, 1.0)),
        ("t", low_rank(Distribution::Student(3.0), 2.0)),
        ("ggd", low_rank(Distribution::Generalized(1.2), 2.0)),
    ];
    for (name, distribution, domain) in [
        ("shared", Distribution::Gauss, 2.0),
        ("shared t, domain 1", Distribution::Student(3.0), 1.0),
        ("shared ggd, domain 3", Distribution::Generalized(1.2), 3.0),
    ] {
        all.push((name, Box::new(SharedLowRank::random(shape, 5, distribution, domain, &mut rng))));
    }
    all.push(("fdica", Box::new(Laplace::default())));
    all.push(("iva laplace", Box::new(Spherical::new(Contrast::Laplace))));
    all.push(("iva gauss", Box::new(Spherical::new(Contrast::Gauss))));
    all.push(("iva t", Box::new(Spherical::new(Contrast::Student(5.0)))));
    all
}

const UPDATES: [Update; 5] = [Update::Ip1, Update::Ip2, Update::Iss1, Update::Iss2, Update::Ipa];

#[test]
fn every_model_with_every_update_descends_and_its_filters_are_its_output() {
    for (n, m) in [(1, 2), (2, 2), (3, 3), (2, 4), (5, 5)] {
        let x = mixed(n, m, 1);
        let mixture = mixture::<f64>(&x);
        for update in UPDATES {
            for pairs in [Pairs::Neighbours, Pairs::All] {
                for (name, mut model) in models::<f64>(n) {
                    let case = format!("{name}, {update}, {pairs}, {n} of {m}");
                    let settings = LoopSettings { iterations: 12, ..LoopSettings::default() };
                    let mut demixing = Demixing::identity(&mixture, n).unwrap();
                    let update = update.build(pairs, 0.1);
                    let descent = determined::run(
                        &mixture,
                        &mut *model,
                        &*update,
                        &settings,
                        None,
                        &mut demixing,
                        &mut (),
                    )
                    .unwrap();
                    let slots = (BINS * FRAMES * n) as f64;
                    for pair in descent.cost.windows(2) {
                        assert!(pair[1] <= pair[0] + 1e-9 * slots, "{case}: {pair:?}");
                    }
                    assert!(descent.cost[12] < descent.cost[0] - 1.0, "{case}");
                    // y = W x, with x at level 1
                    let (w, y) = (demixing.matrices(&mixture), demixing.estimates(&mixture));
                    for bin in 0..BINS {
                        for j in 0..FRAMES {
                            for s in 0..n {
                                let direct: C64 = (0..m).map(|c| w[[bin, s, c]] * x[[bin, c, j]]).sum();
                                assert!((direct - y[[s, bin, j]]).norm() < 1e-9, "{case}");
                            }
                        }
                    }
                    // W A = 1
                    let a = demixing.mixing(&mixture);
                    for bin in 0..BINS {
                        for s in 0..n {
                            for t in 0..n {
                                let sum: C64 = (0..m).map(|c| w[[bin, s, c]] * a[[bin, c, t]]).sum();
                                let wanted = if s == t { 1.0 } else { 0.0 };
                                assert!((sum - wanted).norm() < 1e-8, "{case}: {sum}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_natural_gradient_comes_to_rest_where_projection_does() {
    let mixture = mixture::<f64>(&mixed(2, 2, 3));
    let cost = |update: Update, iterations: usize| {
        let mut model = fixed_factors(Distribution::Gauss, 2);
        let mut demixing = Demixing::identity(&mixture, 2).unwrap();
        let settings =
            LoopSettings { iterations, normalization: Normalization::None, ..LoopSettings::default() };
        let update = update.build(Pairs::Neighbours, 0.1);
        let descent =
            determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ()).unwrap();
        descent.cost[iterations]
    };
    let (projected, gradient) = (cost(Update::Ip1, 1000), cost(Update::NaturalGradient, 3000));
    assert!((projected - gradient).abs() < 1e-6 * projected.abs(), "{projected} {gradient}");
}

/// The factors alone: W stays.
fn fixed_factors(distribution: Distribution, n: usize) -> LowRank<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut model = LowRank::random((n, BINS, FRAMES), 2, distribution, 2.0, &mut rng);
    // x^0 = 1: the multiplicative update changes nothing
    model.exponent = 0.0;
    model
}

#[test]
fn the_step_of_the_factors_is_that_of_the_gradient_of_the_cost() {
    let x = mixed(2, 2, 2);
    let mixture = mixture::<f64>(&x);
    let demixing = Demixing::identity(&mixture, 2).unwrap();
    let powers = Powers::new(&mixture, &demixing);
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (distribution, domain) in [
        (Distribution::Gauss, 2.0),
        (Distribution::Gauss, 1.0),
        (Distribution::Gauss, 0.7),
        (Distribution::Student(1.5), 2.0),
        (Distribution::Student(4.0), 1.0),
        (Distribution::Generalized(0.8), 2.0),
        (Distribution::Generalized(1.5), 1.0),
    ] {
        let model = LowRank::<f64>::random((2, BINS, FRAMES), 3, distribution, domain, &mut rng);
        let (t, v) = (model.dictionary(), model.activations());
        let mut stepped = model.clone();
        stepped.update(&powers);
        let after = stepped.dictionary();
        for (source, bin, k) in [(0, 0, 0), (1, 4, 2), (0, 8, 1)] {
            let cost = |h: f64| {
                let mut t = t.clone();
                t[[source, bin, k]] += h;
                LowRank::<f64>::given(&t, &v, distribution, domain).unwrap().cost(&powers)
            };
            let h = 1e-5 * t[[source, bin, k]];
            let numeric = (cost(h) - cost(-h)) / (2.0 * h);
            // T_new = T (num / den)^g and dC/dT = (2/p) (den - num)
            let tv = |j: usize| -> f64 { (0..3).map(|k| t[[source, bin, k]] * v[[source, k, j]]).sum() };
            let den: f64 = (0..FRAMES).map(|j| v[[source, k, j]] / tv(j)).sum();
            let ratio = (after[[source, bin, k]] / t[[source, bin, k]]).powf(1.0 / model.exponent);
            let gradient = 2.0 / domain * den * (1.0 - ratio);
            let error = (numeric - gradient).abs() / (2.0 / domain * den);
            assert!(error < 1e-7, "{distribution:?}, {domain}: {numeric} {gradient}");
        }
    }
}

#[test]
fn the_demixing_comes_to_rest_where_the_gradient_of_the_cost_vanishes() {
    for distribution in [Distribution::Gauss, Distribution::Student(2.0), Distribution::Generalized(1.3)] {
        for (n, m) in [(2, 2), (3, 3), (2, 3)] {
            let x = mixed(m, m, 4);
            let mixture = mixture::<f64>(&x);
            let mut ends = Vec::new();
            for update in UPDATES {
                let mut model = fixed_factors(distribution, n);
                let mut demixing = Demixing::identity(&mixture, n).unwrap();
                let settings = LoopSettings {
                    iterations: 400,
                    normalization: Normalization::None,
                    ..LoopSettings::default()
                };
                let update = update.build(Pairs::All, 0.1);
                let descent =
                    determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ())
                        .unwrap();
                ends.push(descent.cost[400]);
                // the cost of other matrices near by: the background follows the sources
                let w = demixing.matrices(&mixture);
                let cost = |w: &Array3<C64>| {
                    let mut at = Demixing::given(&mixture, w).unwrap();
                    let mut model = fixed_factors(distribution, n);
                    let settings = LoopSettings { iterations: 0, ..LoopSettings::default() };
                    determined::run(&mixture, &mut model, &*update, &settings, None, &mut at, &mut ())
                        .unwrap()
                        .cost[0]
                };
                for (bin, s, c) in [(0, 0, 1), (5, 1, 0)] {
                    for direction in [C64::new(1.0, 0.0), C64::new(0.0, 1.0)] {
                        let size = w[[bin, s, c]].norm();
                        let moved = |h: f64| {
                            let mut w = w.clone();
                            w[[bin, s, c]] += direction * h * size;
                            cost(&w)
                        };
                        let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                        // the cost itself has a curvature of 2 J in this scale
                        assert!(
                            slope.abs() < 1e-3 * FRAMES as f64,
                            "{distribution:?}, {n} of {m}, {bin} {s} {c}: {slope}"
                        );
                    }
                }
            }
            if distribution == Distribution::Gauss && n == 2 && m == 2 {
                // fixed Gaussian weights and two outputs: one minimum, which all updates find
                for end in &ends {
                    assert!((end - ends[0]).abs() < 1e-6 * ends[0].abs(), "{ends:?}");
                }
            }
        }
    }
}

#[test]
fn one_pair_step_solves_a_bin_of_two_channels() {
    let mixture = mixture::<f64>(&mixed(2, 2, 6));
    let run = |update: Update, iterations: usize| {
        let mut model = fixed_factors(Distribution::Gauss, 2);
        let mut demixing = Demixing::identity(&mixture, 2).unwrap();
        let settings =
            LoopSettings { iterations, normalization: Normalization::None, ..LoopSettings::default() };
        let update = update.build(Pairs::Neighbours, 0.1);
        determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ()).unwrap().cost
            [iterations]
    };
    let best = run(Update::Ip1, 2000);
    for update in [Update::Ip2, Update::Iss2] {
        let one = run(update, 1);
        assert!((one - best).abs() < 1e-9 * best.abs(), "{update}: {one} instead of {best}");
    }
}

/// |a - b| over the peak of b.
fn distance(a: &Array3<C64>, b: &Array3<C64>) -> f64 {
    let peak = b.iter().fold(0.0f64, |p, x| p.max(x.norm()));
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).norm() / peak))
}

fn ilrma<T: Scalar>(x: &Array3<C64>, n: usize, distribution: Distribution, iterations: usize) -> Array3<C64> {
    let mixture = mixture::<T>(x);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut model = LowRank::<T>::random((n, BINS, FRAMES), 3, distribution, 2.0, &mut rng);
    let mut demixing = Demixing::identity(&mixture, n).unwrap();
    let settings = LoopSettings { iterations, ..LoopSettings::default() };
    let update = Update::Ip1.build(Pairs::Neighbours, 0.1);
    determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, &mut ()).unwrap();
    demixing.matrices(&mixture)
}

#[test]
fn distributions_have_the_gaussian_as_their_limit() {
    let x = mixed(3, 3, 8);
    let gauss = ilrma::<f64>(&x, 3, Distribution::Gauss, 15);
    assert!(distance(&ilrma::<f64>(&x, 3, Distribution::Student(1e12), 15), &gauss) < 1e-7);
    assert!(distance(&ilrma::<f64>(&x, 3, Distribution::Student(f64::INFINITY), 15), &gauss) == 0.0);
    assert!(distance(&ilrma::<f64>(&x, 3, Distribution::Generalized(2.0 - 1e-10), 15), &gauss) < 1e-6);
    assert!(distance(&ilrma::<f64>(&x, 3, Distribution::Student(1.0), 15), &gauss) > 1e-2);
    assert!(distance(&ilrma::<f64>(&x, 3, Distribution::Generalized(1.0), 15), &gauss) > 1e-2);
}

#[test]
fn the_level_of_the_input_only_scales_the_filters() {
    let x = mixed(2, 2, 9);
    let w = ilrma::<f64>(&x, 2, Distribution::Student(2.0), 20);
    for gain in [1e-6, 1e-4, 1e5] {
        let scaled = ilrma::<f64>(&x.mapv(|x| x * gain), 2, Distribution::Student(2.0), 20);
        assert!(distance(&scaled.mapv(|w| w * gain), &w) < 1e-8, "{gain}");
    }
}

#[test]
fn single_precision_is_enough() {
    let x = mixed(3, 3, 10);
    let (single, double) =
        (ilrma::<f32>(&x, 3, Distribution::Gauss, 8), ilrma::<f64>(&x, 3, Distribution::Gauss, 8));
    // -60 dB: far below what the separation leaves
    assert!(distance(&single, &double) < 1e-3, "{}", distance(&single, &double));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let x = mixed(3, 4, 11);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| ilrma::<f32>(&x, 3, Distribution::Gauss, 10))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn poor_input_gives_finite_filters() {
    let base = mixed(2, 2, 12);
    let mut silent_channel = base.clone();
    silent_channel.slice_mut(ndarray::s![.., 1, ..]).fill(C64::new(0.0, 0.0));
    let mut identical = base.clone();
    let first = base.slice(ndarray::s![.., 0, ..]).to_owned();
    identical.slice_mut(ndarray::s![.., 1, ..]).assign(&first);
    let mut dead_bins = base.clone();
    dead_bins.slice_mut(ndarray::s![..3, .., ..]).fill(C64::new(0.0, 0.0));
    let silence = base.mapv(|_| C64::new(0.0, 0.0));
    let half = {
        let mut x = base.clone();
        x.slice_mut(ndarray::s![.., .., ..FRAMES / 2]).fill(C64::new(0.0, 0.0));
        x
    };
    let mut one_frame = base.clone();
    one_frame.slice_mut(ndarray::s![.., .., 1..]).fill(C64::new(0.0, 0.0));
    for (name, x) in [
        ("silent channel", silent_channel),
        ("identical channels", identical),
        ("dead bins", dead_bins),
        ("silence", silence),
        ("half silent", half),
        ("one frame", one_frame),
    ] {
        for update in
            [Update::Ip1, Update::Ip2, Update::Iss1, Update::Iss2, Update::Ipa, Update::NaturalGradient]
        {
            let mixture = Mixture::<f32>::new(x.view(), Simd::Native).unwrap();
            for (model_name, mut model) in models::<f32>(2) {
                let mut demixing = Demixing::identity(&mixture, 2).unwrap();
                let settings = LoopSettings { iterations: 10, ..LoopSettings::default() };
                let update = update.build(Pairs::Neighbours, 0.1);
                let descent =
                    determined::run(&mixture, &mut *model, &*update, &settings, None, &mut demixing, &mut ())
                        .unwrap();
                let case = format!("{name}, {model_name}");
                assert!(descent.cost.iter().all(|c| c.is_finite()), "{case}: {:?}", descent.cost);
                let (w, a) = (demixing.matrices(&mixture), demixing.mixing(&mixture));
                assert!(w.iter().chain(&a).all(|w| w.re.is_finite() && w.im.is_finite()), "{case}");
                let y = demixing.estimates(&mixture);
                assert!(y.iter().all(|y| y.re.is_finite() && y.im.is_finite()), "{case}");
            }
        }
    }
}

#[test]
fn the_bins_of_a_long_recording_are_put_in_order() {
    // more frames than are compared one by one
    let (bins, frames) = (24, 5000);
    let mut rng = ChaCha8Rng::seed_from_u64(31);
    // loud and quiet passages of 40 frames
    let envelope =
        Array2::from_shape_simple_fn((2, frames / 40), || if uniform(&mut rng) < 0.4 { 1.0 } else { 0.05 });
    let mut rooms = Vec::new();
    let mut x = Array3::<C64>::zeros((bins, 2, frames));
    for mut bin in x.outer_iter_mut() {
        let a = Array2::from_shape_simple_fn((2, 2), || normal(&mut rng));
        for j in 0..frames {
            for s in 0..2 {
                let y = normal(&mut rng) * uniform(&mut rng) * envelope[[s, j / 40]];
                for c in 0..2 {
                    bin[[c, j]] += a[[c, s]] * y;
                }
            }
        }
        rooms.push(a);
    }
    let x = x.mapv(|x| Complex::new(x.re as f32, x.im as f32));
    let stft = StftSettings::default();
    let input = Input { x: x.view(), stft: &stft, n_samples: frames, sample_rate: 16000, begin: None };
    let blind = Blind { model: Model::Fdica(None), settings: DemixSettings::default() };
    let found = blind.demix::<f64>(&input, 2, &mut ()).unwrap();
    let source = |bin: usize| {
        let through = found.demixing.index_axis(ndarray::Axis(0), bin).dot(&rooms[bin]);
        usize::from(through[[0, 1]].norm() > through[[0, 0]].norm())
    };
    assert!((0..bins).all(|bin| source(bin) == source(0)), "{:?}", (0..bins).map(source).collect::<Vec<_>>());
}

fn mixed_f32() -> Array3<Complex<f32>> {
    mixed(2, 2, 21).mapv(|x| Complex::new(x.re as f32, x.im as f32))
}

/// W and the final cost of ILRMA after so many steps.
fn ilrma_of(
    x: &Array3<Complex<f32>>,
    low_rank: LowRankSettings,
    iterations: usize,
    seed: u64,
) -> (Array3<C64>, f64) {
    let stft = StftSettings::default();
    let input = Input { x: x.view(), stft: &stft, n_samples: FRAMES * 4, sample_rate: 16000, begin: None };
    let settings = DemixSettings {
        descent: DescentSettings { iterations: Some(iterations), ..DescentSettings::default() },
        matrices: MatrixSettings { seed, ..MatrixSettings::default() },
    };
    let blind = Blind { model: Model::LowRank(Distribution::Gauss, low_rank), settings };
    let found = blind.demix::<f64>(&input, 2, &mut ()).unwrap();
    (found.demixing, found.costs[0])
}

#[test]
fn singular_vectors_draw_nothing_and_begin_below_random_factors() {
    let x = mixed_f32();
    for partition in [false, true] {
        let of = |factors, fit_iterations, seed| {
            let low_rank = LowRankSettings {
                components: Some(2),
                factors,
                fit_iterations,
                partition,
                ..LowRankSettings::default()
            };
            (ilrma_of(&x, low_rank.clone(), 5, seed).0, ilrma_of(&x, low_rank, 0, seed).1)
        };
        let (matrices, cost) = of(None, 1, 0);
        assert_eq!(
            of(None, 1, 7),
            (matrices.clone(), cost),
            "auto after a warm start is the same for all seeds"
        );
        assert_eq!(of(Some(FactorStart::SingularVectors), 1, 3), (matrices, cost));
        let random: Vec<_> = (0..5).map(|seed| of(Some(FactorStart::Random), 1, seed)).collect();
        assert!(random.windows(2).all(|pair| pair[0].0 != pair[1].0));
        assert!(
            random.iter().all(|(_, other)| cost < *other),
            "{cost} {:?}",
            random.iter().map(|r| r.1).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_restart_takes_other_factors() {
    let x = mixed_f32();
    let stft = StftSettings::default();
    let input = Input { x: x.view(), stft: &stft, n_samples: FRAMES * 4, sample_rate: 16000, begin: None };
    let low_rank = LowRankSettings { components: Some(2), restarts: 3, ..LowRankSettings::default() };
    let blind =
        Blind { model: Model::LowRank(Distribution::Gauss, low_rank), settings: DemixSettings::default() };
    let costs = blind.demix::<f64>(&input, 2, &mut ()).unwrap().costs;
    assert!(costs.len() == 3 && costs[0] != costs[1] && costs[1] != costs[2], "{costs:?}");
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let mixture = mixture::<f64>(&mixed(2, 2, 13));
    let message = Demixing::identity(&mixture, 3).unwrap_err().to_string();
    assert!(message.contains('3') && message.contains("2 channels"), "{message}");
    assert!(Demixing::identity(&mixture, 0).is_err());
    let message = Demixing::given(&mixture, &Array3::zeros((5, 2, 2))).unwrap_err().to_string();
    assert!(message.contains("5 bins") && message.contains('9'), "{message}");
    let bad = Array3::from_elem((BINS, 2, 2), C64::new(f64::NAN, 0.0));
    assert!(Demixing::given(&mixture, &bad).is_err());
    let (t, v) = (Array3::ones((2, BINS, 3)), Array3::ones((2, 4, FRAMES)));
    assert!(LowRank::<f64>::given(&t, &v, Distribution::Gauss, 2.0).is_err());
    let v = Array3::from_elem((2, 3, FRAMES), -1.0);
    assert!(LowRank::<f64>::given(&t, &v, Distribution::Gauss, 2.0).is_err());
    let nan = mixed(2, 2, 1).mapv(|x| x * f64::NAN);
    assert!(Mixture::<f64>::new(nan.view(), Simd::Native).is_err());
}
