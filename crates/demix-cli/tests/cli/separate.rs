//! What `demix separate` promises.

use demix::signal::Waveform;
use serde_json::Value;

use crate::lab::{Lab, RATE, bass, drums, mix, noise, residual_db, stereo};

/// Enough for every promise but good sound.
const QUICK: &str = "--set iterations=5 --set components=3";

fn lab() -> Lab {
    let lab = Lab::new();
    let (bass, drums) = (bass(1.5, 0), drums(1.5, 0));
    lab.write("song.wav", &mix(&bass, &drums));
    lab.write("stereo.wav", &stereo(&bass, &drums));
    lab
}

#[test]
fn sources_are_as_long_wide_and_fast_as_the_input_and_sum_to_it() {
    let lab = lab();
    for name in ["song", "stereo"] {
        lab.done(&format!("separate {name}.wav --sources 3 {QUICK}"));
        let (input, sources) = (lab.read(format!("{name}.wav")), lab.sources(&format!("separated/{name}")));
        assert_eq!(sources.len(), 3);
        for source in &sources {
            assert_eq!(
                (source.samples.dim(), source.sample_rate),
                (input.samples.dim(), input.sample_rate),
                "{name}"
            );
            assert!(source.peak() > 0.0);
        }
        let residual = residual_db(&input, &sources);
        assert!(residual < -100.0, "{name}: {residual} dB");
    }
    assert_eq!(lab.names("separated/song"), ["report.json", "source-1.wav", "source-2.wav", "source-3.wav"]);
}

#[test]
fn the_report_holds_all_that_programs_rely_on() {
    let lab = lab();
    lab.done(&format!("separate stereo.wav --method nmf --sources 2 --seed 7 {QUICK} --set tolerance=0"));
    let report = lab.json("separated/stereo/report.json");
    let is = |key: &str, value: Value| assert_eq!(report[key], value, "{key}");
    is("demix", env!("CARGO_PKG_VERSION").into());
    is("method", "nmf".into());
    is("seed", 7.into());
    is("iterations", 5.into());
    is("stopped", "iterations".into());
    is("sums_to_input", true.into());
    is("warnings", Value::Array(Vec::new()));
    assert_eq!(report["input"]["files"], serde_json::json!(["stereo.wav"]));
    assert_eq!(report["input"]["channels"], 2);
    assert_eq!(report["input"]["sample_rate"], RATE);
    assert_eq!(report["input"]["n_samples"], 12000);
    let sources: Vec<_> =
        report["sources"].as_array().unwrap().iter().map(|s| (&s["name"], &s["file"])).collect();
    assert_eq!(sources[0], (&"source-1".into(), &"source-1.wav".into()));
    assert_eq!(sources.len(), 2);
    // before the first iteration and after each
    let cost: Vec<f64> = report["cost"].as_array().unwrap().iter().map(|c| c.as_f64().unwrap()).collect();
    assert_eq!(cost.len(), 6);
    assert!(cost.windows(2).all(|pair| pair[1] <= pair[0] * (1.0 + 1e-9)), "{cost:?}");
    for stage in ["read", "stft", "separate", "write"] {
        assert!(report["seconds"][stage].as_f64().unwrap() >= 0.0, "{stage}");
    }
    assert!(report["residual_db"].as_f64().unwrap() < -100.0);
    // every setting of the method is there, nothing is left at auto, and what was asked for was used
    let settings = report["settings"].as_object().unwrap();
    let method: Value = serde_json::from_str(&lab.done("methods nmf --json").out).unwrap();
    for setting in method["settings"].as_array().unwrap() {
        assert!(settings.contains_key(setting["name"].as_str().unwrap()), "{setting}");
    }
    assert_eq!((&settings["fft"], &settings["hop"]), (&1024.into(), &256.into()));
    assert_eq!((&settings["components"], &settings["seed"]), (&3.into(), &7.into()));

    lab.done("separate song.wav --set components=2 --set iterations=500 --set tolerance=0.01");
    let report = lab.json("separated/song/report.json");
    assert_eq!(report["stopped"], "tolerance");
    let iterations = report["iterations"].as_u64().unwrap();
    assert!((1..500).contains(&iterations));
    assert_eq!(report["cost"].as_array().unwrap().len() as u64, iterations + 1);
}

