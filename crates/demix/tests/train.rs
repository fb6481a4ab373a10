//! Training from end to end, on songs made here.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use demix::corpus::{Corpus, Part, Reader, Song};
use demix::files::audio::{WriteFormat, write};
use demix::nn::{Examples as _, Network};
use demix::pipeline::PipelineError;
use demix::pipeline::train::{TrainFor, TrainRequest, Trained, train};
use demix::signal::settings::Settings as _;
use demix::signal::{Padding, Progress, StftSettings, Waveform};
use demix::training::state::TrainingState;
use demix::training::{AugmentedExamples, MixingSettings};
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;

const RATE: u32 = 8000;

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

/// Low tones of a song's own pitches.
fn bass(n: usize, song: usize) -> Vec<f32> {
    let mut phase = 0.0;
    (0..n)
        .map(|t| {
            let pitch = 80.0 + 13.0 * ((song * 5 + t / 2000 * 3) % 7) as f64;
            phase += TAU * pitch / f64::from(RATE);
            (0.2 * (phase.sin() + 0.4 * (2.0 * phase).sin())) as f32
        })
        .collect()
}

/// Bursts of bright noise.
fn drums(n: usize, song: usize) -> Vec<f32> {
    let noise = noise(n + 1, 9 + song as u64);
    (0..n).map(|t| 0.3 * (-((t % 1700) as f32) / 300.0).exp() * (noise[t + 1] - noise[t])).collect()
}

fn put(path: &Path, samples: Vec<f32>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(path, &Waveform::mono(samples, RATE), &WriteFormat::default()).unwrap();
}

/// `n` songs of 2 s with bass and drums.
fn songs(n: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..n {
        let song = folder.path().join(format!("train/song {i}"));
        put(&song.join("bass.wav"), bass(16_000, i));
        put(&song.join("drums.wav"), drums(16_000, i));
    }
    folder
}

fn stft() -> StftSettings {
    StftSettings::new(512, 256)
}

fn examples(corpus: &Corpus, stft: &StftSettings, settings: &[(&str, &str)], seed: u64) -> AugmentedExamples {
    let songs: Vec<&Song> = corpus.part(Part::Dev).collect();
    let mut mixing = MixingSettings::default();
    settings.iter().for_each(|(name, value)| mixing.set(name, value).unwrap());
    let reader = Arc::new(Reader::new(RATE, 16));
    AugmentedExamples::new(&songs, "bass", reader, stft, &mixing, 0, seed).unwrap()
}

fn energy(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x).powi(2)).sum()
}

#[test]
fn an_example_follows_from_seed_and_index() {
    let folder = songs(3);
    let corpus = Corpus::open(folder.path()).unwrap();
    let (a, b) = (examples(&corpus, &stft(), &[], 5), examples(&corpus, &stft(), &[], 5));
    let forwards: Vec<_> = (0..6).map(|i| a.excerpt(i).unwrap()).collect();
    for i in (0..6).rev() {
        let again = b.excerpt(i).unwrap();
        assert!(again.mixture == forwards[i as usize].mixture && again.source == forwards[i as usize].source);
        assert_eq!(again.mixture.dim(), (257, 16));
    }
    assert_ne!(forwards[0].mixture, forwards[1].mixture);
    assert_ne!(forwards[0].mixture, examples(&corpus, &stft(), &[], 6).excerpt(0).unwrap().mixture);
    // no frame holds padding: what stands there makes no difference
    let zero = StftSettings { padding: Padding::Zero, ..stft() };
    assert_eq!(forwards[2].mixture, examples(&corpus, &zero, &[], 5).excerpt(2).unwrap().mixture);
    let odd = StftSettings { window_length: Some(301), hop: Some(97), ..stft() };
    let odd_zero = StftSettings { padding: Padding::Zero, ..odd.clone() };
    assert_eq!(
        examples(&corpus, &odd, &[], 5).excerpt(2).unwrap().source,
        examples(&corpus, &odd_zero, &[], 5).excerpt(2).unwrap().source
    );
}

