//! In which order the bins of FDICA begin: [`Search`], which tries what several windows say of it.
//!
//! FDICA separates bin by bin; which output of a bin is whose, activity tells ([`crate::permutation`]). Within bands it tells
//! well, but bands may join the wrong way round. Shorter windows have fewer and wider bins, whose joins go wrong elsewhere, so
//! that FDICA through them is another opinion of how the sources sound. Every opinion, with every weight of bins that are far
//! from each other, gives an order; the one whose outputs are furthest apart ([`Apart`]) is kept. Who knows how the sources
//! sound, as networks do, knows the order better than any of these ([`Hint`]).

use demix_signal::{Complex, Stft, StftSettings, Watch};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, CowArray, Ix2, s};

use crate::apart::Apart;
use crate::determined::{self, LoopSettings};
use crate::matrix::C64;
use crate::mixture::{Mixture, Scalar, principal_components};
use crate::source::Laplace;
use crate::start::Share;
use crate::{Demixing, MatrixSettings, SpatialError, unreduced};

/// Shorter windows that are asked, as shares of the window.
const SHARES: [usize; 3] = [2, 4, 8];
/// Hops in a shorter window.
const HOPS: usize = 4;
/// The shortest window that is asked.
const SHORTEST: usize = 64;

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The mixture, (channels, samples), without channels that are silent or copies.
    pub samples: ArrayView2<'a, f32>,
    /// In Hz.
    pub sample_rate: u32,
    /// N: two or more, and no more than channels.
    pub n_sources: usize,
    /// Whether N principal components of each bin stand for more channels.
    pub reduce: bool,
    /// The window.
    pub stft: &'a StftSettings,
    /// How FDICA descends, and how long.
    pub matrices: &'a MatrixSettings,
    /// Its tolerance, as [`LoopSettings::tolerance`].
    pub tolerance: f64,
}

/// What is known of the sources before the search: then it alone is asked.
#[derive(Clone, Copy, Debug)]
pub enum Hint<'a> {
    /// Nothing.
    Nothing,
    /// Powers of the sources, (bins, sources, frames) of the window, as networks hear them.
    Heard(ArrayView3<'a, f32>),
    /// Outputs of another demixing, (sources, samples).
    Outputs(ArrayView2<'a, f32>),
}

/// Who tells the order of the bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The activities of the bins alone.
    Activity,
    /// What was heard ([`Hint::Heard`]).
    Heard,
    /// Outputs through a transform of this length.
    Outputs(usize),
}

/// An order that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Whose order it is.
    pub asked: Asked,
    /// Its outputs.
    pub apart: Apart,
}

/// Where to begin.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// W of the channels or of the components, (bins, sources, channels).
    pub demixing: Array3<C64>,
    /// All orders that were tried.
    pub candidates: Vec<Candidate>,
    /// Which of them it is.
    pub chosen: usize,
}

