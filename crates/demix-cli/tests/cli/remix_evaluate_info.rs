//! `remix`, `evaluate`, `info`.

use demix::signal::Waveform;
use serde_json::{Value, json};

use crate::lab::{Lab, RATE, bass, drums, mix, noise, residual_db, stereo};

#[test]
fn remixing_with_0_db_gives_the_input_back() {
    let lab = Lab::new();
    let song = stereo(&bass(1.0, 0), &drums(1.0, 0));
    lab.write("song.wav", &song);
    lab.done("separate song.wav --set iterations=5");
    lab.done("remix separated/song -o same.wav");
    assert!(residual_db(&song, &[lab.read("same.wav")]) < -100.0);

    lab.done("remix separated/song --gain source-1=-inf -o muted.wav");
    let second = lab.read("separated/song/source-2.wav");
    assert_eq!(lab.read("muted.wav").samples, second.samples);

    // by names of files where there is no report; the last gain for a name counts
    std::fs::remove_file(lab.path("separated/song/report.json")).unwrap();
    lab.done("remix separated/song --gain source-1=9 --gain source-1=-6 --gain source-2=+6 -o louder.wav");
    let first = lab.read("separated/song/source-1.wav");
    let expected = &first.samples * 10f32.powf(-0.3) + &second.samples * 10f32.powf(0.3);
    let expected = Waveform::new(expected, RATE);
    assert!(residual_db(&expected, &[lab.read("louder.wav")]) < -100.0);

    let run = lab.done("remix separated/song --gain source-1=40 --int16 -o loud.wav");
    assert!(run.err.contains("clipped"), "{}", run.err);
    lab.write("separated/song/long.wav", &Waveform::mono(noise(9000, 3), RATE));
    let run = lab.line("remix separated/song -o bad.wav");
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains("long.wav") && run.err.contains("9000") && run.err.contains("8000"),
        "{}",
        run.err
    );
    assert!(!lab.path("bad.wav").exists());
    std::fs::write(lab.path("separated/song/report.json"), b"{}}").unwrap();
    let run = lab.line("remix separated/song -o bad.wav");
    assert!(run.code == 1 && run.err.contains("report.json: not a report"), "{}", run.err);
}

#[test]
fn scores_tell_order_improvement_and_limits() {
    let lab = Lab::new();
    let truth = [bass(1.0, 0), drums(1.0, 0)];
    lab.write("bass.wav", &truth[0]);
    lab.write("drums.wav", &truth[1]);
    lab.write("mix.wav", &mix(&truth[0], &truth[1]));
    let hiss = Waveform::mono(noise(8000, 8).iter().map(|x| x * 0.001).collect(), RATE);
    lab.write("x.wav", &mix(&truth[1], &hiss));
    lab.write("y.wav", &mix(&truth[0], &hiss));
    lab.write("silence.wav", &Waveform::mono(vec![0.0; 8000], RATE));
    let evaluate = |line: &str| -> Value {
        let run = lab.done(&format!("evaluate {line} --json"));
        serde_json::from_str(&run.out).unwrap()
    };
    let scores = evaluate("--reference bass.wav drums.wav --estimate x.wav y.wav --mixture mix.wav");
    let si = &scores["metrics"]["si-sdr"];
    assert_eq!(si["permutation"], json!([1, 0]));
    for key in ["sdr", "sir", "sar", "sdr_improvement"] {
        assert_eq!(si[key].as_array().unwrap().len(), 2, "{key}");
        assert!(si[key].as_array().unwrap().iter().all(|x| x.as_f64().unwrap() > 10.0), "{si}");
    }
    assert!(scores["metrics"]["snr"]["snr_improvement"][1].as_f64().unwrap() > 10.0);
    let kept =
        evaluate("--reference bass.wav drums.wav --estimate x.wav y.wav --keep-order --metrics si-sdr");
    assert_eq!(kept["metrics"]["si-sdr"]["permutation"], json!([0, 1]));
    assert!(kept["metrics"]["si-sdr"]["sdr"][0].as_f64().unwrap() < 0.0);
    assert!(kept["metrics"].get("snr").is_none());
    assert!(kept["metrics"]["si-sdr"].get("sdr_improvement").is_none());
    // numbers that JSON does not have
    let limits = evaluate("--reference bass.wav --estimate bass.wav --metrics snr,si-sdr");
    assert_eq!(limits["metrics"]["snr"]["snr"], json!(["inf"]));
    let silent = evaluate("--reference silence.wav --estimate bass.wav");
    assert_eq!(silent["metrics"]["si-sdr"]["sdr"], json!([null]));
    let text = lab.done("evaluate --reference silence.wav --estimate bass.wav").out;
    assert!(text.contains("undefined") && !text.contains("NaN"), "{text}");
}

