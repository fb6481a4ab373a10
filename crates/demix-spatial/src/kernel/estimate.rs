//! y = w^H x of one bin.

use demix_signal::simd::{Kernel, Lanes};
use demix_signal::{Complex, Real};

/// |w^H x|^2 over frames.
pub(crate) struct Power<'a, T> {
    /// Planes of the mixture: real and imaginary part of each channel, `stride` numbers each.
    pub x: &'a [T],
    /// Row of the demixing matrix, w^H.
    pub row: &'a [Complex<f64>],
    /// `stride` numbers.
    pub out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Power<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.out.len();
        assert!(self.x.len() == 2 * self.row.len() * stride && stride.is_multiple_of(L::N));
        let out = self.out.as_mut_ptr();
        // SAFETY: the planes and `out` have `stride` numbers, a multiple of the register.
        unsafe {
            match self.row.len() {
                2 => powers::<L, 2>(self.x, self.row, stride, out),
                3 => powers::<L, 3>(self.x, self.row, stride, out),
                4 => powers::<L, 4>(self.x, self.row, stride, out),
                _ => {
                    for j in (0..stride).step_by(L::N) {
                        let (re, im) = dot::<L>(self.x, self.row, stride, j);
                        re.mul_add(re, im.mul(im)).store(out.add(j));
                    }
                }
            }
        }
    }
}

/// [`Power`] of few channels, the row in registers.
#[inline(always)]
unsafe fn powers<L: Lanes, const M: usize>(
    x: &[L::Real],
    row: &[Complex<f64>],
    stride: usize,
    out: *mut L::Real,
) {
    unsafe {
        let zero = L::splat(L::Real::ZERO);
        let mut w = [[zero; 3]; M];
        for channel in 0..M {
            w[channel] = splat(row[channel]);
        }
        let mut j = 0;
        while j < stride {
            let (mut re, mut im) = (zero, zero);
            for channel in 0..M {
                (re, im) = add_product(w[channel], x, channel, stride, j, (re, im));
            }
            re.mul_add(re, im.mul(im)).store(out.add(j));
            j += L::N;
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

impl<T: Real> Kernel<T> for Estimate<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.re.len();
        assert_eq!(self.im.len(), stride);
        assert!(self.x.len() == 2 * self.row.len() * stride && stride.is_multiple_of(L::N));
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
    unsafe {
        let mut sum = (L::splat(L::Real::ZERO), L::splat(L::Real::ZERO));
        for (channel, &w) in row.iter().enumerate() {
            sum = add_product(splat(w), x, channel, stride, j, sum);
        }
        sum
    }
}

/// The real part, the imaginary part, and minus that.
#[inline(always)]
unsafe fn splat<L: Lanes>(w: Complex<f64>) -> [L; 3] {
    unsafe { [L::splat(L::Real::of(w.re)), L::splat(L::Real::of(w.im)), L::splat(L::Real::of(-w.im))] }
}

/// The sum plus w x of one channel.
#[inline(always)]
unsafe fn add_product<L: Lanes>(
    [re, im, minus_im]: [L; 3],
    x: &[L::Real],
    channel: usize,
    stride: usize,
    j: usize,
    sum: (L, L),
) -> (L, L) {
    unsafe {
        let x_re = L::load(x.as_ptr().add(2 * channel * stride + j));
        let x_im = L::load(x.as_ptr().add((2 * channel + 1) * stride + j));
        (re.mul_add(x_re, minus_im.mul_add(x_im, sum.0)), re.mul_add(x_im, im.mul_add(x_re, sum.1)))
    }
}
