//! The loop: half-steps of H and W in turn, until the cost stands still.

use demix_signal::settings::{SettingError, Settings as _};
use demix_signal::{Cancelled, Progress, Watch};
use ndarray::{Array2, ArrayView2, Zip, s};

use crate::init;
use crate::kernel::{HalfStep, Outcome, Panels, Rule, Workspace, sum};
use crate::{Acceleration, Divergence, Exponent, Init, NmfSettings, Order, Scalar};

/// Why a factorisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The cost stood still.
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

/// V ~ W H.
#[derive(Clone, Debug)]
pub struct Factorization<T> {
    /// W, (bins, components); columns sum to one unless `normalize` is off.
    pub dictionary: Array2<T>,
    /// H, (components, frames), in the unit of V.
    pub activations: Array2<T>,
    /// W before the first iteration.
    pub start_dictionary: Array2<T>,
    /// H before the first iteration, in the unit of V.
    pub start_activations: Array2<T>,
    /// sum d(V|WH) before the first and after every iteration, in the unit of V to the power beta. Between the
    /// ends of an extrapolated run these are the costs at the extrapolated points.
    pub cost: Vec<f64>,
    /// Iterations done.
    pub iterations: usize,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Factors to start from.
#[derive(Clone, Debug)]
pub struct Start<T> {
    /// W, (bins, components).
    pub dictionary: Array2<T>,
    /// H, (components, frames), in the unit of V.
    pub activations: Array2<T>,
    /// The first so many columns of W are held.
    pub held: usize,
}

/// A factorisation that cannot be done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NmfError {
    /// A setting is out of its range.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An entry of V is negative or not a number.
    #[error("V[{bin}, {frame}] is {value}: a spectrogram has finite entries >= 0")]
    BadEntry {
        /// Row.
        bin: usize,
        /// Column.
        frame: usize,
        /// The entry.
        value: f64,
    },
    /// V has no rows or no columns.
    #[error("V has {bins} bins and {frames} frames: at least one of each is needed")]
    Empty {
        /// Rows.
        bins: usize,
        /// Columns.
        frames: usize,
    },
    /// Factors and V do not fit.
    #[error("{what} has shape {got:?}, {expected:?} is needed")]
    Shape {
        /// Which factor.
        what: &'static str,
        /// Its shape.
        got: (usize, usize),
        /// The shape that fits.
        expected: (usize, usize),
    },
    /// NNDSVDa has no more components than the matrix has dimensions.
    #[error(
        "init=nndsvda gives at most min(bins, frames) = {} components, {components} are asked for: \
         lower components or take init=random", bins.min(frames)
    )]
    InitRank {
        /// K.
        components: usize,
        /// Rows of V.
        bins: usize,
        /// Columns of V.
        frames: usize,
    },
    /// Sources that no component could stand for.
    #[error(
        "{sources} sources need at least {sources} components in all, there are {components}: raise components"
    )]
    TooFewComponents {
        /// K in all.
        components: usize,
        /// N.
        sources: usize,
    },
    /// The numbers ran out of their range.
    #[error(
        "the factorisation with beta={beta} left the range of its numbers at iteration {iteration}: \
         take a beta nearer to 1, a larger floor, or double precision"
    )]
    Overflow {
        /// b.
        beta: f64,
        /// When.
        iteration: usize,
    },
    /// The caller asked for it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Non-negative matrix factorisation with the beta divergence.
///
/// # Example
/// ```
/// use demix_nmf::{Nmf, NmfSettings};
/// use ndarray::array;
/// let v = array![[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 3.0]];
/// let nmf = Nmf::new(NmfSettings { components: 2, iterations: 300, tolerance: 0.0, ..NmfSettings::default() })?;
/// let found = nmf.factorize(v.view(), &mut ())?;
/// let model = found.dictionary.dot(&found.activations);
/// assert!((&model - &v).iter().all(|error: &f64| error.abs() < 1e-3));
/// # Ok::<(), demix_nmf::NmfError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Nmf {
    settings: NmfSettings,
}

/// Steps without acceleration after a rise, at the most: fewer when the cost is below its lowest value again.
const CAREFUL_STEPS: usize = 10;
/// Sweeps of hierarchical least squares per half-step: cheap beside forming W^T V.
const SWEEPS: usize = 3;
/// Automatic floor for magnitudes: -120 dB.
const AUTO_FLOOR: f64 = 1e-6;
/// The smallest floor of the scaled model: its inverse is a number in both precisions.
const SMALLEST_FLOOR: f64 = 1e-35;

impl Nmf {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn new(settings: NmfSettings) -> Result<Self, NmfError> {
        settings.check()?;
        Ok(Self { settings })
    }

