//! What holds for every signal: nothing panics, units and orders do not matter, shapes are right.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

mod common;

use common::{assert_close, mix, noise};
use demix_eval::{
    BandSettings, BssEval, Oracle, Order, Recording, Scores, SiSettings, Windows, band_snr, oracle,
    projection, si_sdr, snr,
};
use demix_signal::{StftSettings, Waveform};
use proptest::prelude::*;

/// What a source may be: mostly noise, sometimes odd.
fn signal(kind: u8, n_channels: usize, n_samples: usize, seed: u64) -> Waveform {
    let mut signal = noise(n_channels, n_samples, seed);
    match kind {
        0 => signal.samples.fill(0.0),
        1 => signal.samples.fill(0.25),
        2 => signal.samples.mapv_inplace(|x| x * 1e-30),
        3 => signal.samples.mapv_inplace(|x| x * 1e15),
        // a click
        4 => {
            signal.samples.fill(0.0);
            signal.samples[[0, n_samples / 2]] = 1.0;
        }
        // silent but for the beginning
        5 => signal.samples.columns_mut().into_iter().skip(3).for_each(|mut x| x.fill(0.0)),
        _ => {}
    }
    signal
}

prop_compose! {
    /// References of odd kinds, and estimates that mix them with noise, copy them, or are odd, too.
    fn track()(n_sources in 1usize..4, n_channels in 1usize..3, n_samples in 1usize..300)
        (kinds in prop::collection::vec((0u8..12, 0u8..12), n_sources),
         n_channels in Just(n_channels), n_samples in Just(n_samples), seed in 0u64..1000)
        -> (Vec<Waveform>, Vec<Waveform>) {
        let references: Vec<Waveform> = (0..).zip(&kinds)
            .map(|(n, (kind, _))| signal(*kind, n_channels, n_samples, seed + n)).collect();
        let estimates = (0..).zip(&kinds).map(|(n, (_, kind))| {
            let hiss = noise(n_channels, n_samples, seed + 100 + n);
            let own = &references[n as usize];
            match kind {
                0..=5 => signal(*kind, n_channels, n_samples, seed + 200 + n),
                6 => own.clone(),
                _ => mix(&[0.8, 0.3, 0.1], &[own, &references[0], &hiss]),
            }
        }).collect();
        (references, estimates)
    }
}

fn all_scores(references: &[Waveform], estimates: &[Waveform], taps: usize) -> Vec<Scores> {
    let track = BssEval::new(references, estimates, taps).unwrap();
    let windows = Windows { length: 50, hop: 30, ..Windows::seconds(8000) };
    vec![
        track.sources(&Order::Best).unwrap(),
        track.images(&Order::Best).unwrap(),
        track.version4(&windows, &Order::Best).unwrap().median(),
        projection(references, estimates, &Order::Best).unwrap(),
        si_sdr(references, estimates, &SiSettings::default()).unwrap(),
    ]
}

