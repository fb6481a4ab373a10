//! Whole methods on sound in synthetic rooms: one source of two, directions with and without echoes, single precision.

#![allow(clippy::unwrap_used)] // a test may: its panic is the report

use std::f64::consts::TAU;

use demix_signal::{Complex, Stft, StftSettings};
use demix_spatial::source::{Contrast, Distribution};
use demix_spatial::{
    Asked, Blind, C64, Candidate, DemixSettings, DescentSettings, Found, Hint, Input, LowRankSettings, Model,
    Normalization, Search, Start, principal_components, unreduced,
};
use ndarray::{Array2, Array3, s};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

const RATE: u32 = 8000;
/// Metres between neighbouring microphones.
const SPACING: f64 = 0.0566;
const SPEED_OF_SOUND: f64 = 343.0;

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    (-2.0 * (1.0 - uniform(rng)).ln()).sqrt() * (TAU * uniform(rng)).cos()
}

/// Something like a voice: syllables of 80 to 300 ms with pauses, harmonics of a gliding pitch in this octave, breath.
fn voice(pitch: f64, n_samples: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sound = vec![0.0; n_samples];
    let mut at = 0;
    while at < n_samples {
        let length = ((0.08 + 0.22 * uniform(&mut rng)) * f64::from(RATE)) as usize;
        let (from, to) = (pitch * (1.0 + uniform(&mut rng)), pitch * (1.0 + uniform(&mut rng)));
        let formants = [300.0 + 500.0 * uniform(&mut rng), 900.0 + 1500.0 * uniform(&mut rng)];
        let mut phase = 0.0;
        for t in 0..length.min(n_samples - at) {
            let share = t as f64 / length as f64;
            let f = from + (to - from) * share;
            phase += TAU * f / f64::from(RATE);
            let envelope = (std::f64::consts::PI * share).sin();
            let harmonics: f64 = (1..(3600.0 / f) as usize)
                .map(|k| {
                    let near = formants
                        .iter()
                        .map(|formant| 1.0 / (1.0 + ((k as f64 * f - formant) / 200.0).powi(2)));
                    (near.sum::<f64>() + 0.02) * (k as f64 * phase).sin()
                })
                .sum();
            sound[at + t] = envelope * (harmonics + 0.05 * normal(&mut rng));
        }
        at += length + (0.2 * uniform(&mut rng) * f64::from(RATE)) as usize;
    }
    sound
}

/// White noise that never changes.
fn hiss(n_samples: usize, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n_samples).map(|_| 0.3 * normal(&mut rng)).collect()
}

/// Sources at microphones on a line.
struct Scene {
    /// (channels, samples).
    mixture: Array2<f32>,
    /// Of every source.
    images: Vec<Array2<f32>>,
}

impl Scene {
    /// Sources from the directions `cosines` at `m` microphones; diffuse echoes that fall by 60 dB in `t60` seconds have
    /// the power of the direct sound times `echo`.
    fn new(sources: &[Vec<f64>], cosines: &[f64], m: usize, (echo, t60): (f64, f64), seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n_samples = sources[0].len();
        let longest = (t60 * f64::from(RATE)) as usize;
        let images: Vec<Array2<f32>> = sources
            .iter()
            .zip(cosines)
            .map(|(source, cosine)| {
                let mut image = Array2::zeros((m, n_samples));
                for c in 0..m {
                    // a windowed sinc for the direct sound, 20 samples late
                    let delay = 20.0 + c as f64 * SPACING * cosine / SPEED_OF_SOUND * f64::from(RATE);
                    let mut response = vec![0.0; 41 + longest];
                    for (t, response) in response.iter_mut().enumerate().take(41) {
                        let x = t as f64 - delay;
                        let sinc = if x == 0.0 { 1.0 } else { (TAU * x / 2.0).sin() / (TAU * x / 2.0) };
                        *response = sinc * (TAU * x / 84.0).cos().powi(2);
                    }
                    let decay = |t: usize| 1e-3f64.powf(t as f64 / longest as f64);
                    let total: f64 = (0..longest).map(|t| decay(t).powi(2)).sum();
                    for t in 0..longest {
                        response[30 + t] += normal(&mut rng) * decay(t) * (echo / total).sqrt();
                    }
                    for t in 0..n_samples {
                        let first = (t + 1).saturating_sub(response.len());
                        let heard: f64 = (first..=t).map(|u| source[u] * response[t - u]).sum();
                        image[[c, t]] = heard as f32;
                    }
                }
                image
            })
            .collect();
        let mixture = images.iter().fold(Array2::zeros((m, n_samples)), |sum, image| sum + image);
        Self { mixture, images }
    }
}

