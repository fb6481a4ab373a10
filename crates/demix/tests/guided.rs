//! Demixing guided by networks that are trained here, in seconds, on sources that are made here.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::sync::{Arc, OnceLock};

use demix::eval::{BssEval, FILTER_LENGTH, Order};
use demix::nn::{Examples, Excerpt, Header, Loss, Network, NetworkSettings, TrainSettings, Trainer, VERSION};
use demix::room::{MixOptions, mix};
use demix::signal::{Stft, StftSettings, Waveform, Window};
use demix::spatial::wiener::{FscmSettings, WienerSettings};
use demix::spatial::{SourceNetwork, WienerSeparator};
use demix::{Method, Request, Separation, Separator as _};
use ndarray::{Array2, s};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const RATE: u32 = 4000;

fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32
}

/// Tones of random pitches with overtones, one after another; a glide in each, so that no spectrum comes twice.
fn tones(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    let mut phase = 0.0f32;
    while out.len() < n {
        let length = 600 + (1200.0 * uniform(rng)) as usize;
        let (from, to) = (90.0 + 150.0 * uniform(rng), 90.0 + 150.0 * uniform(rng));
        for t in 0..length {
            let share = t as f32 / length as f32;
            phase += (from + (to - from) * share) / RATE as f32;
            let envelope = (share * std::f32::consts::PI).sin();
            let tone: f32 = (1..7).map(|k| (std::f32::consts::TAU * phase * k as f32).sin() / k as f32).sum();
            out.push(0.2 * envelope * tone);
        }
    }
    out.truncate(n);
    out
}

/// Bursts of noise through a resonance that moves at random.
fn noises(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut out = Vec::with_capacity(n);
    while out.len() < n {
        let length = 500 + (1000.0 * uniform(rng)) as usize;
        let hertz = 500.0 + 1200.0 * uniform(rng);
        let (mut a, mut b) = (0.0f32, 0.0f32);
        let radius = 0.9f32;
        let turn = 2.0 * radius * (std::f32::consts::TAU * hertz / RATE as f32).cos();
        for t in 0..length {
            let x = uniform(rng) - 0.5 + turn * a - radius * radius * b;
            (a, b) = (x, a);
            out.push(0.3 * x * (-(t as f32) / 350.0).exp());
        }
    }
    out.truncate(n);
    out
}

const MAKERS: [fn(usize, &mut ChaCha8Rng) -> Vec<f32>; 2] = [tones, noises];
const NAMES: [&str; 2] = ["tones", "noises"];

fn stft() -> StftSettings {
    StftSettings { window: Window::Hamming, ..StftSettings::new(1024, 512) }
}

/// Excerpts of one source with the other at random levels.
struct Mixed(usize);

impl Examples for Mixed {
    fn excerpt(&self, index: u64) -> Result<Excerpt, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + index);
        let n = 512 * 24;
        let target = MAKERS[self.0](n, &mut rng);
        let other = MAKERS[1 - self.0](n, &mut rng);
        let gain = 10f32.powf(1.5 * (uniform(&mut rng) - 0.5));
        let sum: Vec<f32> = target.iter().zip(&other).map(|(a, b)| a + gain * b).collect();
        let stft = Stft::<f32>::new(&stft()).map_err(|e| e.to_string())?;
        let magnitude = |x: Vec<f32>| -> Result<Array2<f32>, String> {
            let x = stft.forward(&Waveform::mono(x, RATE)).map_err(|e| e.to_string())?;
            Ok(x.data.slice(s![.., 0, ..]).mapv(|x| x.norm()))
        };
        Ok(Excerpt { mixture: magnitude(sum)?, source: magnitude(target)?, margin: 0 })
    }
}

fn header(source: usize, loss: Loss) -> Header {
    Header {
        version: VERSION,
        network: NetworkSettings {
            width: 48,
            hidden: 2,
            context: 1,
            bands: 48,
            dropout: 0.1,
            ..NetworkSettings::default()
        },
        stft: stft().for_rate(RATE),
        sample_rate: RATE,
        source: NAMES[source].into(),
        loss,
        log: serde_json::Value::Null,
    }
}

