//! Steps along the gradient of all weights, shortened to a largest norm.
//!
//! With g the gradient, adadelta (Zeiler 2012, algorithm 1) keeps E\[g^2\] and E\[d^2\] and steps by
//! d = -sqrt((E\[d^2\] + epsilon) / (E\[g^2\] + epsilon)) g. Adam (Kingma and Ba 2015, algorithm 1) keeps the means m
//! of g and v of g^2 and steps by -m / (sqrt(v) + 1e-8), both without the bias of their start at zero.
//!
//! Each formula stands here twice: as one loop over memory that is read once, for the processor, and in tensors, for
//! devices that keep the weights. A test compares them.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use rayon::prelude::*;

use crate::{OptimizerName, TrainSettings};

/// Weights that one task updates.
const CHUNK: usize = 1 << 14;
/// Memories of adam's two means, and what keeps its divisor from zero.
const ADAM: [f32; 3] = [0.9, 0.999, 1e-8];

/// How the weights step.
#[derive(Clone, Debug)]
pub(crate) struct Optimizer {
    name: OptimizerName,
    rate: f32,
    rho: f32,
    epsilon: f32,
    /// How much the running mean of the weights keeps at most; 0 where there is none.
    average: f64,
    /// Largest l2 norm of the gradient.
    pub clip: f64,
    /// The step before which the memories were empty.
    began: u64,
}

/// Adam's factors that depend on the steps that its memories have seen: of m, and of v.
fn without_bias(step: u64) -> [f32; 2] {
    let steps = (step + 1).min(1 << 30) as i32;
    [ADAM[0], ADAM[1]].map(|memory| (1.0 / (1.0 - f64::from(memory).powi(steps))) as f32)
}

impl Optimizer {
    pub fn new(settings: &TrainSettings, began: u64) -> Self {
        let automatic = match settings.optimizer {
            OptimizerName::Adadelta => 1.0,
            OptimizerName::Adam => 3e-4,
            OptimizerName::Sgd => 1e-4,
        };
        Self {
            name: settings.optimizer,
            rate: settings.rate.unwrap_or(automatic) as f32,
            rho: settings.rho as f32,
            epsilon: settings.epsilon as f32,
            average: settings.average,
            clip: settings.clip,
            began,
        }
    }

    /// How much the running mean keeps at this step: the first steps are forgotten soon.
    fn kept(&self, step: u64) -> f32 {
        (step as f64 / (step + 10) as f64).min(self.average) as f32
    }

    /// Moves `weights` by the gradient times `shrink`; `memories` as [`TrainSettings::memories`] lists them.
    pub fn sweep(
        &self,
        step: u64,
        shrink: f32,
        gradient: &[f32],
        weights: &mut [f32],
        memories: &mut [Vec<f32>],
    ) {
        let (of_optimizer, of_mean) = memories.split_at_mut(self.name.memories());
        self.descend(step, shrink, gradient, weights, of_optimizer);
        if let [mean] = of_mean {
            let kept = self.kept(step);
            let chunks = mean.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK));
            chunks.for_each(|(mean, weights)| {
                for (mean, &w) in mean.iter_mut().zip(weights) {
                    *mean = kept * *mean + (1.0 - kept) * w;
                }
            });
        }
    }

    /// The step itself.
    fn descend(
        &self,
        step: u64,
        shrink: f32,
        gradient: &[f32],
        weights: &mut [f32],
        memories: &mut [Vec<f32>],
    ) {
        let (rate, rho, epsilon) = (self.rate, self.rho, self.epsilon);
        let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let [first, second] = memories else {
            chunks.for_each(|(weights, gradient)| {
                for (w, &g) in weights.iter_mut().zip(gradient) {
                    *w -= rate * (shrink * g);
                }
            });
            return;
        };
        let chunks = chunks.zip(first.par_chunks_mut(CHUNK)).zip(second.par_chunks_mut(CHUNK));
        let [of_m, of_v] = without_bias(step - self.began);
        let adam = self.name == OptimizerName::Adam;
        chunks.for_each(|(((weights, gradient), first), second)| {
            let each = weights.iter_mut().zip(gradient).zip(first.iter_mut()).zip(second.iter_mut());
            if adam {
                for (((w, &g), m), v) in each {
                    let g = shrink * g;
                    *m = ADAM[0] * *m + (1.0 - ADAM[0]) * g;
                    *v = ADAM[1] * *v + (1.0 - ADAM[1]) * (g * g);
                    *w -= rate * (*m * of_m) / ((*v * of_v).sqrt() + ADAM[2]);
                }
            } else {
                for (((w, &g), squares), steps) in each {
                    let g = shrink * g;
                    *squares = rho * *squares + (1.0 - rho) * (g * g);
                    let d = ((*steps + epsilon) / (*squares + epsilon)).sqrt() * g;
                    *steps = rho * *steps + (1.0 - rho) * (d * d);
                    *w -= rate * d;
                }
            }
        });
    }

    /// The same as [`sweep`](Self::sweep), in tensors.
    pub fn step<B: Backend>(
        &self,
        step: u64,
        shrink: f32,
        gradient: Tensor<B, 2>,
        weights: Tensor<B, 2>,
        memories: &mut [&mut Tensor<B, 2>],
    ) -> Tensor<B, 2> {
        let (of_optimizer, of_mean) = memories.split_at_mut(self.name.memories());
        let weights = self.descend_in_tensors(step, gradient * shrink, weights, of_optimizer);
        if let [mean] = of_mean {
            let kept = self.kept(step);
            **mean = mean.clone() * kept + weights.clone() * (1.0 - kept);
        }
        weights
    }

    fn descend_in_tensors<B: Backend>(
        &self,
        step: u64,
        g: Tensor<B, 2>,
        weights: Tensor<B, 2>,
        memories: &mut [&mut Tensor<B, 2>],
    ) -> Tensor<B, 2> {
        let [first, second] = memories else { return weights - g * self.rate };
        let mean =
            |old: &Tensor<B, 2>, new: Tensor<B, 2>, memory: f32| old.clone() * memory + new * (1.0 - memory);
        if self.name == OptimizerName::Adam {
            let [of_m, of_v] = without_bias(step - self.began);
            **first = mean(first, g.clone(), ADAM[0]);
            **second = mean(second, g.clone() * g, ADAM[1]);
            let divisor = (second.clone() * of_v).sqrt() + ADAM[2];
            weights - first.clone() * of_m * self.rate / divisor
        } else {
            **first = mean(first, g.clone() * g.clone(), self.rho);
            let d = ((second.clone() + self.epsilon) / (first.clone() + self.epsilon)).sqrt() * g;
            **second = mean(second, d.clone() * d.clone(), self.rho);
            weights - d * self.rate
        }
    }
}

