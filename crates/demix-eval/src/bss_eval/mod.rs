//! BSS Eval: distortion filters of many taps are allowed, what is left is judged.
//!
//! Vincent, Gribonval, Févotte 2006 (sources); Vincent et al. 2007 (images: ISR); Stöter, Liutkus,
//! Ito 2018 (version 4). An estimate y of source n, all its channels, is projected on two spans of
//! delayed references, delays 0..L: Q on source n's channels, P on those of all sources.
//!
//! ```text
//!             sources                      images and version 4
//! SDR         |Q y|^2 / |y - Q y|^2        |s|^2 / |y - s|^2
//! ISR                                      |s|^2 / |Q y - s|^2
//! SIR         |Q y|^2 / |P y - Q y|^2      the same
//! SAR         |P y|^2 / |y - P y|^2        the same
//! ```
//!
//! Energies of projections are quadratic forms b^T G^-1 b in correlations of L lags, so no filtered
//! signal is made, and one solve serves every score and every order. Where such a difference of
//! energies cancels (an estimate 70 dB and more above its errors, or an ill-conditioned G), the
//! energies of the chosen pairs are measured on filtered references instead.
//!
//! | room | holds |
//! | --- | --- |
//! | `correlation` | correlations by short blocks |
//! | `toeplitz` | the solve, by the Schur algorithm |
//! | `filtered` | energies in the time domain: version 4, cancellation |
//! | `spectrum` | transforms of short blocks |

mod correlation;
mod filtered;
mod spectrum;
mod toeplitz;

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;

use self::correlation::{Correlations, correlate};
use self::filtered::{Filters, Parts};
use crate::error::EvalError;
use crate::recording::{Ensemble, Recording};
use crate::scores::{Order, Scores, decibel, projected_decibel};
use crate::small::Factor;

/// Taps of the distortion filters that the literature uses.
pub const FILTER_LENGTH: usize = 512;

/// Unknowns of one system, at most: its factor takes 4 GiB then.
const MAX_UNKNOWNS: usize = 32768;

/// A difference of energies is trusted where its rounding is below this share of it: 4e-8 dB.
const PRECISION: f64 = 1e-8;

/// Which scores: those of sources, up to a filter, or those of their images at the microphones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// SDR, SIR, SAR; any filter of the reference is right.
    #[default]
    Sources,
    /// SDR, ISR, SIR, SAR; only the reference itself is right.
    Images,
}

/// Windows for framewise scores; those that do not fit whole into the track are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Length in samples; a window as long as the track or longer is the track.
    pub length: usize,
    /// Distance of their beginnings in samples.
    pub hop: usize,
    /// What a silent signal does to a window.
    pub silence: Silence,
}

/// Which scores of a window are `NaN` when a reference or an estimate is silent in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// All, as the published scores of music separation have it: museval and mir_eval.
    #[default]
    Window,
    /// Those of the silent signal.
    Source,
}

impl Windows {
    /// Windows of one second, one after another, as museval has them.
    pub fn seconds(sample_rate: u32) -> Self {
        let second = sample_rate as usize;
        Self { length: second, hop: second, silence: Silence::Window }
    }

    fn check(&self) -> Result<(), EvalError> {
        for (name, value) in [("window length", self.length), ("window hop", self.hop)] {
            if value == 0 {
                return Err(EvalError::Setting { name, value: "0".into(), range: "1 sample or more" });
            }
        }
        Ok(())
    }

    fn ranges(&self, n_samples: usize) -> Vec<Range<usize>> {
        if self.length >= n_samples {
            return std::iter::once(0..n_samples).collect();
        }
        (0..=n_samples - self.length).step_by(self.hop).map(|start| start..start + self.length).collect()
    }
}

/// Framewise scores in dB, shape (references, windows).
#[derive(Clone, Debug, PartialEq)]
pub struct FrameScores {
    /// First sample of each window.
    pub starts: Vec<usize>,
    /// Signal-to-distortion ratios.
    pub sdr: Array2<f64>,
    /// Image-to-spatial-distortion ratios; images only.
    pub isr: Option<Array2<f64>>,
    /// Signal-to-interference ratios.
    pub sir: Array2<f64>,
    /// Signal-to-artifacts ratios.
    pub sar: Array2<f64>,
    /// The estimate that belongs to each reference, in each window; the same in all for version 4.
    pub permutations: Vec<Vec<usize>>,
}

