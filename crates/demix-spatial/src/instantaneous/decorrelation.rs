//! Decorrelation of two sources, as taught: rows b1, b2 of the demixing matrix for which y_1(t) and y_2(t-n) have no
//! correlation at any lag n.
//!
//! -a22 a21 C11_n + a12 a21 C21_n + a22 a11 C12_n - a12 a11 C22_n = 0 is solved for two lags in closed form, for many
//! by least squares under a normalisation; [`Form`] lists ways to measure the error. The forms are compared in
//! `docs/instantaneous.md`. For two lags the method is that of
//! Molgedey and Schuster 1994.

use demix_signal::settings::Settings as _;
use demix_signal::{Progress, Watch, Waveform};
use nalgebra::DMatrix;

use super::demixing::{Found, InstantaneousDemixing, Stopped};
use super::identifiability::warn_of_equal_spectra;
use super::joint_diagonalization::{JacobiSettings, jointly_diagonalize};
use super::lags::{LagSettings, in_samples};
use super::mixture::Prepared;
use super::sobi::not_converged;
use super::two_by_two::{Equations, Rows, Weights, two_lags};
use super::{InstantaneousMethod, STAGE};
use crate::SpatialError;

/// Outputs more alike than this (correlation coefficient) are one and the same source.
const SAME: f64 = 0.9;

demix_signal::choices! {
    /// How the error F of the equations of all lags is measured.
    pub enum Form {
        /// No error: the equations of lag 0 and of `lag` alone, solved in closed form.
        TwoLags = "two-lags",
        /// The sum of squares, columns of A of length one.
        Plain = "plain",
        /// The sum of squared correlation coefficients: each output divided by its power, C(0).
        Normalized = "normalized",
        /// As normalized, each equation divided by the variance of its estimate, from 32 parts of the signal.
        Variance = "variance",
        /// The sum of absolute correlation coefficients: forgives a few lags that do not fit.
        L1 = "l1",
        /// Lag 0 exactly, the others by joint diagonalisation: SOBI for two sources.
        Joint = "joint",
    }
}

demix_signal::settings! {
    /// The equations and their error.
    pub struct EquationSettings {
        /// How the error of the equations is measured.
        pub form: Form = Form::Joint;
        /// The second lag of two-lags, the first being 0.
        pub lag: f64 = 0.25, unit "ms", range 0.001 ..= 1000.0;
    }
}

demix_signal::settings_group! {
    /// Settings of the decorrelation of two sources.
    pub struct DecorrelationSettings {
        /// The equations.
        pub equations: EquationSettings,
        /// Which lags, but for two-lags.
        pub lags: LagSettings,
        /// The iterations, where there are any.
        pub jacobi: JacobiSettings,
    }
}

/// The method `decorrelation`; see the [module](self).
#[derive(Clone, Debug)]
pub struct Decorrelation {
    settings: DecorrelationSettings,
}

