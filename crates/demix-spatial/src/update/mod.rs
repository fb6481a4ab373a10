//! Spatial updates: how W_i follows from the weighted covariances U_in = (1/J) sum_j x x^H / xi_n.
//!
//! | update | changes at a time | source |
//! | --- | --- | --- |
//! | [`Ip1`] | one row, by solving | Ono 2011 |
//! | [`Ip2`] | two rows, by a 2 x 2 eigenproblem | Ono 2012 |
//! | [`Iss1`] | along one output, no inverse | Scheibler and Ono 2020 |
//! | [`Iss2`] | along two outputs | Ikeshita and Nakatani 2022 |
//! | [`Ipa`] | one row, and all others along it | Scheibler 2021 |
//! | [`NaturalGradient`] | all rows by a small step | Amari, Cichocki and Yang 1996 |
//!
//! All need the same U_in, since mean(y_m conj(y_n) / xi_m) = w_m^H U_m w_n; none looks at the signal.
//!
//! With more microphones than sources, the background rows count as stationary Gaussian outputs (their U is the
//! plain covariance), and are made orthogonal to the sources afterwards.

mod ip1;
mod ip2;
mod ipa;
mod iss1;
mod iss2;
mod natural_gradient;

pub use ip1::Ip1;
pub use ip2::Ip2;
pub use ipa::Ipa;
pub use iss1::Iss1;
pub use iss2::Iss2;
pub use natural_gradient::NaturalGradient;

use demix_signal::simd::Simd;

use crate::matrix::{C64, form};

demix_signal::choices! {
    /// How the demixing matrices follow from the source model.
    pub enum Update {
        /// Iterative projection: one source after the other.
        Ip1 = "ip1",
        /// Iterative projection of pairs of sources: fewer iterations.
        Ip2 = "ip2",
        /// Iterative source steering: no matrix is inverted.
        Iss1 = "iss1",
        /// Iterative source steering by pairs.
        Iss2 = "iss2",
        /// Iterative projection with adjustment of the other sources.
        Ipa = "ipa",
        /// Natural gradient with a fixed step: the plain baseline, slow and not monotone.
        NaturalGradient = "natural-gradient",
    }
}

impl Update {
    /// The update; `pairs` and the `step` of the gradient matter to those that have them.
    pub fn build(self, pairs: Pairs, step: f64) -> Box<dyn SpatialUpdate> {
        match self {
            Self::Ip1 => Box::new(Ip1),
            Self::Ip2 => Box::new(Ip2 { pairs }),
            Self::Iss1 => Box::new(Iss1),
            Self::Iss2 => Box::new(Iss2 { pairs }),
            Self::Ipa => Box::new(Ipa),
            Self::NaturalGradient => Box::new(NaturalGradient { step }),
        }
    }
}

demix_signal::choices! {
    /// Which pairs of sources the updates of pairs take.
    pub enum Pairs {
        /// (1, 2), (2, 3), ..., (N, 1).
        Neighbours = "neighbours",
        /// Every two sources.
        All = "all",
    }
}

demix_signal::settings! {
    /// How every method finds its demixing matrices.
    pub struct MatrixSettings {
        /// How the demixing matrices follow from the source model.
        pub update: Update = Update::Ip1;
        /// Which pairs of sources ip2 and iss2 take.
        pub pairs: Pairs = Pairs::Neighbours;
        /// Step of update=natural-gradient.
        pub step: f64 = 0.1, range 0.0001 ..= 1.0;
        /// Steps of the warm start.
        pub start_iterations: usize = 50, range 0.0 ..= 100000.0;
        /// Seed of all random numbers.
        pub seed: u64 = 0;
        /// The vector instructions that the kernels use.
        pub simd: Simd = Simd::Native;
    }
}

impl MatrixSettings {
    /// The update with its pairs and its step.
    pub fn build(&self) -> Box<dyn SpatialUpdate> {
        self.update.build(self.pairs, self.step)
    }
}

impl Pairs {
    /// Pairs of n outputs, in order.
    pub fn of(self, n: usize) -> Vec<(usize, usize)> {
        match self {
            _ if n < 2 => Vec::new(),
            Self::Neighbours => (0..n).map(|a| (a, (a + 1) % n)).collect(),
            Self::All => (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect(),
        }
    }
}

/// One bin while it is updated.
pub struct Bin<'a> {
    /// W, M x M: rows w^H, sources first.
    pub w: &'a mut [C64],
    /// U_n of the sources, N matrices M x M; only those that the step asks for are up to date.
    pub u: &'a [C64],
    /// The plain covariance of the mixture, M x M.
    pub covariance: &'a [C64],
    /// N.
    pub n_sources: usize,
    /// M.
    pub n_channels: usize,
}

impl Bin<'_> {
    /// U of an output: of a source, or the plain covariance for the background.
    pub fn u(&self, output: usize) -> &[C64] {
        if output < self.n_sources {
            &self.u[output * self.n_channels * self.n_channels..][..self.n_channels * self.n_channels]
        } else {
            self.covariance
        }
    }

    /// w_n^H.
    pub fn row(&self, output: usize) -> &[C64] {
        &self.w[output * self.n_channels..][..self.n_channels]
    }

    /// mean(y_a conj(y_b) / xi_m) = w_a^H U_m w_b.
    pub fn moment(&self, m: usize, a: usize, b: usize) -> C64 {
        form(self.u(m), self.row(a), self.row(b))
    }
}

/// A part of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The outputs that the step is about.
    pub outputs: Vec<usize>,
    /// The sources whose U it needs.
    pub needs: Vec<usize>,
    /// Whether weights that depend on y are asked for again before it.
    pub fresh_weights: bool,
}

/// One sweep over the demixing matrix of a bin.
pub trait SpatialUpdate: Send + Sync {
    /// The steps of a sweep for N sources and M channels.
    fn steps(&self, n_sources: usize, n_channels: usize) -> Vec<Step>;

    /// Does one step in one bin. A bin whose U is singular is left as it is.
    fn apply(&self, step: &Step, bin: &mut Bin<'_>);

    /// Whether the cost cannot rise.
    fn is_monotone(&self) -> bool {
        true
    }
}

/// One step that takes all sources.
fn one_step(n_sources: usize, n_outputs: usize) -> Vec<Step> {
    vec![Step { outputs: (0..n_outputs).collect(), needs: (0..n_sources).collect(), fresh_weights: true }]
}