impl FrameScores {
    fn collect(starts: Vec<usize>, frames: Vec<Scores>) -> Self {
        let table = |scores: &dyn Fn(&Scores) -> Vec<f64>| {
            let columns: Vec<Vec<f64>> = frames.iter().map(scores).collect();
            Array2::from_shape_fn((columns[0].len(), columns.len()), |(n, frame)| columns[frame][n])
        };
        Self {
            starts,
            sdr: table(&|scores| scores.sdr.clone()),
            isr: frames[0].isr.is_some().then(|| table(&|scores| scores.isr.clone().unwrap_or_default())),
            sir: table(&|scores| scores.sir.clone()),
            sar: table(&|scores| scores.sar.clone()),
            permutations: frames.into_iter().map(|scores| scores.permutation).collect(),
        }
    }

    /// Medians over the windows, `NaN` left out; `NaN` where every window is. The permutation is
    /// the first window's.
    pub fn median(&self) -> Scores {
        Scores {
            sdr: row_medians(self.sdr.view()),
            isr: self.isr.as_ref().map(|isr| row_medians(isr.view())),
            sir: row_medians(self.sir.view()),
            sar: row_medians(self.sar.view()),
            permutation: self.permutations[0].clone(),
        }
    }
}

fn row_medians(table: ArrayView2<'_, f64>) -> Vec<f64> {
    table
        .rows()
        .into_iter()
        .map(|row| {
            let mut values: Vec<f64> = row.iter().copied().filter(|x| !x.is_nan()).collect();
            values.sort_by(f64::total_cmp);
            match (values.len(), values.len() / 2) {
                (0, _) => f64::NAN,
                (n, half) if n % 2 == 1 || values[half] == values[half - 1] => values[half],
                (_, half) => (values[half - 1] + values[half]) / 2.0,
            }
        })
        .collect()
}

/// The projections of all estimates of a track on the spans of the references: made once, read as
/// sources, images or version 4.
///
/// Scores of a silent reference or a silent estimate (all samples zero) are `NaN`. Ratios beyond
/// 200 dB are rounding, hence infinite: an estimate that is its reference has SDR, ISR and SAR
/// +infinity. Channels that are silent or sums of others (a source given twice) are left out of the
/// span. Where delayed references depend on each other all the same (narrow bands, filtered copies),
/// the diagonal of their Gram matrix is loaded by 1e-10 or the little more that it needs, and scores
/// are measured on the references as these filters filter them.
///
/// # Example
/// ```
/// use demix_eval::{BssEval, Order};
/// use demix_signal::Waveform;
/// let voice: Vec<f32> = (0..4000).map(|t| (t as f32 * t as f32 * 1e-4).sin()).collect();
/// let noise: Vec<f32> = (0..4000).map(|t| ((t * t % 1009) as f32 / 504.5) - 1.0).collect();
/// let mix = |a: f32, b: f32| {
///     Waveform::mono(voice.iter().zip(&noise).map(|(v, n)| a * v + b * n).collect(), 8000)
/// };
/// let references = [mix(1.0, 0.0), mix(0.0, 1.0)];
/// let estimates = [mix(0.1, 1.0), mix(1.0, 0.1), mix(1.0, 1.0)]; // the last one is the mixture
///
/// let track = BssEval::new(&references, &estimates, 32)?;
/// let scores = track.sources(&Order::BestOf(2))?;
/// let gain = scores.improvement(&track.sources(&Order::Given(vec![2, 2]))?);
/// assert_eq!(scores.permutation, [1, 0]);
/// assert!(gain.sdr.iter().all(|&gain| gain > 10.0));
/// # Ok::<(), demix_eval::EvalError>(())
/// ```
pub struct BssEval<'a, R, E> {
    ensemble: Ensemble<'a, R, E>,
    correlations: Correlations,
    all: Projection,
    /// One per reference.
    own: Vec<Projection>,
}

impl<'a, R: Recording, E: Recording> BssEval<'a, R, E> {
    /// Correlates and projects; `filter_length` is in taps, [`FILTER_LENGTH`] in the literature.
    ///
    /// Time grows with the length of the track, memory does not.
    ///
    /// # Errors
    /// Signals that differ in length, channels or rate; samples that are not finite or cannot be
    /// read; a filter length of 0, or so long that a system has more than 32768 unknowns.
    pub fn new(references: &'a [R], estimates: &'a [E], filter_length: usize) -> Result<Self, EvalError> {
        Self::of(Ensemble::new(references, estimates)?, filter_length)
    }

