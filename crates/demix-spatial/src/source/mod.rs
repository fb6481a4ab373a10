//! What is assumed of the sources: models that give every time-frequency slot a variance and a weight.
//!
//! A method is a source model times a spatial update (`crate::update`); the loop ([`crate::determined`]) knows both
//! only by their traits. A model from outside, a network for example, implements [`SourceModel`].

pub mod distribution;
pub mod low_rank;
pub mod product_of_priors;
pub mod shared_low_rank;
mod singular;
pub mod spherical;

use crate::SpatialError;
use crate::demixing::Powers;
use crate::mixture::Scalar;

pub use distribution::Distribution;
pub use low_rank::LowRank;
pub use product_of_priors::{
    Energies, Experts, Factors, PowerEstimate, PowerEstimator, Product, ProductOfPriors, ProductSettings,
};
pub use shared_low_rank::SharedLowRank;
pub(crate) use singular::SingularVectors;
pub use spherical::{Contrast, Laplace, Spherical};

/// When the spatial weights of a model change while the demixing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They are the model's alone (Gaussian ILRMA).
    Fixed,
    /// With y of the same slot (Student's t, FDICA).
    PerSlot,
    /// With y of all bins of a frame (IVA).
    Tied,
}

/// Which gains of the outputs a model can absorb without a change of the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absorbs {
    /// None.
    Nothing,
    /// One for each source.
    PerSource,
    /// One for each source and bin.
    PerBin,
}

/// A model of all sources: y_ijn has the scale r_ijn.
pub trait SourceModel<T: Scalar>: Send + Sync {
    /// Looks at the estimates in the outer loop; a network runs here.
    ///
    /// # Errors
    /// A network that has no answer.
    fn refresh(&mut self, _powers: &Powers<'_, T>) -> Result<(), SpatialError> {
        Ok(())
    }

    /// Fits the model to |y|^2 by one step; gives the cost of all slots *before* it, the sum of c(P, r) in nats.
    fn update(&mut self, powers: &Powers<'_, T>) -> f64;

    /// The cost of all slots as the model stands.
    fn cost(&mut self, powers: &Powers<'_, T>) -> f64;

    /// When the weights have to be asked for again.
    fn weights(&self) -> Weights;

    /// For [`Weights::Tied`]: looks at |y|^2 of these sources again, without a step.
    fn look(&mut self, _powers: &Powers<'_, T>, _sources: &[usize]) {}

    /// 1 / xi_ij of one bin and source: `stride` finite numbers. `power` holds |y|^2 for [`Weights::PerSlot`], and is
    /// empty otherwise.
    fn inverse_weights(&self, bin: usize, source: usize, power: &[T], out: &mut [T]);

    /// What [`SourceModel::absorb`] can take.
    fn absorbs(&self) -> Absorbs;

    /// The source's outputs were multiplied: their power by `gains[bin]`, or by `gains[0]` in all bins.
    fn absorb(&mut self, source: usize, gains: &[f64]);
}
