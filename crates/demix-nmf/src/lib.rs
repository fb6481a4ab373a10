//! Non-negative matrix factorisation with beta divergences: V ~ W H, fast.
//!
//! | room | holds |
//! | --- | --- |
//! | [`factorize`] | [`Nmf`]: the loop; [`Factorization`]: what comes out |
//! | [`divergence`] | the beta divergences and their exponents |
//! | [`settings`] | [`NmfSettings`] |
//! | `init` | random starts and singular vectors |
//! | [`grouping`] | components into sources, without training |
//! | [`kernel`] | the multiplicative half-step in vector instructions |

pub mod divergence;
pub mod factorize;
pub mod grouping;
mod init;
pub mod kernel;
pub mod settings;

pub use divergence::Divergence;
pub use factorize::{Factorization, Nmf, NmfError, Start, Stopped, normalize};
pub use grouping::{Grouping, group};
pub use init::nndsvda;
pub use kernel::{Scalar, Simd};
pub use settings::{Acceleration, Exponent, Init, NmfSettings, Order};
