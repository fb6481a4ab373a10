//! Writes every kind of picture, drawn from made-up sounds, to a folder:
//! `cargo run --release -p demix-figure --example gallery -- FOLDER [extremes]`.

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use std::time::Instant;

use demix_figure::{
    BarPlot, BarSeries, FactorPlot, Factors, FrequencyAxis, Picture, SpectrogramPlot, StftGrid, activations,
    bars, cost_curve, cost_curves, dictionary, factors, mask, spectrogram, spectrogram_grid, waveforms,
};
use demix_signal::Waveform;
use ndarray::Array2;

const GRID: StftGrid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "gallery".to_owned()));
    std::fs::create_dir_all(&folder)?;
    house(&folder)?;
    if arguments.next().is_some() {
        extremes(&folder)?;
    }
    Ok(())
}

fn save(folder: &Path, name: &str, draw: impl FnOnce() -> Picture) -> std::io::Result<()> {
    let start = Instant::now();
    let picture = draw();
    let drawn = start.elapsed();
    let png = picture.to_png();
    println!(
        "{name}: {} x {}, drawn in {drawn:.0?}, with PNG {:.0?}, {} KB",
        picture.width,
        picture.height,
        start.elapsed(),
        png.len() / 1000
    );
    std::fs::write(folder.join(format!("{name}.png")), png)
}

/// Random numbers 0..1, always the same.
fn noise() -> impl FnMut() -> f64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Four notes with harmonics, each dying away.
fn notes(seconds: f64, rate: f64) -> Vec<f64> {
    let pitches = [261.63, 329.63, 392.0, 523.25];
    let note = |t: f64| {
        let start = (t / 0.5).floor();
        let (pitch, t) = (pitches[start as usize % 4], t - 0.5 * start);
        let partial = |n: f64| (TAU * n * pitch * t).sin() / n * (-t * (2.0 + n)).exp();
        (1..=8).map(|n| partial(f64::from(n))).sum::<f64>() * 0.35 * (t * 200.0).min(1.0)
    };
    (0..(seconds * rate) as usize).map(|t| note(t as f64 / rate)).collect()
}

fn drums(seconds: f64, rate: f64) -> Vec<f64> {
    let mut noise = noise();
    let hit = |t: f64, noise: f64| {
        let (kick, hat) = (t % 1.0, t % 0.25);
        (TAU * 55.0 * kick * (1.0 + 0.4 * (-30.0 * kick).exp())).sin() * (-8.0 * kick).exp() * 0.6
            + (noise - 0.5) * (-50.0 * hat).exp() * 0.4
    };
    (0..(seconds * rate) as usize).map(|t| hit(t as f64 / rate, noise())).collect()
}

fn chirp(seconds: f64, rate: f64) -> Vec<f64> {
    let sweep =
        |t: f64| 0.2 * (TAU * (100.0 * t + 900.0 * t * t)).sin() * (0.5 - 0.5 * (TAU * t / seconds).cos());
    (0..(seconds * rate) as usize).map(|t| sweep(t as f64 / rate)).collect()
}

/// |X|^2 of Hann-windowed frames by plain summation: slow, but short.
fn power(signal: &[f64], grid: StftGrid) -> Array2<f32> {
    let n = grid.fft;
    let frames = signal.len() / grid.hop + 1;
    let table: Vec<(f64, f64)> = (0..n).map(|i| (TAU * i as f64 / n as f64).sin_cos()).collect();
    let mut power = Array2::zeros((n / 2 + 1, frames));
    for t in 0..frames {
        let sample = |i: usize| {
            let at = (t * grid.hop + i).checked_sub(n / 2);
            at.and_then(|at| signal.get(at)).copied().unwrap_or(0.0) * (0.5 - 0.5 * table[i].1)
        };
        let frame: Vec<f64> = (0..n).map(sample).collect();
        for f in 0..=n / 2 {
            let (mut re, mut im) = (0.0, 0.0);
            for (i, x) in frame.iter().enumerate() {
                let (sin, cos) = table[f * i % n];
                re += x * cos;
                im += x * sin;
            }
            power[(f, t)] = (re * re + im * im) as f32;
        }
    }
    power
}

