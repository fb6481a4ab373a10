//! The protocol of the paper on songs made here: every row, what is refused, stopping and going on.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::collections::BTreeMap;
use std::path::Path;

use demix::files::audio::{WriteFormat, write};
use demix::pipeline::PipelineError;
use demix::pipeline::reproduce::rows::{GROUPS, Row};
use demix::pipeline::reproduce::{MixtureScores, ReproduceRequest, Reproduced, reproduce};
use demix::signal::{Cancelled, Progress, Watch, Waveform};
use tempfile::TempDir;

const RATE: u32 = 8000;

fn put(path: &Path, rate: u32, samples: Vec<f32>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(path, &Waveform::mono(samples, rate), &WriteFormat::default()).unwrap();
}

/// Low tones, bright bursts, a gliding voice; of a song's own.
fn stem(name: &str, song: usize, seconds: f64) -> Vec<f32> {
    let mut state = (song as u64 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut phase = 0.0f32;
    (0..(seconds * f64::from(RATE)) as usize)
        .map(|t| {
            let beat = (t % 2000) as f32 / 2000.0;
            let hertz = match name {
                "bass" => 60.0 + 9.0 * ((song * 5 + t / 2000 * 3) % 7) as f32,
                _ => 300.0 + 120.0 * (t as f32 / 5000.0 + song as f32).sin(),
            };
            phase += std::f32::consts::TAU * hertz / RATE as f32;
            match name {
                "bass" => 0.3 * phase.sin() * (1.0 - beat),
                "drums" => 0.3 * (-beat * 8.0).exp() * noise(),
                _ => 0.15 * (1..8).map(|k| (phase * k as f32).sin() / k as f32).sum::<f32>(),
            }
        })
        .collect()
}

/// Three songs to train on, two of them to test, of so many seconds each; the second has no vocals.
fn songs(seconds: f64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for song in 0..5 {
        let part = if song < 3 { "train" } else { "test" };
        for name in ["bass", "drums", "vocals"] {
            if song < 4 || name != "vocals" {
                let path = folder.path().join(format!("songs/{part}/song {song}/{name}.wav"));
                put(&path, RATE, stem(name, song, seconds));
            }
        }
    }
    folder
}

/// Small networks, few steps.
const SMALL: [(&str, &str); 14] = [
    ("songs", "1"),
    ("conditions", "1"),
    ("seeds", "1"),
    ("components", "2"),
    ("width", "8"),
    ("hidden", "1"),
    ("bands", "16"),
    ("context", "1"),
    ("fft", "512"),
    ("optimizer", "adam"),
    ("epochs", "2"),
    ("batches", "2"),
    ("validation", "1"),
    ("validation_seconds", "1"),
];

/// Three pairs, few rows.
const SHORT: [(&str, &str); 2] = [("few_rows", "true"), ("triples", "false")];

fn request(folder: &Path, tables: &str, more: &[(&str, &str)]) -> ReproduceRequest {
    let settings = SMALL.iter().chain(more).map(|&(name, value)| (name.into(), value.into())).collect();
    ReproduceRequest {
        data: folder.join("songs"),
        folder: folder.join(tables),
        responses: vec![],
        quick: false,
        settings,
    }
}

/// The result, and what was said.
fn run(
    request: &ReproduceRequest,
    watch: &mut dyn Watch,
) -> (Result<Reproduced, PipelineError>, Vec<String>) {
    let mut said = Vec::new();
    let done = reproduce(request, &mut |text| said.push(text.to_string()), watch);
    (done, said)
}

fn done(request: &ReproduceRequest) -> (Reproduced, Vec<String>) {
    let (done, said) = run(request, &mut ());
    (done.unwrap_or_else(|why| panic!("{why}")), said)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    all
}

fn scores(tables: &Path) -> Vec<MixtureScores> {
    files(&tables.join("scores")).values().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
}

#[test]
fn every_row_runs_and_every_kind_of_network_is_trained() {
    let folder = songs(1.6);
    // a loss for plain networks, which others do not have
    let ask = request(folder.path(), "tables", &[("loss", "is")]);
    let (found, said) = done(&ask);
    assert_eq!(found.n_mixtures, GROUPS.len());
    let rows = Row::all();
    let first = &said[0];
    let n_runs = format!("15 networks of at most 4 steps each, 4 mixtures, {} separations", 4 * rows.len());
    assert!(first.contains(&n_runs) && first.contains("about") && first.contains("minute"), "{first}");

    let mut losses = BTreeMap::new();
    let protocol: serde_json::Value = serde_json::from_str(&read(ask.folder.join("protocol.json"))).unwrap();
    for network in protocol["networks"].as_array().unwrap() {
        *losses.entry(network["loss"].as_str().unwrap().to_string()).or_insert(0) += 1;
    }
    // plain networks and those of the loss (20) have the same one here
    let expected = [
        ("conditioned-product:1:1000000", 3),
        ("empirical-bayes", 3),
        ("itakura-saito", 6),
        ("student:500", 3),
    ];
    let losses: Vec<(&str, i32)> = losses.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(losses, expected);

    let mixtures = scores(&ask.folder);
    assert_eq!(mixtures.len(), GROUPS.len());
    for mixture in &mixtures {
        for row in &rows {
            let runs = &mixture.rows[&row.key()];
            assert_eq!(runs.len(), 1, "{}", row.key());
            let finite = |x: &[f64]| x.len() == mixture.sources.len() && x.iter().all(|x| x.is_finite());
            assert!(finite(&runs[0].sdr) && finite(&runs[0].improvement), "{}: {runs:?}", row.key());
        }
    }

    // the networks of idlma and of g-pop-idlma with its etas are looked at on their way
    let lines = |name: &str| read(ask.folder.join(name)).lines().map(str::to_string).collect::<Vec<_>>();
    let moments = |row: Row, n_bands: usize| {
        let runs = mixtures.iter().map(|mixture| &mixture.rows[&row.key()][0]);
        runs.map(|run| run.iterations.len() * if n_bands == 0 { 1 } else { run.bands[0].len() })
            .sum::<usize>()
    };
    let drawn = Row::GPop(demix::pipeline::reproduce::rows::DRAWN_ETA);
    let all: usize =
        rows.iter().filter(|row| matches!(row, Row::Idlma | Row::GPop(_))).map(|row| moments(*row, 0)).sum();
    let (energies, bands) = (lines("energies.csv"), lines("bands.csv"));
    assert!(all > 0 && energies.len() == 1 + all, "{} lines for {all} moments", energies.len());
    assert_eq!(bands.len(), 1 + moments(Row::Idlma, 1) + moments(drawn, 1));
    // numbers after the name of the method
    let numbers = |line: &String| line.rsplit_once("\",").unwrap().1.split(',').count();
    assert!(energies[1..].iter().all(|line| numbers(line) == 5), "{}", energies[1]);
    assert!(bands[1..].iter().all(|line| numbers(line) == 4), "{}", bands[1]);

    let page = read(ask.folder.join("index.html"));
    for text in [&found.tables, &page] {
        assert!(text.contains("vocals/bass/drums (1 mixtures)") && !text.contains("n/a"), "{text}");
    }
    // nothing is left to be done
    let (again, said) = done(&ask);
    assert_eq!(again.tables, found.tables);
    assert!(
        said[0].contains(&format!("15 networks and {} separations are there", 4 * rows.len())),
        "{said:?}"
    );
    assert_eq!(said.len(), 1, "{said:?}");
}

/// Stops at the sign of life `at` of a stage, counted from 0.
struct StopAt {
    stage: &'static str,
    at: usize,
    /// Steps that were done when the stage began.
    first: Option<usize>,
}

impl StopAt {
    fn new(stage: &'static str, at: usize) -> Self {
        Self { stage, at, first: None }
    }
}

impl Watch for StopAt {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        if progress.stage != self.stage {
            return Ok(());
        }
        self.first.get_or_insert(progress.done);
        self.at = self.at.checked_sub(1).ok_or(Cancelled)?;
        Ok(())
    }
}

