//! What is drawn: spectrograms, factors at start and end, masks, scores.

use demix_figure::{
    BarPlot, BarSeries, FactorPlot, Factors, FrequencyAxis, Picture, Quantity, SpectrogramPlot, StftGrid,
    bars, factors, mask, spectrogram_grid,
};
use demix_signal::{Stft, StftError, StftSettings, Waveform};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

use super::songs::Stem;
use super::synth::SAMPLE_RATE;
use super::{Attempt, Illustration};
use crate::separation::{Separation, SeparationError};

/// What all pictures of a case have in common.
pub struct Drawing<'a> {
    /// Of the files.
    pub folder: &'a str,
    /// The piece.
    pub mixture: &'a Waveform,
    /// Of the spectrograms.
    pub transform: StftSettings,
}

/// A picture, encoded.
pub struct Drawn {
    /// Where it goes and what it says.
    pub illustration: Illustration,
    /// The file.
    pub png: Vec<u8>,
}

/// A picture to be drawn.
struct Sketch<'a> {
    path: String,
    caption: String,
    alt: String,
    draw: Box<dyn Fn() -> Picture + Send + Sync + 'a>,
}

fn draw_all(sketches: Vec<Sketch<'_>>) -> Vec<Drawn> {
    let draw = |sketch: Sketch<'_>| {
        let picture = (sketch.draw)();
        let Sketch { path, caption, alt, .. } = sketch;
        let size = (picture.width, picture.height);
        Drawn { illustration: Illustration { path, caption, alt, size }, png: picture.to_png() }
    };
    sketches.into_par_iter().map(draw).collect()
}

impl Drawing<'_> {
    fn grid(&self) -> StftGrid {
        let length = |x: Option<usize>| x.expect("the demo names its lengths");
        StftGrid {
            sample_rate: SAMPLE_RATE,
            fft: length(self.transform.fft),
            hop: length(self.transform.hop),
        }
    }

    fn power(&self, sound: &Waveform) -> Result<Array2<f32>, StftError> {
        Ok(Stft::<f32>::new(&self.transform)?.forward(sound)?.mean_magnitude(2.0))
    }

    fn spectrogram_plot<'t>(&self, title: &'t str) -> SpectrogramPlot<'t> {
        SpectrogramPlot { frequency_axis: FrequencyAxis::Mel, ..SpectrogramPlot::new(title, self.grid()) }
    }

    /// The mixture above named sounds.
    fn spectrograms(&self, title: &str, sounds: &[(&str, &Waveform)]) -> Result<Picture, StftError> {
        let mixture = self.power(self.mixture)?;
        let powers = sounds.iter().map(|(_, sound)| self.power(sound)).collect::<Result<Vec<_>, _>>()?;
        let panels: Vec<_> =
            sounds.iter().zip(&powers).map(|((name, _), power)| (*name, power.view())).collect();
        Ok(spectrogram_grid(mixture.view(), &panels, &self.spectrogram_plot(title)))
    }

    /// Dictionary and activations at start and end, components in the order of their sources.
    fn factors(&self, title: &str, names: &[&str], separation: &Separation) -> Option<Picture> {
        let found = separation.outcome.factors.as_ref()?;
        let mut order: Vec<usize> = (0..found.source_of.len()).collect();
        order.sort_by_key(|&k| found.source_of[k]);
        let source_of: Vec<usize> = order.iter().map(|&k| found.source_of[k]).collect();
        let columns = |w: &Array2<f32>| w.select(Axis(1), &order);
        let rows = |h: &Array2<f32>| h.select(Axis(0), &order);
        let f = &found.factorization;
        let (w_start, h_start) = (columns(&f.start_dictionary), rows(&f.start_activations));
        let (w_end, h_end) = (columns(&f.dictionary), rows(&f.activations));
        let plot = FactorPlot {
            quantity: if found.exponent == 2.0 { Quantity::Power } else { Quantity::Magnitude },
            frequency_axis: FrequencyAxis::Mel,
            source_of: &source_of,
            source_names: names,
            ..FactorPlot::new(title, self.grid())
        };
        let start = Factors { w: w_start.view(), h: h_start.view() };
        Some(factors(start, Factors { w: w_end.view(), h: h_end.view() }, &plot))
    }
}

