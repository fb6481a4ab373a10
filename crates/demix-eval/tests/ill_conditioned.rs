//! What input without a plain answer scores: `NaN`, infinities or the right number, never a panic.

#![allow(clippy::unwrap_used)]

mod common;

use common::{RATE, mix, noise};
use demix_eval::{
    BssEval, EvalError, Order, Scores, SiSettings, Silence, Target, Windows, bss_eval_framewise, si_sdr, snr,
};
use demix_signal::Waveform;
use ndarray::Array2;

const N: usize = 3000;
const TAPS: usize = 32;

fn silence(n_channels: usize) -> Waveform {
    Waveform::new(Array2::zeros((n_channels, N)), RATE)
}

fn scaled(gain: f32, x: &Waveform) -> Waveform {
    mix(&[gain], &[x])
}

/// Sources, images (both BSS Eval) and SI metrics in the given order.
fn score_all(references: &[Waveform], estimates: &[Waveform]) -> [Scores; 3] {
    let judge = BssEval::new(references, estimates, TAPS).unwrap();
    let si = si_sdr(references, estimates, &SiSettings { zero_mean: false, order: Order::Fixed }).unwrap();
    [judge.sources(&Order::Fixed).unwrap(), judge.images(&Order::Fixed).unwrap(), si]
}

fn all_nan(scores: &Scores, n: usize) -> bool {
    let isr = scores.isr.as_ref().is_none_or(|isr| isr[n].is_nan());
    scores.sdr[n].is_nan() && scores.sir[n].is_nan() && scores.sar[n].is_nan() && isr
}

fn all_finite(scores: &Scores, n: usize) -> bool {
    let isr = scores.isr.as_ref().is_none_or(|isr| isr[n].is_finite());
    scores.sdr[n].is_finite() && scores.sir[n].is_finite() && scores.sar[n].is_finite() && isr
}

#[test]
fn estimates_that_are_the_references_are_infinitely_good() {
    for n_channels in [1, 2] {
        let references = [noise(n_channels, N, 1), noise(n_channels, N, 2)];
        for scores in score_all(&references, &references) {
            for n in 0..2 {
                let ratios = [scores.sdr[n], scores.sir[n], scores.sar[n]];
                assert!(ratios.iter().all(|&x| x == f64::INFINITY), "{scores:?}");
                assert!(scores.isr.as_ref().is_none_or(|isr| isr[n] == f64::INFINITY), "{scores:?}");
            }
        }
        assert_eq!(snr(&references, &references, &Order::Best).unwrap().snr, [f64::INFINITY; 2]);
    }
}

#[test]
fn a_silent_reference_or_estimate_is_not_a_number() {
    for n_channels in [1, 2] {
        let (a, b) = (noise(n_channels, N, 1), noise(n_channels, N, 2));
        let estimates = [mix(&[1.0, 0.1], &[&a, &b]), mix(&[0.2, 1.0], &[&a, &b])];
        for scores in score_all(&[a.clone(), silence(n_channels)], &estimates) {
            assert!(all_nan(&scores, 1) && !scores.sdr[0].is_nan(), "{scores:?}");
            // nothing else sounds, so nothing interferes
            assert_eq!(scores.sir[0], f64::INFINITY);
        }
        for scores in score_all(&[a.clone(), b.clone()], &[estimates[0].clone(), silence(n_channels)]) {
            assert!(all_nan(&scores, 1) && all_finite(&scores, 0), "{scores:?}");
        }
        for scores in score_all(&[silence(n_channels)], &[silence(n_channels)]) {
            assert!(all_nan(&scores, 0), "{scores:?}");
        }
        let found = snr(&[a, silence(n_channels)], &[silence(n_channels), b], &Order::Fixed).unwrap();
        assert!(found.snr[0] == 0.0 && found.snr[1].is_nan(), "{found:?}");
    }
}

