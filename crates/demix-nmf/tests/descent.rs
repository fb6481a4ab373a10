//! The cost: it falls, it is what the definition says, and both ways lead to stationary points.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

mod common;

use common::*;
use demix_nmf::{Acceleration, Exponent, Nmf, NmfSettings, Order, Scalar, Start, Stopped};
use ndarray::Array2;

const FLOOR: f64 = 1e-6;

fn falls<T: Scalar>(tolerance: f64, round: impl Fn(&Array2<f64>) -> Array2<T>) {
    let v = round(&spectrogram(33, 47, 5, 1));
    for beta in BETAS {
        for order in [Order::HFirst, Order::WFirst] {
            let settings = NmfSettings { order, ..plain(beta, 7, 60) };
            let found = Nmf::new(settings).unwrap().factorize(v.view(), &mut ()).unwrap();
            assert_eq!(found.cost.len(), 61);
            let rounding = tolerance * found.cost[0];
            for (n, pair) in found.cost.windows(2).enumerate() {
                assert!(pair[1] <= pair[0] + rounding, "beta={beta} {order} iteration {n}: {pair:?}");
            }
            assert!(found.cost[60] < 0.9 * found.cost[0], "beta={beta}: {:?}", found.cost);
        }
    }
}

#[test]
fn plain_updates_never_raise_the_cost() {
    falls::<f64>(1e-13, Array2::clone);
    // f32: a sum of 1551 terms that are each rounded at 6e-8
    falls::<f32>(1e-6, singles);
}

#[test]
fn costs_are_those_of_the_returned_factors() {
    for acceleration in [Acceleration::None, Acceleration::Extrapolated] {
        for beta in BETAS {
            for normalize in [true, false] {
                let settings = NmfSettings { acceleration, normalize, ..settings(beta, 5, 20) };
                let v = spectrogram(40, 31, 4, 5);
                let nmf = Nmf::new(settings).unwrap();
                let found = nmf.factorize(v.view(), &mut ()).unwrap();
                let first = cost(&v, &found.start_dictionary, &found.start_activations, beta, FLOOR);
                let last = cost(&v, &found.dictionary, &found.activations, beta, FLOOR);
                let case = format!("beta={beta} {acceleration} {normalize}");
                assert!((found.cost[0] - first).abs() < 1e-10 * first, "{case}: {} {first}", found.cost[0]);
                assert!((found.cost[20] - last).abs() < 1e-10 * first, "{case}: {} {last}", found.cost[20]);

                let single = nmf.factorize(singles(&v).view(), &mut ()).unwrap();
                let (w, h) = (doubles(&single.dictionary), doubles(&single.activations));
                let direct = cost(&doubles(&singles(&v)), &w, &h, beta, FLOOR);
                assert!((single.cost[20] - direct).abs() < 2e-5 * first, "f32 {case}: {direct}");
            }
        }
    }
}

#[test]
fn the_updates_follow_the_gradient() {
    // numeric derivatives of the cost agree with pos - neg, and one plain step is h (neg/pos)^g
    let v = spectrogram(9, 7, 3, 2);
    let (w, h) = (uniform(9, 3, 8) + 0.1, uniform(3, 7, 9) + 0.1);
    for beta in BETAS {
        let (pos, neg) = gradient(&v, &w, &h, beta);
        for k in 0..3 {
            for j in 0..7 {
                let step = 1e-5;
                let at = |change: f64| {
                    let mut h = h.clone();
                    h[[k, j]] += change;
                    cost(&v, &w, &h, beta, 0.0)
                };
                let numeric = (at(step) - at(-step)) / (2.0 * step);
                let analytic = pos[[k, j]] - neg[[k, j]];
                // the third derivative times the step squared, and cancelling
                let tolerance = 1e-6 * (pos[[k, j]] + neg[[k, j]]);
                assert!((numeric - analytic).abs() < tolerance, "beta={beta}: {numeric} {analytic}");
            }
        }
        let start = Start { dictionary: w.clone(), activations: h.clone(), held: 3 };
        let nmf = Nmf::new(NmfSettings { normalize: false, floor: Some(0.0), ..plain(beta, 3, 1) }).unwrap();
        let found = nmf.factorize_from(v.view(), start, &mut ()).unwrap();
        let exponent = demix_nmf::Divergence::new(beta).mm_exponent();
        for ((&new, &h), (&pos, &neg)) in found.activations.iter().zip(&h).zip(pos.iter().zip(&neg)) {
            assert!((new - h * (neg / pos).powf(exponent)).abs() < 1e-12 * new, "beta={beta}");
        }
    }
}

