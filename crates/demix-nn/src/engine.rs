//! The training step: forward, loss, backward with automatic differentiation, step of the optimiser.
//!
//! Differentiation goes through the layers alone. The heads and the loss (`heads`, `loss`) give their own gradient G
//! with respect to the outputs Z; the layers' gradient is then that of sum(Z G) with G held fixed.

use std::time::{Duration, Instant};

use burn::backend::{Autodiff, Flex};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::checkpoint::Training;
use crate::device::{self, Cuda};
use crate::examples::Batch;
use crate::heads::{Heads, Row};
use crate::layers::Parameter;
use crate::optimizer::{Optimizer, sum_of_squares};
use crate::random::{Use, dropout, generator};
use crate::settings::MEAN;
use crate::{DeviceName, NnError};

/// Where the time of the steps went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Making excerpts and rows.
    pub examples: Duration,
    /// Layers, forward, dropout included.
    pub forward: Duration,
    /// Heads and loss with their gradients.
    pub loss: Duration,
    /// Layers, backward.
    pub backward: Duration,
    /// Norm of the gradient and step.
    pub optimizer: Duration,
}

/// Weights that learn, on some device.
pub(crate) trait Engine: Send {
    /// Learns from a batch; the loss, mean over rows and bins.
    fn step(&mut self, batch: &Batch, step: u64) -> Result<f64, NnError>;
    /// The weights, in the order of [`crate::layers`].
    fn parameters(&self) -> Vec<Vec<f32>>;
    /// What [`crate::TrainSettings::memories`] lists, each in the same order.
    fn memories(&self) -> Vec<Vec<Vec<f32>>>;
    /// Where the time went.
    fn times(&self) -> StepTimes;
}

/// The engine that goes on with a training.
///
/// # Errors
/// A device that is not there.
pub(crate) fn engine(training: Training) -> Result<Box<dyn Engine>, NnError> {
    device::check(training.settings.device)?;
    Ok(match training.settings.device {
        DeviceName::Cpu => Box::new(Graph::<Flex>::new(training, true)),
        DeviceName::Cuda => Box::new(Graph::<Cuda>::new(training, false)),
    })
}

struct Graph<B: Backend> {
    heads: Heads,
    n_hidden: usize,
    dropout: f64,
    seed: u64,
    power_floor: f64,
    shapes: Vec<[usize; 2]>,
    optimizer: Optimizer,
    parameters: Vec<Tensor<B, 2>>,
    /// For each parameter its memories; empty where `host` has them.
    memories: Vec<Vec<Tensor<B, 2>>>,
    /// On the processor: the memories of each parameter, updated in one loop.
    host: Option<Vec<Vec<Vec<f32>>>>,
    device: B::Device,
    times: StepTimes,
}

impl<B: Backend> Graph<B> {
    fn new(training: Training, on_host: bool) -> Self {
        let Training { header, settings, began, parameters, memories, .. } = training;
        let device = B::Device::default();
        let shapes = parameters.iter().map(|parameter| parameter.shape).collect();
        let mut of_parameter: Vec<Vec<Vec<f32>>> = parameters.iter().map(|_| Vec::new()).collect();
        for memory in memories {
            for (place, parameter) in of_parameter.iter_mut().zip(memory) {
                place.push(parameter.values);
            }
        }
        let tensor = |shape: [usize; 2], values: Vec<f32>| {
            Tensor::<B, 2>::from_data(TensorData::new(values, shape), &device)
        };
        let (host, memories) = if on_host {
            (Some(of_parameter), Vec::new())
        } else {
            let place = |(values, parameter): (Vec<Vec<f32>>, &Parameter)| {
                values.into_iter().map(|values| tensor(parameter.shape, values)).collect()
            };
            (None, of_parameter.into_iter().zip(&parameters).map(place).collect())
        };
        Self {
            heads: Heads::new(&header),
            n_hidden: header.network.hidden,
            dropout: header.network.dropout,
            seed: settings.seed,
            power_floor: settings.power_floor,
            shapes,
            optimizer: Optimizer::new(&settings, began),
            parameters: parameters.into_iter().map(|p| tensor(p.shape, p.values)).collect(),
            memories,
            host,
            device: device.clone(),
            times: StepTimes::default(),
        }
    }

    fn constant(&self, values: Vec<f32>, shape: [usize; 2]) -> Tensor<Autodiff<B>, 2> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn masks(&self, n_rows: usize, step: u64) -> Vec<Tensor<Autodiff<B>, 2>> {
        if self.dropout == 0.0 {
            return Vec::new();
        }
        let mut random = generator(self.seed, Use::Dropout(step));
        let mask = |layer: usize| {
            let width = self.shapes[2 * layer][1];
            self.constant(dropout(&mut random, n_rows * width, self.dropout), [n_rows, width])
        };
        (0..self.n_hidden).map(mask).collect()
    }

