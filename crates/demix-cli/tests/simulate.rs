//! `demix simulate`, as users and programs rely on it.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::PathBuf;
use std::process::Command;

use demix::files::audio::{self, ReadOptions, WriteFormat};
use demix::signal::Waveform;
use ndarray::Array2;
use serde_json::Value;
use tempfile::TempDir;

const RATE: u32 = 8000;

/// A folder in which the program runs.
struct Desk(TempDir);

struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Desk {
    /// With two dry sources, `a.wav` and the shorter `b.wav`.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write("a.wav", &tone(0.31, 4000, RATE));
        desk.write("b.wav", &tone(0.77, 3000, RATE));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, sound: &Waveform) {
        audio::write(&self.path(name), sound, &WriteFormat::default()).unwrap();
    }

    fn read(&self, name: &str) -> Waveform {
        audio::read(&self.path(name), &ReadOptions::default()).unwrap().waveform
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn scene(&self, folder: &str) -> Value {
        serde_json::from_slice(&self.bytes(&format!("{folder}/scene.json"))).unwrap()
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

    fn done(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "demix {line}\n{}{}", run.out, run.err);
        run
    }
}

fn tone(step: f32, n: usize, rate: u32) -> Waveform {
    Waveform::mono((0..n).map(|t| 0.3 * (t as f32 * step).sin()).collect(), rate)
}

/// A room that is computed at once.
const ROOM: &str = "--room 4,3,2.5 --t60 0.1 --distance 0.8";

#[test]
fn images_and_noise_sum_to_the_mixture_and_all_is_told() {
    let desk = Desk::new();
    let run = desk.done(&format!("simulate a.wav b.wav {ROOM} --snr 20 --write-rirs -o s"));
    assert!(run.err.contains("b.wav: ends after 0.375 s, silence follows up to 0.500 s"), "{}", run.err);
    assert!(
        run.out.contains("2 sources at 2 microphones") && run.out.contains("T60 0.1 s asked"),
        "{}",
        run.out
    );
    let mixture = desk.read("s/mixture.wav");
    let mut sum = Array2::<f64>::zeros(mixture.samples.dim());
    for name in ["image-1", "image-2", "noise"] {
        sum += &desk.read(&format!("s/{name}.wav")).samples.mapv(f64::from);
    }
    assert_eq!(sum.mapv(|x| x as f32), mixture.samples);
    // the tail is in: the length of the response, less one
    let response = desk.read("s/rir-1.wav");
    assert_eq!(mixture.n_samples(), 4000 + response.n_samples() - 1);
    let scene = desk.scene("s");
    for key in ["demix", "seed", "sample_rate", "room", "array", "sources", "t60_measured", "delay_samples"] {
        assert!(!scene[key].is_null(), "{key} is missing in {scene}");
    }
    assert_eq!(scene["sources"][1]["angle"], 50.0);
    assert_eq!(scene["array"]["microphones"].as_array().unwrap().len(), 2);
    let absorption = scene["room"]["absorption"]["floor"][0].as_f64().unwrap();
    assert!((0.3..0.99).contains(&absorption), "{absorption}");
    assert!(desk.bytes("s/scene.png").starts_with(b"\x89PNG"));
    // the direct sound of the right source reaches the right microphone first
    let onset = |row: usize| response.samples.row(row).iter().position(|x| x.abs() > 0.5).unwrap();
    assert!(onset(0) < onset(1), "the left source is at the left: {} {}", onset(0), onset(1));
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let desk = Desk::new();
    let line = format!("simulate a.wav b.wav {ROOM} --snr 10");
    desk.done(&format!("{line} --seed 3 -o one --threads 1"));
    desk.done(&format!("{line} --seed 3 -o two --threads 3"));
    desk.done(&format!("{line} --seed 4 -o other"));
    for name in ["mixture.wav", "image-1.wav", "noise.wav", "scene.png", "scene.json"] {
        assert_eq!(desk.bytes(&format!("one/{name}")), desk.bytes(&format!("two/{name}")), "{name}");
    }
    assert_eq!(desk.bytes("one/image-1.wav"), desk.bytes("other/image-1.wav"));
    assert_ne!(desk.bytes("one/noise.wav"), desk.bytes("other/noise.wav"));
}

