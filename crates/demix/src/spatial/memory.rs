//! What blocks of a long recording remember of each other: which output was which source, and by what filters.

use demix_signal::Complex;
use demix_spatial::permutation::assign;
use demix_spatial::{C64, Found};
use ndarray::{Array2, Array3, ArrayView3, Axis, s};
use rayon::prelude::*;

const ZERO: C64 = C64::new(0.0, 0.0);

/// For every source the filters of the block in which it was loudest so far: where a source is silent its output is
/// anything, and says nothing of the next block.
#[derive(Default)]
pub(super) struct Memory {
    best: Option<Best>,
}

/// W and A of the best blocks, and what each source's image had for power there.
struct Best {
    demixing: Array3<C64>,
    mixing: Array3<C64>,
    power: Vec<f64>,
}

impl Memory {
    /// Where the next block begins: W of the best blocks, (bins, sources, channels). None before the first.
    pub fn demixing(&self) -> Option<&Array3<C64>> {
        self.best.as_ref().map(|best| &best.demixing)
    }

    /// Gives the outputs of a block the order of those before, unless they have it, and remembers them. `x` is the block,
    /// (bins, channels, frames).
    ///
    /// Former source n is the output whose images pass the former filter n: no two blocks need to hold the same sound, so
    /// sources may fall silent and change in level.
    pub fn take(&mut self, found: Found, x: ArrayView3<'_, Complex<f32>>, is_in_order: bool) -> Found {
        let powers = output_powers(&found.demixing, x);
        let n = powers.ncols();
        let Some(best) = &mut self.best else {
            let power = (0..n).map(|k| image_power(&found.mixing, &powers, k)).collect();
            let (demixing, mixing) = (found.demixing.clone(), found.mixing.clone());
            self.best = Some(Best { demixing, mixing, power });
            return found;
        };
        let order = match is_in_order {
            true => (0..n).collect(),
            false => assign(&passing(best, &found.mixing, &powers)),
        };
        let (found, powers) = (reordered(found, &order), powers.select(Axis(1), &order));
        for k in 0..n {
            let power = image_power(&found.mixing, &powers, k);
            if power > best.power[k] {
                best.power[k] = power;
                let row = s![.., k, ..];
                best.demixing.slice_mut(row).assign(&found.demixing.slice(row));
                let column = s![.., .., k];
                best.mixing.slice_mut(column).assign(&found.mixing.slice(column));
            }
        }
        found
    }
}

/// Mean |y|^2 of every output in every bin, (bins, sources).
fn output_powers(demixing: &Array3<C64>, x: ArrayView3<'_, Complex<f32>>) -> Array2<f64> {
    let (n_bins, n, _) = demixing.dim();
    let mut powers = Array2::zeros((n_bins, n));
    let n_frames = x.dim().2.max(1) as f64;
    powers.outer_iter_mut().into_par_iter().enumerate().for_each(|(bin, mut powers)| {
        let (w, x) = (demixing.index_axis(Axis(0), bin), x.index_axis(Axis(0), bin));
        for frame in x.columns() {
            for (power, row) in powers.iter_mut().zip(w.outer_iter()) {
                let y: C64 =
                    row.iter().zip(frame).map(|(w, x)| w * C64::new(f64::from(x.re), f64::from(x.im))).sum();
                *power += y.norm_sqr() / n_frames;
            }
        }
    });
    powers
}

/// Mean power of the image of output k, summed over bins and channels.
fn image_power(mixing: &Array3<C64>, powers: &Array2<f64>, k: usize) -> f64 {
    let columns = mixing.axis_iter(Axis(0)).zip(powers.column(k));
    columns.map(|(a, power)| a.column(k).iter().map(|a| a.norm_sqr()).sum::<f64>() * power).sum()
}

