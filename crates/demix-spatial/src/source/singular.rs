//! Factors that begin at the singular vectors of an output's spectrogram: nothing is drawn, so no start is unlucky.

use ndarray::{Array2, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::Powers;
use crate::mixture::Scalar;

/// T (bins, components) and V (components, frames) with T V near |y_n|^domain (NNDSVDa); where there are fewer bins or
/// frames than components, the rest is flat.
pub(crate) fn singular_vectors<T: Scalar>(
    powers: &Powers<'_, T>,
    source: usize,
    n_components: usize,
    domain: f64,
) -> (Array2<f64>, Array2<f64>) {
    let (n_bins, n_frames) = (powers.n_bins(), powers.n_frames());
    let mut spectrogram = Array2::<T>::zeros((n_bins, n_frames));
    let mut power = vec![T::ZERO; powers.stride()];
    for (bin, mut row) in spectrogram.outer_iter_mut().enumerate() {
        powers.fill(bin, source, &mut power);
        row.iter_mut().zip(&power).for_each(|(x, p)| *x = p.to_the(T::of(domain / 2.0)));
    }
    let mean = spectrogram.iter().map(|x| x.to_double()).sum::<f64>() / spectrogram.len().max(1) as f64;
    let flat = mean.sqrt();
    let mut dictionary = Array2::from_elem((n_bins, n_components), flat);
    let mut activations = Array2::from_elem((n_components, n_frames), flat);
    let known = n_components.min(n_bins).min(n_frames);
    // the numbers only begin the search for the vectors: any seed gives the same
    let mut random = ChaCha8Rng::seed_from_u64(0);
    if let Ok((t, v)) = demix_nmf::nndsvda(spectrogram.view(), known, &mut random) {
        dictionary.slice_mut(s![.., ..known]).assign(&t.mapv(T::to_double));
        activations.slice_mut(s![..known, ..]).assign(&v.mapv(T::to_double));
    }
    (dictionary, activations)
}
