//! Rows as the body of a request, and answers as rows: tensors in binary, so that no digit is lost.

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{DataType, Tensor, TensorElement, TensorSpec};
use half::{bf16, f16};
use serde_json::{Value, json};

use crate::input_plan::{InputPlan, InputValues};
use crate::prediction_client::PredictionAnswer;

/// A request's body, and how much of it is JSON.
pub(crate) fn request(plan: &InputPlan, rows: &[Vec<InputValues>]) -> Result<(Bytes, usize)> {
    let mut inputs = Vec::new();
    let mut tensors = Vec::new();
    for (index, spec) in plan.specs().enumerate() {
        let parts = rows.iter().filter_map(|row| row.get(index));
        let inner = rows.first().and_then(|row| row.get(index)).map(|part| part.shape.clone());
        let inner = inner.unwrap_or_default();
        let many = (spec.shape.first() == Some(&-1)).then_some(rows.len());
        let shape: Vec<usize> = many.into_iter().chain(inner).collect();
        let before = tensors.len();
        for value in parts.flat_map(|part| &part.values) {
            write(&mut tensors, value, spec)?;
        }
        inputs.push(json!({
            "name": spec.name,
            "datatype": spec.dtype,
            "shape": shape,
            "parameters": { "binary_data_size": tensors.len() - before },
        }));
    }
    let head = json!({ "inputs": inputs, "parameters": { "binary_data_output": true } }).to_string();
    let length = head.len();
    Ok(([head.into_bytes(), tensors].concat().into(), length))
}

fn write(tensors: &mut Vec<u8>, value: &Value, spec: &TensorSpec) -> Result<()> {
    let wrong = || Error::invalid(format!("{value} is no {} for the input '{}'", spec.dtype, spec.name));
    macro_rules! whole {
        ($type:ty) => {
            <$type>::try_from(integer(value).ok_or_else(wrong)?).map_err(|_| wrong())?.to_le_bytes().to_vec()
        };
    }
    let bytes = match spec.dtype {
        DataType::F32 => single(value).ok_or_else(wrong)?.to_le_bytes().to_vec(),
        DataType::F64 => double(value).ok_or_else(wrong)?.to_le_bytes().to_vec(),
        DataType::F16 => f16::from_f64(double(value).ok_or_else(wrong)?).to_le_bytes().to_vec(),
        DataType::BF16 => bf16::from_f64(double(value).ok_or_else(wrong)?).to_le_bytes().to_vec(),
        DataType::U8 => whole!(u8),
        DataType::U16 => whole!(u16),
        DataType::U32 => whole!(u32),
        DataType::U64 => whole!(u64),
        DataType::I8 => whole!(i8),
        DataType::I16 => whole!(i16),
        DataType::I32 => whole!(i32),
        DataType::I64 => whole!(i64),
        DataType::Bool => vec![u8::from(boolean(value).ok_or_else(wrong)?)],
        DataType::Bytes => {
            // A text that is missing is an empty one, as in the file.
            let text = if value.is_null() { Some("") } else { value.as_str() };
            let text = text.ok_or_else(wrong)?.as_bytes();
            let length = u32::try_from(text.len()).map_err(|_| wrong())?;
            [&length.to_le_bytes()[..], text].concat()
        }
    };
    tensors.extend_from_slice(&bytes);
    Ok(())
}

/// Text is read as what it is to become: by way of another type it might be rounded twice.
fn single(value: &Value) -> Option<f32> {
    match value {
        Value::Null => Some(f32::NAN),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64().map(|number| number as f32),
    }
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(f64::NAN),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

/// Whole numbers, also when they are written as `3.0`.
fn integer(value: &Value) -> Option<i128> {
    let max_exact = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let rounded =
        || text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() <= max_exact);
    text.parse().ok().or_else(|| rounded().map(|number| number as i128))
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        other => match other.to_string().trim_matches('"').trim().to_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
    }
}

