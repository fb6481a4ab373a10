//! The table of bad inputs: each gives one line with file or setting, both numbers and a remedy, leaves nothing
//! behind and never panics; or, where it can be done, a documented result.

use demix::signal::Waveform;

use crate::lab::{Lab, RATE, bass, drums, mix, noise, residual_db, stereo};

/// A folder with every kind of bad file.
fn zoo() -> Lab {
    let lab = Lab::new();
    let (bass, drums) = (bass(1.0, 0), drums(1.0, 0));
    lab.write("song.wav", &mix(&bass, &drums));
    lab.write("stereo.wav", &stereo(&bass, &drums));
    lab.write("short.wav", &Waveform::mono(noise(2000, 5), RATE));
    lab.write("other-rate.wav", &Waveform::mono(noise(2000, 5), 16000));
    lab.write("long.wav", &Waveform::mono(noise(60 * RATE as usize, 4), RATE));
    let song = lab.bytes("song.wav");
    let put = |name: &str, bytes: &[u8]| std::fs::write(lab.path(name), bytes).unwrap();
    put("text.wav", b"Dear reader, this is a letter and no sound at all.\n");
    put("cut.wav", &song[..song.len() / 2]);
    put("header.wav", &song[..20]);
    put("empty.wav", b"");
    lab.done("separate song.wav -o flac --format flac --set iterations=0 -q");
    let flac = lab.bytes("flac/song/source-1.flac");
    put("cut.flac", &flac[..flac.len() / 2]);
    std::fs::remove_dir_all(lab.path("flac")).unwrap();
    for (name, x) in [("nan.wav", f32::NAN), ("inf.wav", f32::INFINITY)] {
        let mut bytes = song.clone();
        let end = bytes.len();
        bytes[end - 400..end - 396].copy_from_slice(&x.to_le_bytes());
        put(name, &bytes);
    }
    let no_samples = header_without_samples(&song);
    put("no-samples.wav", &no_samples);

    lab.write("bass-only.wav", &bass);
    lab.write("drums-only.wav", &drums);
    lab.write("silence.wav", &Waveform::mono(vec![0.0; 8000], RATE));
    lab.write("bass-16k.wav", &Waveform::mono(bass.samples.row(0).to_vec(), 16000));
    let learn = "--set components=4 --set iterations=3 -q";
    lab.done(&format!("dictionary bass-only.wav --name bass -o bass.dict {learn}"));
    lab.done(&format!("dictionary drums-only.wav --name drums -o drums.dict {learn}"));
    lab.done(&format!("dictionary bass-16k.wav --name low -o 16k.dict {learn}"));
    lab.done(&format!("dictionary bass-only.wav --name coarse -o coarse.dict --set fft=512 {learn}"));
    let dictionary = lab.bytes("bass.dict");
    put("cut.dict", &dictionary[..dictionary.len() - 100]);
    put("magic.dict", &dictionary[..12]);
    let mut hostile = dictionary.clone();
    hostile[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    put("hostile.dict", &hostile);
    let mut nan = dictionary.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    put("nan.dict", &nan);

    put("bad.toml", b"components = = 3\n");
    put("unknown.toml", b"komponents = 3\n");
    put("nested.toml", b"[nmf]\ncomponents = 3\n");
    std::fs::create_dir_all(lab.path("nothing-here")).unwrap();
    std::fs::create_dir_all(lab.path("a")).unwrap();
    std::fs::create_dir_all(lab.path("b")).unwrap();
    put("a/song.wav", &song);
    put("b/song.wav", &song);
    std::fs::create_dir_all(lab.path("there/song")).unwrap();
    put("there/song/source-1.wav", b"old");
    std::fs::create_dir_all(lab.path("pictures/song")).unwrap();
    put("pictures/song/mixture.png", b"old");
    std::fs::create_dir_all(lab.path("in/song")).unwrap();
    put("in/song/source-2.wav", &song);
    put("in/source-1.wav", &song);
    lab
}

/// The header of a WAV file, saying that nothing follows.
fn header_without_samples(wav: &[u8]) -> Vec<u8> {
    let data = wav.windows(4).position(|name| name == b"data").unwrap();
    let mut header = wav[..data + 8].to_vec();
    header[data + 4..].fill(0);
    let riff = (header.len() - 8) as u32;
    header[4..8].copy_from_slice(&riff.to_le_bytes());
    header
}

/// Command, exit code, and what the line says.
const REFUSED: &[(&str, i32, &[&str])] = &[
    // files
    ("separate missing.wav", 1, &["missing.wav: no such file", "check the path"]),
    ("separate text.wav", 1, &["text.wav: is not audio that demix reads", "give WAV"]),
    ("separate bass.dict", 1, &["bass.dict: is not audio", "give WAV"]),
    ("separate cut.wav", 1, &["cut.wav: truncated", "promises 8000", "holds 39", "again"]),
    ("separate header.wav", 1, &["header.wav", "again"]),
    ("separate cut.flac", 1, &["cut.flac", "again"]),
    ("separate empty.wav", 1, &["empty.wav: is empty (0 bytes)", "check"]),
    ("separate no-samples.wav", 1, &["no-samples.wav: holds 0 samples", "check"]),
    ("separate nan.wav", 1, &["nan.wav: 1 of its samples", "channel 1 at sample 7900", "repair"]),
    ("separate inf.wav", 1, &["inf.wav: 1 of its samples", "channel 1 at sample 7900", "repair"]),
    ("separate nothing-here", 1, &["nothing-here: no audio file", "wav, wave"]),
    // settings
    ("separate song.wav --set hop=5000", 2, &["hop=5000", "(1024 samples)", "at most a half"]),
    ("separate song.wav --set hop=900 --set window_length=800", 2, &["hop=900", "(800 samples)"]),
    ("separate song.wav --set components=0", 2, &["components=0 is out of range", "1 to 10000"]),
    ("separate song.wav --set fft=1000000000", 2, &["fft=1000000000 is out of range", "1048576 samples"]),
    ("separate song.wav --set window_length=4096 --set fft=512", 2, &["window_length=4096", "fft=512"]),
    (
        "separate long.wav --set fft=65536 --set hop=1",
        1,
        &["long.wav: spectrograms of 32769 bins x 48", "GiB are free", "raise hop"],
    ),
    ("separate song.wav --set beta=nan", 2, &["beta=nan: a finite number was expected"]),
    ("separate song.wav --set tolerance=-1", 2, &["tolerance=-1.0 is out of range", "from 0 to 1"]),
    ("separate song.wav --set komponents=3", 2, &["no setting 'komponents'", "did you mean 'components'"]),
    ("separate song.wav --set init=rundom", 2, &["init=rundom", "one of random, lecture, nndsvda"]),
    ("separate song.wav --set components", 2, &["write KEY=VALUE", "--set"]),
    ("separate song.wav --method nfm", 2, &["no method 'nfm'", "did you mean 'nmf'"]),
    ("separate song.wav --method bluebottle", 2, &["no method 'bluebottle'", "demix methods"]),
    ("separate song.wav --sources 0", 2, &["'0'", "--sources", "at least 1"]),
    (
        "separate song.wav --sources 4000000000 --set components=30",
        2,
        &["120000000000 components, at most 10000", "lower"],
    ),
    ("separate song.wav --sources 18446744073709551615", 2, &["at most 10000", "lower"]),
    ("separate song.wav --sources 600 --set components=30", 2, &["18000 components, at most 10000"]),
    ("separate song.wav --threads 0", 2, &["--threads", "at least 1"]),
    ("separate song.wav --threads 10000000", 2, &["--threads", "at most 4096"]),
    ("separate song.wav --settings missing.toml", 1, &["missing.toml: no such file"]),
    ("separate song.wav --settings bad.toml", 1, &["bad.toml: not a settings file", "line 1"]),
    (
        "separate song.wav --settings unknown.toml",
        2,
        &["no setting 'komponents'", "did you mean 'components'"],
    ),
    ("separate song.wav --settings nested.toml", 1, &["nested.toml: 'nmf' is a table", "NAME = VALUE"]),
    ("separate song.wav --settings song.wav", 1, &["song.wav: not a settings file", "NAME = VALUE"]),
    // outputs
    (
        "separate song.wav -o text.wav",
        1,
        &["text.wav/song: cannot make this folder", "text.wav is in the way"],
    ),
    (
        "separate song.wav -o text.wav/x",
        1,
        &["text.wav/x/song: cannot make this folder", "text.wav is in the way"],
    ),
    #[cfg(target_os = "linux")]
    (
        "separate song.wav -o /proc/out",
        1,
        &["/proc/out/song: no permission to make this folder", "another place"],
    ),
    #[cfg(unix)]
    ("separate song.wav -o /dev/null", 1, &["/dev/null/song: cannot make", "/dev/null is in the way"]),
    ("separate song.wav -o there", 1, &["there/song/source-1.wav exists", "--overwrite", "-o"]),
    ("separate song.wav -o pictures --plots", 1, &["pictures/song/mixture.png exists", "--overwrite"]),
    (
        "separate in/song/source-2.wav -o in --filename song/{stem}.{ext} --overwrite",
        2,
        &["in/song/source-2.wav is an input", "-o"],
    ),
    (
        "separate song.wav in/source-1.wav -o in --filename {stem}.{ext} --overwrite",
        2,
        &["in/source-1.wav is an input", "-o"],
    ),
    ("separate a/song.wav b/song.wav -o out", 2, &["a/song.wav and b/song.wav", "out/song/", "different -o"]),
    ("separate a song.wav -o out", 2, &["a/song.wav and song.wav", "out/song/"]),
    (
        "separate song.wav short.wav -o out --filename {stem}.{ext}",
        2,
        &["song.wav and short.wav", "out/source-1.wav"],
    ),
    (
        "separate song.wav --filename all.{ext}",
        2,
        &["--filename 'all.{ext}' has no {stem}", "{track}/{stem}.{ext}"],
    ),
    ("separate song.wav --filename {song}/{stem}", 2, &["{song} has no meaning", "{track}, {stem}, {ext}"]),
    ("separate song.wav --two-stems vocals", 2, &["--two-stems vocals", "source-1, source-2"]),
    ("separate song.wav --reference 0", 2, &["--reference", "at least 1"]),
    ("separate stereo.wav --reference 9", 2, &["--reference 9", "stereo.wav has 2 channels", "from 1"]),
    ("separate song.wav --start 5", 1, &["song.wav: start 5 s is beyond the end at 1.000 s", "earlier"]),
    ("separate song.wav --start -1", 2, &["--start", "0 or more"]),
    ("separate song.wav --duration nan", 2, &["--duration", "0 or more"]),
    ("separate song.wav --duration 0", 1, &["song.wav: duration is 0 s"]),
    ("separate song.wav --int16 --int24", 2, &["--int16", "--int24"]),
    ("separate song.wav --join", 2, &["--join", "1 file"]),
    ("separate song.wav stereo.wav --join", 1, &["stereo.wav: has 2 channels", "1 each"]),
    ("separate song.wav short.wav --join", 1, &["short.wav", "2000", "8000"]),
    ("separate short.wav other-rate.wav --join", 1, &["other-rate.wav", "16000", "8000"]),
    // dictionaries
    ("separate song.wav --dictionary bass.dict", 2, &["'bass' is the only source", "--free"]),
    ("separate song.wav --dictionary bass.dict --dictionary bass.dict", 2, &["two sources are named 'bass'"]),
    (
        "separate song.wav --dictionary bass.dict --dictionary 16k.dict",
        2,
        &["'bass'", "8000 Hz", "'low'", "16000 Hz"],
    ),
    (
        "separate song.wav --dictionary 16k.dict --free rest=3",
        1,
        &["song.wav", "16000 Hz", "8000 Hz", "learn"],
    ),
    (
        "separate song.wav --dictionary bass.dict --dictionary coarse.dict",
        2,
        &["'bass' has fft=", "'coarse' has fft=512", "same settings"],
    ),
    (
        "separate song.wav --dictionary bass.dict --free rest=3 --set fft=512",
        2,
        &["fft=512", "'bass' was learned with fft=", "leave it out"],
    ),
    (
        "separate song.wav --dictionary bass.dict --dictionary drums.dict --sources 3",
        2,
        &["--sources 3", "make 2"],
    ),
    ("separate song.wav --free rest=3", 2, &["--free rest", "--dictionary"]),
    ("separate song.wav --dictionary bass.dict --free rest=0", 2, &["'rest' has 0 components", "at least 1"]),
    ("separate song.wav --dictionary bass.dict --free rest=99999999999999", 2, &["at most 10000"]),
    ("separate song.wav --dictionary bass.dict --free rest=many", 2, &["'many' is not a number"]),
    ("separate song.wav --dictionary cut.dict --free rest=3", 1, &["cut.dict: truncated", "again"]),
    ("separate song.wav --dictionary magic.dict --free rest=3", 1, &["magic.dict: truncated"]),
    ("separate song.wav --dictionary hostile.dict --free rest=3", 1, &["hostile.dict: truncated"]),
    ("separate song.wav --dictionary nan.dict --free rest=3", 1, &["nan.dict: damaged"]),
    (
        "separate song.wav --dictionary song.wav --free rest=3",
        1,
        &["song.wav: is not a demix dictionary", "demix dictionary"],
    ),
    ("separate song.wav --dictionary missing.dict --free rest=3", 1, &["missing.dict: no such file"]),
    ("dictionary silence.wav --name x -o x.dict", 1, &["recordings for 'x' are silent"]),
    (
        "dictionary bass-only.wav bass-16k.wav --name x -o x.dict",
        1,
        &["bass-16k.wav has 16000 Hz", "8000 Hz"],
    ),
    ("dictionary bass-only.wav --name x -o bass-only.wav --overwrite", 2, &["bass-only.wav is an input"]),
    ("dictionary bass-only.wav --name x -o bass.dict", 1, &["bass.dict exists", "--overwrite"]),
    ("dictionary bass-only.wav --name x -o text.wav/x.dict", 1, &["text.wav"]),
    ("dictionary bass-only.wav --name x -o nothing-here", 1, &["nothing-here: is a folder"]),
    ("dictionary bass-only.wav --name x -o x.dict --set komponents=3", 2, &["did you mean 'components'"]),
    (
        "dictionary bass-only.wav --name x -o x.dict --settings bad.toml",
        1,
        &["bad.toml: not a settings file"],
    ),
    ("dictionary bass-only.wav --name x", 2, &["--output", "demix dictionary --help"]),
    // remix
    ("remix nothing-here -o mix.wav", 1, &["nothing-here: no audio file"]),
    ("remix a -o mix.wav --gain vocals=3", 2, &["--gain vocals", "those in a are song"]),
    ("remix a -o mix.wav --gain song=loud", 2, &["'loud' is not a gain in dB"]),
    ("remix a -o mix.wav --gain song=nan", 2, &["'nan' is not a gain in dB"]),
    ("remix a -o a/song.wav --overwrite", 2, &["a/song.wav is an input", "-o"]),
    ("remix a -o b", 1, &["b: is a folder"]),
    ("remix a -o song.wav", 1, &["song.wav exists", "--overwrite"]),
    (
        "remix in -o mix.wav --gain source-1=1 --gain source-9=1",
        2,
        &["--gain source-9", "those in in are source-1"],
    ),
    ("remix there -o mix.wav", 1, &["there: no audio file", "there/song"]),
    ("remix missing -o mix.wav", 1, &["missing: no such file"]),
    // evaluate
    (
        "evaluate --reference song.wav --estimate short.wav",
        1,
        &["song.wav and short.wav differ in samples: 8000 and 2000"],
    ),
    (
        "evaluate --reference song.wav --estimate stereo.wav",
        1,
        &["song.wav and stereo.wav differ in channels: 1 and 2"],
    ),
    ("evaluate --reference short.wav --estimate other-rate.wav", 1, &["rate (Hz): 8000 and 16000"]),
    ("evaluate --reference song.wav song.wav --estimate song.wav", 2, &["references: 2, estimates: 1"]),
    (
        "evaluate --reference song.wav --estimate song.wav --metrics sisdr",
        2,
        &["no metric 'sisdr'", "did you mean 'si-sdr'"],
    ),
    (
        "evaluate --reference song.wav --estimate song.wav --metrics loudness",
        2,
        &["no metric 'loudness'", "si-sdr, snr"],
    ),
    ("evaluate --reference song.wav", 2, &["--estimate"]),
    // info, methods, the command line itself
    ("info text.wav", 1, &["text.wav: is neither audio"]),
    ("info hostile.dict", 1, &["hostile.dict: truncated"]),
    ("info cut.wav", 1, &["cut.wav: truncated"]),
    ("info nothing-here", 1, &["nothing-here: is a folder"]),
    ("methods nfm", 2, &["did you mean 'nmf'"]),
    ("seperate song.wav", 2, &["'seperate'", "'separate'", "demix --help"]),
    ("separate song.wav --ploots", 2, &["'--ploots'", "'--plots'", "demix separate --help"]),
    ("separate", 2, &["<INPUT>", "demix separate --help"]),
    ("completions tcsh", 2, &["'tcsh'", "bash"]),
];

#[test]
fn each_bad_input_is_refused_in_one_line_and_leaves_nothing_behind() {
    let lab = zoo();
    let before = lab.everything();
    let mut faults = Vec::new();
    for (line, code, parts) in REFUSED {
        let run = lab.line(line);
        let mut fault = |what: &str| faults.push(format!("demix {line}\n    {what}\n    {}", run.err));
        if run.code != *code {
            fault(&format!("exit code {}, {code} was expected", run.code));
        }
        if run.err.lines().count() != 1 || !run.err.starts_with("error: ") || !run.out.is_empty() {
            fault(&format!("not one line of error alone; standard output: {}", run.out));
        }
        for part in *parts {
            if !run.err.contains(part) {
                fault(&format!("does not say '{part}'"));
            }
        }
        if lab.everything() != before {
            fault("left something behind");
            break;
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn odd_but_possible_inputs_give_a_documented_result() {
    let lab = Lab::new();
    let (bass, drums) = (bass(1.0, 0), drums(1.0, 0));
    let song = mix(&bass, &drums);
    let silent = Waveform::mono(vec![0.0; 8000], RATE);
    let mut half = stereo(&bass, &drums);
    half.samples.row_mut(1).fill(0.0);
    let mut gap = song.samples.row(0).to_vec();
    gap.splice(4000..4000, vec![0.0; 10 * RATE as usize]);
    let rows = [
        ("one-sample", Waveform::mono(vec![0.5], RATE), "", "components for"),
        ("silence", silent, "", "the input is silent"),
        ("offset", Waveform::mono(vec![0.25; 8000], RATE), "", ""),
        ("half", half, "", "channel 2 is silent"),
        ("gap", Waveform::mono(gap, RATE), "", ""),
        ("many", song.clone(), "--set components=200", "400 components for 33 frames"),
        ("start", song.clone(), "--set iterations=0", "iterations=0"),
        ("beta", song.clone(), "--set beta=-3 --set iterations=20", ""),
        ("faint", Waveform::new(&song.samples * 1e-7, RATE), "", ""),
        ("loud", Waveform::new(&song.samples * 1e5, RATE), "", ""),
        ("one", song.clone(), "--sources 1", ""),
        ("tiny", song, "--set fft=2 --set iterations=3", ""),
    ];
    for (name, sound, settings, warning) in rows {
        lab.write(&format!("{name}.wav"), &sound);
        let run = lab.done(&format!("separate {name}.wav --set components=8 {settings}"));
        if warning.is_empty() {
            assert!(run.err.is_empty(), "{name}: {}", run.err);
        } else {
            assert!(run.err.contains(warning), "{name}: {}", run.err);
        }
        let sources = lab.sources(&format!("separated/{name}"));
        for source in &sources {
            assert_eq!(source.samples.dim(), sound.samples.dim(), "{name}");
        }
        let residual = residual_db(&sound, &sources);
        assert!(residual < -100.0 || sound.peak() == 0.0, "{name}: {residual} dB");
        let report = lab.json(&format!("separated/{name}/report.json"));
        let cost = report["cost"].as_array().unwrap();
        assert!(cost.iter().all(serde_json::Value::is_number), "{name}: {cost:?}");
    }
    // exact zeros stay exact zeros
    let sources = lab.sources("separated/gap");
    let middle = ndarray::s![0, 8000..80000];
    assert!(sources.iter().all(|source| source.samples.slice(middle).iter().all(|&x| x.abs() < 1e-7)));
}

#[test]
fn hostile_and_odd_names_stay_inside_the_output_folder() {
    let lab = Lab::new();
    lab.write("mélodie für Üben 1.wav", &mix(&bass(1.0, 0), &drums(1.0, 0)));
    lab.write("a.wav", &bass(1.0, 0));
    let learn = |name: &str, file: &str| {
        let run = lab.run(["dictionary", "a.wav", "--name", name, "-o", file, "--set", "components=2", "-q"]);
        assert_eq!(run.code, 0, "{}", run.err);
    };
    learn("../../x", "x.dict");
    learn("/etc/schlag zeug\n\u{1b}[31m", "y.dict");
    let before = lab.everything().len();
    let arguments =
        ["separate", "mélodie für Üben 1.wav", "--dictionary", "x.dict", "--dictionary", "y.dict"];
    let run = lab.run(arguments.iter().chain(&["-o", "out put"]));
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(!run.out.contains('\u{1b}') && run.err.is_empty(), "{} {}", run.out, run.err);
    let names = lab.names("out put/mélodie für Üben 1");
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"_etc_schlag zeug__[31m.wav".to_string()), "{names:?}");
    assert_eq!(lab.everything().len(), before + 2 + 3);
    let sum = residual_db(&lab.read("mélodie für Üben 1.wav"), &lab.sources("out put/mélodie für Üben 1"));
    assert!(sum < -100.0);
    // the names of the report are as they were given
    let report = lab.json("out put/mélodie für Üben 1/report.json");
    assert_eq!(report["sources"][0]["name"], "../../x");
    // a name that reads like a placeholder is one name
    std::fs::rename(lab.path("a.wav"), lab.path("{stem}.wav")).unwrap();
    lab.done("separate {stem}.wav -o out --set iterations=1");
    assert_eq!(lab.names("out/{stem}"), ["report.json", "source-1.wav", "source-2.wav"]);
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_work_too() {
    use std::os::unix::ffi::OsStrExt as _;
    let lab = Lab::new();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.wav");
    lab.write("a.wav", &bass(1.0, 0));
    std::fs::rename(lab.path("a.wav"), lab.path(odd)).unwrap();
    let word = std::ffi::OsStr::new;
    for more in ["--quiet", "--json"] {
        let run =
            lab.run([word("separate"), odd, word("--overwrite"), word("--set=iterations=2"), word(more)]);
        assert_eq!(run.code, 0, "{}", run.err);
    }
    assert_eq!(lab.run([word("info"), odd, word("--json")]).code, 0);
    assert_eq!(lab.run([word("sepurate"), odd]).code, 2);
    assert_eq!(lab.run([word("separate"), word("--plotz"), odd]).code, 2);
}

/// Files may grow to so many blocks of the shell's choice: like a disk that becomes full while writing.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    let lab = Lab::new();
    lab.write("song.wav", &mix(&bass(4.0, 0), &drums(4.0, 0)));
    let before = lab.everything();
    let program = env!("CARGO_BIN_EXE_demix");
    for arguments in ["separate song.wav -o out", "separate song.wav -o out --format flac --int16"] {
        // the signal would end the program before it can say what is wrong
        let line = format!("trap '' XFSZ; ulimit -f 20; exec {program} {arguments} --set iterations=2");
        let run = std::process::Command::new("bash").args(["-c", &line]).current_dir(lab.path("")).output();
        let run = run.unwrap();
        let err = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.contains("out/song/source-1."), "{err}");
        assert!(lab.everything() == before, "{:?}", lab.everything().keys());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_printed_are_an_error_but_a_closed_pipe_is_not() {
    let lab = Lab::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = lab.command().args(["methods", "nmf"]).stdout(full).output().unwrap();
    let err = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{err}");
    assert!(err.contains("could not be printed") && err.lines().count() == 1, "{err}");
    // errors where even standard error is full
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = lab.command().args(["separate", "missing.wav"]).stderr(full).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let program = env!("CARGO_BIN_EXE_demix");
    for arguments in ["methods nmf", "completions zsh", "separate --help"] {
        let line = format!("set -o pipefail; {program} {arguments} | true");
        let run = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
        let err = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && err.is_empty(), "{arguments}: {err}");
    }
}
