//! Measures of audio source separation
