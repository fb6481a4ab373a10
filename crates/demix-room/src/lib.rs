//! Rooms to test separation in: from dry sources to what microphones hear.
//!
//! # Example
//! ```
//! use demix_room::{ArrayShape, Inversion, MixOptions, Shoebox, Walls, mix, place_source};
//! use demix_signal::Waveform;
//! let size = [6.0, 4.4, 2.5];
//! let walls = Walls::for_t60(size, &[0.3], &[0.0], 343.0, Inversion::ImageSources)?;
//! let room = Shoebox { walls, ..Shoebox::new(size, 0.3) };
//! let centre = [3.1, 1.6, 1.2];
//! let microphones = ArrayShape::Line { n: 2, spacing: 0.0566 }.positions(centre);
//! let sources = [-50.0, 50.0].map(|angle| place_source(centre, angle, 2.0));
//! let responses = room.responses(&sources, &microphones, 16000)?;
//! assert_eq!((responses.len(), responses[0].nrows()), (2, 2));
//! let tone = |f: f32| Waveform::mono((0..1600).map(|t| (t as f32 * f).sin()).collect(), 16000);
//! let scene = mix(&[tone(0.1), tone(0.3)], &responses, &MixOptions::default())?;
//! assert_eq!(scene.mixture.n_channels(), 2);
//! # Ok::<(), demix_room::RoomError>(())
//! ```
//!
//! | room | holds |
//! | --- | --- |
//! | [`Shoebox`] | image-source responses of a rectangular room |
//! | [`Walls`], [`Inversion`] | absorption by octave bands, given or found from the reverberation time |
//! | [`air`] | what air absorbs |
//! | [`ArrayShape`], [`place_source`] | where microphones and sources stand |
//! | [`decay`] | the reverberation time that a response has |
//! | [`mix`] | sources through responses, levels, noise |
//! | [`RoomSettings`] | settings of the room |
//! | [`Protocol`] | scenes of the literature |

#![forbid(unsafe_code)]

pub mod air;
mod bands;
mod convolve;
mod decay;
mod error;
mod geometry;
mod mix;
mod protocol;
mod reverberation;
mod settings;
mod shoebox;
mod walls;

pub use bands::{BAND_CENTRES, N_BANDS};
pub use convolve::convolve;
pub use decay::{Decay, decay, octave_decay};
pub use error::RoomError;
pub use geometry::{ArrayShape, MIN_DISTANCE, Point, check_positions, distance, place_source};
pub use mix::{MixOptions, Mixture, mix};
pub use protocol::{PROTOCOLS, Protocol, spread_angles};
pub use reverberation::{Inversion, MAX_ABSORPTION, predicted_t60};
pub use settings::{RoomSettings, Sides, Times};
pub use shoebox::{FILTER_DELAY, FILTER_LENGTH, Shoebox};
pub use walls::{WALL_NAMES, Walls};
