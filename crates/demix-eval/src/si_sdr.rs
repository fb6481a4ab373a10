//! Scale-invariant SDR, SIR and SAR: BSS Eval with one gain per source for an allowed distortion.
//!
//! Le Roux, Wisdom, Erdogan, Hershey 2019 (SDR, half-baked or well done?), eqs. (4) and (5); the
//! other two as in Vincent, Gribonval, Févotte 2006, section III. The estimate y splits into
//!
//! ```text
//! target       a s_n,               a = <y, s_n> / <s_n, s_n>
//! interference P y - a s_n,         P projects on the span of all references
//! artifacts    y - P y
//! ```
//!
//! and SDR = target / rest, SIR = target / interference, SAR = (target + interference) /
//! artifacts, all in dB. A signal with several channels is one long vector: one gain for all of
//! them. Cost: two passes over the samples, O(N^3) for N references.

use ndarray::{Array1, Array2, Axis};

use crate::error::EvalError;
use crate::recording::{Ensemble, Recording, Stretch};
use crate::scores::{Order, Scores, projected_decibel};
use crate::small::Factor;

/// References whose part outside the others' span has less than this share of their energy depend
/// on the others: the square of single precision's rounding, about -140 dB.
const DEPENDENT: f64 = 1e-14;

/// Settings of [`si_sdr`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiSettings {
    /// Whether each channel's mean over time is taken away first; not by default.
    pub zero_mean: bool,
    /// Which estimate belongs to which reference; the best order maximises the mean SI-SDR.
    pub order: Order,
}

/// SI-SDR, SI-SIR and SI-SAR of each reference's estimate.
///
/// A silent reference or estimate scores `NaN`; ratios beyond 200 dB are rounding, hence infinite:
/// an estimate equal to its reference, but for a gain without rounding, scores +infinity.
/// A reference that is a linear combination of others adds nothing to their span.
///
/// # Errors
/// Signals that differ in length, channels or rate; counts that do not fit the order; samples that
/// are not finite or cannot be read.
///
/// # Example
/// ```
/// use demix_eval::{SiSettings, si_sdr};
/// use demix_signal::Waveform;
/// let voice: Vec<f32> = (0..8000).map(|t| (t as f32 * 0.11).sin()).collect();
/// let noise: Vec<f32> = (0..8000).map(|t| (t as f32 * 1.37).sin()).collect();
/// let mix = |a: f32, b: f32| {
///     Waveform::mono(voice.iter().zip(&noise).map(|(v, n)| a * v + b * n).collect(), 16000)
/// };
/// let references = [mix(1.0, 0.0), mix(0.0, 1.0)];
/// let estimates = [mix(0.1, 1.0), mix(3.0, 0.3)]; // in the other order, any gain
/// let scores = si_sdr(&references, &estimates, &SiSettings::default())?;
/// assert_eq!(scores.permutation, [1, 0]);
/// assert!((scores.sdr[0] - 20.0).abs() < 0.05);
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub fn si_sdr<R: Recording, E: Recording>(
    references: &[R],
    estimates: &[E],
    settings: &SiSettings,
) -> Result<Scores, EvalError> {
    let ensemble = Ensemble::new(references, estimates)?;
    settings.order.check(references.len(), estimates.len())?;
    let means = if settings.zero_mean { Some(channel_means(&ensemble)?) } else { None };
    let products = inner_products(&ensemble, means.as_ref())?;

    let factor = Factor::new(&products.gram, DEPENDENT);
    let target_energy = Array2::from_shape_fn(products.cross.dim(), |(n, e)| {
        products.cross[[n, e]].powi(2) / products.gram[[n, n]]
    });
    let criterion = Array2::from_shape_fn(products.cross.dim(), |(n, e)| {
        let target = target_energy[[n, e]];
        projected_decibel(target, (products.energy[e] - target).max(0.0))
    });
    let permutation = settings.order.permutation(&criterion);

    let weights: Vec<(f64, Array1<f64>)> = permutation
        .iter()
        .enumerate()
        .map(|(n, &e)| {
            let gain = products.cross[[n, e]] / products.gram[[n, n]];
            (gain, factor.solve(products.cross.column(e)))
        })
        .collect();
    // differences of energies would lose what lies 80 dB below the target: measure the residuals
    let residuals =
        ensemble.sum(|stretch| residual_energies(stretch, means.as_ref(), &permutation, &weights))?;

    let mut scores = Scores { sdr: vec![], isr: None, sir: vec![], sar: vec![], permutation };
    for (n, &e) in scores.permutation.iter().enumerate() {
        let (gain, all) = &weights[n];
        let mut interference = all.clone();
        interference[n] -= gain;
        let energy_of = |h: &Array1<f64>| h.dot(&products.gram.dot(h)).max(0.0);
        let silent = products.gram[[n, n]] == 0.0 || products.energy[e] == 0.0;
        let ratio = |signal, noise| if silent { f64::NAN } else { projected_decibel(signal, noise) };
        scores.sdr.push(ratio(target_energy[[n, e]], residuals[2 * n]));
        scores.sir.push(ratio(target_energy[[n, e]], energy_of(&interference)));
        scores.sar.push(ratio(energy_of(all), residuals[2 * n + 1]));
    }
    Ok(scores)
}

