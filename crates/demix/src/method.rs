//! The table of methods: what `demix methods` lists and what `demix separate --method` takes.

use demix_nmf::{Grouping, NmfSettings};
use demix_signal::settings::{Setting, Settings, nearest_name};
use demix_spatial::instantaneous::{
    Amuse, AmuseSettings, Decorrelation, DecorrelationSettings, FastIca, FastIcaSettings,
    InstantaneousMethod, Jade, JadeSettings, Sobi, SobiSettings,
};
use demix_spatial::{DemixSettings, SpatialError};

use crate::dictionary::Dictionary;
use crate::mono::{NmfMethodSettings, NmfSeparator};
use crate::separation::{SeparationError, Separator};
use crate::spatial::determined::{
    AuxivaSettings, FdicaSettings, GgdIlrmaSettings, IlrmaSettings, TIlrmaSettings,
};
use crate::spatial::guided::{GPopSettings, IdlmaSettings, TIdlmaSettings, TPopSettings};
use crate::spatial::wiener::{FscmSettings, WienerSettings};
use crate::spatial::{DeterminedSeparator, InstantaneousSeparator, SourceNetwork, WienerSeparator};

/// One method of the table.
pub struct Method {
    /// The name in commands, settings and reports.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where it comes from.
    pub reference: &'static str,
    /// Fewest and most channels that it separates.
    pub channels: (usize, usize),
    settings: fn() -> Vec<Setting>,
    build: fn(&Request) -> Result<Box<dyn Separator>, SeparationError>,
}

/// What a separation is asked to be.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Settings by name, later ones win.
    pub settings: Vec<(String, String)>,
    /// Number of sources, where the method does not find it.
    pub n_sources: Option<usize>,
    /// Number of channels of the input, where it is known: what demixing makes as many sources of.
    pub n_channels: Option<usize>,
    /// Seed of all random numbers.
    pub seed: Option<u64>,
    /// Dictionaries of known sources.
    pub dictionaries: Vec<Dictionary>,
    /// Unknown sources beside them, with the number of components of each.
    pub free: Vec<(String, usize)>,
    /// Networks of known sources.
    pub models: Vec<SourceNetwork>,
}

/// The number of sources that are assumed when nobody says.
pub const DEFAULT_SOURCES: usize = 2;

