//! Methods for several channels.

pub(crate) mod blocks;
pub(crate) mod channels;
pub mod determined;
pub mod guided;
pub mod instantaneous;
mod memory;
pub mod trials;
pub mod wiener;

pub use determined::DeterminedSeparator;
pub use guided::SourceNetwork;
pub use instantaneous::InstantaneousSeparator;
pub use wiener::WienerSeparator;
