//! BSS Eval against its definition: explicit matrices of delayed references, orthogonalised column
//! by column, parts as signals. And the invariants that follow from the definition.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_close, mix, noise};
use demix_eval::{BssEval, Order, Scores, Silence, Target, Windows, bss_eval_framewise};
use demix_signal::Waveform;
use ndarray::{Array1, Array2};

// Signals of 200 samples, condition numbers below 1e3: rounding is far below 1e-9 dB.
const TOLERANCE: f64 = 1e-9;

/// Some channels of a window, delayed by 0..taps and zero-padded, one column each.
fn delayed(sources: &[&Waveform], taps: usize) -> Vec<Array1<f64>> {
    let n_samples = sources[0].n_samples();
    let mut columns = Vec::new();
    for source in sources {
        for channel in source.samples.rows() {
            for tap in 0..taps {
                let mut column = Array1::zeros(n_samples + taps - 1);
                channel.iter().enumerate().for_each(|(t, &x)| column[t + tap] = f64::from(x));
                columns.push(column);
            }
        }
    }
    columns
}

fn padded(signal: &Waveform, channel: usize, taps: usize) -> Array1<f64> {
    let mut column = Array1::zeros(signal.n_samples() + taps - 1);
    signal.samples.row(channel).iter().enumerate().for_each(|(t, &x)| column[t] = f64::from(x));
    column
}

/// Gram-Schmidt, each column twice.
fn basis(columns: Vec<Array1<f64>>) -> Vec<Array1<f64>> {
    let mut basis: Vec<Array1<f64>> = Vec::new();
    for mut column in columns {
        for _ in 0..2 {
            for q in &basis {
                let part = q.dot(&column);
                column.scaled_add(-part, q);
            }
        }
        let norm = column.dot(&column).sqrt();
        basis.push(column / norm);
    }
    basis
}

fn project(basis: &[Array1<f64>], y: &Array1<f64>) -> Array1<f64> {
    let mut sum = Array1::zeros(y.len());
    basis.iter().for_each(|q| sum.scaled_add(q.dot(y), q));
    sum
}

/// Scores by definition: [sources' SDR, images' SDR, ISR, SIR, SAR].
fn by_definition(references: &[Waveform], n: usize, estimate: &Waveform, taps: usize) -> [f64; 5] {
    let own = basis(delayed(&[&references[n]], taps));
    let all = basis(delayed(&references.iter().collect::<Vec<_>>(), taps));
    let energy = |x: &Array1<f64>| x.dot(x);
    let mut sums = [[0.0; 2]; 5];
    for channel in 0..estimate.n_channels() {
        let (s, y) = (padded(&references[n], channel, taps), padded(estimate, channel, taps));
        let (q, p) = (project(&own, &y), project(&all, &y));
        for (sum, (signal, error)) in
            sums.iter_mut().zip([(&q, &y - &q), (&s, &y - &s), (&s, &q - &s), (&q, &p - &q), (&p, &y - &p)])
        {
            sum[0] += energy(signal);
            sum[1] += energy(&error);
        }
    }
    sums.map(|[signal, error]| 10.0 * (signal / error).log10())
}

/// References, and estimates with some of everything in them.
fn track(n_sources: usize, n_channels: usize, n_samples: usize) -> (Vec<Waveform>, Vec<Waveform>) {
    let references: Vec<Waveform> =
        (0..n_sources).map(|n| noise(n_channels, n_samples, 10 + n as u64)).collect();
    let estimates = (0..n_sources)
        .map(|e| {
            let artifacts = noise(n_channels, n_samples, 50 + e as u64);
            let next = &references[(e + 1) % n_sources];
            mix(&[0.8, 0.3, 0.1], &[&references[e], next, &artifacts])
        })
        .collect();
    (references, estimates)
}

fn columns(scores: &Scores) -> Vec<f64> {
    [&scores.sdr, &scores.sir, &scores.sar].into_iter().flatten().copied().collect()
}

#[test]
fn equals_the_definition() {
    for (n_sources, n_channels, taps) in
        [(1, 1, 4), (2, 1, 1), (2, 1, 7), (3, 1, 16), (2, 2, 5), (3, 2, 3), (2, 3, 1)]
    {
        let what = format!("{n_sources} sources, {n_channels} channels, {taps} taps");
        let (references, estimates) = track(n_sources, n_channels, 200);
        let judge = BssEval::new(&references, &estimates, taps).unwrap();
        let (sources, images) = (judge.sources(&Order::Fixed).unwrap(), judge.images(&Order::Fixed).unwrap());
        for n in 0..n_sources {
            let [source_sdr, sdr, isr, sir, sar] = by_definition(&references, n, &estimates[n], taps);
            // one source has nothing to interfere with it
            let sir = if n_sources == 1 { f64::INFINITY } else { sir };
            assert_close(
                &what,
                &[sources.sdr[n], sources.sir[n], sources.sar[n]],
                &[source_sdr, sir, sar],
                TOLERANCE,
            );
            let found = [images.sdr[n], images.isr.as_ref().unwrap()[n], images.sir[n], images.sar[n]];
            assert_close(&what, &found, &[sdr, isr, sir, sar], TOLERANCE);
        }
    }
}

