//! Whether a saved state is whole and of the training that is asked for.

use std::path::Path;

use demix_nn::{Header, Network, NnError, Trainer};
use demix_signal::settings::Settings as _;
use serde_json::{Map, Value};

use super::{Plan, ScheduleSettings};
use crate::pipeline::PipelineError;
use crate::training::state::{Description, StateError, TrainingState};

/// Settings that may change from one run to the next: they decide when to stop and what it takes, not what is computed.
const MAY_CHANGE: [&str; 3] = ["epochs", "patience", "cache"];

/// Refuses to go on with another training than the one that was saved.
pub(super) fn same_training(
    path: &Path,
    asked: &Description,
    saved: &Description,
) -> Result<(), PipelineError> {
    let refused = |what: &str, asked: String, saved: String| {
        Err(PipelineError::WrongUse(format!(
            "{}: was begun with {what} {saved}, now it is {asked}: ask for the same, or start again with --overwrite",
            path.display()
        )))
    };
    if asked.source != saved.source {
        return refused("--source", asked.source.clone(), saved.source.clone());
    }
    if asked.method != saved.method {
        return refused("--for", asked.method.clone(), saved.method.clone());
    }
    if asked.nu != saved.nu {
        let shown = |nu: Option<f64>| nu.map_or_else(|| "none".into(), |nu| nu.to_string());
        return refused("--nu", shown(asked.nu), shown(saved.nu));
    }
    let plain = |value: &Value| value.to_string().replace('"', "");
    let of =
        |settings: &Map<String, Value>, name: &str| settings.get(name).map_or_else(|| "none".into(), plain);
    let names = asked.settings.keys().chain(saved.settings.keys());
    for name in names.filter(|name| !MAY_CHANGE.contains(&name.as_str())) {
        let (a, b) = (of(&asked.settings, name), of(&saved.settings, name));
        if a != b {
            return refused(name, a, b);
        }
    }
    if (&asked.training, &asked.validation) != (&saved.training, &saved.validation) {
        let shown = |d: &Description| format!("{} and {}", d.training.len(), d.validation.len());
        return refused("other songs for training and validation,", shown(asked), shown(saved));
    }
    Ok(())
}

/// What `pretrain` was at the beginning.
pub(super) fn pretrain(path: &Path, saved: &Description) -> Result<usize, PipelineError> {
    let value = saved.settings.get("pretrain").map(Value::to_string).unwrap_or_default();
    let mut schedule = ScheduleSettings::default();
    let pretrain = schedule.set("pretrain", &value).ok().and(schedule.pretrain);
    pretrain.ok_or_else(|| refused(path, format!("does not tell its setting 'pretrain', but '{value}'")))
}

/// The trainer that goes on where a state was saved, after all that the state says was compared with the plan.
pub(super) fn trainer(plan: &Plan, state: &TrainingState) -> Result<Trainer, PipelineError> {
    let damaged = |what: String| refused(&plan.files.state, format!("is damaged: {what}"));
    let unreadable = |whose: &str, error: NnError| match error {
        // nothing is wrong with the file
        NnError::Device(_) => error.into(),
        other => damaged(format!("{whose}: {other}")),
    };
    let trainer = Trainer::resume(&state.trainer).map_err(|error| unreadable("its trainer", error))?;
    let Description { epochs, batches, ref record, best_epoch, .. } = state.description;
    let of_epoch = plan.settings.schedule.batches;
    if batches > of_epoch {
        return Err(damaged(format!("{batches} of {of_epoch} batches of an epoch are done")));
    }
    // an epoch needs an entry of the curve: these are numbers of a file's size
    let steps = (epochs as u64).saturating_mul(of_epoch as u64).saturating_add(batches as u64);
    if trainer.steps() != steps {
        return Err(damaged(format!(
            "{epochs} epochs and {batches} batches are {steps} steps, its trainer has done {}",
            trainer.steps()
        )));
    }
    // the loss of an epoch is set when the epoch begins
    let mut losses = vec![plan.loss_of(epochs)];
    if let (0, Some(last)) = (batches, epochs.checked_sub(1)) {
        losses.push(plan.loss_of(last));
    }
    let is_of_plan = |header: &Header| *header == Header { loss: header.loss, ..plan.header.clone() };
    if !(is_of_plan(trainer.header()) && losses.contains(&trainer.header().loss)) {
        return Err(damaged("its trainer has another network than its settings describe".into()));
    }
    if *trainer.settings() != plan.settings.trainer {
        return Err(damaged("its trainer has other settings than it says".into()));
    }
    for (epoch, row) in record.epochs.iter().enumerate() {
        let loss = plan.loss_of(epoch).name();
        if row.loss != loss {
            return Err(damaged(format!(
                "epoch {} of its curve has the loss {}, not {loss}",
                row.epoch, row.loss
            )));
        }
    }
    if let Some(best) = best_epoch.and_then(|best| best.checked_sub(1)) {
        let network =
            Network::from_bytes(&state.best).map_err(|error| unreadable("its best network", error))?;
        let header = network.header();
        if !is_of_plan(header) || header.loss != plan.loss_of(best) {
            return Err(damaged("its best network is another than its settings describe".into()));
        }
    }
    Ok(trainer)
}

fn refused(path: &Path, problem: String) -> PipelineError {
    StateError::Refused { path: path.to_path_buf(), problem }.into()
}
