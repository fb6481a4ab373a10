//! The fused kernel: one panel of columns, from the model to the multiplicative factor, while the ratio
//! V / (WH) lives in registers and in a strip that fits the first-level cache.
//!
//! For a panel of P columns (P = two registers) and a strip of rows:
//! 1. `product`: R rows of W H in accumulators, contracted over the components;
//! 2. the divergence's weights V R^(b-2) and R^(b-1) from the accumulators into the strip;
//! 3. `contract`: W^T times the strip into the panel's numerator and denominator.
//!
//! Both products have the components or the strip's rows in registers and the columns across lanes: no
//! component count wastes lanes, and W is read by scalar broadcasts from two packed copies.

use super::lanes::Lanes;
use demix_signal::Real;

/// Rows of the strip: a multiple of every row group, small enough that strip and factors share L1.
pub(super) const STRIP_ROWS: usize = 96;
/// Registers across a panel.
pub(super) const PANEL_REGISTERS: usize = 2;

/// What all panels of one half-step share.
pub(super) struct Shared<'a, T> {
    /// Rows of the target: bins (update of H) or frames (update of W).
    pub rows: usize,
    /// Number of components.
    pub components: usize,
    /// First component that is updated; those before it are held.
    pub first: usize,
    /// The left factor in groups of rows: \[group\]\[component\]\[row\].
    pub by_rows: &'a [T],
    /// The updated components of the left factor in groups: \[group\]\[row\]\[component\].
    pub by_components: &'a [T],
    /// Components in such a group.
    pub group: usize,
    /// Smallest value of the model.
    pub floor: T,
    /// What the divergence is multiplied with... see [`Weights`].
    pub skip_contraction: bool,
    /// Whether the divergence is summed.
    pub sum_divergence: bool,
}

/// Work space of one thread.
pub(super) struct Scratch<T> {
    pub right: super::aligned::Aligned<T>,
    pub numerator: super::aligned::Aligned<T>,
    pub denominator: super::aligned::Aligned<T>,
    pub strip: super::aligned::Aligned<T>,
    pub strip_2: super::aligned::Aligned<T>,
    /// The divergence of each column.
    pub divergence: Vec<f64>,
}

/// The weights of a divergence in the multiplicative update.
pub(super) trait Weights<L: Lanes>: Copy + Sync {
    /// Whether W^T R^(b-1) must be formed (for b = 1 it is a sum over W).
    const DENOMINATOR: bool;
    /// V R^(b-2) and R^(b-1).
    unsafe fn weights(self, v: L, r: L) -> (L, L);
    /// d(v|r), less what does not depend on r when [`super::Divergence::constant`] says so.
    unsafe fn divergence(self, v: L, r: L, weights: (L, L)) -> L;
}

/// b = 1.
#[derive(Clone, Copy)]
pub(super) struct KullbackLeibler;

impl<L: Lanes> Weights<L> for KullbackLeibler {
    const DENOMINATOR: bool = false;
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        unsafe {
            let q = v.div(r);
            (q, q)
        }
    }
    #[inline(always)]
    unsafe fn divergence(self, v: L, r: L, (q, _): (L, L)) -> L {
        // the smallest argument stands for log 0, which v = 0 takes away
        unsafe { q.max(L::splat(L::Real::of(1e-37))).ln().mul_add(v, r.sub(v)) }
    }
}

/// b = 0.
#[derive(Clone, Copy)]
pub(super) struct ItakuraSaito;

impl<L: Lanes> Weights<L> for ItakuraSaito {
    const DENOMINATOR: bool = true;
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        unsafe {
            let inverse = L::splat(L::Real::ONE).div(r);
            (v.mul(inverse).mul(inverse), inverse)
        }
    }
    #[inline(always)]
    unsafe fn divergence(self, v: L, _: L, (_, inverse): (L, L)) -> L {
        unsafe {
            let q = v.mul(inverse).max(L::splat(L::Real::of(1e-37)));
            q.sub(q.ln()).sub(L::splat(L::Real::ONE))
        }
    }
}

/// 2 b is a whole number: roots and products instead of powers.
#[derive(Clone, Copy)]
pub(super) struct HalfPower {
    /// 2 b.
    pub twice: i32,
}

/// Any b but 0 and 1.
#[derive(Clone, Copy)]
pub(super) struct Power {
    pub beta: f64,
}

/// x^exponent.
#[inline(always)]
fn raised<T: Real>(x: T, exponent: T) -> T {
    x.powf(exponent)
}

