//! Instantaneous mixtures from end to end, and what `auto` makes of several channels.

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
        assert!(report["transform"].is_null(), "{method}");
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

/// Noise in syllables, each with a loudness and a colour of its own: 8 s.
fn talker(take: u64) -> Waveform {
    let n = 8 * RATE as usize;
    let (white, dice) = (noise(n, take), noise(512, take + 50));
    let mut state = 0.0;
    let samples = white.iter().enumerate().map(|(t, x)| {
        let syllable = t / (RATE as usize / 6);
        let (loud, pole) = (dice[2 * syllable].abs().powi(3), 0.7 * dice[2 * syllable + 1]);
        state = pole * state + 0.3 * loud * x;
        state
    });
    Waveform::mono(samples.collect(), RATE)
}

/// What `auto` says of a file: method, number of sources, why.
fn choice(lab: &Lab, file: &str, options: &str) -> (String, usize, String) {
    lab.done(&format!("separate {file} --overwrite -o chosen {options}"));
    let stem = file.rsplit('/').next().unwrap().trim_end_matches(".wav");
    let report = lab.json(&format!("chosen/{stem}/report.json"));
    let word = |name: &str| report[name].as_str().unwrap().to_string();
    let sources = report["sources"].as_array().unwrap();
    let n = sources.iter().filter(|source| source["name"] != "residual").count();
    (word("method"), n, word("why"))
}

#[test]
fn two_sources_by_gains_are_counted_on_any_number_of_channels() {
    let lab = Lab::new();
    let talkers = [talker(1), talker(2)];
    for m in [3, 4, 8] {
        let gain = |channel: usize, n: usize| {
            let angle = 0.3 + 2.5 * channel as f32 / m as f32;
            if n == 0 { angle.cos() } else { (0.9 * angle + 0.2).sin() }
        };
        let hiss = noise(m * talkers[0].n_samples(), 9);
        for (name, noisy) in [("clean", 0.0), ("noisy", 0.003)] {
            let x = Array2::from_shape_fn((m, talkers[0].n_samples()), |(channel, t)| {
                let sum: f32 = (0..2).map(|n| gain(channel, n) * talkers[n].samples[[0, t]]).sum();
                sum + noisy * hiss[channel * talkers[0].n_samples() + t]
            });
            lab.write(&format!("{name}.wav"), &Waveform::new(x, RATE));
            let (method, n, why) = choice(&lab, &format!("{name}.wav"), "");
            assert_eq!((method.as_str(), n), ("sobi", 2), "{m} channels, {name}: {why}");
            assert!(
                why.starts_with(&format!("{m} channels that differ by gains alone (evidence 0.00")),
                "{why}"
            );
        }
    }
}

#[test]
fn talkers_in_a_room_are_counted_by_any_number_of_microphones() {
    let lab = Lab::new();
    for take in 1..4 {
        lab.write(&format!("{take}.wav"), &talker(take));
    }
    for (n, m, array) in
        [(2, 3, "line:3:0.06"), (2, 4, "line:4:0.06"), (2, 8, "circle:8:0.06"), (3, 4, "line:4:0.06")]
    {
        let files: Vec<String> = (1..=n).map(|take| format!("{take}.wav")).collect();
        lab.done(&format!(
            "simulate {} --room 5,4,2.5 --t60 0.15 --distance 1 --array {array} --snr 50 --overwrite -o scene",
            files.join(" ")
        ));
        // the choice is made before the separation, which may be short: these are settings of ilrma
        let short = "--set fft=512 --set iterations=1 --set start_iterations=1";
        let (method, found, why) = choice(&lab, "scene/mixture.wav", short);
        assert_eq!((method.as_str(), found), ("ilrma", n), "{m} microphones: {why}");
        assert!(
            why.starts_with(&format!("{m} channels that differ by delays and echoes (evidence 0.")),
            "{why}"
        );
        assert!(why.contains(&format!("{n} sources: direction {} of {m} is echoes", n + 1)), "{why}");
    }
}