/// Peaks of a harmonic sound at each component's pitch.
fn peaks(n_bins: usize, n_components: usize, grid: StftGrid) -> Array2<f64> {
    let spacing = f64::from(grid.sample_rate) / grid.fft as f64;
    Array2::from_shape_fn((n_bins, n_components), |(f, k)| {
        let pitch = 110.0 * 2f64.powf(k as f64 * 4.0 / 12.0 % 5.0);
        let hertz = f as f64 * spacing;
        let partial = |n: f64| (-((hertz - n * pitch) / 25.0).powi(2)).exp() / n.powf(1.5);
        (1..=20).map(|n| partial(f64::from(n))).sum::<f64>() + 1e-5
    })
}

/// Decays that start at different times.
fn decays(n_components: usize, n_frames: usize) -> Array2<f64> {
    Array2::from_shape_fn((n_components, n_frames), |(k, t)| {
        let period = n_frames / (2 + k % 5) + 1;
        let since = (t + k * 31) % period;
        (-(since as f64) / 18.0).exp() * (1.0 + k as f64).recip()
    })
}

fn random(shape: (usize, usize)) -> Array2<f64> {
    let mut noise = noise();
    Array2::from_shape_simple_fn(shape, move || 0.2 + 0.8 * noise())
}

fn house(folder: &Path) -> std::io::Result<()> {
    let rate = f64::from(GRID.sample_rate);
    let sounds = [notes(4.0, rate), drums(4.0, rate), chirp(4.0, rate)];
    let mixture: Vec<f64> = (0..sounds[0].len()).map(|t| sounds.iter().map(|s| s[t]).sum()).collect();
    let powers = sounds.each_ref().map(|s| power(s, GRID));
    let mixed = power(&mixture, GRID);
    let names = ["notes", "drums", "chirp"];

    for (name, axis) in [
        ("spectrogram", FrequencyAxis::Linear),
        ("spectrogram_log", FrequencyAxis::Log),
        ("spectrogram_mel", FrequencyAxis::Mel),
    ] {
        let plot = SpectrogramPlot::new("Notes, drums and a chirp", GRID);
        save(folder, name, || spectrogram(mixed.view(), &SpectrogramPlot { frequency_axis: axis, ..plot }))?;
    }
    let plot = SpectrogramPlot {
        frequency_axis: FrequencyAxis::Mel,
        ..SpectrogramPlot::new("A mixture and its sources", GRID)
    };
    let sources: Vec<_> = names.into_iter().zip(powers.iter().map(|p| p.view())).collect();
    save(folder, "spectrogram_grid", || spectrogram_grid(mixed.view(), &sources, &plot))?;

    let total = &powers[0] + &powers[1] + &powers[2] + 1e-9;
    let share = &powers[1] / &total;
    let plot = SpectrogramPlot { title: "Wiener mask of the drums", ..plot };
    save(folder, "mask", || mask(share.view(), &plot))?;

    for k in [4, 8, 40] {
        let (w, h) = (peaks(513, k, GRID), decays(k, 251));
        let source_of: Vec<usize> = (0..k).map(|i| i * 3 / k).collect();
        let plot = FactorPlot {
            frequency_axis: FrequencyAxis::Log,
            source_of: &source_of,
            source_names: &names,
            ..FactorPlot::new("", GRID)
        };
        let title = format!("Dictionary of {k} components");
        save(folder, &format!("dictionary_{k}"), || {
            dictionary(w.view(), &FactorPlot { title: &title, ..plot })
        })?;
        let title = format!("Activations of {k} components");
        save(folder, &format!("activations_{k}"), || {
            activations(h.view(), &FactorPlot { title: &title, ..plot })
        })?;
        let (w0, h0) = (random(w.dim()), random(h.dim()));
        let before = Factors { w: w0.view(), h: h0.view() };
        let after = Factors { w: w.view(), h: h.view() };
        let title = format!("Factorisation with {k} components");
        save(folder, &format!("factors_{k}"), || {
            factors(before, after, &FactorPlot { title: &title, ..plot })
        })?;
    }
    let plain = FactorPlot::new("Dictionary of 3 components, sources unknown", GRID);
    save(folder, "dictionary_plain", || dictionary(peaks(513, 3, GRID).view(), &plain))?;

    let fall = |speed: f64, to: f64| -> Vec<f64> {
        (0..=200).map(|i| to + 4e5 * (-speed * f64::from(i).sqrt()).exp()).collect()
    };
    let (a, b, c) = (fall(0.9, 900.0), fall(1.6, 2500.0), fall(0.6, 300.0));
    save(folder, "cost_curve", || cost_curve("Itakura-Saito divergence", &a))?;
    let curves: [(&str, &[f64]); 3] =
        [("multiplicative updates", &a), ("auxiliary function", &b), ("gradient descent", &c)];
    save(folder, "cost_curves", || cost_curves("Convergence of three algorithms", "Cost", &curves))?;
    let linear: Vec<f64> = (0..=30).map(|i| -4e6 - 1e6 * (1.0 - (-0.2 * f64::from(i)).exp())).collect();
    save(folder, "cost_linear", || cost_curve("Negative log-likelihood", &linear))?;

    let wave = |s: &[f64]| Waveform::mono(s.iter().map(|x| *x as f32).collect(), GRID.sample_rate);
    let waves: Vec<Waveform> = [&mixture, &sounds[0], &sounds[1], &sounds[2]].map(|s| wave(s)).into();
    let named: Vec<(&str, &Waveform)> =
        ["mixture", "notes", "drums", "chirp"].into_iter().zip(&waves).collect();
    save(folder, "waveforms", || waveforms("A mixture and its sources", &named))?;
    let mut stereo = Array2::zeros((2, 64000));
    for t in 0..64000 {
        let angle = t as f64 / 64000.0 * TAU / 4.0;
        stereo[(0, t)] = (mixture[t] * angle.cos()) as f32;
        stereo[(1, t)] = (mixture[t] * angle.sin()) as f32;
    }
    let stereo = Waveform::new(stereo, 16000);
    save(folder, "waveforms_stereo", || {
        waveforms("Panned from left to right", &[("stereo mixture", &stereo), ("notes", &waves[1])])
    })?;

    let series = [
        BarSeries { name: "ILRMA", values: &[9.1, 7.4, 12.3], errors: Some(&[0.8, 1.1, 0.6]) },
        BarSeries { name: "FastMNMF2", values: &[10.4, 8.8, 11.9], errors: Some(&[1.2, 0.9, 1.0]) },
        BarSeries { name: "AuxIVA", values: &[4.2, -1.3, 6.0], errors: Some(&[1.9, 2.2, 1.5]) },
        BarSeries { name: "no separation", values: &[-3.0, -4.2, 0.4], errors: None },
    ];
    let plot = BarPlot {
        title: "Scores by source and method",
        y_title: "SDR (dB)",
        groups: &names,
        series: &series,
    };
    save(folder, "bars", || bars(&plot))
}

