//! Analysis windows, periodic (one period of the cosine series, as the Fourier transform wants it).

use std::f64::consts::TAU;

crate::choices! {
    /// The shape of the analysis and synthesis window.
    pub enum Window {
        /// 0.5 - 0.5 cos: the usual choice.
        Hann = "hann",
        /// 0.54 - 0.46 cos: never zero, so short hops are not needed for the inverse.
        Hamming = "hamming",
        /// 0.42 - 0.5 cos + 0.08 cos 2: lower side lobes, wider main lobe.
        Blackman = "blackman",
        /// Square root of hann: power complementary at a hop of half its length.
        SqrtHann = "sqrt-hann",
        /// All ones.
        Rectangular = "rectangular",
    }
}

impl Window {
    /// The `length` samples of the window, w\[t\], t = 0..length.
    pub fn samples(self, length: usize) -> Vec<f64> {
        let cos = |t: usize, order: f64| (TAU * order * t as f64 / length as f64).cos();
        let hann = |t| 0.5 - 0.5 * cos(t, 1.0);
        (0..length)
            .map(|t| match self {
                Self::Hann => hann(t),
                Self::Hamming => 0.54 - 0.46 * cos(t, 1.0),
                // the three coefficients cancel at t = 0 only to rounding
                Self::Blackman => (0.42 - 0.5 * cos(t, 1.0) + 0.08 * cos(t, 2.0)).max(0.0),
                Self::SqrtHann => hann(t).max(0.0).sqrt(),
                Self::Rectangular => 1.0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_periodic_and_symmetric_about_their_middle() {
        for window in [Window::Hann, Window::Hamming, Window::Blackman, Window::SqrtHann, Window::Rectangular]
        {
            for length in [1, 2, 7, 512] {
                let w = window.samples(length);
                for t in 1..length {
                    assert!((w[t] - w[length - t]).abs() < 1e-14, "{window} {length} {t}");
                }
            }
        }
        // hann squared at a hop of a quarter sums to 3/2 everywhere
        let w = Window::Hann.samples(64);
        for t in 0..16 {
            let sum: f64 = (0..4).map(|k| w[t + 16 * k].powi(2)).sum();
            assert!((sum - 1.5).abs() < 1e-14);
        }
    }
}
