//! T V of one bin, and what the multiplicative updates and the spatial weights need of it.
//!
//! With p the domain, the variance is r = (T V)^(2/p). The cost of one slot is c(P, r); its slope along T V is
//! pos - neg, and the common factor 2/p of both is left out, since the update uses their quotient alone:
//! pos = 1 / (T V), neg = P / (T V xi).

use demix_signal::simd::{Kernel, Lanes};
use demix_signal::{Complex, Real};

use super::density::Density;
use super::{first, sum};

/// Registers of frames that are computed together, so that the sum over components does not wait for itself.
const WIDE: usize = 4;

/// sum_k t_k v_kj of `WIDE` registers from frame j on.
#[inline(always)]
unsafe fn product<L: Lanes>(t: &[L::Real], v: &[L::Real], stride: usize, j: usize) -> [L; WIDE] {
    unsafe {
        let mut tv = [L::splat(L::Real::ZERO); WIDE];
        for (k, &t) in t.iter().enumerate() {
            let t = L::splat(t);
            let row = v.as_ptr().add(k * stride + j);
            for (w, tv) in tv.iter_mut().enumerate() {
                *tv = t.mul_add(L::load(row.add(w * L::N)), *tv);
            }
        }
        let least = L::splat(smallest::<L::Real>().0);
        for tv in &mut tv {
            *tv = tv.max(least);
        }
        tv
    }
}

/// As [`product`], one register.
#[inline(always)]
unsafe fn product_1<L: Lanes>(t: &[L::Real], v: &[L::Real], stride: usize, j: usize) -> L {
    unsafe {
        let mut tv = L::splat(L::Real::ZERO);
        for (k, &t) in t.iter().enumerate() {
            tv = L::splat(t).mul_add(L::load(v.as_ptr().add(k * stride + j)), tv);
        }
        tv.max(L::splat(smallest::<L::Real>().0))
    }
}

/// T V from frame j on, as many registers as there is room for: how many, and they.
#[inline(always)]
pub(super) unsafe fn registers<L: Lanes>(
    t: &[L::Real],
    v: &[L::Real],
    stride: usize,
    j: usize,
) -> (usize, [L; WIDE]) {
    unsafe {
        if j + WIDE * L::N <= stride {
            (WIDE, product(t, v, stride, j))
        } else {
            (1, [product_1(t, v, stride, j); WIDE])
        }
    }
}

/// The slopes pos and neg of one bin, and on request the cost of its slots.
pub(crate) struct Slopes<'a, T, D> {
    pub density: D,
    /// 2 / p.
    pub power_of_tv: f64,
    /// Row of T: K numbers.
    pub t: &'a [T],
    /// V: K x stride.
    pub v: &'a [T],
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

impl<T: Real, D: Density> Kernel<T> for Slopes<'_, T, D> {
    /// sum_j c(P_j, r_j).
    type Output = f64;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> f64 {
        let stride = self.power.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        assert!(self.positive.len() == stride && self.negative.len() == stride && self.n_frames <= stride);
        assert!(stride.is_multiple_of(L::N));
        let (power, positive, negative) =
            (self.power.as_ptr(), self.positive.as_mut_ptr(), self.negative.as_mut_ptr());
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut total = L::splat(T::ZERO);
            let mut j = 0;
            while j < stride {
                let (n_registers, tv) = registers::<L>(self.t, self.v, stride, j);
                for w in 0..n_registers {
                    let at = j + w * L::N;
                    let p = L::load(power.add(at));
                    let (pos, neg, cost) =
                        slopes_of::<L, D>(&self.density, self.power_of_tv, tv[w], p, self.cost);
                    if at + L::N <= self.n_frames {
                        pos.store(positive.add(at));
                        neg.store(negative.add(at));
                        total = total.add(cost);
                    } else {
                        let n = self.n_frames.saturating_sub(at);
                        first(pos, n).store(positive.add(at));
                        first(neg, n).store(negative.add(at));
                        total = total.add(first(cost, n));
                    }
                }
                j += n_registers * L::N;
            }
            sum(total)
        }
    }
}

/// (pos, neg, cost) of one register.
#[inline(always)]
unsafe fn slopes_of<L: Lanes, D: Density>(
    density: &D,
    power_of_tv: f64,
    tv: L,
    p: L,
    with_cost: bool,
) -> (L, L, L) {
    unsafe {
        let pos = tv.inverse();
        let r = raised(tv, power_of_tv);
        let neg = p.mul(pos).mul(density.inverse_weight(r, p));
        let cost = if with_cost { density.cost(r, p) } else { p };
        (pos, neg, cost)
    }
}

