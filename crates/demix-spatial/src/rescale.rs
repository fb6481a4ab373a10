//! The scale of the outputs, which the mixture leaves open: from y_n to its image on every microphone.

use demix_signal::Complex;
use ndarray::{Array3, ArrayView3, Axis};
use rayon::prelude::*;

use crate::matrix::C64;
use crate::mixture::Scalar;

demix_signal::choices! {
    /// How the outputs get the scale of the microphones.
    pub enum Scaling {
        /// Columns of the inverse of W: the sources add up to the mixture (Matsuoka and Nakashima 2001).
        ProjectionBack = "projection-back",
        /// diag(W^-1) W: source n as microphone n hears it, the same on every channel (minimal distortion principle).
        MinimalDistortion = "minimal-distortion",
        /// The gain that fits each microphone best, source by source; also for fewer sources than microphones.
        LeastSquares = "least-squares",
    }
}

/// Gains (bins, channels, sources) that turn y_n into its images.
///
/// `mixing` is W^-1 (bins, channels, sources), `x` the mixture (bins, channels, frames) and `demixing` W (bins, sources,
/// channels), all at one level.
pub fn gains<T: Scalar>(
    scaling: Scaling,
    demixing: ArrayView3<'_, C64>,
    mixing: ArrayView3<'_, C64>,
    x: ArrayView3<'_, Complex<T>>,
) -> Array3<C64> {
    let (n_bins, n_channels, n) = mixing.dim();
    match scaling {
        Scaling::ProjectionBack => mixing.to_owned(),
        Scaling::MinimalDistortion => Array3::from_shape_fn((n_bins, n_channels, n), |(bin, _, source)| {
            mixing[[bin, source.min(n_channels - 1), source]]
        }),
        Scaling::LeastSquares => {
            let mut out = Array3::zeros((n_bins, n_channels, n));
            out.outer_iter_mut().into_par_iter().enumerate().for_each(|(bin, mut out)| {
                let (w, x) = (demixing.index_axis(Axis(0), bin), x.index_axis(Axis(0), bin));
                let double = |x: Complex<T>| C64::new(x.re.to_double(), x.im.to_double());
                for source in 0..n {
                    let mut power = 0.0;
                    let mut cross = vec![C64::new(0.0, 0.0); n_channels];
                    for frame in x.columns() {
                        let y: C64 = w.row(source).iter().zip(frame).map(|(w, &x)| w * double(x)).sum();
                        power += y.norm_sqr();
                        cross.iter_mut().zip(frame).for_each(|(cross, &x)| *cross += double(x) * y.conj());
                    }
                    for (channel, cross) in cross.into_iter().enumerate() {
                        // a silent output has no scale
                        out[[channel, source]] = if power > 0.0 { cross / power } else { C64::new(0.0, 0.0) };
                    }
                }
            });
            out
        }
    }
}
