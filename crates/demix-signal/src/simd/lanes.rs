//! [`Lanes`]: a register of equal numbers, on AVX-512, AVX2 or any machine.
//!
//! Everything here is inlined into a function that was compiled for the instructions in question
//! (`#[target_feature]`); that is what makes the calls sound and fast.

use crate::Real;

/// A SIMD register of `N` numbers.
///
/// # Safety
/// The methods may only run on a processor that has the instructions of the implementation.
pub trait Lanes: Copy {
    /// The numbers of a register.
    type Real: Real;
    /// Numbers in a register.
    const N: usize;

    /// Every lane `x`.
    unsafe fn splat(x: Self::Real) -> Self;
    /// Reads `N` numbers; `from` needs no alignment.
    unsafe fn load(from: *const Self::Real) -> Self;
    /// Writes `N` numbers; `to` needs no alignment.
    unsafe fn store(self, to: *mut Self::Real);
    /// Asks for the cache line at `from`, which need not exist, ahead of its use.
    #[inline(always)]
    unsafe fn prefetch(_from: *const Self::Real) {}
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self - other.
    unsafe fn sub(self, other: Self) -> Self;
    /// self * other.
    unsafe fn mul(self, other: Self) -> Self;
    /// self / other.
    unsafe fn div(self, other: Self) -> Self;
    /// 1 / self of positive normal numbers, to a unit or two in the last place.
    unsafe fn inverse(self) -> Self;
    /// The larger of both.
    unsafe fn max(self, other: Self) -> Self;
    /// The square root.
    unsafe fn sqrt(self) -> Self;
    /// The number where it is larger than `limit`, else 0.
    unsafe fn above(self, limit: Self) -> Self;
    /// self * factor + term; fused where the machine can.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// Natural logarithm of positive normal numbers.
    unsafe fn ln(self) -> Self;
    /// (m, e) of positive normal numbers x = m 2^e, 1 <= m < 2.
    unsafe fn parts(self) -> (Self, Self);
    /// The sum of the lanes of each of four registers: together they take fewer steps than one by one.
    unsafe fn totals(x: [Self; 4]) -> [Self::Real; 4];

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
const LN_P: [f32; 7] = [0.3333356, -0.24996503, 0.19978735, -0.1677937, 0.14932668, -0.12233668, 0.05666398];
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
pub struct Portable<T, const N: usize>([T; N]);

macro_rules! portable {
    ($real:ty, $n:literal, $ln:path, $digits:literal, $bias:literal) => {
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
            unsafe fn inverse(self) -> Self {
                Self(self.0.map(|x| 1.0 / x))
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
            unsafe fn above(self, limit: Self) -> Self {
                Self(std::array::from_fn(|n| if self.0[n] > limit.0[n] { self.0[n] } else { 0.0 }))
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                Self(std::array::from_fn(|n| self.0[n] * factor.0[n] + term.0[n]))
            }
            #[inline(always)]
            unsafe fn ln(self) -> Self {
                unsafe { $ln(self) }
            }
            #[inline(always)]
            unsafe fn parts(self) -> (Self, Self) {
                let one = <$real>::to_bits(1.0);
                let m = self.0.map(|x| <$real>::from_bits(x.to_bits() & ((1 << $digits) - 1) | one));
                let e = self.0.map(|x| ((x.to_bits() >> $digits) as i32 - $bias) as $real);
                (Self(m), Self(e))
            }
            #[inline(always)]
            unsafe fn totals(x: [Self; 4]) -> [$real; 4] {
                x.map(|x| (x.0[0] + x.0[1]) + (x.0[2] + x.0[3]))
            }
        }
    };
}

portable!(f32, 4, ln_portable, 23, 127);
portable!(f64, 4, ln_one_by_one, 52, 1023);

// Logarithms are functions and not closures: a closure would not inherit the vector instructions.

#[inline(always)]
unsafe fn ln_portable(x: Portable<f32, 4>) -> Portable<f32, 4> {
    let bits = x.0.map(|x| x.to_bits() as i32 - THREE_QUARTERS);
    let mantissa = bits.map(|b| f32::from_bits(((b & 0x7f_ffff) + THREE_QUARTERS) as u32) - 1.0);
    unsafe { ln_from_parts(Portable(mantissa), Portable(bits.map(|b| (b >> 23) as f32))) }
}

/// Double precision serves where digits matter more than speed.
#[inline(always)]
unsafe fn ln_one_by_one<L: Lanes<Real = f64>>(x: L) -> L {
    unsafe { x.map(f64::ln) }
}

/// Registers of x86 processors.
#[cfg(target_arch = "x86_64")]
pub mod x86 {
    use super::{Lanes, THREE_QUARTERS, ln_from_parts, ln_one_by_one};
    use std::arch::x86_64::*;

