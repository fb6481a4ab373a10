//! Methods for several channels.

mod channels;
pub mod determined;

pub use determined::DeterminedSeparator;
