//! AMUSE: the eigenvectors of one whitened covariance (Tong, Liu, Soon and Huang 1991).
//!
//! V C_n V^T at one lag n has the rotation that is sought as its eigenvectors, where its eigenvalues, the sources'
//! autocorrelations at n, differ.

use demix_signal::settings::Settings as _;
use demix_signal::{Watch, Waveform};

use super::InstantaneousMethod;
use super::covariance::symmetric_part;
use super::demixing::{Found, InstantaneousDemixing, Stopped};
use super::identifiability::warn_of_equal_spectra;
use super::lags::in_samples;
use super::mixture::Prepared;
use super::whitening::principal_components;
use crate::SpatialError;

demix_signal::settings! {
    /// Settings of AMUSE.
    pub struct AmuseSettings {
        /// The lag.
        pub lag: f64 = 0.25, unit "ms", range 0.001 ..= 1000.0;
    }
}

/// The method `amuse`; see the [module](self).
#[derive(Clone, Debug)]
pub struct Amuse {
    settings: AmuseSettings,
}

impl Amuse {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: AmuseSettings) -> Result<Self, SpatialError> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl InstantaneousMethod for Amuse {
    fn name(&self) -> &'static str {
        "amuse"
    }

    fn demix(
        &self,
        mixture: &Waveform,
        n_sources: usize,
        _: &mut dyn Watch,
    ) -> Result<InstantaneousDemixing, SpatialError> {
        let lag = in_samples(self.settings.lag, mixture.sample_rate).min(mixture.n_samples() / 2);
        let prepared = Prepared::new(self.name(), mixture, n_sources, &[lag])?;
        let at_lag = prepared.white.covariances.last().map(symmetric_part).unwrap_or_default();
        let demixing = match prepared.rank() {
            0 => at_lag,
            _ => principal_components(&at_lag).1.transpose(),
        };
        let warnings = warn_of_equal_spectra(&prepared.demixed(&demixing)).into_iter().collect();
        Ok(prepared.finish(Found {
            demixing,
            cost: Vec::new(),
            iterations: 0,
            stopped: Stopped::Tolerance,
            warnings,
        }))
    }
}
