//! Limits and invariants of the smaller measures and of the oracles.
#![allow(clippy::unwrap_used)]

mod common;

use common::{RATE, assert_close, mix, noise};
use demix_eval::{
    BandSettings, BssEval, Oracle, Order, SiSettings, band_snr, oracle, projection, si_sdr, snr,
};
use demix_signal::{Stft, StftSettings, Waveform};
use ndarray::{Array2, array};

fn track(n_channels: usize) -> (Vec<Waveform>, Vec<Waveform>) {
    let parts: Vec<Waveform> = (0..5).map(|seed| noise(n_channels, 20_000, seed)).collect();
    let estimates = vec![
        mix(&[0.9, 0.2, 0.1, 0.1], &[&parts[0], &parts[1], &parts[2], &parts[3]]),
        mix(&[0.1, 2.0, 0.3, 0.2], &[&parts[0], &parts[1], &parts[2], &parts[4]]),
        mix(&[0.4, 0.1, 0.5, 0.2], &[&parts[0], &parts[1], &parts[2], &parts[3]]),
    ];
    (parts[..3].to_vec(), estimates)
}

#[test]
fn projection_of_one_channel_is_si_sdr() {
    let (references, estimates) = track(1);
    let (a, b) = (
        projection(&references, &estimates, &Order::Best).unwrap(),
        si_sdr(&references, &estimates, &SiSettings::default()).unwrap(),
    );
    assert_eq!(a.permutation, b.permutation);
    // two ways to sum 20 000 products: 2e4 * 1e-16 * 4.34 dB
    assert_close("sdr", &a.sdr, &b.sdr, 1e-10);
    assert_close("sir", &a.sir, &b.sir, 1e-10);
    assert_close("sar", &a.sar, &b.sar, 1e-10);
}

#[test]
fn more_taps_never_lower_the_sar() {
    let (references, estimates) = track(2);
    let mut before = projection(&references, &estimates, &Order::Fixed).unwrap().sar;
    for taps in [2, 8, 64] {
        let now = BssEval::new(&references, &estimates, taps).unwrap().sources(&Order::Fixed).unwrap().sar;
        assert!(before.iter().zip(&now).all(|(before, now)| now >= before), "{taps}: {before:?} {now:?}");
        before = now;
    }
}

#[test]
fn si_sdr_ignores_gains_and_follows_permutations() {
    let (references, estimates) = track(2);
    let straight = si_sdr(&references, &estimates, &SiSettings::default()).unwrap();
    // gains that are powers of two do not round
    let turned: Vec<Waveform> =
        [(2, 8.0), (0, 0.25), (1, -2.0)].map(|(n, gain)| mix(&[gain], &[&estimates[n]])).to_vec();
    let found = si_sdr(&references, &turned, &SiSettings::default()).unwrap();
    assert_eq!(found.permutation, [1, 2, 0]);
    assert_eq!((&found.sdr, &found.sir, &found.sar), (&straight.sdr, &straight.sir, &straight.sar));
}

#[test]
fn snr_by_definition() {
    let reference = Waveform::new(array![[3.0, 4.0], [0.0, 0.0]], RATE);
    let estimate = Waveform::new(array![[3.0, 3.5], [0.0, 0.0]], RATE);
    let found = snr(&[reference], &[estimate], &Order::Best).unwrap();
    assert_close("snr", &found.snr, &[20.0], 1e-12); // 25 / 0.25
}