/// The smallest T V and the smallest r, relative to the level: their inverses, squared, are finite numbers.
#[inline(always)]
pub(super) fn smallest<T: Real>() -> (T, T) {
    if size_of::<T>() == 4 { (T::of(1e-17), T::of(1e-18)) } else { (T::of(1e-60), T::of(1e-60)) }
}

/// (T V)^(2/p).
#[inline(always)]
unsafe fn raised<L: Lanes>(tv: L, power_of_tv: f64) -> L {
    unsafe {
        let r = if power_of_tv == 1.0 {
            tv
        } else if power_of_tv == 2.0 {
            tv.mul(tv)
        } else {
            tv.map(|x| x.to_the(L::Real::of(power_of_tv)))
        };
        r.max(L::splat(smallest::<L::Real>().1))
    }
}

/// 1 / xi of one bin.
pub(crate) struct InverseWeights<'a, T, D> {
    pub density: D,
    /// 2 / p.
    pub power_of_tv: f64,
    /// Row of T: K numbers.
    pub t: &'a [T],
    /// V: K x stride.
    pub v: &'a [T],
    /// |y|^2, stride; empty where the density does not ask for it.
    pub power: &'a [T],
    /// stride; finite in the padding.
    pub out: &'a mut [T],
}

impl<T: Real, D: Density> Kernel<T> for InverseWeights<'_, T, D> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let stride = self.out.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        assert!(!D::NEEDS_POWER || self.power.len() == stride);
        assert!(stride.is_multiple_of(L::N));
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut j = 0;
            while j < stride {
                let (n_registers, tv) = registers::<L>(self.t, self.v, stride, j);
                for w in 0..n_registers {
                    let at = j + w * L::N;
                    let p = if D::NEEDS_POWER { L::load(self.power.as_ptr().add(at)) } else { tv[w] };
                    let r = raised(tv[w], self.power_of_tv);
                    self.density.inverse_weight(r, p).store(self.out.as_mut_ptr().add(at));
                }
                j += n_registers * L::N;
            }
        }
    }
}

/// The sums over frames for a row of T: neg V^T and pos V^T.
pub(crate) struct RowSums<'a, T> {
    /// V: K x stride.
    pub v: &'a [T],
    /// 0 in the padding.
    pub positive: &'a [T],
    /// 0 in the padding.
    pub negative: &'a [T],
    /// K complex numbers: (sum neg v_k, sum pos v_k).
    pub out: &'a mut [Complex<f64>],
}