/// All methods.
pub const METHODS: &[Method] = &[
    Method {
        name: "nmf",
        summary: "finds the spectra that a recording repeats and gathers them into sources, or takes them from \
                  dictionaries of known sources (non-negative matrix factorisation)",
        reference: "Lee and Seung 2001; Smaragdis, Raj and Shashanka 2007; Fevotte and Idier 2011",
        channels: (1, usize::MAX),
        settings: NmfMethodSettings::table,
        build: build_nmf,
    },
    Method {
        name: "ilrma",
        summary: "demixes as many sources as microphones; each source repeats a few spectra (independent low-rank \
                  matrix analysis)",
        reference: "Kitamura, Ono, Sawada, Kameoka and Saruwatari 2016",
        channels: SEVERAL,
        settings: IlrmaSettings::table,
        build: |request| demixer(request, DeterminedSeparator::ilrma, |s: &mut IlrmaSettings| &mut s.demix),
    },
    Method {
        name: "t-ilrma",
        summary: "ilrma with Student's t distribution, which takes outliers calmly",
        reference: "Mogami, Kitamura, Mitsui, Takamune, Saruwatari and Ono 2017",
        channels: SEVERAL,
        settings: TIlrmaSettings::table,
        build: |request| {
            demixer(request, DeterminedSeparator::t_ilrma, |s: &mut TIlrmaSettings| &mut s.demix)
        },
    },
    Method {
        name: "ggd-ilrma",
        summary: "ilrma with a generalised Gaussian distribution",
        reference: "Kitamura, Mogami, Mitsui, Takamune, Saruwatari, Ono, Takahashi and Kondo 2018",
        channels: SEVERAL,
        settings: GgdIlrmaSettings::table,
        build: |request| {
            demixer(request, DeterminedSeparator::ggd_ilrma, |s: &mut GgdIlrmaSettings| &mut s.demix)
        },
    },
    Method {
        name: "consistent-ilrma",
        summary: "ilrma whose model sees spectrograms that some sound has",
        reference: "Kitamura and Yatabe 2020",
        channels: SEVERAL,
        settings: IlrmaSettings::table,
        build: |request| {
            demixer(request, DeterminedSeparator::consistent_ilrma, |s: &mut IlrmaSettings| &mut s.demix)
        },
    },
    Method {
        name: "auxiva",
        summary: "demixes as many sources as microphones; all frequencies of a source sound together (independent \
                  vector analysis)",
        reference: "Ono 2011",
        channels: SEVERAL,
        settings: AuxivaSettings::table,
        build: |request| demixer(request, DeterminedSeparator::auxiva, |s: &mut AuxivaSettings| &mut s.demix),
    },
    Method {
        name: "fdica",
        summary: "demixes every frequency on its own, then sorts them (frequency-domain independent component \
                  analysis)",
        reference: "Smaragdis 1998; Ono and Miyabe 2010; Sawada, Araki and Makino 2011",
        channels: SEVERAL,
        settings: FdicaSettings::table,
        build: |request| demixer(request, DeterminedSeparator::fdica, |s: &mut FdicaSettings| &mut s.demix),
    },
    Method {
        name: "g-pop-idlma",
        summary: "demixes with networks that know sources (--model) and a low-rank part beside each, which learns what \
                  they do not know (independent deeply learned matrix analysis with a product of priors)",
        reference: "Hasumi, Nakamura, Takamune, Saruwatari, Kitamura, Takahashi and Kondo 2023",
        channels: SEVERAL,
        settings: GPopSettings::table,
        build: |request| guided(request, DeterminedSeparator::g_pop_idlma),
    },
    Method {
        name: "t-pop-idlma",
        summary: "g-pop-idlma with Student's t distribution, whose weights networks may tell",
        reference: "Hasumi, Nakamura, Takamune, Saruwatari, Kitamura, Takahashi and Kondo 2023",
        channels: SEVERAL,
        settings: TPopSettings::table,
        build: |request| guided(request, DeterminedSeparator::t_pop_idlma),
    },
    Method {
        name: "idlma",
        summary: "demixes with networks that know sources (--model); sources without one are blind (independent deeply \
                  learned matrix analysis)",
        reference: "Makishima, Mogami, Takamune, Kitamura, Sumino, Takamichi, Saruwatari and Ono 2019",
        channels: SEVERAL,
        settings: IdlmaSettings::table,
        build: |request| guided(request, DeterminedSeparator::idlma),
    },
    Method {
        name: "t-idlma",
        summary: "idlma with Student's t distribution",
        reference: "Makishima, Mogami, Takamune, Kitamura, Sumino, Takamichi, Saruwatari and Ono 2019",
        channels: SEVERAL,
        settings: TIdlmaSettings::table,
        build: |request| guided(request, DeterminedSeparator::t_idlma),
    },
    Method {
        name: "eb-idlma",
        summary: "idlma whose networks tell how sure they are of every slot",
        reference: "Hasumi, Nakamura, Takamune, Saruwatari, Kitamura, Takahashi and Kondo 2021",
        channels: SEVERAL,
        settings: IdlmaSettings::table,
        build: |request| guided(request, DeterminedSeparator::eb_idlma),
    },
    Method {
        name: "dnn-wf",
        summary: "masks every channel by what networks (--model) make of it: any number of sources and channels",
        reference: "Uhlich, Giron and Mitsufuji 2015; Hasumi et al. 2023",
        channels: (1, usize::MAX),
        settings: WienerSettings::table,
        build: |request| networks(request, WienerSeparator::per_channel),
    },
    Method {
        name: "fscm-dnn",
        summary: "networks (--model) tell the sources' powers, covariances of full rank their directions: any number of \
                  sources",
        reference: "Nugraha, Liutkus and Vincent 2016",
        channels: SEVERAL,
        settings: FscmSettings::table,
        build: |request| networks(request, WienerSeparator::full_rank),
    },
    Method {
        name: "sobi",
        summary: "undoes real gains without delays or echoes; tells sources by their spectra (joint diagonalisation of \
                  lagged covariances)",
        reference: "Belouchrani, Abed-Meraim, Cardoso and Moulines 1997",
        channels: SEVERAL,
        settings: SobiSettings::table,
        build: |request| unmixer(request, Sobi::new, None),
    },
    Method {
        name: "jade",
        summary: "undoes real gains; tells sources by their cumulants of fourth order",
        reference: "Cardoso and Souloumiac 1993",
        channels: SEVERAL,
        settings: JadeSettings::table,
        build: |request| unmixer(request, Jade::new, None),
    },
    Method {
        name: "fastica",
        summary: "undoes real gains; tells sources by how far from Gaussian they are",
        reference: "Hyvarinen 1999",
        channels: SEVERAL,
        settings: FastIcaSettings::table,
        build: |request| unmixer(request, FastIca::new, None),
    },
    Method {
        name: "amuse",
        summary: "undoes real gains by the covariance at a single lag",
        reference: "Tong, Liu, Soon and Huang 1991",
        channels: SEVERAL,
        settings: AmuseSettings::table,
        build: |request| unmixer(request, Amuse::new, None),
    },
    Method {
        name: "decorrelation",
        summary: "undoes the real gains of two sources by the equations of decorrelation: two lags in closed form, many \
                  by least squares in several forms",
        reference: "Molgedey and Schuster 1994; docs/instantaneous.md",
        channels: SEVERAL,
        settings: DecorrelationSettings::table,
        build: |request| unmixer(request, Decorrelation::new, Some(2)),
    },
];