fn extremes(folder: &Path) -> std::io::Result<()> {
    let big = Array2::from_shape_fn((2049, 10000), |(f, t)| {
        ((1.0 + (t as f32 * 0.01).sin()) * (-(f as f32) / 300.0).exp()).powi(2) + 1e-6
    });
    let cd = StftGrid { sample_rate: 44100, fft: 4096, hop: 1024 };
    save(folder, "x_big", || spectrogram(big.view(), &SpectrogramPlot::new("2049 x 10000", cd)))?;
    let long = StftGrid { sample_rate: 44100, fft: 4096, hop: 47628 };
    save(folder, "x_three_hours", || spectrogram(big.view(), &SpectrogramPlot::new("Three hours", long)))?;

    let small = Array2::from_shape_fn((9, 5), |(f, t)| 10f64.powi(-((f + 2 * t) as i32)));
    for (name, rate, axis) in [
        ("x_4k", 4000, FrequencyAxis::Mel),
        ("x_192k", 192000, FrequencyAxis::Log),
        ("x_10ms", 16000, FrequencyAxis::Linear),
    ] {
        let grid = StftGrid { sample_rate: rate, fft: 16, hop: rate as usize / 500 };
        let plot = SpectrogramPlot { frequency_axis: axis, ..SpectrogramPlot::new(name, grid) };
        save(folder, name, || spectrogram(small.view(), &plot))?;
    }
    let mut broken = small.clone();
    (broken[(3, 2)], broken[(7, 4)]) = (f64::NAN, f64::INFINITY);
    let title =
        "音源分離 Ünïcödé Ωμβ → and a title that goes on and on, much longer than a line can ever hold";
    let plot = SpectrogramPlot::new(title, GRID);
    let name = "a very long name of a source, sixty characters and many more";
    let silent = Array2::zeros((9, 3));
    let sources = [(name, small.view()), ("short and silent 音", silent.view())];
    save(folder, "x_broken_grid", || spectrogram_grid(broken.view(), &sources, &plot))?;
    let empty = Array2::<f32>::zeros((0, 0));
    save(folder, "x_empty", || spectrogram(empty.view(), &SpectrogramPlot::new("Nothing", GRID)))?;
    let zeros = Array2::<f32>::zeros((513, 100));
    save(folder, "x_zeros", || spectrogram(zeros.view(), &SpectrogramPlot::new("Silence", GRID)))?;
    let one = Array2::from_elem((1, 1), 0.3f32);
    save(folder, "x_one", || spectrogram(one.view(), &SpectrogramPlot::new("One value", GRID)))?;
    let sources: Vec<_> = (0..9).map(|_| ("source", small.view())).collect();
    save(folder, "x_ten_panels", || {
        spectrogram_grid(small.view(), &sources, &SpectrogramPlot::new("", GRID))
    })?;

    for k in [1, 12, 13, 500] {
        let source_of: Vec<usize> = (0..k).map(|i| i * 3 / k).collect();
        let plot = FactorPlot {
            source_of: &source_of,
            source_names: &["a", "b", name],
            ..FactorPlot::new("K", GRID)
        };
        let (w, h) = (peaks(513, k, GRID), decays(k, 20000));
        save(folder, &format!("x_dictionary_{k}"), || dictionary(w.view(), &plot))?;
        save(folder, &format!("x_activations_{k}"), || activations(h.view(), &plot))?;
        let f = Factors { w: w.view(), h: h.view() };
        save(folder, &format!("x_factors_{k}"), || factors(f, f, &plot))?;
    }
    let costs = [1e30, 1e12, f64::NAN, 1e-3, 1e-30];
    save(folder, "x_cost", || cost_curve("From 1e30 to 1e-30", &costs))?;
    save(folder, "x_cost_one", || cost_curve("One value", &[-123456.0]))?;
    let many: Vec<f64> = (0..200_000).map(|i| (f64::from(i) * 0.01).sin() + 1e9).collect();
    let names: Vec<String> = (0..14).map(|i| format!("{name} {i}")).collect();
    let curves: Vec<(&str, &[f64])> = names.iter().map(|n| (n.as_str(), &many[..])).collect();
    save(folder, "x_cost_many", || cost_curves("Fourteen long names", "Cost", &curves))?;

    let wave =
        |n: usize, rate| Waveform::mono((0..n).map(|t| (t as f32 * 0.05).sin() * 1e-30).collect(), rate);
    let mut spoilt = wave(80, 8000);
    spoilt.samples[(0, 40)] = f32::NAN;
    save(folder, "x_wave_10ms", || {
        waveforms("Ten milliseconds", &[(name, &spoilt), ("one", &wave(1, 8000)), ("none", &wave(0, 8000))])
    })?;
    let hours = Waveform::new(
        Array2::from_shape_fn((6, 3 * 3600 * 100), |(c, t)| ((t * (c + 3)) as f32 * 1e-4).sin() * 1e30),
        100,
    );
    save(folder, "x_wave_3h", || waveforms("Three hours, six channels", &[("six", &hours)]))?;

    let groups: Vec<String> = (0..20).map(|i| format!("source number {i}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let values: Vec<f64> = (0..20).map(|i| f64::from(i) * 1.7 - 12.0).collect();
    let errors = vec![1.5; 20];
    let series: Vec<BarSeries> =
        (0..3).map(|_| BarSeries { name, values: &values, errors: Some(&errors) }).collect();
    save(folder, "x_bars", || {
        bars(&BarPlot { title: "Many", y_title: "SI-SDR (dB)", groups: &groups, series: &series })
    })?;
    let series = [BarSeries { name: "only", values: &[f64::NAN, 1e30], errors: None }];
    save(folder, "x_bars_nan", || {
        bars(&BarPlot { title: "", y_title: "SDR (dB)", groups: &[name, "b"], series: &series })
    })
}
