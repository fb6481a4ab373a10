//! [`Trainer`]: the loop.

use std::time::{Duration, Instant};

use demix_signal::settings::Settings as _;
use demix_signal::{Progress, Watch};
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::checkpoint::{self, Training};
pub use crate::engine::StepTimes;
use crate::engine::{self, Engine};
use crate::examples::{Batch, Supply};
use crate::features::Features;
use crate::layers::{self, Parameter};
use crate::random::{Use, generator, uniform};
use crate::settings::MEAN;
use crate::{Examples, Excerpt, Header, Loss, Network, NnError, TrainSettings};

/// Numbers that a step has for its excerpts: more than the largest batch takes, so that none comes twice.
const EXCERPTS_OF_A_STEP: u64 = 1 << 24;

/// A network that learns.
///
/// All that is drawn at random is a function of the seed and the number of the step. So a training that was
/// interrupted and resumed gives the same bytes as one that was not, and none depends on the number of threads.
pub struct Trainer {
    header: Header,
    settings: TrainSettings,
    features: Features,
    /// Steps that are done.
    step: u64,
    /// The step before which the optimiser's memories were empty.
    began: u64,
    engine: Box<dyn Engine>,
    examples_time: Duration,
}

impl Trainer {
    /// A network that has learnt nothing yet.
    ///
    /// # Errors
    /// A header or settings that cannot be ([`Header::check`]), a device that is not there.
    pub fn new(header: Header, settings: TrainSettings) -> Result<Self, NnError> {
        header.check()?;
        settings.check()?;
        let parameters = layers::start(&header, settings.seed);
        let memories = Vec::new();
        let mut training = Training { header, settings, step: 0, began: 0, parameters, memories };
        engine::fresh_memories(&mut training);
        Self::go_on(training)
    }

    /// Goes on where [`state`](Self::state) was called, to the bit.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the bytes, as of [`Network::from_bytes`]; a device that is not there.
    pub fn resume(bytes: &[u8]) -> Result<Self, NnError> {
        Self::go_on(checkpoint::read_training(bytes)?)
    }

    fn go_on(training: Training) -> Result<Self, NnError> {
        let (header, settings) = (training.header.clone(), training.settings.clone());
        let (step, began) = (training.step, training.began);
        let features = Features::new(&header);
        let engine = engine::engine(training)?;
        Ok(Self { header, settings, features, step, began, engine, examples_time: Duration::ZERO })
    }

    /// Learns from `batches` batches; returns the mean loss of a slot.
    ///
    /// The frames of step s come from the excerpts s 2^24, s 2^24 + 1, ..; those that the batch leaves over are dropped.
    /// The next batch is made while this one is learnt from. `watch` hears the stage `train` after every batch, with its
    /// loss.
    ///
    /// # Errors
    /// An example that cannot be had or does not fit, silence alone, a loss that is not finite, [`Cancelled`]. The
    /// batches before it are learnt.
    ///
    /// [`Cancelled`]: demix_signal::Cancelled
    pub fn epoch(
        &mut self,
        examples: &dyn Examples,
        batches: usize,
        watch: &mut dyn Watch,
    ) -> Result<f64, NnError> {
        let (features, settings) = (&self.features, &self.settings);
        let make = |step: u64| {
            let start = Instant::now();
            let first = step.saturating_mul(EXCERPTS_OF_A_STEP);
            let mut batch = Supply::new(examples, features, first).batch(settings.batch)?;
            condition(features, &mut batch, generator(settings.seed, Use::Nu(step)));
            Ok::<_, NnError>((batch, start.elapsed()))
        };
        let mut next = (batches > 0).then(|| make(self.step));
        let mut sum = 0.0;
        for done in 1..=batches {
            let Some(made) = next.take() else { break };
            let (batch, seconds) = made?;
            self.examples_time += seconds;
            let (step, engine) = (self.step, &mut self.engine);
            let (loss, made) =
                rayon::join(|| engine.step(&batch, step), || (done < batches).then(|| make(step + 1)));
            next = made;
            let loss = loss?;
            self.step += 1;
            sum += loss;
            watch.progress(Progress { stage: "train", done, total: batches, cost: Some(loss) })?;
        }
        Ok(sum / batches.max(1) as f64)
    }

