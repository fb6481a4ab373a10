//! Every kind of picture, from sensible to absurd data: nothing panics, no two texts overlap, all
//! texts lie inside.

use demix_figure::{
    BarPlot, BarSeries, BoxPlot, BoxSeries, FactorPlot, Factors, FrequencyAxis, Label, LearningPanel,
    Picture, Quantity, ScenePlot, SpectrogramPlot, StftGrid, activations, bars, boxes, cost_curve,
    cost_curves, dictionary, factors, learning_curves, mask, scene, score_curves, spectrogram,
    spectrogram_grid, waveforms,
};
use demix_signal::Waveform;
use ndarray::{Array2, ShapeBuilder};

const LONG: &str = "a name of a source that is 音 very long indeed, far beyond sixty characters";
const AXES: [FrequencyAxis; 3] = [FrequencyAxis::Linear, FrequencyAxis::Log, FrequencyAxis::Mel];

#[track_caller]
fn check(picture: &Picture) {
    let Picture { width, height, ref rgb, .. } = *picture;
    assert_eq!(rgb.len(), 3 * width * height);
    let overlap =
        |a: &Label, b: &Label| a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    for (i, a) in picture.labels.iter().enumerate() {
        let inside = a.left >= 0.0 && a.top >= 0.0;
        assert!(inside && a.right <= width as f32 && a.bottom <= height as f32, "{a:?} is cut");
        for b in &picture.labels[i + 1..] {
            assert!(!overlap(a, b), "{a:?} and {b:?} overlap");
        }
    }
}

fn ramp(shape: (usize, usize)) -> Array2<f32> {
    Array2::from_shape_fn(shape, |(f, t)| 1.0 / (1.0 + f as f32 + (t % 17) as f32))
}

fn has(picture: &Picture, text: &str) -> bool {
    picture.labels.iter().any(|label| label.text.contains(text))
}

#[test]
fn spectrograms_of_any_length_and_rate() {
    for sample_rate in [4000, 44100, 192000] {
        for (bins, frames) in [(1, 1), (2, 1), (1, 50), (9, 3), (513, 200), (2049, 30)] {
            // from 10 ms to 3 hours, whatever the number of frames
            for seconds in [0.01, 0.7, 100.0, 3599.0, 10800.0] {
                let fft = 2 * (bins - 1).max(1);
                let hop = (seconds * f64::from(sample_rate)) as usize / frames;
                let grid = StftGrid { sample_rate, fft, hop };
                for frequency_axis in AXES {
                    let plot = SpectrogramPlot { frequency_axis, ..SpectrogramPlot::new(LONG, grid) };
                    if seconds == 0.7 {
                        check(&spectrogram(ramp((bins, frames)).view(), &plot));
                    } else {
                        // the axes do not depend on the number of bins alone: few pixels suffice
                        check(&mask(ramp((bins.min(9), frames)).view(), &plot));
                    }
                }
            }
        }
    }
}

#[test]
fn grids_of_many_sources_and_of_different_shapes() {
    let grid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };
    let (power, short, empty) = (ramp((513, 90)), ramp((513, 10)), Array2::zeros((0, 0)));
    for n in [0, 1, 3, 6, 12, 70] {
        let source = |i: usize| [(LONG, power.view()), ("", short.view()), ("none", empty.view())][i % 3];
        let sources: Vec<_> = (0..n).map(source).collect();
        for frequency_axis in AXES {
            let plot = SpectrogramPlot { frequency_axis, ..SpectrogramPlot::new("Title", grid) };
            let picture = spectrogram_grid(power.view(), &sources, &plot);
            check(&picture);
            assert_eq!(has(&picture, "of 71"), n == 70);
        }
    }
}

