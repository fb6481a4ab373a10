//! Components into sources without training.
//!
//! A factorisation explains a source by several components; which belong together is guessed from how alike
//! they sound (timbre) and how alike they come and go (activity).

use demix_signal::mel::mel_bands;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::{Acceleration, Nmf, NmfError, NmfSettings};

demix_signal::choices! {
    /// How components are gathered into sources.
    pub enum Grouping {
        /// By timbre and activity together.
        Both = "both",
        /// By the mel-cepstral shape of their spectra.
        Timbre = "timbre",
        /// By the correlation of their activations.
        Activity = "activity",
        /// By a second factorisation, of their mel spectra (Spiertz and Gnann 2009).
        MelNmf = "mel-nmf",
        /// Not at all: every component is a source.
        None = "none",
    }
}

/// Bands of the mel spectrum.
const MEL_BANDS: usize = 24;
/// Cepstral coefficients that describe a timbre; the first, loudness, is left out.
const CEPSTRA: usize = 13;
/// Quietest level of a band below the loudest of its component, in dB.
const BAND_RANGE: f64 = 60.0;

/// The source of every component, 0..`n_sources`; source 0 has most energy.
///
/// `dictionary` is (bins, components), `activations` (components, frames). With [`Grouping::None`] every
/// component is its own source.
///
/// # Errors
/// More sources than components.
pub fn group(
    dictionary: ArrayView2<'_, f64>,
    activations: ArrayView2<'_, f64>,
    sample_rate: u32,
    n_sources: usize,
    grouping: Grouping,
) -> Result<Vec<usize>, NmfError> {
    let n_components = dictionary.ncols();
    if n_sources > n_components {
        return Err(NmfError::TooFewComponents { components: n_components, sources: n_sources });
    }
    let labels = match grouping {
        Grouping::None => return Ok((0..n_components).collect()),
        Grouping::MelNmf => mel_nmf(dictionary, sample_rate, n_sources)?,
        Grouping::Both => {
            let timbre = timbre(dictionary, sample_rate);
            let activity = activity(activations);
            let both = ndarray::concatenate![Axis(1), timbre, activity];
            ward(&both, n_sources)
        }
        Grouping::Timbre => ward(&timbre(dictionary, sample_rate), n_sources),
        Grouping::Activity => ward(&activity(activations), n_sources),
    };
    Ok(by_energy(&labels, n_sources, dictionary, activations))
}

/// Renames the sources so that the loudest is 0.
fn by_energy(
    labels: &[usize],
    n_sources: usize,
    dictionary: ArrayView2<'_, f64>,
    activations: ArrayView2<'_, f64>,
) -> Vec<usize> {
    let mut energy = vec![0.0; n_sources];
    for (k, &label) in labels.iter().enumerate() {
        energy[label] += dictionary.column(k).sum() * activations.row(k).sum();
    }
    let mut order: Vec<usize> = (0..n_sources).collect();
    order.sort_by(|&a, &b| energy[b].total_cmp(&energy[a]));
    let mut rank = vec![0; n_sources];
    order.iter().enumerate().for_each(|(place, &label)| rank[label] = place);
    labels.iter().map(|&label| rank[label]).collect()
}

/// Mel-cepstral coefficients of every column, standardised to unit length: (components, `CEPSTRA`).
fn timbre(dictionary: ArrayView2<'_, f64>, sample_rate: u32) -> Array2<f64> {
    let bands = mel_bands(MEL_BANDS, dictionary.nrows(), sample_rate).dot(&dictionary);
    let mut features = Array2::zeros((dictionary.ncols(), CEPSTRA));
    for (column, mut feature) in bands.columns().into_iter().zip(features.rows_mut()) {
        let peak = column.fold(0.0f64, |p, &x| p.max(x));
        if peak <= 0.0 {
            continue;
        }
        let level = column.mapv(|x| 20.0 * (x / peak).max(1e-30).log10()).mapv(|db| db.max(-BAND_RANGE));
        for (q, x) in feature.iter_mut().enumerate() {
            let cosine = |band: usize| {
                (std::f64::consts::PI * (q + 1) as f64 * (band as f64 + 0.5) / MEL_BANDS as f64).cos()
            };
            *x = level.iter().enumerate().map(|(band, db)| db * cosine(band)).sum();
        }
        unit_length(&mut feature.view_mut());
    }
    features
}

/// Square roots of the activations less their mean, at unit length: distances become correlations.
fn activity(activations: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut features = activations.mapv(|h| h.max(0.0).sqrt());
    for mut row in features.rows_mut() {
        let mean = row.mean().unwrap_or(0.0);
        row -= mean;
        unit_length(&mut row);
    }
    features
}

fn unit_length(x: &mut ndarray::ArrayViewMut1<'_, f64>) {
    let norm = x.dot(x).sqrt();
    if norm > 0.0 {
        *x /= norm;
    }
}

