//! The rows of the tables: which methods are run, with what, and what the paper says of them.

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row {
    /// ILRMA with the paper's settings: identity, 20 components, 100 iterations, the networks' transform.
    Ilrma,
    /// ILRMA as `demix separate` runs it.
    IlrmaOfDemix,
    /// Wiener filter from networks.
    DnnWf,
    /// Full-rank covariances with networks.
    FscmDnn,
    /// Networks alone.
    Idlma,
    /// Networks alone, Student's t.
    TIdlma,
    /// Networks alone that tell their degrees of freedom.
    EbIdlma,
    /// Product of Student's t experts, with nu of the low-rank part.
    TPop(f64),
    /// Product of Gaussian experts, with eta.
    GPop(f64),
    /// Networks alone that learnt by the loss (20).
    IdlmaOfLikelihood,
    /// Product of Gaussian experts with eta = [`DRAWN_ETA`] and networks that learnt by the loss (20).
    GPopOfLikelihood,
    /// Product of Gaussian experts, with eta, whose low-rank parts do not follow when an output is rescaled: Algorithm 3
    /// to the letter.
    GPopAsPrinted(f64),
    /// Networks alone as `demix separate` runs them: on four times as many frames, after FDICA.
    IdlmaOfDemix,
    /// Product of Gaussian experts as `demix separate` runs it: the same, with a lower floor.
    GPopOfDemix,
    /// Product of Student's t experts as `demix separate` runs it.
    TPopOfDemix,
    /// `idlma` whose networks are the truth: a bound.
    TrueVariance,
    /// `g-pop-idlma` with eta = 1e-2 whose networks are the truth.
    TrueVarianceGPop,
}

/// eta of Table I.
pub const ETAS: [f64; 5] = [1e-2, 1e-4, 1e-6, 1e-8, 1e-10];
/// nu of the low-rank part, Tables I and II.
pub const NUS: [f64; 7] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// The eta whose energies and bands are drawn.
pub const DRAWN_ETA: f64 = 1e-10;

/// Pairs and the triple, as the tables order them.
pub const GROUPS: [&[&str]; 4] =
    [&["bass", "drums"], &["vocals", "bass"], &["vocals", "drums"], &["vocals", "bass", "drums"]];

/// A power of ten as it is typed.
pub fn power_of_ten(x: f64) -> String {
    format!("{x:.0e}")
}

impl Row {
    /// All rows in the order of the tables.
    pub fn all() -> Vec<Self> {
        let mut rows = vec![Self::Ilrma, Self::IlrmaOfDemix, Self::DnnWf, Self::FscmDnn];
        rows.extend([Self::Idlma, Self::TIdlma, Self::EbIdlma]);
        rows.extend(NUS.map(Self::TPop));
        rows.extend(ETAS.map(Self::GPop));
        rows.extend([Self::IdlmaOfLikelihood, Self::GPopOfLikelihood]);
        rows.extend([1e-2, DRAWN_ETA].map(Self::GPopAsPrinted));
        rows.extend([Self::IdlmaOfDemix, Self::GPopOfDemix, Self::TPopOfDemix]);
        rows.extend([Self::TrueVariance, Self::TrueVarianceGPop]);
        rows
    }

    /// Those of a short run.
    pub fn few() -> Vec<Self> {
        let paper = [Self::Ilrma, Self::DnnWf, Self::Idlma, Self::GPop(1e-2), Self::GPop(DRAWN_ETA)];
        let ours = [Self::IlrmaOfDemix, Self::IdlmaOfDemix, Self::GPopOfDemix, Self::TrueVariance];
        paper.into_iter().chain(ours).collect()
    }

    /// As results call it.
    pub fn key(self) -> String {
        match self {
            Self::Ilrma => "ilrma".into(),
            Self::IlrmaOfDemix => "ilrma, defaults of demix".into(),
            Self::DnnWf => "dnn-wf".into(),
            Self::FscmDnn => "fscm-dnn".into(),
            Self::Idlma => "idlma".into(),
            Self::TIdlma => "t-idlma".into(),
            Self::EbIdlma => "eb-idlma".into(),
            Self::TPop(nu) => format!("t-pop-idlma, nu {}", power_of_ten(nu)),
            Self::GPop(eta) => format!("g-pop-idlma, eta {}", power_of_ten(eta)),
            Self::IdlmaOfLikelihood => "idlma, loss (20)".into(),
            Self::GPopOfLikelihood => {
                format!("g-pop-idlma, eta {}, loss (20)", power_of_ten(DRAWN_ETA))
            }
            Self::GPopAsPrinted(eta) => {
                format!("g-pop-idlma, eta {}, rescaled as printed", power_of_ten(eta))
            }
            Self::TPopOfDemix => "t-pop-idlma, defaults of demix".into(),
            Self::IdlmaOfDemix => "idlma, defaults of demix".into(),
            Self::GPopOfDemix => "g-pop-idlma, defaults of demix".into(),
            Self::TrueVariance => "idlma with the true variance".into(),
            Self::TrueVarianceGPop => "g-pop-idlma, eta 1e-2, with the true variance".into(),
        }
    }

