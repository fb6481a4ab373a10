//! What programs read: JSON lines, silence, completions.

use serde_json::Value;

use crate::lab::{Lab, bass, drums, mix};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("song.wav", &mix(&bass(1.5, 0), &drums(1.5, 0)));
    lab
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn json_tells_every_stage_with_time_and_cost() {
    let lab = lab();
    let run = lab.done("separate song.wav --set iterations=30 --set tolerance=0 --plots --json");
    assert!(run.err.is_empty(), "{}", run.err);
    let events = lines(&run.out);
    let progress: Vec<&Value> = events.iter().filter(|event| event["event"] == "progress").collect();
    let mut elapsed = 0.0;
    for event in &progress {
        assert_eq!(event["input"], "song");
        assert!(event["iteration"].as_u64().unwrap() <= event["total"].as_u64().unwrap(), "{event}");
        assert!(event["remaining"].as_f64().unwrap() >= 0.0, "{event}");
        let now = event["elapsed"].as_f64().unwrap();
        assert!(now >= elapsed, "{event}");
        elapsed = now;
        assert!(event.get("cost").is_some(), "{event}");
    }
    let stage = |name: &str| progress.iter().filter(|event| event["stage"] == name).count();
    assert!(stage("read") >= 1 && stage("stft") >= 1);
    assert!(stage("factorise") >= 1 && stage("synthesis") >= 1 && stage("pictures") >= 1, "{progress:?}");
    let last = progress.iter().rfind(|event| event["stage"] == "factorise").unwrap();
    assert_eq!((&last["iteration"], &last["total"]), (&30.into(), &30.into()));
    assert!(last["cost"].is_number());
    let done = events.last().unwrap();
    assert_eq!(done["event"], "done");
    assert_eq!(
        done["files"],
        serde_json::json!(["separated/song/source-1.wav", "separated/song/source-2.wav"])
    );
}

#[test]
fn json_warnings_and_errors_are_lines_too() {
    let lab = lab();
    let run = lab.done("separate song.wav --set components=100 --set iterations=2 --json");
    let warning = lines(&run.out).into_iter().find(|event| event["event"] == "warning").unwrap();
    assert!(warning["text"].as_str().unwrap().contains("200 components"), "{warning}");
    let run = lab.line("separate missing.wav --json");
    assert_eq!(run.code, 1);
    assert_eq!(lines(&run.out)[0]["event"], "error");
    assert!(run.err.starts_with("error: missing.wav"));
    for command in
        ["info song.wav", "methods", "methods nmf", "evaluate --reference song.wav --estimate song.wav"]
    {
        assert_eq!(lines(&lab.done(&format!("{command} --json")).out).len(), 1, "{command}");
    }
}

#[test]
fn quiet_says_nothing() {
    let lab = lab();
    for command in [
        "separate song.wav --set iterations=2 --set components=100 --plots",
        "dictionary song.wav --name x -o x.dict --set iterations=2",
        "remix separated/song -o mix.wav",
    ] {
        let run = lab.done(&format!("{command} --quiet"));
        assert!(run.out.is_empty() && run.err.is_empty(), "{command}: {}{}", run.out, run.err);
    }
    // results are what info is asked for
    assert!(lab.done("info song.wav --quiet").out.contains("8000"));
    // a pipe is no terminal: no bar, no escape sequences
    let run = lab.done("separate song.wav --set iterations=2 --overwrite");
    assert!(run.err.is_empty() && !run.out.contains(['\r', '\u{1b}']), "{:?} {:?}", run.out, run.err);
}

#[test]
fn methods_tell_type_default_unit_range_and_meaning() {
    let lab = Lab::new();
    let all: Value = serde_json::from_str(&lab.done("methods --json").out).unwrap();
    let nmf: Value = serde_json::from_str(&lab.done("methods nmf --json").out).unwrap();
    assert!(all.as_array().unwrap().contains(&nmf));
    for setting in nmf["settings"].as_array().unwrap() {
        for key in ["name", "type", "meaning"] {
            assert!(setting[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {setting}");
        }
        for key in ["default", "unit", "range"] {
            assert!(setting.get(key).is_some(), "{key} of {setting}");
        }
        if setting["type"] == "choice" {
            let choices = setting["choices"].as_array().unwrap();
            assert!(choices.iter().any(|choice| choice["name"] == setting["default"]), "{setting}");
        }
    }
    for key in ["meaning", "source"] {
        assert!(nmf[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
}

#[test]
fn completions_are_what_their_shell_reads() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.done(&format!("completions {shell}")).out;
        assert!(script.contains("separate") && script.contains("two-stems"), "{shell}");
        std::fs::write(lab.path(format!("{shell}.txt")), script).unwrap();
    }
    for shell in ["bash", "zsh", "fish"] {
        let check =
            std::process::Command::new(shell).arg("-n").arg(lab.path(format!("{shell}.txt"))).output();
        // a shell that is not here cannot be asked
        let Ok(check) = check else { continue };
        assert!(check.status.success(), "{shell}: {}", String::from_utf8_lossy(&check.stderr));
    }
}
