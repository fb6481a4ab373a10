//! [`Network`]: inference in plain Rust.

use std::sync::Arc;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Zip};
use rayon::prelude::*;

use crate::device::{self, Layers};
use crate::features::{Features, Frames};
use crate::heads::Heads;
use crate::layers::Parameter;
use crate::{DeviceName, Header, NnError, checkpoint};

/// Frames of a block, which is one matrix for the layers: enough to read weights seldom, and bounds the memory.
const BLOCK_FRAMES: usize = 256;
/// Columns of a matrix that one task computes at the least. No number depends on how many there are, as each is a sum of
/// its own, always in one order.
const TASK_COLUMNS: usize = 128;
/// The last layers give no more than this to what training made of them: logarithms, and magnitudes whose mean square is
/// about 1. Its square is still a number of single precision, at any level that sound has.
const MOST_OUTPUT: f32 = 1e12;

/// A trained network; clones share the weights, threads may share a network.
#[derive(Clone, Debug)]
pub struct Network {
    header: Header,
    features: Features,
    heads: Heads,
    layers: Arc<Vec<Layer>>,
    /// The layers on another device than the processor, where they are.
    device: Option<Arc<dyn Layers>>,
}

/// x W + b.
#[derive(Debug)]
struct Layer {
    /// Name in checkpoints.
    name: String,
    /// (inputs, outputs).
    weight: Array2<f32>,
    /// (1, outputs).
    bias: Array2<f32>,
}

/// What a network says of a spectrogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// sigma, (bins, frames): magnitudes of the source, above them beside a silent low-rank part ([`Estimate::power`]).
    pub sigma: Array2<f32>,
    /// nu_D, degrees of freedom of each slot, (bins, frames), from networks of two heads.
    pub dof: Option<Array2<f32>>,
    /// nu_NMF of the silent low-rank part beside which the loss (57) put sigma; none with any other loss.
    pub beside: Option<f64>,
}

impl Estimate {
    /// The power that the network expects of its source, (bins, frames): sigma^2, beside a silent low-rank part
    /// nu_D sigma^2 / (nu_NMF + nu_D + 2), (34), (35).
    pub fn power(&self) -> Array2<f32> {
        let mut power = self.sigma.mapv(|sigma| sigma * sigma);
        if let (Some(nu_nmf), Some(dof)) = (self.beside, &self.dof) {
            power.zip_mut_with(dof, |r, &nu| {
                *r = (f64::from(*r) * f64::from(nu) / (nu_nmf + f64::from(nu) + 2.0)) as f32;
            });
        }
        power
    }
}

/// Outputs of the last layers for some rows.
pub(crate) struct Outputs {
    /// (rows, bins).
    pub sigma: Array2<f32>,
    /// (rows, bins * anchors), from networks of two heads.
    pub rho: Option<Array2<f32>>,
}

impl Network {
    /// A network of these parameters, whose order and shapes are those of [`crate::layers`].
    pub(crate) fn from_parameters(header: Header, parameters: Vec<Parameter>) -> Self {
        let mut parameters = parameters.into_iter();
        let mut layers = Vec::new();
        while let (Some(weight), Some(bias)) = (parameters.next(), parameters.next()) {
            let name = weight.name.trim_end_matches(".weight").to_string();
            let [weight, bias] = [weight, bias].map(|parameter| {
                Array2::from_shape_vec(parameter.shape, parameter.values)
                    .expect("parameters have as many values as their shape says")
            });
            layers.push(Layer { name, weight, bias });
        }
        let (features, heads) = (Features::new(&header), Heads::new(&header));
        Self { header, features, heads, layers: Arc::new(layers), device: None }
    }

    /// The same network, whose layers are computed on a device from now on.
    ///
    /// # Errors
    /// A device that is not there, or that the program was built without.
    pub fn on(self, device: DeviceName) -> Result<Self, NnError> {
        let n_hidden = self.header.network.hidden;
        Ok(Self { device: device::layers(device, n_hidden, &|| self.parameters())?, ..self })
    }