    /// Its settings.
    pub fn settings(&self) -> &NmfSettings {
        &self.settings
    }

    /// Factorises V, (bins, frames), from the start that the settings name; of several restarts the one with
    /// the lowest cost.
    ///
    /// # Errors
    /// A V that is empty, negative or not finite; a start that does not exist; numbers out of range; cancelling.
    pub fn factorize<T: Scalar>(
        &self,
        v: ArrayView2<'_, T>,
        watch: &mut dyn Watch,
    ) -> Result<Factorization<T>, NmfError> {
        let target = Target::new(v, &self.settings)?;
        self.best_of_restarts(&target, watch, |restart| {
            let settings = &self.settings;
            let (dictionary, mut activations) =
                init::start(settings.init, v, settings.components, settings.seed, restart)?;
            if settings.init == Init::Nndsvda && !target.silent {
                activations.mapv_inplace(|h| T::of(h.to_double() / target.mean));
            }
            Ok(Start { dictionary, activations, held: 0 })
        })
    }

    /// Factorises V with the given columns of W held and `free` further ones learned (none: supervised, H only).
    /// `components` of the settings is not used.
    ///
    /// # Errors
    /// As [`Nmf::factorize`]; a dictionary whose bins are not V's.
    pub fn factorize_with_dictionary<T: Scalar>(
        &self,
        v: ArrayView2<'_, T>,
        held: ArrayView2<'_, T>,
        free: usize,
        watch: &mut dyn Watch,
    ) -> Result<Factorization<T>, NmfError> {
        let (bins, frames) = v.dim();
        let n_held = held.ncols();
        if held.nrows() != bins {
            return Err(NmfError::Shape {
                what: "the dictionary",
                got: held.dim(),
                expected: (bins, n_held),
            });
        }
        let target = Target::new(v, &self.settings)?;
        self.best_of_restarts(&target, watch, |restart| {
            let mut dictionary = Array2::zeros((bins, n_held + free));
            dictionary.slice_mut(s![.., ..n_held]).assign(&held);
            let random = init::random_columns::<T>(bins, free, self.settings.seed, restart);
            dictionary.slice_mut(s![.., n_held..]).assign(&random);
            for mut column in dictionary.columns_mut() {
                let sum = sum(column.view());
                if sum > 0.0 {
                    column.mapv_inplace(|x| x / T::of(sum));
                }
            }
            let shape = (bins, frames);
            let activations =
                init::random_activations(n_held + free, shape, 1.0, self.settings.seed, restart);
            Ok(Start { dictionary, activations, held: n_held })
        })
    }

    /// Factorises V from given factors.
    ///
    /// # Errors
    /// As [`Nmf::factorize`]; factors whose shapes do not fit.
    pub fn factorize_from<T: Scalar>(
        &self,
        v: ArrayView2<'_, T>,
        start: Start<T>,
        watch: &mut dyn Watch,
    ) -> Result<Factorization<T>, NmfError> {
        let (bins, frames) = v.dim();
        let components = start.dictionary.ncols();
        let check = |what, got, expected| {
            if got == expected { Ok(()) } else { Err(NmfError::Shape { what, got, expected }) }
        };
        check("the dictionary", start.dictionary.dim(), (bins, components))?;
        check("the activations", start.activations.dim(), (components, frames))?;
        check_entries(start.dictionary.view())?;
        check_entries(start.activations.view())?;
        let target = Target::new(v, &self.settings)?;
        let scale = T::of(1.0 / target.mean);
        let start = Start { activations: start.activations.mapv(|h| h * scale), ..start };
        self.run(&target, start, 0, 1, watch)
    }

    /// The run with the lowest final cost.
    fn best_of_restarts<T: Scalar>(
        &self,
        target: &Target<T>,
        watch: &mut dyn Watch,
        start: impl Fn(usize) -> Result<Start<T>, NmfError>,
    ) -> Result<Factorization<T>, NmfError> {
        // a start without randomness has nothing to repeat
        let restarts = if self.settings.init == Init::Nndsvda { 1 } else { self.settings.restarts };
        let mut best: Option<Factorization<T>> = None;
        for restart in 0..restarts {
            let run = self.run(target, start(restart)?, restart, restarts, watch)?;
            if best.as_ref().is_none_or(|best| run.cost.last() < best.cost.last()) {
                best = Some(run);
            }
        }
        Ok(best.expect("there is at least one run"))
    }