/// d(v|r) less v^b / (b (b - 1)), given r^(b-1).
#[inline(always)]
unsafe fn power_divergence<L: Lanes>(beta: f64, v: L, r: L, power: L) -> L {
    let (of_r, of_v) = (L::Real::of(1.0 / beta), L::Real::of(-1.0 / (beta - 1.0)));
    unsafe { r.mul(L::splat(of_r)).add(v.mul(L::splat(of_v))).mul(power) }
}

impl<L: Lanes> Weights<L> for HalfPower {
    const DENOMINATOR: bool = true;
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        unsafe {
            // r^(b-1) = root^m, the root being r itself where b is whole
            let (root, m) = match self.twice % 2 {
                0 => (r, self.twice / 2 - 1),
                _ => (r.sqrt(), self.twice - 2),
            };
            let mut power = L::splat(L::Real::ONE);
            for _ in 0..m.abs() {
                power = power.mul(root);
            }
            if m < 0 {
                power = L::splat(L::Real::ONE).div(power);
            }
            (v.mul(power).div(r), power)
        }
    }
    #[inline(always)]
    unsafe fn divergence(self, v: L, r: L, (_, power): (L, L)) -> L {
        unsafe { power_divergence(f64::from(self.twice) / 2.0, v, r, power) }
    }
}

impl<L: Lanes> Weights<L> for Power {
    const DENOMINATOR: bool = true;
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        let exponent = L::Real::of(self.beta - 1.0);
        unsafe {
            let power = r.map(|r| raised(r, exponent));
            (v.mul(power).div(r), power)
        }
    }
    #[inline(always)]
    unsafe fn divergence(self, v: L, r: L, (_, power): (L, L)) -> L {
        unsafe { power_divergence(self.beta, v, r, power) }
    }
}

/// One panel: fills numerator, denominator and divergence of `scratch` from its `right` factor.
///
/// `target` is the panel of V, (rows, columns), padded to whole row groups.
///
/// # Safety
/// The processor has the instructions of `L`; the buffers have the lengths that [`super::half_step`] gives them.
#[inline(always)]
pub(super) unsafe fn panel<L: Lanes, W: Weights<L>, const ROWS: usize, const REGISTERS: usize>(
    shared: &Shared<'_, L::Real>,
    weights: W,
    target: &[L::Real],
    scratch: &mut Scratch<L::Real>,
) {
    let width = PANEL_REGISTERS * L::N;
    let n_groups = (shared.components - shared.first).div_ceil(shared.group);
    debug_assert!(STRIP_ROWS.is_multiple_of(ROWS) && scratch.strip.len() == STRIP_ROWS * width);
    scratch.numerator.fill(L::Real::ZERO);
    scratch.denominator.fill(L::Real::ZERO);
    scratch.divergence.fill(0.0);
    let right = scratch.right.as_ptr();
    let (strip, strip_2) = (scratch.strip.as_mut_ptr(), scratch.strip_2.as_mut_ptr());
    for first_row in (0..shared.rows).step_by(STRIP_ROWS) {
        let n_rows = STRIP_ROWS.min(shared.rows - first_row);
        // SAFETY: all offsets stay inside buffers that half_step padded to whole groups.
        unsafe {
            let mut divergence = [L::splat(L::Real::ZERO); REGISTERS];
            for row in (0..n_rows).step_by(ROWS) {
                let left = shared.by_rows.as_ptr().add((first_row + row) * shared.components);
                let model = product::<L, ROWS, REGISTERS>(left, right, shared.components);
                for (r, model) in model.iter().enumerate() {
                    for (register, &model) in model.iter().enumerate() {
                        let column = register * L::N;
                        let v = L::load(target.as_ptr().add((first_row + row + r) * width + column));
                        let model = model.max(L::splat(shared.floor));
                        let both = weights.weights(v, model);
                        both.0.store(strip.add((row + r) * width + column));
                        if W::DENOMINATOR {
                            both.1.store(strip_2.add((row + r) * width + column));
                        }
                        if shared.sum_divergence && row + r < n_rows {
                            let d = weights.divergence(v, model, both);
                            divergence[register] = divergence[register].add(d);
                        }
                    }
                }
            }
            if shared.sum_divergence {
                flush::<L, REGISTERS>(&divergence, &mut scratch.divergence);
            }
            if shared.skip_contraction {
                continue;
            }
            for group in 0..n_groups {
                let left =
                    shared.by_components.as_ptr().add((group * shared.rows + first_row) * shared.group);
                let out = group * shared.group * width;
                let numerator = scratch.numerator.as_mut_ptr().add(out);
                contract_group::<L, ROWS, REGISTERS>(shared.group, left, strip, n_rows, numerator);
                if W::DENOMINATOR {
                    let denominator = scratch.denominator.as_mut_ptr().add(out);
                    contract_group::<L, ROWS, REGISTERS>(shared.group, left, strip_2, n_rows, denominator);
                }
            }
        }
    }
}

