//! Outputs that are differences of large numbers: [`cancellation_warning`].

use demix_signal::{Complex, Real};
use ndarray::{ArrayView3, Axis};
use rayon::prelude::*;

use crate::matrix::{C64, form, hermitian_eigen};
use crate::mixture::{EMPTY_DIRECTION, covariance_of};

/// How many times larger than an output the numbers may be whose sum it is: what a recording with a noise of -60 dB
/// bears.
const MOST: f64 = 1000.0;
/// A bin of at least this share of the mean bin's power has signal.
const SIGNAL: f64 = 1e-6;
/// The share of the bins with signal that may have such outputs. Three microphones 5.7 cm apart have them in up to 6 of
/// 100 bins, all below 250 Hz; where a channel is the sum of two others nearly all have them.
const ORDINARY: f64 = 0.2;

/// A sentence about outputs that are left of much larger numbers in many bins, at microphones that hear nearly the same:
/// where sum_m |w_nm| rms(x_m) is more than 1000 times rms(y_n), for any n. None where that is rare.
///
/// `demixing` is W (bins, sources, channels) of the mixture `x` (bins, channels, frames). Bins without signal, and bins in
/// which channels are not independent at all, do not count.
pub fn cancellation_warning<T: Real>(
    demixing: ArrayView3<'_, C64>,
    x: ArrayView3<'_, Complex<T>>,
) -> Option<String> {
    let m = x.len_of(Axis(1));
    let covariances: Vec<Vec<C64>> =
        x.axis_iter(Axis(0)).into_par_iter().map(|x| covariance_of(x, 1.0)).collect();
    let power = |c: &[C64]| (0..m).map(|k| c[k * m + k].re).sum::<f64>();
    let mean = covariances.iter().map(|c| power(c)).sum::<f64>() / covariances.len().max(1) as f64;
    let cancels = |w: ndarray::ArrayView2<'_, C64>, c: &[C64]| {
        w.rows().into_iter().any(|row| {
            let row = row.to_vec();
            let summed: f64 = row.iter().enumerate().map(|(k, w)| w.norm() * c[k * m + k].re.sqrt()).sum();
            // a row of zeros has no output
            summed > MOST * form(c, &row, &row).re.max(0.0).sqrt()
        })
    };
    let bins: Vec<bool> = covariances
        .par_iter()
        .zip(demixing.axis_iter(Axis(0)).into_par_iter())
        .filter_map(|(c, w)| {
            let has_signal = power(c) > SIGNAL * mean;
            // independent channels have no empty direction
            let independent = || {
                let values = hermitian_eigen(m, c).0;
                values[0] > EMPTY_DIRECTION * values[m - 1]
            };
            (has_signal && independent()).then(|| cancels(w, c))
        })
        .collect();
    let alike = bins.iter().filter(|cancels| **cancels).count();
    (alike as f64 > ORDINARY * bins.len() as f64).then(|| {
        format!(
            "in {alike} of {} frequency bins the microphones hear nearly the same, or sums of one another: outputs there \
             are what is left of numbers more than {MOST} times larger, mostly noise; ask for fewer sources, or take \
             microphones that are further apart",
            bins.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Array3};
    use rand::Rng as _;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    const BINS: usize = 50;

    /// Four sources at four microphones, the third of which hears the sum of the first two and noise of this amplitude:
    /// (W, x).
    fn scene(noise: f64) -> (Array3<C64>, Array3<Complex<f32>>) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut number = || rng.next_u64() as f64 / u64::MAX as f64 - 0.5;
        let (mut w, mut x) = (Array3::zeros((BINS, 4, 4)), Array3::zeros((BINS, 4, 60)));
        for bin in 0..BINS {
            let mut a = Array2::from_shape_simple_fn((4, 4), || C64::new(number(), number()));
            for n in 0..4 {
                a[[2, n]] = a[[0, n]] + a[[1, n]] + C64::new(number(), number()) * noise;
            }
            let inverse = crate::matrix::inverse(4, a.as_slice().expect("it is in one piece"));
            let inverse = inverse.expect("noise makes it regular");
            (0..16).for_each(|at| w[[bin, at / 4, at % 4]] = inverse[at]);
            for frame in 0..60 {
                let s: Vec<C64> = (0..4).map(|_| C64::new(number(), number())).collect();
                for c in 0..4 {
                    let sum: C64 = (0..4).map(|n| a[[c, n]] * s[n]).sum();
                    x[[bin, c, frame]] = Complex::new(sum.re as f32, sum.im as f32);
                }
            }
        }
        (w, x)
    }

    #[test]
    fn a_channel_that_is_a_sum_of_others_is_spoken_of_and_others_are_not() {
        let (w, x) = scene(1e-4);
        let said = cancellation_warning(w.view(), x.view()).expect("a channel tells nothing");
        assert!(said.contains("of 50 frequency bins the microphones hear nearly the same"), "{said}");
        assert!(said.contains("1000 times larger"), "{said}");
        // rows at any scale
        let scaled = Array3::from_shape_fn(w.dim(), |at| w[at] * 10f64.powi(at.0 as i32 % 9 - 4));
        assert_eq!(cancellation_warning(scaled.view(), x.view()), Some(said));
        let (w, x) = scene(0.1);
        assert_eq!(cancellation_warning(w.view(), x.view()), None);
    }

    #[test]
    fn bins_without_signal_or_without_independent_channels_do_not_count() {
        let (w, mut x) = scene(1e-4);
        let (_, ordinary) = scene(0.1);
        let (good, _) = scene(0.1);
        let mut mixed = w.clone();
        // one bin in ten is left as it was, and three are too quiet to matter
        for bin in 0..BINS {
            if bin % 10 > 3 {
                mixed.index_axis_mut(Axis(0), bin).assign(&good.index_axis(Axis(0), bin));
                x.index_axis_mut(Axis(0), bin).assign(&ordinary.index_axis(Axis(0), bin));
            } else if bin % 10 > 0 {
                x.index_axis_mut(Axis(0), bin).mapv_inplace(|x| x * 1e-5);
            }
        }
        assert_eq!(cancellation_warning(mixed.view(), x.view()), None);
        // copies are another matter, of which the ranks tell
        let first = x.index_axis(Axis(1), 0).to_owned();
        x.index_axis_mut(Axis(1), 2).assign(&first);
        assert_eq!(cancellation_warning(w.view(), x.view()), None);
        let silence = Array3::<Complex<f32>>::zeros((BINS, 4, 60));
        assert_eq!(cancellation_warning(w.view(), silence.view()), None);
    }
}