    /// One run, from a start in the unit of the scaled target.
    fn run<T: Scalar>(
        &self,
        target: &Target<T>,
        start: Start<T>,
        restart: usize,
        restarts: usize,
        watch: &mut dyn Watch,
    ) -> Result<Factorization<T>, NmfError> {
        let settings = &self.settings;
        if target.silent {
            return Ok(silence(start));
        }
        let (start_dictionary, start_activations) = (start.dictionary.clone(), start.activations.clone());
        let mut state = State::new(target, settings, start);
        let unit = target.mean.powf(settings.beta);
        let mut cost: Vec<f64> = Vec::with_capacity(settings.iterations.min(100_000) + 1);
        let mut stopped = Stopped::Iterations;
        for iteration in 0..settings.iterations {
            let first = state.half_step(state.first_factor(), true);
            let now = first.divergence + target.constant;
            if !now.is_finite() {
                return Err(NmfError::Overflow { beta: settings.beta, iteration });
            }
            if let (Some(&before), Some(&at_start)) = (cost.last(), cost.first()) {
                let decrease = before - now;
                if decrease.abs() < settings.tolerance * at_start {
                    stopped = Stopped::Tolerance;
                    break;
                }
            }
            state.adapt(now);
            cost.push(now);
            state.commit(state.first_factor(), first);
            if let Some(second) = state.second_factor() {
                let outcome = state.half_step(second, false);
                state.commit(second, outcome);
            }
            watch.progress(Progress {
                stage: "factorise",
                done: restart * settings.iterations + iteration + 1,
                total: restarts * settings.iterations,
                cost: Some(now * unit),
            })?;
        }
        let iterations = cost.len();
        let last = state.cost();
        if !last.is_finite() {
            return Err(NmfError::Overflow { beta: settings.beta, iteration: iterations });
        }
        cost.push(last);
        cost.iter_mut().for_each(|cost| *cost *= unit);
        let mean = T::of(target.mean);
        let mut found = Factorization {
            dictionary: state.dictionary.now.t().as_standard_layout().into_owned(),
            activations: state.activations.now.mapv(|h| h * mean),
            start_dictionary,
            start_activations: start_activations.mapv(|h| h * mean),
            cost,
            iterations,
            stopped,
        };
        if settings.normalize {
            normalize(&mut found.dictionary, &mut found.activations);
            normalize(&mut found.start_dictionary, &mut found.start_activations);
        }
        Ok(found)
    }
}

/// V / mean(V), floored, in the two forms that the half-steps read.
struct Target<T> {
    for_activations: Panels<T>,
    for_dictionary: Panels<T>,
    mean: f64,
    floor: T,
    constant: f64,
    silent: bool,
}

impl<T: Scalar> Target<T> {
    fn new(v: ArrayView2<'_, T>, settings: &NmfSettings) -> Result<Self, NmfError> {
        let (bins, frames) = v.dim();
        if v.is_empty() {
            return Err(NmfError::Empty { bins, frames });
        }
        check_entries(v)?;
        let divergence = Divergence::new(settings.beta);
        let mean = v.outer_iter().map(sum).sum::<f64>() / v.len() as f64;
        let largest = v.iter().fold(T::ZERO, |m, &x| if x > m { x } else { m }).to_double();
        // numbers so small that their scale cannot be inverted are silence
        let silent = !(T::of(1.0 / mean).is_finite() && mean > 0.0);
        let (scale, floor) = if silent {
            (T::ZERO, T::ONE)
        } else {
            let share = settings.floor.unwrap_or(AUTO_FLOOR);
            (T::of(1.0 / mean), T::of((share * largest / mean).max(SMALLEST_FLOOR)))
        };
        let floor_of_v = if settings.beta <= 0.0 { floor } else { T::ZERO };
        let v = v.mapv(|x| (x * scale).max(floor_of_v));
        Ok(Self {
            for_activations: Panels::new(v.view(), settings.simd),
            for_dictionary: Panels::new(v.t(), settings.simd),
            mean,
            floor,
            constant: divergence.constant(v.view()),
            silent,
        })
    }
}

/// One factor, (components, bins or frames), now and before its last update, and the buffers of its half-step.
struct Factor<T> {
    now: Array2<T>,
    before: Option<Array2<T>>,
    work: Workspace<T>,
}

