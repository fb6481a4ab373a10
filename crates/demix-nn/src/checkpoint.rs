//! Networks and interrupted trainings as bytes: safetensors, with a JSON object under `demix` in the metadata.
//!
//! A network: `{"header": {..}}` and one tensor of f32 for every parameter. An interrupted training has also
//! `"training": {"settings": {..}, "step": ..}` and, as many as there are, the optimiser's memories and the running mean as
//! tensors `first.NAME`, `second.NAME` and `mean.NAME`.
//! Nothing is allocated before the sizes that a file claims are compared with its length.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

use crate::header::{nothing_left, object, settings, take};
use crate::layers::{self, Parameter};
use crate::{Header, NnError, TrainSettings};
use demix_signal::settings::Settings as _;

/// Name of the JSON object in the metadata.
const KEY: &str = "demix";

/// All that goes on when a training goes on.
#[derive(Debug)]
pub(crate) struct Training {
    pub header: Header,
    pub settings: TrainSettings,
    /// Steps that are done.
    pub step: u64,
    /// The step before which the optimiser's memories were empty.
    pub began: u64,
    pub parameters: Vec<Parameter>,
    /// With the parameters' names and shapes, as [`TrainSettings::memories`] lists them.
    pub memories: Vec<Vec<Parameter>>,
}

pub(crate) fn write_network(header: &Header, parameters: &[Parameter]) -> Vec<u8> {
    write(serde_json::json!({ "header": header.to_json() }), parameters.iter().map(|p| (p.name.clone(), p)))
}

pub(crate) fn read_network(bytes: &[u8]) -> Result<(Header, Vec<Parameter>), NnError> {
    let (mut fields, mut tensors) = read(bytes)?;
    let header = Header::from_json(take(&mut fields, "header")?)?;
    if fields.contains_key("training") {
        return Err(NnError::Checkpoint(
            "these bytes are an interrupted training, not a network: resume it, or take the network beside it".into(),
        ));
    }
    nothing_left(&fields, "metadata")?;
    let parameters = take_parameters(&mut tensors, &header, "")?;
    no_tensor_left(&tensors)?;
    Ok((header, parameters))
}

pub(crate) fn write_training(training: &Training) -> Vec<u8> {
    let json = serde_json::json!({
        "header": training.header.to_json(),
        "training": { "settings": training.settings.values(), "step": training.step, "began": training.began },
    });
    let parameters = training.parameters.iter().map(|p| (p.name.clone(), p));
    let memories = training
        .memories
        .iter()
        .zip(training.settings.memories())
        .flat_map(|(memory, prefix)| memory.iter().map(move |p| (format!("{prefix}.{}", p.name), p)));
    write(json, parameters.chain(memories))
}

pub(crate) fn read_training(bytes: &[u8]) -> Result<Training, NnError> {
    let (mut fields, mut tensors) = read(bytes)?;
    let header = Header::from_json(take(&mut fields, "header")?)?;
    let mut training = object(
        fields.shift_remove("training").ok_or_else(|| {
            NnError::Checkpoint("these bytes are a network, not an interrupted training".into())
        })?,
        "training",
    )?;
    nothing_left(&fields, "metadata")?;
    let settings: TrainSettings = settings(take(&mut training, "settings")?, "training settings")?;
    let mut steps = |name: &str| {
        take(&mut training, name)?
            .as_u64()
            .filter(|&step| step < 1 << 48)
            .ok_or_else(|| NnError::Checkpoint(format!("the checkpoint's '{name}' is not a number of steps")))
    };
    let (step, began) = (steps("step")?, steps("began")?);
    if began > step {
        return Err(NnError::Checkpoint(format!("its memories began at step {began}, {step} are done")));
    }
    nothing_left(&training, "training")?;
    let parameters = take_parameters(&mut tensors, &header, "")?;
    let memories = settings
        .memories()
        .iter()
        .map(|prefix| take_parameters(&mut tensors, &header, &format!("{prefix}.")))
        .collect::<Result<_, _>>()?;
    no_tensor_left(&tensors)?;
    Ok(Training { header, settings, step, began, parameters, memories })
}

fn write<'a>(json: Value, tensors: impl Iterator<Item = (String, &'a Parameter)>) -> Vec<u8> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .map(|(name, parameter)| {
            let bytes = parameter.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let shape = if name.ends_with(".bias") { &parameter.shape[1..] } else { &parameter.shape[..] };
            (name, shape.to_vec(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view =
            TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as the shape says");
        (name, view)
    });
    let metadata = HashMap::from([(KEY.to_string(), json.to_string())]);
    safetensors::serialize(views, Some(metadata)).expect("a header below 100 MB")
}

type Tensors<'a> = HashMap<String, TensorView<'a>>;

fn read(bytes: &[u8]) -> Result<(serde_json::Map<String, Value>, Tensors<'_>), NnError> {
    let broken = |problem: &dyn std::fmt::Display| {
        NnError::Checkpoint(format!(
            "{} bytes are no whole checkpoint ({problem}): the file is damaged, cut short or of another kind",
            bytes.len()
        ))
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| broken(&error))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(&error))?;
    let json = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let json = json.ok_or_else(|| {
        NnError::Checkpoint(format!(
            "the file has tensors, but no '{KEY}' in its metadata: it is no checkpoint of ours"
        ))
    })?;
    let json = serde_json::from_str(json).map_err(|error| broken(&error))?;
    Ok((object(json, "metadata")?, tensors.tensors().into_iter().collect()))
}

/// Takes the parameters out, in their order, whose names follow `prefix`.
fn take_parameters(
    tensors: &mut Tensors<'_>,
    header: &Header,
    prefix: &str,
) -> Result<Vec<Parameter>, NnError> {
    let take = |(name, shape): (String, [usize; 2])| {
        let full = format!("{prefix}{name}");
        let tensor = tensors
            .remove(&full)
            .ok_or_else(|| NnError::Checkpoint(format!("the checkpoint has no tensor '{full}'")))?;
        let expected = if name.ends_with(".bias") { &shape[1..] } else { &shape[..] };
        if tensor.shape() != expected || tensor.dtype() != Dtype::F32 {
            return Err(NnError::Checkpoint(format!(
                "tensor '{full}' of the checkpoint is {} {:?}, its header asks for F32 {expected:?}",
                tensor.dtype(),
                tensor.shape(),
            )));
        }
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Parameter { name, shape, values }),
            Some(place) => Err(NnError::Checkpoint(format!(
                "tensor '{full}' of the checkpoint is {} at {place}: weights are finite",
                values[place]
            ))),
        }
    };
    layers::shapes(header).into_iter().map(take).collect()
}

fn no_tensor_left(tensors: &Tensors<'_>) -> Result<(), NnError> {
    // the same name every time, though a map has no order
    match tensors.keys().min() {
        None => Ok(()),
        Some(name) => Err(NnError::Checkpoint(format!(
            "the checkpoint has a tensor '{name}' that its header does not ask for"
        ))),
    }
}
