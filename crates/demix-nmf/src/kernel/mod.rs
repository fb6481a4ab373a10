//! The multiplicative half-step H <- H .* [W^T (V R^(b-2)) / W^T R^(b-1)]^g, R = W H, fast.
//!
//! The update of W is the same step on the transposed problem, so one kernel serves both: a *left* factor
//! (components x rows), a *right* factor (components x columns) that is updated, and the target V as
//! `Panels` (rows x columns). Panels are independent: threads take whole panels and nothing is summed
//! across them but the divergence, in order, so the result has the same bits for any number of threads.
//! V R^(b-2) exists only as a strip of `step::STRIP_ROWS` rows by one panel, never as a whole matrix.
//!
//! `unsafe` is here for vector instructions alone. Every path is tested against
//! the plain formulas in double precision.

#![allow(unsafe_code)]

mod peak;
mod step;
#[cfg(test)]
mod tests;

use std::ops::Range;

use demix_signal::Real;
pub use demix_signal::simd::Simd;
use demix_signal::simd::{self as lanes, Aligned, Isa, Lanes};
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use crate::Divergence;
pub use peak::peak_flops;
use step::{
    HalfPower, ItakuraSaito, KullbackLeibler, PANEL_REGISTERS, Power, STRIP_ROWS, Scratch, Shared, Weights,
};

/// A precision that has kernels.
pub trait Scalar: Real + sealed::Kernels {}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// Row groups that are packed in one task.
const TASK_GROUPS: usize = 32;

/// Rows are padded to whole groups of the largest kernel.
const ROW_PADDING: usize = 12;

/// A matrix cut into panels of neighbouring columns, each stored row by row.
pub(crate) struct Panels<T> {
    data: Aligned<T>,
    rows: usize,
    padded_rows: usize,
    columns: usize,
    width: usize,
}

impl<T: Scalar> Panels<T> {
    /// Cuts a matrix (rows, columns) into panels for the kernels of `simd`.
    pub(crate) fn new(matrix: ArrayView2<'_, T>, simd: Simd) -> Self {
        Self::for_isa(matrix, simd.isa())
    }

    fn for_isa(matrix: ArrayView2<'_, T>, isa: Isa) -> Self {
        let (rows, columns) = matrix.dim();
        let width = T::width(isa);
        let padded_rows = rows.next_multiple_of(ROW_PADDING);
        let n_panels = columns.div_ceil(width);
        let mut data = Aligned::new(n_panels * padded_rows * width, T::ZERO);
        data.par_chunks_exact_mut(padded_rows * width).enumerate().for_each(|(panel, out)| {
            let first = panel * width;
            let part = matrix.slice(s![.., first..columns.min(first + width)]);
            let out = ArrayViewMut2::from_shape((padded_rows, width), out).expect("a whole panel");
            copy(part, out.slice_move(s![..rows, ..part.ncols()]));
        });
        Self { data, rows, padded_rows, columns, width }
    }

    fn panel(&self, panel: usize) -> &[T] {
        let size = self.padded_rows * self.width;
        &self.data[panel * size..][..size]
    }

    fn n_panels(&self) -> usize {
        self.columns.div_ceil(self.width)
    }
}

/// Copies a part of a matrix; columns that lie one after another are turned block by block in the cache.
fn copy<T: Scalar>(part: ArrayView2<'_, T>, mut out: ArrayViewMut2<'_, T>) {
    const BLOCK: usize = 64;
    if part.nrows() == 1 || part.strides()[0] != 1 {
        return out.assign(&part);
    }
    for first in (0..part.nrows()).step_by(BLOCK) {
        let block = s![first..part.nrows().min(first + BLOCK), ..];
        let (part, mut out) = (part.slice(block), out.slice_mut(block));
        for (part, mut out) in part.columns().into_iter().zip(out.columns_mut()) {
            let part = part.to_slice().expect("the stride is one");
            out.iter_mut().zip(part).for_each(|(out, x)| *out = *x);
        }
    }
}

/// How the right factor follows from numerator and denominator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// h <- h (numerator / denominator)^exponent. An exponent other than 1 unbalances the level of a column for
    /// b = 1, where the best one is known: sum_i R_ij = sum_i V_ij. It is restored when no component is held.
    Multiplicative {
        /// g(b), or another one.
        exponent: f64,
    },
    /// b = 2: that many sweeps of exact minimisation over one component after another.
    Hierarchical {
        /// Sweeps over all updated components.
        sweeps: usize,
    },
    /// Nothing: only the divergence is wanted.
    Hold,
}