const STFT: (usize, usize) = (1024, 256);

fn stft() -> StftSettings {
    StftSettings::new(STFT.0, STFT.1)
}

fn spectrogram(sound: &Array2<f32>) -> Array3<Complex<f32>> {
    Stft::<f32>::new(&stft()).unwrap().forward_samples(sound).unwrap()
}

fn double(x: Complex<f32>) -> C64 {
    C64::new(f64::from(x.re), f64::from(x.im))
}

/// The image of an output at the first microphone, (bins, frames).
fn image(x: &Array3<Complex<f32>>, found: &Found, output: usize) -> Array2<C64> {
    let (n_bins, m, frames) = x.dim();
    Array2::from_shape_fn((n_bins, frames), |(bin, j)| {
        let y: C64 = (0..m).map(|c| found.demixing[[bin, output, c]] * double(x[[bin, c, j]])).sum();
        found.mixing[[bin, 0, output]] * y
    })
}

/// |s|^2 / |s - estimate|^2 at the first microphone, in dB; with `scaled` of the estimate at its best gain.
fn sdr(truth: &Array3<Complex<f32>>, estimate: &Array2<C64>, scaled: bool) -> f64 {
    let truth = truth.slice(s![.., 0, ..]).mapv(double);
    let cross: f64 = truth.iter().zip(estimate).map(|(s, e)| (s.conj() * e).re).sum();
    let power: f64 = truth.iter().map(|s| s.norm_sqr()).sum();
    let gain = if scaled { cross / power } else { 1.0 };
    let error: f64 = truth.iter().zip(estimate).map(|(s, e)| (s * gain - e).norm_sqr()).sum();
    10.0 * (gain * gain * power / error).log10()
}

fn ilrma() -> Model {
    Model::LowRank(Distribution::Gauss, LowRankSettings::default())
}

fn blind(model: Model, start: Option<Start>) -> Blind {
    let descent = DescentSettings { start, ..DescentSettings::default() };
    Blind { model, settings: DemixSettings { descent, ..DemixSettings::default() } }
}

fn demix(x: &Array3<Complex<f32>>, blind: &Blind, n: usize) -> Found {
    let stft = stft();
    let n_samples = x.len_of(ndarray::Axis(2)) * STFT.1;
    let input = Input { x: x.view(), stft: &stft, n_samples, sample_rate: RATE, begin: None };
    blind.demix::<f32>(&input, n, &mut ()).unwrap()
}

#[test]
fn a_scale_that_a_contrast_cannot_follow_is_refused() {
    for (model, is_refused) in [
        (Model::Fdica(None), true),
        (Model::Auxiva(Contrast::Laplace), true),
        (Model::LowRank(Distribution::Gauss, LowRankSettings::default()), false),
    ] {
        let mut blind = blind(model, None);
        blind.check(2, 2).unwrap();
        blind.settings.descent.normalization = Normalization::ProjectionBack;
        match blind.check(2, 2) {
            Err(error) => assert!(is_refused && error.to_string().contains("normalization=projection-back")),
            Ok(()) => assert!(!is_refused),
        }
    }
}

