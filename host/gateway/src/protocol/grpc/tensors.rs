//! Messages to tensors and back. Raw contents stay where the message was received.

use std::collections::HashMap;

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{DataType, NamedTensor, Tensor, TensorElement};

use super::pb::infer_parameter::ParameterChoice;
use super::pb::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::pb::model_infer_response::InferOutputTensor;
use super::pb::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::protocol::{
    InferRequest, ParameterValue, Prediction, RequestParameters, RequestedOutput, classify,
};

/// What a message asks for.
///
/// Fails with `Invalid`, naming the input at fault.
pub(crate) fn asked(message: ModelInferRequest) -> Result<InferRequest> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents, .. } = message;
    let mut asked = InferRequest {
        id: (!id.is_empty()).then_some(id),
        parameters: read(parameters)?,
        ..InferRequest::default()
    };
    let raw = !raw_input_contents.is_empty();
    if raw && raw_input_contents.len() != inputs.len() {
        let message =
            format!("there are {} raw_input_contents for {} inputs", raw_input_contents.len(), inputs.len());
        return Err(Error::invalid(message).hint("give one for each input, or contents in each"));
    }
    let mut raw_contents = raw_input_contents.into_iter();
    for input in inputs {
        let name = input.name.clone();
        let tensor = tensor(input, raw_contents.next());
        let tensor = tensor.map_err(|error| {
            error.context(format!("input '{}'", name.chars().take(80).collect::<String>()))
        })?;
        asked.inputs.push(NamedTensor { name, tensor });
    }
    asked.outputs = outputs.into_iter().map(wanted).collect::<Result<_>>()?;
    Ok(asked)
}

fn read(parameters: HashMap<String, InferParameter>) -> Result<RequestParameters> {
    let mut read = RequestParameters::default();
    for (name, value) in parameters {
        read.add(&name, parameter(&name, value)?)?;
    }
    Ok(read)
}

fn parameter(name: &str, value: InferParameter) -> Result<ParameterValue> {
    Ok(match value.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => ParameterValue::Bool(value),
        Some(ParameterChoice::Int64Param(value)) => ParameterValue::Integer(value),
        Some(ParameterChoice::Uint64Param(value)) => {
            i64::try_from(value).map_or(ParameterValue::Float(value as f64), ParameterValue::Integer)
        }
        Some(ParameterChoice::DoubleParam(value)) => ParameterValue::Float(value),
        Some(ParameterChoice::StringParam(value)) => ParameterValue::Text(value),
        None => return Err(Error::invalid(format!("parameter '{name}' has no value"))),
    })
}

fn wanted(output: InferRequestedOutputTensor) -> Result<RequestedOutput> {
    let mut wanted = RequestedOutput { name: output.name, ..RequestedOutput::default() };
    for (name, value) in output.parameters {
        match (name.as_str(), parameter(&name, value)?) {
            ("classification", ParameterValue::Integer(classes @ 1..)) => {
                wanted.classes = usize::try_from(classes).ok()
            }
            ("classification", _) => {
                return Err(Error::invalid("parameter 'classification' is no whole number of 1 or more"));
            }
            (name, _) if name.starts_with("shared_memory") => return Err(no_shared_memory()),
            _ => {}
        }
    }
    Ok(wanted)
}