#[test]
fn coherent_examples_are_of_one_song_at_one_time() {
    // in song i both stems play the same tone, in another song another
    let folder = tempfile::tempdir().unwrap();
    let tone = |i: usize, phase: f64| -> Vec<f32> {
        let step = std::f64::consts::TAU * (500.0 + 400.0 * i as f64) / f64::from(RATE);
        (0..16_000).map(|t| (0.1 * (step * t as f64 + phase).sin()) as f32).collect()
    };
    for i in 0..4 {
        put(&folder.path().join(format!("train/song {i}/bass.wav")), tone(i, 0.0));
        put(&folder.path().join(format!("train/song {i}/drums.wav")), tone(i, 1.0));
    }
    let corpus = Corpus::open(folder.path()).unwrap();
    let loudest = |x: ndarray::ArrayView1<'_, f32>| {
        x.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(bin, _)| bin).unwrap()
    };
    let same = |coherent: &str| {
        let set = [
            ("coherent", coherent),
            ("speed", "0"),
            ("reverberation", "0"),
            ("silent", "0"),
            ("colour", "0"),
        ];
        let all = examples(&corpus, &stft(), &set, 1);
        let is_same = |i: &u64| {
            let mixed = all.mixed(*i).unwrap();
            let rest: Vec<f32> = mixed.mixture.iter().zip(&mixed.target).map(|(m, t)| m - t).collect();
            let spectrum = |x: Vec<f32>| {
                let stft = demix::signal::Stft::<f32>::new(&stft()).unwrap();
                let x = stft.forward(&demix::signal::Waveform::mono(x, RATE)).unwrap();
                loudest(x.data.slice(ndarray::s![.., 0, 3]).mapv(|x| x.norm()).view())
            };
            spectrum(rest) == spectrum(mixed.target)
        };
        (0..40).filter(is_same).count()
    };
    assert_eq!(same("1"), 40);
    // a quarter by chance
    assert!(same("0") < 25, "{}", same("0"));
}

#[test]
fn ratios_and_levels_cover_what_was_asked_for() {
    let folder = songs(4);
    let corpus = Corpus::open(folder.path()).unwrap();
    let all = examples(&corpus, &stft(), &[("silent", "0.2")], 1);
    let (mut snrs, mut levels, mut n_silent) = (Vec::new(), Vec::new(), 0);
    for i in 0..300 {
        let mixed = all.mixed(i).unwrap();
        let rest: Vec<f32> = mixed.mixture.iter().zip(&mixed.target).map(|(m, t)| m - t).collect();
        let (target, rest) = (energy(&mixed.target), energy(&rest));
        levels.push(10.0 * (energy(&mixed.mixture) / mixed.mixture.len() as f64).log10());
        if target == 0.0 {
            n_silent += 1;
        } else {
            snrs.push(10.0 * (target / rest).log10());
        }
    }
    let ends = |x: &[f64]| x.iter().fold((f64::MAX, f64::MIN), |(a, b), &x| (a.min(x), b.max(x)));
    let (low, high) = ends(&snrs);
    // rounding to single precision moves a ratio by less than a thousandth of a dB
    assert!((-15.01..-13.0).contains(&low) && (13.0..15.01).contains(&high), "{low} to {high} dB");
    let below_zero = snrs.iter().filter(|&&snr| snr < 0.0).count() as f64 / snrs.len() as f64;
    assert!((below_zero - 0.5).abs() < 0.1, "{below_zero}");
    // 0.2 of 300, with four standard deviations
    assert!((32..=88).contains(&n_silent), "{n_silent}");
    let (low, high) = ends(&levels);
    assert!((-26.01..-25.0).contains(&low) && (-15.0..-13.99).contains(&high), "{low} to {high} dB");
}

