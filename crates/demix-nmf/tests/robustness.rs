//! Odd inputs, levels, shapes, seeds and threads.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

mod common;

use common::*;
use demix_nmf::{Acceleration, Factorization, Init, Nmf, NmfError, NmfSettings, Order, Scalar, Start};
use demix_signal::Progress;
use ndarray::{Array2, Axis, s};

const WAYS: [Acceleration; 2] = [Acceleration::None, Acceleration::Extrapolated];

fn run<T: Scalar>(v: &Array2<T>, settings: NmfSettings) -> Factorization<T> {
    Nmf::new(settings).unwrap().factorize(v.view(), &mut ()).unwrap()
}

fn finite<T: Scalar>(found: &Factorization<T>) -> bool {
    let factors = found.dictionary.iter().chain(&found.activations);
    factors.clone().all(|x| x.is_finite() && *x >= T::ZERO) && found.cost.iter().all(|c| c.is_finite())
}

#[test]
fn level_scales_the_activations_and_nothing_else() {
    let v = singles(&spectrogram(40, 50, 4, 1));
    for acceleration in WAYS {
        for beta in BETAS {
            let settings = NmfSettings { acceleration, ..settings(beta, 5, 20) };
            let found = run(&v, settings.clone());
            // powers of two only move the exponent: every bit stays
            for gain in [1.0 / 16384.0, 16384.0f32] {
                let scaled = run(&v.mapv(|x| gain * x), settings.clone());
                assert_eq!(scaled.dictionary, found.dictionary, "beta={beta} gain={gain}");
                assert_eq!(
                    scaled.activations,
                    found.activations.mapv(|h| gain * h),
                    "beta={beta} gain={gain}"
                );
            }
            // others round every entry of V once, which 20 iterations amplify
            for gain in [1e-4, 1e4f32] {
                let scaled = run(&v.mapv(|x| gain * x), settings.clone());
                let model = |f: &Factorization<f32>| doubles(&f.dictionary).dot(&doubles(&f.activations));
                let (want, got) = (model(&found) * f64::from(gain), model(&scaled));
                let peak = want.iter().fold(0.0f64, |m, &x| m.max(x));
                let error = (got - want).iter().fold(0.0f64, |m, x| m.max(x.abs())) / peak;
                assert!(error < 1e-3, "beta={beta} gain={gain}: {error:e}");
            }
        }
    }
}

#[test]
fn odd_inputs_give_finite_factors() {
    let mut holes = spectrogram(20, 26, 4, 6);
    holes.slice_mut(s![.., 5..9]).fill(0.0); // silence
    holes.slice_mut(s![3..5, ..]).fill(0.0); // a band without content
    holes.slice_mut(s![10, 12..]).fill(0.0);
    let mut single = Array2::zeros((9, 8));
    single[[4, 2]] = 3.0;
    let mut loud = Array2::from_elem((10, 10), 1e-20);
    loud[[1, 1]] = 1e15;
    let inputs = [
        ("holes", holes, 5),
        ("silence", Array2::zeros((7, 6)), 3),
        ("a single entry", single, 3),
        ("one bin", spectrogram(1, 40, 1, 1), 2),
        ("one frame", spectrogram(40, 1, 1, 1), 2),
        ("one entry", Array2::from_elem((1, 1), 2.5), 1),
        ("more components than the rank", uniform(12, 1, 1).dot(&uniform(1, 14, 2)), 6),
        ("more components than frames", spectrogram(30, 4, 2, 3), 11),
        ("more components than bins", spectrogram(4, 30, 2, 3), 11),
        ("more components than anything", spectrogram(4, 5, 2, 3), 37),
        ("a huge range", loud, 3),
        ("constant", Array2::ones((17, 13)), 4),
        ("tiny", spectrogram(12, 12, 2, 4) * 1e-30, 3),
        ("huge", spectrogram(12, 12, 2, 4) * 1e30, 3),
    ];
    for (name, v, components) in &inputs {
        for beta in BETAS {
            for acceleration in WAYS {
                let settings = NmfSettings { acceleration, ..settings(beta, *components, 40) };
                let case = format!("{name}, beta={beta}, {acceleration}");
                let double = run(v, settings.clone());
                assert!(finite(&double), "{case}");
                if let Ok(found) = Nmf::new(settings).unwrap().factorize(singles(v).view(), &mut ()) {
                    assert!(finite(&found), "{case}, f32");
                } else {
                    // sums of squares of 35 digits leave the range of single precision: refused, not NaN
                    assert!(*name == "a huge range", "{case}, f32");
                }
                if *name == "silence" {
                    assert!(double.activations.iter().all(|&h| h == 0.0), "{case}");
                    assert_eq!(double.cost, [0.0]);
                }
                if *name == "holes" && beta > 0.0 {
                    let model = double.dictionary.dot(&double.activations);
                    let peak = model.iter().fold(0.0f64, |m, &x| m.max(x));
                    let silent = model.slice(s![.., 5..9]).iter().fold(0.0f64, |m, &x| m.max(x));
                    assert!(silent < 1e-3 * peak, "{case}: {silent} of {peak}");
                }
            }
        }
    }
}

