//! Measures of audio source separation: the judge.
//!
//! Samples are single precision, every sum and every solve is double precision. Scores are in dB,
//! one per reference; `NaN` stands where a score has no meaning (a silent reference), infinities
//! where a part of the decomposition is empty. The number of threads never changes a bit.
//!
//! | room | holds |
//! | --- | --- |
//! | [`recording`] | [`Recording`]: where samples come from, memory or disk |
//! | [`scores`] | [`Scores`], [`Order`]: results, and which estimate belongs to which reference |
//! | [`assignment`] | the Hungarian method |
//! | [`snr`](mod@snr) | signal-to-noise ratio |
//! | [`si_sdr`](mod@si_sdr) | scale-invariant SDR, SIR, SAR |
//! | [`bss_eval`] | [`BssEval`]: versions 3 and 4, sources and images, whole and framewise |
//! | [`projection`](mod@projection) | BSS Eval without filters |
//! | [`band_snr`](mod@band_snr) | signal-to-noise ratio by frequency bands |
//! | [`oracle`](mod@oracle) | the best that masks and filters could do |
//! | [`error`] | [`EvalError`]: what is wrong with the input |
#![forbid(unsafe_code)]

pub mod assignment;
pub mod band_snr;
pub mod bss_eval;
pub mod error;
pub mod oracle;
pub mod projection;
pub mod recording;
pub mod scores;
pub mod si_sdr;
pub mod snr;

mod small;

pub use band_snr::{BandScores, BandSettings, band_snr};
pub use bss_eval::{BssEval, FILTER_LENGTH, FrameScores, Silence, Target, Windows, bss_eval_framewise};
pub use error::EvalError;
pub use oracle::{Oracle, oracle};
pub use projection::projection;
pub use recording::Recording;
pub use scores::{Order, Scores};
pub use si_sdr::{SiSettings, si_sdr};
pub use snr::{SnrScores, snr};
