//! T V of one bin, and what the multiplicative updates and the spatial weights need of it.
//!
//! With p the domain, the variance is r = (T V)^(2/p). The cost of one slot is c(P, r); its slope along T V is
//! pos - neg, and the common factor 2/p of both is left out, since the update uses their quotient alone:
//! pos = 1 / (T V), neg = P / (T V xi).

use demix_signal::simd::{Kernel, Lanes};
use demix_signal::{Complex, Real};

use super::density::Density;
use super::log_sum::LogSum;
use super::{STRIDE_UNIT, first, sum};

/// Registers of frames that are computed together, so that the sum over components does not wait for itself.
pub(super) const WIDE: usize = 4;

/// sum_k t_k v_kj of `N` registers from frame j on.
#[inline(always)]
pub(super) unsafe fn product<L: Lanes, const N: usize>(
    t: &[L::Real],
    v: &[L::Real],
    stride: usize,
    j: usize,
) -> [L; N] {
    unsafe {
        let mut tv = [L::splat(L::Real::ZERO); N];
        for (k, &t) in t.iter().enumerate() {
            let t = L::splat(t);
            let row = v.as_ptr().add(k * stride + j);
            for w in 0..N {
                tv[w] = t.mul_add(L::load(row.add(w * L::N)), tv[w]);
            }
        }
        let least = L::splat(smallest::<L::Real>().0);
        for w in 0..N {
            tv[w] = tv[w].max(least);
        }
        tv
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
        // SAFETY: the same contract. The variance being T V itself is compiled apart: one inverse serves all.
        unsafe {
            if self.power_of_tv == 1.0 { self.compute::<L, true>() } else { self.compute::<L, false>() }
        }
    }
}

impl<T: Real, D: Density> Slopes<'_, T, D> {
    #[inline(always)]
    unsafe fn compute<L: Lanes<Real = T>, const PLAIN: bool>(mut self) -> f64 {
        let stride = self.power.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        assert!(self.positive.len() == stride && self.negative.len() == stride && self.n_frames <= stride);
        assert!(stride.is_multiple_of(L::N));
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut cost = CostSum::<L>::new();
            let mut j = 0;
            while j + WIDE * L::N <= stride {
                self.registers::<L, PLAIN, WIDE>(j, &mut cost);
                j += WIDE * L::N;
            }
            while j + 2 * L::N <= stride {
                self.registers::<L, PLAIN, 2>(j, &mut cost);
                j += 2 * L::N;
            }
            if j < stride {
                self.registers::<L, PLAIN, 1>(j, &mut cost);
            }
            if self.cost { cost.total() } else { 0.0 }
        }
    }

    /// `N` registers from frame j on; the variance is T V itself where `PLAIN`.
    #[inline(always)]
    unsafe fn registers<L: Lanes<Real = T>, const PLAIN: bool, const N: usize>(
        &mut self,
        j: usize,
        cost: &mut CostSum<L>,
    ) {
        unsafe {
            let tv = product::<L, N>(self.t, self.v, self.power.len(), j);
            for w in 0..N {
                let at = j + w * L::N;
                let p = L::load(self.power.as_ptr().add(at));
                let pos = tv[w].inverse();
                let r = if PLAIN { tv[w] } else { raised(tv[w], self.power_of_tv) };
                let neg = p.mul(pos).mul(self.density.inverse_weight(r, p));
                let (positive, negative) =
                    (self.positive.as_mut_ptr().add(at), self.negative.as_mut_ptr().add(at));
                if at + L::N <= self.n_frames {
                    pos.store(positive);
                    neg.store(negative);
                    if self.cost {
                        cost.add(&self.density, r, p);
                    }
                } else {
                    let n = self.n_frames.saturating_sub(at);
                    first(pos, n).store(positive);
                    first(neg, n).store(negative);
                    if self.cost {
                        cost.add_first(&self.density, r, p, n);
                    }
                }
            }
        }
    }
}

/// sum_j c(P_j, r_j), c = misfit + log r.
struct CostSum<L> {
    misfit: L,
    logs: LogSum<L>,
}

impl<L: Lanes> CostSum<L> {
    #[inline(always)]
    unsafe fn new() -> Self {
        unsafe { Self { misfit: L::splat(L::Real::ZERO), logs: LogSum::new() } }
    }

    #[inline(always)]
    unsafe fn add<D: Density>(&mut self, density: &D, r: L, p: L) {
        unsafe {
            self.misfit = self.misfit.add(density.misfit(r, p));
            self.logs.add(r);
        }
    }

    /// The first `n` numbers of a register only.
    #[inline(always)]
    unsafe fn add_first<D: Density>(&mut self, density: &D, r: L, p: L, n: usize) {
        unsafe {
            self.misfit = self.misfit.add(first(density.misfit(r, p), n));
            // log 1 for the others
            let one = L::splat(L::Real::ONE);
            self.logs.add(first(r, n).add(one.sub(first(one, n))));
        }
    }

    #[inline(always)]
    unsafe fn total(self) -> f64 {
        unsafe { sum(self.misfit) + self.logs.total() }
    }
}

/// The smallest T V and the smallest r, relative to the level: their inverses, squared, are finite numbers.
#[inline(always)]
pub(super) fn smallest<T: Real>() -> (T, T) {
    if size_of::<T>() == 4 { (T::of(1e-17), T::of(1e-18)) } else { (T::of(1e-60), T::of(1e-60)) }
}

