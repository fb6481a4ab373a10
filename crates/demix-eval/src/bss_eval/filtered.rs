//! Energies of the parts of an estimate, measured on the filtered references themselves.
//!
//! Overlap-save: each block of a window is transformed with the filter's reach before it, references
//! are zero outside the window, and the window's tail of L - 1 samples counts. Blocks are
//! independent and their sums are added in order.

use std::ops::Range;

use ndarray::{Array2, Array3};
use rayon::prelude::*;

use super::correlation::energy;
use super::spectrum::{Plan, Scratch, Spectra};
use crate::error::EvalError;
use crate::recording::{Ensemble, Recording};

/// Filters that project an estimate on a span of references.
pub(super) struct Filters<'f> {
    /// The reference channels of the span.
    pub channels: &'f [usize],
    /// Shape (estimate channels, channels of the span, taps).
    pub taps: &'f Array3<f64>,
}

/// Energies of an estimate y of reference s over a window, all channels; P and Q project on the
/// span of all references and of s alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    /// |s|^2
    pub reference: f64,
    /// |y|^2
    pub estimate: f64,
    /// |y - s|^2
    pub difference: f64,
    /// |Q y|^2
    pub own: f64,
    /// |P y|^2
    pub all: f64,
    /// |Q y - s|^2
    pub spatial: f64,
    /// |P y - Q y|^2
    pub interference: f64,
    /// |y - P y|^2
    pub artifacts: f64,
    /// |y - Q y|^2
    pub rest: f64,
}

impl Parts {
    fn add(&mut self, other: &Parts) {
        self.reference += other.reference;
        self.estimate += other.estimate;
        self.difference += other.difference;
        self.own += other.own;
        self.all += other.all;
        self.spatial += other.spatial;
        self.interference += other.interference;
        self.artifacts += other.artifacts;
        self.rest += other.rest;
    }
}

/// Blocks of one task.
const TASK_BLOCKS: usize = 16;

/// The parts of each (reference, estimate) pair in each window: one row per window.
pub(super) fn measure<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    pairs: &[(usize, usize)],
    own: &[Filters<'_>],
    all: &Filters<'_>,
    windows: &[Range<usize>],
) -> Result<Vec<Vec<Parts>>, EvalError> {
    let filter_length = all.taps.dim().2;
    let longest = windows.iter().map(ExactSizeIterator::len).max().unwrap_or(1);
    let plan = Plan::new(filter_length, longest);
    let bank = Bank::new(ensemble.n_channels, &plan, pairs, own, all);

    let tasks: Vec<(usize, Range<usize>)> = windows
        .iter()
        .enumerate()
        .flat_map(|(index, window)| {
            let n_blocks = (window.len() + filter_length - 1).div_ceil(plan.block);
            (0..n_blocks)
                .step_by(TASK_BLOCKS)
                .map(move |first| (index, first..(first + TASK_BLOCKS).min(n_blocks)))
        })
        .collect();
    let sums: Result<Vec<Vec<Parts>>, EvalError> = tasks
        .par_iter()
        .map_init(
            || Workspace::new(ensemble.n_rows(), &plan, &bank),
            |workspace, (window, blocks)| {
                let mut sum = vec![Parts::default(); pairs.len()];
                for block in blocks.clone() {
                    measure_block(ensemble, &plan, &bank, &windows[*window], block, workspace, &mut sum)?;
                }
                Ok(sum)
            },
        )
        .collect();

    let mut parts = vec![vec![Parts::default(); pairs.len()]; windows.len()];
    for ((window, _), sum) in tasks.iter().zip(sums?) {
        parts[*window].iter_mut().zip(&sum).for_each(|(parts, sum)| parts.add(sum));
    }
    Ok(parts)
}

/// The filters' spectra, in the order in which outputs are made.
struct Bank<'p> {
    pairs: &'p [(usize, usize)],
    n_channels: usize,
    /// Reference channels that any filter takes.
    inputs: Vec<usize>,
    /// For each (pair, channel): Q's inputs, then P's.
    outputs: Vec<(Range<usize>, Range<usize>)>,
    /// The reference channel of each slot.
    channel_of: Vec<usize>,
    spectra: Spectra,
}