#[test]
fn silence_breaks_nothing() {
    let folder = songs(1);
    for stem in ["bass", "drums"] {
        put(&folder.path().join(format!("train/silent/{stem}.wav")), vec![0.0; 3000]);
        put(&folder.path().join(format!("train/silent too/{stem}.wav")), vec![0.0; 30]);
    }
    let corpus = Corpus::open(folder.path()).unwrap();
    let finite = |x: &Array2<f32>| x.iter().all(|x| x.is_finite());
    for settings in [&[("silent", "1")][..], &[("speed", "0")]] {
        let all = examples(&corpus, &stft(), settings, 0);
        for i in 0..40 {
            let excerpt = all.excerpt(i).unwrap();
            assert!(finite(&excerpt.mixture) && finite(&excerpt.source));
            assert!(settings[0].0 != "silent" || excerpt.source.iter().all(|&x| x == 0.0));
        }
    }
    // nothing but silence
    std::fs::remove_dir_all(folder.path().join("train/song 0")).unwrap();
    let corpus = Corpus::open(folder.path()).unwrap();
    let excerpt = examples(&corpus, &stft(), &[], 0).excerpt(0).unwrap();
    assert!(excerpt.mixture.iter().all(|&x| x == 0.0));
}

/// A small network and few steps.
const SMALL: [(&str, &str); 12] = [
    ("fft", "256"),
    ("width", "24"),
    ("hidden", "1"),
    ("context", "1"),
    ("bands", "32"),
    ("optimizer", "adam"),
    ("rate", "0.01"),
    ("batch", "64"),
    ("batches", "6"),
    ("epochs", "6"),
    ("every", "2"),
    ("validation", "2"),
];

fn request(data: &Path, output: &Path, more: &[(&str, &str)]) -> TrainRequest {
    let settings = SMALL.iter().chain(more).map(|&(name, value)| (name.into(), value.into())).collect();
    TrainRequest {
        data: data.into(),
        source: "bass".into(),
        output: output.into(),
        method: TrainFor::Idlma,
        nu: None,
        settings,
        resume: false,
        overwrite: false,
    }
}

fn trained(request: &TrainRequest) -> (Trained, Vec<String>) {
    let mut warnings = Vec::new();
    let done = train(request, &mut |text| warnings.push(text.into()), &mut ()).unwrap();
    (done, warnings)
}