    /// Moves the weights along the gradients.
    fn descend(&mut self, gradients: Vec<Tensor<B, 2>>, step: u64) -> Result<(), NnError> {
        match self.host.take() {
            Some(mut memories) => {
                let result = self.descend_on_host(gradients, &mut memories, step);
                self.host = Some(memories);
                result
            }
            None => self.descend_on_device(gradients, step),
        }
    }

    fn descend_on_host(
        &mut self,
        gradients: Vec<Tensor<B, 2>>,
        memories: &mut [Vec<Vec<f32>>],
        step: u64,
    ) -> Result<(), NnError> {
        let gradients: Vec<Vec<f32>> = gradients.into_iter().map(values).collect();
        let shrink = self.shrink(gradients.iter().map(|gradient| sum_of_squares(gradient)).sum(), step)?;
        let parameters = std::mem::take(&mut self.parameters);
        for (layer, (parameter, gradient)) in parameters.into_iter().zip(gradients).enumerate() {
            // neither way copies while nobody else holds the tensor
            let mut weights = values(parameter);
            self.optimizer.sweep(step, shrink, &gradient, &mut weights, &mut memories[layer]);
            let data = TensorData::new(weights, self.shapes[layer]);
            self.parameters.push(Tensor::from_data(data, &self.device));
        }
        Ok(())
    }

    fn descend_on_device(&mut self, gradients: Vec<Tensor<B, 2>>, step: u64) -> Result<(), NnError> {
        let squares = gradients.iter().map(|gradient| (gradient.clone() * gradient.clone()).sum());
        let squares = values(Tensor::cat(squares.collect(), 0).unsqueeze::<2>());
        let shrink = self.shrink(squares.iter().map(|&square| f64::from(square)).sum(), step)?;
        for (layer, gradient) in gradients.into_iter().enumerate() {
            let mut memories: Vec<&mut Tensor<B, 2>> = self.memories[layer].iter_mut().collect();
            let weights = self.parameters[layer].clone();
            self.parameters[layer] = self.optimizer.step(step, shrink, gradient, weights, &mut memories);
        }
        Ok(())
    }

    /// The factor that brings a gradient with this sum of squares to the largest norm allowed.
    fn shrink(&self, sum_of_squares: f64, step: u64) -> Result<f32, NnError> {
        let norm = sum_of_squares.sqrt();
        if !norm.is_finite() {
            return Err(NnError::Diverged { what: "gradient", value: norm, step });
        }
        Ok((self.optimizer.clip / norm).min(1.0) as f32)
    }
}

/// Outputs of the heads; `masks` of the hidden layers, none when nothing is dropped.
pub(crate) fn forward<B: Backend>(
    parameters: &[Tensor<B, 2>],
    n_hidden: usize,
    rows: Tensor<B, 2>,
    masks: Vec<Tensor<B, 2>>,
) -> Vec<Tensor<B, 2>> {
    let apply = |x: &Tensor<B, 2>, layer: usize| {
        x.clone().matmul(parameters[2 * layer].clone()) + parameters[2 * layer + 1].clone()
    };
    let mut masks = masks.into_iter();
    let hidden = (0..n_hidden).fold(rows, |x, layer| {
        let y = relu(apply(&x, layer));
        match masks.next() {
            Some(mask) => y * mask,
            None => y,
        }
    });
    (n_hidden..parameters.len() / 2).map(|head| apply(&hidden, head)).collect()
}

impl<B: Backend> Engine for Graph<B> {
    fn step(&mut self, batch: &Batch, step: u64) -> Result<f64, NnError> {
        let start = Instant::now();
        let n_rows = batch.n_rows;
        let track =
            |tensor: &Tensor<B, 2>| Tensor::<Autodiff<B>, 2>::from_inner(tensor.clone()).require_grad();
        let parameters: Vec<_> = self.parameters.iter().map(track).collect();
        let rows = self.constant(batch.inputs.clone(), [n_rows, batch.inputs.len() / n_rows]);
        let outputs = forward(&parameters, self.n_hidden, rows, self.masks(n_rows, step));
        let mut read = outputs.iter().map(|output| values(output.clone().inner()));
        let sigma = read.next().unwrap_or_default();
        let rho = read.next();
        let after_forward = Instant::now();

        let (loss, by_sigma, by_rho) = cost(&self.heads, self.power_floor, batch, &sigma, rho.as_deref());
        if !loss.is_finite() {
            return Err(NnError::Diverged { what: "loss", value: loss, step });
        }
        let after_loss = Instant::now();

        let slopes = std::iter::once(by_sigma).chain((!by_rho.is_empty()).then_some(by_rho));
        let parts = outputs.into_iter().zip(slopes).map(|(output, slope)| {
            let columns = slope.len() / n_rows;
            (output * self.constant(slope, [n_rows, columns])).sum()
        });
        let objective = parts.reduce(|a, b| a + b).expect("a network has a head");
        let mut gradients = objective.backward();
        let gradients = parameters
            .iter()
            .map(|parameter| parameter.grad_remove(&mut gradients).expect("every weight takes part"))
            .collect();
        // the graph holds the weights: without it they can be updated in place
        drop(parameters);
        let after_backward = Instant::now();

        self.descend(gradients, step)?;
        self.times.forward += after_forward - start;
        self.times.loss += after_loss - after_forward;
        self.times.backward += after_backward - after_loss;
        self.times.optimizer += after_backward.elapsed();
        Ok(loss)
    }