/// The mixture with the references, and the scores.
pub fn of_case(
    drawing: &Drawing<'_>,
    stems: &[Stem],
    attempts: &[(Attempt, Separation)],
) -> Result<Vec<Drawn>, SeparationError> {
    let sounds: Vec<(&str, &Waveform)> = stems.iter().map(|stem| (&*stem.name, &stem.sound)).collect();
    let spectrograms = drawing.spectrograms("Mixture and references", &sounds)?;
    let groups: Vec<&str> = stems.iter().map(|stem| &*stem.name).collect();
    let scores: Vec<Vec<f64>> = attempts
        .iter()
        .map(|(attempt, _)| attempt.sources.iter().map(|source| source.si_sdr).collect())
        .collect();
    // the last attempt knows all stems
    let mixture: Vec<f64> = attempts.last().map_or(Vec::new(), |(attempt, _)| {
        attempt.sources.iter().map(|source| source.mixture_si_sdr).collect()
    });
    let series: Vec<BarSeries<'_>> = std::iter::once(("mixture", &mixture))
        .chain(attempts.iter().map(|(attempt, _)| attempt.name).zip(&scores))
        .map(|(name, values)| BarSeries { name, values, errors: None })
        .collect();
    let plot = BarPlot { title: "Scores", y_title: "SI-SDR (dB)", groups: &groups, series: &series };
    let folder = drawing.folder;
    Ok(draw_all(vec![
        Sketch {
            path: format!("{folder}/references.png"),
            caption: "The mixture and what it is made of".into(),
            alt: format!("Spectrograms of the mixture and of the references {}", groups.join(", ")),
            draw: Box::new(move || spectrograms.clone()),
        },
        Sketch {
            path: format!("{folder}/scores.png"),
            caption: "Scores of mixture and separated sources: higher is better".into(),
            alt: "Bars of the scores in the table".into(),
            draw: Box::new(|| bars(&plot)),
        },
    ]))
}

/// Separated sources, factors and masks of each attempt.
pub fn of_attempts(
    drawing: &Drawing<'_>,
    attempts: &[(Attempt, Separation)],
) -> Result<Vec<Vec<Drawn>>, SeparationError> {
    attempts.iter().map(|(attempt, separation)| of_attempt(drawing, attempt, separation)).collect()
}

fn of_attempt(
    drawing: &Drawing<'_>,
    attempt: &Attempt,
    separation: &Separation,
) -> Result<Vec<Drawn>, SeparationError> {
    let names: Vec<&str> = attempt.sources.iter().map(|source| &*source.name).collect();
    let listed = names.join(", ");
    let folder = format!("{}/{}", drawing.folder, attempt.id);
    let sounds: Vec<_> = names.iter().copied().zip(separation.sources.iter().map(|s| &s.image)).collect();
    let title = format!("Separated, {}", attempt.name);
    let spectrograms = drawing.spectrograms(&title, &sounds)?;
    let mut sketches = vec![Sketch {
        path: format!("{folder}/sources.png"),
        caption: "The mixture and what was separated".into(),
        alt: format!("Spectrograms of the mixture and of the separated {listed}"),
        draw: Box::new(move || spectrograms.clone()),
    }];
    let title = format!("Dictionary and activations, {}", attempt.name);
    if let Some(picture) = drawing.factors(&title, &names, separation) {
        sketches.push(Sketch {
            path: format!("{folder}/factors.png"),
            caption: "Dictionary (above) and activations (below), at the start and at the end".into(),
            alt: format!("Spectra and activations of the components of {listed}, before and after"),
            draw: Box::new(move || picture.clone()),
        });
    }
    if let Some(found) = &separation.outcome.factors {
        let n_frames = found.factorization.activations.ncols();
        for (n, &name) in names.iter().enumerate() {
            let title = format!("Mask of {name}, {}", attempt.name);
            let n_sources = names.len();
            sketches.push(Sketch {
                path: format!("{folder}/mask-{name}.png"),
                caption: format!("Mask of {name}: its share of the mixture"),
                alt: format!("Mask of {name} over time and frequency, from 0 to 1"),
                draw: Box::new(move || {
                    let share = found.mask(n, n_sources, 0..n_frames);
                    mask(share.view(), &drawing.spectrogram_plot(&title))
                }),
            });
        }
    }
    Ok(draw_all(sketches))
}