    /// What the network is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// For writing the log or the source's name. What concerns the form of the network must stay.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// The source's magnitudes in a mixture with magnitudes `magnitude`, (bins, frames).
    ///
    /// c times the magnitudes give c times the estimate. `nu_nmf` is needed by networks that were trained for many
    /// values of it, and ignored by all others. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// Another number of bins than the network's, values that are no magnitudes, a `nu_nmf` that is missing or that
    /// the network was not trained for, an output that is not finite.
    pub fn estimate(&self, magnitude: ArrayView2<'_, f32>, nu_nmf: Option<f64>) -> Result<Estimate, NnError> {
        let nu_nmf = self.nu_nmf(nu_nmf)?;
        let frames = self.features.frames(magnitude, "the spectrogram")?;
        let mut sigma = Array2::zeros(magnitude.raw_dim());
        let mut dof = (self.heads.n_anchors() > 0).then(|| Array2::zeros(magnitude.raw_dim()));
        let of_dof = dof.iter_mut().flat_map(|dof| dof.axis_chunks_iter_mut(Axis(1), BLOCK_FRAMES));
        let mut of_dof: Vec<_> = of_dof.map(Some).collect();
        let blocks: Vec<_> = sigma.axis_chunks_iter_mut(Axis(1), BLOCK_FRAMES).collect();
        of_dof.resize_with(blocks.len(), || None);
        // a block alone is shared out, too
        let tasks_of_block = rayon::current_num_threads().div_ceil(blocks.len().max(1));
        let done: Vec<Result<(), NnError>> = blocks
            .into_par_iter()
            .zip(of_dof)
            .enumerate()
            .map(|(block, (sigma, dof))| {
                let start = block * BLOCK_FRAMES;
                self.estimate_block(&frames, start, nu_nmf, tasks_of_block, sigma, dof)
            })
            .collect();
        // the same error every time
        done.into_iter().collect::<Result<(), NnError>>()?;
        Ok(Estimate { sigma, dof, beside: self.header.loss.nu_nmf(nu_nmf) })
    }

    /// The network as a safetensors file whose metadata hold the header as JSON under `demix`.
    pub fn to_bytes(&self) -> Vec<u8> {
        checkpoint::write_network(&self.header, &self.parameters())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the bytes: no checkpoint, cut short, another version, fields or tensors
    /// that are unknown or missing, shapes that do not fit the header, weights that are not finite or so large that the
    /// output is not.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NnError> {
        let (header, parameters) = checkpoint::read_network(bytes)?;
        let network = Self::from_parameters(header, parameters);
        // every weight is finite, but what becomes of them need not be: better said of the file than of a sound
        let ones = Array2::ones((network.header.n_bins(), 1));
        match network.estimate(ones.view(), network.header.loss.usual_nu()) {
            Ok(_) => Ok(network),
            Err(_) => Err(NnError::Checkpoint(
                "the weights of the checkpoint are so large that its output overflows: train it again".into(),
            )),
        }
    }

    /// Outputs of the last layers for rows as [`Features::row`] makes them, shared out to at most `n_tasks`.
    pub(crate) fn outputs(&self, rows: Array2<f32>, n_tasks: usize) -> Outputs {
        if let Some(device) = &self.device {
            return device.outputs(rows);
        }
        let (hidden, heads) = self.layers.split_at(self.header.network.hidden);
        let hidden = hidden.iter().fold(rows, |x, layer| layer.apply(&x, n_tasks, rectified));
        let mut heads = heads.iter().map(|layer| layer.apply(&hidden, n_tasks, |y| y));
        Outputs { sigma: heads.next().expect("a network has a head"), rho: heads.next() }
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn heads(&self) -> &Heads {
        &self.heads
    }

    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |name: String, values: &Array2<f32>| Parameter {
            name,
            shape: [values.nrows(), values.ncols()],
            values: values.iter().copied().collect(),
        };
        let pair = |layer: &Layer| {
            [
                parameter(format!("{}.weight", layer.name), &layer.weight),
                parameter(format!("{}.bias", layer.name), &layer.bias),
            ]
        };
        self.layers.iter().flat_map(pair).collect()
    }

    fn nu_nmf(&self, given: Option<f64>) -> Result<f64, NnError> {
        let Some((lowest, highest)) = self.header.loss.condition() else { return Ok(0.0) };
        let given = given.ok_or(NnError::NuMissing { lowest, highest })?;
        match (lowest..=highest).contains(&given) {
            true => Ok(given),
            false => Err(NnError::NuOutOfRange { given, lowest, highest }),
        }
    }