impl<T: Scalar> Factor<T> {
    fn new(now: Array2<T>) -> Self {
        Self { now, before: None, work: Workspace::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Dictionary,
    Activations,
}

/// The factors of a run and the momentum of their extrapolation.
struct State<'a, T> {
    target: &'a Target<T>,
    settings: &'a NmfSettings,
    divergence: Divergence,
    dictionary: Factor<T>,
    activations: Factor<T>,
    /// The first so many components keep their column of W.
    held: usize,
    /// t_k of Nesterov's sequence.
    momentum: f64,
    /// alpha_k = (t_k - 1) / t_(k+1).
    extrapolation: f64,
    /// What is added to the exponent, as a share of it.
    over_relaxation: f64,
    /// So many iterations yet take the plain step, which is sure to descend.
    careful: usize,
    /// The lowest cost so far.
    lowest: f64,
}

impl<'a, T: Scalar> State<'a, T> {
    fn new(target: &'a Target<T>, settings: &'a NmfSettings, start: Start<T>) -> Self {
        let dictionary = start.dictionary.t().as_standard_layout().into_owned();
        let activations = start.activations.as_standard_layout().into_owned();
        Self {
            target,
            settings,
            divergence: Divergence::new(settings.beta),
            dictionary: Factor::new(dictionary),
            activations: Factor::new(activations),
            held: start.held,
            momentum: 1.0,
            extrapolation: 0.0,
            over_relaxation: over_relaxation(settings.beta),
            careful: 0,
            lowest: f64::INFINITY,
        }
    }

    fn first_factor(&self) -> Which {
        match self.settings.order {
            Order::WFirst if !self.all_held() => Which::Dictionary,
            _ => Which::Activations,
        }
    }

    fn second_factor(&self) -> Option<Which> {
        match self.first_factor() {
            Which::Dictionary => Some(Which::Activations),
            Which::Activations if self.all_held() => None,
            Which::Activations => Some(Which::Dictionary),
        }
    }

    fn all_held(&self) -> bool {
        self.held == self.dictionary.now.nrows()
    }

    fn accelerated(&self) -> bool {
        self.settings.acceleration == Acceleration::Extrapolated && self.careful == 0
    }

    fn rule(&self) -> Rule {
        let exponent = match self.settings.exponent {
            Exponent::Mm => self.divergence.mm_exponent(),
            Exponent::Heuristic => 1.0,
        };
        match (self.settings.acceleration, self.divergence) {
            // never raises the cost, and needs no plain step to fall back on
            (Acceleration::Extrapolated, Divergence::Euclidean) => Rule::Hierarchical { sweeps: SWEEPS },
            (Acceleration::Extrapolated, _) if self.careful == 0 => {
                let relaxed = exponent * (1.0 + self.over_relaxation);
                // exponents of eighths cost no powers
                Rule::Multiplicative { exponent: ((8.0 * relaxed).round() / 8.0).max(exponent) }
            }
            _ => Rule::Multiplicative { exponent },
        }
    }

    fn half_step(&mut self, which: Which, sum_divergence: bool) -> Outcome<T> {
        self.step(which, sum_divergence, self.rule())
    }

    fn step(&mut self, which: Which, sum_divergence: bool, rule: Rule) -> Outcome<T> {
        let mut work = std::mem::take(&mut self.factor(which).work);
        let n_components = self.dictionary.now.nrows();
        let (target, left, factor, update) = match which {
            Which::Activations => {
                (&self.target.for_activations, &self.dictionary, &self.activations, 0..n_components)
            }
            Which::Dictionary => {
                (&self.target.for_dictionary, &self.activations, &self.dictionary, self.held..n_components)
            }
        };
        let extrapolated = if rule == Rule::Hold { None } else { self.extrapolate(factor) };
        let outcome = HalfStep {
            target,
            left: &left.now,
            right: extrapolated.as_ref().unwrap_or(&factor.now),
            update,
            divergence: self.divergence,
            rule,
            floor: self.target.floor,
            sum_divergence,
            simd: self.settings.simd,
        }
        .run(&mut work);
        self.factor(which).work = work;
        outcome
    }

    /// H moved on along its last change. Growing entries go on as they grew (Hien, Leplat and Gillis 2025);
    /// falling ones in the logarithm, to first order: they hurry towards zero, where a multiplicative update
    /// would hold them, without reaching it.
    fn extrapolate(&self, factor: &Factor<T>) -> Option<Array2<T>> {
        let before = factor.before.as_ref().filter(|_| self.accelerated() && self.extrapolation > 0.0)?;
        let alpha = T::of(self.extrapolation);
        let mut ahead = factor.now.clone();
        Zip::from(&mut ahead).and(before).for_each(|h, &b| {
            let share = if *h < b { *h / b } else { T::ONE };
            *h += alpha * share * (*h - b);
        });
        Some(ahead)
    }

    fn factor(&mut self, which: Which) -> &mut Factor<T> {
        match which {
            Which::Dictionary => &mut self.dictionary,
            Which::Activations => &mut self.activations,
        }
    }

