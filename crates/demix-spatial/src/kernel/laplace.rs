//! The Laplace density of a slot: cost 2 |y|, 1 / xi = 1 / |y|.

use demix_signal::Real;
use demix_signal::simd::{Kernel, Lanes};

use super::sum;

/// sum_j 2 |y_j| of one bin.
pub(crate) struct LaplaceCost<'a, T> {
    /// |y|^2: whole registers, 0 in the padding.
    pub power: &'a [T],
}

impl<T: Real> Kernel<T> for LaplaceCost<'_, T> {
    type Output = f64;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> f64 {
        assert!(self.power.len().is_multiple_of(L::N));
        // SAFETY: whole registers are read.
        unsafe {
            let mut total = L::splat(T::ZERO);
            for j in (0..self.power.len()).step_by(L::N) {
                total = total.add(L::load(self.power.as_ptr().add(j)).sqrt());
            }
            2.0 * sum(total)
        }
    }
}

/// 1 / max(|y|, floor).
pub(crate) struct LaplaceWeights<'a, T> {
    /// |y|^2: whole registers.
    pub power: &'a [T],
    pub floor: T,
    /// As long as `power`.
    pub out: &'a mut [T],
}

impl<T: Real> Kernel<T> for LaplaceWeights<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        assert!(self.power.len() == self.out.len() && self.out.len().is_multiple_of(L::N));
        // SAFETY: whole registers are read and written.
        unsafe {
            let floor = L::splat(self.floor);
            for j in (0..self.power.len()).step_by(L::N) {
                let norm = L::load(self.power.as_ptr().add(j)).sqrt().max(floor);
                norm.inverse().store(self.out.as_mut_ptr().add(j));
            }
        }
    }
}
