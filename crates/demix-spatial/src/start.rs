//! Where the demixing matrices begin: at the microphones, at principal components, or where a simpler method ends.

use demix_signal::{Cancelled, Progress, Watch};
use ndarray::{Array2, Array3, ArrayView3, Axis};

use crate::determined::{self, LoopSettings};
use crate::mixture::{Mixture, Scalar};
use crate::permutation::by_activity;
use crate::source::{Contrast, Laplace, SourceModel, Spherical};
use crate::{Demixing, Powers, SpatialError, SpatialUpdate};

demix_signal::choices! {
    /// Where the demixing matrices begin.
    pub enum Start {
        /// Source n begins as microphone n.
        Identity = "identity",
        /// The principal components of each bin.
        Principal = "principal",
        /// A run of AuxIVA, which finds the order of the bins.
        Auxiva = "auxiva",
        /// A run of FDICA with aligned bins.
        Fdica = "fdica",
    }
}

impl Start {
    /// The steps that it takes of the `iterations` allowed.
    pub(crate) fn iterations(self, iterations: usize) -> usize {
        match self {
            Self::Identity | Self::Principal => 0,
            Self::Auxiva | Self::Fdica => iterations,
        }
    }

    /// W before the first step of a method; outputs of a run are at the scale of the microphones.
    ///
    /// `expected`: what is known of the sources' powers, (bins, sources, frames), for the order of the bins after FDICA.
    ///
    /// # Errors
    /// More sources than channels, or none; cancelling.
    pub fn begin<T: Scalar>(
        self,
        mixture: &Mixture<T>,
        n_sources: usize,
        update: &dyn SpatialUpdate,
        settings: &LoopSettings,
        expected: Option<ArrayView3<'_, f32>>,
        watch: &mut dyn Watch,
    ) -> Result<Demixing, SpatialError> {
        let mut model: Box<dyn SourceModel<T>> = match self {
            Self::Identity => return Demixing::identity(mixture, n_sources),
            Self::Principal => return Demixing::principal(mixture, n_sources),
            Self::Auxiva => Box::new(Spherical::new(Contrast::Laplace)),
            Self::Fdica => Box::new(Laplace::default()),
        };
        let mut demixing = Demixing::identity(mixture, n_sources)?;
        determined::run(mixture, &mut *model, update, settings, None, &mut demixing, watch)?;
        if self == Self::Fdica {
            demixing.align(mixture, expected);
        }
        demixing.project_back(mixture);
        Ok(demixing)
    }
}

/// Frames that the activities of bins are compared over at the most.
const MOST_FRAMES: usize = 2048;

/// Scales progress of several runs into one.
pub(crate) struct Share<'a> {
    pub watch: &'a mut dyn Watch,
    /// Steps of the runs before.
    pub before: usize,
    /// Steps of all runs.
    pub total: usize,
}

impl Watch for Share<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        self.watch.progress(Progress { done: self.before + progress.done, total: self.total, ..progress })
    }
}

impl Demixing {
    /// Puts the outputs of all bins in one order, by their activity at the scale of the microphones.
    ///
    /// `expected`: the sources' powers as they are known otherwise, (bins, sources, frames).
    pub fn align<T: Scalar>(&mut self, mixture: &Mixture<T>, expected: Option<ArrayView3<'_, f32>>) {
        let n = self.n_sources;
        let (n_bins, n_frames, stride) = (mixture.n_bins(), mixture.n_frames(), mixture.stride());
        let mixing = self.mixing(mixture);
        // of a long recording, sums of neighbouring frames: time and memory stay bounded
        let pooled = n_frames.div_ceil(MOST_FRAMES).max(1);
        let mut power = Array3::zeros((n_bins, n, n_frames.div_ceil(pooled)));
        let powers = Powers { mixture, demixing: self, instead: None };
        let mut row = vec![T::ZERO; stride];
        for (bin, mut power) in power.outer_iter_mut().enumerate() {
            for source in 0..n {
                powers.fill(bin, source, &mut row);
                let scale: f64 =
                    mixing.slice(ndarray::s![bin, .., source]).iter().map(|a| a.norm_sqr()).sum();
                for (power, y) in power.row_mut(source).iter_mut().zip(row[..n_frames].chunks(pooled)) {
                    *power = scale * y.iter().map(|y| y.to_double()).sum::<f64>();
                }
            }
        }
        let expected = expected.map(|expected| {
            let mut sums = Array3::<f64>::zeros(power.dim());
            for (bin, mut sums) in sums.outer_iter_mut().enumerate() {
                for ((source, frame), power) in expected.index_axis(Axis(0), bin).indexed_iter() {
                    sums[[source, frame / pooled]] += f64::from(*power);
                }
            }
            sums
        });
        self.reorder(&by_activity(power.view(), expected.as_ref().map(|expected| expected.view())));
    }

    /// Row n of each bin becomes row `order[[bin, n]]`.
    pub(crate) fn reorder(&mut self, order: &Array2<usize>) {
        let (n, n_channels) = (self.n_sources, self.n_channels);
        for (bin, w) in self.w.chunks_exact_mut(n_channels * n_channels).enumerate() {
            let old = w.to_vec();
            for source in 0..n {
                let from = order[[bin, source]] * n_channels;
                w[source * n_channels..][..n_channels].copy_from_slice(&old[from..from + n_channels]);
            }
        }
    }

    /// Multiplies every output so that it has the scale of its image, averaged over the microphones.
    pub fn project_back<T: Scalar>(&mut self, mixture: &Mixture<T>) {
        let mixing = self.mixing(mixture);
        let m = self.n_channels;
        let n = self.n_sources;
        for (bin, w) in self.w.chunks_exact_mut(m * m).enumerate() {
            for source in 0..n {
                let column = mixing.index_axis(Axis(0), bin);
                let power: f64 = column.column(source).iter().map(|a| a.norm_sqr()).sum::<f64>() / m as f64;
                let gain = power.sqrt() / mixture.level();
                if gain > 0.0 && gain.is_finite() {
                    w[source * m..][..m].iter_mut().for_each(|w| *w *= gain);
                }
            }
        }
    }
}
