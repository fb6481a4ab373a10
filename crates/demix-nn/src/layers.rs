//! Which layers a network has, their names and sizes, and what they start from.
//!
//! Order of the parameters everywhere: weight and bias of each hidden layer, then of the head of sigma, then of the
//! head of rho where there is one. A layer is x W + b with W of shape (inputs, outputs). The head of rho has the
//! anchors of a bin side by side.

use crate::features::Features;
use crate::random::{Use, generator, normal};
use crate::{Header, OutputName};

/// 4 GiB of weights, before the moments of training.
pub(crate) const MOST_WEIGHTS: u64 = 1 << 30;

/// The heads start so much smaller than layers before a rectifier: outputs start near their bias, so that no bin
/// starts beyond the reach of its gradient.
const HEAD_GAIN: f64 = 0.1;
/// Where a rectified output starts: in the normalised domain the root of the mean square is 1.
const RELU_START: f32 = 1.0;

/// A matrix or a row of weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// Name in checkpoints.
    pub name: String,
    /// (inputs, outputs); (1, outputs) for a bias.
    pub shape: [usize; 2],
    /// Row after row.
    pub values: Vec<f32>,
}

/// Name, inputs and outputs of every layer.
pub(crate) fn sizes(header: &Header) -> Vec<(String, usize, usize)> {
    let width = header.network.width;
    let mut sizes: Vec<(String, usize, usize)> =
        (0..header.network.hidden).map(|layer| (format!("hidden.{layer}"), width, width)).collect();
    sizes[0].1 = Features::new(header).n_inputs();
    sizes.push(("sigma".into(), width, header.n_bins()));
    if header.loss.heads() == 2 {
        sizes.push(("rho".into(), width, header.n_bins() * header.network.anchors.values().len()));
    }
    sizes
}

/// Name and shape of every parameter.
pub(crate) fn shapes(header: &Header) -> Vec<(String, [usize; 2])> {
    let pair = |(name, inputs, outputs): (String, usize, usize)| {
        [(format!("{name}.weight"), [inputs, outputs]), (format!("{name}.bias"), [1, outputs])]
    };
    sizes(header).into_iter().flat_map(pair).collect()
}

/// How many weights there are, biases included.
pub(crate) fn count(header: &Header) -> u64 {
    shapes(header).iter().map(|(_, [rows, columns])| *rows as u64 * *columns as u64).sum()
}

/// Normal weights of variance 2 / inputs (He et al. 2015), smaller in the heads; biases 0, but that of a rectified
/// output positive.
pub(crate) fn start(header: &Header, seed: u64) -> Vec<Parameter> {
    let mut random = generator(seed, Use::Weights);
    let mut parameters = Vec::new();
    for (layer, (name, inputs, outputs)) in sizes(header).into_iter().enumerate() {
        let is_head = layer >= header.network.hidden;
        let gain = if is_head { HEAD_GAIN } else { 1.0 };
        let deviation = gain * (2.0 / inputs as f64).sqrt();
        let weight = (0..inputs * outputs).map(|_| (deviation * normal(&mut random)) as f32).collect();
        let rectified = name == "sigma" && header.network.output == OutputName::Relu;
        let bias = vec![if rectified { RELU_START } else { 0.0 }; outputs];
        parameters.push(Parameter {
            name: format!("{name}.weight"),
            shape: [inputs, outputs],
            values: weight,
        });
        parameters.push(Parameter { name: format!("{name}.bias"), shape: [1, outputs], values: bias });
    }
    parameters
}
