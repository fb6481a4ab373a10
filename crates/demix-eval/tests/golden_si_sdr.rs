//! SI-SDR, SI-SIR and SI-SAR equal fast_bss_eval.

mod common;

use common::{assert_close, permutation, scores, signals};
use demix_eval::{Order, SiSettings, si_sdr};
use demix_signal::Waveform;

// Sums of 8000 products in double precision: 8000 * 1e-16 * 4.34 dB < 1e-11 dB.
const TOLERANCE: f64 = 1e-11;

fn shifted(signals: &[Waveform], offset: f32) -> Vec<Waveform> {
    signals.iter().map(|x| Waveform::new(x.samples.mapv(|x| x + offset), x.sample_rate)).collect()
}

#[test]
fn in_the_given_order() {
    let (references, estimates) = signals("si_sdr");
    let settings = SiSettings { zero_mean: false, order: Order::Fixed };
    let found = si_sdr(&references, &estimates, &settings).unwrap();
    assert_close("si-sdr", &found.sdr, &scores("si_sdr/si_sdr"), TOLERANCE);
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
