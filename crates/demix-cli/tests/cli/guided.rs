//! Training, guided separation and the paper's protocol from the command line, on songs made here.

use demix::signal::Waveform;
use ndarray::{Array2, Axis, stack};

use crate::lab::{Lab, RATE};

const STEMS: [&str; 3] = ["bass", "drums", "vocals"];

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Low tones, bright bursts, a gliding voice with overtones; of a song's own.
fn stem(name: &str, song: usize, n: usize) -> Vec<f32> {
    let rate = RATE as f32;
    let hiss = noise(n + 1, 31 + song as u64);
    let mut phase = 0.0f32;
    (0..n)
        .map(|t| {
            let beat = (t % 2000) as f32 / 2000.0;
            match name {
                "bass" => {
                    phase += (60.0 + 9.0 * ((song * 5 + t / 2000 * 3) % 7) as f32) / rate;
                    0.3 * (std::f32::consts::TAU * phase).sin() * (1.0 - beat)
                }
                "drums" => 0.3 * (-beat * 8.0).exp() * (hiss[t + 1] - hiss[t]),
                _ => {
                    phase += (300.0 + 120.0 * (t as f32 / 5000.0 + song as f32).sin()) / rate;
                    let overtones = |k: usize| (std::f32::consts::TAU * phase * k as f32).sin() / k as f32;
                    0.15 * (1..8).map(overtones).sum::<f32>()
                }
            }
        })
        .collect()
}

/// A corpus of so many training songs and Test songs of 4 s.
fn songs(lab: &Lab, training: usize, test: usize) {
    for song in 0..training + test {
        let part = if song < training { "train" } else { "test" };
        let folder = format!("songs/{part}/song {song}");
        std::fs::create_dir_all(lab.path(&folder)).unwrap();
        for name in STEMS {
            let sound = Waveform::mono(stem(name, song, 4 * RATE as usize), RATE);
            lab.write(&format!("{folder}/{name}.wav"), &sound);
        }
    }
}

/// Bass and drums as two microphones hear them.
fn scene(lab: &Lab) -> Waveform {
    let n = 4 * RATE as usize;
    let [a, b] = ["bass", "drums"].map(|name| ndarray::Array1::from(stem(name, 7, n)));
    let late = |x: &ndarray::Array1<f32>| {
        ndarray::Array1::from_shape_fn(n, |t| if t < 2 { 0.0 } else { 0.8 * x[t - 2] })
    };
    let channels: Array2<f32> = stack(Axis(0), &[(&a + &late(&b)).view(), (&late(&a) + &b).view()]).unwrap();
    let mixture = Waveform::new(channels, RATE);
    lab.write("mixture.wav", &mixture);
    mixture
}

const SMALL: &str = "--set width=24 --set hidden=1 --set bands=24 --set context=1 --set fft=1024 --set epochs=4 \
                     --set batches=6 --set validation=1 --set optimizer=adam";

