//! Whether the statistics that a method used could tell the sources apart.

use demix_signal::Waveform;
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::covariance::{LaggedCovariances, symmetric_part};

/// Angles less certain than this (standard error) are worth a warning: 0.1 rad lets -20 dB of one source into another.
const UNCERTAIN: f64 = 0.1;
/// An excess kurtosis within so many standard errors of zero may be zero.
const ERRORS: f64 = 2.0;
/// Parts of the signal whose kurtosis is compared.
const PARTS: usize = 32;

/// The standard error of the angle between two outputs, from the scatter over the parts of the signal: to first order
/// the angle that diagonalises matrices with diagonals d_i, d_j and off-diagonals o is
/// sum_n o_n (d_i,n - d_j,n) / sum_n (d_i,n - d_j,n)^2. What chance alone puts into the denominator is taken off.
/// `c` belongs to y = W x with outputs of power one. Infinite where the diagonals are the same; none for one part.
pub(crate) fn angle_error(c: &LaggedCovariances, i: usize, j: usize) -> Option<f64> {
    let n_parts = c.parts.len() as f64;
    if c.parts.len() < 2 || c.lags.len() < 2 {
        return None;
    }
    let gaps: Vec<f64> = c.covariances.iter().map(|c| c[(i, i)] - c[(j, j)]).collect();
    let off = |part: &[DMatrix<f64>], lag: usize| symmetric_part(&part[lag])[(i, j)];
    let variance = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / n_parts;
        values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n_parts * (n_parts - 1.0))
    };
    // lag 0 is one for all outputs
    let squared: f64 = (1..gaps.len())
        .map(|lag| {
            let of_parts: Vec<f64> = c.parts.iter().map(|part| off(part, lag)).collect();
            // white noise: the difference of two diagonals varies four times as much as the symmetric off-diagonal
            gaps[lag].powi(2) - 4.0 * variance(&of_parts)
        })
        .sum();
    if squared <= 0.0 {
        return Some(f64::INFINITY);
    }
    let angle = |part: &Vec<DMatrix<f64>>| {
        (1..gaps.len()).map(|lag| gaps[lag] * off(part, lag)).sum::<f64>() / squared
    };
    Some(variance(&c.parts.iter().map(angle).collect::<Vec<f64>>()).sqrt())
}

/// A warning for the pair of outputs whose angle is least certain, if it is too uncertain.
pub(crate) fn warn_of_equal_spectra(c: &LaggedCovariances) -> Option<String> {
    let n = c.covariances[0].nrows();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
    let errors = pairs.filter_map(|(i, j)| angle_error(c, i, j));
    let worst = errors.max_by(f64::total_cmp).filter(|&error| error > UNCERTAIN)?;
    let how = match worst.min(1.0) {
        1.0 => "cannot be told".to_string(),
        error => format!("is uncertain by {:.0} degrees", error.to_degrees()),
    };
    Some(format!(
        "the gap between the lagged covariances of two sources is too small for this length: how they are mixed {how}; \
         try other lags (longest_lag), or jade or fastica, which tell sources by other statistics"
    ))
}

/// Excess kurtosis of the outputs y = W (x - mean) with its standard error, from parts of the signal.
pub(crate) fn excess_kurtosis(x: &Waveform, w: &DMatrix<f64>, mean: &DVector<f64>) -> Vec<(f64, f64)> {
    let n_samples = x.n_samples();
    let n_parts = PARTS.min(n_samples / 2).max(1);
    // (sum of y^2, sum of y^4) of each output and part
    let moments: Vec<Vec<(f64, f64)>> = (0..n_parts)
        .into_par_iter()
        .map(|part| {
            let range = part * n_samples / n_parts..(part + 1) * n_samples / n_parts;
            let mut sums = vec![(0.0, 0.0); w.nrows()];
            for t in range {
                for (n, sum) in sums.iter_mut().enumerate() {
                    let y: f64 =
                        (0..w.ncols()).map(|i| w[(n, i)] * (f64::from(x.samples[[i, t]]) - mean[i])).sum();
                    let squared = y * y;
                    sum.0 += squared;
                    sum.1 += squared * squared;
                }
            }
            sums
        })
        .collect();
    (0..w.nrows())
        .map(|n| {
            let kurtosis = |without: Option<usize>| {
                let kept = moments.iter().enumerate().filter(|(part, _)| Some(*part) != without);
                let (two, four) = kept.fold((0.0, 0.0), |sum, (_, m)| (sum.0 + m[n].0, sum.1 + m[n].1));
                let samples = match without {
                    None => n_samples,
                    Some(p) => n_samples - ((p + 1) * n_samples / n_parts - p * n_samples / n_parts),
                } as f64;
                if two > 0.0 { samples * four / (two * two) - 3.0 } else { 0.0 }
            };
            // the jackknife: what leaving out one part after the other changes
            let without: Vec<f64> = (0..n_parts).map(|part| kurtosis(Some(part))).collect();
            let mean = without.iter().sum::<f64>() / n_parts as f64;
            let scatter = without.iter().map(|k| (k - mean).powi(2)).sum::<f64>();
            (kurtosis(None), (scatter * (n_parts as f64 - 1.0) / n_parts as f64).sqrt())
        })
        .collect()
}

/// A warning where more than one output may be Gaussian.
pub(crate) fn warn_of_gaussians(x: &Waveform, w: &DMatrix<f64>, mean: &DVector<f64>) -> Option<String> {
    let gaussian = excess_kurtosis(x, w, mean).iter().filter(|(k, error)| k.abs() <= ERRORS * error).count();
    (gaussian > 1).then(|| {
        format!(
            "{gaussian} sources are Gaussian as far as {} samples tell (their kurtosis does not differ from 3): how \
             these are mixed is uncertain; try sobi, which tells sources by their spectra",
            x.n_samples()
        )
    })
}