fn no_shared_memory() -> Error {
    Error::invalid("tensors in shared memory are not taken").hint("send them in the request")
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor> {
    let dtype: DataType = input.datatype.parse()?;
    if input.parameters.keys().any(|name| name.starts_with("shared_memory")) {
        return Err(no_shared_memory());
    }
    let dim = |dim: &i64| {
        usize::try_from(*dim)
            .map_err(|_| Error::invalid(format!("its shape holds {dim}, not a whole number of 0 or more")))
    };
    let shape = input.shape.iter().map(dim).collect::<Result<Vec<_>>>()?;
    match (raw, input.contents) {
        (Some(raw), None) => Tensor::new(dtype, shape, raw),
        (Some(raw), Some(contents)) if contents == InferTensorContents::default() => {
            Tensor::new(dtype, shape, raw)
        }
        (Some(_), Some(_)) => Err(Error::invalid("it has contents, and the request has raw_input_contents")),
        (None, contents) => typed(dtype, shape, contents.unwrap_or_default()),
    }
}

/// Elements that came as numbers of protobuf. Those of a smaller type must fit it.
fn typed(dtype: DataType, shape: Vec<usize>, contents: InferTensorContents) -> Result<Tensor> {
    let used = [
        (!contents.bool_contents.is_empty(), "bool_contents"),
        (!contents.int_contents.is_empty(), "int_contents"),
        (!contents.int64_contents.is_empty(), "int64_contents"),
        (!contents.uint_contents.is_empty(), "uint_contents"),
        (!contents.uint64_contents.is_empty(), "uint64_contents"),
        (!contents.fp32_contents.is_empty(), "fp32_contents"),
        (!contents.fp64_contents.is_empty(), "fp64_contents"),
        (!contents.bytes_contents.is_empty(), "bytes_contents"),
    ];
    let place = match dtype {
        DataType::Bool => "bool_contents",
        DataType::I8 | DataType::I16 | DataType::I32 => "int_contents",
        DataType::I64 => "int64_contents",
        DataType::U8 | DataType::U16 | DataType::U32 => "uint_contents",
        DataType::U64 => "uint64_contents",
        DataType::F32 => "fp32_contents",
        DataType::F64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::F16 | DataType::BF16 => {
            return Err(Error::invalid(format!("{dtype} has no typed contents"))
                .hint("send it in raw_input_contents"));
        }
    };
    if let Some((_, other)) = used.iter().find(|(used, name)| *used && *name != place) {
        return Err(Error::invalid(format!(
            "its elements are in {other}, those of {dtype} belong into {place}"
        )));
    }
    match dtype {
        DataType::Bool => {
            let bytes: Vec<u8> = contents.bool_contents.iter().map(|value| u8::from(*value)).collect();
            counted(dtype, &shape, bytes.len())?;
            Tensor::new(dtype, shape, bytes)
        }
        DataType::I8 => narrowed::<i32, i8>(shape, &contents.int_contents),
        DataType::I16 => narrowed::<i32, i16>(shape, &contents.int_contents),
        DataType::I32 => narrowed::<i32, i32>(shape, &contents.int_contents),
        DataType::I64 => narrowed::<i64, i64>(shape, &contents.int64_contents),
        DataType::U8 => narrowed::<u32, u8>(shape, &contents.uint_contents),
        DataType::U16 => narrowed::<u32, u16>(shape, &contents.uint_contents),
        DataType::U32 => narrowed::<u32, u32>(shape, &contents.uint_contents),
        DataType::U64 => narrowed::<u64, u64>(shape, &contents.uint64_contents),
        DataType::F64 => {
            counted(dtype, &shape, contents.fp64_contents.len())?;
            Tensor::of(shape, &contents.fp64_contents)
        }
        DataType::Bytes => Tensor::of_strings(shape, &contents.bytes_contents),
        DataType::F32 | DataType::F16 | DataType::BF16 => {
            counted(dtype, &shape, contents.fp32_contents.len())?;
            Tensor::of(shape, &contents.fp32_contents)
        }
    }
}

fn counted(dtype: DataType, shape: &[usize], found: usize) -> Result<()> {
    let count = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    match count {
        Some(count) if count == found => Ok(()),
        Some(count) => Err(Error::invalid(format!(
            "{dtype} of shape {shape:?} has {count} elements, its contents {found}"
        ))),
        None => Err(Error::invalid(format!("a tensor of shape {shape:?} has too many elements"))),
    }
}

fn narrowed<W: Copy + std::fmt::Display, T: TensorElement + TryFrom<W>>(
    shape: Vec<usize>,
    values: &[W],
) -> Result<Tensor> {
    counted(T::TYPE, &shape, values.len())?;
    let mut bytes = Vec::with_capacity(size_of_val(values));
    for (index, value) in values.iter().enumerate() {
        let element = T::try_from(*value)
            .map_err(|_| Error::invalid(format!("element {index} is {value}, too large for {}", T::TYPE)))?;
        element.write(&mut bytes);
    }
    Tensor::new(T::TYPE, shape, bytes)
}

/// The message that answers. Contents are raw, as Triton's always are.
pub(crate) fn response(prediction: &Prediction) -> Result<ModelInferResponse> {
    let mut response = ModelInferResponse {
        model_name: prediction.live.revision.deployment.to_string(),
        model_version: prediction.live.version.clone(),
        id: prediction.id.clone().unwrap_or_default(),
        ..ModelInferResponse::default()
    };
    for chosen in &prediction.chosen {
        let output =
            prediction.outputs.get(chosen.position).ok_or_else(|| Error::internal("an output is missing"))?;
        let classes = chosen.classes.map(|classes| classify::best(&output.tensor, classes)).transpose();
        let classes = classes.map_err(|error| error.context(format!("output '{}'", output.name)))?;
        let tensor = classes.as_ref().unwrap_or(&output.tensor);
        response.outputs.push(InferOutputTensor {
            name: output.name.clone(),
            datatype: tensor.dtype().as_str().to_owned(),
            shape: tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            ..InferOutputTensor::default()
        });
        response.raw_output_contents.push(tensor.bytes().clone());
    }
    Ok(response)
}

/// Bytes of the tensors in an answer.
pub(crate) fn size(response: &ModelInferResponse) -> usize {
    response.raw_output_contents.iter().map(Bytes::len).sum()
}
