//! Components into sources without training.
//!
//! A factorisation explains a source by several components; which belong together is guessed from how they
//! sound (character, timbre) and from when they come and go (activity).

use demix_signal::mel::mel_bands;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use crate::{Acceleration, Nmf, NmfError, NmfSettings};

demix_signal::choices! {
    /// How components are gathered into sources.
    pub enum Grouping {
        /// By how noisy their spectra are and how suddenly they sound: drums from voices from strings. The best
        /// of these guesses on pairs of instruments, and still far from knowing which component is whose.
        Character = "character",
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
    let energy: Vec<f64> =
        (0..n_components).map(|k| dictionary.column(k).sum() * activations.row(k).sum()).collect();
    let even = vec![1.0; n_components];
    let labels = match grouping {
        Grouping::Character => {
            let weight: Vec<f64> = energy.iter().map(|e| e.sqrt()).collect();
            ward(&character(dictionary, activations, &energy), &weight, n_sources)
        }
        Grouping::None => return Ok((0..n_components).collect()),
        Grouping::MelNmf => mel_nmf(dictionary, sample_rate, n_sources)?,
        Grouping::Both => {
            let timbre = timbre(dictionary, sample_rate);
            let activity = activity(activations);
            let both = ndarray::concatenate![Axis(1), timbre, activity];
            ward(&both, &even, n_sources)
        }
        Grouping::Timbre => ward(&timbre(dictionary, sample_rate), &even, n_sources),
        Grouping::Activity => ward(&activity(activations), &even, n_sources),
    };
    Ok(by_energy(&labels, n_sources, &energy))
}

/// Renames the sources so that the one with most energy is 0.
fn by_energy(labels: &[usize], n_sources: usize, energy: &[f64]) -> Vec<usize> {
    let mut sum = vec![0.0; n_sources];
    labels.iter().zip(energy).for_each(|(&label, energy)| sum[label] += energy);
    let mut order: Vec<usize> = (0..n_sources).collect();
    order.sort_by(|&a, &b| sum[b].total_cmp(&sum[a]));
    let mut rank = vec![0; n_sources];
    order.iter().enumerate().for_each(|(place, &label)| rank[label] = place);
    labels.iter().map(|&label| rank[label]).collect()
}

/// Noisiness and suddenness of every component, each at zero mean and unit variance: (components, 2).
///
/// Noisiness is the logarithm of the spectral flatness, the geometric over the arithmetic mean of a spectrum;
/// suddenness that of the share of an activation's energy that lies in its rises from frame to frame.
fn character(
    dictionary: ArrayView2<'_, f64>,
    activations: ArrayView2<'_, f64>,
    energy: &[f64],
) -> Array2<f64> {
    let mut features = Array2::zeros((dictionary.ncols(), 2));
    for (k, (w, h)) in dictionary.columns().into_iter().zip(activations.rows()).enumerate() {
        let peak = w.fold(0.0f64, |p, &x| p.max(x));
        let level: f64 = h.dot(&h);
        if peak <= 0.0 || level <= 0.0 {
            continue;
        }
        let n_bins = w.len() as f64;
        // -180 dB below the peak stands for empty bins, whose logarithm would be all that counts
        let geometric = w.fold(0.0, |sum, &x| sum + (x / peak + 1e-9).ln()) / n_bins;
        features[[k, 0]] = geometric - (w.sum() / peak / n_bins).ln();
        let rises: f64 = h.windows(2).into_iter().map(|pair| (pair[1] - pair[0]).max(0.0).powi(2)).sum();
        features[[k, 1]] = (rises / level + 1e-6).ln();
    }
    let total: f64 = energy.iter().sum();
    for mut feature in features.columns_mut() {
        let mean = |x: &ndarray::ArrayViewMut1<'_, f64>, of: &dyn Fn(f64) -> f64| {
            x.iter().zip(energy).map(|(&x, e)| of(x) * e).sum::<f64>() / total.max(f64::MIN_POSITIVE)
        };
        let centre = mean(&feature, &|x| x);
        let spread = mean(&feature, &|x| (x - centre).powi(2)).sqrt();
        feature.mapv_inplace(|x| if spread > 0.0 { (x - centre) / spread } else { 0.0 });
    }
    features
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

/// One group of components on the way: its centre, weight and members.
struct Cluster {
    centre: Array1<f64>,
    weight: f64,
    members: Vec<usize>,
}

/// Agglomerative clustering that adds least to the squared distances from the centres (Ward 1963).
fn ward(features: &Array2<f64>, weights: &[f64], n_groups: usize) -> Vec<usize> {
    let mut clusters: Vec<Cluster> = features
        .outer_iter()
        .enumerate()
        // a component without energy counts little, but it counts
        .map(|(k, row)| Cluster { centre: row.to_owned(), weight: weights[k].max(1e-12), members: vec![k] })
        .collect();
    while clusters.len() > n_groups {
        let mut best = (f64::INFINITY, 0, 1);
        for a in 0..clusters.len() {
            for b in a + 1..clusters.len() {
                let (one, other) = (&clusters[a], &clusters[b]);
                let gap = &one.centre - &other.centre;
                let growth = one.weight * other.weight / (one.weight + other.weight) * gap.dot(&gap);
                if growth < best.0 {
                    best = (growth, a, b);
                }
            }
        }
        let (_, a, b) = best;
        let gone = clusters.swap_remove(b);
        let stays = &mut clusters[a];
        let weight = stays.weight + gone.weight;
        stays.centre = (&stays.centre * stays.weight + gone.centre * gone.weight) / weight;
        stays.weight = weight;
        stays.members.extend(gone.members);
    }
    let mut labels = vec![0; features.nrows()];
    for (label, cluster) in clusters.iter().enumerate() {
        cluster.members.iter().for_each(|&k| labels[k] = label);
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
                    0.05
                } else {
                    0.001
                }
            }
        });
        (dictionary, activations)
    }

    #[test]
    fn components_of_one_instrument_come_together() {
        let (w, h) = band();
        for grouping in [Grouping::Character, Grouping::Both, Grouping::Timbre, Grouping::MelNmf] {
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
        for grouping in
            [Grouping::Character, Grouping::Both, Grouping::Timbre, Grouping::Activity, Grouping::MelNmf]
        {
            let labels = group(w.view(), h.view(), 8000, 3, grouping).unwrap();
            assert!((0..3).all(|source| labels.contains(&source)), "{grouping}: {labels:?}");
        }
    }
}
