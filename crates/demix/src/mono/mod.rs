//! One microphone: methods that tell sources apart by their spectra.

pub mod nmf;

pub use nmf::{NmfMethodSettings, NmfSeparator};