    fn of(ensemble: Ensemble<'a, R, E>, filter_length: usize) -> Result<Self, EvalError> {
        let n_sources = ensemble.references.len() * ensemble.n_channels;
        if filter_length == 0 || filter_length.saturating_mul(n_sources) > MAX_UNKNOWNS {
            return Err(EvalError::Setting {
                name: "filter length",
                value: filter_length.to_string(),
                range: "1 or more, and at most 32768 divided by sources times channels",
            });
        }
        let correlations = correlate(&ensemble, filter_length)?;
        let all_channels: Vec<usize> = (0..n_sources).collect();
        let all = Projection::new(&correlations, &all_channels);
        let own = (0..ensemble.references.len())
            .into_par_iter()
            .map(|n| {
                let channels = &all_channels[n * ensemble.n_channels..(n + 1) * ensemble.n_channels];
                // a span that is the whole span shares its numbers: no interference, exactly
                if spanning(&correlations, channels) == all.channels {
                    all.clone()
                } else {
                    Projection::new(&correlations, channels)
                }
            })
            .collect();
        Ok(Self { ensemble, correlations, all, own })
    }

    /// SDR, SIR and SAR of sources, BSS Eval version 3; the best order maximises the mean SIR.
    ///
    /// Equals `mir_eval.separation.bss_eval_sources` for one channel.
    ///
    /// # Errors
    /// Counts that do not fit the order; samples that cannot be read again.
    pub fn sources(&self, order: &Order) -> Result<Scores, EvalError> {
        self.score(Target::Sources, order)
    }

    /// SDR, ISR, SIR and SAR of images, BSS Eval version 3; the best order maximises the mean SIR.
    ///
    /// Equals `mir_eval.separation.bss_eval_images`.
    ///
    /// # Errors
    /// As [`BssEval::sources`].
    pub fn images(&self, order: &Order) -> Result<Scores, EvalError> {
        self.score(Target::Images, order)
    }

    /// Version 4: the filters of the whole track are applied window by window, images are judged.
    ///
    /// One order holds for the track: the one with the best mean SIR over the whole of it. Equals
    /// `museval.metrics.bss_eval`; [`FrameScores::median`] sums up.
    ///
    /// # Errors
    /// As [`BssEval::sources`]; a window length or hop of 0.
    pub fn version4(&self, windows: &Windows, order: &Order) -> Result<FrameScores, EvalError> {
        windows.check()?;
        let pairs = self.pairs(order)?;
        let permutation: Vec<usize> = pairs.iter().map(|&(_, e)| e).collect();
        let ranges = windows.ranges(self.ensemble.n_samples);
        let frames = self
            .measure(&pairs, &ranges)?
            .into_iter()
            .map(|parts| {
                let any_silent = parts.iter().any(Parts::is_silent);
                let parts = parts.into_iter().map(|parts| match windows.silence {
                    Silence::Window if any_silent => Parts::default(),
                    _ => parts,
                });
                scores_of(Target::Images, parts, permutation.clone())
            })
            .collect();
        Ok(FrameScores::collect(ranges.into_iter().map(|range| range.start).collect(), frames))
    }

    fn score(&self, target: Target, order: &Order) -> Result<Scores, EvalError> {
        let pairs = self.pairs(order)?;
        let mut parts: Vec<Parts> = pairs.iter().map(|&(n, e)| self.parts(n, e)).collect();
        let doubtful: Vec<usize> =
            (0..pairs.len()).filter(|&pair| self.is_doubtful(target, pairs[pair], &parts[pair])).collect();
        if !doubtful.is_empty() {
            let pairs: Vec<(usize, usize)> = doubtful.iter().map(|&pair| pairs[pair]).collect();
            let whole = 0..self.ensemble.n_samples;
            let measured = self.measure(&pairs, std::slice::from_ref(&whole))?.remove(0);
            doubtful.iter().zip(measured).for_each(|(&pair, measured)| parts[pair] = measured);
        }
        Ok(scores_of(target, parts.into_iter(), pairs.iter().map(|&(_, e)| e).collect()))
    }

    /// (reference, estimate), reference by reference.
    fn pairs(&self, order: &Order) -> Result<Vec<(usize, usize)>, EvalError> {
        let shape = (self.ensemble.references.len(), self.ensemble.estimates.len());
        order.check(shape.0, shape.1)?;
        let criterion = Array2::from_shape_fn(shape, |(n, e)| {
            let parts = self.parts(n, e);
            if parts.is_silent() { f64::NAN } else { projected_decibel(parts.own, parts.interference) }
        });
        Ok(order.permutation(&criterion).into_iter().enumerate().collect())
    }

