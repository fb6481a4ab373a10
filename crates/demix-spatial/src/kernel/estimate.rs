//! y = w^H x of one bin.

use demix_signal::Complex;
use demix_signal::simd::{Kernel, Lanes};

/// |w^H x|^2 over frames.
pub(crate) struct Power<'a, T> {
    /// Planes of the mixture: real and imaginary part of each channel, `stride` numbers each.
    pub x: &'a [T],
    /// Row of the demixing matrix, w^H.
    pub row: &'a [Complex<f64>],
    /// `stride` numbers.
    pub out: &'a mut [T],
}

impl<T: demix_signal::Real> Kernel<T> for Power<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.out.len();
        assert_eq!(self.x.len(), 2 * self.row.len() * stride);
        let out = self.out.as_mut_ptr();
        for j in (0..stride).step_by(L::N) {
            // SAFETY: the planes and `out` have `stride` numbers, a multiple of the register.
            unsafe {
                let (re, im) = dot::<L>(self.x, self.row, stride, j);
                re.mul_add(re, im.mul(im)).store(out.add(j));
            }
        }
    }
}

/// w^H x over frames, as planes of real and imaginary parts.
pub(crate) struct Estimate<'a, T> {
    /// As in [`Power`].
    pub x: &'a [T],
    /// As in [`Power`].
    pub row: &'a [Complex<f64>],
    /// `stride` real parts.
    pub re: &'a mut [T],
    /// `stride` imaginary parts.
    pub im: &'a mut [T],
}

impl<T: demix_signal::Real> Kernel<T> for Estimate<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.re.len();
        assert_eq!(self.im.len(), stride);
        assert_eq!(self.x.len(), 2 * self.row.len() * stride);
        for j in (0..stride).step_by(L::N) {
            // SAFETY: as above.
            unsafe {
                let (re, im) = dot::<L>(self.x, self.row, stride, j);
                re.store(self.re.as_mut_ptr().add(j));
                im.store(self.im.as_mut_ptr().add(j));
            }
        }
    }
}

/// One register of w^H x.
#[inline(always)]
unsafe fn dot<L: Lanes>(x: &[L::Real], row: &[Complex<f64>], stride: usize, j: usize) -> (L, L) {
    use demix_signal::Real as _;
    let x = x.as_ptr();
    unsafe {
        let (mut re, mut im) = (L::splat(L::Real::of(0.0)), L::splat(L::Real::of(0.0)));
        for (channel, w) in row.iter().enumerate() {
            let x_re = L::load(x.add(2 * channel * stride + j));
            let x_im = L::load(x.add((2 * channel + 1) * stride + j));
            let (w_re, w_im) = (L::splat(L::Real::of(w.re)), L::splat(L::Real::of(w.im)));
            let minus_w_im = L::splat(L::Real::of(-w.im));
            re = w_re.mul_add(x_re, minus_w_im.mul_add(x_im, re));
            im = w_re.mul_add(x_im, w_im.mul_add(x_re, im));
        }
        (re, im)
    }
}
