//! The sum of many logarithms by one: mantissas are multiplied, exponents are added.

use demix_signal::Real as _;
use demix_signal::simd::Lanes;

use super::sum;

/// sum ln x over registers of positive normal numbers, lane by lane.
#[derive(Clone, Copy)]
pub(crate) struct LogSum<L> {
    /// The mantissa of the product so far, in 1..2.
    product: L,
    /// Its exponent: a whole number, exact below 2^24 in single precision.
    exponent: L,
}

impl<L: Lanes> LogSum<L> {
    #[inline(always)]
    pub unsafe fn new() -> Self {
        unsafe { Self { product: L::splat(L::Real::ONE), exponent: L::splat(L::Real::ZERO) } }
    }

    /// Adds ln x; x is less than half of the largest number.
    #[inline(always)]
    pub unsafe fn add(&mut self, x: L) {
        unsafe {
            let (m, e) = self.product.mul(x).parts();
            self.product = m;
            self.exponent = self.exponent.add(e);
        }
    }

    /// The sum over all lanes.
    #[inline(always)]
    pub unsafe fn total(self) -> f64 {
        unsafe { sum(self.product.ln()) + std::f64::consts::LN_2 * sum(self.exponent) }
    }
}