    /// The mean loss of a slot of these excerpts, nothing dropped; learns nothing. Where nu_NMF is an input, it is
    /// drawn for every frame, the same at every call.
    ///
    /// # Errors
    /// Excerpts that do not fit the network, or in which nothing sounds.
    pub fn loss_of(&self, excerpts: &[Excerpt]) -> Result<f64, NnError> {
        let (network, features) = (self.network(), &self.features);
        let TrainSettings { seed, power_floor, .. } = self.settings;
        let parts = (0u64..)
            .zip(excerpts)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|(index, excerpt)| {
                let mut batch = Batch::of_excerpt(features, excerpt)?;
                if batch.n_rows == 0 {
                    return Ok((0.0, 0));
                }
                condition(features, &mut batch, generator(seed, Use::Measure(index)));
                Ok((loss(&network, power_floor, &mut batch), batch.n_rows))
            })
            .collect::<Result<Vec<(f64, usize)>, NnError>>()?;
        let n_rows: usize = parts.iter().map(|part| part.1).sum();
        if n_rows == 0 {
            return Err(NnError::Silent(excerpts.len() as u64));
        }
        Ok(parts.iter().map(|&(loss, rows)| loss * rows as f64).sum::<f64>() / n_rows as f64)
    }

    /// Learns by another loss from the next step on; nothing happens where it is the same.
    ///
    /// Layers that the new loss has, too, keep what they have learnt, as [`network`](Self::network) has it, also where
    /// they get or lose the input nu_NMF; others start anew, and so do the optimiser's memories, which are of the old
    /// loss's gradients, and [`times`](Self::times).
    ///
    /// # Errors
    /// A loss with numbers that cannot be.
    pub fn set_loss(&mut self, loss: Loss) -> Result<(), NnError> {
        if loss == self.header.loss {
            return Ok(());
        }
        let header = Header { loss, ..self.header.clone() };
        header.check()?;
        let learnt = self.learnt();
        let mut parameters = layers::start(&header, self.settings.seed);
        for parameter in &mut parameters {
            let same = |old: &&Parameter| old.name == parameter.name && old.shape[1] == parameter.shape[1];
            if let Some(old) = learnt.iter().find(same) {
                // row after row: nu_NMF, the last input, is the last row
                parameter.values.iter_mut().zip(&old.values).for_each(|(new, old)| *new = *old);
            }
        }
        let (settings, step) = (self.settings.clone(), self.step);
        let mut training = Training { header, settings, step, began: step, parameters, memories: Vec::new() };
        engine::fresh_memories(&mut training);
        *self = Self::go_on(training)?;
        Ok(())
    }

    /// The network as it is now: the running mean of the weights where there is one.
    pub fn network(&self) -> Network {
        Network::from_parameters(self.header.clone(), self.learnt())
    }

    /// The running mean of the weights, or the weights.
    fn learnt(&self) -> Vec<Parameter> {
        let mean = self.settings.memories().iter().position(|name| *name == MEAN);
        self.named(match mean {
            Some(mean) => self.engine.memories().swap_remove(mean),
            None => self.engine.parameters(),
        })
    }

    /// All that [`resume`](Self::resume) needs: weights, settings, steps, memories.
    pub fn state(&self) -> Vec<u8> {
        checkpoint::write_training(&Training {
            header: self.header.clone(),
            settings: self.settings.clone(),
            step: self.step,
            began: self.began,
            parameters: self.named(self.engine.parameters()),
            memories: self.engine.memories().into_iter().map(|memory| self.named(memory)).collect(),
        })
    }

    /// What the network is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// For writing the log, so that networks and states carry it. What concerns the form of the network must stay.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// How it is trained.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// Steps that are done, those before [`resume`](Self::resume) included.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Where the time of this trainer's steps went.
    pub fn times(&self) -> StepTimes {
        StepTimes { examples: self.examples_time, ..self.engine.times() }
    }

    fn named(&self, values: Vec<Vec<f32>>) -> Vec<Parameter> {
        let shapes = layers::shapes(&self.header).into_iter();
        shapes.zip(values).map(|((name, shape), values)| Parameter { name, shape, values }).collect()
    }
}

/// Draws nu_NMF for every row, uniformly in its logarithm, where it is an input.
fn condition(features: &Features, batch: &mut Batch, mut random: ChaCha8Rng) {
    if let Some((lowest, highest)) = features.condition() {
        let draw = |_| lowest * (highest / lowest).powf(uniform(&mut random));
        let nu_nmf = (0..batch.n_rows).map(draw).collect();
        batch.condition(features, nu_nmf);
    }
}

/// The mean loss of a slot.
fn loss(network: &Network, power_floor: f64, batch: &mut Batch) -> f64 {
    let inputs = std::mem::take(&mut batch.inputs);
    let rows = Array2::from_shape_vec((batch.n_rows, network.features().n_inputs()), inputs)
        .expect("a batch has whole rows");
    let outputs = network.outputs(rows, 1);
    let sigma = outputs.sigma.as_slice().expect("products are contiguous");
    let rho = outputs.rho.as_ref().map(|rho| rho.as_slice().expect("products are contiguous"));
    engine::cost(network.heads(), power_floor, batch, sigma, rho).0
}