#[test]
fn a_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let lab = lab();
    let bytes = |options: &str| {
        lab.done(&format!("separate song.wav {QUICK} --overwrite {options}"));
        lab.bytes("separated/song/source-1.wav")
    };
    let first = bytes("--seed 3");
    for same in
        ["--seed 3", "--set seed=3", "--seed 3 --threads 1", "--seed 3 --threads 5", "--seed 3 --plots"]
    {
        assert!(bytes(same) == first, "{same}");
    }
    assert!(bytes("--seed 4") != first);
    assert!(bytes("") != first);
    // the dither has the same seed
    let first = bytes("--seed 3 --int16");
    assert!(bytes("--set seed=3 --int16 --threads 1") == first);
    assert!(bytes("--seed 4 --int16") != first);
}

#[test]
fn one_channel_files_are_joined_and_one_channel_is_written() {
    let lab = lab();
    let stereo = lab.read("stereo.wav");
    for (channel, name) in ["left", "right"].iter().enumerate() {
        let samples = stereo.samples.row(channel).to_vec();
        lab.write(&format!("{name}.wav"), &Waveform::mono(samples, RATE));
    }
    lab.done(&format!("separate stereo.wav --method nmf {QUICK}"));
    lab.done(&format!("separate left.wav right.wav --join --method nmf {QUICK}"));
    assert!(lab.bytes("separated/left/source-2.wav") == lab.bytes("separated/stereo/source-2.wav"));
    let files = &lab.json("separated/left/report.json")["input"]["files"];
    assert_eq!(*files, serde_json::json!(["left.wav", "right.wav"]));

    lab.done(&format!("separate stereo.wav --method nmf --reference 2 {QUICK} -o one"));
    let (one, both) = (lab.read("one/stereo/source-1.wav"), lab.read("separated/stereo/source-1.wav"));
    assert_eq!(one.n_channels(), 1);
    assert_eq!(one.samples.row(0), both.samples.row(1));
    assert_eq!(lab.json("one/stereo/report.json")["sums_to_input"], false);
}

#[test]
fn two_stems_are_one_source_and_all_others() {
    let lab = lab();
    let options = format!("--sources 3 {QUICK}");
    lab.done(&format!("separate song.wav {options} -o three"));
    let run = lab.done(&format!("separate song.wav {options} --two-stems source-2 -o two"));
    assert!(run.out.contains("no_source-2.wav"), "{}", run.out);
    assert_eq!(lab.names("two/song"), ["no_source-2.wav", "report.json", "source-2.wav"]);
    assert!(lab.bytes("two/song/source-2.wav") == lab.bytes("three/song/source-2.wav"));
    let song = lab.read("song.wav");
    assert!(residual_db(&song, &lab.sources("two/song")) < -100.0);
    lab.done(&format!("separate song.wav {options} --two-stems source-2 --clip-mode rescale -o rescaled"));
    assert!(residual_db(&song, &lab.sources("rescaled/song")) < -100.0);
    assert_eq!(lab.names("rescaled/song").len(), 3);
}

#[test]
fn integers_sum_to_the_input_up_to_their_rounding() {
    let lab = lab();
    let song = lab.read("song.wav");
    let level = 10.0
        * (song.samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / song.samples.len() as f64)
            .log10();
    // 3 sources, each with the noise of rounding (1/12) and of triangular dither (2/12) steps of 2 / 65536
    let step = |bits: i32| 20.0 * (2.0 / 2f64.powi(bits)).log10();
    let of_three = 10.0 * 3f64.log10();
    for (options, ending, bits, noise) in [
        ("--int16", "wav", 16, -10.0 * 4f64.log10()),
        ("--int24", "wav", 24, -10.0 * 12f64.log10()),
        ("--format flac --int16", "flac", 16, -10.0 * 4f64.log10()),
        ("--format flac", "flac", 24, -10.0 * 12f64.log10()),
    ] {
        lab.done(&format!("separate song.wav --sources 3 {QUICK} {options} --overwrite"));
        assert!(lab.path(format!("separated/song/source-1.{ending}")).exists());
        let facts = lab.done(&format!("info separated/song/source-1.{ending}")).out;
        assert!(facts.contains(&format!("bits_per_sample: {bits}")), "{facts}");
        let sources: Vec<Waveform> =
            (1..=3).map(|n| lab.read(format!("separated/song/source-{n}.{ending}"))).collect();
        let residual = residual_db(&song, &sources) + level;
        let expected = step(bits) + noise + of_three;
        // 24 bits: the single-precision transform is not far below
        assert!(
            (residual - expected).abs() < if bits == 16 { 1.0 } else { 6.0 },
            "{options}: {residual} dB, {expected}"
        );
    }
}

