//! What is tried: several orders of the bins, windows twice as long, and another number of components.
//!
//! The bins of FDICA are put in the order that looks best ([`Search`]), or that networks hear, and the method goes on from
//! there; then once through windows twice as long, in the order of the outputs so far; then once with another number of
//! components. The demixing whose outputs overlap least ([`Apart`]) is kept: a choice without the truth, measured in
//! `docs/separation-settings.md`.

use demix_signal::{Stft, StftSettings, Watch, Waveform};
use demix_spatial::search::{self, Asked};
use demix_spatial::start::Share;
use demix_spatial::{Apart, C64, Found, Hint, Search, Start};
use ndarray::{Array2, Array3};
use serde_json::{Map, Value, json};

use super::determined::{Begin, DeterminedSeparator, Finder};
use crate::mono::nmf::Precision;
use crate::separation::SeparationError;

demix_signal::choices! {
    /// What is tried before the demixing begins.
    pub enum Trials {
        /// The orders of the bins, windows twice as long, and other numbers of components.
        All = "all",
        /// The orders of the bins that shorter windows suggest.
        Orders = "orders",
        /// One window, one order and one number of components.
        None = "none",
    }
}

demix_signal::settings! {
    /// What is tried of several possibilities.
    pub struct TrialSettings {
        /// What is tried where the start is fdica: several orders of its bins, unless networks know better; windows twice
        /// as long, unless `fft`, `window_length` or a dictionary says otherwise or the recording holds fewer than four
        /// of them; 20 components beside 10, unless `components` says otherwise. The outputs that sound in the same slots
        /// the least are kept. Networks hear neighbouring bins of a longer window together. It takes about five times as
        /// long as none.
        pub trials: Trials = Trials::All;
    }
}

/// Numbers of components that are tried.
const COMPONENTS: [usize; 2] = [10, 20];
/// Longer windows that a recording holds at the least where they are tried.
const FEWEST_LONGER: usize = 4;
/// Outputs through another window overlap less by this share, or the usual one is taken.
const CLEARLY: f64 = 0.01;

/// What is kept of all that was tried.
pub(super) struct Best {
    /// The transform.
    pub stft: Stft<f32>,
    /// The method as it was kept.
    pub finder: Finder,
    /// What it found.
    pub found: Found,
    /// For the report: the orders of the bins, and the demixings.
    pub told: Map<String, Value>,
}

impl DeterminedSeparator {
    /// Whether several possibilities are tried.
    pub(super) fn has_trials(&self, n_found: usize) -> bool {
        let begins_with_fdica = match &self.finder {
            Finder::Blind(blind) => blind.start(n_found) == Start::Fdica,
            Finder::Guided(plan) => n_found == plan.names.len() && plan.guided.ways[0].start == Start::Fdica,
        };
        self.trials != Trials::None && n_found > 1 && begins_with_fdica
    }

    /// Demixes in all ways that are tried: the one whose outputs overlap least. `shortest` is the length of the shortest
    /// block in samples.
    pub(super) fn best_of_trials(
        &self,
        stft: &Stft<f32>,
        heard: &Waveform,
        n_found: usize,
        shortest: usize,
        watch: &mut dyn Watch,
    ) -> Result<Best, SeparationError> {
        let usual = stft.settings();
        let powers = match &self.finder {
            Finder::Guided(plan) => {
                let spectrum = self.spectrum(stft, heard, n_found)?;
                plan.guided.heard(&self.input(&spectrum, heard))?
            }
            Finder::Blind(_) => None,
        };
        let longer = self.longer(usual, shortest);
        let components = self.other_components();
        let once = self.finder.first_way();
        let of_search = |window, is_known| self.search(window, heard, n_found).iterations(is_known);
        let total = of_search(usual, powers.is_some())
            + self.finder.iterations()
            + longer.as_ref().map_or(0, |longer| of_search(longer, true) + once.iterations())
            + components.map_or(0, |_| once.iterations());
        let mut trials = Trying::new(self, heard, n_found, watch, total);

        let hint = powers.as_ref().map_or(Hint::Nothing, |powers| Hint::Heard(powers.view()));
        let order = trials.order(usual, hint)?;
        let first = trials.demix(self.finder.clone(), usual, order)?;
        trials.keep(first, 0.0);
        if let (Some(longer), Some(best)) = (&longer, &trials.best) {
            let outputs = best.outputs.clone();
            let order = trials.order(longer, Hint::Outputs(outputs.view()))?;
            let tried = trials.demix(once.through_longer(), longer, order)?;
            trials.keep(tried, CLEARLY);
        }
        if let (Some(components), Some(best)) = (components, &trials.best) {
            let finder = best.finder.first_way().with_components(components);
            let (window, order) = (best.stft.settings().clone(), best.order.clone());
            let tried = trials.demix(finder, &window, order)?;
            trials.keep(tried, 0.0);
        }
        Ok(trials.end())
    }

    /// The longer transform that is tried.
    fn longer(&self, usual: &StftSettings, n_samples: usize) -> Option<StftSettings> {
        let longer = match &self.finder {
            Finder::Guided(plan) => plan.longer.as_ref().map(|(_, stft)| stft.clone()),
            Finder::Blind(_) if self.stft.fft.is_some() || self.stft.window_length.is_some() => None,
            Finder::Blind(_) => {
                let double = |n: Option<usize>| n.map(|n| 2 * n);
                Some(StftSettings {
                    fft: double(usual.fft),
                    window_length: double(usual.window_length),
                    hop: self.stft.hop.or(double(usual.hop)),
                    ..usual.clone()
                })
            }
        };
        let fits = |longer: &StftSettings| longer.fft.is_some_and(|fft| n_samples >= FEWEST_LONGER * fft);
        longer.filter(|longer| self.trials == Trials::All && fits(longer))
    }

