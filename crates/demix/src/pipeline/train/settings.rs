//! What can be said about a training: settings, and the loss that each method wants.

use demix_nn::{Loss, NetworkSettings, TrainSettings};
use demix_signal::{Padding, StftSettings, Window};

use crate::pipeline::PipelineError;
use crate::training::{MixingSettings, ValidationSettings};

demix_signal::choices! {
    /// The method that a network is trained for: it decides the loss.
    pub enum TrainFor {
        /// Independent deeply learned matrix analysis.
        Idlma = "idlma",
        /// Its Gaussian product of experts with NMF; the same network as `idlma`.
        GPopIdlma = "g-pop-idlma",
        /// Wiener filter of the network alone; the same network as `idlma`.
        DnnWf = "dnn-wf",
        /// Full-rank spatial model with the network; the same network as `idlma`.
        FscmDnn = "fscm-dnn",
        /// Student's t distribution with one number of degrees of freedom, --nu.
        TIdlma = "t-idlma",
        /// Product of Student's t experts with NMF, for one --nu of NMF's, or for all where it is left out.
        TPopIdlma = "t-pop-idlma",
        /// Degrees of freedom by the network, without NMF.
        EbIdlma = "eb-idlma",
    }
}

demix_signal::choices! {
    /// Losses of networks that estimate a magnitude.
    pub enum LossName {
        /// (sqrt|s| - sqrt(sigma))^2: learns to separate fast.
        SquareRoot = "square-root",
        /// Itakura-Saito, eq. (20): the maximum likelihood of IDLMA; wants long training.
        ItakuraSaito = "is",
    }
}

demix_signal::choices! {
    /// What makes a network the best.
    pub enum Select {
        /// Improvement of SI-SDR on the validation mixtures; of networks that the songs do not tell apart (within one
        /// standard error) the one of the lowest loss.
        Separation = "separation",
        /// Loss of the validation mixtures; it can prefer networks that do not separate.
        Loss = "loss",
    }
}

demix_signal::settings! {
    /// How long is trained, and what is kept.
    pub struct ScheduleSettings {
        /// Rate that stems are resampled to; the network is for this rate.
        pub sample_rate: usize = 8000, unit "Hz", range 1000.0 ..= 192000.0;
        /// At most so many epochs.
        pub epochs: usize = 200, range 1.0 ..= 1000000.0;
        /// Steps of an epoch, each with one batch of new examples.
        pub batches: usize = 50, range 1.0 ..= 1000000.0;
        /// Epochs from one validation to the next; the last epoch is always validated.
        pub every: usize = 5, range 1.0 ..= 1000000.0;
        /// Ends when no validation of so many epochs was the best; 0: never.
        pub patience: usize = 60, unit "epochs", range 0.0 ..= 1000000.0;
        /// What makes a network the best.
        pub select: Select = Select::Separation;
        /// Loss of the methods idlma, g-pop-idlma, dnn-wf, fscm-dnn; auto: square-root. Other methods have their own.
        pub loss: Option<LossName> = None;
        /// Epochs of square-root loss before any other loss, which alone tends to networks that separate little;
        /// auto: a quarter of `epochs`.
        pub pretrain: Option<usize> = None, unit "epochs", range 0.0 ..= 1000000.0;
        /// Most memory for decoded stems.
        pub cache: usize = 512, unit "MiB", range 0.0 ..= 1048576.0;
    }
}

demix_signal::settings! {
    /// The transform that the network sees.
    pub struct TransformSettings {
        /// Length of the transform; auto: the power of two nearest to 512 ms, 4096 at 8 kHz, as rooms want it.
        pub fft: Option<usize> = None, unit "samples", range 2.0 ..= 1048576.0;
        /// Length of the window, at most `fft`; auto: `fft`.
        pub window_length: Option<usize> = None, unit "samples", range 1.0 ..= 1048576.0;
        /// Distance of two frames; auto: a half of the window.
        pub hop: Option<usize> = None, unit "samples", range 1.0 ..= 1048576.0;
        /// Window of analysis and synthesis.
        pub window: Window = Window::Hamming;
        /// What stands beyond the ends of the signal.
        pub padding: Padding = Padding::Reflect;
    }
}

/// 4096 samples at 8 kHz.
const AUTO_SECONDS: f64 = 0.512;

impl TransformSettings {
    /// Without `auto`, at this rate (Hz).
    pub fn for_rate(&self, sample_rate: u32) -> StftSettings {
        let nearest = (f64::from(sample_rate) * AUTO_SECONDS).log2().round() as u32;
        let fft = self.fft.unwrap_or_else(|| match self.window_length {
            Some(length) => length.next_power_of_two().max(2),
            None => 1 << nearest,
        });
        let window_length = self.window_length.unwrap_or(fft);
        StftSettings {
            fft: Some(fft),
            window_length: Some(window_length),
            hop: Some(self.hop.unwrap_or((window_length / 2).max(1))),
            window: self.window,
            padding: self.padding,
        }
    }
}