    macro_rules! x86_lanes {
        ($(#[$doc:meta])+ $name:ident, $register:ident, $real:ident, $n:literal, $set1:ident, $load:ident,
         $store:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $max:ident, $sqrt:ident, $fma:ident,
         $inverse:path, $above:path, $ln:path, $parts:path, $totals:path) => {
            $(#[$doc])+
            #[derive(Clone, Copy)]
            pub struct $name($register);

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
                unsafe fn prefetch(from: *const $real) {
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
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
                unsafe fn inverse(self) -> Self {
                    unsafe { $inverse(self) }
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
                unsafe fn above(self, limit: Self) -> Self {
                    unsafe { $above(self, limit) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                    unsafe { Self($fma(self.0, factor.0, term.0)) }
                }
                #[inline(always)]
                unsafe fn ln(self) -> Self {
                    unsafe { $ln(self) }
                }
                #[inline(always)]
                unsafe fn parts(self) -> (Self, Self) {
                    unsafe { $parts(self) }
                }
                #[inline(always)]
                unsafe fn totals(x: [Self; 4]) -> [$real; 4] {
                    unsafe { $totals(x) }
                }
            }
        };
    }

    x86_lanes!(
        /// 16 single-precision numbers.
        Avx512F32, __m512, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps,
        _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps, _mm512_max_ps, _mm512_sqrt_ps, _mm512_fmadd_ps,
        inverse_avx512, above_avx512_ps, ln_avx512, parts_avx512_ps, totals_avx512_ps
    );
    x86_lanes!(
        /// 8 single-precision numbers.
        Avx2F32, __m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps,
        _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps, _mm256_max_ps, _mm256_sqrt_ps, _mm256_fmadd_ps,
        inverse_avx2, above_avx2_ps, ln_avx2, parts_avx2_ps, totals_avx2_ps
    );
    x86_lanes!(
        /// 8 double-precision numbers.
        Avx512F64, __m512d, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd,
        _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd, _mm512_max_pd, _mm512_sqrt_pd, _mm512_fmadd_pd,
        inverse_exact, above_avx512_pd, ln_one_by_one, parts_avx512_pd, totals_avx512_pd
    );
    x86_lanes!(
        /// 4 double-precision numbers.
        Avx2F64, __m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd,
        _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd, _mm256_max_pd, _mm256_sqrt_pd, _mm256_fmadd_pd,
        inverse_exact, above_avx2_pd, ln_one_by_one, parts_avx2_pd, totals_avx2_pd
    );

    #[inline(always)]
    unsafe fn ln_avx512(x: Avx512F32) -> Avx512F32 {
        unsafe {
            let base = _mm512_set1_epi32(THREE_QUARTERS);
            let bits = _mm512_sub_epi32(_mm512_castps_si512(x.0), base);
            let e = Avx512F32(_mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(bits)));
            let m = _mm512_add_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0x7f_ffff)), base);
            ln_from_parts(Avx512F32(_mm512_castsi512_ps(m)).sub(Avx512F32::splat(1.0)), e)
        }
    }