/// One output of an answer.
#[derive(Debug)]
pub(crate) struct OutputRows {
    pub(crate) name: String,
    /// Its values, one list for each row.
    pub(crate) rows: Vec<Vec<Value>>,
    /// The dimensions behind the first.
    pub(crate) shape: Vec<usize>,
}

/// The outputs of an answer to so many rows.
pub(crate) fn outputs(answer: &PredictionAnswer, rows: usize) -> Result<Vec<OutputRows>> {
    let strange = || Error::internal("the data plane's answer is not as the protocol has it");
    let length = answer.json.unwrap_or(answer.body.len());
    let head: Value = serde_json::from_slice(answer.body.get(..length).ok_or_else(strange)?)
        .map_err(|error| strange().because(error))?;
    let mut at = length;
    let list = head["outputs"].as_array().ok_or_else(strange)?;
    let read = list.iter().map(|output| {
        let spec: TensorSpec = serde_json::from_value(json!({
            "name": output["name"], "datatype": output["datatype"], "shape": output["shape"],
        }))
        .map_err(|error| strange().because(error))?;
        let shape: Option<Vec<usize>> = spec.shape.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let size =
            output["parameters"]["binary_data_size"].as_u64().and_then(|size| usize::try_from(size).ok());
        let (shape, size) = shape.zip(size).ok_or_else(strange)?;
        let end = at.checked_add(size).filter(|end| *end <= answer.body.len()).ok_or_else(strange)?;
        let tensor = Tensor::new(spec.dtype, shape, answer.body.slice(at..end))?;
        at = end;
        split(spec.name, &tensor, rows)
    });
    read.collect()
}

fn split(name: String, tensor: &Tensor, rows: usize) -> Result<OutputRows> {
    let values = values(tensor);
    let by_row = tensor.shape().first() == Some(&rows) && (rows > 0) && values.len().is_multiple_of(rows);
    if !by_row && rows != 1 {
        let shape = tensor.shape();
        return Err(Error::unsupported(format!(
            "output '{name}' has the shape {shape:?}, which are not {rows} rows"
        ))
        .hint("send one row in a request: --rows 1"));
    }
    let each = values.len() / rows.max(1);
    let (shape, rows) = if by_row {
        let mut values = values.into_iter();
        (tensor.shape()[1..].to_vec(), (0..rows).map(|_| values.by_ref().take(each).collect()).collect())
    } else {
        (tensor.shape().to_vec(), vec![values])
    };
    Ok(OutputRows { name, rows, shape })
}

fn values(tensor: &Tensor) -> Vec<Value> {
    fn of<T: TensorElement>(tensor: &Tensor, value: impl Fn(T) -> Value) -> Vec<Value> {
        tensor.to_vec::<T>().unwrap_or_default().into_iter().map(value).collect()
    }
    match tensor.dtype() {
        DataType::F32 => of(tensor, |value: f32| number(&value.to_string())),
        DataType::F64 => of(tensor, |value: f64| number(&value.to_string())),
        DataType::F16 => of(tensor, |value: f16| number(&value.to_string())),
        DataType::BF16 => of(tensor, |value: bf16| number(&value.to_string())),
        DataType::U8 => of(tensor, |value: u8| value.into()),
        DataType::U16 => of(tensor, |value: u16| value.into()),
        DataType::U32 => of(tensor, |value: u32| value.into()),
        DataType::U64 => of(tensor, |value: u64| value.into()),
        DataType::I8 => of(tensor, |value: i8| value.into()),
        DataType::I16 => of(tensor, |value: i16| value.into()),
        DataType::I32 => of(tensor, |value: i32| value.into()),
        DataType::I64 => of(tensor, |value: i64| value.into()),
        DataType::Bool => tensor.bytes().iter().map(|byte| (*byte != 0).into()).collect(),
        DataType::Bytes => {
            tensor.strings().map(|text| String::from_utf8_lossy(text).into_owned().into()).collect()
        }
    }
}

/// A number of as few digits as it needs. JSON has no word for what is none: there it is a text.
fn number(shortest: &str) -> Value {
    let number = shortest.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map_or_else(|| Value::from(shortest), Value::from)
}