    fn commit(&mut self, which: Which, outcome: Outcome<T>) {
        let accelerated = self.settings.acceleration == Acceleration::Extrapolated;
        let factor = self.factor(which);
        let before = std::mem::replace(&mut factor.now, outcome.right);
        factor.work.spare = if accelerated { factor.before.replace(before) } else { Some(before) };
    }

    /// Takes up speed while the cost falls. A rise ends it: careful steps follow until the lowest cost is met
    /// again, and later ones are less bold.
    fn adapt(&mut self, cost: f64) {
        if cost <= self.lowest {
            self.lowest = cost;
            self.careful = 0;
            let next = 0.5 * (1.0 + (1.0 + 4.0 * self.momentum * self.momentum).sqrt());
            self.extrapolation = (self.momentum - 1.0) / next;
            self.momentum = next;
        } else if self.careful == 0 {
            self.careful = CAREFUL_STEPS;
            self.extrapolation = 0.0;
            self.momentum = (0.5 * self.momentum).max(1.0);
            self.over_relaxation *= if self.over_relaxation > 0.3 { 2.0 / 3.0 } else { 0.0 };
        } else {
            self.careful -= 1;
            if self.careful == 0 {
                self.lowest = cost;
            }
        }
    }

    /// sum d(V|WH) of the scaled target.
    fn cost(&mut self) -> f64 {
        self.step(Which::Activations, true, Rule::Hold).divergence + self.target.constant
    }
}

/// The share of the exponent that a bold step adds at first: found best on recorded music. Towards b = 0 the
/// bound behind the guaranteed exponent becomes looser, and more of it can be added.
fn over_relaxation(beta: f64) -> f64 {
    1.5 - 0.625 * beta.clamp(0.0, 1.0)
}

/// The factors of a V without any level: the dictionary as it starts, no activation, cost 0.
fn silence<T: Scalar>(start: Start<T>) -> Factorization<T> {
    let mut dictionary = start.dictionary;
    let mut activations = Array2::zeros(start.activations.dim());
    normalize(&mut dictionary, &mut activations);
    Factorization {
        start_dictionary: dictionary.clone(),
        start_activations: activations.clone(),
        dictionary,
        activations,
        cost: vec![0.0],
        iterations: 0,
        stopped: Stopped::Tolerance,
    }
}

/// Scales the columns of W to sum to one and the rows of H against it: W H keeps its value.
/// A column of zeros stays, and so does its row.
pub fn normalize<T: Scalar>(dictionary: &mut Array2<T>, activations: &mut Array2<T>) {
    for (mut column, mut row) in dictionary.columns_mut().into_iter().zip(activations.rows_mut()) {
        let sum = sum(column.view());
        if sum > 0.0 {
            column.mapv_inplace(|w| T::of(w.to_double() / sum));
            row.mapv_inplace(|h| T::of(h.to_double() * sum));
        }
    }
}

fn check_entries<T: Scalar>(v: ArrayView2<'_, T>) -> Result<(), NmfError> {
    let good = |x: &T| x.is_finite() && *x >= T::ZERO;
    if v.iter().all(good) {
        return Ok(());
    }
    match v.indexed_iter().find(|(_, x)| !good(x)) {
        Some(((bin, frame), x)) => Err(NmfError::BadEntry { bin, frame, value: x.to_double() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_answered_by_plain_steps_until_the_lowest_cost_is_met() {
        let v = Array2::<f64>::ones((3, 4));
        let settings = NmfSettings { components: 2, beta: 1.0, ..NmfSettings::default() };
        let target = Target::new(v.view(), &settings).unwrap();
        let start = Start { dictionary: Array2::ones((3, 2)), activations: Array2::ones((2, 4)), held: 0 };
        let mut state = State::new(&target, &settings, start);
        let mut exponents = |costs: &[f64]| -> Vec<f64> {
            let after = |&cost| {
                state.adapt(cost);
                match state.rule() {
                    Rule::Multiplicative { exponent } => exponent,
                    other => panic!("{other:?}"),
                }
            };
            costs.iter().map(after).collect()
        };
        assert_eq!(exponents(&[10.0, 9.0, 8.0]), [1.875, 1.875, 1.875]);
        // 7 eighths, two thirds of it, in eighths
        assert_eq!(exponents(&[8.5, 8.4, 8.2, 7.9, 7.0]), [1.0, 1.0, 1.0, 1.625, 1.625]);
        // a lowest cost that is out of reach is forgotten in the end
        let rises = exponents(&[7.5; CAREFUL_STEPS + 1]);
        assert!(rises[..CAREFUL_STEPS].iter().all(|&e| e == 1.0) && rises[CAREFUL_STEPS] > 1.0, "{rises:?}");
    }
}
