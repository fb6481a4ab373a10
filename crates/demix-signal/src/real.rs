//! [`Real`]: the two precisions.

use std::iter::Sum;

use ndarray::NdFloat;
use realfft::FftNum;

/// `f32` or `f64`.
pub trait Real: NdFloat + FftNum + Default + Sum {
    /// Rounds a double to this precision.
    fn of(x: f64) -> Self;
    /// Widens to double precision.
    fn to_double(self) -> f64;
}

impl Real for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn to_double(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn to_double(self) -> f64 {
        self
    }
}
