//! The epochs of a training.

use std::time::Instant;

use demix_figure::{LearningPanel, learning_curves};
use demix_files::report;
use demix_nn::{Header, Loss, Network, Trainer};
use demix_signal::{Cancelled, Progress, Watch};
use serde_json::{Value, json};

use super::settings::Select;
use super::{Plan, Trained, resume};
use crate::VERSION;
use crate::pipeline::PipelineError;
use crate::training::state::{Description, TrainingState};
use crate::training::{EpochRecord, Record};

/// A training under way.
struct Run<'a> {
    plan: &'a Plan,
    trainer: Trainer,
    state: TrainingState,
    clock: Instant,
    /// Seconds of earlier runs.
    before: f64,
    /// Steps before those that [`Trainer::times`] tells of.
    first_step: u64,
}

impl Plan {
    /// Trains until epochs or patience end, and writes everything.
    pub(super) fn run(
        &self,
        warn: &mut dyn FnMut(&str),
        watch: &mut dyn Watch,
    ) -> Result<Trained, PipelineError> {
        let mut run = Run::new(self)?;
        let stopped = match run.epochs(watch) {
            Err(PipelineError::Cancelled) => {
                run.save()?;
                let so_far = run.write_so_far().unwrap_or_else(|error| format!("; {error}"));
                warn(&format!(
                    "stopped after {} epochs and {} batches; the state is in {}: the same command with --resume goes on{so_far}",
                    run.state.description.epochs,
                    run.state.description.batches,
                    self.files.state.display()
                ));
                return Err(PipelineError::Cancelled);
            }
            other => other?,
        };
        run.finish(stopped)
    }

    /// The loss of an epoch, counted from 0.
    pub(super) fn loss_of(&self, epoch: usize) -> Loss {
        if epoch < self.pretrain { Loss::SquareRoot } else { self.loss }
    }
}