#[test]
fn sources_share_the_reference_of_the_mixture() {
    let grid = StftGrid { sample_rate: 16000, fft: 64, hop: 32 };
    let (loud, quiet) = (Array2::from_elem((33, 9), 1.0f32), Array2::from_elem((33, 9), 1e-4f32));
    let plot = SpectrogramPlot::new("", grid);
    let middle = |picture: &Picture| {
        let at = 3 * (picture.width * (picture.height / 3) + picture.width / 2);
        picture.rgb[at..at + 3].to_vec()
    };
    let alone = spectrogram(quiet.view(), &plot);
    let shared = SpectrogramPlot { reference: Some(1.0), ..plot };
    assert_eq!(middle(&alone), middle(&spectrogram(loud.view(), &shared)));
    assert_ne!(middle(&alone), middle(&spectrogram(quiet.view(), &shared)));
}

#[test]
fn absurd_spectrograms() {
    let grid = StftGrid { sample_rate: 0, fft: 0, hop: 0 };
    for (shape, note) in [((0, 0), "no data"), ((0, 5), "no data"), ((5, 0), "no data")] {
        let picture = spectrogram(Array2::<f64>::zeros(shape).view(), &SpectrogramPlot::new("", grid));
        check(&picture);
        assert!(has(&picture, note));
    }
    for value in [0.0, -1.0, 1e-300, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut power = Array2::from_elem((9, 9).f(), value);
        for db_range in [80.0, 0.0, -3.0, f64::NAN, 1e-9, 1e9] {
            let reference = Some(value);
            let plot = SpectrogramPlot { db_range, reference, ..SpectrogramPlot::new("x", grid) };
            let picture = spectrogram(power.view(), &plot);
            check(&picture);
            assert_eq!(has(&picture, "not finite"), !value.is_finite());
            check(&mask(power.view(), &plot));
        }
        power[(0, 0)] = f64::NAN;
        assert!(has(&spectrogram(power.view(), &SpectrogramPlot::new("x", grid)), "not finite"));
    }
}

#[test]
fn factors_of_any_size() {
    for k in [1, 2, 5, 12, 13, 21, 500] {
        for (sample_rate, bins, frames, hop) in
            [(4000, 1, 1, 256), (44100, 65, 300, 1_600_000), (192000, 33, 40, 48)]
        {
            let grid = StftGrid { sample_rate, fft: 2 * bins, hop };
            let (w, mut h) = (ramp((bins, k)), ramp((k, frames)));
            h.row_mut(k - 1).fill(0.0);
            h[(0, 0)] = f32::NAN;
            let source_of: Vec<usize> = (0..k).map(|i| i % 11).collect();
            let names = [LONG; 5];
            for (source_of, source_names) in
                [(&source_of[..], &names[..]), (&source_of[..1], &[]), (&[], &[])]
            {
                for frequency_axis in AXES {
                    let plot = FactorPlot {
                        source_of,
                        source_names,
                        frequency_axis,
                        quantity: Quantity::Magnitude,
                        ..FactorPlot::new(LONG, grid)
                    };
                    check(&dictionary(w.view(), &plot));
                    let picture = activations(h.view(), &plot);
                    check(&picture);
                    assert!(has(&picture, "not finite"));
                    let both = Factors { w: w.view(), h: h.view() };
                    check(&factors(both, both, &plot));
                }
            }
        }
    }
}

#[test]
fn factors_of_nothing_or_of_different_sizes() {
    let grid = StftGrid { sample_rate: 16000, fft: 64, hop: 32 };
    let plot = FactorPlot::new("x", grid);
    let (w, h) = (ramp((33, 3)), ramp((3, 40)));
    let (w2, h2) = (ramp((33, 30)), ramp((30, 4)));
    let empty = Array2::<f32>::zeros((0, 0));
    let nothing = Factors { w: empty.view(), h: empty.view() };
    let few = Factors { w: w.view(), h: h.view() };
    let many = Factors { w: w2.view(), h: h2.view() };
    check(&dictionary(empty.view(), &plot));
    check(&activations(Array2::<f32>::zeros((0, 5)).view(), &plot));
    for (a, b) in [(nothing, nothing), (few, nothing), (nothing, many), (few, many), (many, few)] {
        check(&factors(a, b, &plot));
    }
}