/// One half-step; see the [module](self).
pub(crate) struct HalfStep<'a, T> {
    /// V, (rows, columns).
    pub target: &'a Panels<T>,
    /// (components, rows).
    pub left: &'a Array2<T>,
    /// (components, columns).
    pub right: &'a Array2<T>,
    /// The components that are updated; others keep their values.
    pub update: Range<usize>,
    /// b.
    pub divergence: Divergence,
    /// The update.
    pub rule: Rule,
    /// Smallest value of the model.
    pub floor: T,
    /// Whether the divergence between target and model is summed.
    pub sum_divergence: bool,
    /// Instructions.
    pub simd: Simd,
}

/// What a half-step gives.
pub(crate) struct Outcome<T> {
    /// The new right factor, (components, columns).
    pub right: Array2<T>,
    /// sum d(V|R) of the factors that came in, less [`Divergence::constant`]; 0 when not asked for.
    pub divergence: f64,
}

/// Buffers that outlive a half-step: fresh ones of this size cost page faults every time.
#[derive(Default)]
pub(crate) struct Workspace<T> {
    by_rows: Aligned<T>,
    by_components: Aligned<T>,
    gram_by_rows: Aligned<T>,
    sums: Vec<T>,
    /// An array that nobody needs any more, to be overwritten with the next result.
    pub spare: Option<Array2<T>>,
}

impl<T: Scalar> HalfStep<'_, T> {
    /// Does it.
    pub(crate) fn run(&self, work: &mut Workspace<T>) -> Outcome<T> {
        // one hand-over to the pool of threads instead of one for every loop below
        rayon::scope(|_| self.run_in_pool(work))
    }

    fn run_in_pool(&self, work: &mut Workspace<T>) -> Outcome<T> {
        let isa = self.simd.isa();
        let width = T::width(isa);
        let rows = self.target.rows;
        let (components, columns) = self.right.dim();
        debug_assert_eq!(self.left.dim(), (components, rows));
        debug_assert_eq!((self.target.columns, self.target.width), (columns, width));
        let euclidean = self.divergence == Divergence::Euclidean;
        // b = 2 reads cost and hierarchical updates from the numerators of all components
        let contracted = if euclidean { 0..components } else { self.update.clone() };
        let (n_groups, group) = even_groups(contracted.len(), T::row_group(isa));
        if euclidean || self.rule != Rule::Hold {
            pack_by_components(self.left, contracted.clone(), group, &mut work.by_components);
        }
        let mut gram = Array2::zeros((0, 0));
        if euclidean {
            gram = self::gram(self.left, &work.by_components, group, isa);
            pack_by_rows(&gram, T::row_group(isa), &mut work.gram_by_rows);
        } else {
            pack_by_rows(self.left, T::row_group(isa), &mut work.by_rows);
        }
        if self.divergence == Divergence::KullbackLeibler {
            let rows: Vec<_> = self.left.outer_iter().collect();
            rows.par_iter().map(|row| T::of(sum(row.view()))).collect_into_vec(&mut work.sums);
        }
        let shared = Shared {
            rows,
            components,
            contracted,
            update: self.update.clone(),
            sums: &work.sums,
            rule: self.rule,
            by_rows: &work.by_rows,
            by_components: &work.by_components,
            group,
            gram_by_rows: &work.gram_by_rows,
            gram: gram.as_slice().expect("a fresh array is in order"),
            floor: self.floor,
            skip_contraction: self.rule == Rule::Hold,
            sum_divergence: self.sum_divergence,
        };
        let spare = work.spare.take().filter(|spare| spare.dim() == (components, columns));
        let mut right = spare.unwrap_or_else(|| Array2::zeros((components, columns)));
        let mut panels: Vec<_> = right.axis_chunks_iter_mut(Axis(1), width).collect();
        let divergence: Vec<f64> = panels
            .par_iter_mut()
            .enumerate()
            .map_init(
                || Scratch::new(components, n_groups * group, width),
                |scratch, (panel, out)| {
                    let (first, n_valid) = (panel * width, out.ncols());
                    for (lanes, row) in scratch.right.chunks_exact_mut(width).zip(self.right.outer_iter()) {
                        let row = row.to_slice().expect("factors are in order");
                        lanes[..n_valid].copy_from_slice(&row[first..first + n_valid]);
                        lanes[n_valid..].fill(T::ZERO);
                    }
                    T::panel(isa, self.divergence, &shared, self.target.panel(panel), scratch, n_valid);
                    for (lanes, row) in scratch.right.chunks_exact(width).zip(out.outer_iter_mut()) {
                        let row = row.into_slice().expect("factors are in order");
                        row.copy_from_slice(&lanes[..n_valid]);
                    }
                    scratch.divergence[..n_valid].iter().sum::<f64>()
                },
            )
            .collect();
        Outcome { right, divergence: divergence.iter().sum() }
    }
}