    /// The estimate of the frames from `start` on that `sigma` and `dof`, (bins, frames), have room for.
    fn estimate_block(
        &self,
        frames: &Frames,
        start: usize,
        nu_nmf: f64,
        n_tasks: usize,
        sigma: ArrayViewMut2<'_, f32>,
        dof: Option<ArrayViewMut2<'_, f32>>,
    ) -> Result<(), NnError> {
        let mut rows = Array2::zeros((sigma.ncols(), self.features.n_inputs()));
        let levels: Vec<f64> = rows
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(i, mut row)| {
                let row = row.as_slice_mut().expect("rows are contiguous");
                self.features.row(frames, start + i, nu_nmf, row)
            })
            .collect();
        let mut outputs = self.outputs(rows, n_tasks);
        let n_anchors = self.heads.n_anchors();
        let dofs = outputs.rho.map(|logits| {
            let mut dofs = Array2::zeros(outputs.sigma.raw_dim());
            dofs.axis_iter_mut(Axis(0)).into_par_iter().zip(logits.axis_iter(Axis(0))).for_each(
                |(mut dofs, logits)| {
                    let mut rho = vec![0.0; n_anchors];
                    let logits = logits.to_slice().expect("rows are contiguous");
                    for (dof, logits) in dofs.iter_mut().zip(logits.chunks_exact(n_anchors)) {
                        *dof = self.heads.dof(logits, &mut rho) as f32;
                    }
                },
            );
            dofs
        });
        let are_finite: Vec<bool> = outputs
            .sigma
            .axis_iter_mut(Axis(0))
            .into_par_iter()
            .enumerate()
            .map(|(i, mut row)| {
                let level = levels[i];
                let gain = if level > 0.0 { 1.0 / level } else { 0.0 };
                let mut is_finite = true;
                for (bin, (out, &x)) in row.iter_mut().zip(frames.magnitudes.row(start + i)).enumerate() {
                    let x = (f64::from(x) * gain) as f32;
                    let dof = dofs.as_ref().map_or(0.0, |dofs| f64::from(dofs[[i, bin]]));
                    let z = *out;
                    *out = (self.heads.sigma(z, x, dof, nu_nmf).value * level) as f32;
                    is_finite &= z.abs() <= MOST_OUTPUT && out.is_finite() && dof.is_finite();
                }
                is_finite
            })
            .collect();
        if let Some(i) = are_finite.iter().position(|is_finite| !is_finite) {
            return Err(NnError::Overflow { frame: start + i });
        }
        turn(&outputs.sigma, sigma);
        if let (Some(dofs), Some(dof)) = (&dofs, dof) {
            turn(dofs, dof);
        }
        Ok(())
    }
}

impl Layer {
    /// f(x W + b), shared out by columns to at most `n_tasks`.
    fn apply(&self, x: &Array2<f32>, n_tasks: usize, f: impl Fn(f32) -> f32 + Sync) -> Array2<f32> {
        let n_columns = self.weight.ncols();
        let columns = n_columns.div_ceil(n_tasks).max(TASK_COLUMNS);
        let mut y = Array2::zeros((x.nrows(), n_columns));
        y.axis_chunks_iter_mut(Axis(1), columns)
            .into_par_iter()
            .zip(self.weight.axis_chunks_iter(Axis(1), columns))
            .zip(self.bias.axis_chunks_iter(Axis(1), columns))
            .for_each(|((mut y, weight), bias)| {
                general_mat_mul(1.0, x, &weight, 0.0, &mut y);
                Zip::from(&mut y).and_broadcast(&bias).for_each(|y, &b| *y = f(*y + b));
            });
        y
    }
}

/// max(y, 0), but NaN stays NaN: what overflows has to be seen.
fn rectified(y: f32) -> f32 {
    if y < 0.0 { 0.0 } else { y }
}

/// (frames, bins) to (bins, frames).
fn turn(values: &Array2<f32>, mut turned: ArrayViewMut2<'_, f32>) {
    turned
        .axis_chunks_iter_mut(Axis(0), TASK_COLUMNS)
        .into_par_iter()
        .zip(values.axis_chunks_iter(Axis(1), TASK_COLUMNS))
        .for_each(|(mut turned, values)| turned.assign(&values.t()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loss;
    use crate::testing::header;

    #[test]
    fn no_number_depends_on_how_the_work_is_shared_out() {
        let mut header = header(Loss::EmpiricalBayes);
        header.stft = demix_signal::StftSettings::new(1024, 512);
        // sums of more products than a kernel of a matrix product takes at once
        (header.network.width, header.network.bands) = (300, 200);
        let network = Network::from_parameters(header.clone(), crate::layers::start(&header, 1));
        let rows =
            Array2::from_shape_fn((70, network.features.n_inputs()), |(i, k)| ((i * 31 + k) as f32).sin());
        let whole = network.outputs(rows.clone(), 1);
        let same = |a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>| {
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        for (n_tasks, n_rows) in [(2, 70), (5, 70), (1, 1), (3, 7), (1, 64)] {
            for (part, rows) in rows.axis_chunks_iter(Axis(0), n_rows).enumerate() {
                let outputs = network.outputs(rows.to_owned(), n_tasks);
                let of_part = ndarray::s![part * n_rows..part * n_rows + rows.nrows(), ..];
                assert!(same(outputs.sigma.view(), whole.sigma.slice(of_part)), "{n_tasks} {n_rows}");
                let (rho, whole) = (outputs.rho.unwrap(), whole.rho.as_ref().unwrap());
                assert!(same(rho.view(), whole.slice(of_part)), "{n_tasks} {n_rows}");
            }
        }
    }
}
