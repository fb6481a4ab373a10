//! [`InstantaneousDemixing`]: the matrices W and A, and what they make of a mixture.

use demix_signal::Waveform;
use nalgebra::DMatrix;
use ndarray::{Array2, Axis, s};
use rayon::prelude::*;

use super::whitening::Whitening;

/// Why the iterations of a method ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing moved any more, or the solution is known in closed form.
    Tolerance,
    /// The limit of iterations was reached before.
    Iterations,
}

impl Stopped {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tolerance => "tolerance",
            Self::Iterations => "iterations",
        }
    }
}

/// y = W x, and A that brings each source back to the microphones.
///
/// Columns of A have length one and their largest entry is positive, so y has the unit of x and W does not depend on
/// the mixture's level; sources come in the order of their power at the microphones. Where the channels hold fewer
/// independent signals than sources were asked for, the last sources are silent (zero rows of W, zero columns of A).
#[derive(Clone, Debug)]
pub struct InstantaneousDemixing {
    /// W, (sources, channels).
    pub demixing: Array2<f64>,
    /// A, (channels, sources): W A is the identity on the sources that sound; with as many sources as channels A W
    /// is, too.
    pub mixing: Array2<f64>,
    /// The method's cost before the first and after every iteration; empty where a closed form has none.
    pub cost: Vec<f64>,
    /// Iterations done.
    pub iterations: usize,
    /// Why they ended.
    pub stopped: Stopped,
    /// Sentences a user should read.
    pub warnings: Vec<String>,
    /// Sources that are not silent.
    pub n_found: usize,
}

/// What a method found in whitened coordinates.
pub(crate) struct Found {
    /// B, (r, r): y = B z.
    pub demixing: DMatrix<f64>,
    pub cost: Vec<f64>,
    pub iterations: usize,
    pub stopped: Stopped,
    pub warnings: Vec<String>,
}

impl InstantaneousDemixing {
    /// Scales, orders, fills up with silence.
    pub(crate) fn new(whitening: &Whitening, n_sources: usize, found: Found) -> Self {
        let m = whitening.dewhitener.nrows();
        let r = whitening.rank();
        let w = &found.demixing * &whitening.whitener;
        let inverse = found.demixing.clone().try_inverse().unwrap_or_else(|| found.demixing.transpose());
        let a = &whitening.dewhitener * inverse;
        // white input: the power of y_n is that of its row of B
        let gains: Vec<f64> = (0..r).map(|n| a.column(n).norm()).collect();
        let power = |n: usize| gains[n] * found.demixing.row(n).norm();
        let mut order: Vec<usize> = (0..r).collect();
        order.sort_by(|&i, &j| power(j).total_cmp(&power(i)));

        let (mut demixing, mut mixing) = (Array2::zeros((n_sources, m)), Array2::zeros((m, n_sources)));
        for (to, &from) in order.iter().enumerate() {
            let column = a.column(from);
            let scale = if column[column.iamax()] < 0.0 { -gains[from] } else { gains[from] };
            for channel in 0..m {
                mixing[[channel, to]] = column[channel] / scale;
                demixing[[to, channel]] = w[(from, channel)] * scale;
            }
        }
        let Found { cost, iterations, stopped, warnings, .. } = found;
        Self { demixing, mixing, cost, iterations, stopped, warnings, n_found: r }
    }

    /// Number of channels, M.
    pub fn n_channels(&self) -> usize {
        self.mixing.nrows()
    }

    /// Number of sources, N, silent ones included.
    pub fn n_sources(&self) -> usize {
        self.mixing.ncols()
    }

    /// y = W x, (sources, samples); `x` has [`InstantaneousDemixing::n_channels`] channels.
    pub fn sources(&self, x: &Waveform) -> Waveform {
        Waveform::new(apply(&self.demixing, &x.samples), x.sample_rate)
    }

    /// The image a_n w_n x of one source on all microphones, the constant part of x included.
    ///
    /// With as many sources as channels all images sum to the mixture: when some are silent, the first of these takes
    /// what the channels hold beyond the others (constants, rounding).
    pub fn image(&self, x: &Waveform, source: usize) -> Waveform {
        if source == self.n_found && self.n_sources() == self.n_channels() {
            return self.residual(x);
        }
        let column = self.mixing.slice(s![.., source]).insert_axis(Axis(1));
        let row = self.demixing.slice(s![source, ..]).insert_axis(Axis(0));
        Waveform::new(apply(&column.dot(&row), &x.samples), x.sample_rate)
    }

    /// x - A W x: what is left when there are more microphones than sources; zero but for rounding otherwise.
    pub fn residual(&self, x: &Waveform) -> Waveform {
        let all = self.mixing.dot(&self.demixing);
        Waveform::new(apply(&(Array2::eye(self.n_channels()) - all), &x.samples), x.sample_rate)
    }
}

/// Matrix times samples, in double precision.
fn apply(matrix: &Array2<f64>, x: &Array2<f32>) -> Array2<f32> {
    debug_assert_eq!(matrix.ncols(), x.nrows());
    let mut y = Array2::zeros((matrix.nrows(), x.ncols()));
    y.axis_chunks_iter_mut(Axis(1), super::covariance::BLOCK)
        .into_par_iter()
        .zip(x.axis_chunks_iter(Axis(1), super::covariance::BLOCK).into_par_iter())
        .for_each(|(mut y, x)| {
            let mut sum = vec![0.0; x.ncols()];
            for (mut y, row) in y.outer_iter_mut().zip(matrix.outer_iter()) {
                sum.fill(0.0);
                for (&gain, x) in row.iter().zip(x.outer_iter()) {
                    sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += gain * f64::from(x));
                }
                y.iter_mut().zip(&sum).for_each(|(y, &sum)| *y = sum as f32);
            }
        });
    y
}
