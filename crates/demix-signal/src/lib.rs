//! Waveforms, spectrograms and the short-time Fourier transform of demix.
//!
//! This crate stands at the bottom of the house: it touches no file and knows no method.
//!
//! | room | holds |
//! | --- | --- |
//! | [`waveform`] | [`Waveform`]: samples over time |
//! | [`watch`] | [`Watch`]: progress and cancelling of long work |

pub mod watch;
pub mod waveform;

pub use watch::{Cancelled, Progress, Watch};
pub use waveform::Waveform;