#[test]
fn long_tracks_equal_one_block() {
    // 9000 samples are nine blocks of the shortest transform; the definition would take minutes, but
    // two blocks of the track far apart do not interact, so sums of correlations must agree
    let (references, estimates) = track(2, 1, 300);
    let apart = |x: &Waveform| {
        let mut samples = Array2::zeros((1, 9000));
        for start in [0, 1020, 5000, 8700] {
            for t in 0..300 {
                samples[[0, start + t]] = x.samples[[0, t]];
            }
        }
        Waveform::new(samples, x.sample_rate)
    };
    let long: [Vec<Waveform>; 2] = [&references, &estimates].map(|group| group.iter().map(apart).collect());
    let short = BssEval::new(&references, &estimates, 8).unwrap().sources(&Order::Fixed).unwrap();
    let long = BssEval::new(&long[0], &long[1], 8).unwrap().sources(&Order::Fixed).unwrap();
    assert_close("four copies", &columns(&long), &columns(&short), TOLERANCE);
}

#[test]
fn one_window_of_version_4_is_version_3() {
    let (references, estimates) = track(2, 2, 3000);
    let judge = BssEval::new(&references, &estimates, 16).unwrap();
    let windows = Windows { length: 3000, hop: 1, silence: Silence::Window };
    let one = judge.version4(&windows, &Order::Best).unwrap().median();
    let whole = judge.images(&Order::Best).unwrap();
    assert_close("version 4", &columns(&one), &columns(&whole), TOLERANCE);
    assert_close("isr", &one.isr.unwrap(), &whole.isr.unwrap(), TOLERANCE);
}

#[test]
fn a_filter_of_the_estimate_costs_nothing_and_an_echo_beyond_it_does() {
    let taps = 32;
    let (mut references, _) = track(2, 1, 4000);
    // silence at the end, so that no echo is cut
    for reference in &mut references {
        reference.samples.columns_mut().into_iter().skip(3900).for_each(|mut column| column.fill(0.0));
    }
    let score = |delay| {
        let mut echo = references[0].clone();
        for t in delay..4000 {
            echo.samples[[0, t]] += 0.5 * references[0].samples[[0, t - delay]];
        }
        let estimates = [echo, references[1].clone()];
        BssEval::new(&references, &estimates, taps).unwrap().sources(&Order::Fixed).unwrap().sdr[0]
    };
    // within the filter only single precision's rounding of the echo is left: -150 dB
    assert!(score(31) > 130.0, "{}", score(31));
    assert!(score(32) < 30.0, "{}", score(32));
}

#[test]
fn permuted_estimates_permute_the_answer() {
    let (references, mut estimates) = track(3, 1, 2000);
    let straight = BssEval::new(&references, &estimates, 16).unwrap().sources(&Order::Best).unwrap();
    assert_eq!(straight.permutation, [0, 1, 2]);
    estimates.rotate_left(1);
    let turned = BssEval::new(&references, &estimates, 16).unwrap().sources(&Order::Best).unwrap();
    assert_eq!(turned.permutation, [2, 0, 1]);
    assert_close("scores", &columns(&turned), &columns(&straight), TOLERANCE);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let (references, estimates) = track(2, 2, 60_000);
    let windows = Windows { length: 8000, hop: 4000, silence: Silence::Window };
    let run = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| {
            let judge = BssEval::new(&references, &estimates, 32).unwrap();
            let framewise =
                bss_eval_framewise(&references, &estimates, 32, Target::Images, &windows, &Order::Best);
            (
                judge.sources(&Order::Best).unwrap(),
                judge.version4(&windows, &Order::Best).unwrap(),
                framewise.unwrap(),
            )
        })
    };
    let one = run(1);
    assert!(one.0.sdr.iter().all(|x| x.is_finite()));
    assert!((2..=5).all(|n_threads| run(n_threads) == one));
}

#[test]
fn the_mixture_serves_every_reference() {
    let (references, estimates) = track(2, 1, 2000);
    let mixture = mix(&[1.0, 1.0], &[&references[0], &references[1]]);
    let alone = [mixture.clone()];
    let baseline = BssEval::new(&references, &alone, 16).unwrap().sources(&Order::all_from_one(2)).unwrap();
    let together = [estimates[0].clone(), estimates[1].clone(), mixture];
    let judge = BssEval::new(&references, &together, 16).unwrap();
    let again = judge.sources(&Order::Given(vec![2, 2])).unwrap();
    assert_close("baseline", &columns(&again), &columns(&baseline), TOLERANCE);
    let gain = judge.sources(&Order::BestOf(2)).unwrap().improvement(&again);
    assert!(gain.sdr.iter().all(|&gain| gain > 5.0), "{gain:?}");
}
