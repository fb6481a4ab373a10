//! How many sources a convolutive mixture holds: [`count_directions`].

use demix_signal::{Complex, Real};
use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use crate::mixture::eigenvalues;

/// A number of sources with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectionCount {
    /// N.
    pub n_sources: usize,
    /// Power of each direction in dB below the first, falling: mean over bins of the eigenvalues of the covariance.
    pub levels: Vec<f64>,
    /// The gap between direction N and the next, in dB; none where N is the number of channels.
    pub gap: Option<f64>,
}

/// Bins of less power than this share of the mean bin have nothing to tell.
const QUIET: f64 = 1e-3;

/// Counts sources by the widest gap between the eigenvalues of the covariances (bins, channels, channels), if it is at
/// least `least_gap` dB wide: what lies behind the gap is noise, and echoes that the window is too short for. At least
/// two sources are assumed, at most as many as channels; bins with less than a thousandth of the mean power do not
/// count.
///
/// `x` is the mixture (bins, channels, frames).
pub fn count_directions<T: Real>(x: ArrayView3<'_, Complex<T>>, least_gap: f64) -> DirectionCount {
    let m = x.len_of(Axis(1));
    let bins: Vec<Vec<f64>> = x.axis_iter(Axis(0)).into_par_iter().map(eigenvalues).collect();
    let mean = bins.iter().map(|values| values.iter().sum::<f64>()).sum::<f64>() / bins.len().max(1) as f64;
    let mut sum = vec![0.0; m];
    let mut n = 0;
    for values in bins.iter().filter(|values| values.iter().sum::<f64>() > QUIET * mean) {
        let floor = values[0] * 1e-12;
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += 10.0 * (value.max(floor) / values[0]).log10();
        }
        n += 1;
    }
    let levels: Vec<f64> = sum.iter().map(|sum| sum / f64::from(n.max(1))).collect();
    let gaps = levels.windows(2).map(|pair| pair[0] - pair[1]).enumerate().skip(1);
    let widest = gaps.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, gap)| *gap >= least_gap);
    let (n_sources, gap) = widest.map_or((m, None), |(at, gap)| (at + 1, Some(gap)));
    DirectionCount { n_sources, levels, gap }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use rand::Rng as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn two_of_four_are_counted_above_the_noise_and_four_where_there_are_four() {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut number = || rng.next_u64() as f64 / u64::MAX as f64 - 0.5;
        for (n, noise) in [(2, 0.03), (3, 0.03), (4, 0.0), (2, 1e-6)] {
            let mut x = Array3::<Complex<f64>>::zeros((40, 4, 200));
            for mut bin in x.outer_iter_mut() {
                for source in 0..n {
                    // directions as different as four microphones allow
                    let turn = |c: usize| std::f64::consts::TAU * (c * source) as f64 / 4.0;
                    let a: Vec<Complex<f64>> =
                        (0..4).map(|c| Complex::from_polar(0.8 + 0.2 * number(), turn(c))).collect();
                    for mut frame in bin.columns_mut() {
                        let s = Complex::new(number(), number());
                        frame.iter_mut().zip(&a).for_each(|(x, a)| *x += a * s);
                    }
                }
                bin.mapv_inplace(|x| x + Complex::new(number(), number()) * noise);
            }
            let found = count_directions(x.view(), 8.0);
            assert_eq!(found.n_sources, n, "{found:?}");
        }
    }
}