fn trained(source: usize, loss: Loss, steps: usize) -> Network {
    let settings = TrainSettings { optimizer: demix::nn::OptimizerName::Adam, ..TrainSettings::default() };
    let mut trainer = Trainer::new(header(source, loss), settings).unwrap();
    trainer.epoch(&Mixed(source), steps, &mut ()).unwrap();
    trainer.network()
}

/// Networks of two heads, trained as `demix train` does: the square root first.
fn two_headed(loss: Loss) -> Vec<SourceNetwork> {
    let model = |source: usize| {
        let settings =
            TrainSettings { optimizer: demix::nn::OptimizerName::Adam, ..TrainSettings::default() };
        let mut trainer = Trainer::new(header(source, Loss::SquareRoot), settings).unwrap();
        trainer.epoch(&Mixed(source), 150, &mut ()).unwrap();
        trainer.set_loss(loss).unwrap();
        trainer.epoch(&Mixed(source), 100, &mut ()).unwrap();
        let file = format!("{}.safetensors", NAMES[source]);
        SourceNetwork { name: NAMES[source].into(), file, network: Arc::new(trainer.network()) }
    };
    vec![model(0), model(1)]
}

/// Networks of both sources, trained once.
fn networks() -> &'static [Arc<Network>; 2] {
    static NETWORKS: OnceLock<[Arc<Network>; 2]> = OnceLock::new();
    NETWORKS.get_or_init(|| [0, 1].map(|source| Arc::new(trained(source, Loss::SquareRoot, 250))))
}

fn models() -> Vec<SourceNetwork> {
    let model = |n: usize| SourceNetwork {
        name: NAMES[n].into(),
        file: format!("{}.safetensors", NAMES[n]),
        network: networks()[n].clone(),
    };
    vec![model(0), model(1)]
}

/// A mixture with echoes, and the images at its first microphone.
fn scene(seed: u64) -> (Waveform, Vec<Waveform>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = RATE as usize * 8;
    let dry: Vec<Waveform> = MAKERS.iter().map(|make| Waveform::mono(make(n, &mut rng), RATE)).collect();
    let response = |near: usize, rng: &mut ChaCha8Rng| {
        Array2::from_shape_fn((2, 300), |(m, t)| {
            let direct = if t == 4 + if m == near { 0 } else { 2 } { 1.0 } else { 0.0 };
            direct + f64::from(uniform(rng) - 0.5) * 0.15 * (-(t as f64) / 60.0).exp()
        })
    };
    let responses = [response(0, &mut rng), response(1, &mut rng)];
    let mixed = mix(&dry, &responses, &MixOptions { cut_tail: true, ..MixOptions::default() }).unwrap();
    let first = |sound: &Waveform| Waveform::mono(sound.samples.row(0).to_vec(), RATE);
    (mixed.mixture.clone(), mixed.images.iter().map(first).collect())
}

fn separate(
    method: &str,
    mixture: &Waveform,
    seed: u64,
    settings: &[(&str, &str)],
    models: Vec<SourceNetwork>,
) -> Separation {
    let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let n_channels = Some(mixture.n_channels());
    let request =
        Request { settings, n_sources: Some(2), n_channels, seed: Some(seed), models, ..Request::default() };
    Method::named(method).unwrap().build(&request).unwrap().separate(mixture, &mut ()).unwrap()
}

/// Mean SDR improvement at the first microphone in dB.
fn improvement(found: &Separation, mixture: &Waveform, references: &[Waveform], order: &Order) -> f64 {
    let first = |sound: &Waveform| Waveform::mono(sound.samples.row(0).to_vec(), RATE);
    let estimates: Vec<Waveform> = found.sources.iter().take(2).map(|source| first(&source.image)).collect();
    let heard = [first(mixture)];
    let judge = |estimates: &[Waveform], order: &Order| {
        BssEval::new(references, estimates, FILTER_LENGTH).unwrap().sources(order).unwrap()
    };
    let gain = judge(&estimates, order).improvement(&judge(&heard, &Order::all_from_one(2)));
    gain.sdr.iter().sum::<f64>() / 2.0
}

