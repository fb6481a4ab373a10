//! Real recordings, from the folder in `DEMIX_TEST_DATA`; without it these tests say that they are skipped.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::path::{Path, PathBuf};

use demix::eval::{Order, SiSettings, si_sdr};
use demix::files::audio::{self, ReadOptions};
use demix::nmf::NmfSettings;
use demix::pipeline::separate::{Job, OutputOptions};
use demix::signal::{StftSettings, Waveform};
use demix::{Request, dictionary::learn};

fn data(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DEMIX_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("{test}: skipped, DEMIX_TEST_DATA names no folder of recordings");
    }
    folder
}

fn read(path: &Path) -> Waveform {
    audio::read(path, &ReadOptions::default()).unwrap().waveform
}

fn job(input: PathBuf, folder: &Path, request: Request) -> Job {
    Job {
        inputs: vec![input],
        method: "auto".into(),
        request,
        read: ReadOptions::default(),
        output: OutputOptions { folder: folder.to_path_buf(), ..OutputOptions::default() },
        score_against: Vec::new(),
    }
}

#[test]
fn sources_of_recordings_add_up_to_them() {
    let Some(data) = data("sources_of_recordings_add_up_to_them") else { return };
    let out = tempfile::tempdir().unwrap();
    let request = Request { n_sources: Some(3), ..Request::default() };
    let done = job(data.join("real/vibe_ace_excerpt.flac"), out.path(), request).run(&mut ()).unwrap();
    let mixture = read(&data.join("real/vibe_ace_excerpt.flac"));
    let mut rest = mixture.samples.clone();
    for file in &done.files {
        let source = read(file);
        assert_eq!((source.samples.dim(), source.sample_rate), (mixture.samples.dim(), mixture.sample_rate));
        assert!(source.peak() > 0.01, "{} is nearly silent", file.display());
        rest -= &source.samples;
    }
    let energy = |x: &ndarray::Array2<f32>| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let residual = 10.0 * (energy(&rest) / energy(&mixture.samples)).log10();
    assert!(residual < -100.0, "residual of the written files: {residual:.1} dB");
}

/// Dictionaries of the same instruments, learned from other songs, must help by decibels, not by chance.
#[test]
fn dictionaries_of_other_songs_separate_bass_and_drums() {
    let Some(data) = data("dictionaries_of_other_songs_separate_bass_and_drums") else { return };
    let sources = data.join("DSD100like/Sources");
    let songs = |split: &str| {
        let mut songs: Vec<PathBuf> =
            std::fs::read_dir(sources.join(split)).unwrap().map(|entry| entry.unwrap().path()).collect();
        songs.sort();
        songs
    };
    let dictionaries = ["bass", "drums"].map(|stem| {
        let audio: Vec<_> = songs("Dev")
            .iter()
            .take(12)
            .map(|song| (stem.to_string(), read(&song.join(format!("{stem}.wav")))))
            .collect();
        let settings = NmfSettings { components: 25, iterations: 30, ..NmfSettings::default() };
        learn(stem, &audio, &StftSettings::default(), 1.0, &settings, &mut ()).unwrap().dictionary
    });
    let separator = demix::Method::named("nmf")
        .unwrap()
        .build(&Request { dictionaries: dictionaries.to_vec(), ..Request::default() })
        .unwrap();
    // the first Test song is played on the Dev songs' instruments
    let song = &songs("Test")[0];
    let references = ["bass", "drums"].map(|stem| read(&song.join(format!("{stem}.wav"))));
    let mixture = Waveform::new(&references[0].samples + &references[1].samples, references[0].sample_rate);
    let found = separator.separate(&mixture, &mut ()).unwrap();
    let estimates: Vec<Waveform> = found.sources.into_iter().map(|source| source.image).collect();
    let settings = SiSettings { order: Order::Fixed, ..SiSettings::default() };
    let separated = si_sdr(&references, &estimates, &settings).unwrap();
    let before = si_sdr(&references, &[mixture.clone(), mixture], &settings).unwrap();
    for (n, stem) in ["bass", "drums"].iter().enumerate() {
        let gain = separated.sdr[n] - before.sdr[n];
        assert!(gain > 3.0, "{stem} improves by {gain:.1} dB only");
    }
}
