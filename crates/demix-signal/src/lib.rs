//! Waveforms, spectrograms and the short-time Fourier transform of demix.
//!
//! This crate stands at the bottom of the house: it touches no file and knows no method.
//!
//! | room | holds |
//! | --- | --- |
//! | [`waveform`] | [`Waveform`]: samples over time |
//! | [`spectrogram`] | [`Spectrogram`]: complex amplitudes, (bins, channels, frames) |
//! | [`stft`] | [`Stft`]: from one to the other and back |
//! | [`window`] | the windows |
//! | [`mel`] | frequency bands as wide as hearing's |
//! | [`mod@resample`] | the same sound at another rate |
//! | [`mod@settings`] | one description of every setting, for structs, help, files and reports |
//! | [`simd`] | registers for the kernels of other crates |
//! | [`watch`] | [`Watch`]: progress and cancelling of long work |
//! | [`real`] | [`Real`]: the two precisions |

pub mod mel;
pub mod real;
pub mod resample;
pub mod settings;
pub mod simd;
pub mod spectrogram;
pub mod stft;
pub mod watch;
pub mod waveform;
pub mod window;

pub use real::Real;
pub use resample::{ResampleError, resample};
pub use rustfft::num_complex::Complex;
pub use spectrogram::Spectrogram;
pub use stft::{Padding, Stft, StftError, StftSettings};
pub use watch::{Cancelled, Progress, Watch};
pub use waveform::Waveform;
pub use window::Window;
