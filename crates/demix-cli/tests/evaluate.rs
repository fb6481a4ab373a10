//! `demix evaluate` and `separate --score-against`, as users and programs rely on them.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::{Path, PathBuf};
use std::process::Command;

use demix::eval::{BssEval, Order};
use demix::files::audio::{self, WriteFormat};
use demix::signal::Waveform;
use ndarray::Array2;
use serde_json::{Value, json};
use tempfile::TempDir;

const RATE: u32 = 8000;
const ALL: &str = "bss-eval-v3,bss-eval-v3-images,bss-eval-v4,projection,si-sdr,snr,fbw-snr";

/// A folder in which the program runs.
struct Desk(TempDir);

struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, sound: &Waveform) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        audio::write(&self.path(name), sound, &WriteFormat::default()).unwrap();
    }

    fn run(&self, line: &str) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demix"));
        let output = command.args(line.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        let run = Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!run.err.contains("panicked"), "{}", run.err);
        run
    }

    fn done(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(run.code, 0, "demix {line}\n{}{}", run.out, run.err);
        run.out
    }

    fn json(&self, line: &str) -> Value {
        // events of the progress come before the result
        serde_json::from_str(self.done(&format!("{line} --json")).lines().last().unwrap()).unwrap()
    }

    fn report(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

/// Noise with a colour of its own, half a second longer than one second.
fn source(seed: u32) -> Waveform {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut before = 0.0;
    let colour = [0.9, -0.8, 0.3][seed as usize % 3];
    let samples = (0..12_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        before = colour * before + (state >> 8) as f32 / (1 << 25) as f32 - 0.25;
        before
    });
    Waveform::mono(samples.collect(), RATE)
}

fn mix(gains: &[f32], parts: &[&Waveform]) -> Waveform {
    let mut samples = Array2::zeros(parts[0].samples.dim());
    gains.iter().zip(parts).for_each(|(&gain, part)| samples.scaled_add(gain, &part.samples));
    Waveform::new(samples, RATE)
}

/// Two references, two estimates in the other order, and their mixture.
fn scene(desk: &Desk) -> [Waveform; 4] {
    let (a, b, hiss) = (source(1), source(2), source(3));
    let estimates = [mix(&[0.1, 1.0, 0.02], &[&a, &b, &hiss]), mix(&[0.9, 0.2, 0.01], &[&a, &b, &hiss])];
    desk.write("a.wav", &a);
    desk.write("b.wav", &b);
    desk.write("x.wav", &estimates[0]);
    desk.write("y.wav", &estimates[1]);
    desk.write("mix.wav", &mix(&[1.0, 1.0], &[&a, &b]));
    let [x, y] = estimates;
    [a, b, x, y]
}

const SCENE: &str = "evaluate --reference a.wav b.wav --estimate x.wav y.wav";

#[test]
fn every_metric_keeps_the_contract() {
    let desk = Desk::new();
    let [a, b, x, y] = scene(&desk);
    let value = desk.json(&format!("{SCENE} --mixture mix.wav --metrics {ALL}"));
    let metrics = value["metrics"].as_object().unwrap();
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ALL.split(',').collect::<Vec<_>>());
    assert!(value.get("oracle").is_none());
    for (name, columns) in metrics {
        let quantities: &[&str] = match name.as_str() {
            "snr" | "fbw-snr" => &["snr"],
            "bss-eval-v3-images" | "bss-eval-v4" => &["sdr", "isr", "sir", "sar"],
            _ => &["sdr", "sir", "sar"],
        };
        assert_eq!(columns["permutation"], json!([1, 0]), "{name}");
        for quantity in quantities {
            for key in [(*quantity).to_string(), format!("{quantity}_improvement")] {
                assert_eq!(columns[&key].as_array().unwrap().len(), 2, "{name} {key}");
            }
        }
        let gain = columns[format!("{}_improvement", quantities[0])][1].as_f64().unwrap();
        assert!(gain > 5.0, "{name}: {columns}");
        assert_eq!(columns.get("frames").is_some(), name == "bss-eval-v4");
    }
    // the library's numbers, to the last bit
    let (references, estimates) = ([a, b], [x, y]);
    let scores = BssEval::new(&references, &estimates, 512).unwrap().sources(&Order::Best).unwrap();
    assert_eq!(metrics["bss-eval-v3"]["sdr"], json!(scores.sdr));
    assert_eq!(metrics["bss-eval-v3"]["sar"], json!(scores.sar));
    // windows of one second: one fits whole into a second and a half
    let frames = &metrics["bss-eval-v4"]["frames"];
    assert_eq!(frames["start_seconds"], json!([0.0]));
    assert_eq!(frames["sdr"][0], json!([metrics["bss-eval-v4"]["sdr"][0]]));
    assert_eq!(metrics["fbw-snr"]["band_snr"][0].as_array().unwrap().len(), 7);
}

