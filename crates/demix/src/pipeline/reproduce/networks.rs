//! The networks: one for each kind and source. Whatever can be refused is refused before the first is trained.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use demix_nn::{Header, Loss, Network, NetworkSettings, TrainSettings, Trainer};
use demix_signal::settings::Settings as _;
use demix_signal::{Cancelled, Progress, StftSettings, Watch};
use serde_json::Value;

use super::folder::Folder;
use super::rows::{NU_OF_T_IDLMA, NUS, Row, Training, sources};
use super::run::Networks;
use super::{Quiet, tell};
use crate::corpus::{Corpus, Reader, Song, Split};
use crate::pipeline::train::{LossName, TrainFor, TrainRequest, TrainingSettings, state_file, train};
use crate::pipeline::{PipelineError, model};
use crate::spatial::SourceNetwork;
use crate::training::state::{StateError, TrainingState};
use crate::training::{AugmentedExamples, Validation};

/// The ending of checkpoints.
pub const ENDING: &str = "safetensors";

/// Where the networks are.
pub fn folder(results: &Path) -> PathBuf {
    results.join("networks")
}

/// The kinds of networks that rows need.
pub fn kinds(rows: &[Row]) -> BTreeSet<Training> {
    rows.iter().filter_map(|row| row.needs()).collect()
}

impl Training {
    /// What `demix train` is asked for.
    fn method(self) -> (TrainFor, Option<f64>) {
        match self {
            Self::Plain | Self::Likelihood => (TrainFor::GPopIdlma, None),
            Self::Student => (TrainFor::TIdlma, Some(NU_OF_T_IDLMA)),
            Self::EmpiricalBayes => (TrainFor::EbIdlma, None),
            Self::Product => (TrainFor::TPopIdlma, None),
        }
    }

    /// The settings of its trainings: `loss` is for plain networks, all others have their own.
    fn settings(self, training: &TrainingSettings) -> TrainingSettings {
        let mut settings = training.clone();
        match self {
            Self::Plain => {}
            Self::Likelihood => settings.schedule.loss = Some(LossName::ItakuraSaito),
            Self::Student | Self::EmpiricalBayes | Self::Product => settings.schedule.loss = None,
        }
        settings
    }

    /// The loss of networks that stand in for trained ones: as many heads, and the values of nu that rows ask for.
    fn stand_in_loss(self) -> Loss {
        match self {
            Self::Plain | Self::Likelihood => Loss::default(),
            Self::Student => Loss::Student { nu: NU_OF_T_IDLMA },
            Self::EmpiricalBayes => Loss::EmpiricalBayes,
            Self::Product => Loss::ConditionedProduct { lowest: NUS[0], highest: NUS[NUS.len() - 1] },
        }
    }

    fn header(self, source: &str, network: &NetworkSettings, stft: &StftSettings, rate: u32) -> Header {
        Header {
            version: demix_nn::VERSION,
            network: network.clone(),
            stft: stft.clone(),
            sample_rate: rate,
            source: source.into(),
            loss: self.stand_in_loss(),
            log: Value::Null,
        }
    }
}

/// A network that is trained, or is to be.
struct Job {
    kind: Training,
    source: &'static str,
    checkpoint: PathBuf,
    /// Epochs that are done already.
    epochs: usize,
}

impl Job {
    fn is_finished(&self) -> bool {
        self.checkpoint.exists()
    }

    fn state(&self) -> Option<PathBuf> {
        Some(state_file(&self.checkpoint)).filter(|state| state.exists() && !self.is_finished())
    }
}

/// All networks, and what they learn from.
pub struct Workshop<'a> {
    data: &'a Path,
    corpus: &'a Corpus,
    training: &'a TrainingSettings,
    stft: StftSettings,
    sample_rate: u32,
    jobs: Vec<Job>,
}

impl<'a> Workshop<'a> {
    /// Looks at what there is; trains nothing.
    ///
    /// # Errors
    /// Settings that no network can have; a corpus with too few songs; stems that cannot be read; an interrupted
    /// training that was of another kind.
    pub fn new(
        data: &'a Path,
        results: &Path,
        corpus: &'a Corpus,
        training: &'a TrainingSettings,
        kinds: &BTreeSet<Training>,
    ) -> Result<Self, PipelineError> {
        let sample_rate = training.schedule.sample_rate as u32;
        let stft = training.transform.for_rate(sample_rate);
        demix_signal::Stft::<f32>::new(&stft).map_err(|why| PipelineError::WrongUse(why.to_string()))?;
        let job = |kind: Training, source| {
            let checkpoint = folder(results).join(format!("{source}-{}.{ENDING}", kind.name()));
            Job { kind, source, checkpoint, epochs: 0 }
        };
        let jobs = kinds.iter().flat_map(|&kind| sources().into_iter().map(move |source| job(kind, source)));
        let mut workshop = Self { data, corpus, training, stft, sample_rate, jobs: jobs.collect() };
        workshop.check()?;
        Ok(workshop)
    }

    /// The transform of all networks.
    pub fn stft(&self) -> &StftSettings {
        &self.stft
    }