struct Products {
    /// <s_n, s_m>, shape (references, references).
    gram: Array2<f64>,
    /// <s_n, y_e>, shape (references, estimates).
    cross: Array2<f64>,
    /// <y_e, y_e>.
    energy: Vec<f64>,
}

/// Means of the channels: references first, then estimates.
struct Means {
    references: Vec<Array1<f64>>,
    estimates: Vec<Array1<f64>>,
}

fn channel_means<R: Recording, E: Recording>(ensemble: &Ensemble<'_, R, E>) -> Result<Means, EvalError> {
    let sums = ensemble.sum(|stretch| {
        let signals = stretch.references.iter().chain(&stretch.estimates);
        signals
            .flat_map(|x| {
                x.rows().into_iter().map(|row| row.iter().map(|&x| f64::from(x)).sum()).collect::<Vec<_>>()
            })
            .collect()
    })?;
    let means: Array1<f64> = sums.iter().map(|sum| sum / ensemble.n_samples as f64).collect();
    let mut rows = means.exact_chunks(ensemble.n_channels).into_iter().map(|row| row.to_owned());
    let references = rows.by_ref().take(ensemble.references.len()).collect();
    Ok(Means { references, estimates: rows.collect() })
}

/// The stretch in double precision, each signal of shape (channels, samples).
fn centred(signals: &[Array2<f32>], means: Option<&Vec<Array1<f64>>>) -> Vec<Array2<f64>> {
    let mut signals: Vec<_> = signals.iter().map(|x| x.mapv(f64::from)).collect();
    if let Some(means) = means {
        for (x, mean) in signals.iter_mut().zip(means) {
            *x -= &mean.view().insert_axis(Axis(1));
        }
    }
    signals
}

fn dot(x: &Array2<f64>, y: &Array2<f64>) -> f64 {
    x.rows().into_iter().zip(y.rows()).map(|(x, y)| x.dot(&y)).sum()
}

fn inner_products<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    means: Option<&Means>,
) -> Result<Products, EvalError> {
    let (n_references, n_estimates) = (ensemble.references.len(), ensemble.estimates.len());
    let sums = ensemble.sum(|stretch| {
        let s = centred(&stretch.references, means.map(|m| &m.references));
        let y = centred(&stretch.estimates, means.map(|m| &m.estimates));
        let gram = s.iter().flat_map(|a| s.iter().map(move |b| dot(a, b)));
        let cross = s.iter().flat_map(|a| y.iter().map(move |b| dot(a, b)));
        gram.chain(cross).chain(y.iter().map(|y| dot(y, y))).collect()
    })?;
    let (gram, rest) = sums.split_at(n_references * n_references);
    let (cross, energy) = rest.split_at(n_references * n_estimates);
    let table = |n_columns: usize, values: &[f64]| {
        Array2::from_shape_fn((n_references, n_columns), |(n, c)| values[n * n_columns + c])
    };
    Ok(Products {
        gram: table(n_references, gram),
        cross: table(n_estimates, cross),
        energy: energy.to_vec(),
    })
}

/// For each reference: |y - a s_n|^2, |y - P y|^2.
fn residual_energies(
    stretch: &Stretch,
    means: Option<&Means>,
    permutation: &[usize],
    weights: &[(f64, Array1<f64>)],
) -> Vec<f64> {
    let s = centred(&stretch.references, means.map(|m| &m.references));
    let y = centred(&stretch.estimates, means.map(|m| &m.estimates));
    let mut energies = Vec::new();
    for (n, &e) in permutation.iter().enumerate() {
        let (gain, all) = &weights[n];
        let mut distortion = y[e].clone();
        distortion.scaled_add(-gain, &s[n]);
        let mut artifacts = y[e].clone();
        s.iter().zip(all).for_each(|(s, &h)| artifacts.scaled_add(-h, s));
        energies.extend([dot(&distortion, &distortion), dot(&artifacts, &artifacts)]);
    }
    energies
}