#[test]
fn one_source_is_taken_out_of_what_else_sounds() {
    let n_samples = 4 * RATE as usize;
    let sources = [voice(110.0, n_samples, 1), hiss(n_samples, 2)];
    let scene = Scene::new(&sources, &[-0.7, 0.5], 2, (0.3, 0.1), 3);
    let (x, truth) = (spectrogram(&scene.mixture), spectrogram(&scene.images[0]));
    let before = sdr(&truth, &x.slice(s![.., 0, ..]).mapv(double), true);
    for model in [ilrma(), Model::Consistent(LowRankSettings::default()), Model::Auxiva(Contrast::Laplace)] {
        let found = demix(&x, &blind(model.clone(), None), 1);
        assert_eq!(found.demixing.dim(), (513, 1, 2));
        let after = sdr(&truth, &image(&x, &found, 0), true);
        assert!(after > before + 3.0, "{model:?}: {before:.1} dB, {after:.1} dB");
        assert!(found.warnings.iter().any(|w| w.contains("keep the one")), "{:?}", found.warnings);
    }
    // what looks at every bin on its own has nothing to tell the source by
    let stft = stft();
    let input = Input { x: x.view(), stft: &stft, n_samples, sample_rate: RATE, begin: None };
    for (model, start) in [(Model::Fdica(None), None), (ilrma(), Some(Start::Fdica))] {
        let error = blind(model, start).demix::<f32>(&input, 1, &mut ()).unwrap_err().to_string();
        assert!(error.contains("fdica looks at every bin on its own") && error.contains("take "), "{error}");
    }
}

/// SDR of the sources in the better order, at the scale of the best gain.
fn separated(scene: &Scene, x: &Array3<Complex<f32>>, found: &Found) -> Vec<f64> {
    let n = scene.images.len();
    let outputs: Vec<_> = (0..n).map(|output| image(x, found, output)).collect();
    let truth = scene.images.iter().map(spectrogram);
    truth.map(|s| outputs.iter().map(|y| sdr(&s, y, true)).fold(f64::MIN, f64::max)).collect()
}

#[test]
fn the_order_that_is_furthest_apart_begins_as_well_as_any() {
    let n_samples = 5 * RATE as usize;
    let stft = stft();
    let settings = DemixSettings::default();
    for (n, m) in [(2, 2), (3, 3), (2, 3)] {
        let sources: Vec<_> =
            (0..n).map(|s| voice(100.0 + 45.0 * s as f64, n_samples, 20 + s as u64)).collect();
        let scene = Scene::new(&sources, &[-0.8, 0.1, 0.7][..n], m, (0.5, 0.1), 30 + n as u64);
        let x = spectrogram(&scene.mixture);
        let search = Search {
            samples: scene.mixture.view(),
            sample_rate: RATE,
            n_sources: n,
            reduce: n < m,
            stft: &stft,
            matrices: &settings.matrices,
            tolerance: settings.descent.tolerance,
        };
        let begin = search.run::<f32>(Hint::Nothing, &mut ()).unwrap();
        let best = begin.candidates[begin.chosen].apart.score();
        assert!(begin.candidates.iter().all(|candidate| candidate.apart.score() <= best));
        assert_eq!(begin.candidates[0].asked, Asked::Activity);
        let shorter = [512, 256, 128].map(Asked::Outputs);
        let asked =
            |candidate: &Candidate| candidate.asked == Asked::Activity || shorter.contains(&candidate.asked);
        assert!(begin.candidates.iter().all(asked), "{:?}", begin.candidates);
        // nothing is drawn
        assert_eq!(begin.demixing, search.run::<f32>(Hint::Nothing, &mut ()).unwrap().demixing);
        // W of the components, as W is of the microphones
        assert_eq!(begin.demixing.dim(), (513, n, n));
        if n < m {
            continue;
        }
        let from = |begin: Option<&Array3<C64>>| {
            let mut blind = blind(ilrma(), None);
            blind.settings.descent.iterations = Some(0);
            let input = Input { x: x.view(), stft: &stft, n_samples, sample_rate: RATE, begin };
            separated(&scene, &x, &blind.demix::<f32>(&input, n, &mut ()).unwrap())
        };
        let (searched, alone) = (from(Some(&begin.demixing)), from(None));
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        assert!(mean(&searched) > mean(&alone) - 0.1 && mean(&searched) > 5.0, "{searched:?} {alone:?}");
        // outputs that are known are the only ones asked, and the order follows them
        let turned = Array2::from_shape_fn((n, n_samples), |(s, t)| scene.images[n - 1 - s][[0, t]]);
        let known = search.run::<f32>(Hint::Outputs(turned.view()), &mut ()).unwrap();
        assert!(known.candidates.iter().all(|candidate| candidate.asked == Asked::Outputs(1024)));
        let of_first = from(Some(&known.demixing));
        assert!(mean(&of_first) > mean(&searched) - 0.5, "{of_first:?} {searched:?}");
        let w = known.demixing;
        let input = Input { x: x.view(), stft: &stft, n_samples, sample_rate: RATE, begin: Some(&w) };
        let mut blind = blind(ilrma(), None);
        blind.settings.descent.iterations = Some(0);
        let found = blind.demix::<f32>(&input, n, &mut ()).unwrap();
        let first = image(&x, &found, 0);
        let own = sdr(&spectrogram(&scene.images[n - 1]), &first, true);
        let other = sdr(&spectrogram(&scene.images[0]), &first, true);
        assert!(own > other + 10.0, "{own} {other}");
        assert!(search.iterations(false) == 4 * search.iterations(true));
    }
}

