//! `demix train`: from a folder of songs to a network that `demix info` describes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::lab::{Lab, bass, drums};

const SMALL: &str = "--set fft=256 --set width=16 --set hidden=1 --set context=1 --set batch=32 --set bands=32 --set batches=3 \
                     --set validation=1 --set every=2";

/// Four songs of a second.
fn songs() -> Lab {
    let lab = Lab::new();
    for i in 0..4 {
        for part in ["Sources", "Mixtures"] {
            std::fs::create_dir_all(lab.path(format!("songs/{part}/Dev/{i}"))).unwrap();
        }
        lab.write(&format!("songs/Sources/Dev/{i}/bass.wav"), &bass(1.0, i));
        lab.write(&format!("songs/Sources/Dev/{i}/drums.wav"), &drums(1.0, i));
    }
    lab
}

#[test]
fn a_network_is_trained_described_and_trained_on() {
    let lab = songs();
    let train = format!("train --data songs --source bass -o net/bass.safetensors {SMALL}");
    let run = lab.done(&format!("{train} --set epochs=4"));
    assert!(run.out.contains("bass for idlma, epoch ") && run.out.contains("--resume"), "{}", run.out);
    assert!(run.err.contains("only 3 training songs"), "{}", run.err);
    let files = [
        "bass.safetensors",
        "bass.safetensors.curves.csv",
        "bass.safetensors.curves.png",
        "bass.safetensors.state",
    ];
    assert_eq!(lab.names("net"), files);
    let facts = lab.done("info net/bass.safetensors").out;
    for fact in
        ["kind: network", "source: bass", "sample_rate: 8000", "fft: 256", "window: hamming", "epochs: 4"]
    {
        assert!(facts.contains(fact), "{fact} in {facts}");
    }
    let run = lab.done(&format!("{train} --set epochs=6 --resume --json"));
    assert!(run.out.contains(r#""stage":"train""#) && run.out.contains(r#""event":"done""#), "{}", run.out);
    assert_eq!(String::from_utf8(lab.bytes("net/bass.safetensors.curves.csv")).unwrap().lines().count(), 7);
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let lab = songs();
    std::fs::create_dir_all(lab.path("stems/train")).unwrap();
    std::fs::write(lab.path("stems/train/A - B.stem.mp4"), "x").unwrap();
    std::fs::write(lab.path("there"), "x").unwrap();
    let before = lab.everything();
    for (line, code, words) in [
        ("--data songs --source voice -o x", 2, &["--source voice", "bass, drums"][..]),
        ("--data stems --source bass -o x", 1, &["A - B.stem.mp4", "for f in */*.stem.mp4", "ffmpeg"]),
        ("--data nowhere --source bass -o x", 1, &["nowhere: no such file"]),
        ("--data songs --source bass -o x", 2, &["4 songs", "7 are needed", "validation=3"]),
        ("--data songs --source bass -o there --set validation=1", 1, &["there exists", "--overwrite"]),
        ("--data songs --source bass -o x --resume --set validation=1", 1, &["x.state", "no state"]),
        ("--data songs --source bass -o x --resume --overwrite", 2, &["--overwrite", "--resume"]),
        ("--data songs --source bass -o x --for tidlma", 2, &["tidlma", "t-idlma"]),
        ("--data songs --source bass -o x --for t-idlma", 2, &["t-idlma needs", "--nu 500"]),
        ("--data songs --source bass -o x --for t-idlma --nu -2", 2, &["--nu -2", "more than 0"]),
        ("--data songs --source bass -o x --for idlma --nu 2", 2, &["--nu 2", "idlma"]),
        ("--data songs --source bass -o x --for eb-idlma --set loss=is", 2, &["loss=is", "eb-idlma"]),
        ("--data songs --source bass -o x --set epochs=0", 2, &["epochs=0", "1 to"]),
        ("--data songs -o x", 2, &["--source"]),
    ] {
        let run = lab.line(&format!("train {line}"));
        assert_eq!(run.code, code, "{line}: {}", run.err);
        assert!(
            run.err.lines().count() == 1 && words.iter().all(|word| run.err.contains(word)),
            "{}",
            run.err
        );
        assert!(lab.everything() == before, "{line} left something");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_what_is_learned() {
    let lab = songs();
    let line = format!("train --data songs --source bass -o x {SMALL}");
    let mut child = lab
        .command()
        .args(format!("{line} --set epochs=100000 --set patience=0 --json").split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let events = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    for event in events.lines() {
        said.push(event.unwrap());
        if said.len() == 5 {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(said.iter().any(|event| event.contains("x.state") && event.contains("--resume")), "{said:?}");
    assert!(!lab.path("x").exists() && lab.path("x.state").exists());
    // the network so far is told of, and of use
    assert!(said.iter().any(|event| event.contains("x.best")), "{said:?}");
    assert!(lab.done("info x.best").out.contains("stopped: interrupted"));
    lab.done(&format!("{line} --set epochs=2 --resume --set patience=0"));
    assert!(lab.path("x").exists() && !lab.path("x.best").exists());
}
