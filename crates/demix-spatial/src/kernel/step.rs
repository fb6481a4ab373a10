//! The multiplicative step x <- x (num / den)^g of many numbers at once.

use demix_signal::Real;
use demix_signal::simd::{Kernel, Lanes};

use super::low_rank::row_sums;
use super::{STRIDE_UNIT, first};

/// Added to both sums: a factor without any effect, whose sums are 0, stays.
const LEAST_SUM: f64 = 1e-37;

/// x <- x (num / den)^exponent, at least `floor`; also where the result is not a number.
pub(crate) struct Step<'a, T> {
    /// Whole registers.
    pub x: &'a mut [T],
    /// As long as `x`.
    pub numerator: &'a [T],
    /// As long as `x`.
    pub denominator: &'a [T],
    pub exponent: f64,
    pub floor: T,
    /// Numbers of `x` that are meant; the others stay.
    pub n: usize,
}

impl<T: Real> Kernel<T> for Step<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let length = self.x.len();
        assert!(length.is_multiple_of(L::N) && self.n <= length);
        assert!(self.numerator.len() == length && self.denominator.len() == length);
        // SAFETY: the lengths were checked above.
        unsafe {
            for j in (0..self.n).step_by(L::N) {
                let at = self.x.as_mut_ptr().add(j);
                let x = L::load(at);
                let (num, den) =
                    (L::load(self.numerator.as_ptr().add(j)), L::load(self.denominator.as_ptr().add(j)));
                let new = stepped(x, num, den, self.exponent, self.floor);
                if j + L::N <= self.n {
                    new.store(at);
                } else {
                    // x + (new - x) would round
                    let n = self.n - j;
                    first(new, n).add(x.sub(first(x, n))).store(at);
                }
            }
        }
    }
}

/// One register.
#[inline(always)]
unsafe fn stepped<L: Lanes>(x: L, num: L, den: L, exponent: f64, floor: L::Real) -> L {
    unsafe {
        let least = L::splat(L::Real::of(LEAST_SUM));
        let ratio = num.add(least).div(den.add(least));
        let factor = if exponent == 0.5 {
            ratio.sqrt()
        } else if exponent == 1.0 {
            ratio
        } else {
            ratio.map(|x| x.to_the(L::Real::of(exponent)))
        };
        x.mul(factor).max(L::splat(floor))
    }
}

/// The step of one row of T, with sums over frames: t <- t [(neg V^T) / (pos V^T)]^g.
pub(crate) struct RowStep<'a, T> {
    /// K numbers.
    pub t: &'a mut [T],
    /// V: K x stride.
    pub v: &'a [T],
    /// 0 in the padding.
    pub positive: &'a [T],
    /// 0 in the padding.
    pub negative: &'a [T],
    pub exponent: f64,
    pub floor: T,
}

impl<T: Real> Kernel<T> for RowStep<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.positive.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        let v = self.v.chunks(STRIDE_UNIT * stride);
        for (t, v) in self.t.chunks_mut(STRIDE_UNIT).zip(v) {
            let n = t.len();
            let (mut x, mut numerator, mut denominator) =
                ([T::ONE; STRIDE_UNIT], [T::ONE; STRIDE_UNIT], [T::ONE; STRIDE_UNIT]);
            x[..n].copy_from_slice(t);
            // SAFETY: every kernel checks its lengths.
            unsafe {
                row_sums::<L>(v, self.positive, self.negative, &mut numerator[..n], &mut denominator[..n]);
                let step = Step {
                    x: &mut x,
                    numerator: &numerator,
                    denominator: &denominator,
                    exponent: self.exponent,
                    floor: self.floor,
                    n,
                };
                step.run::<L>();
            }
            t.copy_from_slice(&x[..n]);
        }
    }
}