/// Methods that need two microphones.
const SEVERAL: (usize, usize) = (2, usize::MAX);

impl Method {
    /// The method of this name.
    ///
    /// # Errors
    /// No such method; a near name is suggested.
    pub fn named(name: &str) -> Result<&'static Self, SeparationError> {
        METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
            let names = METHODS.iter().map(|method| method.name);
            let hint = match nearest_name(name, names) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "'demix methods' lists them".into(),
            };
            SeparationError::Request(format!("there is no method '{name}'; {hint}"))
        })
    }

    /// Its settings with their defaults.
    pub fn settings(&self) -> Vec<Setting> {
        (self.settings)()
    }

    /// A separator for what is asked.
    ///
    /// # Errors
    /// Settings that do not exist, are out of range or do not fit together.
    pub fn build(&self, request: &Request) -> Result<Box<dyn Separator>, SeparationError> {
        (self.build)(request)
    }
}

/// A demixing method with its settings.
fn demixer<S: Settings + Default>(
    request: &Request,
    build: fn(S, usize) -> Result<DeterminedSeparator, SeparationError>,
    of_loop: fn(&mut S) -> &mut DemixSettings,
) -> Result<Box<dyn Separator>, SeparationError> {
    refuse_dictionaries(request)?;
    let mut settings = S::default();
    for (name, value) in &request.settings {
        settings.set(name, value)?;
    }
    if let Some(seed) = request.seed {
        of_loop(&mut settings).matrices.seed = seed;
    }
    let n_sources = request.n_sources.or(request.n_channels).unwrap_or(DEFAULT_SOURCES);
    let separator = build(settings, n_sources)?;
    Ok(Box::new(separator.for_channels(request.n_channels.unwrap_or(n_sources))))
}

/// A guided method with its settings.
fn guided<S: Settings + Default>(
    request: &Request,
    build: fn(S, &Request) -> Result<DeterminedSeparator, SeparationError>,
) -> Result<Box<dyn Separator>, SeparationError> {
    let mut settings = S::default();
    for (name, value) in &request.settings {
        settings.set(name, value)?;
    }
    let separator = build(settings, request)?;
    let n_channels = request.n_channels.unwrap_or(separator.source_names().len());
    Ok(Box::new(separator.for_channels(n_channels)))
}

/// A method of masks from networks with its settings.
fn networks<S: Settings + Default>(
    request: &Request,
    build: fn(S, &Request) -> Result<WienerSeparator, SeparationError>,
) -> Result<Box<dyn Separator>, SeparationError> {
    let mut settings = S::default();
    for (name, value) in &request.settings {
        settings.set(name, value)?;
    }
    Ok(Box::new(build(settings, request)?))
}

/// A method for instantaneous mixtures with its settings.
fn unmixer<S, M>(
    request: &Request,
    build: fn(S) -> Result<M, SpatialError>,
    n_sources: Option<usize>,
) -> Result<Box<dyn Separator>, SeparationError>
where
    S: Settings + Default,
    M: InstantaneousMethod + 'static,
{
    refuse_dictionaries(request)?;
    Ok(Box::new(InstantaneousSeparator::new(request, build, n_sources)?))
}