    /// The rate of all networks in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// How many networks are finished, and how many there will be.
    pub fn n_finished(&self) -> (usize, usize) {
        (self.jobs.iter().filter(|job| job.is_finished()).count(), self.jobs.len())
    }

    fn unfinished(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter(|job| !job.is_finished())
    }

    fn split(&self) -> Result<Split<'a>, PipelineError> {
        Ok(self.corpus.split(self.training.validation.validation, self.training.trainer.seed)?)
    }

    fn reader(&self) -> Arc<Reader> {
        Arc::new(Reader::new(self.sample_rate, self.training.schedule.cache))
    }

    fn examples(
        &self,
        split: &Split<'_>,
        source: &str,
        reader: &Arc<Reader>,
    ) -> Result<AugmentedExamples, PipelineError> {
        Ok(AugmentedExamples::new(
            &split.training,
            source,
            reader.clone(),
            &self.stft,
            &self.training.mixing,
            2 * self.training.network.context,
            self.training.trainer.seed,
        )?)
    }

    fn check(&mut self) -> Result<(), PipelineError> {
        if self.unfinished().next().is_none() {
            return Ok(());
        }
        let (split, reader) = (self.split()?, self.reader());
        for source in self.unfinished().map(|job| job.source).collect::<BTreeSet<_>>() {
            self.examples(&split, source, &reader)?;
        }
        for stem in split.validation.iter().flat_map(|song| &song.stems) {
            reader.track(&stem.path)?;
        }
        for kind in self.unfinished().map(|job| job.kind).collect::<BTreeSet<_>>() {
            kind.header("", &self.training.network, &self.stft, self.sample_rate).check()?;
        }
        let epochs = self
            .jobs
            .iter()
            .map(|job| match job.state() {
                Some(state) => self.check_state(job, &state, &split),
                None => Ok(0),
            })
            .collect::<Result<Vec<usize>, _>>()?;
        self.jobs.iter_mut().zip(epochs).for_each(|(job, epochs)| job.epochs = epochs);
        Ok(())
    }

    /// Refuses to go on with a training of other settings or songs; gives its epochs.
    fn check_state(&self, job: &Job, path: &Path, split: &Split<'_>) -> Result<usize, PipelineError> {
        let refused = |why: String| {
            let path = path.display();
            Err(PipelineError::Request(format!("{path}: {why}, or remove it to train this network anew")))
        };
        let there = match TrainingState::read(path) {
            Ok(state) => state.description,
            Err(StateError::Refused { problem, .. }) => return refused(format!("{problem}: mend it")),
            Err(error) => return Err(error.into()),
        };
        let asked = job.kind.settings(self.training);
        let is_square_root =
            job.kind == Training::Plain && asked.schedule.loss != Some(LossName::ItakuraSaito);
        for (name, value) in asked.values() {
            let may_change = match name.as_str() {
                "epochs" | "patience" | "cache" => true,
                // the state has a number where `auto` is asked for, and 0 where it means nothing
                "pretrain" => asked.schedule.pretrain.is_none() || is_square_root,
                _ => false,
            };
            let old = there.settings.get(&name).unwrap_or(&Value::Null);
            if *old != value && !may_change {
                return refused(format!(
                    "was begun with {name}={old}, and {name}={value} is asked for: ask for {name}={old}"
                ));
            }
        }
        let names = |songs: &[&Song]| songs.iter().map(|song| song.name.clone()).collect::<Vec<_>>();
        if (there.training, there.validation) != (names(&split.training), names(&split.validation)) {
            return refused("was begun with other songs: bring them back".into());
        }
        Ok(there.epochs)
    }

    /// The networks that are finished, and small ones that stand in for the others: to put methods together with.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn stand_ins(&self) -> Result<Networks, PipelineError> {
        let small =
            NetworkSettings { width: 1, hidden: 1, bands: 1, context: 0, ..NetworkSettings::default() };
        let mut networks = Networks::new();
        for job in &self.jobs {
            let network = match job.is_finished() {
                true => model::read(job.source, &job.checkpoint)?,
                false => {
                    let header = job.kind.header(job.source, &small, &self.stft, self.sample_rate);
                    let network = Trainer::new(header, TrainSettings::default())?.network();
                    self.named(job, network)
                }
            };
            networks.entry(job.kind).or_default().insert(job.source.into(), network);
        }
        Ok(networks)
    }

    fn named(&self, job: &Job, network: Network) -> SourceNetwork {
        let file = job.checkpoint.display().to_string();
        SourceNetwork { name: job.source.into(), file, network: Arc::new(network) }
    }

    /// About how many seconds all trainings that are left take: a few steps and validations of each kind are timed.
    ///
    /// # Errors
    /// A training that fails at once; cancelling.
    pub fn seconds(&self, watch: &mut dyn Watch) -> Result<f64, PipelineError> {
        let mut of_kind: BTreeMap<Training, (f64, f64)> = BTreeMap::new();
        let kinds = self.unfinished().map(|job| job.kind).collect::<BTreeSet<_>>().len();
        if kinds == 0 {
            return Ok(0.0);
        }
        let (split, reader) = (self.split()?, self.reader());
        let schedule = &self.training.schedule;
        let mut seconds = 0.0;
        for job in self.unfinished() {
            let (step, validation) = match of_kind.get(&job.kind) {
                Some(found) => *found,
                None => {
                    let done = of_kind.len();
                    tell(watch, "estimate", done, kinds)?;
                    let mut quiet = Quiet { outer: watch, stage: "estimate", done, total: kinds };
                    let found = self.try_out(job, &split, &reader, &mut quiet)?;
                    *of_kind.entry(job.kind).or_insert(found)
                }
            };
            let epochs = schedule.epochs.saturating_sub(job.epochs);
            // the last epoch of each loss is validated, too
            let n_validations = epochs / schedule.every + 2;
            seconds += (epochs * schedule.batches) as f64 * step + n_validations as f64 * validation;
        }
        tell(watch, "estimate", kinds, kinds)?;
        Ok(seconds)
    }

    /// Seconds of a step and of a validation.
    fn try_out(
        &self,
        job: &Job,
        split: &Split<'_>,
        reader: &Arc<Reader>,
        watch: &mut dyn Watch,
    ) -> Result<(f64, f64), PipelineError> {
        let examples = self.examples(split, job.source, reader)?;
        let header = job.kind.header(job.source, &self.training.network, &self.stft, self.sample_rate);
        let mut timed = || {
            let mut trainer = Trainer::new(header.clone(), self.training.trainer.clone())?;
            let clock = Instant::now();
            trainer.epoch(&examples, N_TIMED, watch)?;
            Ok::<_, PipelineError>((clock.elapsed().as_secs_f64() / N_TIMED as f64, trainer))
        };
        // the same examples twice: of sounds that are read first, and of those that the reader keeps
        let (reading, _) = timed()?;
        let (kept, trainer) = timed()?;
        let bytes: u64 = examples.tracks().map(|track| track.n_samples * size_of::<f32>() as u64).sum();
        let share_kept = (self.training.schedule.cache << 20) as f64 / bytes as f64;
        let is_read = 1.0 - share_kept.min(1.0);
        let step = kept + is_read * (reading - kept).max(0.0);
        Ok((step, self.validation_seconds(job, &trainer, split, reader)?))
    }

    /// Of the first song that can be judged, times all songs.
    fn validation_seconds(
        &self,
        job: &Job,
        trainer: &Trainer,
        split: &Split<'_>,
        reader: &Reader,
    ) -> Result<f64, PipelineError> {
        let n_others = |song: &Song| match song.stem(job.source) {
            Some(_) => song.stems.len() - 1,
            None => 0,
        };
        let all: usize = split.validation.iter().map(|song| n_others(song)).sum();
        for song in &split.validation {
            let settings = &self.training.validation;
            let validation = Validation::new(&[song], job.source, reader, &self.stft, settings)?;
            if validation.n_mixtures() > 0 {
                let clock = Instant::now();
                for index in 0..validation.n_mixtures() {
                    trainer.loss_of(&[validation.excerpt(index)])?;
                }
                let network = trainer.network();
                validation.score(&network, network.header().loss.usual_nu())?;
                return Ok(clock.elapsed().as_secs_f64() * all as f64 / n_others(song).max(1) as f64);
            }
        }
        Ok(0.0)
    }

    /// Trains what is not trained yet, and gives all networks.
    ///
    /// # Errors
    /// A training that fails; cancelling, after which its state is kept.
    pub fn train(
        &self,
        mut networks: Networks,
        results: &mut Folder,
        say: &mut dyn FnMut(&str),
        watch: &mut dyn Watch,
    ) -> Result<Networks, PipelineError> {
        let is_stopped = Cell::new(false);
        let mut watch = Noting { outer: watch, is_stopped: &is_stopped };
        // after a stop a training tells how to go on with `demix train`: our caller knows better
        let mut say = |text: &str| {
            if !is_stopped.get() {
                say(text);
            }
        };
        for job in self.unfinished() {
            say(&format!("training {}", job.checkpoint.display()));
            results.bind()?;
            train(&self.request(job), &mut say, &mut watch)?;
            let network = model::read(job.source, &job.checkpoint)?;
            networks.entry(job.kind).or_default().insert(job.source.into(), network);
        }
        Ok(networks)
    }

    fn request(&self, job: &Job) -> TrainRequest {
        let (method, nu) = job.kind.method();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let settings = job.kind.settings(self.training).values();
        TrainRequest {
            data: self.data.to_path_buf(),
            source: job.source.into(),
            output: job.checkpoint.clone(),
            method,
            nu,
            settings: settings.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            resume: job.state().is_some(),
            overwrite: true,
        }
    }
}

/// Steps of a kind that are timed.
const N_TIMED: usize = 3;

/// Notes that the work was stopped.
struct Noting<'a> {
    outer: &'a mut dyn Watch,
    is_stopped: &'a Cell<bool>,
}

impl Watch for Noting<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        let answer = self.outer.progress(progress);
        self.is_stopped.set(answer.is_err());
        answer
    }
}
