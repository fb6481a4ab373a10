//! Ctrl-C.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, bass, drums, mix};

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Starts the program, waits until it is at work, interrupts it; gives its exit code and standard error.
fn interrupted(lab: &Lab, line: &str, stage: &str) -> (Option<i32>, String) {
    let mut child = lab
        .command()
        .args(line.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let events = BufReader::new(child.stdout.take().unwrap());
    let mut seen = false;
    for event in events.lines() {
        if !seen && event.unwrap().contains(stage) {
            seen = true;
            interrupt(&child);
        }
    }
    assert!(seen, "never came to {stage}");
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), err)
}

#[test]
fn ctrl_c_ends_a_long_separation_without_a_trace() {
    let lab = Lab::new();
    lab.write("song.wav", &mix(&bass(2.0, 0), &drums(2.0, 0)));
    let before = lab.everything();
    for (line, stage) in [
        ("separate song.wav --set iterations=1000000 --set tolerance=0 --json", "factorise"),
        (
            "separate song.wav song.wav --join --set iterations=1000000 --set tolerance=0 --json -o a/b",
            "factorise",
        ),
        // after the first of very many sources is written
        (
            "separate song.wav --set grouping=none --set components=3000 --set iterations=1 --json",
            "synthesis",
        ),
        (
            "dictionary song.wav --name x -o new/x.dict --set iterations=1000000 --set tolerance=0 --json",
            "factorise",
        ),
    ] {
        let (code, err) = interrupted(&lab, line, stage);
        assert_eq!(code, Some(130), "{line}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.contains("Ctrl-C"), "{err}");
        let after = lab.everything();
        assert!(after == before, "{line} left {:?}", after.keys());
    }
}

#[test]
fn ctrl_c_ends_all_inputs_and_keeps_what_is_done() {
    let lab = Lab::new();
    lab.write("1.wav", &bass(0.02, 0));
    lab.write("2.wav", &mix(&bass(4.0, 0), &drums(4.0, 0)));
    lab.write("3.wav", &bass(0.02, 0));
    let line =
        "separate 1.wav 2.wav 3.wav --set iterations=100000 --set tolerance=0 --set components=1 --json";
    let (code, err) = interrupted(&lab, line, r#""input":"2","stage":"factorise""#);
    assert_eq!(code, Some(130), "{err}");
    assert_eq!(lab.names("separated"), ["1"]);
    assert_eq!(lab.names("separated/1").len(), 3);
}