demix_signal::settings_group! {
    /// All settings of `demix train`.
    pub struct TrainingSettings {
        /// How long, and what is kept.
        pub schedule: ScheduleSettings,
        /// The network.
        pub network: NetworkSettings,
        /// Steps of the optimiser.
        pub trainer: TrainSettings,
        /// Mixtures to learn from.
        pub mixing: MixingSettings,
        /// Mixtures to choose by.
        pub validation: ValidationSettings,
        /// The transform.
        pub transform: TransformSettings,
    }
}

/// Degrees of freedom of NMF that a network for all of them learns with.
const NU_NMF: (f64, f64) = (1.0, 1e6);

/// The loss that a method wants.
pub(super) fn loss_for(
    method: TrainFor,
    nu: Option<f64>,
    choice: Option<LossName>,
) -> Result<Loss, PipelineError> {
    use TrainFor::{DnnWf, EbIdlma, FscmDnn, GPopIdlma, Idlma, TIdlma, TPopIdlma};
    let refused = |text: String| Err(PipelineError::WrongUse(text));
    if let Some(nu) = nu.filter(|nu| !(nu.is_finite() && *nu > 0.0)) {
        return refused(format!("--nu {nu}: degrees of freedom are more than 0"));
    }
    let is_plain = matches!(method, Idlma | GPopIdlma | DnnWf | FscmDnn);
    if let (false, Some(choice)) = (is_plain, choice) {
        return refused(format!(
            "loss={choice}: {method} has a loss of its own; leave it out, or train --for idlma"
        ));
    }
    if let Some(nu) = nu
        && !matches!(method, TIdlma | TPopIdlma)
    {
        return refused(format!(
            "--nu {nu}: only t-idlma and t-pop-idlma have it, not {method}; leave it out"
        ));
    }
    Ok(match (method, nu) {
        (TIdlma, Some(nu)) => Loss::Student { nu },
        (TIdlma, None) => {
            return refused("t-idlma needs its degrees of freedom: add --nu, as --nu 500".into());
        }
        (TPopIdlma, Some(nu_nmf)) => Loss::Product { nu_nmf },
        (TPopIdlma, None) => Loss::ConditionedProduct { lowest: NU_NMF.0, highest: NU_NMF.1 },
        (EbIdlma, _) => Loss::EmpiricalBayes,
        _ => match choice.unwrap_or(LossName::SquareRoot) {
            LossName::SquareRoot => Loss::SquareRoot,
            LossName::ItakuraSaito => Loss::ItakuraSaito,
        },
    })
}

#[cfg(test)]
mod tests {
    use demix_signal::settings::Settings as _;

    use super::*;

    #[test]
    fn each_method_has_its_loss() {
        use TrainFor::*;
        for method in [Idlma, GPopIdlma, DnnWf, FscmDnn] {
            assert_eq!(loss_for(method, None, None).unwrap(), Loss::SquareRoot);
            assert_eq!(loss_for(method, None, Some(LossName::ItakuraSaito)).unwrap(), Loss::ItakuraSaito);
            assert!(loss_for(method, Some(3.0), None).is_err());
        }
        assert_eq!(loss_for(TIdlma, Some(500.0), None).unwrap(), Loss::Student { nu: 500.0 });
        assert_eq!(loss_for(TPopIdlma, Some(5.0), None).unwrap(), Loss::Product { nu_nmf: 5.0 });
        let all = Loss::ConditionedProduct { lowest: 1.0, highest: 1e6 };
        assert_eq!(loss_for(TPopIdlma, None, None).unwrap(), all);
        assert_eq!(all.usual_nu(), Some(1000.0));
        assert_eq!(loss_for(EbIdlma, None, None).unwrap(), Loss::EmpiricalBayes);
        for (method, nu, choice) in [
            (TIdlma, None, None),
            (TIdlma, Some(-1.0), None),
            (TIdlma, Some(5.0), Some(LossName::SquareRoot)),
            (EbIdlma, Some(5.0), None),
        ] {
            assert!(loss_for(method, nu, choice).unwrap_err().is_wrong_use());
        }
    }

    #[test]
    fn the_transform_is_the_papers_at_its_rate_and_names_are_used_once() {
        let paper = TransformSettings::default().for_rate(8000);
        assert_eq!((paper.fft, paper.hop, paper.window), (Some(4096), Some(2048), Window::Hamming));
        assert_eq!(TransformSettings::default().for_rate(16000).fft, Some(8192));
        let mut names: Vec<&str> = TrainingSettings::table().iter().map(|setting| setting.name).collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