/// The sum in double precision, in an order that needs no waiting for the last addition.
pub(crate) fn sum<T: Scalar>(x: ArrayView1<'_, T>) -> f64 {
    let Some(x) = x.to_slice() else {
        return x.iter().map(|x| x.to_double()).sum();
    };
    let mut sums = [0.0; 8];
    let mut chunks = x.chunks_exact(8);
    for chunk in &mut chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x.to_double());
    }
    sums.iter().sum::<f64>() + chunks.remainder().iter().map(|x| x.to_double()).sum::<f64>()
}

impl<T: Scalar> Scratch<T> {
    fn new(components: usize, contracted: usize, width: usize) -> Self {
        let padded = contracted.max(components.next_multiple_of(ROW_PADDING));
        Self {
            right: Aligned::new(components * width, T::ZERO),
            numerator: Aligned::new(padded * width, T::ZERO),
            denominator: Aligned::new(padded * width, T::ZERO),
            strip: Aligned::new(STRIP_ROWS * width, T::ZERO),
            strip_2: Aligned::new(STRIP_ROWS * width, T::ZERO),
            divergence: vec![0.0; width],
        }
    }
}

/// The number and size of groups of at most `most` that waste least.
fn even_groups(n: usize, most: usize) -> (usize, usize) {
    let n_groups = n.div_ceil(most).max(1);
    (n_groups, n.div_ceil(n_groups).max(1))
}

/// \[group of rows\]\[component\]\[row\], padded with zeros.
fn pack_by_rows<T: Scalar>(left: &Array2<T>, group: usize, packed: &mut Aligned<T>) {
    let (components, rows) = left.dim();
    let left = left.as_slice().expect("factors are in order");
    packed.resize(rows.next_multiple_of(ROW_PADDING) * components, T::ZERO);
    packed.par_chunks_exact_mut(components * group).with_min_len(TASK_GROUPS).enumerate().for_each(
        |(g, out)| {
            let first = (g * group).min(rows);
            let n_valid = group.min(rows - first);
            for (k, out) in out.chunks_exact_mut(group).enumerate() {
                out[..n_valid].copy_from_slice(&left[k * rows + first..][..n_valid]);
                out[n_valid..].fill(T::ZERO);
            }
        },
    );
}

/// \[group of updated components\]\[row\]\[component\], padded with zeros.
fn pack_by_components<T: Scalar>(
    left: &Array2<T>,
    update: Range<usize>,
    group: usize,
    packed: &mut Aligned<T>,
) {
    let rows = left.ncols();
    let left = &left.as_slice().expect("factors are in order")[update.start * rows..update.end * rows];
    packed.resize(update.len().div_ceil(group) * group * rows, T::ZERO);
    packed.par_chunks_exact_mut(group * rows).zip(left.par_chunks(group * rows)).for_each(|(out, left)| {
        let n_valid = left.len() / rows;
        for (row, out) in out.chunks_exact_mut(group).enumerate() {
            for (k, out) in out.iter_mut().enumerate() {
                *out = if k < n_valid { left[k * rows + row] } else { T::ZERO };
            }
        }
    });
}

/// left left^T, (components, components): the kernel of W^T V with V = W.
fn gram<T: Scalar>(left: &Array2<T>, by_components: &[T], group: usize, isa: Isa) -> Array2<T> {
    let (components, rows) = left.dim();
    let width = T::width(isa);
    let target = Panels::for_isa(left.t(), isa);
    let mut zeros = Aligned::new(0, T::ZERO);
    pack_by_rows(&Array2::zeros((components, components)), T::row_group(isa), &mut zeros);
    let shared = Shared {
        rows,
        components,
        contracted: 0..components,
        update: 0..0,
        sums: &[],
        rule: Rule::Hold,
        by_rows: &[],
        by_components,
        group,
        gram_by_rows: &zeros,
        gram: &[],
        floor: T::ZERO,
        skip_contraction: false,
        sum_divergence: false,
    };
    let mut gram = Array2::zeros((components, components));
    let mut scratch = Scratch::new(components, components.next_multiple_of(group), width);
    for panel in 0..target.n_panels() {
        let first = panel * width;
        let n_valid = width.min(components - first);
        T::panel(isa, Divergence::Euclidean, &shared, target.panel(panel), &mut scratch, n_valid);
        for (k, row) in scratch.numerator.chunks_exact(width).take(components).enumerate() {
            for (column, &x) in row[..n_valid].iter().enumerate() {
                gram[[k, first + column]] = x;
            }
        }
    }
    gram
}

mod sealed {
    use super::*;