/// Sum of squares; the same for any number of threads.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    let parts: Vec<f64> = values
        .par_chunks(CHUNK)
        .map(|chunk| {
            // eight sums side by side: one addition need not wait for the one before
            let (eights, rest) = chunk.as_chunks::<8>();
            let mut sums = [0.0f64; 8];
            for eight in eights {
                for (sum, &x) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
            sums.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
        })
        .collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::TensorData;
    use demix_signal::settings::SettingValue as _;

    use super::*;

    fn wave(n: usize, phase: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
    }

    #[test]
    fn loop_and_tensors_take_the_same_steps() {
        let n = 1000;
        for (name, _) in OptimizerName::choices() {
            let optimizer = OptimizerName::parse(name).unwrap();
            let settings = TrainSettings { optimizer, ..TrainSettings::default() };
            let optimizer = Optimizer::new(&settings, 0);
            let device = Default::default();
            let tensor =
                |values: Vec<f32>| Tensor::<Flex, 2>::from_data(TensorData::new(values, [20, 50]), &device);
            let count = settings.memories().len();
            let (mut weights, mut memories) = (wave(n, 0.0), vec![vec![0.0; n]; count]);
            let mut weights_of_tensor = tensor(weights.clone());
            let mut memories_of_tensor: Vec<_> = memories.iter().cloned().map(tensor).collect();
            for step in 0..5 {
                let gradient = wave(n, step as f32);
                optimizer.sweep(step, 0.5, &gradient, &mut weights, &mut memories);
                weights_of_tensor = optimizer.step(
                    step,
                    0.5,
                    tensor(gradient),
                    weights_of_tensor,
                    &mut memories_of_tensor.iter_mut().collect::<Vec<_>>(),
                );
            }
            assert!(
                weights.iter().zip(wave(n, 0.0)).any(|(a, b)| (a - b).abs() > 1e-5),
                "{name} stands still"
            );
            let other = weights_of_tensor.into_data().into_vec::<f32>().unwrap();
            // five steps of a few roundings each
            assert!(weights.iter().zip(other).all(|(a, b)| (a - b).abs() < 3e-6), "{name}");
            let mean = memories_of_tensor.pop().unwrap().into_data().into_vec::<f32>().unwrap();
            assert!(memories[count - 1].iter().zip(mean).all(|(a, b)| (a - b).abs() < 3e-6), "{name}");
        }
    }

    #[test]
    fn the_first_steps_are_those_of_the_papers() {
        let one = |optimizer| {
            let settings = TrainSettings { optimizer, ..TrainSettings::default() };
            let mut weights = [1.0];
            let mut memories = vec![vec![0.0]; settings.memories().len()];
            Optimizer::new(&settings, 0).sweep(0, 1.0, &[3.0], &mut weights, &mut memories);
            weights[0] - 1.0
        };
        // sqrt(1e-6) / sqrt(0.05 * 9 + 1e-6) * 3; the sign times the rate; the rate times the gradient
        assert!((one(OptimizerName::Adadelta) + 3e-3 / 0.45f32.sqrt()).abs() < 1e-6);
        assert!((one(OptimizerName::Adam) + 3e-4).abs() < 1e-6);
        assert!((one(OptimizerName::Sgd) + 3e-4).abs() < 1e-6);
    }

    #[test]
    fn the_mean_follows_the_weights() {
        let settings = TrainSettings {
            optimizer: OptimizerName::Sgd,
            rate: Some(1.0),
            average: 0.9,
            ..TrainSettings::default()
        };
        let optimizer = Optimizer::new(&settings, 0);
        let (mut weights, mut memories) = ([5.0], vec![vec![0.0]]);
        optimizer.sweep(0, 1.0, &[1.0], &mut weights, &mut memories);
        // what was there before the first step is forgotten
        assert_eq!(memories[0], [4.0]);
        optimizer.sweep(1, 1.0, &[1.0], &mut weights, &mut memories);
        assert!((memories[0][0] - (4.0 / 11.0 + 30.0 / 11.0)).abs() < 1e-6);
        optimizer.sweep(1000, 1.0, &[3.0], &mut weights, &mut memories);
        assert!((memories[0][0] - 0.9 * 34.0 / 11.0).abs() < 1e-6);
    }

    #[test]
    fn squares_are_summed() {
        let values = wave(40_003, 0.2);
        let plain: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((sum_of_squares(&values) - plain).abs() < 1e-9 * plain);
    }
}