    fn parameters(&self) -> Vec<Vec<f32>> {
        self.parameters.iter().cloned().map(values).collect()
    }

    fn memories(&self) -> Vec<Vec<Vec<f32>>> {
        let of_parameter: Vec<Vec<Vec<f32>>> = match &self.host {
            Some(memories) => memories.clone(),
            None => {
                self.memories.iter().map(|memories| memories.iter().cloned().map(values).collect()).collect()
            }
        };
        let count = of_parameter.first().map_or(0, Vec::len);
        (0..count)
            .map(|memory| of_parameter.iter().map(|memories| memories[memory].clone()).collect())
            .collect()
    }

    fn times(&self) -> StepTimes {
        self.times
    }
}

pub(crate) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().expect("weights and outputs are f32")
}

/// The loss of a batch, mean over rows and bins, and its gradients with respect to the outputs of the heads.
///
/// The gradients are those of the sum over bins, mean over rows: of a size for which the largest norm and adadelta's
/// epsilon are meant, whatever the number of bins.
pub(crate) fn cost(
    heads: &Heads,
    power_floor: f64,
    batch: &Batch,
    sigma: &[f32],
    rho: Option<&[f32]>,
) -> (f64, Vec<f32>, Vec<f32>) {
    let bins = sigma.len() / batch.n_rows;
    let per_row = bins * heads.n_anchors();
    let mut by_sigma = vec![0.0; sigma.len()];
    let mut by_rho = vec![0.0; batch.n_rows * per_row];
    let rho = rho.unwrap_or_default();
    // chunks of no length are not allowed, rows of none are
    let by_rho_rows: Vec<&mut [f32]> = match per_row {
        0 => (0..batch.n_rows).map(|_| Default::default()).collect(),
        _ => by_rho.chunks_exact_mut(per_row).collect(),
    };
    let costs: Vec<f64> = by_sigma
        .par_chunks_exact_mut(bins)
        .zip(by_rho_rows)
        .enumerate()
        .map(|(i, (by_sigma, by_rho))| {
            let of_row = |values| -> &[f32] { &<[f32]>::as_ref(values)[i * bins..(i + 1) * bins] };
            let row = Row {
                sigma: of_row(sigma),
                rho: &rho[i * per_row..(i + 1) * per_row],
                mixture: of_row(&batch.mixture),
                source: of_row(&batch.source),
                nu_nmf: batch.nu_nmf.get(i).copied().unwrap_or(0.0),
            };
            heads.cost(row, power_floor, 1.0 / batch.n_rows as f64, by_sigma, by_rho)
        })
        .collect();
    (costs.iter().sum::<f64>() / (batch.n_rows * bins) as f64, by_sigma, by_rho)
}