/// One panel of W^T V alone (b = 2, where the model enters through W^T W).
///
/// # Safety
/// As [`panel`].
#[inline(always)]
pub(super) unsafe fn panel_of_target<L: Lanes, const ROWS: usize, const REGISTERS: usize>(
    shared: &Shared<'_, L::Real>,
    target: &[L::Real],
    scratch: &mut Scratch<L::Real>,
) {
    let width = PANEL_REGISTERS * L::N;
    let n_groups = (shared.components - shared.first).div_ceil(shared.group);
    scratch.numerator.fill(L::Real::ZERO);
    for first_row in (0..shared.rows).step_by(STRIP_ROWS) {
        let n_rows = STRIP_ROWS.min(shared.rows - first_row);
        for group in 0..n_groups {
            // SAFETY: all offsets stay inside buffers that half_step padded to whole groups.
            unsafe {
                let left =
                    shared.by_components.as_ptr().add((group * shared.rows + first_row) * shared.group);
                let strip = target.as_ptr().add(first_row * width);
                let numerator = scratch.numerator.as_mut_ptr().add(group * shared.group * width);
                contract_group::<L, ROWS, REGISTERS>(shared.group, left, strip, n_rows, numerator);
            }
        }
    }
}

/// `ROWS` rows of left x right: sum_k left\[k\]\[row\] right\[k\]\[column\].
#[inline(always)]
unsafe fn product<L: Lanes, const ROWS: usize, const REGISTERS: usize>(
    left: *const L::Real,
    right: *const L::Real,
    components: usize,
) -> [[L; REGISTERS]; ROWS] {
    let width = PANEL_REGISTERS * L::N;
    unsafe {
        let mut sum = [[L::splat(L::Real::ZERO); REGISTERS]; ROWS];
        for k in 0..components {
            let right: [L; REGISTERS] = std::array::from_fn(|n| L::load(right.add(k * width + n * L::N)));
            for row in 0..ROWS {
                let left = L::splat(*left.add(k * ROWS + row));
                for n in 0..REGISTERS {
                    sum[row][n] = left.mul_add(right[n], sum[row][n]);
                }
            }
        }
        sum
    }
}

/// out\[k\]\[column\] += sum_row left\[row\]\[k\] strip\[row\]\[column\] for one group of components.
#[inline(always)]
unsafe fn contract<L: Lanes, const GROUP: usize, const REGISTERS: usize>(
    left: *const L::Real,
    strip: *const L::Real,
    rows: usize,
    out: *mut L::Real,
) {
    let width = PANEL_REGISTERS * L::N;
    unsafe {
        let mut sum: [[L; REGISTERS]; GROUP] =
            std::array::from_fn(|k| std::array::from_fn(|n| L::load(out.add(k * width + n * L::N))));
        for row in 0..rows {
            let strip: [L; REGISTERS] = std::array::from_fn(|n| L::load(strip.add(row * width + n * L::N)));
            for k in 0..GROUP {
                let left = L::splat(*left.add(row * GROUP + k));
                for n in 0..REGISTERS {
                    sum[k][n] = left.mul_add(strip[n], sum[k][n]);
                }
            }
        }
        for k in 0..GROUP {
            for n in 0..REGISTERS {
                sum[k][n].store(out.add(k * width + n * L::N));
            }
        }
    }
}

/// [`contract`] with the group's size as a constant; `MOST` is the largest that the registers hold.
#[inline(always)]
unsafe fn contract_group<L: Lanes, const MOST: usize, const REGISTERS: usize>(
    group: usize,
    left: *const L::Real,
    strip: *const L::Real,
    rows: usize,
    out: *mut L::Real,
) {
    macro_rules! sizes {
        ($($size:literal)+) => {
            match group {
                $($size if $size <= MOST => unsafe { contract::<L, $size, REGISTERS>(left, strip, rows, out) },)+
                _ => unreachable!("groups hold 1 to {MOST} components"),
            }
        };
    }
    sizes!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Adds the sums of a strip to the columns in double precision.
#[inline(always)]
unsafe fn flush<L: Lanes, const REGISTERS: usize>(strip: &[L; REGISTERS], columns: &mut [f64]) {
    let mut x = [L::Real::ZERO; 16];
    for (register, columns) in strip.iter().zip(columns.chunks_exact_mut(L::N)) {
        unsafe { register.store(x.as_mut_ptr()) };
        columns.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x.to_double());
    }
}