#[test]
fn responses_that_were_written_give_the_same_mixture_again() {
    let desk = Desk::new();
    desk.done(&format!("simulate a.wav b.wav {ROOM} --write-rirs -o room"));
    desk.done("simulate a.wav b.wav --rir room/rir-1.wav room/rir-2.wav -o again");
    let (a, b) = (desk.read("room/mixture.wav"), desk.read("again/mixture.wav"));
    assert_eq!(a.samples.dim(), b.samples.dim());
    // single precision of the responses
    assert!(a.samples.iter().zip(&b.samples).all(|(a, b)| (a - b).abs() < 1e-5));
    let (room, again) = (desk.scene("room"), desk.scene("again"));
    let time = |scene: &Value| scene["t60_measured"].as_f64().unwrap();
    assert!((time(&room) - time(&again)).abs() < 1e-5);
    assert!((time(&room) / 0.1 - 1.0).abs() < 0.2, "{}", time(&room));
    assert_eq!(again["kind"], "responses");
}

#[test]
fn gains_mix_without_delay() {
    let desk = Desk::new();
    std::fs::write(desk.path("gains.csv"), "1, 0.5\n-0.25, 2\n0, 1\n").unwrap();
    desk.done("simulate a.wav b.wav --gains gains.csv -o s");
    let (a, b) = (desk.read("a.wav").samples, desk.read("b.wav").samples);
    let mixture = desk.read("s/mixture.wav");
    assert_eq!(mixture.samples.dim(), (3, 4000));
    for t in [0, 1, 2999, 3500] {
        let second = if t < 3000 { b[[0, t]] } else { 0.0 };
        assert!((mixture.samples[[1, t]] - (-0.25 * a[[0, t]] + 2.0 * second)).abs() < 1e-6);
    }
    assert!(desk.bytes("s/scene.png").starts_with(b"\x89PNG"), "the gains of each microphone");
}

#[test]
fn arrays_positions_and_walls_from_files() {
    let desk = Desk::new();
    std::fs::write(desk.path("array.csv"), "# around the centre\n-0.1,0,0\n0,0.1,0\n0.1,0,0\n0,0,0.1\n")
        .unwrap();
    std::fs::write(desk.path("at.json"), "{\"positions\": [[1, 2, 1], [3, 2, 1]]}").unwrap();
    std::fs::write(desk.path("walls.csv"), "0.1,0.1,0.2,0.3,0.4,0.5,0.6\n".repeat(6)).unwrap();
    let line = "simulate a.wav b.wav --room 4,3,2.5 --array array.csv --positions at.json --set length=0.1";
    desk.done(&format!("{line} --absorption walls.csv --set air=true --centre 2,1,1.2 -o s"));
    let scene = desk.scene("s");
    assert_eq!(desk.read("s/mixture.wav").n_channels(), 4);
    assert_eq!(scene["array"]["microphones"][3], serde_json::json!([2.0, 1.0, 1.3]));
    assert_eq!(scene["sources"][1]["position"], serde_json::json!([3.0, 2.0, 1.0]));
    assert_eq!(scene["room"]["absorption"]["ceiling"][6], 0.6);
    let times: Vec<f64> =
        scene["room"]["t60_predicted"].as_array().unwrap().iter().map(|t| t.as_f64().unwrap()).collect();
    assert!(times.len() == 7 && times.windows(2).all(|pair| pair[1] <= pair[0]), "{times:?}");
    desk.done("simulate a.wav b.wav --absorption 0.3,0.3,0.3,0.3,0.6,0.9 --array circle:3:5cm --set length=0.05 -o t");
    assert_eq!(desk.scene("t")["room"]["absorption"]["floor"][0], 0.6);
    assert_eq!(desk.read("t/mixture.wav").n_channels(), 3);
}

#[test]
fn a_response_of_another_rate_sounds_alike_once_resampled() {
    let desk = Desk::new();
    // a low-pass, at both rates
    let bump = |rate: u32| {
        let n = rate as usize / 100;
        let shape = |t: usize| (std::f32::consts::PI * t as f32 / n as f32).sin().powi(2) / n as f32;
        Waveform::mono((0..n).map(shape).collect(), rate)
    };
    desk.write("slow.wav", &bump(RATE));
    desk.write("fast.wav", &bump(2 * RATE));
    desk.write("low.wav", &tone(0.05, 4000, RATE));
    desk.done("simulate low.wav --rir slow.wav -o slow");
    let run = desk.done("simulate low.wav --rir fast.wav --rate 8000 -o fast");
    assert!(run.err.contains("fast.wav: resampled from 16000 to 8000 Hz"), "{}", run.err);
    let (a, b) = (desk.read("slow/mixture.wav"), desk.read("fast/mixture.wav"));
    assert!((0..4000).all(|t| (a.samples[[0, t]] - b.samples[[0, t]]).abs() < 0.01 * a.peak()));
}