#[test]
fn a_network_learns_to_separate() {
    let data = songs(6);
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("bass.safetensors");
    let (done, warnings) = trained(&request(data.path(), &output, &[("epochs", "20"), ("every", "1")]));
    assert!(warnings.is_empty(), "{warnings:?}");
    let rows = &done.record.epochs;
    assert_eq!(rows.len(), 20);
    let (first, last) = (rows[0].validation_loss.unwrap(), rows[19].validation_loss.unwrap());
    assert!(last < first, "validation loss {first} to {last}");
    // the one kept is the best as far as two songs can tell, and of those that has the lowest loss
    let kept = &rows[done.epoch - 1];
    let best = rows.iter().max_by(|a, b| a.improvement.partial_cmp(&b.improvement).unwrap()).unwrap();
    assert!(!best.separates_better_than(kept), "{best:?} {kept:?}");
    assert!(kept.validation_loss <= best.validation_loss, "{best:?} {kept:?}");
    assert_eq!(done.improvement, kept.improvement);
    let improvement = kept.improvement.unwrap();
    assert!(improvement > 3.0 && improvement > rows[0].improvement.unwrap(), "{improvement} dB");

    let network = Network::from_bytes(&std::fs::read(&output).unwrap()).unwrap();
    let header = network.header();
    assert_eq!((header.source.as_str(), header.sample_rate), ("bass", RATE));
    assert_eq!(header.stft.hop, Some(128));
    assert_eq!(header.log["epoch"], done.epoch);
    let n = |key: &str| header.log[key].as_array().unwrap().len();
    assert_eq!((n("training_songs"), n("validation_songs"), n("curve")), (4, 2, 20));
    let table = std::fs::read_to_string(&done.beside[0]).unwrap();
    assert_eq!(table.lines().count(), 21);
    assert!(std::fs::read(&done.beside[1]).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn a_training_goes_on_bit_for_bit() {
    let data = songs(6);
    let out = tempfile::tempdir().unwrap();
    let path = |name: &str| out.path().join(name);
    for more in [&[][..], &[("loss", "is"), ("pretrain", "3"), ("width", "20")]] {
        let whole = trained(&TrainRequest { overwrite: true, ..request(data.path(), &path("whole"), more) });
        let bytes = std::fs::read(path("whole")).unwrap();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        one.install(|| {
            trained(&TrainRequest { overwrite: true, ..request(data.path(), &path("one"), more) })
        });
        assert!(std::fs::read(path("one")).unwrap() == bytes, "the number of threads made a difference");

        // stopped in the middle of epochs, at a validation, and after all
        let broken = path("broken");
        let mut ask = TrainRequest { overwrite: true, ..request(data.path(), &broken, more) };
        let mut judged = Vec::new();
        for steps in [4, 3, 9, 12, 1] {
            let mut left = steps;
            let mut warnings: Vec<String> = Vec::new();
            let stopped = train(&ask, &mut |text| warnings.push(text.into()), &mut |_: Progress| {
                left -= 1;
                left >= 0
            });
            assert!(matches!(stopped, Err(PipelineError::Cancelled)), "{stopped:?}");
            let told = warnings.last().unwrap();
            assert!(told.contains("--resume") && told.contains("broken.best"), "{warnings:?}");
            assert!(!broken.exists());
            // the best network so far can be used
            let so_far = Network::from_bytes(&std::fs::read(path("broken.best")).unwrap()).unwrap();
            let best = TrainingState::read(&path("broken.state")).unwrap().description.best_epoch;
            assert_eq!(so_far.header().log["stopped"], "interrupted");
            match best {
                Some(epoch) => assert!(told.contains(&format!("of epoch {epoch},")), "{told}"),
                None => assert!(told.contains("not judged"), "{told}"),
            }
            judged.push(best.is_some());
            ask = TrainRequest { resume: true, overwrite: false, ..ask };
        }
        assert!(judged.contains(&true) && judged.contains(&false), "{judged:?}");
        let (done, _) = trained(&ask);
        assert!(std::fs::read(&broken).unwrap() == bytes, "resuming made a difference");
        assert!(!path("broken.best").exists());
        let losses =
            |done: &Trained| done.record.epochs.iter().map(|row| row.training_loss).collect::<Vec<_>>();
        assert_eq!(losses(&done), losses(&whole.0));
        // once more, with nothing left to do
        trained(&ask);
        assert!(std::fs::read(&broken).unwrap() == bytes);
        std::fs::remove_file(&broken).unwrap();
    }
}

#[test]
fn a_training_that_is_stopped_before_its_first_step_leaves_no_network() {
    let data = songs(4);
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("x");
    let mut warnings: Vec<String> = Vec::new();
    let stopped = train(
        &request(data.path(), &output, &[]),
        &mut |text| warnings.push(text.into()),
        &mut |_: Progress| false,
    );
    assert!(matches!(stopped, Err(PipelineError::Cancelled)), "{stopped:?}");
    assert!(!warnings.last().unwrap().contains("network"), "{warnings:?}");
    assert!(!out.path().join("x.best").exists());
    trained(&TrainRequest { resume: true, ..request(data.path(), &output, &[]) });
}

/// A rate with which nothing is learnt for long.
const WILD: [(&str, &str); 4] = [("rate", "3"), ("epochs", "60"), ("every", "1"), ("validation", "2")];

#[test]
fn patience_ends_a_training_so_many_epochs_after_its_best() {
    let data = songs(5);
    let out = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[(&str, &str)], resume: bool| {
        let more = [&WILD[..], more].concat();
        let asked = TrainRequest { resume, ..request(data.path(), &out.path().join(name), &more) };
        let (done, _) = trained(&asked);
        let best = match done.record.epochs.iter().find(|row| row.epoch == done.epoch) {
            Some(row) => row.epoch,
            None => panic!("{done:?}"),
        };
        (done.record.epochs.len(), best, done.stopped)
    };
    let (n, best, stopped) = run("x", &[("patience", "3")], false);
    assert_eq!((n, stopped), (best + 3, "patience"));
    // with more of it the same training goes on
    let (longer, best, stopped) = run("x", &[("patience", "7")], true);
    assert_eq!((longer, stopped), (best + 7, "patience"));
    // epochs between two validations count
    let (n, best, stopped) = run("y", &[("patience", "3"), ("every", "2")], false);
    assert_eq!((n, stopped), (best + 3, "patience"));
    let (n, _, stopped) = run("z", &[("patience", "0"), ("epochs", "12")], false);
    assert_eq!((n, stopped), (12, "epochs"));
    // it begins with the loss itself
    let (n, best, stopped) = run("w", &[("patience", "2"), ("loss", "is"), ("pretrain", "9")], false);
    assert_eq!((n, stopped), (best + 2, "patience"));
    assert!(best > 9, "{best}");
}

#[test]
fn other_losses_begin_with_the_square_root() {
    let data = songs(4);
    let out = tempfile::tempdir().unwrap();
    let more = [("pretrain", "2"), ("epochs", "4"), ("every", "10"), ("loss", "is")];
    let (done, _) = trained(&request(data.path(), &out.path().join("x"), &more));
    let losses: Vec<&str> = done.record.epochs.iter().map(|row| row.loss.as_str()).collect();
    assert_eq!(losses, ["square-root", "square-root", "itakura-saito", "itakura-saito"]);
    // the end of each loss is judged; a network of the first one is never the result
    let judged: Vec<bool> = done.record.epochs.iter().map(|row| row.improvement.is_some()).collect();
    assert_eq!(judged, [false, true, false, true]);
    assert_eq!(done.epoch, 4);
}

#[test]
fn without_validation_the_last_network_is_kept_and_it_is_told() {
    let data = songs(5);
    let out = tempfile::tempdir().unwrap();
    let (done, warnings) = trained(&request(data.path(), &out.path().join("x"), &[("validation", "0")]));
    assert_eq!((done.epoch, done.improvement), (6, None));
    assert!(warnings[0].contains("unjudged"), "{warnings:?}");
    // it is saved as often as one that is judged
    let output = out.path().join("saved");
    let mut saved = Vec::new();
    let mut watch = |progress: Progress| {
        // the first step of an epoch
        if progress.done % 6 == 1 {
            let state = TrainingState::read(&out.path().join("saved.state"));
            saved.push(state.map_or(0, |state| state.description.epochs));
        }
        true
    };
    let more = [("validation", "0"), ("every", "2")];
    train(&request(data.path(), &output, &more), &mut |_| {}, &mut watch).unwrap();
    assert_eq!(saved, [0, 0, 2, 2, 4, 4]);
    // no validation song has the source
    let data = songs(1);
    for i in 0..3 {
        put(&data.path().join(format!("train/a {i}/drums.wav")), drums(16_000, i));
    }
    let all: Vec<Vec<String>> = (0..8)
        .map(|seed: u32| {
            let output = out.path().join(format!("{seed}"));
            let more = [("seed", &*seed.to_string()), ("epochs", "1"), ("validation", "1")];
            match train(&request(data.path(), &output, &more), &mut |_| {}, &mut ()) {
                // the only song with the source was drawn for validation
                Err(error) => vec![error.to_string()],
                Ok(_) => trained(&TrainRequest { overwrite: true, ..request(data.path(), &output, &more) }).1,
            }
        })
        .collect();
    let some = |text: &str| all.iter().flatten().any(|said| said.contains(text));
    assert!(
        some("none of the 1 validation songs has bass") && some("only 1 training songs have bass"),
        "{all:?}"
    );
    assert!(some("none of the 3 training songs has bass"), "{all:?}");
}

#[test]
fn what_makes_a_network_the_best_can_be_chosen() {
    let data = songs(6);
    let out = tempfile::tempdir().unwrap();
    let kept = |select: &str| {
        let output = out.path().join(select);
        // steps that are far too long: the loss rises again while the separation still gains
        let more = [("select", select), ("epochs", "3"), ("every", "1"), ("rate", "0.03"), ("patience", "0")];
        let (done, _) = trained(&request(data.path(), &output, &more));
        let log = Network::from_bytes(&std::fs::read(output).unwrap()).unwrap().header().log.clone();
        assert_eq!(log["epoch"], done.epoch);
        done
    };
    let (by_loss, by_separation) = (kept("loss"), kept("separation"));
    let figures = |done: &Trained| -> Vec<_> {
        done.record.epochs.iter().map(|row| (row.validation_loss, row.improvement)).collect()
    };
    assert_eq!(figures(&by_loss), figures(&by_separation));
    let lowest = figures(&by_loss).into_iter().map(|(loss, _)| loss.unwrap()).enumerate();
    let lowest = lowest.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap().0;
    assert_eq!(by_loss.epoch, lowest + 1, "{:?}", figures(&by_loss));
    // else the choice would show nothing
    assert_ne!(by_loss.epoch, by_separation.epoch, "{:?}", figures(&by_loss));
}

#[test]
fn what_cannot_be_is_refused_before_the_work() {
    let data = songs(4);
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("new/bass.safetensors");
    let there = out.path().join("there");
    std::fs::write(&there, "old").unwrap();
    let plain = || request(data.path(), &output, &[]);
    let refuse = |request: TrainRequest, wrong_use: bool, words: &[&str]| {
        let mut stepped = false;
        let error = train(&request, &mut |_| {}, &mut |_: Progress| {
            stepped = true;
            true
        })
        .unwrap_err();
        let text = error.to_string();
        assert!(
            !stepped && text.lines().count() == 1 && words.iter().all(|word| text.contains(word)),
            "{text}"
        );
        assert_eq!(error.is_wrong_use(), wrong_use, "{text}");
    };
    let with = |settings: &[(&str, &str)]| request(data.path(), &output, settings);
    refuse(TrainRequest { source: "basss".into(), ..plain() }, true, &["--source basss", "bass, drums"]);
    refuse(with(&[("validation", "4")]), true, &["4 songs", "5 are needed", "validation=3"]);
    refuse(TrainRequest { output: there.clone(), ..plain() }, false, &["there exists", "--overwrite"]);
    refuse(TrainRequest { resume: true, ..plain() }, false, &["no state", "without --resume"]);
    refuse(TrainRequest { data: PathBuf::from("/none"), ..plain() }, false, &["/none: no such file"]);
    refuse(TrainRequest { data: out.path().into(), ..plain() }, false, &["no corpus", "name the folder"]);
    refuse(TrainRequest { method: TrainFor::TIdlma, ..plain() }, true, &["t-idlma needs", "--nu"]);
    let late = TrainRequest { method: TrainFor::EbIdlma, ..with(&[("epochs", "4"), ("pretrain", "4")]) };
    refuse(late, true, &["pretrain=4", "of 4 epochs", "eb-idlma"]);
    refuse(TrainRequest { nu: Some(3.0), ..plain() }, true, &["--nu 3", "leave it out"]);
    refuse(with(&[("hop", "1000")]), true, &["hop=1000", "256"]);
    refuse(with(&[("snr_low", "20")]), true, &["snr_low=20", "snr_high=15"]);
    refuse(with(&[("widht", "3")]), true, &["no setting 'widht'", "'width'"]);
    std::fs::write(data.path().join("train/song 1/drums.wav"), "no sound").unwrap();
    refuse(plain(), false, &["drums.wav", "is not audio"]);
    put(&data.path().join("train/song 1/drums.wav"), drums(1000, 1));
    let left: Vec<_> =
        std::fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["there"]);

    // a state of another training
    trained(&with(&[("epochs", "1")]));
    refuse(plain(), false, &["state exists", "--resume", "--overwrite"]);
    let resumed = |settings: &[(&str, &str)]| TrainRequest { resume: true, ..with(settings) };
    refuse(resumed(&[("width", "25")]), true, &["width 24", "now it is 25"]);
    refuse(resumed(&[("snr_low", "-3")]), true, &["snr_low -15.0", "-3.0"]);
    refuse(TrainRequest { source: "drums".into(), ..resumed(&[]) }, true, &["--source bass", "drums"]);
    std::fs::rename(data.path().join("train/song 3"), data.path().join("train/song 9")).unwrap();
    refuse(resumed(&[]), true, &["other songs"]);
    let state = out.path().join("new/bass.safetensors.state");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() - 1]).unwrap();
    refuse(resumed(&[]), false, &["is cut", "--overwrite"]);
}