/// Bins of the steady sources, at 16 kHz.
const STEADY_BINS: usize = 257;
const STEADY_STEP: f64 = 16000.0 / 512.0;
const STEADY_FRAMES: usize = 300;

/// Plane waves from two directions, loud in every bin when they like, so that activity tells nothing: (bins, channels,
/// frames).
fn steady_waves(cosines: [f64; 2], m: usize, seed: u64) -> Array3<Complex<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut x = Array3::<Complex<f32>>::zeros((STEADY_BINS, m, STEADY_FRAMES));
    for (bin, mut x) in x.outer_iter_mut().enumerate() {
        for mut frame in x.columns_mut() {
            for cosine in cosines {
                let sound = C64::new(normal(&mut rng), normal(&mut rng)) * uniform(&mut rng).powi(3);
                let delay = SPACING * cosine / SPEED_OF_SOUND;
                for (c, x) in frame.iter_mut().enumerate() {
                    let y = sound * C64::from_polar(1.0, TAU * bin as f64 * STEADY_STEP * c as f64 * delay);
                    *x += Complex::new(y.re as f32, y.im as f32);
                }
            }
        }
    }
    x
}

#[test]
fn directions_order_bins_of_steady_sources_where_nothing_echoes() {
    let cosines = [-0.6, 0.7];
    let stft = StftSettings::new(512, 256);
    // whether output 0 of a bin comes from the first direction
    let first = |mixing: &Array3<C64>, bin: usize| {
        let match_of = |output: usize, cosine: f64| {
            let turn = mixing[[bin, 1, output]] * mixing[[bin, 0, output]].conj();
            let phase = TAU * bin as f64 * STEADY_STEP * SPACING * cosine / SPEED_OF_SOUND;
            (turn / turn.norm() * C64::from_polar(1.0, -phase)).re
        };
        match_of(0, cosines[0]) + match_of(1, cosines[1]) > match_of(0, cosines[1]) + match_of(1, cosines[0])
    };
    // 600 Hz to just below where both directions have the same phase
    let heard = 20..140;
    let right = |mixing: &Array3<C64>| {
        let first = heard.clone().filter(|&bin| first(mixing, bin)).count();
        first.max(heard.len() - first)
    };
    let x = steady_waves(cosines, 2, 4);
    let input =
        Input { x: x.view(), stft: &stft, n_samples: STEADY_FRAMES * 256, sample_rate: 16000, begin: None };
    let of = |spacing| blind(Model::Fdica(spacing), None).demix::<f64>(&input, 2, &mut ()).unwrap();
    let (by_activity, by_direction) = (right(&of(None).mixing), right(&of(Some(SPACING)).mixing));
    assert!(by_activity < 90, "{by_activity} of 120: activity should not tell these sources");
    assert!(by_direction >= 114, "{by_direction} of 120, {by_activity} by activity");
    assert!(of(Some(SPACING)).warnings.is_empty(), "{:?}", of(Some(SPACING)).warnings);
    // components of three microphones: the directions are those at the microphones
    let x = steady_waves(cosines, 3, 11);
    let p = principal_components(x.view(), 2);
    let components = Array3::from_shape_fn((STEADY_BINS, 2, STEADY_FRAMES), |(bin, k, j)| {
        let sum: C64 = (0..3).map(|c| p[[bin, k, c]] * double(x[[bin, c, j]])).sum();
        Complex::new(sum.re as f32, sum.im as f32)
    });
    let input = Input { x: components.view(), ..input };
    let blind = blind(Model::Fdica(Some(SPACING)), None);
    let found = blind.demix_components::<f64>(&input, Some(&p), 2, &mut ()).unwrap();
    let of_components = right(&unreduced(&found.mixing, &p));
    assert!(of_components >= 114, "{of_components} of 120");
}

