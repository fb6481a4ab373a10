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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every block by itself, entry by entry.
    fn naive(matrix: &Array2<f32>, rows: &[Range<usize>], columns: &[Range<usize>]) -> Array2<f64> {
        Array2::from_shape_fn((rows.len(), columns.len()), |(i, j)| {
            let entries = rows[i].clone().flat_map(|f| columns[j].clone().map(move |t| (f, t)));
            let values: Vec<f64> = entries.map(|at| f64::from(matrix[at])).collect();
            match values.iter().all(|v| v.is_finite()) {
                true => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
                false => f64::NAN,
            }
        })
    }

    fn ranges(n: usize) -> impl Strategy<Value = Vec<Range<usize>>> {
        let range = (0..n, 1..=n).prop_map(move |(start, len)| start..(start + len).min(n));
        proptest::collection::vec(range, 1..6)
    }

    proptest! {
        #[test]
        fn pooling_equals_the_naive_maximum(
            (values, rows, columns) in (1usize..9, 1usize..9).prop_flat_map(|(f, t)| {
                let value = prop_oneof![9 => -5f32..5.0, 1 => Just(f32::NAN), 1 => Just(f32::INFINITY)];
                let values = proptest::collection::vec(value, f * t)
                    .prop_map(move |v| Array2::from_shape_vec((f, t), v).unwrap());
                (values, ranges(f), ranges(t))
            })
        ) {
            let same = |a: Array2<f64>, b: &Array2<f64>| {
                a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
            };
            let expected = naive(&values, &rows, &columns);
            prop_assert!(same(pool_max(values.view(), &rows, &columns), &expected));
            // frames of a matrix in column order lie far apart in memory
            let turned = values.t().as_standard_layout().to_owned();
            prop_assert!(same(pool_max(turned.t(), &rows, &columns), &expected));
        }
    }

    #[test]
    fn levels_against_known_decibels() {
        for (power, level) in [(1.0, 0.0), (0.1, -10.0), (0.5, -3.0102999566398), (2.0, 3.0102999566398)] {
            assert!((decibels(power, 1.0) - level).abs() < 1e-12);
            // a common factor does not matter, however large
            assert!((decibels(power * 1e-30, 1e-30) - level).abs() < 1e-11);
        }
        assert_eq!(level_share(1.0, 1.0, 80.0), 1.0);
        assert!((level_share(1e-4, 1.0, 80.0) - 0.5).abs() < 1e-12);
        assert_eq!(level_share(0.0, 1.0, 80.0), 0.0);
        assert_eq!(level_share(0.0, 0.0, 80.0), 0.0);
        assert!(level_share(f64::NAN, 1.0, 80.0).is_nan());
    }

    #[test]
    fn no_colour_of_the_maps_is_the_neutral_one() {
        let far = |a: &Rgb| a.iter().zip(NOT_FINITE).map(|(a, b)| a.abs_diff(b) as u32).sum::<u32>() > 30;
        assert!(MAGMA.0.iter().chain(&VIRIDIS.0).all(far));
        assert_eq!(MAGMA.at(f64::NAN), NOT_FINITE);
        assert_eq!(MAGMA.at(2.0), MAGMA.at(1.0));
    }

    #[test]
    fn one_value_per_pixel_of_a_tiny_picture() {
        let shares = ndarray::array![[0.0, 1.0], [f64::NAN, 0.0]];
        let mut canvas = Canvas::new(2.0, 2.0);
        draw_heat(&mut canvas, Area::new(0.0, 0.0, 2.0, 2.0), &shares, &MAGMA);
        let (low, high) = (MAGMA.at(0.0), MAGMA.at(1.0));
        assert_eq!(canvas.finish().rgb, [low, high, NOT_FINITE, low].concat());
    }
}
