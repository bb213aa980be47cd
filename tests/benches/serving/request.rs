//! One row for each model, in each form in which it can be sent.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use eyot_nn::{DataType, NamedTensor, Tensor};
use serde_json::json;

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Binary,
    Grpc,
}

impl Form {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Form::Json => "JSON",
            Form::Binary => "binary",
            Form::Grpc => "gRPC",
        }
    }
}

/// A model, its input, and how often it is asked in a round: about a second's worth.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) onnx: PathBuf,
    pub(crate) input: NamedTensor,
    /// Requests on one connection.
    pub(crate) alone: usize,
    /// Requests on each of several.
    pub(crate) each: usize,
}

/// The tiny model, and the two that `tests/python/models.py` writes.
pub(crate) fn cases() -> Result<Vec<Case>> {
    let made = std::env::var_os("EYOT_MODELS").map(PathBuf::from);
    let made = made.context("EYOT_MODELS names no folder of models: cargo xtask bench serving makes one")?;
    let named = |name: &str, tensor| NamedTensor { name: name.to_owned(), tensor };
    let digits = Tensor::of(vec![1, 64], &[3_f32; 64])?;
    // Numbers with as many digits as a picture's have.
    let pixels: Vec<f32> = (0..3 * 224 * 224).map(|at| ((at * 7919) % 65_521) as f32 / 65_521.0).collect();
    let words: Vec<i64> = (0..128).map(|at| (at * 7919) % 8192).collect();
    let image = Tensor::of(vec![1, 3, 224, 224], &pixels)?;
    let tokens = Tensor::of(vec![1, 128], &words)?;
    Ok(vec![
        Case {
            name: "digits",
            onnx: eyot_tests::fixture("digits"),
            input: named("pixels", digits),
            alone: 3000,
            each: 2000,
        },
        Case {
            name: "mobilenet",
            onnx: made.join("mobilenet.onnx"),
            input: named("image", image),
            alone: 100,
            each: 12,
        },
        Case {
            name: "bert",
            onnx: made.join("bert.onnx"),
            input: named("tokens", tokens),
            alone: 40,
            each: 5,
        },
    ])
}

impl Case {
    /// The whole request to the deployment `to` at `address`, or for gRPC its message.
    pub(crate) fn request(&self, form: Form, to: &str, address: &str) -> Result<Vec<u8>> {
        Ok(match form {
            Form::Json => {
                let body = self.json()?;
                let head = head(to, address, body.len(), "content-type: application/json\r\n");
                [head, body].concat()
            }
            Form::Binary => {
                let (json, tensor) = (self.binary_head(), self.input.tensor.bytes());
                let fields = format!("inference-header-content-length: {}\r\n", json.len());
                let head = head(to, address, json.len() + tensor.len(), &fields);
                [&head, &json, &tensor[..]].concat()
            }
            Form::Grpc => self.message(to),
        })
    }

    fn json(&self) -> Result<Vec<u8>> {
        let NamedTensor { name, tensor } = &self.input;
        let data = match tensor.dtype() {
            DataType::I64 => serde_json::to_string(&tensor.to_vec::<i64>().context("no INT64")?)?,
            // As short as FP32 can be told, as clients write it: `json!` would make FP64 of it first.
            _ => serde_json::to_string(&tensor.to_vec::<f32>().context("no FP32")?)?,
        };
        let (name, datatype, shape) = (json!(name), json!(tensor.dtype()), json!(tensor.shape()));
        let input = format!(r#"{{"name":{name},"datatype":{datatype},"shape":{shape},"data":{data}}}"#);
        Ok(format!(r#"{{"inputs":[{input}]}}"#).into_bytes())
    }

    fn binary_head(&self) -> Vec<u8> {
        let NamedTensor { name, tensor } = &self.input;
        let parameters = json!({ "binary_data_size": tensor.bytes().len() });
        let input = json!({ "name": name, "datatype": tensor.dtype(), "shape": tensor.shape(), "parameters": parameters });
        json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string().into_bytes()
    }

    /// A `ModelInferRequest` behind gRPC's prefix.
    fn message(&self, to: &str) -> Vec<u8> {
        let NamedTensor { name, tensor } = &self.input;
        let mut shape = Vec::new();
        tensor.shape().iter().for_each(|size| varint(&mut shape, *size));
        let mut input = Vec::new();
        field(&mut input, 1, name.as_bytes());
        field(&mut input, 2, tensor.dtype().as_str().as_bytes());
        field(&mut input, 3, &shape);
        let mut message = Vec::new();
        field(&mut message, 1, to.as_bytes());
        field(&mut message, 5, &input);
        field(&mut message, 7, tensor.bytes());
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&[0][..], &length, &message].concat()
    }
}

fn head(to: &str, address: &str, length: usize, fields: &str) -> Vec<u8> {
    let line = format!("POST /v2/models/{to}/infer HTTP/1.1\r\nhost: {address}\r\n");
    format!("{line}{fields}content-length: {length}\r\n\r\n").into_bytes()
}

/// A field of protobuf that has a length.
fn field(message: &mut Vec<u8>, number: u8, content: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, content.len());
    message.extend_from_slice(content);
}

fn varint(message: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}