/// The bytes of a state with another description.
fn with_description(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[12..20].try_into().unwrap()) as usize;
    let mut description: Value = serde_json::from_slice(&bytes[20..20 + length]).unwrap();
    change(&mut description);
    let description = serde_json::to_vec(&description).unwrap();
    let rest = &bytes[20 + length..];
    [&bytes[..12], &(description.len() as u64).to_le_bytes()[..], &description[..], rest].concat()
}

/// The parts of a state.
fn parts(bytes: &[u8]) -> [Vec<u8>; 3] {
    let mut rest = &bytes[12..];
    std::array::from_fn(|_| {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let part = rest[8..8 + length].to_vec();
        rest = &rest[8 + length..];
        part
    })
}

fn whole(bytes: &[u8], parts: [&[u8]; 3]) -> Vec<u8> {
    let mut all = bytes[..12].to_vec();
    for part in parts {
        all.extend((part.len() as u64).to_le_bytes());
        all.extend(part);
    }
    all
}

/// A training in the middle of its third epoch: its data, its output, its request.
fn interrupted(more: &[(&str, &str)]) -> (TempDir, TempDir, TrainRequest) {
    let (data, out) = (songs(4), tempfile::tempdir().unwrap());
    let more = [&[("every", "1"), ("batches", "3"), ("epochs", "4"), ("validation", "1")][..], more].concat();
    let mut ask = request(data.path(), &out.path().join("x"), &more);
    let stopped = train(&ask, &mut |_| {}, &mut |progress: Progress| progress.done < 8);
    assert!(matches!(stopped, Err(PipelineError::Cancelled)), "{stopped:?}");
    ask.resume = true;
    (data, out, ask)
}

