//! A variance that is a low-rank part beside a given one, r = a (T V) + b slot by slot: slopes, weights, cost.
//!
//! The slope of r along T V is a, so pos = a / r and neg = a P / (r xi). With a = 1, b = 0 this is `super::low_rank`
//! in the domain 2.

use demix_signal::Real;
use demix_signal::simd::{Kernel, Lanes};

use super::density::{Density, ln_1p};
use super::low_rank::{WIDE, product, smallest};
use super::{first, sum};

/// A density whose parameters may change from slot to slot of a bin.
///
/// # Safety
/// As [`Density`]; `at` lies a register's length before the end of the row.
pub(crate) trait SlotDensity: Copy + Send + Sync {
    /// Whether xi depends on |y|^2.
    const NEEDS_POWER: bool;
    /// 1 / xi.
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L, at: usize) -> L;
    /// The negative logarithm of the density without constants.
    unsafe fn cost<L: Lanes>(&self, r: L, power: L, at: usize) -> L;
    /// Whether the row's parameters have this length.
    fn fits(&self, stride: usize) -> bool;
}

/// The same density in all slots.
#[derive(Clone, Copy)]
pub(crate) struct Everywhere<D>(pub D);

impl<D: Density> SlotDensity for Everywhere<D> {
    const NEEDS_POWER: bool = D::NEEDS_POWER;
    #[inline(always)]
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L, _: usize) -> L {
        unsafe { self.0.inverse_weight(r, power) }
    }
    #[inline(always)]
    unsafe fn cost<L: Lanes>(&self, r: L, power: L, _: usize) -> L {
        unsafe { self.0.misfit(r, power).add(r.ln()) }
    }
    fn fits(&self, _: usize) -> bool {
        true
    }
}

/// Student's t whose degrees of freedom nu are given for every slot.
#[derive(Clone, Copy)]
pub(crate) struct StudentOfSlot<'a, T> {
    /// nu > 0: stride.
    pub nu: &'a [T],
}

impl<T: Real> StudentOfSlot<'_, T> {
    /// nu from slot `at` on; a register of another precision than T does not exist.
    #[inline(always)]
    unsafe fn nu<L: Lanes>(&self, at: usize) -> L {
        debug_assert_eq!(size_of::<L::Real>(), size_of::<T>());
        unsafe { L::load(self.nu.as_ptr().add(at).cast()) }
    }
}

impl<T: Real> SlotDensity for StudentOfSlot<'_, T> {
    const NEEDS_POWER: bool = true;
    #[inline(always)]
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L, at: usize) -> L {
        unsafe {
            // (nu + 2) / (nu r + 2 P)
            let (nu, two) = (self.nu::<L>(at), L::splat(L::Real::of(2.0)));
            nu.add(two).mul(nu.mul_add(r, two.mul(power)).inverse())
        }
    }
    #[inline(always)]
    unsafe fn cost<L: Lanes>(&self, r: L, power: L, at: usize) -> L {
        unsafe {
            // (1 + nu/2) log(1 + 2 P / (nu r)) + log r
            let nu = self.nu::<L>(at);
            let ratio = L::splat(L::Real::of(2.0)).mul(power).mul(nu.mul(r).inverse());
            let one = L::splat(L::Real::ONE);
            let factor = L::splat(L::Real::of(0.5)).mul_add(nu, one);
            factor.mul_add(ln_1p(ratio), r.ln())
        }
    }
    fn fits(&self, stride: usize) -> bool {
        self.nu.len() == stride
    }
}

/// The variance of one bin's slots, and their density.
#[derive(Clone, Copy)]
pub(crate) struct Variance<'a, T, D> {
    pub density: D,
    /// Row of T: K numbers; none where there is no low-rank part.
    pub t: &'a [T],
    /// V: K x stride.
    pub v: &'a [T],
    /// a >= 0: stride.
    pub share: &'a [T],
    /// b >= 0: stride; 1 in the padding.
    pub given: &'a [T],
}

/// Runs `$body` for T V of all slots, register by register. No closure: its body would leave the vector instructions.
macro_rules! each_register {
    ($L:ident, $variance:expr, $stride:expr, $tv:ident, $at:ident, $body:block) => {{
        let mut j = 0;
        while j + WIDE * $L::N <= $stride {
            let wide = product::<$L, WIDE>($variance.t, $variance.v, $stride, j);
            for w in 0..WIDE {
                let ($tv, $at) = (wide[w], j + w * $L::N);
                $body
            }
            j += WIDE * $L::N;
        }
        while j < $stride {
            let ([$tv], $at) = (product::<$L, 1>($variance.t, $variance.v, $stride, j), j);
            $body
            j += $L::N;
        }
    }};
}

