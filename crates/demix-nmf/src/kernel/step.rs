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

use std::ops::Range;

use super::Rule;
use demix_signal::Real;
use demix_signal::simd::LINE_BYTES;
use demix_signal::simd::Lanes;

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
    /// The components whose numerator is formed.
    pub contracted: Range<usize>,
    /// The components that are updated; the others are held.
    pub update: Range<usize>,
    /// sum_i W_ik, the denominator of b = 1.
    pub sums: &'a [T],
    /// How they are updated.
    pub rule: Rule,
    /// The left factor in groups of rows: \[group\]\[component\]\[row\].
    pub by_rows: &'a [T],
    /// The updated components of the left factor in groups: \[group\]\[row\]\[component\].
    pub by_components: &'a [T],
    /// Components in such a group.
    pub group: usize,
    /// Smallest value of the model.
    pub floor: T,
    /// W^T W in groups of rows as `by_rows`, and row by row; empty unless b = 2.
    pub gram_by_rows: &'a [T],
    pub gram: &'a [T],
    /// Whether only the divergence is wanted.
    pub skip_contraction: bool,
    /// Whether the divergence is summed.
    pub sum_divergence: bool,
}

/// Work space of one thread.
pub(super) struct Scratch<T> {
    pub right: demix_signal::simd::Aligned<T>,
    pub numerator: demix_signal::simd::Aligned<T>,
    pub denominator: demix_signal::simd::Aligned<T>,
    pub strip: demix_signal::simd::Aligned<T>,
    pub strip_2: demix_signal::simd::Aligned<T>,
    /// The divergence of each column.
    pub divergence: Vec<f64>,
}

/// The weights of a divergence in the multiplicative update.
pub(super) trait Weights<L: Lanes>: Copy + Sync + Denominator {
    /// V R^(b-2) and R^(b-1).
    unsafe fn weights(self, v: L, r: L) -> (L, L);
    /// d(v|r), less what does not depend on r when [`super::Divergence::constant`] says so.
    unsafe fn divergence(self, v: L, r: L, weights: (L, L)) -> L;
}

/// b = 1.
#[derive(Clone, Copy)]
pub(super) struct KullbackLeibler;

impl<L: Lanes> Weights<L> for KullbackLeibler {
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        unsafe {
            let q = v.mul(r.inverse());
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
    #[inline(always)]
    unsafe fn weights(self, v: L, r: L) -> (L, L) {
        unsafe {
            let inverse = r.inverse();
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
                power = power.inverse();
            }
            (v.mul(power).mul(r.inverse()), power)
        }
    }
    #[inline(always)]
    unsafe fn divergence(self, v: L, r: L, (_, power): (L, L)) -> L {
        unsafe { power_divergence(f64::from(self.twice) / 2.0, v, r, power) }
    }
}

impl<L: Lanes> Weights<L> for Power {
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
    let n_groups = shared.contracted.len().div_ceil(shared.group);
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
            for row in (0..n_rows).step_by(ROWS) {
                // the weights below read V in bursts: on its way from memory while the products are formed
                let lines = target.as_ptr().wrapping_add((first_row + row) * width);
                for line in (0..ROWS * width).step_by(LINE_BYTES / size_of::<L::Real>()) {
                    L::prefetch(lines.wrapping_add(line));
                }
                let left = shared.by_rows.as_ptr().add((first_row + row) * shared.components);
                product::<L, ROWS, REGISTERS>(left, right, shared.components, strip.add(row * width));
            }
            // a pass of its own: the accumulators of `product` must never be indexed by a variable
            let mut divergence = [L::splat(L::Real::ZERO); REGISTERS];
            let floor = L::splat(shared.floor);
            for row in 0..n_rows {
                for register in 0..REGISTERS {
                    let at = row * width + register * L::N;
                    let v = L::load(target.as_ptr().add(first_row * width + at));
                    let model = L::load(strip.add(at)).max(floor);
                    let both = weights.weights(v, model);
                    both.0.store(strip.add(at));
                    if W::FORMED {
                        both.1.store(strip_2.add(at));
                    }
                    if shared.sum_divergence {
                        let d = weights.divergence(v, model, both);
                        divergence[register] = divergence[register].add(d);
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
                if W::FORMED {
                    let denominator = scratch.denominator.as_mut_ptr().add(out);
                    contract_group::<L, ROWS, REGISTERS>(shared.group, left, strip_2, n_rows, denominator);
                }
            }
        }
    }
    if let Rule::Multiplicative { exponent } = shared.rule {
        // SAFETY: as above.
        unsafe { multiply::<L, W>(shared, exponent, scratch) };
    }
}