/// The share of the image of every new output that each former source's filter lets through, (former, new).
fn passing(best: &Best, mixing: &Array3<C64>, powers: &Array2<f64>) -> Array2<f64> {
    let (n_bins, n) = powers.dim();
    let mut shares = Array2::zeros((n, n));
    for bin in 0..n_bins {
        let (w, a) = (best.demixing.index_axis(Axis(0), bin), best.mixing.index_axis(Axis(0), bin));
        let new = mixing.index_axis(Axis(0), bin);
        for source in 0..n {
            let size: f64 = a.column(source).iter().map(|a| a.norm_sqr()).sum();
            for output in 0..n {
                let through: C64 = w
                    .row(source)
                    .iter()
                    .zip(new.column(output))
                    .map(|(w, a)| w * a)
                    .fold(ZERO, |sum, x| sum + x);
                shares[[source, output]] += size * through.norm_sqr() * powers[[bin, output]];
            }
        }
    }
    for mut column in shares.columns_mut() {
        let sum = column.sum();
        if sum > 0.0 {
            column /= sum;
        }
    }
    shares
}

/// Output `order[n]` becomes source n.
fn reordered(found: Found, order: &[usize]) -> Found {
    Found {
        demixing: found.demixing.select(Axis(1), order),
        mixing: found.mixing.select(Axis(2), order),
        ..found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use demix_spatial::Descent;

    fn found(demixing: Array3<C64>, mixing: Array3<C64>) -> Found {
        Found {
            demixing,
            mixing,
            descent: Descent { cost: vec![], iterations: 0, converged: true },
            explained: vec![None; 2],
            trials: vec![],
            costs: vec![],
            warnings: vec![],
        }
    }

    /// Two sources at two microphones through a matrix of its own in every bin; the sources' levels are given.
    fn block(levels: [f64; 2], seed: u32) -> (Array3<Complex<f32>>, Array3<C64>, Array3<C64>) {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        let a = Array3::from_shape_fn((16, 2, 2), |(bin, m, n)| {
            // the same room in every block
            let angle = (bin * 4 + m * 2 + n) as f64;
            C64::new((1.3 * angle).sin(), (2.9 * angle).cos())
        });
        let mut w = Array3::zeros((16, 2, 2));
        for bin in 0..16 {
            let a = a.index_axis(Axis(0), bin);
            let det = a[[0, 0]] * a[[1, 1]] - a[[0, 1]] * a[[1, 0]];
            w[[bin, 0, 0]] = a[[1, 1]] / det;
            w[[bin, 0, 1]] = -a[[0, 1]] / det;
            w[[bin, 1, 0]] = -a[[1, 0]] / det;
            w[[bin, 1, 1]] = a[[0, 0]] / det;
        }
        let s = Array3::from_shape_fn((16, 2, 30), |(_, n, _)| C64::new(next(), next()) * levels[n]);
        let x = Array3::from_shape_fn((16, 2, 30), |(bin, m, j)| {
            let x: C64 = (0..2).map(|n| a[[bin, m, n]] * s[[bin, n, j]]).sum();
            Complex::new(x.re as f32, x.im as f32)
        });
        (x, w, a)
    }

    #[test]
    fn outputs_keep_their_order_through_silence_and_other_levels() {
        let mut memory = Memory::default();
        let (x, w, a) = block([1.0, 1.0], 1);
        memory.take(found(w.clone(), a.clone()), x.view(), false);
        // turned around, with another level; then the second source is silent, and its filter is anything
        for (levels, spoil) in [([1.0, 0.01], false), ([1.0, 0.0], true), ([0.01, 1.0], false)] {
            let (x, w, a) = block(levels, 2);
            let (mut w, a) = (w.select(Axis(1), &[1, 0]), a.select(Axis(2), &[1, 0]));
            if spoil {
                let other = w.slice(s![.., 1, ..]).mapv(|w| w * 1e-3);
                w.slice_mut(s![.., 0, ..]).assign(&other);
            }
            let sorted = memory.take(found(w.clone(), a), x.view(), false);
            assert_eq!(sorted.demixing.slice(s![.., 0, ..]), w.slice(s![.., 1, ..]), "{levels:?}");
        }
        // what the silent block said of the second source is forgotten
        let kept = memory.demixing().unwrap();
        assert!(
            kept.slice(s![.., 1, ..]).iter().zip(w.slice(s![.., 1, ..])).all(|(a, b)| (a - b).norm() < 1e-12)
        );
    }
}
