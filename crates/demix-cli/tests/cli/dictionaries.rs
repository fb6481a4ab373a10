//! Dictionaries learned from other takes separate better than the mixture is.

use demix::eval::{Order, SiSettings, si_sdr};
use demix::signal::Waveform;

use crate::lab::{Lab, bass, drums, mix, residual_db};

fn improvement(mixture: &Waveform, truth: &[Waveform], estimates: &[Waveform]) -> Vec<f64> {
    let settings = SiSettings { order: Order::Fixed, ..SiSettings::default() };
    let mixtures = vec![mixture.clone(); truth.len()];
    let base = si_sdr(truth, &mixtures, &settings).unwrap();
    si_sdr(truth, estimates, &settings).unwrap().improvement(&base).sdr
}

#[test]
fn known_sources_are_found() {
    let lab = Lab::new();
    let truth = [bass(3.0, 0), drums(3.0, 0)];
    let mixture = mix(&truth[0], &truth[1]);
    lab.write("song.wav", &mixture);
    lab.write("bass.wav", &bass(3.0, 1));
    lab.write("drums-1.wav", &drums(2.0, 1));
    lab.write("drums-2.wav", &drums(1.0, 2));
    lab.done("dictionary bass.wav --name bass -o bass.dict --set components=12");
    let run = lab.done("dictionary drums-1.wav drums-2.wav --name drums -o drums.dict --set components=12");
    assert!(run.out.contains("'drums', 12 components of 1025 bins at 8000 Hz from 3.0 s"), "{}", run.out);

    let run = lab.done("separate song.wav --dictionary bass.dict --dictionary drums.dict -o both");
    assert!(run.out.contains("bass.wav, drums.wav"), "{}", run.out);
    let both = lab.sources("both/song");
    assert!(residual_db(&mixture, &both) < -100.0);
    let supervised = improvement(&mixture, &truth, &both);
    assert!(supervised.iter().all(|&db| db > 6.0), "{supervised:?}");

    lab.done("separate song.wav --dictionary drums.dict --free rest=12 -o half");
    let half = lab.sources("half/song");
    assert!(residual_db(&mixture, &half) < -100.0);
    let report = lab.json("half/song/report.json");
    assert_eq!(
        (&report["sources"][0]["name"], &report["sources"][1]["name"]),
        (&"drums".into(), &"rest".into())
    );
    let semi = improvement(&mixture, &[truth[1].clone(), truth[0].clone()], &half);
    assert!(semi.iter().all(|&db| db > 1.0), "{semi:?}");
}

#[test]
fn the_same_recording_and_seed_give_the_same_dictionary() {
    let lab = Lab::new();
    lab.write("bass.wav", &bass(1.0, 1));
    let learn = |options: &str| {
        lab.done(&format!(
            "dictionary bass.wav --name bass -o bass.dict --overwrite --set iterations=5 {options}"
        ));
        lab.bytes("bass.dict")
    };
    let first = learn("");
    assert!(learn("--threads 1") == first);
    assert!(learn("--seed 1") != first);
    // a folder, and a part
    assert!(learn("--start 0.5 --duration 0.25") != first);
}
