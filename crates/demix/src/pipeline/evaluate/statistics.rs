//! [`Summary`]: mean, median, spread of scores over tracks, and how sure they are.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Resamples of the bootstrap: its ends are then certain to a few hundredths of the interval.
const RESAMPLES: usize = 2000;
/// Probability that an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// Finite values in numbers; NaN where there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many values are finite.
    pub n: usize,
    /// How many are not, and left out.
    pub left_out: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Percentile bootstrap interval of the mean, 95 %.
    pub mean_interval: (f64, f64),
    /// Median.
    pub median: f64,
    /// Percentile bootstrap interval of the median, 95 %.
    pub median_interval: (f64, f64),
    /// Standard deviation (n - 1).
    pub deviation: f64,
    /// Lower and upper quartile.
    pub quartiles: (f64, f64),
}

impl Summary {
    /// Of values of which each is drawn by itself: one per track. The same seed gives the same intervals.
    pub fn new(values: &[f64], seed: u64) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let mean = mean(&sorted);
        let squares: f64 = sorted.iter().map(|x| (x - mean).powi(2)).sum();
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        let mut resample = vec![0.0; n];
        let (mut means, mut medians) = (Vec::new(), Vec::new());
        for _ in 0..RESAMPLES {
            // the high bits of a product are a number below n, as good as even
            let mut draw = || sorted[((u128::from(chance.next_u64()) * n as u128) >> 64) as usize];
            resample.iter_mut().for_each(|x| *x = draw());
            means.push(self::mean(&resample));
            resample.sort_by(f64::total_cmp);
            medians.push(quantile(&resample, 0.5));
        }
        let interval = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            (quantile(&values, TAIL), quantile(&values, 1.0 - TAIL))
        };
        Self {
            n,
            left_out: values.len() - n,
            mean,
            mean_interval: interval(means),
            median: quantile(&sorted, 0.5),
            median_interval: interval(medians),
            deviation: if n > 1 { (squares / (n - 1) as f64).sqrt() } else { f64::NAN },
            quartiles: (quantile(&sorted, 0.25), quantile(&sorted, 0.75)),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The value below which a share of sorted values lies, between neighbours along a line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + place.fract() * (above - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        let summary = Summary::new(&[4.0, f64::NAN, 1.0, 2.0, 3.0, f64::INFINITY], 0);
        assert_eq!((summary.n, summary.left_out), (4, 2));
        assert_eq!((summary.mean, summary.median, summary.quartiles), (2.5, 2.5, (1.75, 3.25)));
        assert!((summary.deviation - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(summary, Summary::new(&[4.0, f64::NAN, 1.0, 2.0, 3.0, f64::INFINITY], 0));
        let nothing = Summary::new(&[f64::NAN], 0);
        assert!(nothing.n == 0 && nothing.mean.is_nan() && nothing.median_interval.0.is_nan());
    }

    /// The interval of a mean of many values is the one that the normal distribution gives.
    #[test]
    fn intervals_are_as_wide_as_they_should_be() {
        // values of even distribution: variance 1/12
        let values: Vec<f64> = (0..400).map(|i| ((i as f64 + 0.5) * 0.618_033_988).fract()).collect();
        let summary = Summary::new(&values, 7);
        let half = 1.96 * (1.0 / 12.0f64 / 400.0).sqrt();
        let (low, high) = summary.mean_interval;
        // 2000 resamples know an end of the interval to about 4 % of its width
        assert!((high - low - 2.0 * half).abs() < 0.1 * 2.0 * half, "{low} {high} {half}");
        assert!(low < summary.mean && summary.mean < high);
        assert!(summary.median_interval.0 < 0.5 && 0.5 < summary.median_interval.1);
    }
}
