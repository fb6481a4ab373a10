//! [`Network`]: inference in plain Rust.

use std::sync::Arc;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use crate::checkpoint;
use crate::features::{Features, Frames};
use crate::heads::Heads;
use crate::layers::Parameter;
use crate::{Header, NnError};

/// Frames that one task takes: enough for matrix products, few enough to share out.
const BLOCK_FRAMES: usize = 64;

/// A trained network; clones share the weights, threads may share a network.
#[derive(Clone, Debug)]
pub struct Network {
    header: Header,
    features: Features,
    heads: Heads,
    layers: Arc<Vec<Layer>>,
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
        Self { header, features, heads, layers: Arc::new(layers) }
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
        let starts: Vec<usize> = (0..frames.n_frames()).step_by(BLOCK_FRAMES).collect();
        let blocks = starts
            .into_par_iter()
            .map(|start| self.estimate_block(&frames, start, nu_nmf))
            .collect::<Result<Vec<_>, _>>()?;
        let mut sigma = Array2::zeros(magnitude.raw_dim());
        let mut dof = (self.heads.n_anchors() > 0).then(|| Array2::zeros(magnitude.raw_dim()));
        for (block, part) in blocks.iter().enumerate() {
            let start = block * BLOCK_FRAMES;
            let columns = s![.., start..start + part.sigma.nrows()];
            sigma.slice_mut(columns).assign(&part.sigma.t());
            if let (Some(dof), Some(part)) = (&mut dof, &part.dof) {
                dof.slice_mut(columns).assign(&part.t());
            }
        }
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
    /// that are unknown or missing, shapes that do not fit the header, weights that are not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NnError> {
        let (header, parameters) = checkpoint::read_network(bytes)?;
        Ok(Self::from_parameters(header, parameters))
    }

    /// Outputs of the last layers for rows as [`Features::row`] makes them.
    pub(crate) fn outputs(&self, rows: Array2<f32>) -> Outputs {
        let (hidden, heads) = self.layers.split_at(self.header.network.hidden);
        let apply = |x: &Array2<f32>, layer: &Layer| x.dot(&layer.weight) + &layer.bias;
        let hidden = hidden.iter().fold(rows, |x, layer| {
            let mut y = apply(&x, layer);
            y.mapv_inplace(|y| y.max(0.0));
            y
        });
        Outputs { sigma: apply(&hidden, &heads[0]), rho: heads.get(1).map(|layer| apply(&hidden, layer)) }
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

    /// The estimate of at most [`BLOCK_FRAMES`] frames, turned: (frames, bins).
    fn estimate_block(&self, frames: &Frames, start: usize, nu_nmf: f64) -> Result<Estimate, NnError> {
        let n_frames = BLOCK_FRAMES.min(frames.n_frames() - start);
        let mut rows = Array2::zeros((n_frames, self.features.n_inputs()));
        let levels: Vec<f64> = rows
            .outer_iter_mut()
            .enumerate()
            .map(|(i, mut row)| {
                let row = row.as_slice_mut().expect("rows are contiguous");
                self.features.row(frames, start + i, nu_nmf, row)
            })
            .collect();
        let outputs = self.outputs(rows);
        let mut sigma = outputs.sigma;
        let n_anchors = self.heads.n_anchors();
        let dof = outputs.rho.map(|logits| {
            let mut rho = vec![0.0; n_anchors];
            Array2::from_shape_fn(sigma.raw_dim(), |(i, bin)| {
                let logits = logits.slice(s![i, bin * n_anchors..(bin + 1) * n_anchors]);
                self.heads.dof(logits.as_slice().expect("rows are contiguous"), &mut rho) as f32
            })
        });
        for (i, mut row) in sigma.axis_iter_mut(Axis(0)).enumerate() {
            let (frame, level) = (start + i, levels[i]);
            let gain = if level > 0.0 { 1.0 / level } else { 0.0 };
            for (bin, (out, &x)) in row.iter_mut().zip(frames.magnitudes.row(frame)).enumerate() {
                let x = (f64::from(x) * gain) as f32;
                let dof = dof.as_ref().map_or(0.0, |dof| f64::from(dof[[i, bin]]));
                *out = (self.heads.sigma(*out, x, dof, nu_nmf).value * level) as f32;
            }
            let finite = |row: ArrayView1<'_, f32>| row.iter().all(|x| x.is_finite());
            if !(finite(row.view()) && dof.iter().all(|dof| finite(dof.row(i)))) {
                return Err(NnError::Overflow { frame });
            }
        }
        Ok(Estimate { sigma, dof, beside: self.header.loss.nu_nmf(nu_nmf) })
    }
}