    /// Which kernels a precision has.
    pub trait Kernels: Sized {
        /// Columns of a panel.
        #[allow(private_interfaces)]
        fn width(isa: Isa) -> usize;
        /// Rows or components in a register group.
        #[allow(private_interfaces)]
        fn row_group(isa: Isa) -> usize;
        /// One panel with the chosen instructions.
        #[allow(private_interfaces)]
        fn panel(
            isa: Isa,
            divergence: Divergence,
            shared: &Shared<'_, Self>,
            target: &[Self],
            scratch: &mut Scratch<Self>,
            n_valid: usize,
        );
    }
}

/// Chooses the divergence, then one register where a panel's second holds no column.
#[inline(always)]
unsafe fn dispatch<L: Lanes, const ROWS: usize>(
    divergence: Divergence,
    shared: &Shared<'_, L::Real>,
    target: &[L::Real],
    scratch: &mut Scratch<L::Real>,
    n_valid: usize,
) {
    #[inline(always)]
    unsafe fn narrow_or_wide<L: Lanes, W: Weights<L>, const ROWS: usize>(
        shared: &Shared<'_, L::Real>,
        weights: W,
        target: &[L::Real],
        scratch: &mut Scratch<L::Real>,
        n_valid: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if n_valid <= L::N {
                step::panel::<L, W, ROWS, 1>(shared, weights, target, scratch);
            } else {
                step::panel::<L, W, ROWS, PANEL_REGISTERS>(shared, weights, target, scratch);
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match divergence {
            Divergence::Euclidean if n_valid <= L::N => {
                step::panel_euclidean::<L, ROWS, 1>(shared, target, scratch)
            }
            Divergence::Euclidean => {
                step::panel_euclidean::<L, ROWS, PANEL_REGISTERS>(shared, target, scratch)
            }
            Divergence::KullbackLeibler => {
                narrow_or_wide::<L, _, ROWS>(shared, KullbackLeibler, target, scratch, n_valid)
            }
            Divergence::ItakuraSaito => {
                narrow_or_wide::<L, _, ROWS>(shared, ItakuraSaito, target, scratch, n_valid)
            }
            Divergence::Beta(beta) => {
                let twice = 2.0 * beta;
                if twice == twice.round() && twice.abs() <= 16.0 {
                    let weights = HalfPower { twice: twice as i32 };
                    narrow_or_wide::<L, _, ROWS>(shared, weights, target, scratch, n_valid);
                } else {
                    narrow_or_wide::<L, _, ROWS>(shared, Power { beta }, target, scratch, n_valid);
                }
            }
        }
    }
}

macro_rules! kernels {
    ($real:ty, $avx512:ident, $avx2:ident, $portable:ty) => {
        impl sealed::Kernels for $real {
            #[allow(private_interfaces)]
            fn width(isa: Isa) -> usize {
                PANEL_REGISTERS
                    * match isa {
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => lanes::x86::$avx512::N,
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => lanes::x86::$avx2::N,
                        Isa::Portable => <$portable>::N,
                    }
            }

            #[allow(private_interfaces)]
            fn row_group(isa: Isa) -> usize {
                match isa {
                    // 24 accumulators of 32 registers
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => 12,
                    // 12 accumulators of 16 registers
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => 6,
                    Isa::Portable => 6,
                }
            }

            #[allow(private_interfaces)]
            fn panel(
                isa: Isa,
                divergence: Divergence,
                shared: &Shared<'_, $real>,
                target: &[$real],
                scratch: &mut Scratch<$real>,
                n_valid: usize,
            ) {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx512f,avx2,fma")]
                unsafe fn avx512(
                    divergence: Divergence,
                    shared: &Shared<'_, $real>,
                    target: &[$real],
                    scratch: &mut Scratch<$real>,
                    n_valid: usize,
                ) {
                    unsafe {
                        dispatch::<lanes::x86::$avx512, 12>(divergence, shared, target, scratch, n_valid)
                    }
                }
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2(
                    divergence: Divergence,
                    shared: &Shared<'_, $real>,
                    target: &[$real],
                    scratch: &mut Scratch<$real>,
                    n_valid: usize,
                ) {
                    unsafe { dispatch::<lanes::x86::$avx2, 6>(divergence, shared, target, scratch, n_valid) }
                }
                // SAFETY: Simd::isa asked the processor for the instructions; half_step sized the buffers.
                unsafe {
                    match isa {
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx512 => avx512(divergence, shared, target, scratch, n_valid),
                        #[cfg(target_arch = "x86_64")]
                        Isa::Avx2 => avx2(divergence, shared, target, scratch, n_valid),
                        Isa::Portable => {
                            dispatch::<$portable, 6>(divergence, shared, target, scratch, n_valid)
                        }
                    }
                }
            }
        }
    };
}

kernels!(f32, Avx512F32, Avx2F32, lanes::Portable<f32, 4>);
kernels!(f64, Avx512F64, Avx2F64, lanes::Portable<f64, 4>);
