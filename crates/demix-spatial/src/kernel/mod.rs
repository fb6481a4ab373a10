//! The inner loops over frames, in vector instructions.
//!
//! Every kernel works on one bin: arrays over frames of one length, the *stride*, a multiple of the longest register.
//! Frames from `n_frames` on are padding: the signal is 0 there, activations are 1, and no sum contains them. Nothing is
//! parallel here; the callers divide the bins among threads.
//!
//! | kernel | computes |
//! | --- | --- |
//! | [`estimate`] | y = w^H x, and its power |
//! | [`low_rank`] | T V of one bin, and its slopes for the multiplicative update |
//! | [`product`] | the same where the variance has a given part beside T V |
//! | [`step`] | the multiplicative step itself |
//! | [`log_sum`] | the logarithms of the cost |
//! | [`laplace`] | cost and weights of the Laplace density |
//! | [`covariance`] | sum_j x x^H / xi of all sources in one pass |

#![allow(unsafe_code)]

pub(crate) mod covariance;
pub(crate) mod density;
pub(crate) mod estimate;
pub(crate) mod laplace;
pub(crate) mod log_sum;
pub(crate) mod low_rank;
pub(crate) mod product;
pub(crate) mod step;
#[cfg(test)]
mod tests;

use demix_signal::Real;
use demix_signal::simd::Lanes;

pub(crate) use demix_signal::simd::Simd;

/// A stride is a multiple of this: the longest register of any precision.
pub(crate) const STRIDE_UNIT: usize = 16;

/// Ones, then zeros: read from the right place it keeps the first numbers of a register.
macro_rules! keep {
    ($real:ty) => {{
        let mut keep: [$real; 2 * STRIDE_UNIT] = [0.0; 2 * STRIDE_UNIT];
        let mut n = 0;
        while n < STRIDE_UNIT {
            keep[n] = 1.0;
            n += 1;
        }
        keep
    }};
}
static KEEP_SINGLE: [f32; 2 * STRIDE_UNIT] = keep!(f32);
static KEEP_DOUBLE: [f64; 2 * STRIDE_UNIT] = keep!(f64);

/// The first `n` numbers of a register of finite numbers, zeros behind them.
#[inline(always)]
pub(crate) unsafe fn first<L: Lanes>(x: L, n: usize) -> L {
    let n = n.min(L::N);
    // SAFETY: Real is f32 or f64, told apart by size; a register reads at most STRIDE_UNIT numbers from there.
    unsafe {
        let from: *const L::Real = if size_of::<L::Real>() == 4 {
            KEEP_SINGLE.as_ptr().add(STRIDE_UNIT - n).cast()
        } else {
            KEEP_DOUBLE.as_ptr().add(STRIDE_UNIT - n).cast()
        };
        x.mul(L::load(from))
    }
}

/// The sum of a register in double precision.
#[inline(always)]
pub(crate) unsafe fn sum<L: Lanes>(x: L) -> f64 {
    let mut lanes = [L::Real::ZERO; STRIDE_UNIT];
    unsafe { x.store(lanes.as_mut_ptr()) };
    lanes[..L::N].iter().map(|x| x.to_double()).sum()
}