impl<'p> Bank<'p> {
    fn new(
        n_channels: usize,
        plan: &Plan,
        pairs: &'p [(usize, usize)],
        own: &[Filters<'_>],
        all: &Filters<'_>,
    ) -> Self {
        let (mut outputs, mut channel_of, mut taps) = (Vec::new(), Vec::new(), Vec::new());
        for &(n, e) in pairs {
            for channel in 0..n_channels {
                let mut add = |filters: &Filters<'_>| {
                    let first = channel_of.len();
                    for (input, &source) in filters.channels.iter().enumerate() {
                        channel_of.push(source);
                        let row = (0..filters.taps.dim().2).map(|tap| {
                            filters.taps[[e * n_channels + channel, input, tap]] / plan.length as f64
                        });
                        taps.push(row.collect::<Vec<f64>>());
                    }
                    first..channel_of.len()
                };
                let ranges = (add(&own[n]), add(all));
                outputs.push(ranges);
            }
        }
        let mut spectra = Spectra::new(taps.len(), plan.n_bins);
        let mut scratch = plan.scratch();
        for (slot, taps) in taps.iter().enumerate() {
            let (re, im) = spectra.slot_mut(slot);
            plan.forward(taps, re, im, &mut scratch);
        }
        let mut inputs = channel_of.clone();
        inputs.sort_unstable();
        inputs.dedup();
        Self { pairs, n_channels, inputs, outputs, channel_of, spectra }
    }
}

struct Workspace {
    sound: Array2<f32>,
    inputs: Spectra,
    output: Spectra,
    own: Vec<f64>,
    scratch: Scratch,
}

impl Workspace {
    fn new(n_rows: usize, plan: &Plan, bank: &Bank<'_>) -> Self {
        let n_inputs = bank.inputs.iter().max().map_or(0, |channel| channel + 1);
        Self {
            sound: Array2::zeros((n_rows, plan.length)),
            inputs: Spectra::new(n_inputs, plan.n_bins),
            output: Spectra::new(2, plan.n_bins),
            own: vec![0.0; plan.block],
            scratch: plan.scratch(),
        }
    }
}

fn measure_block<R: Recording, E: Recording>(
    ensemble: &Ensemble<'_, R, E>,
    plan: &Plan,
    bank: &Bank<'_>,
    window: &Range<usize>,
    block: usize,
    workspace: &mut Workspace,
    sum: &mut [Parts],
) -> Result<(), EvalError> {
    let reach = plan.length - plan.block;
    let start = (window.start + block * plan.block) as isize - reach as isize;
    let Workspace { sound, inputs, output, own, scratch } = workspace;
    ensemble.read_padded(window, start, sound)?;
    // outputs past the window's tail are zero but for rounding
    let n_samples = plan.block.min(window.len() + reach - block * plan.block);

    for &channel in &bank.inputs {
        let (re, im) = inputs.slot_mut(channel);
        let row = sound.row(channel);
        plan.forward(row.to_slice().expect("rows are contiguous"), re, im, scratch);
    }
    for (index, (own_slots, all_slots)) in bank.outputs.iter().enumerate() {
        let (pair, channel) = (index / bank.n_channels, index % bank.n_channels);
        output.clear();
        for (target, slots) in [(0, own_slots), (1, all_slots)] {
            for slot in slots.clone() {
                output.add_product(target, bank.spectra.slot(slot), inputs.slot(bank.channel_of[slot]));
            }
        }
        let (re, im) = output.slot(0);
        own.copy_from_slice(&plan.inverse(re, im, scratch)[reach..]);
        let (re, im) = output.slot(1);
        let all = &plan.inverse(re, im, scratch)[reach..];

        let (n, e) = bank.pairs[pair];
        let row = |signal: usize| sound.row(signal * bank.n_channels + channel);
        let (s, y) = (row(n), row(ensemble.references.len() + e));
        let s = &s.to_slice().expect("rows are contiguous")[reach..][..n_samples];
        let y = &y.to_slice().expect("rows are contiguous")[reach..][..n_samples];
        sum[pair].add(&parts_of(s, y, &own[..n_samples], &all[..n_samples]));
    }
    Ok(())
}

fn parts_of(s: &[f32], y: &[f32], own: &[f64], all: &[f64]) -> Parts {
    let wide = |x: &f32| f64::from(*x);
    Parts {
        reference: energy(s.iter().map(wide)),
        estimate: energy(y.iter().map(wide)),
        difference: energy(s.iter().zip(y).map(|(s, y)| wide(y) - wide(s))),
        own: energy(own.iter().copied()),
        all: energy(all.iter().copied()),
        spatial: energy(own.iter().zip(s).map(|(own, s)| own - wide(s))),
        interference: energy(all.iter().zip(own).map(|(all, own)| all - own)),
        artifacts: energy(y.iter().zip(all).map(|(y, all)| wide(y) - all)),
        rest: energy(y.iter().zip(own).map(|(y, own)| wide(y) - own)),
    }
}
