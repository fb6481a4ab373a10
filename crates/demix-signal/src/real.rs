//! [`Real`]: the two precisions.

use std::iter::Sum;

use ndarray::NdFloat;
use realfft::FftNum;

/// `f32` or `f64`.
pub trait Real: NdFloat + FftNum + Default + Sum {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Rounds a double to this precision.
    fn of(x: f64) -> Self;
    /// Widens to double precision.
    fn to_double(self) -> f64;
    /// self^exponent.
    fn to_the(self, exponent: Self) -> Self;
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn to_double(self) -> f64 {
        f64::from(self)
    }
    fn to_the(self, exponent: Self) -> Self {
        self.powf(exponent)
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    fn of(x: f64) -> Self {
        x
    }
    fn to_double(self) -> f64 {
        self
    }
    fn to_the(self, exponent: Self) -> Self {
        self.powf(exponent)
    }
}
