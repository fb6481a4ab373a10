//! Matrices as colours: reduction to pixels, decibels, colour maps.

use std::ops::Range;
use std::sync::LazyLock;

use ndarray::{Array2, ArrayView2};

use crate::canvas::{Area, Canvas};
use crate::style::{NOT_FINITE, Rgb};

/// Colours from 0 to 1, as 256 steps.
pub(crate) struct ColourMap([Rgb; 256]);

impl ColourMap {
    fn of(gradient: colorous::Gradient) -> Self {
        Self(std::array::from_fn(|i| gradient.eval_rational(i, 256).as_array()))
    }

    /// The colour of a share 0..1; a share that is not finite has the neutral colour.
    pub fn at(&self, share: f64) -> Rgb {
        match share.is_finite() {
            true => self.0[(share.clamp(0.0, 1.0) * 255.0).round() as usize],
            false => NOT_FINITE,
        }
    }
}

/// Levels: black, purple, orange, pale yellow.
pub(crate) static MAGMA: LazyLock<ColourMap> = LazyLock::new(|| ColourMap::of(colorous::MAGMA));
/// Shares: blue, green, yellow; set apart from levels at a glance.
pub(crate) static VIRIDIS: LazyLock<ColourMap> = LazyLock::new(|| ColourMap::of(colorous::VIRIDIS));

/// Level of `power` against `reference` in dB; minus infinity for 0 and below.
pub(crate) fn decibels(power: f64, reference: f64) -> f64 {
    if power > 0.0 { 10.0 * (power.log10() - reference.log10()) } else { f64::NEG_INFINITY }
}

/// Share 0..1 of the level `power` in the `range` dB below `reference`; NaN stays NaN.
pub(crate) fn level_share(power: f64, reference: f64, range: f64) -> f64 {
    match power.is_nan() {
        true => f64::NAN,
        false => (1.0 + decibels(power, reference) / range).clamp(0.0, 1.0),
    }
}

/// Largest value, leaving NaN out; 0 where no value is positive.
pub(crate) fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(0.0, |largest, v| largest.max(*v))
}

/// Largest value in each block of rows and columns, NaN where the block holds a value that is
/// not finite; shape (rows, columns).
///
/// One pass over the matrix in memory order; blocks that repeat are reduced once.
pub(crate) fn pool_max<T: Copy + Into<f64>>(
    matrix: ArrayView2<'_, T>,
    rows: &[Range<usize>],
    columns: &[Range<usize>],
) -> Array2<f64> {
    let strides = matrix.strides();
    if strides[1].unsigned_abs() > strides[0].unsigned_abs() {
        return pool_rows(matrix.reversed_axes(), columns, rows).reversed_axes();
    }
    pool_rows(matrix, rows, columns)
}

fn pool_rows<T: Copy + Into<f64>>(
    matrix: ArrayView2<'_, T>,
    rows: &[Range<usize>],
    columns: &[Range<usize>],
) -> Array2<f64> {
    let mut pooled = Array2::zeros((rows.len(), columns.len()));
    let mut best = vec![0.0; matrix.ncols()];
    // 0 as long as all values are finite: x * 0 is NaN for infinite x and for NaN
    let mut spoilt = vec![0.0; matrix.ncols()];
    for (i, row) in rows.iter().enumerate() {
        if i > 0 && rows[i - 1] == *row {
            let above = pooled.row(i - 1).to_owned();
            pooled.row_mut(i).assign(&above);
            continue;
        }
        best.fill(f64::NEG_INFINITY);
        spoilt.fill(0.0);
        for bin in row.clone() {
            let values = matrix.row(bin);
            let reduce = |((best, spoilt), x): ((&mut f64, &mut f64), &T)| {
                let x: f64 = (*x).into();
                *best = if x > *best { x } else { *best };
                *spoilt += x * 0.0;
            };
            let accumulators = best.iter_mut().zip(&mut spoilt);
            // a slice lets the compiler use vector instructions
            match values.as_slice() {
                Some(values) => accumulators.zip(values).for_each(reduce),
                None => accumulators.zip(values).for_each(reduce),
            }
        }
        for (out, column) in pooled.row_mut(i).iter_mut().zip(columns) {
            let spoilt: f64 = spoilt[column.clone()].iter().sum();
            let largest = best[column.clone()].iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            *out = if spoilt == 0.0 { largest } else { f64::NAN };
        }
    }
    pooled
}

/// The matrix of shares 0..1 in colours, one pixel per entry, the last row at the bottom.
pub(crate) fn draw_heat(canvas: &mut Canvas, area: Area, shares: &Array2<f64>, map: &ColourMap) {
    canvas.image(area, |row, column| map.at(shares[(row, column)]));
}