#[test]
fn both_ways_lead_to_stationary_points() {
    // every noise-free start ends where h (pos - neg) vanishes and no zero wants to grow
    for beta in BETAS {
        let v = spectrogram(12, 15, 3, 40) + 0.01;
        for acceleration in [Acceleration::None, Acceleration::Extrapolated] {
            let iterations = if acceleration == Acceleration::None { 6000 } else { 2000 };
            let nmf = Nmf::new(NmfSettings { acceleration, ..settings(beta, 3, iterations) }).unwrap();
            let found = nmf.factorize(v.view(), &mut ()).unwrap();
            let (w, h) = (&found.dictionary, &found.activations);
            let left = w.t().to_owned();
            let of_h = stationarity(&v, w, h, beta);
            let of_w = stationarity(&v.t().to_owned(), &h.t().to_owned(), &left, beta);
            // multiplicative updates creep towards a zero: its gradient vanishes with it like 1/iterations
            assert!(of_h < 1e-3 && of_w < 1e-3, "beta={beta} {acceleration}: {of_h:e} {of_w:e}");

            // and a stationary point is not left: neither way moves on from it by more than it still moved
            for next in [Acceleration::None, Acceleration::Extrapolated] {
                let start = Start { dictionary: w.clone(), activations: h.clone(), held: 0 };
                let nmf = Nmf::new(NmfSettings { acceleration: next, ..settings(beta, 3, 20) }).unwrap();
                let again = nmf.factorize_from(v.view(), start, &mut ()).unwrap();
                let model = w.dot(h);
                let moved = (again.dictionary.dot(&again.activations) - &model)
                    .iter()
                    .fold(0.0f64, |m, x| m.max(x.abs()));
                let peak = model.iter().fold(0.0f64, |m, &x| m.max(x));
                assert!(moved < 2e-3 * peak, "beta={beta} {acceleration} then {next}: {:e}", moved / peak);
                let (from, to) = (again.cost[0], *again.cost.last().unwrap());
                assert!(
                    (from - to).abs() < 1e-6 * from,
                    "beta={beta} {acceleration} then {next}: {from} {to}"
                );
            }
        }
    }
}

#[test]
fn acceleration_is_never_behind_by_much_and_mostly_far_ahead() {
    // different ways may end in different local optima; on the median of the seeds the shorter way is ahead
    for beta in BETAS {
        let mut ratios = Vec::new();
        for seed in 0..12 {
            let v = spectrogram(40, 60, 6, 100 * seed);
            let cost = |acceleration| {
                let settings = NmfSettings { acceleration, seed, ..settings(beta, 8, 80) };
                *Nmf::new(settings).unwrap().factorize(v.view(), &mut ()).unwrap().cost.last().unwrap()
            };
            ratios.push(cost(Acceleration::Extrapolated) / cost(Acceleration::None));
        }
        ratios.sort_by(f64::total_cmp);
        println!("beta={beta}: cost relative to plain: median {:.4}, worst {:.4}", ratios[6], ratios[11]);
        assert!(ratios[6] < 0.999, "beta={beta}: {ratios:?}");
        assert!(ratios[11] < 1.02, "beta={beta}: {ratios:?}");
    }
}

#[test]
fn an_exact_factorisation_is_found() {
    let (w, h) = (uniform(20, 3, 1).mapv(|x| (2.0 * x - 1.0).max(0.0)), uniform(3, 25, 2));
    let v = (w + 1e-3).dot(&h);
    for beta in BETAS {
        let nmf =
            Nmf::new(NmfSettings { restarts: 3, floor: Some(1e-9), ..settings(beta, 3, 2000) }).unwrap();
        let found = nmf.factorize(v.view(), &mut ()).unwrap();
        let (first, last) = (found.cost[0], *found.cost.last().unwrap());
        assert!(last < 1e-4 * first, "beta={beta}: {first} {last}");
    }
}

#[test]
fn the_report_says_why_it_ended() {
    let v = spectrogram(30, 30, 3, 3);
    for acceleration in [Acceleration::None, Acceleration::Extrapolated] {
        let settings = NmfSettings { acceleration, tolerance: 1e-3, ..settings(1.0, 4, 1000) };
        let found = Nmf::new(settings.clone()).unwrap().factorize(v.view(), &mut ()).unwrap();
        assert_eq!(found.stopped, Stopped::Tolerance);
        assert!(found.iterations < 1000);
        assert_eq!(found.cost.len(), found.iterations + 1);
        let few = NmfSettings { iterations: 3, ..settings };
        let found = Nmf::new(few).unwrap().factorize(v.view(), &mut ()).unwrap();
        assert_eq!((found.stopped, found.iterations), (Stopped::Iterations, 3));
        let none = plain(1.0, 4, 0);
        let found = Nmf::new(none).unwrap().factorize(v.view(), &mut ()).unwrap();
        assert_eq!((found.stopped, found.iterations, found.cost.len()), (Stopped::Iterations, 0, 1));
    }
}

#[test]
fn restarts_keep_the_lowest_cost() {
    let v = spectrogram(25, 30, 5, 9);
    let run = |restarts| {
        let settings = NmfSettings { restarts, ..settings(1.0, 5, 30) };
        *Nmf::new(settings).unwrap().factorize(v.view(), &mut ()).unwrap().cost.last().unwrap()
    };
    let costs: Vec<f64> = (1..=6).map(run).collect();
    assert!(costs.windows(2).all(|pair| pair[1] <= pair[0]), "{costs:?}");
    assert!(costs[5] < costs[0], "{costs:?}");
}

#[test]
fn the_heuristic_exponent_is_another_path_to_the_same_kind_of_point() {
    let v = spectrogram(12, 15, 3, 40) + 0.01;
    for beta in [0.0, 0.5, 3.0] {
        let settings = NmfSettings { exponent: Exponent::Heuristic, ..plain(beta, 3, 3000) };
        let found = Nmf::new(settings).unwrap().factorize(v.view(), &mut ()).unwrap();
        assert!(stationarity(&v, &found.dictionary, &found.activations, beta) < 1e-3, "beta={beta}");
    }
}