const PAPER: [(&str, &str); 6] = [
    ("fft", "1024"),
    ("hop", "512"),
    ("window", "hamming"),
    ("start", "identity"),
    ("tolerance", "0"),
    ("components", "10"),
];

#[test]
fn networks_beat_the_blind_method_by_more_than_twice_the_spread() {
    let (mut blind, mut guided) = (Vec::new(), Vec::new());
    let (mixture, references) = scene(1);
    for seed in 0..5 {
        let found = separate("ilrma", &mixture, seed, &PAPER, vec![]);
        blind.push(improvement(&found, &mixture, &references, &Order::Best));
        let found = separate("g-pop-idlma", &mixture, seed, &[], models());
        assert_eq!(found.sources[0].name, "tones");
        // known sources come in the order of their networks
        guided.push(improvement(&found, &mixture, &references, &Order::Fixed));
    }
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let spread =
        |x: &[f64]| (x.iter().map(|y| (y - mean(x)).powi(2)).sum::<f64>() / (x.len() - 1) as f64).sqrt();
    let gain = mean(&guided) - mean(&blind);
    assert!(gain > 2.0 * spread(&blind).max(spread(&guided)), "{blind:.2?} {guided:.2?}");
    assert!(mean(&guided) > 6.0, "{guided:.2?}");
}

#[test]
fn every_guided_method_separates_sums_to_the_mixture_and_follows_its_level() {
    let (mixture, references) = scene(2);
    for method in ["idlma", "g-pop-idlma", "t-idlma", "t-pop-idlma", "dnn-wf", "fscm-dnn"] {
        let found = separate(method, &mixture, 0, &[], models());
        let gain = improvement(&found, &mixture, &references, &Order::Fixed);
        assert!(gain > 2.0, "{method}: {gain}");
        let sum = &found.sources[0].image.samples + &found.sources[1].image.samples;
        let worst = (&sum - &mixture.samples).iter().fold(0.0f32, |worst, x| worst.max(x.abs()));
        assert!(worst < 1e-5, "{method}: {worst}");
        assert!(found.outcome.details.contains_key("network_seconds"), "{method}");

        // a power of two: nothing changes but the level, where other factors round, and two hundred steps amplify that
        let level = 2f32.powi(-13);
        let quiet = Waveform::new(mixture.samples.mapv(|x| x * level), RATE);
        let also = separate(method, &quiet, 0, &[], models());
        for (a, b) in found.sources[0].image.samples.iter().zip(&also.sources[0].image.samples) {
            assert!((a - b / level).abs() < 1e-5, "{method}: {a} {b}");
        }
    }
}

#[test]
fn networks_that_tell_their_degrees_of_freedom_separate_and_are_heard() {
    let (mixture, references) = scene(2);
    let gain = |found: &Separation| improvement(found, &mixture, &references, &Order::Fixed);
    let of_nu = Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 };
    for (method, loss) in [("eb-idlma", Loss::EmpiricalBayes), ("t-pop-idlma", of_nu)] {
        let models = two_headed(loss);
        let run = |settings: &[(&str, &str)], models: &[SourceNetwork]| {
            separate(method, &mixture, 0, &[&[("start", "identity")], settings].concat(), models.to_vec())
        };
        let found = run(&[], &models);
        assert!(gain(&found) > 2.0, "{method}: {}", gain(&found));
        // by themselves, from W = I, networks that are exchanged find the sources the other way round
        let mut exchanged = models.clone();
        let (tones, noises) = exchanged.split_at_mut(1);
        std::mem::swap(&mut tones[0].network, &mut noises[0].network);
        let swapped = run(&[], &exchanged);
        assert!(gain(&swapped) < 0.0, "{method}: {}", gain(&swapped));
        if method == "t-pop-idlma" {
            // nu of the low-rank part is an input of these networks
            let [few, many] = ["2", "100000"].map(|nu| run(&[("nu", nu)], &models));
            assert_ne!(few.sources[0].image.samples, many.sources[0].image.samples);
            assert!(gain(&few) > 2.0 && gain(&many) > 2.0, "{} {}", gain(&few), gain(&many));
            let request = Request {
                settings: vec![("nu".into(), "1e7".into())],
                n_sources: Some(2),
                n_channels: Some(2),
                models,
                ..Request::default()
            };
            let error = Method::named(method).unwrap().build(&request).err().unwrap().to_string();
            assert!(error.contains("1000000") && error.contains("10000000"), "{error}");
        }
    }
}