/// Loss, improvement in dB, and that of every song.
type Validated = (Option<f64>, Option<f64>, Vec<f64>);

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Result<Self, PipelineError> {
        let mut description = plan.description.clone();
        let mut best = Vec::new();
        let trainer = match &plan.state {
            Some(state) => resume::trainer(plan, state)?,
            None => {
                let header = Header { loss: plan.loss_of(0), ..plan.header.clone() };
                Trainer::new(header, plan.settings.trainer.clone())?
            }
        };
        if let Some(state) = &plan.state {
            let there = &state.description;
            description.epochs = there.epochs;
            description.batches = there.batches;
            description.loss_bits = there.loss_bits;
            description.record = there.record.clone();
            description.best_epoch = there.best_epoch;
            description.seconds = there.seconds;
            best = state.best.clone();
        }
        let before = description.seconds;
        let state = TrainingState { description, trainer: Vec::new(), best };
        let first_step = trainer.steps();
        Ok(Self { plan, trainer, state, clock: Instant::now(), before, first_step })
    }

    /// Runs epochs; says why it ended.
    fn epochs(&mut self, watch: &mut dyn Watch) -> Result<&'static str, PipelineError> {
        let schedule = &self.plan.settings.schedule;
        while self.state.description.epochs < schedule.epochs {
            if self.is_out_of_patience() {
                return Ok("patience");
            }
            let epoch = self.state.description.epochs;
            let loss = self.plan.loss_of(epoch);
            if self.trainer.header().loss != loss {
                self.trainer.set_loss(loss)?;
                self.first_step = self.trainer.steps();
            }
            let training_loss = self.epoch(watch)?;
            let number = epoch + 1;
            let is_last_of_loss = number == self.plan.pretrain || number == schedule.epochs;
            let is_due = number.is_multiple_of(schedule.every) || is_last_of_loss;
            let is_validated = is_due && self.plan.validation.n_mixtures() > 0;
            let validated = if is_validated { Some(self.validate(watch)?) } else { None };
            let (validation_loss, improvement, by_song) = validated.unwrap_or_default();
            let seconds = self.seconds();
            let description = &mut self.state.description;
            description.record.epochs.push(EpochRecord {
                epoch: number,
                loss: loss.name().into(),
                training_loss: short(training_loss),
                validation_loss,
                improvement,
                by_song,
                seconds,
            });
            description.epochs = number;
            (description.batches, description.loss_bits) = (0, 0);
            if is_validated {
                self.keep_if_best()?;
            }
            if is_due {
                self.save()?;
                self.draw()?;
            }
        }
        Ok("epochs")
    }

    /// The batches of an epoch that are left; gives the mean loss of all of them.
    fn epoch(&mut self, watch: &mut dyn Watch) -> Result<f64, PipelineError> {
        let schedule = &self.plan.settings.schedule;
        let left = schedule.batches - self.state.description.batches;
        let total = schedule.epochs * schedule.batches;
        let mut steps =
            Steps { description: &mut self.state.description, of_epoch: schedule.batches, total, watch };
        steps.tell()?;
        self.trainer.epoch(&self.plan.examples, left, &mut steps)?;
        let Description { batches, loss_bits, .. } = self.state.description;
        Ok(f64::from_bits(loss_bits) / batches as f64)
    }

    /// Loss, improvement and that of every song on the validation mixtures.
    fn validate(&self, watch: &mut dyn Watch) -> Result<Validated, PipelineError> {
        let schedule = &self.plan.settings.schedule;
        let validation = &self.plan.validation;
        let done = (self.state.description.epochs + 1) * schedule.batches;
        let total = schedule.epochs * schedule.batches;
        let n = validation.n_mixtures();
        let mut loss = 0.0;
        for index in 0..n {
            loss += self.trainer.loss_of(&[validation.excerpt(index)])?;
        }
        tell(watch, done, total, Some(loss / n as f64))?;
        let nu = self.plan.loss.usual_nu();
        let network = self.trainer.network().on(self.plan.settings.trainer.device)?;
        let score = validation.score(&network, nu)?;
        tell(watch, done, total, Some(loss / n as f64))?;
        let by_song = score.by_song.iter().map(|&(_, improvement)| short(improvement)).collect();
        Ok((Some(short(loss / n as f64)), Some(short(score.improvement)), by_song))
    }

    fn keep_if_best(&mut self) -> Result<(), PipelineError> {
        let description = &self.state.description;
        let record = &description.record;
        let Some(row) = record.epochs.last() else { return Ok(()) };
        // networks of the loss before do not count: what they put out may mean something else
        let from = if row.epoch > self.plan.pretrain { self.plan.pretrain } else { 0 };
        let is_best = match description.best_epoch.filter(|&epoch| epoch > from) {
            None => true,
            Some(kept) => match self.plan.settings.schedule.select {
                Select::Separation => record.last_separates_best(kept, from),
                Select::Loss => {
                    let kept = record.epochs[kept - 1].validation_loss;
                    row.validation_loss.is_some_and(|loss| kept.is_none_or(|kept| loss < kept))
                }
            },
        };
        if is_best {
            self.state.description.best_epoch = Some(row.epoch);
            self.state.best = self.trainer.network().to_bytes();
        }
        Ok(())
    }

    fn is_out_of_patience(&self) -> bool {
        let patience = self.plan.settings.schedule.patience;
        let description = &self.state.description;
        match description.best_epoch {
            // a network of the loss before is not what was asked for
            Some(best) if patience > 0 && best > self.plan.pretrain => description.epochs - best >= patience,
            _ => false,
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.clock.elapsed().as_secs_f64()
    }

    fn save(&mut self) -> Result<(), PipelineError> {
        self.state.trainer = self.trainer.state();
        self.state.description.seconds = self.seconds();
        Ok(self.state.write(&self.plan.files.state)?)
    }

    /// Writes table and picture of the curve.
    fn draw(&self) -> Result<(), PipelineError> {
        let record = &self.state.description.record;
        report::write_bytes(&self.plan.files.table, record.to_csv().as_bytes())?;
        let picture = picture(&self.state.description.source, record);
        Ok(report::write_bytes(&self.plan.files.picture, &picture.to_png())?)
    }

    /// Writes the best network so far of a training that was stopped; says where it is, as the end of a sentence.
    fn write_so_far(&self) -> Result<String, PipelineError> {
        if self.trainer.steps() == 0 {
            return Ok(String::new());
        }
        let description = &self.state.description;
        let (mut network, which) = match description.best_epoch {
            Some(best) => {
                (Network::from_bytes(&self.state.best)?, format!("the best network so far, of epoch {best},"))
            }
            None => (self.trainer.network(), "the network as it is now, not judged yet,".into()),
        };
        network.header_mut().log =
            self.log(description.best_epoch.unwrap_or(description.epochs), "interrupted");
        let path = &self.plan.files.so_far;
        report::write_bytes(path, &network.to_bytes())?;
        Ok(format!("; {which} is in {}", path.display()))
    }

    fn finish(mut self, stopped: &'static str) -> Result<Trained, PipelineError> {
        if self.state.description.best_epoch.is_none() {
            // nothing was judged: the last one it is
            self.state.best = self.trainer.network().to_bytes();
        }
        self.save()?;
        self.draw()?;
        let plan = self.plan;
        let description = &self.state.description;
        let epoch = description.best_epoch.unwrap_or(description.epochs);
        let row = description.record.epochs.get(epoch.saturating_sub(1));
        let improvement = row.and_then(|row| row.improvement);
        let log = self.log(epoch, stopped);
        let mut network = Network::from_bytes(&self.state.best)?;
        network.header_mut().log = log.clone();
        report::write_bytes(&plan.files.checkpoint, &network.to_bytes())?;
        // the checkpoint takes its place; where it cannot be removed it does no harm
        let _ = std::fs::remove_file(&plan.files.so_far);
        Ok(Trained {
            output: plan.files.checkpoint.clone(),
            beside: [plan.files.table.clone(), plan.files.picture.clone(), plan.files.state.clone()],
            record: description.record.clone(),
            epoch,
            improvement,
            stopped,
            seconds: description.seconds,
            steps: self.trainer.steps() - self.first_step,
            times: self.trainer.times(),
            log,
        })
    }

    /// What the checkpoint says of its training; no times, so that the same training gives the same bytes.
    fn log(&self, epoch: usize, stopped: &str) -> Value {
        let description = &self.state.description;
        let curve: Vec<Value> = description
            .record
            .epochs
            .iter()
            .filter(|row| row.is_judged())
            .map(|row| json!([row.epoch, row.loss, row.training_loss, row.validation_loss, row.improvement]))
            .collect();
        let row = description.record.epochs.get(epoch.saturating_sub(1));
        json!({
            "demix": VERSION,
            "for": description.method,
            "nu": description.nu,
            "epoch": epoch,
            "epochs": description.epochs,
            "stopped": stopped,
            "si_sdr_improvement": row.and_then(|row| row.improvement),
            "validation_loss": row.and_then(|row| row.validation_loss),
            "training_songs": description.training,
            "validation_songs": description.validation,
            "settings": description.settings,
            "curve_columns": ["epoch", "loss", "training_loss", "validation_loss", "si_sdr_improvement_db"],
            "curve": curve,
        })
    }
}