#[test]
fn costs_of_any_kind() {
    let falling: Vec<f64> = (0..5000).map(|i| 1e5 / f64::from(i + 1)).collect();
    let near: Vec<f64> = (0..50).map(|i| 1e9 + f64::from(i) * 0.1).collect();
    let lists: [&[f64]; 9] = [
        &[],
        &[1.0],
        &[0.0, 0.0],
        &[f64::NAN],
        &[f64::INFINITY, -1.0],
        &[1e30, 1e-30],
        &[-1e300, 1e300],
        &falling,
        &near,
    ];
    for values in lists {
        check(&cost_curve(LONG, values));
        check(&cost_curves("", LONG, &[(LONG, values), ("b", &falling), (LONG, &near)]));
    }
    assert!(has(&cost_curve("", &[]), "no data"));
    check(&cost_curves("Many", "Cost", &[(LONG, &falling[..9]); 60]));
    check(&cost_curves("None", "Cost", &[]));
    // a factor of 100 between positive values: powers of ten; negative ones: no logarithm
    assert!(has(&cost_curve("", &[2e6, 3e3]), "10⁵"));
    assert!(has(&cost_curve("", &[2e6, -3e3]), "(×10⁶)"));
}

#[test]
fn waveforms_of_any_length() {
    for rate in [0, 4000, 192000] {
        for n in [0, 1, 80, 50_000] {
            for channels in [0, 1, 2, 4, 9] {
                for scale in [0.0, 1.0, 1e-30, 1e30, f32::NAN] {
                    let sample = |(c, t): (usize, usize)| ((t * (c + 1)) as f32 * 0.01).sin() * scale;
                    let w = Waveform::new(Array2::from_shape_fn((channels, n), sample), rate);
                    check(&waveforms(LONG, &[(LONG, &w), ("", &w)]));
                }
            }
        }
    }
    let hours = Waveform::new(Array2::zeros((2, 3 * 3600 * 100)), 100);
    check(&waveforms("", &[("long", &hours)]));
    check(&waveforms("", &[("many", &Waveform::mono(vec![0.5; 90], 8000)); 60]));
    check(&waveforms("", &[]));
}

#[test]
fn bars_of_any_number() {
    let values: Vec<f64> = (0..100).map(|i| f64::from(i * 37 % 41) - 15.0).collect();
    let odd = [f64::NAN, f64::INFINITY, 0.0, -0.0, 1e30, -1e-30];
    for n_groups in [0, 1, 2, 5, 20, 100] {
        for n_series in [0, 1, 3, 60] {
            for name in ["a", LONG] {
                for values in [&values[..], &odd, &values[..1], &[-3.0, -4.0], &[0.0]] {
                    for errors in [None, Some(&[1.5, f64::NAN, -2.0][..])] {
                        let series = vec![BarSeries { name, values, errors }; n_series];
                        let groups = vec![name; n_groups];
                        let plot =
                            BarPlot { title: LONG, y_title: "SDR (dB)", groups: &groups, series: &series };
                        check(&bars(&plot));
                    }
                }
            }
        }
    }
}

#[test]
fn the_same_data_give_the_same_bytes() {
    let grid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };
    let draw = || spectrogram(ramp((513, 90)).view(), &SpectrogramPlot::new("Twice", grid)).to_png();
    assert!(draw() == draw());
}

#[test]
fn a_png_decodes_to_the_pixels() {
    let grid = StftGrid { sample_rate: 16000, fft: 1024, hop: 256 };
    let plot = SpectrogramPlot::new("Ramp", grid);
    for picture in [spectrogram(ramp((513, 90)).view(), &plot), cost_curve("", &[3.0, 2.0]), bars(&NO_BARS)] {
        let png = picture.to_png();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
        assert!(pixels == picture.rgb);
    }
}

const NO_BARS: BarPlot = BarPlot { title: "", y_title: "", groups: &[], series: &[] };