/// Agglomerative clustering that adds least to the squared distances from the centres (Ward 1963).
fn ward(features: &Array2<f64>, n_groups: usize) -> Vec<usize> {
    let mut clusters: Vec<(Array1<f64>, Vec<usize>)> =
        features.outer_iter().enumerate().map(|(k, row)| (row.to_owned(), vec![k])).collect();
    while clusters.len() > n_groups {
        let mut best = (f64::INFINITY, 0, 0);
        for a in 0..clusters.len() {
            for b in a + 1..clusters.len() {
                let (na, nb) = (clusters[a].1.len() as f64, clusters[b].1.len() as f64);
                let gap = &clusters[a].0 - &clusters[b].0;
                let growth = na * nb / (na + nb) * gap.dot(&gap);
                if growth < best.0 {
                    best = (growth, a, b);
                }
            }
        }
        let (_, a, b) = best;
        let (centre, members) = clusters.swap_remove(b);
        let (na, nb) = (clusters[a].1.len() as f64, members.len() as f64);
        clusters[a].0 = (&clusters[a].0 * na + centre * nb) / (na + nb);
        clusters[a].1.extend(members);
    }
    let mut labels = vec![0; features.nrows()];
    for (label, (_, members)) in clusters.iter().enumerate() {
        members.iter().for_each(|&k| labels[k] = label);
    }
    labels
}

/// The component's largest activation when the mel spectra of all components are factorised again.
fn mel_nmf(
    dictionary: ArrayView2<'_, f64>,
    sample_rate: u32,
    n_sources: usize,
) -> Result<Vec<usize>, NmfError> {
    let mut mel = mel_bands(MEL_BANDS, dictionary.nrows(), sample_rate).dot(&dictionary);
    for mut column in mel.columns_mut() {
        let peak = column.fold(0.0f64, |p, &x| p.max(x));
        if peak > 0.0 {
            column.mapv_inplace(|x| x / peak);
        }
    }
    let nmf = Nmf::new(NmfSettings {
        components: n_sources,
        iterations: 200,
        restarts: 10,
        acceleration: Acceleration::None,
        ..NmfSettings::default()
    })?;
    let found = nmf.factorize(mel.view(), &mut ())?;
    let mut labels: Vec<usize> = found
        .activations
        .columns()
        .into_iter()
        .map(|h| (0..n_sources).max_by(|&a, &b| h[a].total_cmp(&h[b])).unwrap_or(0))
        .collect();
    // a source that no component chose takes the one that is nearest to choosing it
    for source in 0..n_sources {
        if labels.contains(&source) {
            continue;
        }
        let shares = found.activations.sum_axis(Axis(0));
        let free = (0..labels.len()).filter(|&k| labels.iter().filter(|&&l| l == labels[k]).count() > 1);
        let share = |k: usize| found.activations[[source, k]] / shares[k].max(f64::MIN_POSITIVE);
        if let Some(k) = free.max_by(|&a, &b| share(a).total_cmp(&share(b))) {
            labels[k] = source;
        }
    }
    Ok(labels)
}

/// The columns of W and rows of H of one source, by the labels of [`group`].
pub fn members(labels: &[usize], source: usize) -> Vec<usize> {
    (0..labels.len()).filter(|&k| labels[k] == source).collect()
}

/// A dictionary's columns with the given indices, (bins, members).
pub fn select_columns<T: Copy + Default>(matrix: ArrayView2<'_, T>, columns: &[usize]) -> Array2<T> {
    let mut out = Array2::default((matrix.nrows(), columns.len()));
    for (n, &k) in columns.iter().enumerate() {
        out.slice_mut(s![.., n]).assign(&matrix.column(k));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two instruments of two notes each: low spectra that decay slowly, high ones that tick.
    fn band() -> (Array2<f64>, Array2<f64>) {
        let peak = |bin: usize, centre: f64, width: f64| (-((bin as f64 - centre) / width).powi(2)).exp();
        let centres = [20.0, 300.0, 26.0, 340.0];
        let dictionary = Array2::from_shape_fn((513, 4), |(bin, k)| {
            peak(bin, centres[k], if k % 2 == 0 { 6.0 } else { 60.0 }) + 1e-6
        });
        let activations = Array2::from_shape_fn((4, 200), |(k, frame)| match k {
            0 => (-((frame % 50) as f64) / 20.0).exp(),
            2 => 0.9 * (-((frame % 50) as f64) / 22.0).exp(),
            _ => {
                if frame % 10 == k / 2 {
                    0.5
                } else {
                    0.01
                }
            }
        });
        (dictionary, activations)
    }

    #[test]
    fn components_of_one_instrument_come_together() {
        let (w, h) = band();
        for grouping in [Grouping::Both, Grouping::Timbre, Grouping::MelNmf] {
            let labels = group(w.view(), h.view(), 16000, 2, grouping).unwrap();
            assert_eq!(labels, [0, 1, 0, 1], "{grouping}");
        }
        let labels = group(w.view(), h.view(), 16000, 3, Grouping::Activity).unwrap();
        assert_eq!(labels[0], labels[2]);
        assert_eq!(group(w.view(), h.view(), 16000, 4, Grouping::None).unwrap(), [0, 1, 2, 3]);
        assert!(group(w.view(), h.view(), 16000, 5, Grouping::Both).is_err());
    }

    #[test]
    fn every_source_has_a_component_even_where_nothing_tells_them_apart() {
        let (w, h) = (Array2::ones((33, 5)), Array2::zeros((5, 9)));
        for grouping in [Grouping::Both, Grouping::Timbre, Grouping::Activity, Grouping::MelNmf] {
            let labels = group(w.view(), h.view(), 8000, 3, grouping).unwrap();
            assert!((0..3).all(|source| labels.contains(&source)), "{grouping}: {labels:?}");
        }
    }
}
