//! Which devices there are, and the layers of a network on one of them.

use std::fmt;
use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use ndarray::Array2;

use crate::engine::{forward, values};
use crate::layers::Parameter;
use crate::network::Outputs;
use crate::{DeviceName, NnError};

#[cfg(feature = "cuda")]
pub(crate) use burn::backend::Cuda;
/// Stands in where the program was built without it: [`check`] refuses before it is used.
#[cfg(not(feature = "cuda"))]
pub(crate) type Cuda = burn::backend::Flex;

/// Refuses a device that is not there.
pub(crate) fn check(device: DeviceName) -> Result<(), NnError> {
    match device {
        DeviceName::Cpu => Ok(()),
        DeviceName::Cuda => check_cuda(),
    }
}

#[cfg(not(feature = "cuda"))]
fn check_cuda() -> Result<(), NnError> {
    Err(NnError::Device(
        "device=cuda, but this program was built without it: build it with --features cuda, or take device=cpu".into(),
    ))
}

#[cfg(feature = "cuda")]
fn check_cuda() -> Result<(), NnError> {
    // without a driver or a device the library panics at its first use
    let works = std::panic::catch_unwind(|| {
        let two = Tensor::<Cuda, 1>::from_floats([1.0, 1.0], &Default::default()).sum();
        two.into_data().into_vec::<f32>().is_ok_and(|two| two == [2.0])
    });
    match works {
        Ok(true) => Ok(()),
        _ => Err(NnError::Device("device=cuda, but no NVIDIA device answers: take device=cpu".into())),
    }
}

/// Layers whose weights a device keeps.
pub(crate) trait Layers: fmt::Debug + Send + Sync {
    /// Outputs of the last layers for rows as [`crate::features::Features::row`] makes them.
    fn outputs(&self, rows: Array2<f32>) -> Outputs;
}

/// The layers on a device; none for the processor, which computes without tensors.
///
/// # Errors
/// A device that is not there.
pub(crate) fn layers(
    device: DeviceName,
    n_hidden: usize,
    parameters: &dyn Fn() -> Vec<Parameter>,
) -> Result<Option<Arc<dyn Layers>>, NnError> {
    check(device)?;
    Ok(match device {
        DeviceName::Cpu => None,
        DeviceName::Cuda => Some(Arc::new(Placed::<Cuda>::new(n_hidden, parameters()))),
    })
}

/// The parameters, in the order of [`crate::layers`].
#[derive(Debug)]
pub(crate) struct Placed<B: Backend> {
    n_hidden: usize,
    parameters: Vec<Tensor<B, 2>>,
    device: B::Device,
}

impl<B: Backend> Placed<B> {
    pub fn new(n_hidden: usize, parameters: Vec<Parameter>) -> Self {
        let device = B::Device::default();
        let place = |parameter: Parameter| {
            Tensor::from_data(TensorData::new(parameter.values, parameter.shape), &device)
        };
        Self { n_hidden, parameters: parameters.into_iter().map(place).collect(), device: device.clone() }
    }
}

impl<B: Backend> Layers for Placed<B> {
    fn outputs(&self, rows: Array2<f32>) -> Outputs {
        let shape = [rows.nrows(), rows.ncols()];
        let rows = TensorData::new(rows.iter().copied().collect(), shape);
        let rows = Tensor::<B, 2>::from_data(rows, &self.device);
        let mut heads =
            forward(&self.parameters, self.n_hidden, rows, Vec::new()).into_iter().map(|output| {
                let [rows, columns] = output.dims();
                Array2::from_shape_vec((rows, columns), values(output))
                    .expect("as many values as the shape says")
            });
        Outputs { sigma: heads.next().expect("a network has a head"), rho: heads.next() }
    }
}