impl<T: Real, D: SlotDensity> Variance<'_, T, D> {
    fn check(&self, stride: usize, register: usize) {
        assert!(self.v.len() == self.t.len() * stride && stride.is_multiple_of(register));
        assert!(self.share.len() == stride && self.given.len() == stride && self.density.fits(stride));
    }

    /// (a, r) from slot `at` on.
    #[inline(always)]
    unsafe fn at<L: Lanes<Real = T>>(&self, tv: L, at: usize) -> (L, L) {
        unsafe {
            let (a, b) = (L::load(self.share.as_ptr().add(at)), L::load(self.given.as_ptr().add(at)));
            (a, a.mul_add(tv, b).max(L::splat(smallest::<T>().1)))
        }
    }
}

/// The slopes pos and neg of one bin, and on request the cost of its slots.
pub(crate) struct Slopes<'a, T, D> {
    pub variance: Variance<'a, T, D>,
    /// |y|^2: stride, 0 in the padding.
    pub power: &'a [T],
    /// 0 in the padding.
    pub positive: &'a mut [T],
    /// 0 in the padding.
    pub negative: &'a mut [T],
    pub n_frames: usize,
    /// Whether the cost is wanted; the sum is 0 otherwise.
    pub cost: bool,
}

impl<T: Real, D: SlotDensity> Kernel<T> for Slopes<'_, T, D> {
    /// sum_j c(P_j, r_j).
    type Output = f64;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> f64 {
        let stride = self.power.len();
        let variance = self.variance;
        variance.check(stride, L::N);
        assert!(self.positive.len() == stride && self.negative.len() == stride && self.n_frames <= stride);
        let (power, positive, negative) =
            (self.power.as_ptr(), self.positive.as_mut_ptr(), self.negative.as_mut_ptr());
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut total = L::splat(T::ZERO);
            each_register!(L, variance, stride, tv, at, {
                let p = L::load(power.add(at));
                let (a, r) = variance.at(tv, at);
                let pos = a.mul(r.inverse());
                let neg = pos.mul(p).mul(variance.density.inverse_weight(r, p, at));
                // whole registers come first, so that most are stored without a mask
                let n = self.n_frames.saturating_sub(at);
                let (pos, neg) = if n < L::N { (first(pos, n), first(neg, n)) } else { (pos, neg) };
                pos.store(positive.add(at));
                neg.store(negative.add(at));
                if self.cost {
                    let cost = variance.density.cost(r, p, at);
                    total = total.add(if n < L::N { first(cost, n) } else { cost });
                }
            });
            sum(total)
        }
    }
}

/// 1 / xi of one bin.
pub(crate) struct InverseWeights<'a, T, D> {
    pub variance: Variance<'a, T, D>,
    /// |y|^2, stride; empty where the density does not ask for it.
    pub power: &'a [T],
    /// stride; finite in the padding.
    pub out: &'a mut [T],
}

impl<T: Real, D: SlotDensity> Kernel<T> for InverseWeights<'_, T, D> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.out.len();
        let variance = self.variance;
        variance.check(stride, L::N);
        assert!(!D::NEEDS_POWER || self.power.len() == stride);
        // SAFETY: the lengths were checked above.
        unsafe {
            each_register!(L, variance, stride, tv, at, {
                let p = if D::NEEDS_POWER { L::load(self.power.as_ptr().add(at)) } else { tv };
                let (_, r) = variance.at(tv, at);
                variance.density.inverse_weight(r, p, at).store(self.out.as_mut_ptr().add(at));
            });
        }
    }
}

/// The cost of one bin, sum_j c(P_j, r_j), and the sums of T V and of b over its frames.
pub(crate) struct Cost<'a, T, D> {
    pub variance: Variance<'a, T, D>,
    pub power: &'a [T],
    pub n_frames: usize,
}

/// What [`Cost`] gives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub cost: f64,
    /// sum_j (T V)_j.
    pub low_rank: f64,
    /// sum_j a_j (T V)_j.
    pub weighted_low_rank: f64,
    /// sum_j b_j.
    pub given: f64,
}

impl<T: Real, D: SlotDensity> Kernel<T> for Cost<'_, T, D> {
    type Output = Sums;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> Sums {
        let stride = self.power.len();
        let variance = self.variance;
        variance.check(stride, L::N);
        assert!(self.n_frames <= stride);
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut totals = [L::splat(T::ZERO); 4];
            each_register!(L, variance, stride, tv, at, {
                let (a, r) = variance.at(tv, at);
                let cost = variance.density.cost(r, L::load(self.power.as_ptr().add(at)), at);
                let given = L::load(variance.given.as_ptr().add(at));
                let n = self.n_frames.saturating_sub(at);
                for (total, x) in totals.iter_mut().zip([cost, tv, a.mul(tv), given]) {
                    *total = total.add(if n < L::N { first(x, n) } else { x });
                }
            });
            let [cost, low_rank, weighted_low_rank, given] = totals;
            Sums {
                cost: sum(cost),
                low_rank: sum(low_rank),
                weighted_low_rank: sum(weighted_low_rank),
                given: sum(given),
            }
        }
    }
}