/// The memories before the first step: the optimiser's are empty, the mean of the weights is the weights.
pub(crate) fn fresh_memories(training: &mut Training) {
    let silent =
        |parameter: &Parameter| Parameter { values: vec![0.0; parameter.values.len()], ..parameter.clone() };
    let fresh = |name: &str| match name {
        MEAN => training.parameters.clone(),
        _ => training.parameters.iter().map(silent).collect(),
    };
    training.memories = training.settings.memories().into_iter().map(fresh).collect();
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::device::{Layers as _, Placed};
    use crate::testing::header;
    use crate::{InputName, Loss, Network, TrainSettings};

    fn training(loss: Loss, input: InputName) -> Training {
        let mut header = header(loss);
        header.network.input = input;
        let settings = TrainSettings::default();
        let parameters = crate::layers::start(&header, 5);
        let mut training = Training { header, settings, step: 0, began: 0, parameters, memories: Vec::new() };
        fresh_memories(&mut training);
        training
    }

    #[test]
    fn plain_rust_and_the_graph_compute_the_same_outputs() {
        for loss in [Loss::SquareRoot, Loss::ConditionedProduct { lowest: 1.0, highest: 10.0 }] {
            for input in [InputName::Bands, InputName::Linear] {
                let training = training(loss, input);
                let network = Network::from_parameters(training.header.clone(), training.parameters.clone());
                let n_inputs = network.features().n_inputs();
                let rows = Array2::from_shape_fn((7, n_inputs), |(i, k)| ((i * 31 + k) as f32).sin());
                let placed = Placed::<Flex>::new(training.header.network.hidden, training.parameters);
                let both = [placed.outputs(rows.clone()), network.outputs(rows, 1)];
                let [theirs, ours] =
                    both.map(|outputs| std::iter::once(outputs.sigma).chain(outputs.rho).collect::<Vec<_>>());
                assert_eq!(ours.len(), theirs.len());
                for (ours, theirs) in ours.iter().zip(&theirs) {
                    assert!(theirs.iter().any(|z| z.abs() > 1e-3));
                    // sums of at most 51 products, in another order
                    assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-5));
                }
            }
        }
    }

    /// The gradient of every weight, through dropout, against differences of the loss.
    #[test]
    fn a_small_step_changes_the_loss_as_its_gradient_says() {
        for loss in [Loss::SquareRoot, Loss::Product { nu_nmf: 5.0 }] {
            let mut training = training(loss, InputName::Bands);
            // the plain step of sgd is the gradient
            training.settings.optimizer = crate::OptimizerName::Sgd;
            training.settings.rate = Some(1e-3);
            training.settings.clip = 1e12;
            training.memories.clear();
            let features = crate::features::Features::new(&training.header);
            let magnitude = Array2::from_shape_fn((17, 9), |(i, j)| ((i * 7 + j * 3) as f32).sin().abs());
            let excerpt = crate::Excerpt { source: &magnitude * 0.4, mixture: magnitude, margin: 0 };
            let batch = Batch::of_excerpt(&features, &excerpt).unwrap();
            let mut graph = Graph::<Flex>::new(training, true);
            let before = graph.parameters();
            let first = graph.step(&batch, 0).unwrap();
            let after = graph.parameters();
            let squares: f64 = before
                .iter()
                .zip(&after)
                .flat_map(|(a, b)| a.iter().zip(b))
                .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum();
            // the same dropout: the same number of the step
            let second = graph.step(&batch, 0).unwrap();
            // the sum over 17 bins falls by rate * norm^2 = squares / rate, to first order in the step
            let expected = squares / 1e-3 / 17.0;
            let ratio = (first - second) / expected;
            assert!((ratio - 1.0).abs() < 0.05, "{loss}: {ratio} {first} {second}");
        }
    }

    /// Plain steps of rate 1 are the shortened gradients: all weights together, on the processor and in tensors.
    #[test]
    fn the_gradient_of_all_weights_together_is_shortened_to_the_largest_norm() {
        let loss = Loss::Product { nu_nmf: 5.0 };
        let features = crate::features::Features::new(&header(loss));
        let magnitude = Array2::from_shape_fn((17, 9), |(i, j)| ((i * 7 + j * 3) as f32).sin().abs());
        let excerpt = crate::Excerpt { source: &magnitude * 0.4, mixture: magnitude, margin: 0 };
        let batch = Batch::of_excerpt(&features, &excerpt).unwrap();
        let step = |clip: f64, on_host: bool| -> Vec<f64> {
            let mut training = training(loss, InputName::Bands);
            training.settings = TrainSettings {
                optimizer: crate::OptimizerName::Sgd,
                rate: Some(1.0),
                average: 0.0,
                clip,
                ..training.settings
            };
            training.memories.clear();
            let mut graph = Graph::<Flex>::new(training, on_host);
            let before = graph.parameters().concat();
            graph.step(&batch, 0).unwrap();
            before
                .iter()
                .zip(graph.parameters().concat())
                .map(|(a, b)| f64::from(*a) - f64::from(b))
                .collect()
        };
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let free = step(1e12, true);
        let length = norm(&free);
        for on_host in [true, false] {
            for clip in [0.5 * length, 0.02 * length] {
                let clipped = step(clip, on_host);
                // weights below 2 are rounded to 1e-7: some thousandths of the smallest norm in 700 of them
                assert!((norm(&clipped) / clip - 1.0).abs() < 1e-3, "{} {clip}", norm(&clipped));
                // one factor for every layer
                let share = clip / length;
                let errors: Vec<f64> = clipped.iter().zip(&free).map(|(a, b)| a - share * b).collect();
                assert!(norm(&errors) < 1e-3 * clip, "{} {clip}", norm(&errors));
            }
            // what is shorter stays as it is
            let errors: Vec<f64> =
                step(1.01 * length, on_host).iter().zip(&free).map(|(a, b)| a - b).collect();
            assert!(norm(&errors) < 1e-5 * length, "{} {length}", norm(&errors));
        }
    }
}