/// One panel for b = 2: W^T V from the target itself, W^T W H for the denominator.
///
/// # Safety
/// As [`panel`].
#[inline(always)]
pub(super) unsafe fn panel_euclidean<L: Lanes, const ROWS: usize, const REGISTERS: usize>(
    shared: &Shared<'_, L::Real>,
    target: &[L::Real],
    scratch: &mut Scratch<L::Real>,
) {
    let width = PANEL_REGISTERS * L::N;
    let components = shared.components;
    let n_groups = components.div_ceil(shared.group);
    scratch.numerator.fill(L::Real::ZERO);
    let numerator = scratch.numerator.as_mut_ptr();
    let denominator = scratch.denominator.as_mut_ptr();
    // SAFETY: all offsets stay inside buffers that half_step padded to whole groups.
    unsafe {
        for first_row in (0..shared.rows).step_by(STRIP_ROWS) {
            let n_rows = STRIP_ROWS.min(shared.rows - first_row);
            let strip = target.as_ptr().add(first_row * width);
            for group in 0..n_groups {
                let left =
                    shared.by_components.as_ptr().add((group * shared.rows + first_row) * shared.group);
                let out = numerator.add(group * shared.group * width);
                contract_group::<L, ROWS, REGISTERS>(shared.group, left, strip, n_rows, out);
            }
        }
        for row in (0..components).step_by(ROWS) {
            let gram = shared.gram_by_rows.as_ptr().add(row * components);
            product::<L, ROWS, REGISTERS>(
                gram,
                scratch.right.as_ptr(),
                components,
                denominator.add(row * width),
            );
        }
        if shared.sum_divergence {
            // H . (W^T W H / 2 - W^T V)
            let columns = scratch.divergence.len();
            for column in 0..columns {
                scratch.divergence[column] = (0..components)
                    .map(|k| {
                        let at = k * width + column;
                        let [h, n, d] = [scratch.right[at], scratch.numerator[at], scratch.denominator[at]];
                        h.to_double() * (0.5 * d.to_double() - n.to_double())
                    })
                    .sum();
            }
        }
        match shared.rule {
            Rule::Hold => {}
            Rule::Multiplicative { exponent } => multiply::<L, Euclidean>(shared, exponent, scratch),
            Rule::Hierarchical { sweeps } => {
                for _ in 0..sweeps {
                    for k in shared.update.clone() {
                        minimise_component::<L, REGISTERS>(shared, k, scratch);
                    }
                }
            }
        }
    }
}

/// Numbers that vanish against everything else become zero: denormal arithmetic is slow.
const VANISHING: f64 = 1e-30;

/// h <- h (numerator / denominator)^exponent; a component without denominator (0 / 0) stays as it is.
#[inline(always)]
unsafe fn multiply<L: Lanes, W: Denominator>(
    shared: &Shared<'_, L::Real>,
    exponent: f64,
    scratch: &mut Scratch<L::Real>,
) {
    let width = PANEL_REGISTERS * L::N;
    // b = 1: the best level of a column is known, sum_i R_ij = sum_i V_ij
    let balance = !W::FORMED && exponent != 1.0 && shared.update.len() == shared.components;
    let exponent = Exponent::new(exponent);
    unsafe {
        // 0 / smallest = 0 would end an empty component: (0 + smallest) / (0 + smallest) = 1 leaves it
        let smallest = L::splat(L::Real::of(VANISHING));
        let zero = L::splat(L::Real::ZERO);
        for lane in (0..width).step_by(L::N) {
            let (mut before, mut after) = (zero, zero);
            for k in shared.update.clone() {
                let at = (k - shared.contracted.start) * width + lane;
                let numerator = L::load(scratch.numerator.as_ptr().add(at));
                let denominator = if W::FORMED {
                    L::load(scratch.denominator.as_ptr().add(at))
                } else {
                    L::splat(shared.sums[k])
                };
                let ratio = numerator.add(smallest).div(denominator.add(smallest));
                let h = scratch.right.as_mut_ptr().add(k * width + lane);
                let (old, new) = (L::load(h), L::load(h).mul(exponent.of(ratio)).above(smallest));
                new.store(h);
                before = old.mul_add(numerator, before);
                after = new.mul_add(denominator, after);
            }
            if balance {
                let scale = before.add(smallest).div(after.add(smallest));
                for k in shared.update.clone() {
                    let h = scratch.right.as_mut_ptr().add(k * width + lane);
                    L::load(h).mul(scale).above(smallest).store(h);
                }
            }
        }
    }
}

/// Where [`multiply`] finds the denominator.
pub(super) trait Denominator {
    /// In the work space, or (b = 1) in the sums of W.
    const FORMED: bool;
}

struct Euclidean;
impl Denominator for Euclidean {
    const FORMED: bool = true;
}
impl Denominator for KullbackLeibler {
    const FORMED: bool = false;
}
impl Denominator for ItakuraSaito {
    const FORMED: bool = true;
}
impl Denominator for HalfPower {
    const FORMED: bool = true;
}
impl Denominator for Power {
    const FORMED: bool = true;
}

/// An exponent, with roots and products instead of powers where it is a number of eighths.
#[derive(Clone, Copy)]
enum Exponent {
    Eighths(u32),
    Any(f64),
}

