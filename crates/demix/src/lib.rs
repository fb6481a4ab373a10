//! Audio source separation: one door to all methods of demix.
//!
//! # Example
//! ```
//! use demix::{Method, Request};
//! use demix::signal::Waveform;
//! // two tones that take turns
//! let tone = |f: f32, t: usize| (t as f32 * f).sin() * if (t / 4000) % 2 == (f > 0.3) as usize { 1.0 } else { 0.0 };
//! let mixture = Waveform::mono((0..16000).map(|t| tone(0.1, t) + tone(0.7, t)).collect(), 8000);
//! let separator = Method::named("nmf")?.build(&Request {
//!     settings: vec![("components".into(), "1".into())],
//!     n_sources: Some(2),
//!     ..Request::default()
//! })?;
//! let found = separator.separate(&mixture, &mut ())?;
//! assert_eq!(found.sources.len(), 2);
//! let sum = &found.sources[0].image.samples + &found.sources[1].image.samples;
//! assert!((&sum - &mixture.samples).iter().all(|error| error.abs() < 1e-4));
//! # Ok::<(), demix::SeparationError>(())
//! ```
//!
//! | room | holds |
//! | --- | --- |
//! | [`method`] | the table of methods: names, settings, how to build one |
//! | [`separation`] | [`Separator`], the trait of every method, and what it gives |
//! | [`mono`] | one microphone: NMF |
//! | [`dictionary`] | what a source sounds like, learned |
//! | [`pipeline`] | from files to files: separate, simulate, learn, train, remix, evaluate, info |
//! | [`corpus`] | songs in folders, their stems, excerpts of them |
//! | [`training`] | what networks learn from, and how they are judged |
//! | [`demo`] | three little pieces, made, taken apart and judged without any file |
//! | [`pictures`] | which pictures show a separation |

pub mod corpus;
pub mod demo;
pub mod dictionary;
pub mod method;
pub mod mono;
pub mod pictures;
pub mod pipeline;
pub mod separation;
pub mod spatial;
pub mod training;

pub use demix_eval as eval;
pub use demix_files as files;
pub use demix_nmf as nmf;
pub use demix_nn as nn;
pub use demix_room as room;
pub use demix_signal as signal;
pub use demix_spatial as demixing;
pub use dictionary::Dictionary;
pub use method::{METHODS, Method, Request};
pub use separation::{Factors, Filters, Outcome, Separation, SeparationError, Separator, Source};

/// Version of demix, as in reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