#[test]
fn seeds_decide_every_bit_and_threads_none() {
    let v = singles(&spectrogram(70, 130, 5, 1));
    for beta in [0.0, 0.7, 1.0, 2.0] {
        let run_with = |seed, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&v, NmfSettings { seed, ..settings(beta, 6, 30) }))
        };
        let one = run_with(1, 1);
        for threads in [1, 2, 3] {
            let again = run_with(1, threads);
            assert_eq!(one.dictionary, again.dictionary, "beta={beta}, {threads} threads");
            assert_eq!(one.activations, again.activations, "beta={beta}, {threads} threads");
            assert_eq!(one.cost, again.cost, "beta={beta}, {threads} threads");
        }
        assert_ne!(one.dictionary, run_with(2, 1).dictionary);
    }
}

#[test]
fn held_columns_stay_and_free_ones_learn() {
    let v = spectrogram(30, 40, 5, 7);
    let held = uniform(30, 4, 70);
    let unit = |w: &Array2<f64>| w / &w.sum_axis(Axis(0));
    for acceleration in WAYS {
        for beta in BETAS {
            for free in [0, 3] {
                let nmf = Nmf::new(NmfSettings { acceleration, ..settings(beta, 1, 25) }).unwrap();
                let found = nmf.factorize_with_dictionary(v.view(), held.view(), free, &mut ()).unwrap();
                assert_eq!(found.dictionary.dim(), (30, 4 + free));
                let error = found.dictionary.slice(s![.., ..4]).to_owned() - unit(&held);
                assert!(error.iter().all(|e| e.abs() < 1e-14), "beta={beta} free={free}");
                let (first, last) = (found.cost[0], *found.cost.last().unwrap());
                assert!(last < first, "beta={beta} free={free}: {first} {last}");
                let learned = found.dictionary.slice(s![.., 4..]);
                let before = found.start_dictionary.slice(s![.., 4..]);
                assert!(free == 0 || learned != before);
            }
        }
    }
}

/// With all columns held the problem in H is convex (1 <= b <= 2): both ways end at one cost.
#[test]
fn supervised_runs_agree_on_the_cost() {
    let v = spectrogram(30, 40, 5, 7);
    let held = uniform(30, 4, 70);
    for beta in [1.0, 1.5, 2.0] {
        let [plain, fast] =
            [(Acceleration::None, 3000), (Acceleration::Extrapolated, 300)].map(|(way, n)| {
                let nmf = Nmf::new(NmfSettings { acceleration: way, ..settings(beta, 1, n) }).unwrap();
                let found = nmf.factorize_with_dictionary(v.view(), held.view(), 0, &mut ()).unwrap();
                *found.cost.last().unwrap()
            });
        assert!((plain - fast).abs() < 1e-6 * plain, "beta={beta}: {plain} {fast}");
    }
}

#[test]
fn a_dictionary_of_other_bins_is_refused() {
    let v = spectrogram(30, 10, 3, 1);
    let nmf = Nmf::new(settings(1.0, 1, 5)).unwrap();
    let error = nmf.factorize_with_dictionary(v.view(), uniform(29, 4, 1).view(), 0, &mut ()).unwrap_err();
    assert_eq!(error, NmfError::Shape { what: "the dictionary", got: (29, 4), expected: (30, 4) });
    let start = Start { dictionary: uniform(30, 4, 1), activations: uniform(4, 11, 1), held: 0 };
    let error = nmf.factorize_from(v.view(), start, &mut ()).unwrap_err();
    assert_eq!(error, NmfError::Shape { what: "the activations", got: (4, 11), expected: (4, 10) });
}