fn is_order(permutation: &[usize], n: usize) -> bool {
    let mut sorted = permutation.to_vec();
    sorted.sort_unstable();
    sorted == (0..n).collect::<Vec<_>>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_signals_every_reference_has_its_scores((references, estimates) in track(), taps in 1usize..40) {
        let n = references.len();
        for scores in all_scores(&references, &estimates, taps) {
            prop_assert!(is_order(&scores.permutation, n));
            prop_assert_eq!((scores.sdr.len(), scores.sir.len(), scores.sar.len()), (n, n, n));
        }
        let plain = snr(&references, &estimates, &Order::Best).unwrap();
        let bands = band_snr(&references, &estimates, &BandSettings::default()).unwrap();
        prop_assert!(is_order(&plain.permutation, n) && is_order(&bands.permutation, n));
        // a silent reference has no score, in any measure
        for r in (0..n).filter(|&r| references[r].peak() == 0.0) {
            prop_assert!(plain.snr[r].is_nan());
            for scores in all_scores(&references, &estimates, taps) {
                prop_assert!(scores.sdr[r].is_nan() && scores.sir[r].is_nan() && scores.sar[r].is_nan());
            }
        }
    }

    /// Single precision scales by powers of two exactly: so must every ratio.
    #[test]
    fn the_unit_of_amplitude_does_not_matter(seed in 0u64..500, power in -20i32..20, n_channels in 1usize..3) {
        let sources: Vec<Waveform> = (0..2).map(|n| noise(n_channels, 400, seed + n)).collect();
        let found = vec![mix(&[1.0, 0.2], &[&sources[0], &sources[1]]), mix(&[0.5, 0.3], &[&sources[1], &sources[0]])];
        let scaled = |signals: &[Waveform]| -> Vec<Waveform> {
            let gain = 2f32.powi(power);
            signals.iter().map(|s| Waveform::new(s.samples.mapv(|x| gain * x), s.sample_rate)).collect()
        };
        let before = all_scores(&sources, &found, 8);
        // both in another unit: nothing changes; only the estimates: what ignores gain does not
        let both = all_scores(&scaled(&sources), &scaled(&found), 8);
        let one = all_scores(&sources, &scaled(&found), 8);
        for (measure, (before, after)) in before.iter().zip(&both).enumerate() {
            // rounding of systems of 32 unknowns, condition below 1e4
            assert_close(&format!("sdr {measure}"), &after.sdr, &before.sdr, 1e-8);
            assert_close(&format!("sar {measure}"), &after.sar, &before.sar, 1e-8);
        }
        for measure in [0, 3, 4] {
            assert_close(&format!("sdr {measure}"), &one[measure].sdr, &before[measure].sdr, 1e-8);
            assert_close(&format!("sir {measure}"), &one[measure].sir, &before[measure].sir, 1e-8);
        }
    }

    /// Other orders of references and estimates give the same pairs and scores.
    #[test]
    fn orders_do_not_matter(seed in 0u64..500, turn in 0usize..3, swap in any::<bool>()) {
        let sources: Vec<Waveform> = (0..3).map(|n| noise(1, 300, seed + n)).collect();
        let parts: Vec<&Waveform> = sources.iter().collect();
        let found: Vec<Waveform> = [[1.0, 0.2, 0.1], [0.1, 0.8, 0.2], [0.3, 0.1, 1.0]]
            .iter()
            .map(|gains| mix(gains, &parts))
            .collect();
        let before = all_scores(&sources, &found, 4);
        let mut turned = found.clone();
        turned.rotate_left(turn);
        if swap {
            turned.swap(0, 1);
        }
        for (measure, (before, after)) in before.iter().zip(all_scores(&sources, &turned, 4)).enumerate() {
            // sums run over the same products in the same order, the systems are the same
            assert_close(&format!("sdr {measure}"), &after.sdr, &before.sdr, 1e-9);
            for (n, &e) in after.permutation.iter().enumerate() {
                prop_assert_eq!(&turned[e], &found[before.permutation[n]]);
            }
        }
    }

    /// Masks share the mixture out, bin by bin.
    #[test]
    fn oracles_sum_to_the_mixture((references, _) in track(), fft in 4usize..40) {
        prop_assume!(references.iter().all(|r| r.peak() < 1e3));
        let gains = vec![1.0; references.len()];
        let mixture = mix(&gains, &references.iter().collect::<Vec<_>>());
        let stft = StftSettings::new(2 * fft, fft);
        for kind in [Oracle::RatioMask { exponent: 2.0 }, Oracle::BinaryMask, Oracle::Wiener, Oracle::DemixingFilter] {
            let estimates = oracle(kind, &references, &mixture, &stft).unwrap();
            prop_assert_eq!(estimates.len(), references.len());
            prop_assert!(estimates.iter().all(|e| Recording::n_samples(e) == Recording::n_samples(&mixture)));
            if matches!(kind, Oracle::RatioMask { .. } | Oracle::BinaryMask) {
                let sum = mix(&gains, &estimates.iter().collect::<Vec<_>>());
                let error = (&sum.samples - &mixture.samples).fold(0.0f32, |m, x| m.max(x.abs()));
                // transforms of single precision, there and back
                prop_assert!(error <= 1e-5 * mixture.peak(), "{} of {}", error, mixture.peak());
            }
        }
    }
}