#[test]
fn presets_levels_and_tail() {
    let desk = Desk::new();
    desk.done("simulate a.wav b.wav a.wav --preset pop-idlma-2 --t60 0 --levels 0,-3,-6 --cut-tail -o s");
    let scene = desk.scene("s");
    let angles: Vec<f64> = (0..3).map(|n| scene["sources"][n]["angle"].as_f64().unwrap()).collect();
    assert_eq!(angles, [-70.0, -10.0, 40.0]);
    assert_eq!(scene["array"]["shape"], "line:3:0.0566");
    assert_eq!(scene["samples"], 4000);
    assert!(scene["t60_measured"].is_null() || scene["t60_measured"].as_f64().unwrap() < 0.02);
    let power = |n: usize| desk.read(&format!("s/image-{n}.wav")).samples.iter().map(|x| x * x).sum::<f32>();
    assert!((10.0 * (power(3) / power(1)).log10() + 6.0).abs() < 1e-3);
    // every microphone hears the direct sound only: 2 m are 46.6 samples after the filter's delay
    let image = desk.read("s/image-1.wav");
    assert!(image.samples.row(0).iter().take(60).all(|x| x.abs() < 0.01));
}

#[test]
fn rates_and_channels_are_taken_only_on_request() {
    let desk = Desk::new();
    desk.write("fast.wav", &tone(0.1, 8000, 16000));
    let mut stereo = tone(0.2, 2000, RATE).samples;
    stereo.append(ndarray::Axis(0), tone(0.5, 2000, RATE).samples.view()).unwrap();
    desk.write("stereo.wav", &Waveform::new(stereo, RATE));
    let refused = |line: &str, why: &str| {
        let run = desk.run(&format!("simulate {line} {ROOM} -o s"));
        assert_eq!((run.code, run.err.lines().count()), (1, 1), "{}", run.err);
        assert!(run.err.contains(why), "{}", run.err);
        assert!(!desk.path("s").exists(), "nothing is left behind");
    };
    refused("a.wav fast.wav", "fast.wav: has 16000 Hz, a.wav has 8000 Hz: add --rate 8000");
    refused(
        "a.wav stereo.wav",
        "stereo.wav: has 2 channels, a source in a room has 1: choose one with --channel",
    );
    let run = desk.done(&format!("simulate a.wav fast.wav stereo.wav {ROOM} --rate 8000 --channel 2 -o s"));
    assert!(run.err.contains("fast.wav: resampled from 16000 to 8000 Hz"), "{}", run.err);
    assert!(run.err.contains("stereo.wav: channel 2 of 2 was taken"), "{}", run.err);
    let warnings = desk.scene("s")["warnings"].to_string();
    assert!(warnings.contains("resampled") && warnings.contains("channel 2"), "{warnings}");
}