/// Counts the steps of an epoch: between two of them the state is whole.
struct Steps<'a> {
    description: &'a mut Description,
    of_epoch: usize,
    total: usize,
    watch: &'a mut dyn Watch,
}

impl Steps<'_> {
    fn tell(&mut self) -> Result<(), Cancelled> {
        let Description { epochs, batches, loss_bits, .. } = *self.description;
        let cost = (batches > 0).then(|| f64::from_bits(loss_bits) / batches as f64);
        tell(self.watch, epochs * self.of_epoch + batches, self.total, cost)
    }
}

impl Watch for Steps<'_> {
    fn progress(&mut self, progress: Progress) -> Result<(), Cancelled> {
        let sum = f64::from_bits(self.description.loss_bits) + progress.cost.unwrap_or(0.0);
        self.description.batches += 1;
        self.description.loss_bits = sum.to_bits();
        self.tell()
    }
}

fn tell(watch: &mut dyn Watch, done: usize, total: usize, cost: Option<f64>) -> Result<(), Cancelled> {
    watch.progress(Progress { stage: "train", done, total, cost })
}

/// Nine digits: what is written as text and read again is then the same number.
fn short(x: f64) -> f64 {
    format!("{x:.8e}").parse().unwrap_or(x)
}

fn picture(source: &str, record: &Record) -> demix_figure::Picture {
    let rows = &record.epochs;
    let mut names: Vec<&str> = Vec::new();
    rows.iter().for_each(|row| {
        if names.last() != Some(&&*row.loss) {
            names.push(&row.loss);
        }
    });
    let of = |value: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        rows.iter().filter_map(|row| Some((row.epoch as f64, value(row)?))).collect()
    };
    let improvement: Vec<(f64, f64)> = of(&|row| row.improvement);
    // losses differ in scale: each has its panel
    let titles: Vec<String> = names.iter().map(|name| format!("loss ({name})")).collect();
    let mut panels: Vec<LearningPanel<'_>> = names
        .iter()
        .zip(&titles)
        .map(|(&name, title)| LearningPanel {
            y_title: title,
            curves: vec![
                ("training loss", of(&|row| (row.loss == name).then_some(row.training_loss))),
                ("validation loss", of(&|row| row.validation_loss.filter(|_| row.loss == name))),
            ],
        })
        .collect();
    panels.push(LearningPanel {
        y_title: "SI-SDR improvement (dB)",
        curves: vec![("improvement on validation mixtures", improvement)],
    });
    learning_curves(&format!("Learning to separate {source}"), "Epoch", &panels)
}