#[test]
fn clipping_is_reported_and_rescaling_keeps_the_balance() {
    let lab = lab();
    let song = lab.read("song.wav");
    let loud = Waveform::new(&song.samples * (1.9 / song.peak()), RATE);
    lab.write("loud.wav", &loud);
    let separate = |options: &str, folder: &str| {
        lab.done(&format!("separate loud.wav {QUICK} {options} -o {folder}"));
        (lab.sources(&format!("{folder}/loud")), lab.json(&format!("{folder}/loud/report.json")))
    };
    let (floats, report) = separate("", "floats");
    assert!(floats.iter().any(|source| source.peak() > 1.0), "the test needs a loud source");
    assert_eq!(report["warnings"], serde_json::json!([]));
    assert!(residual_db(&loud, &floats) < -100.0);

    let (integers, report) = separate("--int24", "integers");
    assert!(integers.iter().all(|source| source.peak() <= 1.0));
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.contains("clipped") && warning.contains("--clip-mode rescale"), "{warning}");
    assert_eq!(report["sums_to_input"], false);

    let (clamped, report) = separate("--clip-mode clamp", "clamped");
    assert!(clamped.iter().all(|source| source.peak() <= 1.0));
    assert!(report["warnings"][0].as_str().unwrap().contains("clipped"));
    assert_eq!(report["sums_to_input"], false);

    let (rescaled, report) = separate("--clip-mode rescale", "rescaled");
    let gain = report["gain"].as_f64().unwrap() as f32;
    assert!(gain < 1.0);
    let peak = rescaled.iter().map(Waveform::peak).fold(0.0, f32::max);
    assert!((peak - 1.0).abs() < 1e-6, "{peak}");
    for (rescaled, float) in rescaled.iter().zip(&floats) {
        let error = (&rescaled.samples - &(&float.samples * gain)).iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(error < 1e-6);
    }
    assert_eq!(report["sums_to_input"], false);
    assert!(report["warnings"][0].as_str().unwrap().contains("multiplied by"));
}

