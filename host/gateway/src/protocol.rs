//! The Open Inference Protocol's bodies, to and from tensors: JSON, and the binary extension.

pub(crate) mod classify;
pub(crate) mod compress;
mod decimal;
pub(crate) mod elements;
pub(crate) mod encode;
pub(crate) mod grpc;
pub(crate) mod identity;
pub(crate) mod json;
pub(crate) mod metadata;
pub(crate) mod openapi;
#[cfg(test)]
mod properties;
pub(crate) mod raw;
pub(crate) mod request;

use std::sync::Arc;
use std::time::Duration;

use eyot_core::{ByteCount, Error, Result};
use eyot_nn::{ModelSignature, NamedTensor, RequestPriority};

use crate::serving::endpoint::ServingRevision;
use encode::NonFinite;

/// What was asked, however it came.
#[derive(Debug, Default)]
pub(crate) struct InferRequest {
    pub(crate) id: Option<String>,
    pub(crate) parameters: RequestParameters,
    pub(crate) inputs: Vec<NamedTensor>,
    /// The outputs that are wanted; none means all.
    pub(crate) outputs: Vec<RequestedOutput>,
}

/// An output that is wanted, and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestedOutput {
    pub(crate) name: String,
    /// Binary or not; the request's default where it does not say.
    pub(crate) binary: Option<bool>,
    /// The best so many classes instead of the tensor.
    pub(crate) classes: Option<usize>,
}

/// The value of a request's parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParameterValue {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

/// The parameters of a request, those that mean something here taken out.
#[derive(Debug, Default)]
pub(crate) struct RequestParameters {
    /// How long the caller waits.
    pub(crate) timeout: Option<Duration>,
    /// How urgent it is among others for the same model.
    pub(crate) priority: RequestPriority,
    /// Outputs are binary where they do not say otherwise.
    pub(crate) binary: bool,
    /// How numbers are written in JSON that are not finite, where that was said.
    pub(crate) non_finite: Option<NonFinite>,
    /// All others; routes may be chosen by them.
    pub(crate) others: Vec<(String, ParameterValue)>,
}

impl RequestParameters {
    /// Takes one in. Fails for what is reserved, and for a value that means nothing.
    pub(crate) fn add(&mut self, name: &str, value: ParameterValue) -> Result<()> {
        match (name, value) {
            ("binary_data_output", ParameterValue::Bool(binary)) => self.binary = binary,
            ("allow_nan", ParameterValue::Bool(true)) => self.non_finite = Some(NonFinite::Words),
            ("allow_nan", ParameterValue::Bool(false)) => self.non_finite = Some(NonFinite::Null),
            ("allow_nan", _) => {
                let error = Error::invalid("parameter 'allow_nan' is neither true nor false");
                return Err(
                    error.hint("with true, NaN and Infinity are written bare, where else they are null")
                );
            }
            // A stream's answers are its clients' whole answers, and always say that they are the last.
            ("triton_enable_empty_final_response", ParameterValue::Bool(_)) => {}
            ("timeout", ParameterValue::Integer(microseconds)) => {
                let microseconds = u64::try_from(microseconds);
                let microseconds =
                    microseconds.map_err(|_| Error::invalid("parameter 'timeout' is negative"))?;
                // 0 is no wish, as in Triton.
                self.timeout = (microseconds > 0).then(|| Duration::from_micros(microseconds));
            }
            ("binary_data_output", _) => {
                return Err(Error::invalid("parameter 'binary_data_output' is neither true nor false"));
            }
            ("priority", ParameterValue::Integer(number)) => {
                let number = u32::try_from(number);
                let number =
                    number.map_err(|_| Error::invalid("parameter 'priority' is negative or too large"))?;
                self.priority = RequestPriority::of(number);
            }
            ("priority", _) => return Err(Error::invalid("parameter 'priority' is no whole number")),
            ("timeout", _) => {
                let error = Error::invalid("parameter 'timeout' is no whole number");
                return Err(error.hint("it is the time to wait, in microseconds"));
            }
            (name, _) if name.starts_with("triton_") => {
                return Err(Error::invalid(format!("parameter '{name}' is reserved for Triton")));
            }
            (name, value) => self.others.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// One of those that mean nothing here, as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.others.iter().find(|(other, _)| other == name)?;
        Some(match value {
            ParameterValue::Bool(value) => value.to_string(),
            ParameterValue::Integer(value) => value.to_string(),
            ParameterValue::Float(value) => value.to_string(),
            ParameterValue::Text(value) => value.clone(),
        })
    }
}

/// An output that will be answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SelectedOutput {
    /// Its place in the signature.
    pub(crate) position: usize,
    pub(crate) binary: bool,
    pub(crate) classes: Option<usize>,
}

/// A prediction, ready to be written.
pub(crate) struct Prediction {
    pub(crate) live: Arc<ServingRevision>,
    /// The client's own name for its request.
    pub(crate) id: Option<String>,
    pub(crate) outputs: Vec<NamedTensor>,
    pub(crate) chosen: Vec<SelectedOutput>,
    pub(crate) non_finite: NonFinite,
}

/// The outputs that are wanted, in the order asked for; all when none is named.
pub(crate) fn choose(
    signature: &ModelSignature,
    asked: &[RequestedOutput],
    binary: bool,
) -> Result<Vec<SelectedOutput>> {
    if asked.is_empty() {
        return Ok((0..signature.outputs.len())
            .map(|position| SelectedOutput { position, binary, classes: None })
            .collect());
    }
    let find = |wanted: &RequestedOutput| {
        let position =
            signature.outputs.iter().position(|spec| spec.name == wanted.name).ok_or_else(|| {
                let shown: String = wanted.name.chars().take(80).collect();
                let known: Vec<_> = signature.outputs.iter().map(|spec| format!("'{}'", spec.name)).collect();
                Error::invalid(format!("there is no output '{shown}'"))
                    .hint(format!("outputs are {}", known.join(", ")))
            })?;
        Ok(SelectedOutput { position, binary: wanted.binary.unwrap_or(binary), classes: wanted.classes })
    };
    asked.iter().map(find).collect()
}

/// The error for bodies larger than the limit, on the wire or decompressed.
pub(crate) fn too_large(limit: u64) -> Error {
    let limit = ByteCount(limit);
    Error::too_large(format!("the request's body is larger than {limit}"))
        .hint("send fewer rows in one request, or raise gateway.max-body")
}