    #[inline(always)]
    unsafe fn ln_avx2(x: Avx2F32) -> Avx2F32 {
        unsafe {
            let base = _mm256_set1_epi32(THREE_QUARTERS);
            let bits = _mm256_sub_epi32(_mm256_castps_si256(x.0), base);
            let e = Avx2F32(_mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(bits)));
            let m = _mm256_add_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7f_ffff)), base);
            ln_from_parts(Avx2F32(_mm256_castsi256_ps(m)).sub(Avx2F32::splat(1.0)), e)
        }
    }

    /// An estimate and one step of Newton's: y + y (1 - x y) doubles its digits, and the divider rests.
    #[inline(always)]
    unsafe fn inverse_avx512(x: Avx512F32) -> Avx512F32 {
        unsafe {
            let y = _mm512_rcp14_ps(x.0);
            let error = _mm512_fnmadd_ps(x.0, y, _mm512_set1_ps(1.0));
            Avx512F32(_mm512_fmadd_ps(y, error, y))
        }
    }

    /// As [`inverse_avx512`]; the estimate has 12 digits instead of 14, so two steps are taken.
    #[inline(always)]
    unsafe fn inverse_avx2(x: Avx2F32) -> Avx2F32 {
        unsafe {
            let mut y = _mm256_rcp_ps(x.0);
            for _ in 0..2 {
                let error = _mm256_fnmadd_ps(x.0, y, _mm256_set1_ps(1.0));
                y = _mm256_fmadd_ps(y, error, y);
            }
            Avx2F32(y)
        }
    }

    #[inline(always)]
    unsafe fn inverse_exact<L: Lanes<Real = f64>>(x: L) -> L {
        unsafe { L::splat(1.0).div(x) }
    }

    #[inline(always)]
    unsafe fn parts_avx512_ps(x: Avx512F32) -> (Avx512F32, Avx512F32) {
        unsafe {
            let m = _mm512_getmant_ps::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(x.0);
            (Avx512F32(m), Avx512F32(_mm512_getexp_ps(x.0)))
        }
    }

    #[inline(always)]
    unsafe fn parts_avx512_pd(x: Avx512F64) -> (Avx512F64, Avx512F64) {
        unsafe {
            let m = _mm512_getmant_pd::<_MM_MANT_NORM_1_2, _MM_MANT_SIGN_SRC>(x.0);
            (Avx512F64(m), Avx512F64(_mm512_getexp_pd(x.0)))
        }
    }

    #[inline(always)]
    unsafe fn parts_avx2_ps(x: Avx2F32) -> (Avx2F32, Avx2F32) {
        unsafe {
            let bits = _mm256_castps_si256(x.0);
            let e = _mm256_sub_epi32(_mm256_srli_epi32::<23>(bits), _mm256_set1_epi32(127));
            let m = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f_ffff));
            let m = _mm256_or_si256(m, _mm256_castps_si256(_mm256_set1_ps(1.0)));
            (Avx2F32(_mm256_castsi256_ps(m)), Avx2F32(_mm256_cvtepi32_ps(e)))
        }
    }

    /// An integer below 2^52 becomes the digits of a number beside 2^52, which is then taken off.
    #[inline(always)]
    unsafe fn parts_avx2_pd(x: Avx2F64) -> (Avx2F64, Avx2F64) {
        const BESIDE: f64 = 4_503_599_627_370_496.0;
        unsafe {
            let bits = _mm256_castpd_si256(x.0);
            let e =
                _mm256_or_si256(_mm256_srli_epi64::<52>(bits), _mm256_castpd_si256(_mm256_set1_pd(BESIDE)));
            let e = _mm256_sub_pd(_mm256_castsi256_pd(e), _mm256_set1_pd(BESIDE + 1023.0));
            let m = _mm256_and_si256(bits, _mm256_set1_epi64x(0xf_ffff_ffff_ffff));
            let m = _mm256_or_si256(m, _mm256_castpd_si256(_mm256_set1_pd(1.0)));
            (Avx2F64(_mm256_castsi256_pd(m)), Avx2F64(e))
        }
    }

    /// Halves are added until four numbers are left of each, then neighbours of all four at once.
    #[inline(always)]
    unsafe fn totals_avx512_ps([a, b, c, d]: [Avx512F32; 4]) -> [f32; 4] {
        unsafe { totals_avx2_ps([halved_ps(a), halved_ps(b), halved_ps(c), halved_ps(d)]) }
    }

    #[inline(always)]
    unsafe fn halved_ps(x: Avx512F32) -> Avx2F32 {
        unsafe {
            let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(x.0));
            Avx2F32(_mm256_add_ps(_mm512_castps512_ps256(x.0), _mm256_castpd_ps(high)))
        }
    }

    #[inline(always)]
    unsafe fn totals_avx2_ps([a, b, c, d]: [Avx2F32; 4]) -> [f32; 4] {
        unsafe {
            let quarters = _mm256_hadd_ps(_mm256_hadd_ps(a.0, b.0), _mm256_hadd_ps(c.0, d.0));
            let sums = _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps::<1>(quarters));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }

    #[inline(always)]
    unsafe fn totals_avx512_pd([a, b, c, d]: [Avx512F64; 4]) -> [f64; 4] {
        unsafe { totals_avx2_pd([halved_pd(a), halved_pd(b), halved_pd(c), halved_pd(d)]) }
    }

    #[inline(always)]
    unsafe fn halved_pd(x: Avx512F64) -> Avx2F64 {
        unsafe { Avx2F64(_mm256_add_pd(_mm512_castpd512_pd256(x.0), _mm512_extractf64x4_pd::<1>(x.0))) }
    }

    #[inline(always)]
    unsafe fn totals_avx2_pd([a, b, c, d]: [Avx2F64; 4]) -> [f64; 4] {
        unsafe {
            let (ab, cd) = (_mm256_hadd_pd(a.0, b.0), _mm256_hadd_pd(c.0, d.0));
            let sums =
                _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(ab, cd), _mm256_permute2f128_pd::<0x31>(ab, cd));
            let mut out = [0.0; 4];
            _mm256_storeu_pd(out.as_mut_ptr(), sums);
            out
        }
    }

    #[inline(always)]
    unsafe fn above_avx512_ps(x: Avx512F32, limit: Avx512F32) -> Avx512F32 {
        unsafe { Avx512F32(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x.0, limit.0), x.0)) }
    }

    #[inline(always)]
    unsafe fn above_avx512_pd(x: Avx512F64, limit: Avx512F64) -> Avx512F64 {
        unsafe { Avx512F64(_mm512_maskz_mov_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(x.0, limit.0), x.0)) }
    }

    #[inline(always)]
    unsafe fn above_avx2_ps(x: Avx2F32, limit: Avx2F32) -> Avx2F32 {
        unsafe { Avx2F32(_mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x.0, limit.0), x.0)) }
    }

    #[inline(always)]
    unsafe fn above_avx2_pd(x: Avx2F64, limit: Avx2F64) -> Avx2F64 {
        unsafe { Avx2F64(_mm256_and_pd(_mm256_cmp_pd::<_CMP_GT_OQ>(x.0, limit.0), x.0)) }
    }
}