#[test]
fn a_trained_network_guides_a_separation() {
    let lab = Lab::new();
    songs(&lab, 4, 0);
    let mixture = scene(&lab);
    for name in ["bass", "drums"] {
        lab.done(&format!("train --data songs --source {name} -o {name}.net {SMALL}"));
    }
    lab.done("separate mixture.wav --method g-pop-idlma --model bass=bass.net --model drums=drums.net --plots -o out");
    let report = lab.json("out/mixture/report.json");
    assert_eq!(report["method"], "g-pop-idlma");
    assert_eq!(report["sources"][0]["name"], "bass");
    assert_eq!(report["settings"]["eta"], "auto");
    assert!(report["transform"]["fft"].is_u64() && report["transform"]["hop"].is_u64(), "{report}");
    // two ways are tried for the one block, one is kept, and it is not recognised less
    let ways = report["details"]["ways"][0].as_array().unwrap();
    assert_eq!(ways.len(), 2, "{report}");
    let explained = |kept: bool| {
        let of = ways.iter().filter(|way| way["kept"] == kept);
        of.map(|way| way["explained"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (kept, other) = (explained(true), explained(false));
    assert!(kept.len() == 1 && kept[0] >= other[0] - 0.03, "{report}");
    assert!(report["details"]["network_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{report}");
    let sum = &lab.read("out/mixture/bass.wav").samples + &lab.read("out/mixture/drums.wav").samples;
    assert!((&sum - &mixture.samples).iter().all(|error| error.abs() < 1e-5));

    // as many microphones as named sources, without a word of their number
    let (a, b) = (mixture.samples.row(0), mixture.samples.row(1));
    let three = stack(Axis(0), &[a, b, (&a - &b * 0.3).view()]).unwrap();
    let hiss = Array2::from_shape_vec(three.dim(), noise(three.len(), 5)).unwrap();
    lab.write("three.wav", &Waveform::new(three + hiss * 0.01, RATE));
    lab.done("separate three.wav --method idlma --model bass=bass.net --model drums=drums.net --model other=bass.net -o o");
    assert!(["bass", "drums", "other"].iter().all(|name| lab.path(format!("o/three/{name}.wav")).exists()));

    // a blind source beside a known one, and a network for one channel
    lab.done("separate mixture.wav --method idlma --model bass=bass.net -o blind");
    assert!(lab.path("blind/mixture/source-1.wav").exists());
    lab.done("separate mixture.wav --method dnn-wf --model bass=bass.net --sources 2 -o masked");
    assert!(lab.path("masked/mixture/bass.wav").exists());

    for (line, parts) in [
        ("separate mixture.wav --method idlma -o x", vec!["needs a network", "demix train"]),
        ("separate mixture.wav --method idlma --model bass -o x", vec!["NAME=FILE"]),
        ("separate mixture.wav --method idlma --model bass=mixture.wav -o x", vec!["mixture.wav"]),
        (
            "separate mixture.wav --method idlma --model bass=nothing.net -o x",
            vec!["nothing.net", "no such file"],
        ),
        (
            "separate mixture.wav --method ilrma --model bass=bass.net -o x",
            vec!["bass=bass.net", "g-pop-idlma"],
        ),
        (
            "separate mixture.wav --method eb-idlma --model bass=bass.net -o x",
            vec!["bass.net", "does not tell nu"],
        ),
    ] {
        let run = lab.line(line);
        assert!(run.code == 1 || run.code == 2, "{line}");
        assert!(parts.iter().all(|part| run.err.contains(part)), "{line}: {}", run.err);
        assert!(!lab.path("x").exists(), "{line}");
    }
}

#[test]
fn the_protocol_of_the_paper_runs_stops_and_goes_on() {
    let lab = Lab::new();
    songs(&lab, 4, 2);
    let line = format!("reproduce --data songs -o tables --quick {SMALL} --set songs=1 --set seconds=4");
    let first = lab.done(&line);
    let said = first.out.lines().next().unwrap();
    for part in
        ["3 networks of at most 24 steps each, 3 mixtures, 27 separations: about", " minute", "of training"]
    {
        assert!(said.contains(part), "{said}");
    }
    let tables = String::from_utf8(lab.bytes("tables/tables.md")).unwrap();
    for text in
        ["bass/drums (1 mixtures)", "| idlma |", "| g-pop-idlma, eta 1e-2 |", "(6.41)", "true variance"]
    {
        assert!(tables.contains(text), "{text}\n{tables}");
    }
    let files =
        ["index.html", "scores.csv", "energies.csv", "bands.csv", "protocol.json", "spectrum-bass.png"];
    for file in files {
        assert!(lab.path(format!("tables/{file}")).exists(), "{file}");
    }
    let page = String::from_utf8(lab.bytes("tables/index.html")).unwrap();
    assert!(page.contains("bass/drums (1 mixtures)") && page.contains("improvements.png"), "{page}");
    // nothing is done twice
    let network = lab.bytes("tables/networks/bass-idlma.safetensors");
    let scores = "tables/scores/song 4 - bass+drums - condition 1.json";
    let before = lab.bytes(scores);
    lab.done(&line);
    assert_eq!(network, lab.bytes("tables/networks/bass-idlma.safetensors"));
    assert_eq!(before, lab.bytes(scores));
    // more songs add to what is there, other networks do not
    lab.done(&line.replace("songs=1", "songs=2"));
    assert_eq!(before, lab.bytes(scores));
    let other = lab.line(&line.replace("width=24", "width=25"));
    assert_eq!(other.code, 1);
    assert!(other.err.contains("width=24") && other.err.contains("width=25"), "{}", other.err);

    // the same corpus in other words
    lab.done(&line.replace("--data songs", "--data ./songs"));
    assert_eq!(before, lab.bytes(scores));

    let before = lab.everything();
    let wrong = lab.line(&format!("{line} --responses nowhere").replace("-o tables", "-o x"));
    assert!(wrong.code == 2 && wrong.err.contains("nowhere: no such folder"), "{}", wrong.err);
    assert!(lab.everything() == before, "{:?}", lab.everything().keys());
    let wrong = lab.line("reproduce --data nowhere -o x --quick");
    assert!(wrong.code != 0 && wrong.err.contains("nowhere") && !lab.path("x").exists(), "{}", wrong.err);
    let wrong = lab.line(&format!("{line} --set parts=near"));
    assert!(wrong.code == 2 && wrong.err.contains("NAME=TEXT"), "{}", wrong.err);
}