#[test]
fn options_change_what_they_say() {
    let desk = Desk::new();
    scene(&desk);
    let default = desk.json(SCENE);
    let names: Vec<&String> = default["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["si-sdr", "bss-eval-v3", "snr"]);
    assert!(default["metrics"]["snr"].get("snr_improvement").is_none());

    let kept = desk.json(&format!("{SCENE} --keep-order"));
    assert_eq!(kept["metrics"]["bss-eval-v3"]["permutation"], json!([0, 1]));
    assert!(kept["metrics"]["bss-eval-v3"]["sdr"][0].as_f64().unwrap() < 0.0);

    // one tap is the projection
    let one = desk.json(&format!("{SCENE} --metrics bss-eval-v3,projection --filter-length 1"));
    assert_eq!(one["metrics"]["bss-eval-v3"], one["metrics"]["projection"]);
    let more = desk.json(&format!("{SCENE} --metrics bss-eval-v3 --filter-length 64"));
    assert!(
        more["metrics"]["bss-eval-v3"]["sdr"][0].as_f64() > one["metrics"]["bss-eval-v3"]["sdr"][0].as_f64()
    );

    let frames = desk.json(&format!("{SCENE} --metrics bss-eval-v4 --window 0.5 --hop 0.25"));
    let frames = &frames["metrics"]["bss-eval-v4"]["frames"];
    assert_eq!(frames["start_seconds"], json!([0.0, 0.25, 0.5, 0.75, 1.0]));
    assert_eq!(frames["isr"][1].as_array().unwrap().len(), 5);

    let text = desk.done(&format!("{SCENE} --mixture mix.wav"));
    assert!(text.contains("bss-eval-v3 (dB)") && text.contains("SDR improvement"), "{text}");
    let row = text.lines().find(|line| line.trim_start().starts_with("a.wav")).unwrap();
    assert!(row.trim_end().ends_with("y.wav"), "{text}");
}

#[test]
fn oracles_stand_beside_the_estimates() {
    let desk = Desk::new();
    scene(&desk);
    let line = format!("{SCENE} --mixture mix.wav --metrics si-sdr,bss-eval-v4,fbw-snr --oracle");
    let value = desk.json(&line);
    let oracles = value["oracle"].as_object().unwrap();
    let names: Vec<&String> = oracles.keys().collect();
    assert_eq!(names, ["ideal-ratio-mask", "ideal-binary-mask", "wiener", "demixing-filter"]);
    for (name, metrics) in oracles {
        for (metric, quantity) in [("si-sdr", "sdr"), ("bss-eval-v4", "sdr"), ("fbw-snr", "snr")] {
            let improvement = format!("{quantity}_improvement");
            let own = value["metrics"][metric][&improvement][0].as_f64().unwrap();
            let best = metrics[metric][&improvement][0].as_f64().unwrap();
            let share = metrics[metric][format!("{quantity}_share")][0].as_f64();
            match best > 0.0 {
                true => assert!((share.unwrap() - own / best).abs() < 1e-12, "{name} {metric}"),
                false => assert_eq!(share, None, "{name} {metric}"),
            }
        }
    }
    // of one channel, the filter with true variances is the mask of power
    let sdr = |name: &str| oracles[name]["si-sdr"]["sdr"][0].as_f64().unwrap();
    assert!((sdr("wiener") - sdr("ideal-ratio-mask")).abs() < 1e-4);
    assert!(desk.done(&line).contains("oracles, si-sdr: SDR (dB)"));
}

#[test]
fn numbers_that_json_lacks_have_names() {
    let desk = Desk::new();
    scene(&desk);
    desk.write("silence.wav", &mix(&[0.0], &[&source(1)]));
    let same = desk.json(&format!("evaluate --reference a.wav --estimate a.wav --metrics {ALL}"));
    assert_eq!(same["metrics"]["snr"]["snr"], json!(["inf"]));
    assert_eq!(same["metrics"]["bss-eval-v3"]["sdr"], json!(["inf"]));
    let silent = desk.json(&format!("evaluate --reference silence.wav --estimate a.wav --metrics {ALL}"));
    for (name, columns) in silent["metrics"].as_object().unwrap() {
        let key = if name.ends_with("snr") { "snr" } else { "sdr" };
        assert_eq!(columns[key], json!([null]), "{name}");
    }
    let text = desk.done("evaluate --reference silence.wav a.wav --estimate a.wav b.wav");
    assert!(text.contains("undefined") && !text.contains("NaN"), "{text}");
}

#[test]
fn wrong_input_is_told_in_one_line_with_names_and_numbers() {
    let desk = Desk::new();
    scene(&desk);
    desk.write("short.wav", &Waveform::mono(vec![0.1; 500], RATE));
    desk.write("fast.wav", &Waveform::mono(vec![0.1; 12_000], 16_000));
    desk.write("stereo.wav", &Waveform::new(Array2::from_elem((2, 12_000), 0.1), RATE));
    // the writer refuses such samples: put one into the file by hand
    let mut bytes = std::fs::read(desk.path("a.wav")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(desk.path("nan.wav"), bytes).unwrap();
    std::fs::write(desk.path("letter.wav"), "Dear reader,\n").unwrap();
    let cases: &[(&str, i32, &[&str])] = &[
        ("--reference a.wav --estimate short.wav", 1, &["a.wav and short.wav", "samples: 12000 and 500"]),
        ("--reference a.wav --estimate fast.wav", 1, &["a.wav and fast.wav", "rate (Hz): 8000 and 16000"]),
        ("--reference a.wav --estimate stereo.wav", 1, &["a.wav and stereo.wav", "channels: 1 and 2"]),
        (
            "--reference a.wav --estimate b.wav --mixture short.wav",
            1,
            &["a.wav and short.wav", "12000 and 500"],
        ),
        ("--reference a.wav b.wav --estimate x.wav", 2, &["references: 2", "estimates: 1"]),
        ("--reference nan.wav --estimate a.wav", 1, &["nan.wav", "not finite", "sample 11999"]),
        ("--reference a.wav --estimate letter.wav", 1, &["letter.wav", "not audio"]),
        ("--reference a.wav --estimate gone.wav", 1, &["gone.wav: no such file"]),
        ("--reference a.wav --estimate b.wav --metrics sdr", 2, &["no metric 'sdr'", "did you mean"]),
        ("--reference a.wav --estimate b.wav --filter-length 0", 2, &["--filter-length"]),
        (
            "--reference a.wav --estimate b.wav --filter-length 40000",
            2,
            &["--filter-length", "40000", "32768"],
        ),
        ("--reference a.wav --estimate b.wav --window 0 --metrics bss-eval-v4", 2, &["--window is 0 s"]),
        ("--reference a.wav --estimate b.wav --oracle", 2, &["--oracle", "--mixture"]),
        ("--reference a.wav", 2, &["--estimate"]),
        ("--tracks .", 2, &["--reference-dir"]),
        ("--tracks . --reference-dir gone", 1, &["gone: no such file"]),
        ("--tracks . --reference-dir . --reference a.wav", 2, &["cannot be used"]),
    ];
    for (arguments, code, texts) in cases {
        let run = desk.run(&format!("evaluate {arguments}"));
        assert_eq!((run.code, run.err.lines().count()), (*code, 1), "{arguments}: {}", run.err);
        assert!(texts.iter().all(|text| run.err.contains(text)), "{arguments}: {}", run.err);
        assert!(run.out.is_empty(), "{arguments}: {}", run.out);
    }
}

/// Two tracks as MUSDB18 or DSD100 have them, with the mixture.
fn data_set(desk: &Desk, dsd: bool) -> Vec<[Waveform; 2]> {
    let tracks: Vec<[Waveform; 2]> =
        (0..2).map(|track| [source(1 + 3 * track), source(2 + 3 * track)]).collect();
    for (track, [vocals, drums]) in tracks.iter().enumerate() {
        let (sources, mixtures) = match dsd {
            true => (format!("data/Sources/Test/song{track}"), format!("data/Mixtures/Test/song{track}")),
            false => (format!("data/test/song{track}"), format!("data/test/song{track}")),
        };
        desk.write(&format!("{sources}/vocals.wav"), vocals);
        desk.write(&format!("{sources}/drums.wav"), drums);
        desk.write(&format!("{mixtures}/mixture.wav"), &mix(&[1.0, 1.0], &[vocals, drums]));
    }
    tracks
}

fn estimates(desk: &Desk, folder: &str, names: [&str; 2], truth: &[[Waveform; 2]], leak: f32) {
    for (track, [vocals, drums]) in truth.iter().enumerate() {
        desk.write(&format!("{folder}/song{track}/{}.wav", names[0]), &mix(&[1.0, leak], &[vocals, drums]));
        desk.write(&format!("{folder}/song{track}/{}.wav", names[1]), &mix(&[1.0, leak], &[drums, vocals]));
    }
}

#[test]
fn folders_of_tracks_become_tables_pictures_and_a_page() {
    let desk = Desk::new();
    let truth = data_set(&desk, true);
    estimates(&desk, "good/test", ["vocals", "drums"], &truth, 0.1);
    // nameless and in the other order
    estimates(&desk, "bad", ["source-2", "source-1"], &truth, 0.5);
    let line = "evaluate --tracks good --tracks bad --reference-dir data --metrics si-sdr,snr -o scores";
    let value = desk.json(line);
    assert_eq!((&value["tracks"], &value["methods"]), (&json!(2), &json!(["good", "bad"])));
    let find = |method: &str, source: &str, quantity: &str| -> Value {
        let rows = value["summary"].as_array().unwrap().iter();
        let mut rows = rows.filter(|r| r["method"] == method && r["source"] == source);
        rows.find(|r| r["metric"] == "si-sdr" && r["quantity"] == quantity).unwrap().clone()
    };
    // nothing but the other source leaks: about 20 dB and 6 dB better than the mixture, which has it whole
    for (method, gain) in [("good", 20.0), ("bad", 6.0)] {
        for source in ["vocals", "drums", "all"] {
            let row = find(method, source, "sdr_improvement");
            assert!((row["mean"].as_f64().unwrap() - gain).abs() < 0.5, "{row}");
            assert_eq!(row["n"], 2);
            let interval = &row["mean_interval"];
            assert!(
                interval[0].as_f64() <= row["mean"].as_f64() && row["mean"].as_f64() <= interval[1].as_f64()
            );
        }
    }
    let table = std::fs::read_to_string(desk.path("scores/scores.csv")).unwrap();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("method,track,source,metric,sdr,sir,sar,sdr_improvement"));
    assert_eq!(lines.filter(|line| line.contains(",si-sdr,")).count(), 2 * 2 * 2);
    for name in ["summary.csv", "summary.json", "boxes-si-sdr-sdr.png", "boxes-snr-snr_improvement.png"] {
        assert!(desk.path("scores").join(name).exists(), "{name}");
    }
    assert_eq!(desk.report("scores/summary.json")["summary"], value["summary"]);

    // every sound of the page is there
    let page = std::fs::read_to_string(desk.path("scores/index.html")).unwrap();
    let sounds: Vec<&str> =
        page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let audio = sounds.iter().filter(|sound| sound.ends_with(".wav")).count();
    assert_eq!(audio, 2 * (1 + 2 + 2 + 2));
    for sound in sounds {
        assert!(desk.path("scores").join(Path::new(sound)).exists(), "{sound}");
    }

    let again = desk.run(line);
    assert!(again.code == 1 && again.err.contains("index.html exists: add --overwrite"), "{}", again.err);
    assert_eq!(desk.json(&format!("{line} --overwrite"))["summary"], value["summary"]);
    assert!(desk.done("evaluate --tracks good --reference-dir data").contains("bss-eval-v3: SDR (dB)"));
}

#[test]
fn a_track_that_fails_does_not_stop_the_others() {
    let desk = Desk::new();
    let truth = data_set(&desk, false);
    estimates(&desk, "est", ["vocals", "no_vocals"], &truth, 0.1);
    desk.write("est/song0/vocals.wav", &Waveform::mono(vec![0.1; 700], RATE));
    desk.write("est/unknown/vocals.wav", &Waveform::mono(vec![0.1; 700], RATE));
    let run = desk.run("evaluate --tracks est --reference-dir data --metrics snr -o scores --oracle");
    assert_eq!(run.code, 1);
    let lines: Vec<&str> = run.err.lines().collect();
    assert!(lines[0].starts_with("warning") && lines[0].contains("'unknown'"), "{}", run.err);
    let failure = "error: est, song0: ";
    assert!(lines[1].starts_with(failure) && lines[1].contains("12000 and 700"), "{}", run.err);
    assert_eq!(lines.len(), 2, "{}", run.err);
    // the rest of two stems is scored against the sum of the others; oracles are further methods
    let table = std::fs::read_to_string(desk.path("scores/scores.csv")).unwrap();
    assert!(table.contains("est,song1,no_vocals,snr,") && !table.contains("song0"), "{table}");
    assert!(table.contains("ideal-ratio-mask,song1,vocals,snr,"), "{table}");
    let page = std::fs::read_to_string(desk.path("scores/index.html")).unwrap();
    assert!(page.contains("Not scored"));
}

#[test]
fn a_separation_is_scored_as_its_files_are() {
    let desk = Desk::new();
    scene(&desk);
    let line = "separate mix.wav --set components=2 --set iterations=40 --set tolerance=0 --plots";
    let text = desk.done(&format!("{line} --score-against a.wav b.wav"));
    assert!(text.contains("mean SI-SDR"), "{text}");
    let scores = &desk.report("separated/mix/report.json")["scores"];
    let files = "separated/mix/source-1.wav separated/mix/source-2.wav";
    let of_files =
        desk.json(&format!("evaluate --reference a.wav b.wav --estimate {files} --mixture mix.wav"));
    assert_eq!(scores["metrics"], of_files["metrics"]);
    assert_eq!(scores["references"], json!(["a.wav", "b.wav"]));
    // each point three times as far as the one before, the separation itself last
    assert_eq!(scores["curve"]["iterations"], json!([1, 3, 10, 40]));
    for n in 0..2 {
        assert_eq!(scores["curve"]["si_sdr"][n][3], scores["metrics"]["si-sdr"]["sdr"][n]);
    }
    assert!(desk.path("separated/mix/scores.png").exists());
    // a point is what a separation of so many iterations gives
    desk.done("separate mix.wav --set components=2 --set iterations=10 --set tolerance=0 -o ten --score-against a.wav b.wav");
    let ten = &desk.report("ten/mix/report.json")["scores"];
    assert_eq!(ten["metrics"]["si-sdr"]["sdr"][0], scores["curve"]["si_sdr"][0][2]);

    for (arguments, code, texts) in [
        ("--score-against a.wav", 2, ["1 references, 2 sources", "one reference for each"]),
        ("--score-against a.wav gone.wav", 1, ["gone.wav", "no such file"]),
        (
            "--duration 1 --start 0.75 --score-against a.wav ten/mix/report.json",
            1,
            ["report.json", "not audio"],
        ),
    ] {
        let run = desk.run(&format!("separate mix.wav -o other {arguments}"));
        assert_eq!((run.code, run.err.lines().count()), (code, 1), "{}", run.err);
        assert!(texts.iter().all(|text| run.err.contains(text)), "{}", run.err);
        assert!(!desk.path("other").exists());
    }
    desk.done(
        "separate mix.wav -o part --start 0.25 --duration 1 --set iterations=3 --score-against a.wav b.wav",
    );
}