/// How the sources sound, if anybody knows.
enum Opinion<'a> {
    None,
    Powers(ArrayView3<'a, f32>),
    Outputs(CowArray<'a, f32, Ix2>),
}

/// FDICA through one window, its bins in no order yet.
struct Bins<T: Scalar> {
    stft: Stft<f32>,
    /// (bins, channels, frames).
    x: Array3<Complex<f32>>,
    /// P of the components, (bins, components, channels).
    projection: Option<Array3<C64>>,
    mixture: Mixture<T>,
    demixing: Demixing,
}

impl Search<'_> {
    /// Steps of [`Search::run`], with or without something known.
    pub fn iterations(&self, is_known: bool) -> usize {
        let n_asked = if is_known { 0 } else { self.shorter().len() };
        (1 + n_asked) * self.matrices.start_iterations
    }

    fn shorter(&self) -> Vec<StftSettings> {
        let length = self.stft.window_length.or(self.stft.fft).unwrap_or(0);
        let lengths = SHARES.iter().map(|share| (length / share).next_power_of_two());
        lengths.filter(|&fft| fft >= SHORTEST).map(|fft| StftSettings::new(fft, fft / HOPS)).collect()
    }

    /// Searches.
    ///
    /// # Errors
    /// A transform that cannot be, more sources than channels, cancelling.
    pub fn run<T: Scalar>(&self, hint: Hint<'_>, watch: &mut dyn Watch) -> Result<Beginning, SpatialError> {
        let total = self.iterations(!matches!(hint, Hint::Nothing));
        let mut before = 0;
        let mut fdica = |stft: &StftSettings| {
            let bins = self.fdica::<T>(stft, &mut Share { watch: &mut *watch, before, total });
            before += self.matrices.start_iterations;
            bins
        };
        let mut opinions: Vec<(Asked, Opinion<'_>)> = Vec::new();
        match hint {
            Hint::Heard(powers) => opinions.push((Asked::Heard, Opinion::Powers(powers))),
            Hint::Outputs(known) => {
                opinions.push((Asked::Outputs(self.stft.fft.unwrap_or(0)), Opinion::Outputs(known.into())));
            }
            Hint::Nothing => {
                opinions.push((Asked::Activity, Opinion::None));
                for stft in self.shorter() {
                    let bins = fdica(&stft)?;
                    let asked = Asked::Outputs(stft.fft.unwrap_or(0));
                    for order in self.orders(&bins, &Opinion::None)? {
                        let outputs = self.outputs(&bins, &self.in_order(&bins, &order));
                        opinions.push((asked, Opinion::Outputs(outputs.into())));
                    }
                }
            }
        }
        let bins = fdica(self.stft)?;
        let mut orders: Vec<Array2<usize>> = Vec::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut best: Option<(usize, Demixing)> = None;
        for (asked, opinion) in &opinions {
            for order in self.orders(&bins, opinion)? {
                if orders.contains(&order) {
                    continue;
                }
                let demixing = self.in_order(&bins, &order);
                let apart = Apart::of(self.outputs(&bins, &demixing).view(), self.sample_rate)?;
                let is_better = |best: usize| apart.score() > candidates[best].apart.score();
                if best.as_ref().is_none_or(|(best, _)| is_better(*best)) {
                    best = Some((candidates.len(), demixing));
                }
                candidates.push(Candidate { asked: *asked, apart });
                orders.push(order);
            }
        }
        let (chosen, mut demixing) = best.ok_or(SpatialError::NoSource)?;
        demixing.project_back(&bins.mixture);
        Ok(Beginning { demixing: demixing.matrices(&bins.mixture), candidates, chosen })
    }

    fn fdica<T: Scalar>(&self, stft: &StftSettings, watch: &mut dyn Watch) -> Result<Bins<T>, SpatialError> {
        let stft = Stft::<f32>::new(stft)?;
        let x = stft.forward_samples(&self.samples.to_owned())?;
        let projection = self.reduce.then(|| principal_components(x.view(), self.n_sources));
        let mixture = match &projection {
            Some(projection) => Mixture::new(components(&x, projection).view(), self.matrices.simd)?,
            None => Mixture::new(x.view(), self.matrices.simd)?,
        };
        let mut demixing = Demixing::identity(&mixture, self.n_sources)?;
        let settings = LoopSettings {
            iterations: self.matrices.start_iterations,
            tolerance: self.tolerance,
            ..LoopSettings::default()
        };
        let (mut model, update) = (Laplace::default(), self.matrices.build());
        determined::run(&mixture, &mut model, &*update, &settings, None, &mut demixing, watch)?;
        Ok(Bins { stft, x, projection, mixture, demixing })
    }

    fn orders<T: Scalar>(
        &self,
        bins: &Bins<T>,
        opinion: &Opinion<'_>,
    ) -> Result<Vec<Array2<usize>>, SpatialError> {
        let powers;
        let expected = match opinion {
            Opinion::None => None,
            Opinion::Powers(powers) => Some(*powers),
            Opinion::Outputs(outputs) => {
                powers = bins.stft.forward_samples(&outputs.to_owned())?.mapv(|y| y.norm_sqr());
                Some(powers.view())
            }
        };
        Ok(bins.demixing.orders(&bins.mixture, expected))
    }

    fn in_order<T: Scalar>(&self, bins: &Bins<T>, order: &Array2<usize>) -> Demixing {
        let mut demixing = bins.demixing.clone();
        demixing.reorder(order);
        demixing
    }

    /// Images of the sources at the loudest microphone, (sources, samples).
    fn outputs<T: Scalar>(&self, bins: &Bins<T>, demixing: &Demixing) -> Array2<f32> {
        let (mut w, mut mixing) = (demixing.matrices(&bins.mixture), demixing.mixing(&bins.mixture));
        if let Some(projection) = &bins.projection {
            w = of_channels(&w, projection);
            mixing = unreduced(&mixing, projection);
        }
        outputs(self.samples, &bins.stft, bins.x.view(), &w, &mixing)
    }
}

/// Images of the sources at the loudest microphone, (sources, samples): of W (bins, sources, channels), A (bins, channels,
/// sources) and the spectrogram x (bins, channels, frames) of `samples` (channels, samples).
pub fn outputs(
    samples: ArrayView2<'_, f32>,
    stft: &Stft<f32>,
    x: ArrayView3<'_, Complex<f32>>,
    demixing: &Array3<C64>,
    mixing: &Array3<C64>,
) -> Array2<f32> {
    let power = |channel: usize| samples.row(channel).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    let loudest = (0..samples.nrows()).max_by(|&a, &b| power(a).total_cmp(&power(b))).unwrap_or(0);
    let (n_bins, m, n_frames) = x.dim();
    let mut out = Array2::zeros((demixing.len_of(Axis(1)), samples.ncols()));
    for (source, mut out) in out.outer_iter_mut().enumerate() {
        let rows = Array2::from_shape_fn((n_bins, m), |(bin, c)| {
            let row = mixing[[bin, loudest, source]] * demixing[[bin, source, c]];
            Complex::new(row.re as f32, row.im as f32)
        });
        let sound = stft.inverse_blocks(n_frames, samples.ncols(), |frames, spectra| {
            for bin in 0..n_bins {
                let (row, x) = (rows.row(bin), x.slice(s![bin, .., frames.clone()]));
                for (frame, x) in x.columns().into_iter().enumerate() {
                    spectra[frame * n_bins + bin] = row.iter().zip(x).map(|(w, x)| w * x).sum();
                }
            }
        });
        out.iter_mut().zip(sound).for_each(|(out, y)| *out = y);
    }
    out
}

/// P x, (bins, components, frames).
pub fn components(x: &Array3<Complex<f32>>, projection: &Array3<C64>) -> Array3<Complex<f32>> {
    let (n_bins, m, n_frames) = x.dim();
    let mut out = Array3::zeros((n_bins, projection.len_of(Axis(1)), n_frames));
    for ((bin, k, j), out) in out.indexed_iter_mut() {
        let double = |x: Complex<f32>| C64::new(f64::from(x.re), f64::from(x.im));
        let sum: C64 = (0..m).map(|c| projection[[bin, k, c]] * double(x[[bin, c, j]])).sum();
        *out = Complex::new(sum.re as f32, sum.im as f32);
    }
    out
}

/// W P: the matrices of the channels from those of the components.
pub fn of_channels(demixing: &Array3<C64>, projection: &Array3<C64>) -> Array3<C64> {
    let (n_bins, k, m) = projection.dim();
    Array3::from_shape_fn((n_bins, demixing.len_of(Axis(1)), m), |(bin, source, c)| {
        (0..k).map(|p| demixing[[bin, source, p]] * projection[[bin, p, c]]).sum()
    })
}
