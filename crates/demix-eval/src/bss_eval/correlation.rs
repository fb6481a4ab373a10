//! Correlations of the references with themselves and with the estimates, at the few lags that the
//! distortion filters reach.
//!
//! `r_ab(tau) = sum_t s_a(t) x_b(t + tau)`, tau = 0..L. A block of s_a is zero-padded, the block of
//! x_b reaches L - 1 samples farther, so one short transform holds all lags without wrapping; the
//! spectra are summed over the blocks and transformed back once. Memory does not grow with the
//! length of the track. The track is cut into lanes by its length alone and lanes are summed in
//! order: the number of threads changes nothing.
//!
//! Cost: 2R + C transforms per block for R reference and C estimate channels, and R (R + C)
//! complex products per bin.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView1};
use rayon::prelude::*;

use super::spectrum::{Plan, Spectra};
use crate::error::EvalError;
use crate::recording::{Ensemble, Recording};

/// What all scores of a track are made of.
pub(super) struct Correlations {
    /// Shape (reference channels, reference then estimate channels, lags).
    pub lags: Array3<f64>,
    /// |s_n|^2, all channels.
    pub reference_energy: Vec<f64>,
    /// |y_e|^2, all channels.
    pub estimate_energy: Vec<f64>,
    /// |y_e - s_n|^2, shape (references, estimates).
    pub difference_energy: Array2<f64>,
}

/// Blocks that are transformed before their spectra are multiplied.
const BATCH: usize = 4;

/// Blocks of a lane, at least; and lanes, at most.
const LANE_BLOCKS: usize = 16;
const MAX_LANES: usize = 32;

pub(super) fn correlate<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    filter_length: usize,
) -> Result<Correlations, EvalError> {
    let plan = Plan::new(filter_length, ensemble.n_samples);
    let n_blocks = ensemble.n_samples.div_ceil(plan.block);
    let n_lanes = n_blocks.div_ceil(LANE_BLOCKS).min(MAX_LANES);
    let lanes: Result<Vec<Lane>, EvalError> = (0..n_lanes)
        .into_par_iter()
        .map(|lane| {
            correlate_lane(ensemble, &plan, lane * n_blocks / n_lanes..(lane + 1) * n_blocks / n_lanes)
        })
        .collect();

    let mut lanes = lanes?.into_iter();
    let mut sum = lanes.next().expect("a track has samples, so it has a block");
    for lane in lanes {
        sum.products.add(&lane.products);
        sum.energies.iter_mut().zip(&lane.energies).for_each(|(sum, x)| *sum += x);
    }

    let n_references = ensemble.references.len();
    let (n_sources, n_rows) = (n_references * ensemble.n_channels, ensemble.n_rows());
    let mut lags = Array3::zeros((n_sources, n_rows, filter_length));
    let mut scratch = plan.scratch();
    for ((source, row), mut lags) in
        (0..n_sources).flat_map(|source| (0..n_rows).map(move |row| (source, row))).zip(lags.rows_mut())
    {
        let (re, im) = sum.products.slot(source * n_rows + row);
        let correlation = plan.inverse(re, im, &mut scratch);
        lags.iter_mut().zip(&*correlation).for_each(|(out, x)| *out = x / plan.length as f64);
    }

    let (own, differences) = sum.energies.split_at(n_references + ensemble.estimates.len());
    let shape = (n_references, ensemble.estimates.len());
    Ok(Correlations {
        lags,
        reference_energy: own[..n_references].to_vec(),
        estimate_energy: own[n_references..].to_vec(),
        difference_energy: Array2::from_shape_fn(shape, |(n, e)| differences[n * shape.1 + e]),
    })
}

/// Sums over some consecutive blocks.
struct Lane {
    /// Cross spectra, one slot for each (reference channel, channel).
    products: Spectra,
    /// Signal by signal, then |y_e - s_n|^2 for each (n, e).
    energies: Vec<f64>,
}

fn correlate_lane<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    plan: &Plan,
    blocks: Range<usize>,
) -> Result<Lane, EvalError> {
    let (n_sources, n_rows) = (ensemble.references.len() * ensemble.n_channels, ensemble.n_rows());
    let mut products = Spectra::new(n_sources * n_rows, plan.n_bins);
    let mut energies = vec![0.0; energy_count(ensemble)];
    let mut short = Spectra::new(BATCH * n_sources, plan.n_bins);
    let mut long = Spectra::new(BATCH * n_rows, plan.n_bins);
    let mut scratch = plan.scratch();
    let reach = plan.length - plan.block;
    let mut sound = Array2::zeros((n_rows, BATCH * plan.block + reach));

    for first in blocks.clone().step_by(BATCH) {
        let n_blocks = BATCH.min(blocks.end - first);
        ensemble.read_padded(&(0..ensemble.n_samples), (first * plan.block) as isize, &mut sound)?;
        for block in 0..n_blocks {
            let start = block * plan.block;
            for (row, sound) in sound.rows().into_iter().enumerate() {
                let sound = sound.to_slice().expect("rows are contiguous");
                let (re, im) = long.slot_mut(block * n_rows + row);
                plan.forward(&sound[start..start + plan.length], re, im, &mut scratch);
                if row < n_sources {
                    let (re, im) = short.slot_mut(block * n_sources + row);
                    plan.forward(&sound[start..start + plan.block], re, im, &mut scratch);
                }
            }
        }
        products.add_correlations(
            &short,
            &long,
            n_sources * n_rows,
            |target, block| (block * n_sources + target / n_rows, block * n_rows + target % n_rows),
            n_blocks,
        );
        add_energies(ensemble, &sound, n_blocks * plan.block, &mut energies);
    }
    Ok(Lane { products, energies })
}

fn energy_count<R, E>(ensemble: &Ensemble<'_, R, E>) -> usize {
    let (n_references, n_estimates) = (ensemble.references.len(), ensemble.estimates.len());
    n_references + n_estimates + n_references * n_estimates
}

fn add_energies<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    sound: &Array2<f32>,
    n_samples: usize,
    energies: &mut [f64],
) {
    let n_channels = ensemble.n_channels;
    let (n_references, n_signals) = (ensemble.references.len(), energies_of_signals(ensemble));
    let row = |signal: usize, channel: usize| -> &[f32] {
        let row: ArrayView1<'_, f32> = sound.row(signal * n_channels + channel);
        &row.to_slice().expect("rows are contiguous")[..n_samples]
    };
    for channel in 0..n_channels {
        for signal in 0..n_signals {
            energies[signal] += energy(row(signal, channel).iter().map(|&x| f64::from(x)));
        }
        let pairs = (0..n_references).flat_map(|n| (n_references..n_signals).map(move |e| (n, e)));
        for ((n, e), sum) in pairs.zip(&mut energies[n_signals..]) {
            let (s, y) = (row(n, channel), row(e, channel));
            *sum += energy(s.iter().zip(y).map(|(&s, &y)| f64::from(y) - f64::from(s)));
        }
    }
}

fn energies_of_signals<R, E>(ensemble: &Ensemble<'_, R, E>) -> usize {
    ensemble.references.len() + ensemble.estimates.len()
}

/// Eight sums side by side, as wide as vector instructions are.
pub(super) fn energy(samples: impl ExactSizeIterator<Item = f64>) -> f64 {
    let mut sums = [0.0; 8];
    for (t, x) in samples.enumerate() {
        sums[t % 8] += x * x;
    }
    sums.iter().sum()
}