#[test]
fn info_tells_what_each_kind_of_file_holds() {
    let lab = Lab::new();
    lab.write("song.wav", &stereo(&bass(1.0, 0), &drums(1.0, 0)));
    lab.done("separate song.wav --method nmf --set iterations=2 --format flac --int16");
    lab.done("dictionary song.wav --name piano -o piano.dict --set components=3 --set iterations=2");
    std::fs::write(lab.path("mine.toml"), "method = \"nmf\"\ncomponents = 4\n").unwrap();
    let files = "song.wav separated/song/source-1.flac piano.dict separated/song/report.json mine.toml";
    let run = lab.done(&format!("info {files} --json"));
    let facts: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = facts.iter().map(|fact| fact["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["audio", "audio", "dictionary", "report", "settings"]);
    assert_eq!((&facts[0]["channels"], &facts[0]["seconds"]), (&2.into(), &1.0.into()));
    assert_eq!((&facts[1]["codec"], &facts[1]["bits_per_sample"]), (&"FLAC".into(), &16.into()));
    assert_eq!((&facts[2]["name"], &facts[2]["components"]), (&"piano".into(), &3.into()));
    assert_eq!((&facts[3]["method"], &facts[3]["sources"]), (&"nmf".into(), &2.into()));
    assert_eq!(facts[4]["components"], "4");
    assert_eq!(facts[2]["file"], "piano.dict");
    let text = lab.done(&format!("info {files}")).out;
    assert!(text.contains("seconds: 1") && !text.contains("null"), "{text}");
    // filters, scenes, arrays; a scene is remixed of its images
    lab.write("bass.wav", &bass(1.0, 0));
    lab.write("drums.wav", &drums(1.0, 0));
    std::fs::write(lab.path("gains.csv"), "1,0.5\n0.5,1\n").unwrap();
    lab.done("simulate bass.wav drums.wav --gains gains.csv -o scene");
    lab.done("remix scene -o scene.flac");
    assert!(lab.bytes("scene.flac").starts_with(b"fLaC"));
    let error = &lab.read("scene.flac").samples - &lab.read("scene/mixture.wav").samples;
    assert!(error.iter().all(|x| x.abs() < 1e-6));
    assert_eq!(lab.line("remix scene -o scene.mp3").code, 2);
    lab.done("separate scene/mixture.wav --method auxiva --filters --set iterations=2 --set fft=1024 -o out");
    std::fs::write(lab.path("other.json"), "{\"mine\": 1}").unwrap();
    let files = "scene/scene.json out/mixture/filters.json out/mixture/demixing.npy other.json";
    let run = lab.done(&format!("info {files} --json"));
    let facts: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = facts.iter().map(|fact| fact["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["scene", "filters", "array", "JSON"]);
    assert_eq!((&facts[0]["sources"], &facts[0]["channels"]), (&2.into(), &2.into()));
    assert_eq!((&facts[1]["fft"], &facts[1]["sample_rate"]), (&1024.into(), &facts[0]["sample_rate"]));
    assert_eq!(facts[2]["shape"], serde_json::json!([1, 513, 2, 2]));
    assert_eq!(facts[3]["holds"], serde_json::json!(["mine"]));
    // one that cannot be told does not hide the others
    std::fs::write(lab.path("letter.txt"), "Dear reader,\n").unwrap();
    let run = lab.line("info letter.txt song.wav");
    assert_eq!(run.code, 1);
    assert!(run.out.contains("song.wav") && run.err.lines().count() == 1, "{}", run.err);
}
