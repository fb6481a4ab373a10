//! SI-SDR, SI-SIR and SI-SAR equal fast_bss_eval.

mod common;

use common::{assert_close, permutation, scores, signals};
use demix_eval::{Order, SiSettings, si_sdr};
use demix_signal::Waveform;

// The golden signals were rounded to single precision: 6e-8 of the amplitude, uncorrelated with a
// residual at -10 dB, moves the score by about 20 log10(1 + 6e-8 / sqrt(8000)) < 1e-8 dB; the
// specification asks for 1e-6.
const TOLERANCE: f64 = 1e-6;

fn shifted(signals: &[Waveform], offset: f32) -> Vec<Waveform> {
    signals.iter().map(|x| Waveform::new(x.samples.mapv(|x| x + offset), x.sample_rate)).collect()
}

#[test]
fn in_the_given_order() {
    let (references, estimates) = signals("si_sdr");
    let settings = SiSettings { zero_mean: false, order: Order::Fixed };
    let found = si_sdr(&references, &estimates, &settings).unwrap();
    assert_close("si-sdr", &found.sdr, &scores("si_sdr/si_sdr"), TOLERANCE);
    assert_close("formula", &found.sdr, &scores("si_sdr/si_sdr_formula"), TOLERANCE);
}

#[test]
fn with_an_offset() {
    let (references, estimates) = signals("si_sdr");
    let (references, estimates) = (shifted(&references, 0.01), shifted(&estimates, 0.02));
    for (zero_mean, name) in [(true, "si_sdr_zero_mean"), (false, "si_sdr_offset_no_zero_mean")] {
        let found = si_sdr(&references, &estimates, &SiSettings { zero_mean, order: Order::Fixed }).unwrap();
        assert_close(name, &found.sdr, &scores(&format!("si_sdr/{name}")), TOLERANCE);
    }
}

#[test]
fn in_the_best_order() {
    let (references, mut estimates) = signals("si_sdr");
    estimates.rotate_right(1);
    let found = si_sdr(&references, &estimates, &SiSettings::default()).unwrap();
    assert_eq!(found.permutation, permutation("si_sdr/perm"));
    assert_close("si-sdr", &found.sdr, &scores("si_sdr/si_sdr_perm"), TOLERANCE);
    assert_close("si-sir", &found.sir, &scores("si_sdr/si_sir_perm"), TOLERANCE);
    assert_close("si-sar", &found.sar, &scores("si_sdr/si_sar_perm"), TOLERANCE);
}
