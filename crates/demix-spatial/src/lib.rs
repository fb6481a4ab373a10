//! Demixing with as many microphones as sources, or more: x -> y = W x.
//!
//! | room | holds |
//! | --- | --- |
//! | [`blind`] | whole methods: start, warm start, restarts, loop, order |
//! | [`guided`] | the same with networks and dictionaries that know a source |
//! | [`full_rank`] | covariances of full rank with powers that networks give: any number of sources |
//! | [`determined`] | the one loop of FDICA, IVA, ILRMA and their relatives |
//! | [`source`] | what is assumed of the sources |
//! | [`update`] | how the demixing matrices follow |
//! | [`mixture`], [`demixing`] | x, whitened, and W |
//! | [`rescale`], [`permutation`] | scale and order of the outputs, which the mixture leaves open |
//! | [`search`], [`Apart`] | several orders and windows tried, the best told from the outputs |
//! | [`plane_waves`] | what directions tell of the order |
//! | [`cancellation_warning`] | outputs that are left of numbers much larger |
//! | [`consistency`] | spectrograms that some waveform has |
//! | [`instantaneous`] | mixtures x = A s without echoes: decorrelation, AMUSE, SOBI, JADE, FastICA |
//! | `kernel`, `matrix` | the inner loops in vector instructions; small complex matrices |

mod apart;
pub mod blind;
mod cancellation;
pub mod consistency;
pub mod demixing;
pub mod determined;
mod directions;
mod error;
pub mod full_rank;
pub mod guided;
pub mod instantaneous;
mod kernel;
mod matrix;
pub mod mixture;
pub mod permutation;
pub mod plane_waves;
pub mod rescale;
pub mod search;
pub mod source;
pub mod start;
pub mod update;

pub use apart::Apart;
pub use blind::{
    Blind, DemixSettings, DescentSettings, FactorStart, Found, Input, LowRankSettings, Model, SourceUpdate,
};
pub use cancellation::cancellation_warning;
pub use consistency::Consistency;
pub use demixing::{Demixing, Powers};
pub use determined::{Descent, LoopSettings, Normalization};
pub use directions::{DirectionCount, count_directions};
pub use error::SpatialError;
pub use full_rank::{FullRank, FullRankSettings};
pub use guided::{Guided, GuidedSettings, Known, LookSettings, Moment, Ordered, Trial, Way};
pub use matrix::C64;
pub use mixture::{Mixture, Scalar, principal_components, unreduced};
pub use rescale::Scaling;
pub use search::{Asked, Beginning, Candidate, Hint, Search};
pub use source::SourceModel;
pub use start::Start;
pub use update::{MatrixSettings, Pairs, SpatialUpdate, Update};
