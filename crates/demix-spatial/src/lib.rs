//! Demixing with as many microphones as sources, or more: x -> y = W x.
//!
//! | room | holds |
//! | --- | --- |
//! | [`instantaneous`] | mixtures x = A s without echoes: decorrelation, AMUSE, SOBI, JADE, FastICA |

pub mod instantaneous;