#[test]
fn boxes_of_any_number_and_value() {
    let names: Vec<String> =
        (0..60).map(|i| if i % 7 == 3 { LONG.into() } else { format!("s{i}") }).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for scale in [1e-9, 1.0, 40.0, 1e12, 1e300] {
        for (n_groups, n_series) in [(1, 1), (4, 3), (1, 60), (60, 2)] {
            for n_values in [0, 1, 5, 40] {
                let value = |g: usize, i: usize| match (g + i) % 11 {
                    5 => f64::NAN,
                    6 => f64::INFINITY,
                    k => scale * (k as f64 - 3.0) * (1.0 + (i % 5) as f64),
                };
                let values: Vec<Vec<f64>> =
                    (0..n_groups).map(|g| (0..n_values).map(|i| value(g, i)).collect()).collect();
                let series: Vec<BoxSeries> =
                    names[..n_series].iter().map(|name| BoxSeries { name, values: &values }).collect();
                let groups = &names[..n_groups];
                check(&boxes(&BoxPlot {
                    title: LONG,
                    x_title: LONG,
                    y_title: "SDR (dB)",
                    groups,
                    series: &series,
                }));
            }
        }
    }
    let missing = [BoxSeries { name: "a", values: &[vec![1.0]] }];
    let picture = boxes(&BoxPlot {
        title: "",
        x_title: "lag (ms)",
        y_title: "",
        groups: &["x", "y"],
        series: &missing,
    });
    assert!(has(&picture, "n/a") && has(&picture, "lag (ms)"));
}

#[test]
fn score_curves_of_any_length_and_value() {
    for iterations in [vec![], vec![1.0], vec![1.0, 3.0, 5.0], vec![1.0, 3.0, 10.0, 30.0, 100.0, 250.0]] {
        for scale in [1e-9, 1.0, 30.0, 1e12, 1e300] {
            let values: Vec<f64> = (0..iterations.len()).map(|i| scale * (i as f64 - 2.0)).collect();
            let broken: Vec<f64> =
                values.iter().enumerate().map(|(i, x)| if i == 1 { f64::NAN } else { *x }).collect();
            check(&score_curves(LONG, "SI-SDR (dB)", &iterations, &[(LONG, &values), ("b", &broken)]));
        }
    }
    check(&score_curves("", "", &[1.0, 2.0], &[]));
}

#[test]
fn scenes_of_any_shape() {
    let decay: Vec<f64> = (0..9000).map(|t| -f64::from(t) / 100.0).collect();
    let silent = vec![f64::NAN; 10];
    for room in [
        None,
        Some([6.0, 4.4]),
        Some([0.5, 90.0]),
        Some([90.0, 0.5]),
        Some([f64::NAN, 1.0]),
        Some([0.0, 3.0]),
    ] {
        // many sources once: they take their time
        let counts: &[usize] = if room.is_none() { &[0, 1, 60] } else { &[0, 1, 3] };
        for &n in counts {
            for decays in [vec![], vec![decay.clone(); n], vec![silent.clone(); n], vec![vec![]; n]] {
                let names = vec![LONG; n];
                let sources = [[0.4, 0.3], [f64::NAN, 1.0], [1e9, -1e9]];
                let picture = scene(&ScenePlot {
                    title: "T60 300 ms",
                    names: &names,
                    room,
                    microphones: &sources[..n.min(2)],
                    sources: &sources[..n.min(3)],
                    decays: &decays,
                    sample_rate: if n == 1 { 0 } else { 16000 },
                });
                check(&picture);
            }
        }
    }
}

#[test]
fn learning_curves_of_any_length_and_value() {
    let panel = |curves| LearningPanel { y_title: LONG, curves };
    for n in [0, 1, 2, 300] {
        let curve: Vec<(f64, f64)> = (1..=n).map(|e| (e as f64, 1.0 / e as f64)).collect();
        let mut broken = curve.clone();
        broken.iter_mut().step_by(3).for_each(|point| point.1 = f64::NAN);
        let both = [panel(vec![("a", curve), (LONG, broken.clone())]), panel(vec![("b", broken)])];
        check(&learning_curves(LONG, "Epoch", &both));
        check(&learning_curves("", "", &both[..1]));
    }
    check(&learning_curves("", "", &[]));
}