    /// The parts of a pair as quadratic forms in the correlations.
    fn parts(&self, n: usize, e: usize) -> Parts {
        let channels = e * self.ensemble.n_channels..(e + 1) * self.ensemble.n_channels;
        let (own, all) = (self.own[n].energy_of(&channels), self.all.energy_of(&channels));
        let estimate = self.correlations.estimate_energy[e];
        Parts {
            reference: self.correlations.reference_energy[n],
            estimate,
            difference: self.correlations.difference_energy[[n, e]],
            own,
            all,
            spatial: self.own[n].difference_energy(&self.correlations, n, e, self.ensemble.n_channels),
            interference: (all - own).max(0.0),
            artifacts: (estimate - all).max(0.0),
            rest: (estimate - own).max(0.0),
        }
    }

    fn is_doubtful(&self, target: Target, (n, e): (usize, usize), parts: &Parts) -> bool {
        let channels = e * self.ensemble.n_channels..(e + 1) * self.ensemble.n_channels;
        let rounding = 4.0 * f64::EPSILON * parts.estimate
            + self.own[n].rounding_of(&channels)
            + self.all.rounding_of(&channels);
        let shares_span = self.own[n].channels == self.all.channels;
        let interference = if shares_span { f64::INFINITY } else { parts.interference };
        let smallest = match target {
            Target::Sources => interference.min(parts.artifacts).min(parts.rest),
            Target::Images => interference.min(parts.artifacts).min(parts.spatial),
        };
        !parts.is_silent() && rounding > PRECISION * smallest
    }

    fn measure(
        &self,
        pairs: &[(usize, usize)],
        windows: &[Range<usize>],
    ) -> Result<Vec<Vec<Parts>>, EvalError> {
        let own: Vec<Filters<'_>> = self.own.iter().map(Projection::filters).collect();
        filtered::measure(&self.ensemble, pairs, &own, &self.all.filters(), windows)
    }
}

/// Version 3 in windows, each with filters and an order of its own.
///
/// Equals `mir_eval.separation.bss_eval_sources_framewise` and `bss_eval_images_framewise`: a track
/// that does not hold two windows is one window. Scores as those of [`BssEval`].
///
/// # Errors
/// As [`BssEval::new`] and [`BssEval::sources`]; a window length or hop of 0.
pub fn bss_eval_framewise<R: Recording, E: Recording>(
    references: &[R],
    estimates: &[E],
    filter_length: usize,
    target: Target,
    windows: &Windows,
    order: &Order,
) -> Result<FrameScores, EvalError> {
    windows.check()?;
    let ensemble = Ensemble::new(references, estimates)?;
    order.check(references.len(), estimates.len())?;
    let mut ranges = windows.ranges(ensemble.n_samples);
    if ranges.len() < 2 {
        ranges = std::iter::once(0..ensemble.n_samples).collect();
    }
    let frames: Result<Vec<Scores>, EvalError> = ranges
        .par_iter()
        .map(|range| {
            let frame = BssEval::of(ensemble.part(range.start, range.len()), filter_length)?;
            let scores = frame.score(target, order)?;
            let energies = [&frame.correlations.reference_energy, &frame.correlations.estimate_energy];
            let silent = energies.into_iter().flatten().any(|&energy| energy == 0.0);
            Ok(match windows.silence {
                Silence::Window if silent => {
                    scores_of(target, references.iter().map(|_| Parts::default()), scores.permutation)
                }
                _ => scores,
            })
        })
        .collect();
    Ok(FrameScores::collect(ranges.into_iter().map(|range| range.start).collect(), frames?))
}

impl Parts {
    fn is_silent(&self) -> bool {
        self.reference == 0.0 || self.estimate == 0.0
    }
}

/// Scores of each reference's parts; silent ones score `NaN`.
fn scores_of(target: Target, parts: impl Iterator<Item = Parts>, permutation: Vec<usize>) -> Scores {
    let mut scores = Scores { sdr: vec![], isr: None, sir: vec![], sar: vec![], permutation };
    let mut isr = Vec::new();
    for p in parts {
        let defined = |ratio: f64| if p.is_silent() { f64::NAN } else { ratio };
        scores.sdr.push(defined(match target {
            Target::Sources => projected_decibel(p.own, p.rest),
            Target::Images => decibel(p.reference, p.difference),
        }));
        isr.push(defined(projected_decibel(p.reference, p.spatial)));
        scores.sir.push(defined(projected_decibel(p.own, p.interference)));
        scores.sar.push(defined(projected_decibel(p.all, p.artifacts)));
    }
    scores.isr = (target == Target::Images).then_some(isr);
    scores
}

