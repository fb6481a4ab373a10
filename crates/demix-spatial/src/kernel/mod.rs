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
//! | [`covariance`] | sum_j x x^H / xi of all sources in one pass |

#![allow(unsafe_code)]

pub(crate) mod covariance;
pub(crate) mod density;
pub(crate) mod estimate;
pub(crate) mod low_rank;
#[cfg(test)]
mod tests;

use demix_signal::Real;
use demix_signal::simd::Lanes;

pub(crate) use demix_signal::simd::Simd;

/// A stride is a multiple of this: the longest register of any precision.
pub(crate) const STRIDE_UNIT: usize = 16;

/// The first `n` numbers of a register, zeros behind them.
#[inline(always)]
pub(crate) unsafe fn first<L: Lanes>(x: L, n: usize) -> L {
    let mut lanes = [L::Real::ZERO; STRIDE_UNIT];
    unsafe {
        x.store(lanes.as_mut_ptr());
        lanes[n.min(L::N)..].fill(L::Real::ZERO);
        L::load(lanes.as_ptr())
    }
}

/// The sum of a register in double precision.
#[inline(always)]
pub(crate) unsafe fn sum<L: Lanes>(x: L) -> f64 {
    let mut lanes = [L::Real::ZERO; STRIDE_UNIT];
    unsafe { x.store(lanes.as_mut_ptr()) };
    lanes[..L::N].iter().map(|x| x.to_double()).sum()
}
