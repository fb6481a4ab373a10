//! [`NmfSettings`] and its choices.

use crate::Simd;

demix_signal::choices! {
    /// Which factor is updated first in an iteration.
    pub enum Order {
        /// Activations, then dictionary.
        HFirst = "h-first",
        /// Dictionary, then activations.
        WFirst = "w-first",
    }
}

demix_signal::choices! {
    /// The exponent of the multiplicative factor.
    pub enum Exponent {
        /// Majorisation-minimisation: 1/(2-beta) below 1, 1/(beta-1) above 2, else 1; the cost never rises.
        Mm = "mm",
        /// 1 for every beta: larger steps, without a guarantee outside 1 <= beta <= 2.
        Heuristic = "heuristic",
    }
}

demix_signal::choices! {
    /// Ways to the same stationary points in fewer iterations.
    pub enum Acceleration {
        /// Extrapolated, over-relaxed updates (beta = 2: hierarchical least squares), slowed down whenever the cost rises.
        Extrapolated = "extrapolated",
        /// The plain multiplicative update.
        None = "none",
    }
}

demix_signal::choices! {
    /// The factors that the iterations start from.
    pub enum Init {
        /// Uniform random numbers in (0, 1], scaled to the level of the input.
        Random = "random",
        /// Uniform random numbers in (1, 2], scaled likewise.
        Lecture = "lecture",
        /// From the singular vectors, zeros filled with the mean: no randomness but in their computation.
        Nndsvda = "nndsvda",
    }
}

demix_signal::settings! {
    /// Settings of the factorisation V ~ W H.
    pub struct NmfSettings {
        /// K, the number of components: columns of the dictionary W and rows of the activations H; when sources
        /// are separated, of each of them.
        pub components: usize = 20, range 1.0 ..= 10000.0;
        /// The divergence: 2 Euclidean, 1 Kullback-Leibler, 0 Itakura-Saito, or any real number. Small values
        /// care for quiet parts as much as for loud ones.
        pub beta: f64 = 1.0, range -10.0 ..= 10.0;
        /// Iterations at the most.
        pub iterations: usize = 100, range 0.0 ..= 10000000.0;
        /// Stop when an iteration changes the cost by less than this share of the cost at the start; 0 never does.
        pub tolerance: f64 = 1e-5, range 0.0 ..= 1.0;
        /// How to get to the same solution in fewer iterations.
        pub acceleration: Acceleration = Acceleration::Extrapolated;
        /// Which factor is updated first.
        pub order: Order = Order::HFirst;
        /// Exponent of the multiplicative factor.
        pub exponent: Exponent = Exponent::Mm;
        /// Start of the iterations.
        pub init: Init = Init::Random;
        /// Runs from different random starts; the one with the lowest cost is kept.
        pub restarts: usize = 1, range 1.0 ..= 1000.0;
        /// Random numbers: the same seed gives the same result.
        pub seed: u64 = 0;
        /// Smallest value of the model (and of V where beta <= 0), as a share of the largest entry of V.
        /// auto: -120 dB, which is 1e-6 for magnitudes and 1e-12 for powers.
        pub floor: Option<f64> = None, range 0.0 ..= 1.0;
        /// Scale the columns of W to sum to one, and the rows of H against it.
        pub normalize: bool = true;
        /// Vector instructions.
        pub simd: Simd = Simd::Native;
    }
}
