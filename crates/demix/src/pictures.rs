//! Which pictures show a separation.

use demix_figure::{
    FactorPlot, Factors as FactorView, FrequencyAxis, Quantity, SpectrogramPlot, StftGrid, cost_curve,
    factors, mask, spectrogram, spectrogram_grid, waveforms,
};
use demix_signal::{Stft, Waveform};
use ndarray::{Array2, Axis};

use crate::pipeline::separate::thinned_power;
use crate::separation::{Factors, Outcome, SeparationError, Source};

/// Sources that are drawn beside each other; more would be too small to read.
pub(crate) const MOST_SOURCES: usize = 12;
/// Columns of a mask that are drawn.
const MOST_FRAMES: usize = 4000;

/// File names and PNG files of a separation: the mixture's spectrogram, those of the sources beside it,
/// waveforms, cost, and for factorisations the factors at start and end and the masks.
///
/// `signals` are the sources by name, as in `sources`.
///
/// # Errors
/// A transform that cannot be applied.
pub fn of_separation(
    mixture: &Waveform,
    stft: &Stft<f32>,
    outcome: &Outcome,
    sources: &[Source],
    signals: &[(&str, &Waveform)],
) -> Result<Vec<(String, Vec<u8>)>, SeparationError> {
    let mut pictures = Vec::new();
    let mut add =
        |name: &str, picture: demix_figure::Picture| pictures.push((name.to_string(), picture.to_png()));
    let (power, every) = thinned_power(stft, mixture)?;
    let settings = stft.settings();
    let (fft, hop) = (settings.fft.unwrap_or(2), settings.hop.unwrap_or(1));
    let grid = StftGrid { sample_rate: mixture.sample_rate, fft, hop: hop * every };
    let plot =
        |title| SpectrogramPlot { frequency_axis: FrequencyAxis::Mel, ..SpectrogramPlot::new(title, grid) };
    add("mixture.png", spectrogram(power.view(), &plot("Mixture")));

    let shown = &sources[..sources.len().min(MOST_SOURCES)];
    let mut powers: Vec<Array2<f32>> = Vec::new();
    for source in shown {
        powers.push(thinned_power(stft, &source.image)?.0);
    }
    let panels: Vec<_> = shown.iter().map(|s| s.name.as_str()).zip(powers.iter().map(|p| p.view())).collect();
    let title = if shown.len() < sources.len() {
        format!("Mixture and the first {} of {} sources", shown.len(), sources.len())
    } else {
        "Mixture and sources".to_string()
    };
    add("sources.png", spectrogram_grid(power.view(), &panels, &plot(&title)));
    drop(panels);
    drop(powers);

    let signals = &signals[..signals.len().min(MOST_SOURCES)];
    let all: Vec<_> = std::iter::once(("mixture", mixture)).chain(signals.iter().copied()).collect();
    add("waveforms.png", waveforms("Waveforms", &all));
    if !outcome.cost.is_empty() {
        add("cost.png", cost_curve("Cost", &outcome.cost));
    }
    if let Some(found) = &outcome.factors {
        of_factors(found, grid, hop, sources, &mut pictures);
    }
    Ok(pictures)
}

fn of_factors(
    found: &Factors,
    grid: StftGrid,
    hop: usize,
    sources: &[Source],
    pictures: &mut Vec<(String, Vec<u8>)>,
) {
    let mut add =
        |name: &str, picture: demix_figure::Picture| pictures.push((name.to_string(), picture.to_png()));
    let found = &by_source(found);
    let result = &found.factorization;
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let grouped = names.len() < found.source_of.len();
    let plot = FactorPlot {
        quantity: if found.exponent < 1.5 { Quantity::Magnitude } else { Quantity::Power },
        frequency_axis: FrequencyAxis::Mel,
        source_of: &found.source_of,
        source_names: if grouped { &names } else { &[] },
        ..FactorPlot::new("Dictionary and activations, at start and end", StftGrid { hop, ..grid })
    };
    let before = FactorView { w: result.start_dictionary.view(), h: result.start_activations.view() };
    let after = FactorView { w: result.dictionary.view(), h: result.activations.view() };
    add("factors.png", factors(before, after, &plot));

    let frames: Vec<usize> = (0..result.activations.ncols())
        .step_by(result.activations.ncols().div_ceil(MOST_FRAMES).max(1))
        .collect();
    let step = frames.get(1).copied().unwrap_or(1);
    let mut thin = found.clone();
    thin.factorization.activations = result.activations.select(Axis(1), &frames);
    for (source, name) in names.iter().enumerate().take(MOST_SOURCES) {
        let share = thin.mask(source, names.len(), 0..frames.len());
        let title = format!("Mask of {name}");
        let plot = SpectrogramPlot {
            frequency_axis: FrequencyAxis::Mel,
            ..SpectrogramPlot::new(&title, StftGrid { hop: hop * step, ..grid })
        };
        add(&format!("mask-{}.png", crate::pipeline::separate::safe_name(name)), mask(share.view(), &plot));
    }
}

/// The same factors with the components of each source side by side.
fn by_source(found: &Factors) -> Factors {
    let mut order: Vec<usize> = (0..found.source_of.len()).collect();
    order.sort_by_key(|&k| found.source_of[k]);
    let mut sorted = found.clone();
    let result = &mut sorted.factorization;
    result.dictionary = result.dictionary.select(Axis(1), &order);
    result.start_dictionary = result.start_dictionary.select(Axis(1), &order);
    result.activations = result.activations.select(Axis(0), &order);
    result.start_activations = result.start_activations.select(Axis(0), &order);
    sorted.source_of = order.iter().map(|&k| found.source_of[k]).collect();
    sorted
}
