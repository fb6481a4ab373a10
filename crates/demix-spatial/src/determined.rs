//! The one loop of all determined methods: model, weights, W, scale, and again.
//!
//! Hasumi et al. 2023, Algorithms 1 to 3, for any [`SourceModel`] and any [`SpatialUpdate`]:
//! repeat { fit the model to |y|^2; xi; U_in = (1/J) sum_j x x^H / xi; W_i from U_in; rescale }.
//! y itself is not kept: |y|^2 of a bin is computed from x and W where it is needed, in the processor's cache.

use demix_signal::{Progress, Watch};
use rayon::prelude::*;

use crate::SpatialError;
use crate::consistency::Consistency;
use crate::demixing::{Demixing, Powers, orthogonalise_background};
use crate::kernel::covariance::Covariance;
use crate::matrix::{C64, ZERO, form, inverse};
use crate::mixture::{Mixture, Scalar};
use crate::source::{Absorbs, SourceModel, Weights};
use crate::update::{Bin, SpatialUpdate, Step};

demix_signal::choices! {
    /// What fixes the scale of the outputs inside the loop. The cost does not change by it.
    pub enum Normalization {
        /// Nothing: scales drift with the model.
        None = "none",
        /// Each source has mean power 1 over all bins and frames; no change where the model fixes the scale itself, as
        /// fdica and auxiva do.
        Power = "power",
        /// Each source is at the scale of the reference microphone in every bin.
        ProjectionBack = "projection-back",
    }
}

/// How often, and until when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopSettings {
    /// Steps at the most.
    pub iterations: usize,
    /// Stop when a step lowers the cost by less than this, in nats for each slot of I J N; 0 never stops.
    pub tolerance: f64,
    /// Steps of model and W between two looks of a network ([`SourceModel::refresh`]); 0 looks once, at the start.
    pub inner: usize,
    /// The scale inside the loop; models that cannot absorb gains go without.
    pub normalization: Normalization,
    /// Reference microphone of the projection back, counted from 0.
    pub reference: usize,
}

impl Default for LoopSettings {
    fn default() -> Self {
        Self { iterations: 100, tolerance: 0.0, inner: 0, normalization: Normalization::Power, reference: 0 }
    }
}

/// How the loop ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Descent {
    /// The cost before the first and after every step, in nats: sum of c(P, r) - 2 J sum_i log |det W_i|.
    pub cost: Vec<f64>,
    /// Steps done.
    pub iterations: usize,
    /// Whether the tolerance ended it.
    pub converged: bool,
}

/// Runs the loop; `demixing` and `model` are the start and become the result.
///
/// `consistency` makes the model see a consistent spectrogram; `None` otherwise.
///
/// # Errors
/// A model, update and mixture that do not fit; cancelling, which leaves the state of the last whole step.
pub fn run<T: Scalar>(
    mixture: &Mixture<T>,
    model: &mut dyn SourceModel<T>,
    update: &dyn SpatialUpdate,
    settings: &LoopSettings,
    mut consistency: Option<&mut Consistency<T>>,
    demixing: &mut Demixing,
    watch: &mut dyn Watch,
) -> Result<Descent, SpatialError> {
    if settings.reference >= mixture.n_channels() {
        return Err(SpatialError::Unsupported(format!(
            "the reference is microphone {}, the mixture has {} channels",
            settings.reference + 1,
            mixture.n_channels()
        )));
    }
    let slots = (mixture.n_bins() * mixture.n_frames() * demixing.n_sources) as f64;
    let steps = update.steps(demixing.n_sources, demixing.n_channels);
    let mut cost: Vec<f64> = Vec::with_capacity(settings.iterations + 1);
    let mut converged = false;
    let mut iterations = 0;
    loop {
        let last = iterations == settings.iterations;
        if let Some(consistency) = consistency.as_deref_mut().filter(|_| !last) {
            consistency.project(mixture, demixing);
        }
        let instead = consistency.as_deref().filter(|_| !last).map(|c| c.powers());
        let powers = Powers { mixture, demixing, instead };
        if settings.inner > 0 && iterations % settings.inner == 0 || iterations == 0 {
            model.refresh(&powers)?;
        }
        // the model's step gives the cost before it, which is that after the last step of W
        let of_sources = if last { model.cost(&powers) } else { model.update(&powers) };
        let log_det = 2.0 * mixture.n_frames() as f64 * demixing.log_det(mixture);
        let background = mixture.n_bins() * mixture.n_frames() * (demixing.n_channels - demixing.n_sources);
        cost.push(of_sources + background as f64 - log_det);
        let now = cost[iterations];
        let total = settings.iterations;
        watch.progress(Progress { stage: "demix", done: iterations, total, cost: Some(now) })?;
        if iterations > 0 {
            let decrease = cost[iterations - 1] - now;
            converged = settings.tolerance > 0.0 && decrease.abs() < settings.tolerance * slots;
        }
        if last || converged {
            break;
        }
        sweep(mixture, model, update, &steps, demixing);
        rescale(mixture, model, settings, demixing);
        iterations += 1;
    }
    Ok(Descent { cost, iterations, converged })
}