#[test]
fn the_order_decides_which_factor_moves_first() {
    let v = spectrogram(20, 22, 3, 1);
    let start = || Start { dictionary: uniform(20, 3, 2), activations: uniform(3, 22, 3), held: 0 };
    for beta in [0.0, 1.0, 2.0] {
        let after_one = |order| {
            let settings = NmfSettings { order, normalize: false, floor: Some(0.0), ..plain(beta, 3, 1) };
            Nmf::new(settings).unwrap().factorize_from(v.view(), start(), &mut ()).unwrap()
        };
        let step = |v: &Array2<f64>, w: &Array2<f64>, h: &Array2<f64>| {
            let (pos, neg) = gradient(v, w, h, beta);
            h * (neg / pos).mapv(|x| x.powf(demix_nmf::Divergence::new(beta).mm_exponent()))
        };
        let (w, h) = (start().dictionary, start().activations);
        let transposed = |x: &Array2<f64>| x.t().to_owned();
        let close =
            |a: &Array2<f64>, b: &Array2<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-11 * a.abs());
        let h1 = step(&v, &w, &h);
        let w1 = transposed(&step(&transposed(&v), &transposed(&h1), &transposed(&w)));
        let h_first = after_one(Order::HFirst);
        assert!(close(&h_first.activations, &h1) && close(&h_first.dictionary, &w1), "beta={beta}");
        let w1 = transposed(&step(&transposed(&v), &transposed(&h), &transposed(&w)));
        let w_first = after_one(Order::WFirst);
        assert!(close(&w_first.dictionary, &w1), "beta={beta}");
        assert!(close(&w_first.activations, &step(&v, &w1, &h)), "beta={beta}");
    }
}

#[test]
fn normalising_leaves_the_model() {
    let v = spectrogram(25, 30, 4, 2);
    for init in [Init::Random, Init::Lecture, Init::Nndsvda] {
        let run = |normalize| run(&v, NmfSettings { normalize, init, ..settings(1.0, 4, 15) });
        let (with, without) = (run(true), run(false));
        let sums = with.dictionary.sum_axis(Axis(0));
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-14), "{init}: {sums}");
        let difference =
            with.dictionary.dot(&with.activations) - without.dictionary.dot(&without.activations);
        assert!(difference.iter().all(|d| d.abs() < 1e-12), "{init}");
        let start = with.start_dictionary.dot(&with.start_activations)
            - without.start_dictionary.dot(&without.start_activations);
        assert!(start.iter().all(|d| d.abs() < 1e-12), "{init}");
    }
}

#[test]
fn entries_that_are_no_spectrogram_are_refused_with_their_place() {
    let nmf = Nmf::new(settings(1.0, 2, 5)).unwrap();
    for (value, text) in [
        (-1.0, "V[2, 3] is -1: a spectrogram has finite entries >= 0"),
        (f64::NAN, "V[2, 3] is NaN: a spectrogram has finite entries >= 0"),
        (f64::INFINITY, "V[2, 3] is inf: a spectrogram has finite entries >= 0"),
    ] {
        let mut v = Array2::ones((4, 5));
        v[[2, 3]] = value;
        assert_eq!(nmf.factorize(v.view(), &mut ()).unwrap_err().to_string(), text);
    }
    let empty = nmf.factorize(Array2::<f32>::zeros((0, 5)).view(), &mut ()).unwrap_err();
    assert_eq!(empty, NmfError::Empty { bins: 0, frames: 5 });
    assert!(Nmf::new(NmfSettings { components: 0, ..settings(1.0, 1, 1) }).is_err());
}

#[test]
fn watching_sees_every_iteration_and_cancels() {
    let v = spectrogram(20, 20, 3, 1);
    let mut seen = Vec::new();
    let nmf = Nmf::new(NmfSettings { restarts: 2, ..plain(1.0, 3, 5) }).unwrap();
    nmf.factorize(v.view(), &mut |p: Progress| {
        seen.push((p.done, p.total));
        assert!(p.cost.is_some_and(f64::is_finite));
        true
    })
    .unwrap();
    assert_eq!(seen, (1..=10).map(|n| (n, 10)).collect::<Vec<_>>());
    let mut steps = 0;
    let error = nmf.factorize(v.view(), &mut |_: Progress| {
        steps += 1;
        steps < 3
    });
    assert!(matches!(error, Err(NmfError::Cancelled(_))));
    assert_eq!(steps, 3);
}
