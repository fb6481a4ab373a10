//! Networks that estimate a source's magnitudes from those of a mixture: training, inference, checkpoints.
//!
//! The network is that of Hasumi et al. 2023 (PoP-IDLMA), Fig. 7: fully connected layers with ReLU and dropout on
//! a frame and its neighbours, one head for the magnitude sigma, a second one for degrees of freedom where the
//! loss asks for them. No file is opened here: checkpoints are bytes.
//!
//! | room | holds |
//! | --- | --- |
//! | [`settings`] | [`NetworkSettings`], [`TrainSettings`] and their choices |
//! | [`loss`] | [`Loss`]: what training makes small, with its gradients |
//! | [`header`] | [`Header`]: all that a checkpoint says of itself |
//! | `features` | a frame with its neighbours, freed of the level: the rows that enter the network |
//! | `layers` | which layers there are, their names and sizes, their start |
//! | `heads` | from the last layers' outputs to sigma and nu_D, and the loss of a row |
//! | [`network`] | [`Network`]: inference in plain Rust; [`Estimate`]: what comes out |
//! | `checkpoint` | networks and interrupted trainings as bytes |
//! | [`examples`] | [`Examples`]: where training takes its [`Excerpt`]s from; batches |
//! | `device` | which devices there are, and layers on one of them |
//! | `engine` | the training step with automatic differentiation |
//! | `optimizer` | steps along the gradient |
//! | [`trainer`] | [`Trainer`]: the loop |

mod checkpoint;
mod device;
mod engine;
pub mod error;
pub mod examples;
mod features;
pub mod header;
mod heads;
mod layers;
pub mod loss;
pub mod network;
mod optimizer;
mod random;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod trainer;

pub use error::NnError;
pub use examples::{Examples, Excerpt};
pub use header::{Header, VERSION};
pub use loss::Loss;
pub use network::{Estimate, Network};
pub use settings::{
    Anchors, DeviceName, InputName, NetworkSettings, OptimizerName, OutputName, TrainSettings,
};
pub use trainer::{StepTimes, Trainer};
