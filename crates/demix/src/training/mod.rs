//! What networks learn from, and how they are judged.
//!
//! | room | holds |
//! | --- | --- |
//! | [`examples`] | [`AugmentedExamples`]: mixtures made of stems at random, the same for the same seed |
//! | `room` | responses of random rooms |
//! | `speed` | sound played faster or slower |
//! | [`validation`] | [`Validation`]: fixed mixtures that are separated and scored |
//! | [`record`] | [`Record`]: the learning curve |
//! | [`state`] | what a training needs to go on, in one file |

pub(crate) mod chance;
pub mod examples;
pub mod record;
mod room;
mod speed;
pub mod state;
pub mod validation;

pub use examples::{AugmentedExamples, MixingSettings};
pub use record::{EpochRecord, Record};
pub use validation::{Validation, ValidationSettings};
