//! Instantaneous mixtures from end to end.

use demix::signal::Waveform;
use ndarray::{Array2, Axis, concatenate};

use crate::lab::{Lab, RATE, bass, drums, noise, residual_db, stereo};

const METHODS: [&str; 5] = ["decorrelation", "amuse", "sobi", "jade", "fastica"];

/// 10 log10 of the energy of a reference over that of its difference from an estimate.
fn sdr(reference: &Waveform, estimate: &Waveform) -> f64 {
    -residual_db(reference, std::slice::from_ref(estimate))
}

/// What `stereo` makes of one of its sources.
fn images(bass: &Waveform, drums: &Waveform) -> [Waveform; 2] {
    let silent = |x: &Waveform| Waveform::new(Array2::zeros(x.samples.dim()), RATE);
    [stereo(bass, &silent(drums)), stereo(&silent(bass), drums)]
}

#[test]
fn gains_are_undone_and_sources_sum_to_the_input() {
    let lab = Lab::new();
    let (bass, drums) = (bass(3.0, 0), drums(3.0, 0));
    let x = stereo(&bass, &drums);
    lab.write("mix.wav", &x);
    for method in METHODS {
        lab.done(&format!("separate mix.wav --method {method} -o {method}"));
        let found = lab.sources(&format!("{method}/mix"));
        assert_eq!(found.len(), 2, "{method}");
        assert!(residual_db(&x, &found) < -100.0, "{method}");
        for image in images(&bass, &drums) {
            let best = found.iter().map(|source| sdr(&image, source)).fold(f64::MIN, f64::max);
            assert!(best > 20.0, "{method}: {best:.1} dB");
        }
        let report = lab.json(&format!("{method}/mix/report.json"));
        assert_eq!(report["method"], method);
        assert_eq!(report["sums_to_input"], true, "{method}");
        assert_eq!(report["warnings"], serde_json::json!([]), "{method}");
        assert_eq!(report["stopped"], "tolerance", "{method}");
        assert!(report["settings"].get("fft").is_none(), "{method} transforms nothing");
        let mixing = report["details"]["mixing"].as_array().unwrap();
        assert_eq!((mixing.len(), mixing[0].as_array().unwrap().len()), (2, 2));
    }
}

#[test]
fn more_microphones_than_sources_leave_a_residual() {
    let lab = Lab::new();
    let (bass, drums) = (bass(3.0, 0), drums(3.0, 0));
    let two = stereo(&bass, &drums).samples;
    let third = 0.7 * &bass.samples - 0.5 * &drums.samples;
    let mut all = concatenate(Axis(0), &[two.view(), third.view()]).unwrap();
    let hiss = Array2::from_shape_vec(all.dim(), noise(all.len(), 3)).unwrap();
    all.scaled_add(1e-3, &hiss);
    let x = Waveform::new(all, RATE);
    lab.write("three.wav", &x);
    lab.done("separate three.wav --method sobi --sources 2");
    assert_eq!(lab.names("separated/three"), ["report.json", "residual.wav", "source-1.wav", "source-2.wav"]);
    let found = lab.sources("separated/three");
    assert!(residual_db(&x, &found) < -100.0);
    let residual = &found[2];
    assert!(residual.peak() < 0.01 * x.peak(), "only noise is left");
    assert_eq!(lab.json("separated/three/report.json")["sums_to_input"], true);
    // references are those of the sources
    lab.write("bass.wav", &bass);
    lab.write("drums.wav", &drums);
    lab.done("separate three.wav --method sobi --sources 2 --reference 1 --score-against bass.wav drums.wav -o scored");
    assert!(lab.json("scored/three/report.json")["scores"].is_object());
    // all three channels for three sources: nothing is left
    lab.done("separate three.wav --method jade -o jade");
    assert_eq!(lab.sources("jade/three").len(), 3);
}

#[test]
fn a_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let lab = Lab::new();
    lab.write("mix.wav", &stereo(&bass(2.0, 0), &drums(2.0, 0)));
    let bytes = |options: &str| {
        lab.done(&format!("separate mix.wav --method fastica --overwrite {options}"));
        lab.bytes("separated/mix/source-1.wav")
    };
    let first = bytes("--seed 3");
    assert!(bytes("--seed 3 --threads 1") == first);
    assert!(bytes("--set seed=3 --threads 3") == first);
    // a method without random numbers takes a seed, too
    lab.done("separate mix.wav --method sobi --seed 3 -o sobi");
}

#[test]
fn what_cannot_be_demixed_is_refused_or_told() {
    let lab = Lab::new();
    let (bass, drums) = (bass(1.0, 0), drums(1.0, 0));
    lab.write("mono.wav", &bass);
    lab.write("mix.wav", &stereo(&bass, &drums));
    lab.write("half.wav", &stereo(&bass, &Waveform::new(Array2::zeros(drums.samples.dim()), RATE)));
    for (line, said) in [
        ("separate mono.wav --method sobi", "at least 2 channels"),
        ("separate mix.wav --method sobi --sources 3", "2 channels"),
        ("separate mix.wav --method decorrelation --sources 1", "decorrelation finds 2 sources"),
        ("separate mix.wav --method sobi --set longest_lag=0", "longest_lag=0.0 is out of range"),
        ("separate mix.wav --method decorrelation --set form=plane", "one of two-lags, plain"),
        ("separate mix.wav --method amuse --set lags=3", "no setting 'lags'; did you mean 'lag'"),
    ] {
        let run = lab.line(line);
        assert_ne!(run.code, 0, "{line}");
        assert!(run.err.contains(said), "{line}: {}", run.err);
    }
    for method in METHODS {
        lab.done(&format!("separate half.wav --method {method} -o {method}"));
        let report = lab.json(&format!("{method}/half/report.json"));
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("only 1 independent signal"), "{method}: {warnings}");
        assert_eq!(lab.sources(&format!("{method}/half")).len(), 2);
    }
}