/// W_i of all bins by one sweep of the update.
fn sweep<T: Scalar>(
    mixture: &Mixture<T>,
    model: &mut dyn SourceModel<T>,
    update: &dyn SpatialUpdate,
    steps: &[Step],
    demixing: &mut Demixing,
) {
    if model.weights() == Weights::Tied {
        // weights of a step depend on y of all bins after the step before
        for (k, step) in steps.iter().enumerate() {
            if k > 0 && step.fresh_weights {
                let changed: Vec<usize> = step.needs.clone();
                model.look(&Powers { mixture, demixing, instead: None }, &changed);
            }
            sweep_bins(mixture, model, update, std::slice::from_ref(step), demixing);
        }
    } else {
        sweep_bins(mixture, model, update, steps, demixing);
    }
}

/// Some steps in every bin, bins in parallel.
fn sweep_bins<T: Scalar>(
    mixture: &Mixture<T>,
    model: &dyn SourceModel<T>,
    update: &dyn SpatialUpdate,
    steps: &[Step],
    demixing: &mut Demixing,
) {
    let (n_sources, n_channels) = (demixing.n_sources, demixing.n_channels);
    let (square, stride) = (n_channels * n_channels, mixture.stride());
    let weights = model.weights();
    let all: Vec<usize> = (0..n_sources).collect();
    demixing.w.par_chunks_exact_mut(square).enumerate().with_min_len(8).for_each_init(
        || Scratch::new(n_sources, square, stride),
        |scratch, (bin, w)| {
            let mut fresh = true;
            for step in steps {
                if fresh || weights == Weights::PerSlot && step.fresh_weights {
                    // weights of a fixed model serve all steps, so all of them are computed for the first
                    let needed = if weights == Weights::Fixed { &all } else { &step.needs };
                    scratch.covariances(mixture, model, bin, needed, w);
                    fresh = false;
                }
                let covariance = mixture.covariance(bin);
                scratch.before.copy_from_slice(w);
                update.apply(step, &mut Bin { w, u: &scratch.u, covariance, n_sources, n_channels });
                // an output that hears nothing can be amplified without end: the bin is left as it was
                if !w.iter().all(|w| w.norm_sqr() < MOST * MOST) {
                    w.copy_from_slice(&scratch.before);
                }
            }
            if n_sources < n_channels {
                orthogonalise_background(n_channels, n_sources, w, mixture.covariance(bin));
            }
        },
    );
}

/// The largest entry of W in whitened coordinates; its square is far from the largest number in single precision.
const MOST: f64 = 1e12;

/// The buffers of one thread.
struct Scratch<T> {
    power: Vec<T>,
    inverse_weights: Vec<T>,
    packed: Vec<C64>,
    /// W before the step.
    before: Vec<C64>,
    /// U_n of all sources, those asked for up to date.
    u: Vec<C64>,
}

/// The share of a covariance's mean power that is added to its diagonal, so that a direction without any signal has a
/// finite solution: below the rounding of the data.
const LOADING: f64 = 1e-15;

impl<T: Scalar> Scratch<T> {
    fn new(n_sources: usize, square: usize, stride: usize) -> Self {
        Self {
            power: vec![T::ZERO; stride],
            inverse_weights: vec![T::ZERO; n_sources * stride],
            packed: vec![ZERO; n_sources * square],
            before: vec![ZERO; square],
            u: vec![ZERO; n_sources * square],
        }
    }

