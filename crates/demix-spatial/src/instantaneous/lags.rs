//! Which lags: [`LagSettings`] and the lags in samples that they mean.

demix_signal::choices! {
    /// How lags are spread up to the longest one.
    pub enum Spacing {
        /// At equal distances.
        Linear = "linear",
        /// At equal ratios: dense where covariances change fast.
        Geometric = "geometric",
    }
}

demix_signal::settings! {
    /// The lags n of the covariances mean x_i(t) x_j(t-n); lag 0 is always there beside them.
    pub struct LagSettings {
        /// How many lags.
        pub lags: usize = 50, range 1.0 ..= 2000.0;
        /// The longest lag. Long enough that the sources' covariances differ, short enough that they are not yet
        /// noise.
        pub longest_lag: f64 = 10.0, unit "ms", range 0.001 ..= 1000.0;
        /// How the lags are spread.
        pub spacing: Spacing = Spacing::Geometric;
    }
}

impl LagSettings {
    /// The lags in samples, rising, each once, without lag 0; none reaches beyond half of the signal, where
    /// averages have too few terms to mean anything. A signal of less than two samples has none.
    pub fn in_samples(&self, sample_rate: u32, n_samples: usize) -> Vec<usize> {
        let longest = in_samples(self.longest_lag, sample_rate) as f64;
        let n = self.lags as f64;
        let mut lags: Vec<usize> = (1..=self.lags)
            .map(|k| match self.spacing {
                Spacing::Linear => longest * k as f64 / n,
                // from one sample on
                Spacing::Geometric => {
                    longest.powf(if self.lags == 1 { 1.0 } else { (k - 1) as f64 / (n - 1.0) })
                }
            })
            .map(|lag| (lag.round() as usize).max(1))
            .filter(|&lag| lag <= n_samples / 2)
            .collect();
        lags.dedup();
        if lags.is_empty() && n_samples > 1 { vec![n_samples / 2] } else { lags }
    }
}

/// A lag in samples, at least one.
pub(crate) fn in_samples(milliseconds: f64, sample_rate: u32) -> usize {
    ((milliseconds * 1e-3 * f64::from(sample_rate)).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags(lags: usize, longest_lag: f64, spacing: Spacing) -> LagSettings {
        LagSettings { lags, longest_lag, spacing }
    }

    #[test]
    fn lags_rise_to_the_longest_one_and_none_comes_twice() {
        assert_eq!(lags(4, 1.0, Spacing::Linear).in_samples(8000, 1000), [2, 4, 6, 8]);
        assert_eq!(lags(4, 1.0, Spacing::Geometric).in_samples(8000, 1000), [1, 2, 4, 8]);
        assert_eq!(lags(20, 1.0, Spacing::Linear).in_samples(8000, 1000), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(lags(1, 1.0, Spacing::Geometric).in_samples(8000, 1000), [8]);
    }

    #[test]
    fn no_lag_is_longer_than_half_of_the_signal() {
        assert_eq!(lags(4, 1.0, Spacing::Linear).in_samples(8000, 9), [2, 4]);
        assert_eq!(lags(1, 1000.0, Spacing::Linear).in_samples(8000, 3), [1]);
        assert!(lags(4, 1.0, Spacing::Linear).in_samples(8000, 1).is_empty());
    }
}