#[test]
fn with_echoes_directions_change_nothing_and_say_so() {
    let n_samples = 4 * RATE as usize;
    let sources = [voice(110.0, n_samples, 5), voice(190.0, n_samples, 6)];
    for (echo, is_dry) in [(0.0, true), (0.5, false), (1.0, false)] {
        let scene = Scene::new(&sources, &[-0.7, 0.5], 2, (echo, 0.15), 7);
        let x = spectrogram(&scene.mixture);
        let (alone, both) = (
            demix(&x, &blind(Model::Fdica(None), None), 2),
            demix(&x, &blind(Model::Fdica(Some(SPACING)), None), 2),
        );
        let scores = |found: &Found| -> Vec<f64> {
            let outputs = [image(&x, found, 0), image(&x, found, 1)];
            let truth = scene.images.iter().map(spectrogram);
            truth.map(|s| sdr(&s, &outputs[0], true).max(sdr(&s, &outputs[1], true))).collect()
        };
        let (without, with) = (scores(&alone), scores(&both));
        assert!(without.iter().all(|sdr| *sdr > 5.0), "{echo}: {without:?}");
        assert!(without.iter().zip(&with).all(|(a, b)| *b > a - 0.1), "{echo}: {without:?} {with:?}");
        let said = both.warnings.iter().any(|w| w.contains("plane waves") && w.contains("by activity"));
        assert_eq!(said, !is_dry, "{echo}: {:?}", both.warnings);
        if !is_dry {
            assert_eq!(alone.demixing, both.demixing);
        }
    }
}

#[test]
fn single_precision_is_within_a_hundredth_of_a_decibel() {
    let n_samples = 5 * RATE as usize;
    let sources = [voice(110.0, n_samples, 8), voice(190.0, n_samples, 9)];
    let scene = Scene::new(&sources, &[-0.7, 0.5], 2, (0.5, 0.15), 10);
    let x = spectrogram(&scene.mixture);
    let stft = stft();
    let input = Input { x: x.view(), stft: &stft, n_samples, sample_rate: RATE, begin: None };
    let truth: Vec<_> = scene.images.iter().map(spectrogram).collect();
    for model in [ilrma(), Model::Auxiva(Contrast::Laplace)] {
        let blind = blind(model.clone(), None);
        let scores = |found: Found| -> Vec<f64> {
            let outputs = [image(&x, &found, 0), image(&x, &found, 1)];
            truth.iter().map(|s| sdr(s, &outputs[0], false).max(sdr(s, &outputs[1], false))).collect()
        };
        let single = scores(blind.demix::<f32>(&input, 2, &mut ()).unwrap());
        let exact = scores(blind.demix::<f64>(&input, 2, &mut ()).unwrap());
        assert!(exact.iter().all(|sdr| *sdr > 5.0), "{model:?}: {exact:?}");
        for (single, exact) in single.iter().zip(&exact) {
            assert!((single - exact).abs() < 0.01, "{model:?}: {single} dB, {exact} dB in double precision");
        }
    }
}
