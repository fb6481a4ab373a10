//! SOBI: second-order blind identification (Belouchrani, Abed-Meraim, Cardoso and Moulines 1997).
//!
//! The whitened covariances V C_n V^T at all lags are made as diagonal as one rotation can make them together. Sources
//! are told apart where their autocorrelations differ at any of the lags. After the covariances, N^3 per lag and sweep.

use demix_signal::settings::Settings as _;
use demix_signal::{Watch, Waveform};

use super::InstantaneousMethod;
use super::demixing::{Found, InstantaneousDemixing, Stopped};
use super::identifiability::warn_of_equal_spectra;
use super::joint_diagonalization::{JacobiSettings, jointly_diagonalize};
use super::lags::LagSettings;
use super::mixture::Prepared;
use crate::SpatialError;

demix_signal::settings_group! {
    /// Settings of SOBI.
    pub struct SobiSettings {
        /// Which lags.
        pub lags: LagSettings,
        /// The diagonalisation.
        pub jacobi: JacobiSettings,
    }
}

/// The method `sobi`; see the [module](self).
#[derive(Clone, Debug)]
pub struct Sobi {
    settings: SobiSettings,
}

impl Sobi {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: SobiSettings) -> Result<Self, SpatialError> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl InstantaneousMethod for Sobi {
    fn name(&self) -> &'static str {
        "sobi"
    }

    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        watch: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError> {
        let lags = self.settings.lags.in_samples(mixture.sample_rate, mixture.n_samples());
        let prepared = Prepared::new(self.name(), mixture, n_sources, &lags)?;
        let found =
            jointly_diagonalize(&prepared.white.symmetric(), prepared.rank(), &self.settings.jacobi, watch)?;
        let mut warnings = Vec::new();
        warnings.extend(warn_of_equal_spectra(&prepared.demixed(&found.rotation)));
        warnings.extend(not_converged(found.stopped, self.settings.jacobi.iterations));
        Ok(prepared.finish(Found {
            demixing: found.rotation,
            iterations: found.cost.len() - 1,
            cost: found.cost,
            stopped: found.stopped,
            warnings,
        }))
    }
}

/// The sentence for iterations that ended too early.
pub(crate) fn not_converged(stopped: Stopped, iterations: usize) -> Option<String> {
    (stopped == Stopped::Iterations).then(|| {
        format!("after {iterations} iterations the demixing still moved: raise iterations, or tolerance")
    })
}
