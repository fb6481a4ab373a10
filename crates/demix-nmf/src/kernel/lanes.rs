//! [`Lanes`]: a register of equal numbers, on AVX-512, AVX2 or any machine.
//!
//! Everything here is inlined into a function that was compiled for the instructions in question
//! (see [`super::step`]); that is what makes the calls sound and fast.

use demix_signal::Real;

/// A SIMD register of `N` numbers.
///
/// # Safety
/// The methods may only run on a processor that has the instructions of the implementation.
pub(super) trait Lanes: Copy {
    type Real: Real;
    /// Numbers in a register.
    const N: usize;

    unsafe fn splat(x: Self::Real) -> Self;
    /// Reads `N` numbers; `from` needs no alignment.
    unsafe fn load(from: *const Self::Real) -> Self;
    /// Writes `N` numbers; `to` needs no alignment.
    unsafe fn store(self, to: *mut Self::Real);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn sqrt(self) -> Self;
    /// self * factor + term; fused where the machine can.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// Natural logarithm of positive normal numbers.
    unsafe fn ln(self) -> Self;

    /// The same function of every number.
    #[inline(always)]
    unsafe fn map(self, f: impl Fn(Self::Real) -> Self::Real) -> Self {
        let mut x = [Self::Real::ZERO; 16];
        unsafe {
            self.store(x.as_mut_ptr());
            for value in &mut x[..Self::N] {
                *value = f(*value);
            }
            Self::load(x.as_ptr())
        }
    }
}

/// ln(1 + f) = f - f^2/2 + f^3 P(f), |error| < 2e-8 on -1/4 <= f <= 1/2: a least-squares fit at Chebyshev
/// points. The form keeps relative accuracy where the argument is near one, where a good fit has it.
const LN_P: [f32; 7] =
    [0.33333561, -0.24996503, 0.19978735, -0.16779371, 0.14932668, -0.12233668, 0.05666398];
/// The bits of 0.75: x = m 2^e with m in 0.75..1.5.
const THREE_QUARTERS: i32 = 0x3f40_0000;
/// ln 2 in two parts: the first has few digits, so that its product with an exponent is exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);

/// ln x from x = m 2^e, given m - 1 and e.
#[inline(always)]
unsafe fn ln_from_parts<L: Lanes<Real = f32>>(f: L, e: L) -> L {
    unsafe {
        let mut p = L::splat(LN_P[6]);
        for coefficient in LN_P[..6].iter().rev() {
            p = p.mul_add(f, L::splat(*coefficient));
        }
        let square = f.mul(f);
        let tail = p.mul(f).sub(L::splat(0.5)).mul(square);
        let low = e.mul_add(L::splat(LN_2.1), tail).add(f);
        e.mul_add(L::splat(LN_2.0), low)
    }
}

/// Plain arrays: every machine, the same bits everywhere (no fused operation).
#[derive(Clone, Copy)]
pub(super) struct Portable<T, const N: usize>([T; N]);

macro_rules! portable {
    ($real:ty, $n:literal, $ln:expr) => {
        impl Lanes for Portable<$real, $n> {
            type Real = $real;
            const N: usize = $n;
            #[inline(always)]
            unsafe fn splat(x: $real) -> Self {
                Self([x; $n])
            }
            #[inline(always)]
            unsafe fn load(from: *const $real) -> Self {
                // SAFETY: the caller promises N readable numbers.
                Self(unsafe { from.cast::<[$real; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $real) {
                // SAFETY: the caller promises N writable numbers.
                unsafe { to.cast::<[$real; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] + other.0[n]))
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] - other.0[n]))
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] * other.0[n]))
            }
            #[inline(always)]
            unsafe fn div(self, other: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] / other.0[n]))
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                Self(std::array::from_fn(|n| if self.0[n] > other.0[n] { self.0[n] } else { other.0[n] }))
            }
            #[inline(always)]
            unsafe fn sqrt(self) -> Self {
                Self(std::array::from_fn(|n| self.0[n].sqrt()))
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] * factor.0[n] + term.0[n]))
            }
            #[inline(always)]
            unsafe fn ln(self) -> Self {
                #[allow(clippy::redundant_closure_call)]
                unsafe {
                    ($ln)(self)
                }
            }
        }
    };
}