    /// The other number of components that is tried.
    fn other_components(&self) -> Option<usize> {
        let usual = self.finder.free_components().filter(|_| self.trials == Trials::All)?;
        COMPONENTS.into_iter().find(|components| *components != usual)
    }

    fn search<'a>(&'a self, window: &'a StftSettings, heard: &'a Waveform, n_found: usize) -> Search<'a> {
        let (matrices, tolerance) = self.finder.of_start();
        Search {
            samples: heard.samples.view(),
            sample_rate: heard.sample_rate,
            n_sources: n_found,
            reduce: self.is_reduced(n_found, heard.n_channels()),
            stft: window,
            matrices,
            tolerance,
        }
    }
}

/// W of FDICA, its bins in one order.
#[derive(Clone)]
struct Order {
    demixing: Array3<C64>,
    asked: Asked,
    /// Whether the outputs are in the order of the sources.
    is_named: bool,
}

/// What one demixing came to.
struct Tried {
    stft: Stft<f32>,
    finder: Finder,
    order: Order,
    found: Found,
    apart: Apart,
    /// (sources, samples).
    outputs: Array2<f32>,
    /// Which of all it is.
    at: usize,
}

/// The demixings of one block.
struct Trying<'a> {
    separator: &'a DeterminedSeparator,
    heard: &'a Waveform,
    n_found: usize,
    watch: &'a mut dyn Watch,
    /// Steps that are done, of how many.
    before: usize,
    total: usize,
    /// For the report.
    orders: Vec<Value>,
    tried: Vec<Value>,
    best: Option<Tried>,
}

impl<'a> Trying<'a> {
    fn new(
        separator: &'a DeterminedSeparator,
        heard: &'a Waveform,
        n_found: usize,
        watch: &'a mut dyn Watch,
        total: usize,
    ) -> Self {
        let (orders, tried) = (Vec::new(), Vec::new());
        Self { separator, heard, n_found, watch, before: 0, total, orders, tried, best: None }
    }

    /// FDICA through a window, its bins in the order that looks best.
    fn order(&mut self, window: &StftSettings, hint: Hint<'_>) -> Result<Order, SeparationError> {
        let search = self.separator.search(window, self.heard, self.n_found);
        let share = &mut Share { watch: &mut *self.watch, before: self.before, total: self.total };
        let begin = match self.separator.sound.precision {
            Precision::Double => search.run::<f64>(hint, share)?,
            Precision::Auto | Precision::Single => search.run::<f32>(hint, share)?,
        };
        self.before += search.iterations(!matches!(hint, Hint::Nothing));
        self.orders.extend(begin.candidates.iter().map(|tried| told(window, tried.asked, tried.apart)));
        let asked = begin.candidates[begin.chosen].asked;
        Ok(Order { demixing: begin.demixing, asked, is_named: matches!(hint, Hint::Outputs(_)) })
    }

    fn demix(
        &mut self,
        finder: Finder,
        window: &StftSettings,
        order: Order,
    ) -> Result<Tried, SeparationError> {
        let stft = Stft::<f32>::new(window)?;
        let spectrum = self.separator.spectrum(&stft, self.heard, self.n_found)?;
        let begin = Begin::Ordered { demixing: &order.demixing, is_named: order.is_named };
        let share = &mut Share { watch: &mut *self.watch, before: self.before, total: self.total };
        let found = self.separator.find(&finder, &spectrum, self.heard, begin, self.n_found, share)?;
        self.before += finder.iterations();
        let (w, a) = (&found.demixing, &found.mixing);
        let outputs = search::outputs(self.heard.samples.view(), &stft, spectrum.x.view(), w, a);
        let apart = Apart::of(outputs.view(), self.heard.sample_rate)?;
        let mut told = told(window, order.asked, apart);
        told["components"] = finder.components().into();
        self.tried.push(told);
        Ok(Tried { stft, finder, order, found, apart, outputs, at: self.tried.len() - 1 })
    }

    /// Keeps what was tried if its outputs overlap less than those so far, by a share of `margin`.
    fn keep(&mut self, mut tried: Tried, margin: f64) {
        if let Some(best) = &self.best {
            // of a guided method, all ways were tried in the first demixing
            tried.found.trials.clone_from(&best.found.trials);
        }
        let least = self.best.as_ref().map(|best| (1.0 - margin) * best.apart.overlap);
        if least.is_none_or(|least| tried.apart.overlap < least) {
            self.best = Some(tried);
        }
    }

    fn end(mut self) -> Best {
        let Tried { stft, finder, found, at, .. } = self.best.expect("one order is kept at least");
        for (k, told) in self.tried.iter_mut().enumerate() {
            told["chosen"] = (k == at).into();
        }
        let mut told = Map::new();
        told.insert("orders".into(), Value::Array(self.orders));
        told.insert("tried".into(), Value::Array(self.tried));
        Best { stft, finder, found, told }
    }
}

/// Outputs for the report.
fn told(window: &StftSettings, asked: Asked, apart: Apart) -> Value {
    json!({
        "fft": window.fft,
        "order_of": match asked {
            Asked::Activity => "activity".into(),
            Asked::Heard => "networks".into(),
            Asked::Outputs(fft) => Value::from(fft),
        },
        "overlap": apart.overlap,
        "coherence": apart.coherence,
    })
}