#[test]
fn the_residual_is_that_of_the_files() {
    let lab = lab();
    let song = lab.read("song.wav");
    lab.write("faint.wav", &Waveform::new(&song.samples * 1e-5, RATE));
    for (options, adds_up) in
        [("--int16", -60.0), ("--format flac", -100.0), ("--format flac --int16", -60.0)]
    {
        let folder = options.replace(' ', "");
        lab.done(&format!("separate song.wav faint.wav {QUICK} {options} -o out{folder}"));
        let report = lab.json(&format!("out{folder}/song/report.json"));
        let files: Vec<Waveform> = report["sources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|source| lab.read(format!("out{folder}/song/{}", source["file"].as_str().unwrap())))
            .collect();
        let measured = residual_db(&song, &files);
        let told = report["residual_db"].as_f64().unwrap();
        assert!((told - measured).abs() < 0.5 && told < adds_up, "{options}: {told}, measured {measured}");
        assert_eq!((&report["sums_to_input"], &report["warnings"]), (&true.into(), &serde_json::json!([])));
        // 16 bits hold nothing of it
        let faint = lab.json(&format!("out{folder}/faint/report.json"));
        if options.contains("int16") {
            assert_eq!(faint["sums_to_input"], false);
            assert!(
                faint["warnings"][0].as_str().unwrap().contains("write float32"),
                "{}",
                faint["warnings"]
            );
        }
    }
}

#[test]
fn files_may_lie_elsewhere_and_are_found_again() {
    let lab = lab();
    let run = lab.run([
        "separate",
        "song.wav",
        "--filename",
        "{track}-{stem}.{ext}",
        "-o",
        "flat",
        "--set",
        "iterations=2",
        "--method",
        "nmf",
    ]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("flat: song-source-1.wav, song-source-2.wav"), "{}", run.out);
    lab.done("remix flat/song -o again.wav");
    assert!(residual_db(&lab.read("song.wav"), &[lab.read("again.wav")]) < -100.0);
    for (template, said) in [
        ("../{stem}.{ext}", "leaves the output folder"),
        ("/tmp/{stem}.wav", "leaves"),
        ("{stem}.flac", "--format flac"),
    ] {
        let run = lab.run(["separate", "song.wav", "--filename", template, "-o", "flat"]);
        assert_eq!((run.code, run.err.lines().count()), (2, 1), "{}", run.err);
        assert!(run.err.contains(said), "{}", run.err);
    }
}

#[test]
fn sources_of_an_earlier_separation_are_named() {
    let lab = lab();
    lab.done("separate song.wav --method nmf --sources 4 --set iterations=2");
    let run = lab.done(&format!("separate song.wav {QUICK} --sources 3 --overwrite"));
    assert!(run.err.contains("source-4.wav: is of an earlier separation"), "{}", run.err);
    assert_eq!(lab.json("separated/song/report.json")["warnings"].as_array().unwrap().len(), 1);
    assert!(!lab.done(&format!("separate song.wav {QUICK} --sources 3 --overwrite")).err.contains("earlier"));
}

#[test]
fn a_part_is_taken() {
    let lab = lab();
    lab.done(&format!("separate song.wav --start 0.5 --duration 0.25 {QUICK}"));
    let sources = lab.sources("separated/song");
    assert_eq!(sources[0].n_samples(), 2000);
    let part = lab.read("song.wav").samples.slice(ndarray::s![.., 4000..6000]).to_owned();
    assert!(residual_db(&Waveform::new(part, RATE), &sources) < -100.0);
    let run = lab.done(&format!("separate song.wav --start 1 --duration 9 {QUICK} --overwrite"));
    assert!(run.err.contains("asked for 9 s, the file has 0.500 s"), "{}", run.err);
    assert_eq!(lab.sources("separated/song")[0].n_samples(), 4000);
}

#[test]
fn settings_come_from_a_file_and_the_command_line_wins() {
    let lab = lab();
    std::fs::write(
        lab.path("mine.toml"),
        "# mine\nmethod = \"nmf\"\ncomponents = 4\niterations = 2\nbeta = 0.5\nfft = \"auto\"\nnormalize = true\n",
    )
    .unwrap();
    lab.done("separate song.wav --settings mine.toml --set components=2 --set components=3");
    let report = lab.json("separated/song/report.json");
    let settings = &report["settings"];
    assert_eq!((&settings["components"], &settings["iterations"]), (&3.into(), &2.into()));
    assert_eq!(settings["beta"], 0.5);
    assert_eq!(report["why"], "");
    // --seed wins over a seed among the settings
    lab.done("separate song.wav --settings mine.toml --set seed=8 --seed 9 --overwrite");
    assert_eq!(lab.json("separated/song/report.json")["seed"], 9);
}

#[test]
fn components_can_be_sources_and_resynthesis_can_be_direct() {
    let lab = lab();
    lab.done("separate song.wav --set grouping=none --set components=10 --set iterations=3");
    let names = lab.names("separated/song");
    assert_eq!(
        (names.len(), names[0].as_str(), names[9].as_str()),
        (11, "component-01.wav", "component-10.wav")
    );
    let song = lab.read("song.wav");
    assert!(residual_db(&song, &lab.sources("separated/song")) < -100.0);

    let run = lab.done(&format!("separate song.wav --set synthesis=direct {QUICK} -o direct"));
    assert!(run.err.contains("do not add up"), "{}", run.err);
    assert_eq!(lab.json("direct/song/report.json")["sums_to_input"], false);
    let residual = residual_db(&song, &lab.sources("direct/song"));
    assert!((-60.0..3.0).contains(&residual), "{residual}");
}

#[test]
fn one_broken_input_of_several_does_not_stop_the_others() {
    let lab = lab();
    std::fs::create_dir(lab.path("album")).unwrap();
    for name in ["1.wav", "3.WAV"] {
        std::fs::copy(lab.path("song.wav"), lab.path("album").join(name)).unwrap();
    }
    std::fs::write(lab.path("album/2.wav"), b"no sound").unwrap();
    std::fs::write(lab.path("album/cover.jpg"), b"no sound").unwrap();
    let run = lab.line(&format!("separate album stereo.wav --method nmf {QUICK}"));
    assert_eq!(run.code, 1);
    let lines: Vec<&str> = run.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.err);
    assert!(lines[0].starts_with("error: album/2.wav: is not audio"), "{}", run.err);
    assert!(lines[1].contains("1 of 4 inputs failed"), "{}", run.err);
    assert_eq!(lab.names("separated"), ["1", "3", "stereo"]);

    let run = lab.line(&format!("separate album stereo.wav --method nmf {QUICK} --overwrite --json"));
    assert_eq!(run.code, 1);
    let events: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().filter(|event| event["event"] == "done").count(), 3);
    assert_eq!(events.iter().filter(|event| event["event"] == "error").count(), 2);
}