/// Projections of all estimates' channels on the span of some reference channels.
#[derive(Clone)]
struct Projection {
    /// The channels that make the span.
    channels: Vec<usize>,
    /// Shape (estimate channels, channels of the span, taps).
    taps: Array3<f64>,
    /// Energy of each projected estimate channel.
    energy: Vec<f64>,
    /// What rounding, and a load of the diagonal, may have done to that energy.
    rounding: Vec<f64>,
}

/// Share of its energy that a channel must have outside the span of those before it, at the same
/// time: a copy with a gain in single precision has about 1e-15.
const COPY: f64 = 1e-13;

/// The channels that span what all do: silent ones and combinations of others left out (stereo
/// files with one sound in both channels are common).
fn spanning(correlations: &Correlations, channels: &[usize]) -> Vec<usize> {
    let size = channels.len();
    let gram = Array2::from_shape_fn((size, size), |(a, b)| correlations.lags[[channels[a], channels[b], 0]]);
    Factor::new(&gram, COPY).independent().map(|row| channels[row]).collect()
}

impl Projection {
    fn new(correlations: &Correlations, channels: &[usize]) -> Self {
        let lags = &correlations.lags;
        let channels = spanning(correlations, channels);
        let (n_sources, n_rows, n_taps) = lags.dim();
        let (size, n_outputs) = (channels.len(), n_rows - n_sources);
        if size == 0 {
            let taps = Array3::zeros((n_outputs, 0, n_taps));
            return Self { channels, taps, energy: vec![0.0; n_outputs], rounding: vec![0.0; n_outputs] };
        }

        // references of unit energy: gains between sources do not matter
        let scale: Vec<f64> = channels.iter().map(|&c| lags[[c, c, 0]].sqrt().recip()).collect();
        // block k, entry (a, b): s_a delayed by 0 times s_b delayed by k
        let blocks = Array3::from_shape_fn((n_taps, size, size), |(lag, a, b)| {
            scale[a] * scale[b] * lags[[channels[b], channels[a], lag]]
        });
        let rhs = Array2::from_shape_fn((n_outputs, n_taps * size), |(output, x)| {
            scale[x % size] * lags[[channels[x % size], n_sources + output, x / size]]
        });
        let mut solution = rhs.clone();
        let load = toeplitz::solve(&blocks, &mut solution);

        let rows = |a: &Array2<f64>, b: &Array2<f64>| -> Vec<f64> {
            a.rows().into_iter().zip(b.rows()).map(|(a, b)| a.dot(&b)).collect()
        };
        // the solve is exact for a matrix that differs from G by the load and by rounding, of G's norm
        let norm = blocks
            .axis_iter(Axis(1))
            .map(|row| 2.0 * row.iter().map(|x| x.abs()).sum::<f64>())
            .fold(0.0, f64::max);
        let energy = rows(&rhs, &solution).into_iter().map(|energy| energy.max(0.0)).collect();
        let rounding = rows(&solution, &solution)
            .into_iter()
            .map(|square| (f64::EPSILON * norm + load) * square)
            .collect();
        let taps = Array3::from_shape_fn((n_outputs, size, n_taps), |(output, channel, tap)| {
            scale[channel] * solution[[output, tap * size + channel]]
        });
        Self { channels, taps, energy, rounding }
    }

    fn filters(&self) -> Filters<'_> {
        Filters { channels: &self.channels, taps: &self.taps }
    }

    fn energy_of(&self, outputs: &Range<usize>) -> f64 {
        self.energy[outputs.clone()].iter().sum()
    }

    fn rounding_of(&self, outputs: &Range<usize>) -> f64 {
        self.rounding[outputs.clone()].iter().sum()
    }

    /// |Q (y - s_n)|^2 where s_n lies in the span: (b_y - b_s)^T (h_y - delta), which is exactly 0
    /// where y is s_n.
    fn difference_energy(&self, correlations: &Correlations, n: usize, e: usize, n_channels: usize) -> f64 {
        let lags = &correlations.lags;
        let n_sources = lags.dim().0;
        let mut sum = 0.0;
        for channel in 0..n_channels {
            let (reference, output) = (n * n_channels + channel, e * n_channels + channel);
            for (input, &source) in self.channels.iter().enumerate() {
                for tap in 0..lags.dim().2 {
                    let b = lags[[source, n_sources + output, tap]] - lags[[source, reference, tap]];
                    let delta = if source == reference && tap == 0 { 1.0 } else { 0.0 };
                    sum += b * (self.taps[[output, input, tap]] - delta);
                }
            }
        }
        sum.max(0.0)
    }
}
