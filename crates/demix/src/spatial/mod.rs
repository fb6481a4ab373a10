//! Methods for several channels.

pub(crate) mod channels;
pub mod determined;
pub mod instantaneous;

pub use determined::DeterminedSeparator;
pub use instantaneous::InstantaneousSeparator;
