//! [`Consistency`]: the model sees spectrograms that some waveform has: consistent ILRMA.
//!
//! Kitamura and Yatabe 2020: before each step of the model, y is transformed to sound and back, which ties neighbouring
//! bins and frames. The spatial update goes on with the plain mixture. The cost may rise.

use demix_signal::{Complex, Stft, StftSettings};
use ndarray::Array2;
use rayon::prelude::*;

use crate::SpatialError;
use crate::demixing::Demixing;
use crate::kernel::estimate::Estimate;
use crate::mixture::{Mixture, Scalar};

/// The projection onto consistent spectrograms, and the powers after it.
pub struct Consistency<T: Scalar> {
    stft: Stft<T>,
    n_samples: usize,
    powers: Vec<T>,
}

impl<T: Scalar> Consistency<T> {
    /// For the transform of the mixture, and the length of its waveform in samples.
    ///
    /// # Errors
    /// A transform that cannot be built.
    pub fn new(settings: &StftSettings, n_samples: usize) -> Result<Self, SpatialError> {
        Ok(Self { stft: Stft::new(settings)?, n_samples, powers: Vec::new() })
    }

    pub(crate) fn powers(&self) -> &[T] {
        &self.powers
    }

    /// |STFT(ISTFT(y))|^2 of all sources, (sources, bins, stride).
    pub(crate) fn project(&mut self, mixture: &Mixture<T>, demixing: &Demixing) {
        let (n_bins, n_frames, stride) = (mixture.n_bins(), mixture.n_frames(), mixture.stride());
        self.powers.resize(demixing.n_sources * n_bins * stride, T::ZERO);
        for (source, powers) in self.powers.chunks_exact_mut(n_bins * stride).enumerate() {
            // frame by frame, as the inverse takes it
            let mut y = vec![Complex::new(T::ZERO, T::ZERO); n_frames * n_bins];
            let rows: Vec<(Vec<T>, Vec<T>)> = (0..n_bins)
                .into_par_iter()
                .map(|bin| {
                    let (mut re, mut im) = (vec![T::ZERO; stride], vec![T::ZERO; stride]);
                    let row = demixing.row(bin, source);
                    T::run(mixture.simd, Estimate { x: mixture.bin(bin), row, re: &mut re, im: &mut im });
                    (re, im)
                })
                .collect();
            y.par_chunks_exact_mut(n_bins).enumerate().for_each(|(frame, y)| {
                for (y, (re, im)) in y.iter_mut().zip(&rows) {
                    *y = Complex::new(re[frame], im[frame]);
                }
            });
            let sound = self.stft.inverse_blocks(n_frames, self.n_samples, |frames, out| {
                out.copy_from_slice(&y[frames.start * n_bins..frames.end * n_bins]);
            });
            let sound = Array2::from_shape_vec((1, self.n_samples), sound).expect("one channel");
            let again = self.stft.forward_samples(&sound).expect("there are samples");
            powers.par_chunks_exact_mut(stride).enumerate().for_each(|(bin, power)| {
                for (frame, power) in power[..n_frames].iter_mut().enumerate() {
                    *power = again[[bin, 0, frame]].norm_sqr();
                }
            });
        }
    }
}