#[test]
fn a_damaged_state_is_refused_and_named() {
    let (_data, out, ask) = interrupted(&[("loss", "is"), ("pretrain", "1")]);
    let path = out.path().join("x.state");
    let good = std::fs::read(&path).unwrap();
    assert_eq!(TrainingState::read(&path).unwrap().description.epochs, 2);
    let refuse = |bytes: &[u8], words: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        let error = train(&ask, &mut |_| {}, &mut |_: Progress| panic!("it was taken up")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("x.state: ") && text.lines().count() == 1, "{text}");
        assert!(words.iter().all(|word| text.contains(word)) && !error.is_wrong_use(), "{text}");
    };
    let change = |change: &dyn Fn(&mut Value)| with_description(&good, |description| change(description));
    assert_eq!(change(&|_| ()), good);
    refuse(&change(&|d| d["record"] = json!([])), &["2 epochs are done, its curve has 0"]);
    refuse(&change(&|d| d["epochs"] = 3.into()), &["3 epochs are done, its curve has 2"]);
    refuse(&change(&|d| d["epochs"] = u64::MAX.into()), &["its curve has 2"]);
    refuse(&change(&|d| d["record"][1]["epoch"] = 7.into()), &["epoch 2 of its curve is called 7"]);
    for best in [0, 3, 1_000_000_000] {
        refuse(&change(&|d| d["best_epoch"] = best.into()), &[&format!("best epoch is {best} of 2")]);
    }
    let unjudged = change(&|d| {
        d["record"][1]["validation_loss"] = Value::Null;
        d["record"][1]["improvement"] = Value::Null;
    });
    refuse(&unjudged, &["its best epoch, 2, was never judged"]);
    refuse(&change(&|d| d["best_epoch"] = 1.into()), &["its best network is another"]);
    refuse(&change(&|d| d["batches"] = 4.into()), &["4 of 3 batches"]);
    refuse(&change(&|d| d["batches"] = 1.into()), &["2 epochs and 1 batches are 7 steps", "has done 8"]);
    refuse(&change(&|d| d["batches"] = u64::MAX.into()), &["of 3 batches"]);
    refuse(&change(&|d| d["loss_bits"] = f64::NAN.to_bits().into()), &["sum to NaN"]);
    refuse(&change(&|d| d["seconds"] = (-1).into()), &["-1 seconds"]);
    refuse(&change(&|d| d["record"][0]["loss"] = "itakura-saito".into()), &["epoch 1", "itakura-saito"]);

    let [description, trainer, best] = parts(&good);
    let [_, other_trainer, other_best] = {
        let (_data, out, _) = interrupted(&[("width", "20"), ("pretrain", "1"), ("loss", "is")]);
        parts(&std::fs::read(out.path().join("x.state")).unwrap())
    };
    refuse(&whole(&good, [&description, &other_trainer, &best]), &["another network than its settings"]);
    refuse(&whole(&good, [&description, &trainer, &other_best]), &["its best network is another"]);
    refuse(&whole(&good, [&description, &trainer, &[]]), &["has lost its best network"]);
    refuse(&whole(&good, [&description, &best, &best]), &["its trainer: ", "not an interrupted training"]);
    refuse(
        &whole(&good, [&description, &trainer, &trainer]),
        &["its best network: ", "interrupted training"],
    );
    refuse(&whole(&good, [&description, &[], &best]), &["its trainer: "]);
    // the automatic value is that of the beginning
    let mut automatic = ask.clone();
    automatic.settings.retain(|(name, _)| name != "pretrain");
    std::fs::write(&path, change(&|d| d["settings"]["pretrain"] = (-1).into())).unwrap();
    let error = train(&automatic, &mut |_| {}, &mut ()).unwrap_err().to_string();
    assert!(error.contains("'pretrain'") && error.contains("-1"), "{error}");

    std::fs::write(&path, &good).unwrap();
    trained(&ask);
}

