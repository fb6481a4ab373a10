//! Where the demixing matrices begin: at the microphones, at principal components, or where a simpler method ends.

use demix_signal::{Cancelled, Progress, Watch};
use ndarray::{Array2, Array3, ArrayView3, Axis};

use crate::determined::{self, LoopSettings};
use crate::mixture::{Mixture, Scalar};
use crate::permutation::{by_activity, by_activity_and_orders, orders_by_activity};
use crate::plane_waves::Arrivals;
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

    /// Refuses what cannot be found bin by bin.
    ///
    /// # Errors
    /// FDICA for one source of several microphones.
    pub fn check(self, n_sources: usize, n_channels: usize) -> Result<(), SpatialError> {
        if self == Self::Fdica && n_sources == 1 && n_channels > 1 {
            return Err(SpatialError::Unsupported(format!(
                "start=fdica looks at every bin on its own, and one source of {n_channels} microphones would be another \
                 one in each: take start=identity, or ask for as many sources as there are and keep one"
            )));
        }
        Ok(())
    }

    /// W before the first step of a method; outputs of a run are at the scale of the microphones.
    ///
    /// `expected`: what is known of the sources' powers, (bins, sources, frames), for the order of the bins after FDICA.
    ///
    /// # Errors
    /// As [`Start::check`]; more sources than channels, or none; cancelling.
    pub fn begin<T: Scalar>(
        self,
        mixture: &Mixture<T>,
        n_sources: usize,
        update: &dyn SpatialUpdate,
        settings: &LoopSettings,
        expected: Option<ArrayView3<'_, f32>>,
        watch: &mut dyn Watch,
    ) -> Result<Demixing, SpatialError> {
        self.check(n_sources, mixture.n_channels())?;
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

/// Progress of one of several runs as a share of all.
pub struct Share<'a> {
    /// Who hears of it.
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
        let (power, expected) = self.activities(mixture, expected);
        self.reorder(&by_activity(power.view(), expected.as_ref().map(|expected| expected.view())));
    }

    /// The orders that [`Demixing::align`] chooses from.
    pub(crate) fn orders<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        expected: Option<ArrayView3<'_, f32>>,
    ) -> Vec<Array2<usize>> {
        let (power, expected) = self.activities(mixture, expected);
        orders_by_activity(power.view(), expected.as_ref().map(|expected| expected.view()))
    }

    /// Powers of the outputs as [`Demixing::activity`], and what is expected, in as many frames.
    fn activities<T: Scalar>(
        &self,
        mixture: &Mixture<T>,
        expected: Option<ArrayView3<'_, f32>>,
    ) -> (Array3<f64>, Option<Array3<f64>>) {
        let (power, pooled) = self.activity(mixture);
        let expected = expected.map(|expected| {
            let mut sums = Array3::<f64>::zeros(power.dim());
            for (bin, mut sums) in sums.outer_iter_mut().enumerate() {
                for ((source, frame), power) in expected.index_axis(Axis(0), bin).indexed_iter() {
                    sums[[source, frame / pooled]] += f64::from(*power);
                }
            }
            sums
        });
        (power, expected)
    }

    /// As [`Demixing::align`], by what directions tell as well; where they tell nothing, activity decides alone.
    pub fn align_by_arrival<T: Scalar>(&mut self, mixture: &Mixture<T>, arrivals: &Arrivals) {
        let (power, _) = self.activity(mixture);
        self.reorder(&match &arrivals.orders {
            Some(orders) => by_activity_and_orders(power.view(), orders),
            None => by_activity(power.view(), None),
        });
    }

    /// Powers of the outputs at the scale of the microphones, (bins, sources, pooled frames), and how many frames are
    /// pooled: of a long recording sums of neighbouring frames, so that time and memory stay bounded.
    fn activity<T: Scalar>(&self, mixture: &Mixture<T>) -> (Array3<f64>, usize) {
        let (n, n_bins, n_frames) = (self.n_sources, mixture.n_bins(), mixture.n_frames());
        let mixing = self.mixing(mixture);
        let pooled = n_frames.div_ceil(MOST_FRAMES).max(1);
        let mut power = Array3::zeros((n_bins, n, n_frames.div_ceil(pooled)));
        let powers = Powers { mixture, demixing: self, instead: None };
        let mut row = vec![T::ZERO; mixture.stride()];
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
        (power, pooled)
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
