//! The probability densities of one slot, given its variance, register by register.

use demix_signal::Real;
use demix_signal::simd::Lanes;

/// A circular complex density of y with scale r: its spatial weight xi and its cost.
///
/// # Safety
/// The methods have the contract of [`Lanes`]; r is positive and normal.
pub(crate) trait Density: Copy + Send + Sync {
    /// Whether xi depends on |y|^2.
    const NEEDS_POWER: bool;
    /// 1 / xi.
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L) -> L;
    /// The cost less log r: the negative logarithm of the density without constants is misfit + log r.
    unsafe fn misfit<L: Lanes>(&self, r: L, power: L) -> L;
}

/// xi = r, cost P / r + log r.
#[derive(Clone, Copy)]
pub(crate) struct Gauss;

impl Density for Gauss {
    const NEEDS_POWER: bool = false;
    #[inline(always)]
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, _: L) -> L {
        unsafe { r.inverse() }
    }
    #[inline(always)]
    unsafe fn misfit<L: Lanes>(&self, r: L, power: L) -> L {
        unsafe { power.mul(r.inverse()) }
    }
}

/// log(1 + q) for q >= 0, also where 1 + q is rounded to 1.
///
/// # Safety
/// As every use of a register.
#[inline(always)]
pub(crate) unsafe fn ln_1p<L: Lanes>(q: L) -> L {
    unsafe {
        let (one, minus_one) = (L::splat(L::Real::ONE), L::splat(L::Real::of(-1.0)));
        let sum = one.add(q);
        // what the sum has lost is in the ratio of q to sum - 1
        let held = sum.add(minus_one).max(L::splat(L::Real::of(1e-30)));
        let of_sum = sum.ln().mul(q).mul(held.inverse());
        // below log(1 + q) everywhere, and as good as it where nothing is held
        of_sum.max(q.mul(one.add(minus_one.mul(q))))
    }
}

/// Student's t with nu degrees of freedom: xi = (nu r + 2 P) / (nu + 2),
/// cost (1 + nu/2) log(1 + 2 P / (nu r)) + log r.
#[derive(Clone, Copy)]
pub(crate) struct Student {
    pub nu: f64,
}

impl Density for Student {
    const NEEDS_POWER: bool = true;
    #[inline(always)]
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L) -> L {
        unsafe {
            let (a, b) = (L::Real::of(self.nu / (self.nu + 2.0)), L::Real::of(2.0 / (self.nu + 2.0)));
            L::splat(a).mul_add(r, L::splat(b).mul(power)).inverse()
        }
    }
    #[inline(always)]
    unsafe fn misfit<L: Lanes>(&self, r: L, power: L) -> L {
        unsafe {
            let ratio = L::splat(L::Real::of(2.0 / self.nu)).mul(power).mul(r.inverse());
            L::splat(L::Real::of(1.0 + self.nu / 2.0)).mul(ln_1p(ratio))
        }
    }
}

/// Generalised Gaussian of shape b: xi = (2/b) r^(b/2) P^(1 - b/2), cost (P/r)^(b/2) + log r.
#[derive(Clone, Copy)]
pub(crate) struct Generalized {
    pub shape: f64,
}

/// Powers below this share of the level count as this much: xi would vanish with them.
const POWER_FLOOR: f64 = 1e-14;

impl Density for Generalized {
    const NEEDS_POWER: bool = true;
    #[inline(always)]
    unsafe fn inverse_weight<L: Lanes>(&self, r: L, power: L) -> L {
        unsafe {
            let p = power.max(L::splat(L::Real::of(POWER_FLOOR)));
            let half = L::Real::of(self.shape / 2.0);
            // xi = (2/b) P (r/P)^(b/2)
            let inverse = p.mul(r.inverse()).map(|x| x.to_the(half)).mul(p.inverse());
            L::splat(L::Real::of(self.shape / 2.0)).mul(inverse)
        }
    }
    #[inline(always)]
    unsafe fn misfit<L: Lanes>(&self, r: L, power: L) -> L {
        unsafe {
            let half = L::Real::of(self.shape / 2.0);
            power.mul(r.inverse()).map(|x| x.to_the(half))
        }
    }
}