/// Any place in a JSON value.
fn somewhere<'a>(value: &'a mut Value, random: &mut ChaCha8Rng) -> &'a mut Value {
    let n = match &*value {
        Value::Array(all) => all.len(),
        Value::Object(all) => all.len(),
        _ => 0,
    };
    // one of four ends above the leaves
    if n == 0 || random.next_u32().is_multiple_of(4) {
        return value;
    }
    let index = random.next_u32() as usize % n;
    match value {
        Value::Array(all) => somewhere(&mut all[index], random),
        Value::Object(all) => somewhere(all.values_mut().nth(index).unwrap(), random),
        _ => value,
    }
}

#[test]
fn whatever_is_done_to_a_state_nothing_panics() {
    let (_data, out, ask) = interrupted(&[]);
    let path = out.path().join("x.state");
    let good = std::fs::read(&path).unwrap();
    let [_, trainer, best] = parts(&good);
    let values = [
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(u64::MAX),
        json!(1e308),
        json!(-1e308),
        json!(null),
        json!([]),
        json!({}),
        json!("x"),
        json!(true),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut n_refused, mut n_taken) = (0, 0);
    for case in 0..300 {
        let bytes = match case % 3 {
            0 | 1 => with_description(&good, |description| {
                for _ in 0..=random.next_u32() % 2 {
                    let value = values[random.next_u32() as usize % values.len()].clone();
                    *somewhere(description, &mut random) = value;
                }
            }),
            _ => {
                let mut bytes = good.clone();
                // weights are most of a file, what describes them is most of what can break
                let from = if random.next_u32().is_multiple_of(2) {
                    0
                } else {
                    good.len() - best.len() - trainer.len() - 8
                };
                for _ in 0..=random.next_u32() % 3 {
                    let place = from + random.next_u32() as usize % 3000;
                    bytes[place.min(good.len() - 1)] = random.next_u32() as u8;
                }
                bytes
            }
        };
        std::fs::write(&path, &bytes).unwrap();
        match train(&ask, &mut |_| {}, &mut ()) {
            Ok(_) => n_taken += 1,
            Err(error) => {
                n_refused += 1;
                assert_eq!(error.to_string().lines().count(), 1, "{error}");
            }
        }
    }
    println!("{n_refused} refused, {n_taken} taken");
    assert!(n_refused > 100 && n_taken > 10, "{n_refused} refused, {n_taken} taken");
}