#[test]
fn stopped_anywhere_it_goes_on_to_the_same_tables() {
    let folder = songs(1.6);
    let whole = request(folder.path(), "whole", &SHORT);
    let (expected, _) = done(&whole);
    let ask = request(folder.path(), "broken", &SHORT);
    for (stage, at, first) in [
        ("estimate", 2, 0),
        // in the first network, and from there on to the next one
        ("train", 3, 0),
        ("train", 8, 2),
        ("spectra", 5, 0),
        // inside the first run, after several
        ("separate", 4, 0),
        ("separate", 700, 0),
    ] {
        let mut watch = StopAt::new(stage, at);
        let (stopped, said) = run(&ask, &mut watch);
        assert!(matches!(stopped, Err(PipelineError::Cancelled)), "{stage}: {stopped:?}");
        assert_eq!(watch.first, Some(first), "{stage}");
        let last = said.last().unwrap();
        assert!(last.contains("same command") && last.contains("broken"), "{said:?}");
        assert!(said.iter().all(|text| !text.contains("--resume")), "{said:?}");
        assert!(!ask.folder.join("index.html").exists(), "{stage}");
        let n_networks =
            files(&ask.folder.join("networks")).keys().filter(|n| n.ends_with("safetensors")).count();
        // a result without its settings would go with any others
        assert_eq!(ask.folder.join("settings.json").exists(), stage != "estimate", "{stage}");
        assert_eq!(ask.folder.join("spectra.json").exists(), stage == "spectra" || stage == "separate");
        assert_eq!(
            n_networks,
            match (stage, at) {
                ("estimate", _) | ("train", 3) => 0,
                ("train", _) => 1,
                _ => 3,
            }
        );
    }
    let kept = scores(&ask.folder);
    let (found, said) = done(&ask);
    // with their seconds, which no other run would have; a number may lose its last digit on its way through text
    let all = scores(&ask.folder);
    let is_kept = |before: &MixtureScores| {
        let after = all.iter().find(|after| after.sources == before.sources).unwrap();
        let seconds = |scores: &MixtureScores, row: &str| scores.rows[row][0].seconds;
        before.rows.keys().all(|row| (seconds(before, row) / seconds(after, row) - 1.0).abs() < 1e-12)
    };
    assert!(!kept.is_empty() && kept.iter().all(is_kept));
    assert_eq!(found.tables, expected.tables);
    assert!(
        said[0].contains("3 networks and") && !said.iter().any(|text| text.starts_with("training")),
        "{said:?}"
    );
    // times alone differ
    let untimed = |folder: &Path| -> Vec<String> {
        let table = read(folder.join("scores.csv"));
        table.lines().map(|line| line.rsplit_once(',').unwrap().0.to_string()).collect()
    };
    assert_eq!(untimed(&ask.folder), untimed(&whole.folder));
    for name in ["energies.csv", "bands.csv", "spectra.json", "settings.json"] {
        assert_eq!(read(ask.folder.join(name)), read(whole.folder.join(name)), "{name}");
    }
    let networks = |folder: &Path| {
        let mut all = files(&folder.join("networks"));
        all.retain(|name, _| name.ends_with("safetensors"));
        all.into_values().collect::<Vec<_>>()
    };
    assert!(networks(&ask.folder) == networks(&whole.folder), "stopping made a difference");
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_trained_or_written() {
    let folder = songs(1.0);
    let refuse = |request: &ReproduceRequest, words: &[&str]| {
        let before = files(folder.path());
        let mut n = 0;
        let (found, said) = run(request, &mut |_: Progress| {
            n += 1;
            true
        });
        let text = found.unwrap_err().to_string();
        assert!(text.lines().count() == 1 && words.iter().all(|word| text.contains(word)), "{text}");
        assert!(n == 0 && said.is_empty(), "{n} steps before '{text}', {said:?}");
        assert!(files(folder.path()) == before, "{text}");
    };
    let with = |more: &[(&str, &str)]| request(folder.path(), "new", &[&SHORT[..], more].concat());
    let heard = |responses: &[&str]| ReproduceRequest {
        responses: responses.iter().map(|name| folder.path().join(name)).collect(),
        ..with(&[])
    };
    refuse(&heard(&["nowhere"]), &["nowhere: no such folder", "az-050.wav"]);
    refuse(&with(&[("validation", "3")]), &["3 songs", "4 are needed", "validation=2"]);
    refuse(&with(&[("window_length", "700")]), &["window_length=700", "fft=512"]);
    refuse(&with(&[("hop", "600")]), &["hop=600", "longer than the window"]);
    refuse(&with(&[("snr_low", "20")]), &["snr_low=20"]);
    refuse(
        &with(&[("input", "linear"), ("context", "64"), ("fft", "1048576"), ("width", "16384")]),
        &["weights"],
    );
    let two = |name: &str| folder.path().join("two").join(name);
    for name in ["az-050.wav", "az+050.wav"] {
        let response = Waveform::new(ndarray::Array2::ones((2, 3)), RATE);
        std::fs::create_dir_all(two("")).unwrap();
        write(&two(name), &response, &WriteFormat::default()).unwrap();
    }
    let both = ReproduceRequest { settings: with(&[("conditions", "2")]).settings, ..heard(&["two"]) };
    refuse(&both, &["az-030.wav: no such file; --responses"]);
    put(&two("az-050.wav"), RATE, vec![1.0]);
    refuse(&heard(&["two"]), &["az-050.wav: has 1 channels", "have 2"]);
    put(&two("az+050.wav"), RATE, vec![1.0]);
    refuse(&heard(&["two"]), &["two: its responses have 1 channels"]);

    // a stem of another rate, one that is no sound, in a Test song
    let drums = folder.path().join("songs/test/song 3/drums.wav");
    put(&drums, 16000, stem("drums", 3, 1.0));
    refuse(&with(&[]), &["song 3: its stems have 8000 Hz and 16000 Hz"]);
    std::fs::write(&drums, "no sound").unwrap();
    refuse(&with(&[]), &["drums.wav", "is not audio"]);
    put(&drums, RATE, stem("drums", 3, 1.0));
    // the same in songs to train and to choose by
    for song in 0..3 {
        let bass = folder.path().join(format!("songs/train/song {song}/bass.wav"));
        std::fs::write(&bass, "no sound").unwrap();
        refuse(&with(&[]), &["bass.wav", "is not audio"]);
        put(&bass, RATE, stem("bass", song, 1.0));
    }
    assert!(!folder.path().join("new").exists());
}

#[test]
fn a_folder_keeps_to_the_settings_of_its_results() {
    let folder = songs(1.0);
    let with = |more: &[(&str, &str)]| request(folder.path(), "tables", &[&SHORT[..], more].concat());
    let refused = |request: &ReproduceRequest| run(request, &mut ()).0.unwrap_err().to_string();
    // an interrupted training binds its network alone
    let (stopped, _) = run(&with(&[]), &mut StopAt::new("train", 3));
    assert!(matches!(stopped, Err(PipelineError::Cancelled)), "{stopped:?}");
    let state = with(&[]).folder.join("networks/bass-idlma.safetensors.state");
    let text = refused(&with(&[("width", "9")]));
    assert!(
        text.contains("bass-idlma.safetensors.state: was begun with width=8") && text.contains("remove"),
        "{text}"
    );
    let whole = std::fs::read(&state).unwrap();
    std::fs::write(&state, &whole[..99]).unwrap();
    let text = refused(&with(&[]));
    assert!(text.contains("is cut") && text.contains("remove") && !text.contains("--"), "{text}");
    std::fs::write(&state, whole).unwrap();
    // as long as none is finished, they may last longer
    let longer = [("epochs", "3")];
    done(&with(&longer));
    let scores = files(&with(&[]).folder.join("scores"));
    assert_eq!(scores.len(), 3);

    let again = |request: &ReproduceRequest| {
        let (found, said) = done(request);
        assert!(!said.iter().any(|text| text.starts_with("training")), "{said:?}");
        let now = files(&with(&[]).folder.join("scores"));
        (found, now.iter().filter(|(name, bytes)| scores.get(*name) == Some(bytes)).count(), now.len())
    };
    // the same corpus in other words, more memory, more songs
    let mut same = with(&[&longer[..], &[("cache", "1"), ("songs", "2")]].concat());
    same.data = folder.path().join("tables/../songs/.");
    let (found, kept, all) = again(&same);
    assert_eq!((kept, all), (3, 4));
    assert!(found.tables.contains("bass/drums (2 mixtures)"), "{}", found.tables);
    assert!(found.tables.contains("vocals/bass (1 mixtures)"), "{}", found.tables);
    // more seeds add to files of scores
    assert_eq!(again(&with(&[&longer[..], &[("seeds", "2")]].concat())).1, 0);

    // tables are of the seeds that are asked for
    let has_spread =
        |tables: &str| tables.split("+-").skip(1).any(|after| after.starts_with(char::is_numeric));
    assert!(has_spread(&again(&with(&[&longer[..], &[("seeds", "2")]].concat())).0.tables));
    assert!(!has_spread(&again(&with(&longer)).0.tables));

    let text = refused(&with(&[]));
    assert!(text.contains("safetensors: its training is finished with epochs=3, "), "{text}");
    assert!(text.contains("epochs=2 is asked for: ask for epochs=3, or choose another folder"), "{text}");
    let text = refused(&with(&[&longer[..], &[("components", "3")]].concat()));
    assert!(text.contains("components=2") && text.contains("components=3"), "{text}");
    let other = folder.path().join("other");
    std::fs::rename(folder.path().join("songs"), &other).unwrap();
    let text = refused(&ReproduceRequest { data: other, ..with(&longer) });
    assert!(text.contains("was made with data=") && text.contains("other"), "{text}");
}
