//! From files to files: what the commands do, for programs that do not want to start one.

mod automatic;
pub mod demo;
mod error;
pub mod evaluate;
mod filters;
pub mod info;
pub mod learn;
pub mod model;
pub mod remix;
pub mod reproduce;
pub mod separate;
pub mod simulate;
pub mod train;

pub use error::PipelineError;