    /// U_n of the sources `needed` in one pass over the bin.
    fn covariances(
        &mut self,
        mixture: &Mixture<T>,
        model: &dyn SourceModel<T>,
        bin: usize,
        needed: &[usize],
        w: &[C64],
    ) {
        use crate::kernel::estimate::Power;
        let (m, stride) = (mixture.n_channels(), mixture.stride());
        let square = m * m;
        for (at, &source) in needed.iter().enumerate() {
            let power: &[T] = if model.weights() == Weights::PerSlot {
                let row = &w[source * m..][..m];
                T::run(mixture.simd, Power { x: mixture.bin(bin), row, out: &mut self.power });
                &self.power
            } else {
                &[]
            };
            model.inverse_weights(bin, source, power, &mut self.inverse_weights[at * stride..][..stride]);
        }
        let covariance = Covariance {
            x: mixture.bin(bin),
            channels: m,
            inverse_weights: &self.inverse_weights[..needed.len() * stride],
            out: &mut self.packed[..needed.len() * square],
        };
        T::run(mixture.simd, covariance);
        let mean = 1.0 / mixture.n_frames() as f64;
        for (packed, &source) in self.packed.chunks_exact(square).zip(needed) {
            let u = &mut self.u[source * square..][..square];
            u.iter_mut().zip(packed).for_each(|(u, packed)| *u = packed * mean);
            let trace: f64 = (0..m).map(|c| u[c * m + c].re).sum();
            (0..m).for_each(|c| u[c * m + c] += LOADING * trace / m as f64);
        }
    }
}

/// Powers of an output, re the mixture's or its image's, that can be brought to 1: others are those of an empty
/// direction.
const AUDIBLE: std::ops::Range<f64> = 1e-16..1e16;

/// mean |y|^2 of every source: w^H C w, without a look at the signal.
fn output_powers<T: Scalar>(mixture: &Mixture<T>, demixing: &Demixing) -> Vec<f64> {
    const TASK_BINS: usize = 64;
    let (n_bins, n_sources) = (mixture.n_bins(), demixing.n_sources);
    // fixed tasks, summed in order: the same bits for any number of threads
    let tasks: Vec<Vec<f64>> = (0..n_bins.div_ceil(TASK_BINS))
        .into_par_iter()
        .map(|task| {
            let bins = task * TASK_BINS..n_bins.min((task + 1) * TASK_BINS);
            let power = |bin: usize, source: usize| {
                let row = demixing.row(bin, source);
                form(mixture.covariance(bin), row, row).re
            };
            (0..n_sources).map(|source| bins.clone().map(|bin| power(bin, source)).sum()).collect()
        })
        .collect();
    (0..n_sources).map(|source| tasks.iter().map(|task| task[source]).sum::<f64>() / n_bins as f64).collect()
}

/// Fixes the scales of the outputs, as far as the model can follow.
fn rescale<T: Scalar>(
    mixture: &Mixture<T>,
    model: &mut dyn SourceModel<T>,
    settings: &LoopSettings,
    demixing: &mut Demixing,
) {
    let m = demixing.n_channels;
    match (settings.normalization, model.absorbs()) {
        (Normalization::Power, Absorbs::PerSource | Absorbs::PerBin) => {
            for (source, power) in output_powers(mixture, demixing).into_iter().enumerate() {
                if !AUDIBLE.contains(&power) {
                    continue;
                }
                let gain = 1.0 / power.sqrt();
                for w in demixing.w.chunks_exact_mut(m * m) {
                    w[source * m..][..m].iter_mut().for_each(|w| *w *= gain);
                }
                model.absorb(source, &[1.0 / power]);
            }
        }
        (Normalization::ProjectionBack, Absorbs::PerBin) => {
            let mut gains = vec![vec![1.0; mixture.n_bins()]; demixing.n_sources];
            for bin in 0..mixture.n_bins() {
                let w = &mut demixing.w[bin * m * m..][..m * m];
                let Some(a) = inverse(m, w) else { continue };
                let colour = mixture.colouring(bin);
                for (source, gains) in gains.iter_mut().enumerate() {
                    // column of the mixing matrix in the coordinates of the microphones
                    let column =
                        |to: usize| -> C64 { (0..m).map(|c| colour[to * m + c] * a[c * m + source]).sum() };
                    let d = column(settings.reference);
                    let power = d.norm_sqr();
                    let everywhere: f64 = (0..m).map(|to| column(to).norm_sqr()).sum();
                    // an output that the reference does not hear has no scale there
                    if AUDIBLE.contains(&(power / everywhere)) {
                        w[source * m..][..m].iter_mut().for_each(|w| *w *= d);
                        gains[bin] = power;
                    }
                }
            }
            for (source, gains) in gains.iter().enumerate() {
                model.absorb(source, gains);
            }
        }
        _ => {}
    }
}