impl Decorrelation {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: DecorrelationSettings) -> Result<Self, SpatialError> {
        settings.check()?;
        Ok(Self { settings })
    }

    /// The demixing of the two white components.
    fn solve(&self, prepared: &Prepared, watch: &mut dyn Watch) -> Result<Found, SpatialError> {
        let white = &prepared.white;
        match self.settings.equations.form {
            Form::TwoLags => {
                let c = |lag: usize| white.covariances[lag].fixed_view::<2, 2>(0, 0).into_owned();
                let second = white.covariances.len() - 1;
                let (rows, real) = two_lags(&c(0), &c(second));
                let warnings = match real {
                    true => Vec::new(),
                    false => vec![format!(
                        "the equations of lags 0 and {} have no common real solution, the nearest point is taken: \
                         choose another lag, or form=normalized with many",
                        white.lags[second]
                    )],
                };
                let demixing = to_matrix(&rows);
                Ok(Found { demixing, cost: Vec::new(), iterations: 0, stopped: Stopped::Tolerance, warnings })
            }
            Form::Joint => {
                let found = jointly_diagonalize(&white.symmetric(), 2, &self.settings.jacobi, watch)?;
                Ok(Found {
                    demixing: found.rotation,
                    iterations: found.cost.len() - 1,
                    cost: found.cost,
                    stopped: found.stopped,
                    warnings: Vec::new(),
                })
            }
            Form::Plain => {
                let (basis, covariances) = orthonormal(prepared);
                let equations = Equations::new(&covariances, &[]);
                let found = self.iterate(&equations, Weights::Equal, watch)?;
                Ok(Found { demixing: &found.demixing * basis, ..found })
            }
            form => {
                let equations = Equations::new(&white.covariances, &white.parts);
                let weights = match form {
                    Form::Variance => Weights::Variance,
                    Form::L1 => Weights::Absolute,
                    _ => Weights::Equal,
                };
                self.iterate(&equations, weights, watch)
            }
        }
    }

    /// From the best of a grid of angles, step by step in both.
    fn iterate(
        &self,
        equations: &Equations,
        weights: Weights,
        watch: &mut dyn Watch,
    ) -> Result<Found, SpatialError> {
        let JacobiSettings { iterations, tolerance } = self.settings.jacobi;
        let mut rows = equations.start();
        let mut cost = vec![equations.cost(weights, &rows)];
        let mut stopped = Stopped::Iterations;
        for done in 1..=iterations {
            let moved = equations.step(weights, &mut rows);
            cost.push(equations.cost(weights, &rows));
            watch.progress(Progress { stage: STAGE, done, total: iterations, cost: cost.last().copied() })?;
            if moved <= tolerance {
                stopped = Stopped::Tolerance;
                break;
            }
        }
        let mut warnings = Vec::new();
        if weights == Weights::Variance && equations.scatter.is_empty() {
            warnings
                .push("the signal is too short to be cut into parts: all lags have the same weight".into());
        }
        let iterations = cost.len() - 1;
        Ok(Found { demixing: to_matrix(&rows), cost, iterations, stopped, warnings })
    }
}

impl InstantaneousMethod for Decorrelation {
    fn name(&self) -> &'static str {
        "decorrelation"
    }

    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError> {
        if n_sources != 2 {
            let (method, instead) = (self.name(), "sobi");
            return Err(SpatialError::OtherNumberOfSources {
                method,
                expected: 2,
                sources: n_sources,
                instead,
            });
        }
        let n_samples = mixture.n_samples();
        let lags = match self.settings.equations.form {
            Form::TwoLags => {
                vec![in_samples(self.settings.equations.lag, mixture.sample_rate).min(n_samples / 2)]
            }
            _ => self.settings.lags.in_samples(mixture.sample_rate, n_samples),
        };
        let prepared = Prepared::new(self.name(), mixture, n_sources, &lags)?;
        let r = prepared.rank();
        if r < 2 {
            let demixing = DMatrix::identity(r, r);
            let (cost, warnings) = (Vec::new(), Vec::new());
            return Ok(prepared.finish(Found {
                demixing,
                cost,
                iterations: 0,
                stopped: Stopped::Tolerance,
                warnings,
            }));
        }
        let mut found = self.solve(&prepared, watch)?;
        // rows in white coordinates: their cosine is the correlation of the outputs
        for mut row in found.demixing.row_iter_mut() {
            row /= row.norm();
        }
        let alike = found.demixing.row(0).dot(&found.demixing.row(1)).abs();
        if alike > SAME {
            found.warnings.push(format!(
                "both outputs are nearly the same (correlation {alike:.3}): the lags do not tell the sources apart, or \
                 F is smallest where both are faint; take form=normalized, or other lags"
            ));
        } else {
            found.warnings.extend(warn_of_equal_spectra(&prepared.demixed(&found.demixing)));
        }
        found.warnings.extend(not_converged(found.stopped, self.settings.jacobi.iterations));
        Ok(prepared.finish(found))
    }
}

fn to_matrix((first, second): &Rows) -> DMatrix<f64> {
    DMatrix::from_row_slice(2, 2, &[first[0], first[1], second[0], second[1]])
}

/// The two channels themselves at power one, of more their two principal components, and what takes z to them.
fn orthonormal(prepared: &Prepared) -> (DMatrix<f64>, Vec<DMatrix<f64>>) {
    let whitener = &prepared.whitening.whitener;
    let channels = &prepared.covariances;
    let mut projector = if whitener.ncols() == 2 { DMatrix::identity(2, 2) } else { whitener.clone() };
    for mut row in projector.row_iter_mut() {
        row /= row.norm();
    }
    let power = (&projector * &channels.covariances[0] * projector.transpose()).trace();
    projector /= power.sqrt();
    let basis = &projector * &prepared.whitening.dewhitener;
    (basis, channels.transformed(&projector).covariances)
}