impl Exponent {
    fn new(exponent: f64) -> Self {
        let eighths = exponent * 8.0;
        let whole = eighths == eighths.round() && (1.0..=24.0).contains(&eighths);
        if whole { Self::Eighths(eighths as u32) } else { Self::Any(exponent) }
    }

    #[inline(always)]
    unsafe fn of<L: Lanes>(self, x: L) -> L {
        unsafe {
            match self {
                Self::Eighths(8) => x,
                Self::Eighths(n) => {
                    let half = x.sqrt();
                    let mut power = L::splat(L::Real::ONE);
                    for _ in 0..n / 8 {
                        power = power.mul(x);
                    }
                    if n & 4 != 0 {
                        power = power.mul(half);
                    }
                    if n & 3 != 0 {
                        let quarter = half.sqrt();
                        if n & 2 != 0 {
                            power = power.mul(quarter);
                        }
                        if n & 1 != 0 {
                            power = power.mul(quarter.sqrt());
                        }
                    }
                    power
                }
                Self::Any(exponent) => {
                    let exponent = L::Real::of(exponent);
                    x.map(|x| raised(x, exponent))
                }
            }
        }
    }
}

/// h_k <- max(0, h_k + (numerator_k - (W^T W)_k . h) / (W^T W)_kk): the exact minimum over one component.
#[inline(always)]
unsafe fn minimise_component<L: Lanes, const REGISTERS: usize>(
    shared: &Shared<'_, L::Real>,
    k: usize,
    scratch: &mut Scratch<L::Real>,
) {
    /// Partial sums: enough chains to hide the latency of the multiply-adds.
    const PARTS: usize = 4;
    let width = PANEL_REGISTERS * L::N;
    let gram = &shared.gram[k * shared.components..][..shared.components];
    if gram[k] <= L::Real::ZERO {
        return;
    }
    unsafe {
        let right = scratch.right.as_mut_ptr();
        let mut parts = [[L::splat(L::Real::ZERO); REGISTERS]; PARTS];
        let whole = gram.len() - gram.len() % PARTS;
        for first in (0..whole).step_by(PARTS) {
            for part in 0..PARTS {
                let g = L::splat(*gram.get_unchecked(first + part));
                let h = load_row::<L, REGISTERS>(right.add((first + part) * width));
                for n in 0..REGISTERS {
                    parts[part][n] = g.mul_add(h[n], parts[part][n]);
                }
            }
        }
        for l in whole..gram.len() {
            let h = load_row::<L, REGISTERS>(right.add(l * width));
            for n in 0..REGISTERS {
                parts[0][n] = L::splat(gram[l]).mul_add(h[n], parts[0][n]);
            }
        }
        let inverse = L::splat(L::Real::ONE / gram[k]);
        let smallest = L::splat(L::Real::of(VANISHING));
        for n in 0..REGISTERS {
            let product = parts[0][n].add(parts[1][n]).add(parts[2][n].add(parts[3][n]));
            let numerator = L::load(scratch.numerator.as_ptr().add(k * width + n * L::N));
            let h = right.add(k * width + n * L::N);
            numerator.sub(product).mul_add(inverse, L::load(h)).above(smallest).store(h);
        }
    }
}

/// Neighbouring registers.
#[inline(always)]
unsafe fn load_row<L: Lanes, const REGISTERS: usize>(from: *const L::Real) -> [L; REGISTERS] {
    unsafe {
        let mut row = [L::splat(L::Real::ZERO); REGISTERS];
        for n in 0..REGISTERS {
            row[n] = L::load(from.add(n * L::N));
        }
        row
    }
}

/// `ROWS` rows of left x right: out\[row\]\[column\] = sum_k left\[k\]\[row\] right\[k\]\[column\].
#[inline(always)]
unsafe fn product<L: Lanes, const ROWS: usize, const REGISTERS: usize>(
    left: *const L::Real,
    right: *const L::Real,
    components: usize,
    out: *mut L::Real,
) {
    let width = PANEL_REGISTERS * L::N;
    unsafe {
        let mut sum = [[L::splat(L::Real::ZERO); REGISTERS]; ROWS];
        for k in 0..components {
            let right = load_row::<L, REGISTERS>(right.add(k * width));
            for row in 0..ROWS {
                let left = L::splat(*left.add(k * ROWS + row));
                for n in 0..REGISTERS {
                    sum[row][n] = left.mul_add(right[n], sum[row][n]);
                }
            }
        }
        for row in 0..ROWS {
            for n in 0..REGISTERS {
                sum[row][n].store(out.add(row * width + n * L::N));
            }
        }
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
        let mut sum = [[L::splat(L::Real::ZERO); REGISTERS]; GROUP];
        for k in 0..GROUP {
            sum[k] = load_row::<L, REGISTERS>(out.add(k * width));
        }
        for row in 0..rows {
            let strip = load_row::<L, REGISTERS>(strip.add(row * width));
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