#[test]
fn names_of_files_follow_the_template() {
    let lab = lab();
    lab.done(&format!("separate song.wav -o out --filename {{stem}}/{{track}}-x.{{ext}} {QUICK}"));
    assert_eq!(lab.names("out"), ["song", "source-1", "source-2"]);
    assert_eq!(lab.names("out/source-1"), ["song-x.wav"]);
    // a folder for them that cannot be made is found before the work, and nothing is left
    std::fs::write(lab.path("blocked"), b"").unwrap();
    let before = lab.everything();
    let run = lab.line(&format!("separate song.wav -o . --filename blocked/{{stem}} {QUICK}"));
    assert_eq!(run.code, 1);
    assert!(run.err.contains("blocked"), "{}", run.err);
    assert!(lab.everything() == before, "{:?}", lab.everything().keys());
}

#[test]
fn existing_files_are_replaced_on_request_only() {
    let lab = lab();
    lab.done(&format!("separate song.wav {QUICK}"));
    let first = lab.bytes("separated/song/source-1.wav");
    let run = lab.line(&format!("separate song.wav {QUICK} --seed 5"));
    assert_eq!(run.code, 1);
    assert!(lab.bytes("separated/song/source-1.wav") == first);
    lab.done(&format!("separate song.wav {QUICK} --seed 5 --overwrite"));
    assert!(lab.bytes("separated/song/source-1.wav") != first);
}

#[test]
fn plots_are_pictures() {
    let lab = lab();
    let run = lab.done(&format!("separate stereo.wav --method nmf {QUICK} --plots --json"));
    let expected = ["cost", "factors", "mask-source-1", "mask-source-2", "mixture", "sources", "waveforms"]
        .map(|name| format!("{name}.png"));
    let names: Vec<String> =
        lab.names("separated/stereo").into_iter().filter(|name| name.ends_with(".png")).collect();
    assert_eq!(names, expected);
    let done: Value = serde_json::from_str(run.out.lines().last().unwrap()).unwrap();
    assert_eq!(done["pictures"].as_array().unwrap().len(), expected.len());
    for name in names {
        let bytes = lab.bytes(format!("separated/stereo/{name}"));
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert!(frame.width >= 400 && frame.height >= 200, "{name}: {} x {}", frame.width, frame.height);
        let colours: std::collections::HashSet<&[u8]> = pixels.chunks(3).collect();
        assert!(colours.len() > 10, "{name} has {} colours", colours.len());
    }
}

#[test]
fn formats_of_the_input_do_not_matter() {
    let lab = lab();
    // full scale, so that 16 bits are coarse against the tolerance below
    lab.done(&format!("separate song.wav {QUICK} --sources 1 --set iterations=1 --format flac -o flac"));
    std::fs::copy(lab.path("flac/song/source-1.flac"), lab.path("copy.wav")).unwrap();
    lab.done(&format!("separate copy.wav {QUICK}"));
    assert_eq!(lab.json("separated/copy/report.json")["input"]["container"], "FLAC");
    assert!(residual_db(&lab.read("copy.wav"), &lab.sources("separated/copy")) < -100.0);
    for rate in [1, 11, 44100, 192_000] {
        lab.write("rate.wav", &Waveform::mono(noise(3000, 9), rate));
        lab.done(&format!("separate rate.wav {QUICK} --overwrite"));
        let sources = lab.sources("separated/rate");
        assert_eq!(sources[0].sample_rate, rate);
        assert!(residual_db(&lab.read("rate.wav"), &sources) < -100.0, "{rate} Hz");
    }
}