#[test]
fn a_silent_signal_leaves_the_order_to_the_others() {
    let sound = [noise(1, N, 1), noise(1, N, 2)];
    let references = [sound[0].clone(), silence(1), sound[1].clone()];
    let estimates = [
        mix(&[0.1, 1.0], &[&sound[0], &sound[1]]),
        mix(&[1.0, 0.1], &[&sound[0], &sound[1]]),
        noise(1, N, 3),
    ];
    let judge = BssEval::new(&references, &estimates, TAPS).unwrap();
    assert_eq!(judge.sources(&Order::Best).unwrap().permutation, [1, 2, 0]);
    assert_eq!(si_sdr(&references, &estimates, &SiSettings::default()).unwrap().permutation, [1, 2, 0]);
}

#[test]
fn a_source_given_twice_adds_nothing_to_the_span() {
    let (a, b, artifacts) = (noise(1, N, 1), noise(1, N, 2), noise(1, N, 3));
    let estimate = mix(&[1.0, 0.2, 0.1], &[&a, &b, &artifacts]);
    let twice = [a.clone(), b.clone(), scaled(0.7, &a)];
    let estimates = [estimate.clone(), estimate.clone(), estimate.clone()];
    let once = score_all(&[a, b], &estimates[..2]);
    for (found, expected) in score_all(&twice, &estimates).iter().zip(&once) {
        for (found, expected) in
            [(&found.sdr, &expected.sdr), (&found.sir, &expected.sir), (&found.sar, &expected.sar)]
        {
            // the copy's rounding to single precision, -150 dB, is as good as nothing
            assert!((found[0] - expected[0]).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }
}

#[test]
fn one_sound_in_both_channels_scores_as_one_channel() {
    let mono = [noise(1, N, 1), noise(1, N, 2)];
    let both = |x: &Waveform| Waveform::new(Array2::from_shape_fn((2, N), |(_, t)| x.samples[[0, t]]), RATE);
    let estimates = [mix(&[1.0, 0.1], &[&mono[0], &mono[1]]), mix(&[0.2, 1.0], &[&mono[0], &mono[1]])];
    let windows = Windows { length: 1000, hop: 1000, silence: Silence::Window };
    let score = |references: &[Waveform], estimates: &[Waveform]| {
        let judge = BssEval::new(references, estimates, TAPS).unwrap();
        let frames = judge.version4(&windows, &Order::Fixed).unwrap().median();
        [judge.sources(&Order::Fixed).unwrap(), judge.images(&Order::Fixed).unwrap(), frames]
    };
    let expected = score(&mono, &estimates);
    for (found, expected) in
        score(&mono.each_ref().map(both), &estimates.each_ref().map(both)).iter().zip(&expected)
    {
        for n in 0..2 {
            // SARs are beyond 130 dB, the rounding of the mix, and are not compared
            assert!((found.sdr[n] - expected.sdr[n]).abs() < 1e-6, "{found:?} {expected:?}");
            assert!((found.sir[n] - expected.sir[n]).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }
}

#[test]
fn a_reference_that_is_a_filtered_copy_is_solved_all_the_same() {
    let a = noise(1, N, 1);
    let mut late = a.samples.clone();
    late.column_mut(N - 1).fill(0.0);
    let a = Waveform::new(late, RATE);
    let mut delayed = Array2::zeros((1, N));
    (1..N).for_each(|t| delayed[[0, t]] = a.samples[[0, t - 1]]);
    let delayed = Waveform::new(delayed, RATE);
    let estimate = mix(&[1.0, 0.3], &[&a, &noise(1, N, 2)]);
    // the two spans together are that of the first with one more tap
    let alone = std::slice::from_ref(&estimate);
    let expected = BssEval::new(std::slice::from_ref(&a), alone, TAPS + 1).unwrap();
    let expected = expected.sources(&Order::Fixed).unwrap();
    for scores in &score_all(&[a, delayed], &[estimate.clone(), estimate.clone()])[..2] {
        assert!((scores.sar[0] - expected.sar[0]).abs() < 1e-6, "{scores:?} {expected:?}");
        assert!((scores.sar[1] - expected.sar[0]).abs() < 1e-6, "{scores:?} {expected:?}");
    }
}

#[test]
fn narrow_bands_score_as_wide_ones() {
    // eight low passes: nothing but single precision's rounding is left at half the sample rate
    let narrow = |seed| {
        let mut x: Vec<f64> = noise(1, 20_000, seed).samples.iter().map(|&x| f64::from(x)).collect();
        for _ in 0..8 {
            let mut before = 0.0;
            for x in &mut x {
                before = 0.9 * before + 0.1 * *x;
                *x = before;
            }
        }
        Waveform::mono(x.into_iter().map(|x| x as f32).collect(), RATE)
    };
    let parts: Vec<Waveform> = (0..4).map(narrow).collect();
    let estimates = [mix(&[1.0, 0.1], &[&parts[0], &parts[2]]), mix(&[1.0, 0.1], &[&parts[1], &parts[3]])];
    let judge = BssEval::new(&parts[..2], &estimates, 256).unwrap();
    for scores in [judge.sources(&Order::Best).unwrap(), judge.images(&Order::Best).unwrap()] {
        // artifacts at -20 dB, give or take the levels of four narrow noises
        assert!(scores.sdr.iter().chain(&scores.sar).all(|x| (17.0..23.0).contains(x)), "{scores:?}");
    }
}

#[test]
fn gains_do_not_matter_but_for_images() {
    let (a, b) = (noise(2, N, 1), noise(2, N, 2));
    let references = [a.clone(), b.clone()];
    let estimates = [mix(&[1.0, 0.1], &[&a, &b]), mix(&[0.2, 1.0], &[&a, &b])];
    let [sources, _, si] = score_all(&references, &estimates);
    for gain in [1e-6, 1e6] {
        let loud = estimates.clone().map(|x| scaled(gain, &x));
        let [found, images, found_si] = score_all(&references, &loud);
        for n in 0..2 {
            // the gain rounds to single precision: 6e-8 of an estimate whose errors lie at -15 dB
            assert!((found.sdr[n] - sources.sdr[n]).abs() < 1e-5, "{found:?} {sources:?}");
            assert!((found_si.sdr[n] - si.sdr[n]).abs() < 1e-5, "{found_si:?} {si:?}");
            let expected = if gain < 1.0 { 0.0 } else { -120.0 };
            assert!((images.sdr[n] - expected).abs() < 0.5, "{images:?}");
        }
        let quiet = references.clone().map(|x| scaled(gain, &x));
        let [found, _, _] = score_all(&quiet, &estimates);
        assert!((found.sir[0] - sources.sir[0]).abs() < 1e-5);
    }
}

#[test]
fn constants_and_a_shift_by_one_sample() {
    let constant = Waveform::new(Array2::from_elem((1, N), 0.5), RATE);
    let a = noise(1, N, 1);
    let mut shifted = Array2::zeros((1, N));
    (1..N).for_each(|t| shifted[[0, t]] = a.samples[[0, t - 1]]);
    let shifted = Waveform::new(shifted, RATE);

    // a constant is hardly distinguished from its delays, and its estimate is a filtered reference
    let [sources, images, si] = score_all(&[constant.clone(), a.clone()], &[scaled(0.5, &constant), shifted]);
    assert_eq!(sources.sdr[0], f64::INFINITY, "{sources:?}");
    assert_eq!(si.sdr[0], f64::INFINITY, "{si:?}");
    assert!((images.sdr[0] - 20.0 * 2f64.log10()).abs() < 1e-9, "{images:?}");
    // one sample is lost at the end: about 10 log10 N
    assert!((20.0..60.0).contains(&sources.sdr[1]), "{sources:?}");
    assert!(si.sdr[1] < 3.0, "{si:?}");
    // zero mean leaves a silent reference
    let centred = SiSettings { zero_mean: true, order: Order::Fixed };
    assert!(
        si_sdr(std::slice::from_ref(&constant), std::slice::from_ref(&constant), &centred).unwrap().sdr[0]
            .is_nan()
    );
}

#[test]
fn silent_windows_are_not_numbers_and_the_rest_goes_on() {
    let mut a = noise(1, N, 1);
    a.samples.columns_mut().into_iter().take(1000).for_each(|mut column| column.fill(0.0));
    let b = noise(1, N, 2);
    let estimates = [mix(&[1.0, 0.1], &[&a, &b]), mix(&[0.2, 1.0], &[&a, &b])];
    let references = [a, b];
    let judge = BssEval::new(&references, &estimates, TAPS).unwrap();
    for (silence, others) in [(Silence::Window, true), (Silence::Source, false)] {
        let windows = Windows { length: 1000, hop: 1000, silence };
        let version4 = judge.version4(&windows, &Order::Fixed).unwrap();
        let version3 =
            bss_eval_framewise(&references, &estimates, TAPS, Target::Sources, &windows, &Order::Fixed)
                .unwrap();
        for frames in [version4, version3] {
            assert!(frames.sdr[[0, 0]].is_nan(), "{frames:?}");
            assert_eq!(frames.sdr[[1, 0]].is_nan(), others, "{frames:?}");
            assert!((1..3).all(|frame| frames.sdr.column(frame).iter().all(|x| x.is_finite())));
            let middle = (frames.sdr[[0, 1]] + frames.sdr[[0, 2]]) / 2.0;
            assert_eq!(frames.median().sdr[0], middle, "medians leave NaN out");
        }
    }
}

#[test]
fn signals_shorter_than_the_filter() {
    let references = [Waveform::mono(vec![1.0], RATE), Waveform::mono(vec![0.5], RATE)];
    let estimates = [Waveform::mono(vec![1.0], RATE), Waveform::mono(vec![0.7], RATE)];
    let scores = BssEval::new(&references, &estimates, TAPS).unwrap().sources(&Order::Best).unwrap();
    assert_eq!(scores.sdr, [f64::INFINITY; 2]);
}

#[test]
fn errors_name_signal_and_numbers() {
    let a = noise(1, N, 1);
    let text = |result: Result<BssEval<'_, Waveform, Waveform>, EvalError>| match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string(),
    };
    let with = |x: Waveform| [a.clone(), x];
    let good = [a.clone(), noise(1, N, 2)];

    let short = with(noise(1, N - 5, 2));
    assert_eq!(
        text(BssEval::new(&good, &short, TAPS)),
        "estimate 1 has 2995 samples, reference 0 has 3000; cut or pad them to one length"
    );
    let stereo = with(noise(2, N, 2));
    assert_eq!(text(BssEval::new(&stereo, &good, TAPS)), "reference 1 has 2 channels, reference 0 has 1");
    let other_rate = with(Waveform::new(a.samples.clone(), 44100));
    assert_eq!(
        text(BssEval::new(&good, &other_rate, TAPS)),
        "estimate 1 has 44100 samples per second, reference 0 has 8000; resample one of them"
    );
    let mut broken = a.clone();
    broken.samples[[0, 1234]] = f32::NAN;
    assert_eq!(
        text(BssEval::new(&good, &with(broken), TAPS)),
        "estimate 1 holds a sample that is not a finite number (channel 0, sample 1234)"
    );
    assert_eq!(text(BssEval::new(&good, &[], TAPS)), "there is no estimate to score");
    let empty = [Waveform::mono(vec![], RATE)];
    assert_eq!(text(BssEval::new(&empty, &empty, TAPS)), "the signals have no samples");
    assert_eq!(
        text(BssEval::new(&good, &good, 0)),
        "filter length is 0, it must be 1 or more, and at most 32768 divided by sources times channels"
    );
    let judge = BssEval::new(&good, &good[..1], TAPS).unwrap();
    assert_eq!(
        judge.sources(&Order::Best).unwrap_err().to_string(),
        "1 estimates for 2 references; give one estimate for every reference"
    );
    assert!(matches!(judge.sources(&Order::Given(vec![0, 1])), Err(EvalError::Order { .. })));
}