/// (T V)^(2/p) where it is not T V.
#[inline(always)]
unsafe fn raised<L: Lanes>(tv: L, power_of_tv: f64) -> L {
    unsafe {
        let r = if power_of_tv == 2.0 { tv.mul(tv) } else { tv.map(|x| x.to_the(L::Real::of(power_of_tv))) };
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
    unsafe fn run<L: Lanes<Real = T>>(mut self) {
        let stride = self.out.len();
        assert_eq!(self.v.len(), self.t.len() * stride);
        assert!(!D::NEEDS_POWER || self.power.len() == stride);
        assert!(stride.is_multiple_of(L::N));
        // SAFETY: the lengths were checked above.
        unsafe {
            let mut j = 0;
            while j + WIDE * L::N <= stride {
                self.registers::<L, WIDE>(j);
                j += WIDE * L::N;
            }
            while j < stride {
                self.registers::<L, 1>(j);
                j += L::N;
            }
        }
    }
}

impl<T: Real, D: Density> InverseWeights<'_, T, D> {
    /// `N` registers from frame j on.
    #[inline(always)]
    unsafe fn registers<L: Lanes<Real = T>, const N: usize>(&mut self, j: usize) {
        unsafe {
            let tv = product::<L, N>(self.t, self.v, self.out.len(), j);
            for w in 0..N {
                let at = j + w * L::N;
                let p = if D::NEEDS_POWER { L::load(self.power.as_ptr().add(at)) } else { tv[w] };
                let r = if self.power_of_tv == 1.0 { tv[w] } else { raised(tv[w], self.power_of_tv) };
                self.density.inverse_weight(r, p).store(self.out.as_mut_ptr().add(at));
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
        let stride = self.positive.len();
        for (out, v) in self.out.chunks_mut(STRIDE_UNIT).zip(self.v.chunks(STRIDE_UNIT * stride)) {
            let (mut neg, mut pos) = ([T::ZERO; STRIDE_UNIT], [T::ZERO; STRIDE_UNIT]);
            let k = out.len();
            // SAFETY: the lengths are checked there.
            unsafe { row_sums::<L>(v, self.positive, self.negative, &mut neg[..k], &mut pos[..k]) };
            for (out, (neg, pos)) in out.iter_mut().zip(neg.iter().zip(&pos)) {
                *out = Complex::new(neg.to_double(), pos.to_double());
            }
        }
    }
}

/// neg V^T and pos V^T, K numbers each.
#[inline(always)]
pub(super) unsafe fn row_sums<L: Lanes>(
    v: &[L::Real],
    positive: &[L::Real],
    negative: &[L::Real],
    negative_sums: &mut [L::Real],
    positive_sums: &mut [L::Real],
) {
    let (k, stride) = (negative_sums.len(), positive.len());
    assert!(positive_sums.len() == k && negative.len() == stride);
    assert!(v.len() == k * stride && stride.is_multiple_of(L::N));
    // SAFETY: the lengths were checked above.
    unsafe {
        let mut at = 0;
        while at < k {
            let n = match k - at {
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            let v = &v[at * stride..];
            let sums = match n {
                4 => rows::<L, 4>(v, positive, negative),
                2 => rows::<L, 2>(v, positive, negative),
                _ => rows::<L, 1>(v, positive, negative),
            };
            for (i, [neg, pos]) in sums[..n].iter().enumerate() {
                (negative_sums[at + i], positive_sums[at + i]) = (*neg, *pos);
            }
            at += n;
        }
    }
}

/// (sum neg v_k, sum pos v_k) of the first `K` <= 4 rows.
#[inline(always)]
unsafe fn rows<L: Lanes, const K: usize>(
    v: &[L::Real],
    positive: &[L::Real],
    negative: &[L::Real],
) -> [[L::Real; 2]; 4] {
    unsafe {
        let stride = positive.len();
        let zero = L::splat(L::Real::ZERO);
        let mut sums = [[zero; 2]; 4];
        let mut j = 0;
        while j < stride {
            let (neg, pos) = (L::load(negative.as_ptr().add(j)), L::load(positive.as_ptr().add(j)));
            for k in 0..K {
                let v = L::load(v.as_ptr().add(k * stride + j));
                sums[k] = [neg.mul_add(v, sums[k][0]), pos.mul_add(v, sums[k][1])];
            }
            j += L::N;
        }
        let [[a, b], [c, d], [e, f], [g, h]] = sums;
        let [a, b, c, d] = L::totals([a, b, c, d]);
        let [e, f, g, h] = if K > 2 { L::totals([e, f, g, h]) } else { [L::Real::ZERO; 4] };
        [[a, b], [c, d], [e, f], [g, h]]
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
        let mut j = 0;
        while j < stride {
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
            j += L::N;
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
            let mut cost = CostSum::<L>::new();
            for j in (0..self.n_frames).step_by(L::N) {
                let [tv] = product::<L, 1>(self.t, self.v, stride, j);
                let r = if self.power_of_tv == 1.0 { tv } else { raised(tv, self.power_of_tv) };
                let p = L::load(self.power.as_ptr().add(j));
                if j + L::N <= self.n_frames {
                    cost.add(&self.density, r, p);
                } else {
                    cost.add_first(&self.density, r, p, self.n_frames - j);
                }
            }
            cost.total()
        }
    }
}