#[test]
fn masks_of_long_recordings_are_made_block_by_block() {
    let (mixture, references) = scene(5);
    let request = Request { models: models(), n_channels: Some(2), ..Request::default() };
    let per_channel = || WienerSeparator::per_channel(WienerSettings::default(), &request).unwrap();
    let full_rank = || WienerSeparator::full_rank(FscmSettings::default(), &request).unwrap();
    for make in [&per_channel as &dyn Fn() -> WienerSeparator, &full_rank] {
        let whole = make().in_blocks(0.0).separate(&mixture, &mut ()).unwrap();
        let parts = make().in_blocks(3.0).separate(&mixture, &mut ()).unwrap();
        let gain = |found: &Separation| improvement(found, &mixture, &references, &Order::Fixed);
        assert!((gain(&whole) - gain(&parts)).abs() < 1.0, "{} {}", gain(&whole), gain(&parts));
        assert_ne!(whole.sources[0].image.samples, parts.sources[0].image.samples);
        let sum = &parts.sources[0].image.samples + &parts.sources[1].image.samples;
        assert!((&sum - &mixture.samples).iter().all(|x| x.abs() < 1e-5));
    }
}

#[test]
fn a_source_without_a_network_is_blind_and_a_finer_hop_is_the_networks_interleaved() {
    let (mixture, references) = scene(3);
    let one = vec![models().remove(0)];
    let found = separate("idlma", &mixture, 0, &[], one);
    let names: Vec<&str> = found.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["tones", "source-1"]);
    assert!(improvement(&found, &mixture, &references, &Order::Fixed) > 2.0);
    let one_window = ("trials", "none");
    let fine = separate("g-pop-idlma", &mixture, 0, &[one_window], models());
    assert_eq!(fine.outcome.stft.hop, Some(128));
    let coarse = separate("g-pop-idlma", &mixture, 0, &[("hop", "512"), one_window], models());
    assert_eq!(coarse.outcome.stft.hop, Some(512));
    assert!(improvement(&fine, &mixture, &references, &Order::Fixed) > 4.0);
}

#[test]
fn what_overlaps_less_through_longer_windows_or_with_other_components_is_kept() {
    let (mixture, references) = scene(6);
    for (method, has_components) in [("idlma", false), ("g-pop-idlma", true), ("t-pop-idlma", true)] {
        let found = separate(method, &mixture, 0, &[], models());
        let tried = found.outcome.details["tried"].as_array().unwrap();
        let figures = |name: &str| -> Vec<f64> { tried.iter().filter_map(|t| t[name].as_f64()).collect() };
        let (ffts, overlaps) = (figures("fft"), figures("overlap"));
        assert_eq!(ffts[..2], [1024.0, 2048.0]);
        assert_eq!(figures("components"), if has_components { vec![10.0, 10.0, 20.0] } else { vec![] });
        let mut best = usize::from(overlaps[1] < 0.99 * overlaps[0]);
        if has_components {
            assert_eq!(ffts[2], ffts[best]);
            best = if overlaps[2] < overlaps[best] { 2 } else { best };
        }
        let chosen: Vec<bool> = tried.iter().map(|tried| tried["chosen"] == true).collect();
        assert_eq!(chosen, (0..tried.len()).map(|k| k == best).collect::<Vec<_>>());
        let (fft, hop) = if ffts[best] > 1024.0 { (2048, 256) } else { (1024, 128) };
        assert_eq!((found.outcome.stft.fft, found.outcome.stft.hop), (Some(fft), Some(hop)));
        // networks are the only ones who are asked for the order
        let orders = found.outcome.details["orders"].as_array().unwrap();
        let first: Vec<_> = orders.iter().filter(|order| order["fft"] == 1024).collect();
        assert!(!first.is_empty() && first.iter().all(|order| order["order_of"] == "networks"), "{orders:?}");
        let alone = separate(method, &mixture, 0, &[("trials", "none")], models());
        assert!(!alone.outcome.details.contains_key("tried") && alone.outcome.stft.fft == Some(1024));
        let gain = |found: &Separation| improvement(found, &mixture, &references, &Order::Fixed);
        // the networks hear the longer window as their own: names stay, and nothing falls apart
        assert!(
            gain(&found) > 2.0 && gain(&found) > gain(&alone) - 1.5,
            "{method}: {} {}",
            gain(&found),
            gain(&alone)
        );
    }
    // where the paper's start is asked for, its window is, too
    let paper = separate("g-pop-idlma", &mixture, 0, &[("start", "identity")], models());
    assert_eq!(paper.outcome.stft.fft, Some(1024));
}

