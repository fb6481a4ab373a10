//! Factors that begin at the singular vectors of an output's spectrogram: nothing is drawn, so no start is unlucky.

use ndarray::{Array2, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::Powers;
use crate::mixture::Scalar;

/// What an output looks like before its factors are fitted.
pub(crate) struct SingularVectors {
    /// T, (bins, components).
    pub dictionary: Array2<f64>,
    /// V, (components, frames).
    pub activations: Array2<f64>,
    /// The mean of |y_n|^domain.
    pub mean: f64,
}

impl SingularVectors {
    /// T V near |y_n|^domain (NNDSVDa); where there are fewer bins or frames than components, the rest is flat. c times
    /// |y_n|^domain give sqrt(c) times both factors.
    pub fn of<T: Scalar>(powers: &Powers<'_, T>, source: usize, n_components: usize, domain: f64) -> Self {
        let (n_bins, n_frames) = (powers.n_bins(), powers.n_frames());
        let mut spectrogram = Array2::<T>::zeros((n_bins, n_frames));
        let mut power = vec![T::ZERO; powers.stride()];
        let mut total = 0.0;
        for (bin, mut row) in spectrogram.outer_iter_mut().enumerate() {
            powers.fill(bin, source, &mut power);
            for (x, p) in row.iter_mut().zip(&power) {
                *x = p.to_the(T::of(domain / 2.0));
                total += x.to_double();
            }
        }
        let mean = total / spectrogram.len().max(1) as f64;
        let level = mean.sqrt();
        let mut dictionary = Array2::from_elem((n_bins, n_components), level);
        let mut activations = Array2::from_elem((n_components, n_frames), level);
        let known = n_components.min(n_bins).min(n_frames);
        if known > 0 && mean > 0.0 && mean.is_finite() {
            // what fills zeros is a mean of V: at another level it would have another share
            spectrogram.mapv_inplace(|x| T::of(x.to_double() / mean));
            // the numbers begin the search for the vectors: fixed ones, the same factors at every call
            let mut random = ChaCha8Rng::seed_from_u64(0);
            let (t, v) = demix_nmf::nndsvda(spectrogram.view(), known, &mut random)
                .expect("there are no more components than bins and frames");
            dictionary.slice_mut(s![.., ..known]).assign(&t.mapv(|t| level * t.to_double()));
            activations.slice_mut(s![..known, ..]).assign(&v.mapv(|v| level * v.to_double()));
        }
        Self { dictionary, activations, mean }
    }
}

#[cfg(test)]
mod tests {
    use demix_signal::simd::Simd;
    use ndarray::Array3;

    use super::*;
    use crate::matrix::C64;
    use crate::{Demixing, Mixture};

    /// Two channels of which the second is soft in its first half, (bins, channels, frames).
    fn mixture<T: Scalar>(n_bins: usize, n_frames: usize) -> Mixture<T> {
        let x = Array3::from_shape_fn((n_bins, 2, n_frames), |(i, c, j)| {
            let soft = if c == 1 && 2 * j < n_frames { 0.1 } else { 1.0 };
            let level = soft * (1.0 + ((3 * i + 5 * j + c) % 7) as f64);
            C64::from_polar(level, (i * j + c) as f64)
        });
        Mixture::new(x.view(), Simd::Portable).expect("the numbers are finite")
    }

    fn vectors<T: Scalar>(mixture: &Mixture<T>, gain: f64, k: usize, domain: f64) -> SingularVectors {
        let mut w = Array3::zeros((mixture.n_bins(), 2, 2));
        w.outer_iter_mut().for_each(|mut w| (0..2).for_each(|n| w[[n, n]] = C64::new(gain, 0.0)));
        let demixing = Demixing::given(mixture, &w).expect("the shape is that of the mixture");
        SingularVectors::of(&Powers::new(mixture, &demixing), 1, k, domain)
    }

    fn follows_the_level<T: Scalar>(tolerance: f64) {
        let mixture = mixture::<T>(9, 14);
        for domain in [2.0, 0.5] {
            let quiet = vectors(&mixture, 1e-3, 3, domain);
            let loud = vectors(&mixture, 1e3, 3, domain);
            let gain = 1e6f64.powf(domain / 2.0);
            assert!((loud.mean / (gain * gain) / quiet.mean - 1.0).abs() < tolerance);
            for (a, b) in [(&quiet.dictionary, &loud.dictionary), (&quiet.activations, &loud.activations)] {
                assert!(a.iter().zip(b).all(|(a, b)| (b / gain - a).abs() < tolerance * a.abs()), "{a} {b}");
            }
        }
    }

    #[test]
    fn the_factors_follow_the_level_of_the_output() {
        follows_the_level::<f64>(1e-9);
        follows_the_level::<f32>(1e-3);
    }

    #[test]
    fn of_few_frames_all_vectors_are_taken_and_silence_has_none() {
        let mixture = mixture::<f64>(9, 4);
        let found = vectors(&mixture, 1.0, 6, 2.0);
        let first = vectors(&mixture, 1.0, 4, 2.0);
        assert_eq!(found.dictionary.slice(s![.., ..4]), first.dictionary);
        assert_eq!(found.activations.slice(s![..4, ..]), first.activations);
        assert!(found.dictionary.slice(s![.., 4..]).iter().all(|&t| t == found.mean.sqrt()));
        // the mean fills the soft half; the loud half is above it
        let r = first.dictionary.dot(&first.activations);
        assert!(r.slice(s![.., 2..]).sum() > 1.1 * r.slice(s![.., ..2]).sum(), "{r}");
        let silent = vectors(&mixture, 0.0, 3, 2.0);
        assert!(silent.mean == 0.0 && silent.dictionary.iter().all(|&t| t == 0.0));
    }
}