#[test]
fn what_cannot_be_is_one_line_with_its_numbers() {
    let desk = Desk::new();
    desk.done(&format!("simulate a.wav b.wav {ROOM} -o there"));
    std::fs::write(desk.path("three.csv"), "1,2,3\n").unwrap();
    std::fs::write(desk.path("text.csv"), "1,x\n").unwrap();
    std::fs::write(desk.path("on.csv"), "2.05,1.08,1.2\n1,1,1\n").unwrap();
    desk.write("mono-rir.wav", &tone(0.1, 10, RATE));
    desk.write("fast-rir.wav", &tone(0.1, 10, 16000));
    let cases = [
        ("missing.wav", 1, "missing.wav: no such file"),
        (
            "a.wav b.wav --distance 9",
            2,
            "source 1 at (-3.774, 7.369, 1.2) m lies outside of the room of 6 x 4.4 x 2.5 m",
        ),
        ("a.wav b.wav --array line:2:9", 2, "microphone 1 at (-1.38"),
        (
            "a.wav b.wav --room 4,3,2.5 --centre 2.05,1.08,1.2 --positions on.csv --array line:1:1",
            2,
            "source 1 is 0.0000 m from microphone 1",
        ),
        ("a.wav b.wav --t60 0.01", 2, "a T60 of 0.01 s is impossible in a room of 6 x 4.4 x 2.5 m"),
        ("a.wav b.wav --t60 99", 2, "t60=99: 99 s is out of range: take values from 0 to 20 s"),
        ("a.wav b.wav --t60 long", 2, "'long' is not a finite number"),
        ("a.wav b.wav --room 6,4", 2, "3 numbers X,Y,Z were expected, 2 are given"),
        ("a.wav b.wav --room 6,4,0", 2, "the room is 6 x 4 x 0 m"),
        ("a.wav b.wav --set speed=3", 2, "there is no setting 'speed'"),
        ("a.wav b.wav --set length=50 --t60 3", 2, "reflections for each source and microphone are too many"),
        ("a.wav b.wav --absorption 1.5", 2, "absorption 1.5 of wall left"),
        ("a.wav b.wav --absorption 0.1,0.2", 2, "2 x 1 values"),
        ("a.wav b.wav --absorption none.csv", 1, "none.csv: no such file"),
        ("a.wav b.wav --angles 1,2,3", 2, "3 angles for 2 sources"),
        ("a.wav b.wav --angles left", 2, "finite numbers"),
        ("a.wav b.wav --array square:2:1", 2, "'square:2:1' is no array"),
        ("a.wav b.wav --levels 1", 2, "1 levels for 2 sources"),
        ("a.wav --preset pop-idlma-1", 2, "for 2 or 3 sources, 1 are given"),
        ("a.wav b.wav --preset pop", 2, "pop-idlma-1, pop-idlma-2"),
        ("a.wav b.wav --gains three.csv", 2, "three.csv: has 3 columns for 2 sources"),
        ("a.wav b.wav --gains text.csv", 1, "'x' in line 1 is not a finite number"),
        ("a.wav b.wav --gains text.csv --t60 1", 2, "cannot be used with"),
        ("a.wav b.wav --rir mono-rir.wav", 2, "1 files of responses for 2 sources"),
        (
            "a.wav b.wav --rir mono-rir.wav fast-rir.wav",
            1,
            "fast-rir.wav: has 16000 Hz, the sources have 8000 Hz",
        ),
        ("a.wav b.wav -o there", 1, "there/mixture.wav exists: add --overwrite"),
        ("a.wav b.wav --channel 0", 2, "at least 1"),
        ("a.wav b.wav --rate 0", 2, "0 is not in 1000..=768000"),
    ];
    for (line, code, why) in cases {
        let run = desk.run(&format!("simulate {line}"));
        assert_eq!((run.code, run.err.lines().count()), (code, 1), "{line}: {}", run.err);
        assert!(run.err.contains(why), "{line}: {}", run.err);
        assert!(!desk.path("scene").exists(), "{line}: nothing is left behind");
    }
    // what an earlier scene left is told
    let run = desk.done(&format!("simulate a.wav {ROOM} -o there --overwrite"));
    assert!(run.err.contains("there/image-2.wav: is of an earlier scene"), "{}", run.err);
    // an input is never an output
    desk.write("image-1.wav", &tone(0.2, 100, RATE));
    let run = desk.run(&format!("simulate image-1.wav b.wav {ROOM} -o . --overwrite"));
    assert_eq!(run.code, 2);
    assert!(run.err.contains("image-1.wav is an input and would be written"), "{}", run.err);
}

#[test]
fn integers_clip_with_a_warning_and_rescaled_images_still_sum() {
    let desk = Desk::new();
    std::fs::write(desk.path("loud.csv"), "9,9\n9,-9\n").unwrap();
    let run = desk.done("simulate a.wav b.wav --gains loud.csv --int16 -o s");
    assert!(run.err.contains("samples beyond full scale were clipped"), "{}", run.err);
    desk.done("simulate a.wav b.wav --gains loud.csv -o float");
    assert!(desk.read("float/mixture.wav").peak() > 4.0, "floats are not scaled");
    desk.done("simulate a.wav b.wav --gains loud.csv --clip-mode rescale --int24 -o fit");
    let mixture = desk.read("fit/mixture.wav");
    let sum = &desk.read("fit/image-1.wav").samples + &desk.read("fit/image-2.wav").samples;
    // each file is rounded to 24 bits
    assert!((&mixture.samples - &sum).iter().all(|x| x.abs() < 4e-7));
    assert!((mixture.peak() - 1.0).abs() < 1e-6);
}

#[test]
fn simulate_then_evaluate() {
    let desk = Desk::new();
    desk.done(&format!("simulate a.wav b.wav {ROOM} -o s"));
    let line = "evaluate --reference s/image-1.wav s/image-2.wav --estimate s/image-2.wav s/image-1.wav --mixture s/mixture.wav --metrics si-sdr --json";
    let value: Value = serde_json::from_str(desk.done(line).out.lines().last().unwrap()).unwrap();
    assert_eq!(value["metrics"]["si-sdr"]["permutation"], serde_json::json!([1, 0]));
}