impl<T: Real> Kernel<T> for RowSums<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let (k, stride) = (self.out.len(), self.positive.len());
        assert!(self.v.len() == k * stride && self.negative.len() == stride && stride.is_multiple_of(L::N));
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut at = 0;
            while at < k {
                if at + 4 <= k {
                    row_sums::<L, 4>(
                        &self.v[at * stride..],
                        self.positive,
                        self.negative,
                        &mut self.out[at..],
                    );
                    at += 4;
                } else {
                    row_sums::<L, 1>(
                        &self.v[at * stride..],
                        self.positive,
                        self.negative,
                        &mut self.out[at..],
                    );
                    at += 1;
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn row_sums<L: Lanes, const K: usize>(
    v: &[L::Real],
    positive: &[L::Real],
    negative: &[L::Real],
    out: &mut [Complex<f64>],
) {
    unsafe {
        let stride = positive.len();
        let mut sums = [[L::splat(L::Real::ZERO); 2]; K];
        for j in (0..stride).step_by(L::N) {
            let (neg, pos) = (L::load(negative.as_ptr().add(j)), L::load(positive.as_ptr().add(j)));
            for (k, [n, p]) in sums.iter_mut().enumerate() {
                let v = L::load(v.as_ptr().add(k * stride + j));
                *n = neg.mul_add(v, *n);
                *p = pos.mul_add(v, *p);
            }
        }
        for (k, [n, p]) in sums.into_iter().enumerate() {
            out[k] = Complex::new(sum(n), sum(p));
        }
    }
}

/// Adds T^T neg and T^T pos of a few bins to the sums for V.
pub(crate) struct ColumnSums<'a, T> {
    /// Rows of T: `bins` x K.
    pub t: &'a [T],
    pub bins: usize,
    /// `bins` x stride.
    pub positive: &'a [T],
    /// `bins` x stride.
    pub negative: &'a [T],
    /// K x stride.
    pub negative_sums: &'a mut [T],
    /// K x stride.
    pub positive_sums: &'a mut [T],
}

impl<T: Real> Kernel<T> for ColumnSums<'_, T> {
    type Output = ();
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) {
        let k = self.t.len() / self.bins;
        let stride = self.positive.len() / self.bins;
        assert!(self.t.len() == k * self.bins && stride.is_multiple_of(L::N));
        assert!(self.positive.len() == self.bins * stride && self.negative.len() == self.bins * stride);
        assert!(self.negative_sums.len() == k * stride && self.positive_sums.len() == k * stride);
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut bin = 0;
            while bin < self.bins {
                let n = if bin + 4 <= self.bins { 4 } else { 1 };
                let t = &self.t[bin * k..];
                let (pos, neg) = (&self.positive[bin * stride..], &self.negative[bin * stride..]);
                let mut at = 0;
                while at < k {
                    let two = at + 2 <= k;
                    let (n_out, p_out) =
                        (&mut self.negative_sums[at * stride..], &mut self.positive_sums[at * stride..]);
                    match (n, two) {
                        (4, true) => column_sums::<L, 4, 2>(t, k, at, neg, pos, stride, n_out, p_out),
                        (4, false) => column_sums::<L, 4, 1>(t, k, at, neg, pos, stride, n_out, p_out),
                        (_, true) => column_sums::<L, 1, 2>(t, k, at, neg, pos, stride, n_out, p_out),
                        (_, false) => column_sums::<L, 1, 1>(t, k, at, neg, pos, stride, n_out, p_out),
                    }
                    at += if two { 2 } else { 1 };
                }
                bin += n;
            }
        }
    }
}

#[allow(clippy::too_many_arguments)] // the arguments of one loop
#[inline(always)]
unsafe fn column_sums<L: Lanes, const B: usize, const K: usize>(
    t: &[L::Real],
    n_components: usize,
    at: usize,
    negative: &[L::Real],
    positive: &[L::Real],
    stride: usize,
    negative_sums: &mut [L::Real],
    positive_sums: &mut [L::Real],
) {
    unsafe {
        let mut factor = [[L::splat(L::Real::ZERO); K]; B];
        for b in 0..B {
            for k in 0..K {
                factor[b][k] = L::splat(t[b * n_components + at + k]);
            }
        }
        let (n_out, p_out) = (negative_sums.as_mut_ptr(), positive_sums.as_mut_ptr());
        for j in (0..stride).step_by(L::N) {
            let mut n = [L::splat(L::Real::ZERO); K];
            let mut p = n;
            for k in 0..K {
                n[k] = L::load(n_out.add(k * stride + j));
                p[k] = L::load(p_out.add(k * stride + j));
            }
            for b in 0..B {
                let neg = L::load(negative.as_ptr().add(b * stride + j));
                let pos = L::load(positive.as_ptr().add(b * stride + j));
                for k in 0..K {
                    n[k] = factor[b][k].mul_add(neg, n[k]);
                    p[k] = factor[b][k].mul_add(pos, p[k]);
                }
            }
            for k in 0..K {
                n[k].store(n_out.add(k * stride + j));
                p[k].store(p_out.add(k * stride + j));
            }
        }
    }
}

/// The cost of one bin, sum_j c(P_j, r_j).
pub(crate) struct Cost<'a, T, D> {
    pub density: D,
    pub power_of_tv: f64,
    pub t: &'a [T],
    pub v: &'a [T],
    pub power: &'a [T],
    pub n_frames: usize,
}

impl<T: Real, D: Density> Kernel<T> for Cost<'_, T, D> {
    type Output = f64;
    #[inline(always)]
    unsafe fn run<L: Lanes<Real = T>>(self) -> f64 {
        let stride = self.power.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        assert!(self.n_frames <= stride && stride.is_multiple_of(L::N));
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut total = L::splat(T::ZERO);
            for j in (0..self.n_frames).step_by(L::N) {
                let r = raised(product_1::<L>(self.t, self.v, stride, j), self.power_of_tv);
                let cost = self.density.cost(r, L::load(self.power.as_ptr().add(j)));
                let n = self.n_frames - j;
                total = total.add(if n < L::N { first(cost, n) } else { cost });
            }
            sum(total)
        }
    }
}
