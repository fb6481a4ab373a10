//! What people read, word by word.

use crate::lab::{Lab, bass, drums, mix};

#[test]
fn help() {
    let lab = Lab::new();
    let commands = [
        "",
        "separate",
        "simulate",
        "methods",
        "dictionary",
        "train",
        "remix",
        "info",
        "evaluate",
        "completions",
    ];
    for command in commands {
        let name = if command.is_empty() { "demix" } else { command };
        insta::assert_snapshot!(format!("help-{name}"), lab.done(&format!("{command} --help")).out);
    }
    // without anything, the same help, as wrong use
    let run = lab.line("");
    assert_eq!(run.code, 2);
    assert!(run.err.contains("demix separate song.flac"), "{}", run.err);
}

#[test]
fn methods() {
    let lab = Lab::new();
    insta::assert_snapshot!("methods", lab.done("methods").out);
    insta::assert_snapshot!("methods-nmf", lab.done("methods nmf").out);
}

#[test]
fn errors() {
    let lab = Lab::new();
    lab.write("song.wav", &mix(&bass(1.0, 0), &drums(1.0, 0)));
    lab.done("dictionary song.wav --name bass -o bass.dict --set components=2 --set iterations=2");
    lab.done("separate song.wav --set iterations=2 -o done");
    std::fs::write(lab.path("letter.wav"), "Dear reader,\n").unwrap();
    std::fs::write(lab.path("bad.toml"), "components = = 3\n").unwrap();
    let lines = [
        "separate",
        "separate missing.wav",
        "separate letter.wav",
        "separate song.wav -o letter.wav",
        "separate song.wav -o done",
        "separate song.wav --start 70",
        "separate song.wav --set komponents=3",
        "separate song.wav --set components=0",
        "separate song.wav --set components=many",
        "separate song.wav --set hop=5000",
        "separate song.wav --set init=rundom",
        "separate song.wav --settings bad.toml",
        "separate song.wav --method imagination",
        "separate song.wav --sources two",
        "separate song.wav --sources 1000 --set components=30",
        "separate song.wav --two-stems vocals",
        "separate song.wav --reference 3",
        "separate song.wav --filename all.wav",
        "separate song.wav --join",
        "separate song.wav --dictionary bass.dict",
        "separate song.wav --dictionary song.wav",
        "separate song.wav --free rest",
        "separate song.wav --int16 --int24",
        "separate song.wav --format mp3",
        "dictionary song.wav",
        "remix done/song --gain vocals=3 -o mix.wav",
        "remix done/song --gain source-1=loud -o mix.wav",
        "evaluate --reference song.wav --estimate song.wav --metrics sisdr",
        "evaluate --reference song.wav song.wav --estimate song.wav",
        "info letter.wav",
        "studio song.wav",
    ];
    let mut text = String::new();
    for line in lines {
        let run = lab.line(line);
        text += &format!("$ demix {line}\n[{}] {}\n", run.code, run.err);
    }
    insta::assert_snapshot!("errors", text);
}