#[test]
fn a_wrong_gain_in_one_band_shows_in_that_band() {
    let reference = noise(2, 30_000, 1);
    let settings = BandSettings { reference_channel: 1, ..BandSettings::default() };
    // add noise that only lives between bins 510 and 740: the third band
    let stft = Stft::<f32>::new(&StftSettings::new(4096, 1024)).unwrap();
    let mut narrow = stft.forward(&noise(2, 30_000, 2)).unwrap();
    for (bin, mut x) in narrow.data.outer_iter_mut().enumerate() {
        if !(510..740).contains(&bin) {
            x.fill(Default::default());
        }
    }
    let narrow = Waveform::new(stft.inverse(&narrow, 30_000), RATE);
    let estimate = mix(&[1.0, 0.3], &[&reference, &narrow]);
    let found = band_snr(&[reference], &[estimate], &settings).unwrap();
    assert_eq!(found.edges, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
    let snr = found.snr.row(0);
    assert!((5.0..30.0).contains(&snr[2]), "{snr}");
    assert!([0, 1, 3, 4, 5, 6].iter().all(|&band| snr[band] > snr[2] + 15.0), "{snr}");
}

#[test]
fn bands_beyond_the_spectrum_and_silence_are_not_numbers() {
    let sound = noise(1, 9000, 1);
    let silence = Waveform::new(Array2::zeros((1, 9000)), RATE);
    let settings = BandSettings { n_bands: 9, order: Order::Fixed, ..BandSettings::default() };
    let found = band_snr(&[sound.clone(), silence.clone()], &[silence, sound.clone()], &settings).unwrap();
    assert_eq!(found.edges[8..], [2000, 2049]);
    // an estimate of silence errs by the reference itself
    assert!(found.snr.row(0).iter().all(|&snr| snr == 0.0), "{}", found.snr);
    assert!(found.snr.row(1).iter().all(|snr| snr.is_nan()), "{}", found.snr);
    let settings = BandSettings { n_bands: 12, ..BandSettings::default() };
    let same = band_snr(std::slice::from_ref(&sound), std::slice::from_ref(&sound), &settings).unwrap();
    assert!(same.snr[[0, 0]] == f64::INFINITY && same.snr[[0, 11]].is_nan(), "{}", same.snr);
}

const ORACLES: [Oracle; 5] = [
    Oracle::RatioMask { exponent: 2.0 },
    Oracle::RatioMask { exponent: 1.0 },
    Oracle::BinaryMask,
    Oracle::Wiener,
    Oracle::DemixingFilter,
];

/// Images of three noises with gains of their own, and the mixture.
fn images(n_channels: usize) -> (Vec<Waveform>, Waveform) {
    let images: Vec<Waveform> = (0..3)
        .map(|n| {
            let source = noise(1, 20_000, 30 + n);
            let samples = Array2::from_shape_fn((n_channels, 20_000), |(m, t)| {
                (1.0 + (n as f32 - 1.0) * m as f32) * source.samples[[0, t]]
            });
            Waveform::new(samples, RATE)
        })
        .collect();
    let mixture = mix(&[1.0, 1.0, 1.0], &images.iter().collect::<Vec<_>>());
    (images, mixture)
}

#[test]
fn oracles_are_better_than_the_mixture_and_sum_to_it() {
    let stft = StftSettings::new(1024, 256);
    for n_channels in [1, 2] {
        let (references, mixture) = images(n_channels);
        let baseline = snr(&references, std::slice::from_ref(&mixture), &Order::all_from_one(3)).unwrap();
        for kind in ORACLES {
            let estimates = oracle(kind, &references, &mixture, &stft).unwrap();
            let gain = snr(&references, &estimates, &Order::Fixed).unwrap().improvement(&baseline);
            assert!(gain.snr.iter().all(|&gain| gain > 1.0), "{kind:?}: {gain:?}");
            if kind != Oracle::DemixingFilter {
                let sum = mix(&[1.0, 1.0, 1.0], &estimates.iter().collect::<Vec<_>>());
                let rest = snr(std::slice::from_ref(&mixture), &[sum], &Order::Fixed).unwrap().snr[0];
                // single precision transforms: 24 bits less some rounding of sums
                assert!(rest > 110.0, "{kind:?}: {rest}");
            }
        }
    }
}

#[test]
fn wiener_of_one_channel_is_the_power_ratio_mask() {
    let (references, mixture) = images(1);
    let stft = StftSettings::new(512, 128);
    let a = oracle(Oracle::Wiener, &references, &mixture, &stft).unwrap();
    let b = oracle(Oracle::RatioMask { exponent: 2.0 }, &references, &mixture, &stft).unwrap();
    assert!(snr(&a, &b, &Order::Fixed).unwrap().snr.iter().all(|&snr| snr > 110.0));
}

#[test]
fn as_many_microphones_as_sources_are_demixed() {
    let (references, mixture) = images(3);
    // gains 1 + (n - 1) m: two of three channels are independent, so two sources are left
    let mixture_of_two = mix(&[1.0, 1.0], &[&references[0], &references[2]]);
    let two = [references[0].clone(), references[2].clone()];
    let stft = StftSettings::new(512, 128);
    let estimates = oracle(Oracle::DemixingFilter, &two, &mixture_of_two, &stft).unwrap();
    let found = snr(&two, &estimates, &Order::Fixed).unwrap();
    assert!(found.snr.iter().all(|&snr| snr > 100.0), "{found:?}");
    // three sources cannot be told apart with two independent channels
    let estimates = oracle(Oracle::DemixingFilter, &references, &mixture, &stft).unwrap();
    assert!(snr(&references, &estimates, &Order::Fixed).unwrap().snr.iter().all(|snr| *snr < 60.0));
}

#[test]
fn silence_is_no_obstacle_to_oracles() {
    let silence = Waveform::new(Array2::zeros((2, 3000)), RATE);
    let sound = noise(2, 3000, 1);
    let stft = StftSettings::new(512, 128);
    for kind in ORACLES {
        let found = oracle(kind, &[silence.clone(), sound.clone()], &sound, &stft).unwrap();
        assert!(found.iter().all(|y| y.samples.iter().all(|x| x.is_finite())), "{kind:?}");
        assert!(
            snr(std::slice::from_ref(&sound), &found[1..], &Order::Fixed).unwrap().snr[0] > 100.0,
            "{kind:?}"
        );
        let found = oracle(kind, &[silence.clone(), silence.clone()], &silence, &stft).unwrap();
        assert!(found.iter().all(|y| y.peak() == 0.0), "{kind:?}");
    }
}