/// What is known of the sources does not help a blind method.
fn refuse_dictionaries(request: &Request) -> Result<(), SeparationError> {
    refuse_models(request)?;
    if let Some(dictionary) = request.dictionaries.first() {
        return Err(SeparationError::Request(format!(
            "dictionary '{}' serves --method nmf; demixing is blind",
            dictionary.name
        )));
    }
    if let Some((name, _)) = request.free.first() {
        return Err(SeparationError::Request(format!(
            "--free {name} serves --method nmf; demixing is blind"
        )));
    }
    Ok(())
}

fn refuse_models(request: &Request) -> Result<(), SeparationError> {
    match request.models.first() {
        None => Ok(()),
        Some(model) => Err(SeparationError::Request(format!(
            "--model {}={} serves the methods that networks guide: take --method g-pop-idlma",
            model.name, model.file
        ))),
    }
}

fn build_nmf(request: &Request) -> Result<Box<dyn Separator>, SeparationError> {
    refuse_models(request)?;
    let mut settings = NmfMethodSettings::default();
    for (name, value) in &request.settings {
        settings.set(name, value)?;
    }
    if let Some(seed) = request.seed {
        settings.nmf.seed = seed;
    }
    if request.dictionaries.is_empty() {
        if let Some((name, _)) = request.free.first() {
            return Err(SeparationError::Request(format!(
                "--free {name} stands beside dictionaries, and none is given: add --dictionary FILE"
            )));
        }
        let n_sources = request.n_sources.unwrap_or(DEFAULT_SOURCES);
        let grouped = settings.sound.grouping != Grouping::None;
        check_size(if grouped {
            n_sources.saturating_mul(settings.nmf.components)
        } else {
            settings.nmf.components
        })?;
        return Ok(Box::new(NmfSeparator::new(settings, n_sources)?));
    }
    let n_given = request.dictionaries.len() + request.free.len();
    if let Some(n) = request.n_sources.filter(|&n| n != n_given) {
        return Err(SeparationError::Request(format!(
            "--sources {n}, but dictionaries and free sources make {n_given}: leave --sources out"
        )));
    }
    let n_held: usize = request.dictionaries.iter().map(|d| d.components.ncols()).sum();
    check_size(request.free.iter().fold(n_held, |sum, (_, k)| sum.saturating_add(*k)))?;
    let first = &request.dictionaries[0];
    if let Some(other) = request.dictionaries.iter().find(|other| other.sample_rate != first.sample_rate) {
        return Err(SeparationError::Request(format!(
            "dictionary '{}' was learned at {} Hz, '{}' at {} Hz: learn both from audio of the input's rate",
            first.name, first.sample_rate, other.name, other.sample_rate
        )));
    }
    // the transform is the dictionaries': another one by hand is a mistake worth telling
    for (name, value) in &request.settings {
        let own = first.stft.values().get(name).cloned();
        let own = if name == "spectrum_exponent" { Some(first.exponent.into()) } else { own };
        let own = own.map(|own| own.to_string().trim_matches('"').to_string());
        let number = |text: &str| text.parse::<f64>().ok();
        let same = |own: &str| own == value || number(own).is_some_and(|own| number(value) == Some(own));
        if let Some(own) = own.filter(|own| !same(own)) {
            return Err(SeparationError::Request(format!(
                "{name}={value}, but dictionary '{}' was learned with {name}={own}: leave it out or learn the \
                 dictionary again",
                first.name
            )));
        }
    }
    let separator =
        NmfSeparator::with_dictionaries(settings, request.dictionaries.clone(), request.free.clone())?;
    Ok(Box::new(separator))
}

/// Refuses more components, those of all sources together, than a factorisation takes: before the work, not after
/// the transform.
fn check_size(n_components: usize) -> Result<(), SeparationError> {
    let most =
        NmfSettings::table().iter().find(|s| s.name == "components").and_then(|s| s.range).map(|r| r.1);
    match most {
        Some(most) if n_components as f64 > most => Err(SeparationError::Request(format!(
            "all sources together have {n_components} components, at most {most} are possible: lower the number of \
             sources or of components"
        ))),
        _ => Ok(()),
    }
}