portable!(f32, 4, |x: Self| {
    let bits = x.0.map(|x| x.to_bits() as i32 - THREE_QUARTERS);
    let mantissa = bits.map(|b| f32::from_bits(((b & 0x7f_ffff) + THREE_QUARTERS) as u32) - 1.0);
    ln_from_parts(Self(mantissa), Self(bits.map(|b| (b >> 23) as f32)))
});
portable!(f64, 4, |x: Self| x.map(f64::ln));

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{Lanes, THREE_QUARTERS, ln_from_parts};
    use std::arch::x86_64::*;

    macro_rules! x86_lanes {
        ($(#[$doc:meta])+ $name:ident, $register:ident, $real:ident, $n:literal, $set1:ident, $load:ident,
         $store:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $max:ident, $sqrt:ident, $fma:ident,
         $ln:expr) => {
            $(#[$doc])+
            #[derive(Clone, Copy)]
            pub(in super::super) struct $name($register);

            impl Lanes for $name {
                type Real = $real;
                const N: usize = $n;
                #[inline(always)]
                unsafe fn splat(x: $real) -> Self {
                    unsafe { Self($set1(x)) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $real) -> Self {
                    unsafe { Self($load(from)) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $real) {
                    unsafe { $store(to, self.0) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    unsafe { Self($add(self.0, other.0)) }
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    unsafe { Self($sub(self.0, other.0)) }
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    unsafe { Self($mul(self.0, other.0)) }
                }
                #[inline(always)]
                unsafe fn div(self, other: Self) -> Self {
                    unsafe { Self($div(self.0, other.0)) }
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    unsafe { Self($max(self.0, other.0)) }
                }
                #[inline(always)]
                unsafe fn sqrt(self) -> Self {
                    unsafe { Self($sqrt(self.0)) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                    unsafe { Self($fma(self.0, factor.0, term.0)) }
                }
                #[inline(always)]
                unsafe fn ln(self) -> Self {
                    #[allow(clippy::redundant_closure_call)]
                    unsafe {
                        ($ln)(self)
                    }
                }
            }
        };
    }

    x86_lanes!(
        /// 16 single-precision numbers.
        Avx512F32, __m512, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
        _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps, _mm512_max_ps, _mm512_sqrt_ps, _mm512_fmadd_ps,
        |x: Self| {
            let base = _mm512_set1_epi32(THREE_QUARTERS);
            let bits = _mm512_sub_epi32(_mm512_castps_si512(x.0), base);
            let e = Self(_mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(bits)));
            let m = _mm512_add_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7f_ffff)), base);
            ln_from_parts(Self(_mm512_castsi512_ps(m)).sub(Self::splat(1.0)), e)
        }
    );
    x86_lanes!(
        /// 8 single-precision numbers.
        Avx2F32, __m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
        _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps, _mm256_max_ps, _mm256_sqrt_ps, _mm256_fmadd_ps,
        |x: Self| {
            let base = _mm256_set1_epi32(THREE_QUARTERS);
            let bits = _mm256_sub_epi32(_mm256_castps_si256(x.0), base);
            let e = Self(_mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(bits)));
            let m = _mm256_add_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7f_ffff)), base);
            ln_from_parts(Self(_mm256_castsi256_ps(m)).sub(Self::splat(1.0)), e)
        }
    );
    x86_lanes!(
        /// 8 double-precision numbers.
        Avx512F64, __m512d, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd,
        _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd, _mm512_max_pd, _mm512_sqrt_pd, _mm512_fmadd_pd,
        |x: Self| x.map(f64::ln)
    );
    x86_lanes!(
        /// 4 double-precision numbers.
        Avx2F64, __m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd,
        _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd, _mm256_max_pd, _mm256_sqrt_pd, _mm256_fmadd_pd,
        |x: Self| x.map(f64::ln)
    );
}