#[test]
fn networks_that_do_not_fit_are_refused_by_name() {
    let (mixture, _) = scene(4);
    let error = |method: &str, settings: &[(&str, &str)], models: Vec<SourceNetwork>| -> String {
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let request = Request { settings, n_channels: Some(2), models, ..Request::default() };
        match Method::named(method).unwrap().build(&request) {
            Err(error) => error.to_string(),
            Ok(separator) => separator.separate(&mixture, &mut ()).unwrap_err().to_string(),
        }
    };
    let untrained = |loss: Loss, change: &dyn Fn(&mut Header)| {
        let mut header = header(0, loss);
        change(&mut header);
        let trainer = Trainer::new(header, TrainSettings::default()).unwrap();
        let network = Arc::new(trainer.network());
        vec![SourceNetwork { name: "tones".into(), file: "tones.safetensors".into(), network }]
    };
    let same: &dyn Fn(&mut Header) = &|_| {};
    for (method, settings, models, parts) in [
        ("g-pop-idlma", vec![], vec![], vec!["needs a network", "--model"]),
        (
            "idlma",
            vec![],
            untrained(Loss::Product { nu_nmf: 5.0 }, same),
            vec!["tones.safetensors", "product", "any_network"],
        ),
        ("t-idlma", vec![("nu", "7")], untrained(Loss::Student { nu: 500.0 }, same), vec!["nu=500", "nu=7"]),
        (
            "t-pop-idlma",
            vec![("nu", "7")],
            untrained(Loss::Product { nu_nmf: 5.0 }, same),
            vec!["nu=5", "nu=7"],
        ),
        (
            "t-pop-idlma",
            vec![("nu", "1000")],
            untrained(Loss::ConditionedProduct { lowest: 1.0, highest: 100.0 }, same),
            vec!["nu=1 to 100", "nu=1000"],
        ),
        ("eb-idlma", vec![], untrained(Loss::SquareRoot, same), vec!["does not tell nu"]),
        (
            "idlma",
            vec![],
            untrained(Loss::SquareRoot, &|header| header.sample_rate = 8000),
            vec!["8000 Hz", "4000 Hz", "tones"],
        ),
        ("idlma", vec![("hop", "300")], models(), vec!["hop=300", "hop=512"]),
        ("ilrma", vec![], models(), vec!["--model tones=tones.safetensors", "g-pop-idlma"]),
        (
            "idlma",
            vec![],
            [models(), untrained(Loss::SquareRoot, &|header| header.stft.hop = Some(256))].concat(),
            vec!["hop=512", "hop=256"],
        ),
    ] {
        let why = error(method, &settings, models);
        assert!(parts.iter().all(|part| why.contains(part)), "{method}: {why}");
        assert!(!why.contains('\n'));
    }
    // by name it is allowed
    let any = untrained(Loss::Student { nu: 500.0 }, same);
    let request = Request {
        settings: vec![("any_network".into(), "true".into())],
        n_channels: Some(2),
        models: any,
        ..Request::default()
    };
    assert!(Method::named("idlma").unwrap().build(&request).is_ok());
}