    /// Whether another seed gives another result.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            Self::Ilrma
                | Self::TPop(_)
                | Self::GPop(_)
                | Self::GPopOfLikelihood
                | Self::GPopAsPrinted(_)
                | Self::GPopOfDemix
                | Self::TPopOfDemix
                | Self::TrueVarianceGPop
        )
    }

    /// Which networks it needs.
    pub fn needs(self) -> Option<Training> {
        match self {
            Self::DnnWf
            | Self::FscmDnn
            | Self::Idlma
            | Self::IdlmaOfDemix
            | Self::GPop(_)
            | Self::GPopAsPrinted(_)
            | Self::GPopOfDemix => Some(Training::Plain),
            Self::IdlmaOfLikelihood | Self::GPopOfLikelihood => Some(Training::Likelihood),
            Self::TIdlma => Some(Training::Student),
            Self::EbIdlma => Some(Training::EmpiricalBayes),
            Self::TPop(_) | Self::TPopOfDemix => Some(Training::Product),
            Self::Ilrma | Self::IlrmaOfDemix | Self::TrueVariance | Self::TrueVarianceGPop => None,
        }
    }

    /// About how long a run takes, relative to one of [`Row::Ilrma`].
    pub fn effort(self) -> f64 {
        self.recorded_seconds() / Self::Ilrma.recorded_seconds()
    }

    /// Sums over 64 mixtures of 30 s at 8 kHz, three quarters of them of two sources, with networks of 512 units.
    fn recorded_seconds(self) -> f64 {
        match self {
            Self::DnnWf => 7.0,
            Self::TrueVariance => 31.0,
            Self::Ilrma => 38.0,
            Self::IdlmaOfLikelihood => 47.0,
            Self::TrueVarianceGPop => 56.0,
            Self::TIdlma => 62.0,
            Self::GPop(_) | Self::GPopOfLikelihood | Self::GPopAsPrinted(_) => 75.0,
            Self::Idlma => 81.0,
            Self::EbIdlma => 94.0,
            Self::TPop(_) => 116.0,
            Self::IlrmaOfDemix => 147.0,
            Self::FscmDnn => 184.0,
            Self::IdlmaOfDemix => 411.0,
            Self::GPopOfDemix => 664.0,
            Self::TPopOfDemix => 1048.0,
        }
    }

    /// SDR improvement in dB of Hasumi et al. 2023, Tables I and II, for one of [`GROUPS`].
    pub fn paper(self, group: usize) -> Option<f64> {
        let of = |row: [f64; 4]| Some(row[group]);
        let at = |x: f64, y: f64| (x / y - 1.0).abs() < 1e-9;
        match self {
            Self::Ilrma => of([6.01, 8.23, 9.93, 5.75]),
            Self::DnnWf => of([4.03, 10.15, 6.09, 5.70]),
            Self::FscmDnn => of([2.96, 13.12, 6.78, 6.31]),
            Self::Idlma => of([6.41, 12.52, 12.99, 8.22]),
            Self::TIdlma => of([7.16, 12.65, 12.93, 8.55]),
            Self::TPop(nu) => match nu {
                _ if at(nu, 1e0) => of([8.56, 13.25, 13.25, 7.30]),
                _ if at(nu, 1e1) => of([8.21, 12.82, 12.96, 8.43]),
                _ if at(nu, 1e2) => of([8.48, 12.77, 13.24, 8.13]),
                _ if at(nu, 1e3) => of([8.26, 12.68, 13.72, 8.79]),
                // only for three sources
                _ => [(1e4, 9.58), (1e5, 9.67), (1e6, 9.52)]
                    .iter()
                    .find(|(paper, _)| group == 3 && at(nu, *paper))
                    .map(|(_, sdr)| *sdr),
            },
            Self::GPop(eta) => match eta {
                _ if at(eta, 1e-2) => of([8.53, 10.98, 13.44, 8.13]),
                _ if at(eta, 1e-4) => of([8.48, 11.92, 13.54, 8.55]),
                _ if at(eta, 1e-6) => of([8.39, 12.62, 13.55, 9.01]),
                _ if at(eta, 1e-8) => of([8.27, 12.95, 13.51, 9.19]),
                _ if at(eta, 1e-10) => of([8.21, 13.18, 13.42, 9.19]),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The names of all sources.
pub fn sources() -> Vec<&'static str> {
    let mut names: Vec<&str> = GROUPS.iter().flat_map(|group| group.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Training {
    /// Magnitudes, for `idlma`, `g-pop-idlma`, `dnn-wf`, `fscm-dnn`.
    Plain,
    /// For the same methods, by the loss (20).
    Likelihood,
    /// For `t-idlma` with [`NU_OF_T_IDLMA`].
    Student,
    /// For `eb-idlma`.
    EmpiricalBayes,
    /// For `t-pop-idlma` with any nu: one network that takes it as an input.
    Product,
}

/// The paper's.
pub const NU_OF_T_IDLMA: f64 = 500.0;

impl Training {
    /// In the names of checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "idlma",
            Self::Likelihood => "idlma-loss-20",
            Self::Student => "t-idlma",
            Self::EmpiricalBayes => "eb-idlma",
            Self::Product => "t-pop-idlma",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_different_and_the_papers_best_rows_are_those_of_its_text() {
        let rows = Row::all();
        let mut keys: Vec<String> = rows.iter().map(|row| row.key()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), rows.len());
        let best = |group: usize| {
            let figures = rows.iter().filter_map(|row| Some((row.paper(group)?, row.key())));
            figures.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, key)| key)
        };
        assert_eq!(best(0).as_deref(), Some("t-pop-idlma, nu 1e0"));
        assert_eq!(best(2).as_deref(), Some("t-pop-idlma, nu 1e3"));
        assert_eq!(best(3).as_deref(), Some("t-pop-idlma, nu 1e5"));
        assert!(Row::few().iter().all(|row| rows.contains(row)));
        assert_eq!(Row::TPop(1e5).paper(0), None);
    }
}
