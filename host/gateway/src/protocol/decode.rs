//! Requests. Elements go from the text of the body into the tensor's bytes; there is no tree between.

use std::borrow::Cow;

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{DataType, Element as _, NamedTensor, Tensor};
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) inputs: Vec<NamedTensor>,
    /// The outputs that are wanted; none means all.
    pub(crate) outputs: Vec<String>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Reads the body of an infer request.
///
/// Fails with `Invalid`, naming the input and the element at fault.
pub(crate) fn request(body: &Bytes) -> Result<Asked> {
    if body.is_empty() {
        return Err(Error::invalid("the request has no body")
            .hint("send JSON: {\"inputs\": [{\"name\", \"shape\", \"datatype\", \"data\"}]}"));
    }
    let text = std::str::from_utf8(body).map_err(|_| Error::invalid("the request is not UTF-8"))?;
    let text = quote_non_finite(text);
    let request: Request<'_> = serde_json::from_str(&text)
        .map_err(|error| Error::invalid(format!("the request cannot be read: {error}")))?;
    let parameters = request.outputs.iter().flat_map(|output| output.parameters.iter());
    for (name, value) in request.parameters.iter().chain(parameters) {
        check_parameter(name, value)?;
    }
    let inputs = request.inputs.into_iter().map(tensor).collect::<Result<_>>()?;
    let outputs = request.outputs.into_iter().map(|output| output.name).collect();
    Ok(Asked { id: request.id, inputs, outputs })
}

fn check_parameter(name: &str, value: &Value) -> Result<()> {
    if matches!(name, "binary_data" | "binary_data_output") && *value == Value::Bool(true) {
        return Err(Error::invalid(format!("'{name}' is asked for, and binary tensors are not spoken here"))
            .hint("ask for JSON"));
    }
    if name.starts_with("triton_") {
        return Err(Error::invalid(format!("parameter '{name}' is reserved for Triton")));
    }
    Ok(())
}

/// Clients in Python write NaN and the infinities as bare words, which JSON does not have. Outside of
/// strings they become strings, which only floating point inputs take.
fn quote_non_finite(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        let taken = if first == '"' {
            string_length(rest)
        } else if let Some(word) = word {
            quoted.push_str(&format!("\"{word}\""));
            rest = &rest[word.len()..];
            continue;
        } else {
            first.len_utf8()
        };
        quoted.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(quoted)
}

/// The length of the JSON string at the start of `text`, both quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn tensor(input: Input<'_>) -> Result<NamedTensor> {
    let name = input.name;
    let within = |error: Error| error.context(format!("input '{name}'"));
    let dtype: DataType = input.datatype.parse().map_err(within)?;
    if input.parameters.contains_key("binary_data_size")
        || input.parameters.contains_key("shared_memory_region")
    {
        return Err(within(
            Error::invalid("its elements are not in the request's JSON").hint("send them as 'data'"),
        ));
    }
    let data = input.data.ok_or_else(|| within(Error::invalid("it has no 'data'")))?;
    let count = input.shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let mut scanner = Scanner { rest: data.get(), dtype, bytes: Vec::new(), count: 0, lengths: Vec::new() };
    scanner.run().map_err(within)?;
    if count != Some(scanner.count) {
        let wanted = count.map_or_else(|| "too many".to_owned(), |count| count.to_string());
        let message = format!("shape {:?} has {wanted} elements, the data {}", input.shape, scanner.count);
        return Err(within(Error::invalid(message)));
    }
    let tensor = Tensor::new(dtype, input.shape, scanner.bytes).map_err(within)?;
    Ok(NamedTensor { name, tensor })
}

/// Deeper than any tensor; what is deeper is an attack on somebody's stack.
const DEPTH: usize = 32;

/// Goes over an array, nested or flat, that is known to be JSON.
struct Scanner<'a> {
    rest: &'a str,
    dtype: DataType,
    bytes: Vec<u8>,
    count: usize,
    /// The length that every array of a depth has, once one of them has ended.
    lengths: Vec<Option<usize>>,
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<()> {
        if !self.rest.starts_with('[') {
            return Err(Error::invalid(format!("its data is {}, not an array", shown(self.rest))));
        }
        let mut open: Vec<usize> = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t', ',']);
            let Some(first) = self.rest.bytes().next() else { return Ok(()) };
            match first {
                b'[' => {
                    if let Some(length) = open.last_mut() {
                        *length += 1;
                    }
                    open.push(0);
                    if open.len() > DEPTH {
                        return Err(Error::invalid(format!("its data is nested deeper than {DEPTH}")));
                    }
                    self.rest = &self.rest[1..];
                }
                b']' => {
                    let length = open.pop().unwrap_or_default();
                    self.ended(open.len(), length)?;
                    self.rest = &self.rest[1..];
                }
                _ => {
                    if let Some(length) = open.last_mut() {
                        *length += 1;
                    }
                    self.element()?;
                }
            }
        }
    }

    fn ended(&mut self, depth: usize, length: usize) -> Result<()> {
        if self.lengths.len() <= depth {
            self.lengths.resize(depth + 1, None);
        }
        match self.lengths[depth] {
            Some(earlier) if earlier != length => Err(Error::invalid(format!(
                "its data is ragged: arrays of {earlier} and of {length} side by side"
            ))),
            _ => {
                self.lengths[depth] = Some(length);
                Ok(())
            }
        }
    }

    fn element(&mut self) -> Result<()> {
        let length = match self.rest.as_bytes().first() {
            Some(b'"') => string_length(self.rest),
            Some(b'{') => return Err(self.wrong(self.rest, "an object")),
            _ => self.rest.find([',', ']', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len()),
        };
        let (token, rest) = self.rest.split_at(length);
        self.write(token)?;
        self.count += 1;
        self.rest = rest;
        Ok(())
    }

    fn wrong(&self, token: &str, why: &str) -> Error {
        Error::invalid(format!("element {} is {}, {why}", self.count, shown(token)))
    }

    fn write(&mut self, token: &str) -> Result<()> {
        macro_rules! integer {
            ($type:ty) => {{
                let value: $type = token.parse().map_err(|_| {
                    self.wrong(
                        token,
                        &format!("not a whole number from {} to {}", <$type>::MIN, <$type>::MAX),
                    )
                })?;
                value.write(&mut self.bytes);
            }};
        }
        match self.dtype {
            DataType::Bool => match token {
                "true" => self.bytes.push(1),
                "false" => self.bytes.push(0),
                _ => return Err(self.wrong(token, "neither true nor false")),
            },
            DataType::U8 => integer!(u8),
            DataType::U16 => integer!(u16),
            DataType::U32 => integer!(u32),
            DataType::U64 => integer!(u64),
            DataType::I8 => integer!(i8),
            DataType::I16 => integer!(i16),
            DataType::I32 => integer!(i32),
            DataType::I64 => integer!(i64),
            DataType::F16 => f16::from_f64(self.float(token)?).write(&mut self.bytes),
            DataType::BF16 => bf16::from_f64(self.float(token)?).write(&mut self.bytes),
            // Read as FP32 at once: by way of FP64 a number half way between two would be rounded twice.
            DataType::F32 => {
                self.float(token)?;
                token.trim_matches('"').parse::<f32>().unwrap_or(f32::NAN).write(&mut self.bytes);
            }
            DataType::F64 => self.float(token)?.write(&mut self.bytes),
            DataType::Bytes => {
                let text: String =
                    serde_json::from_str(token).map_err(|_| self.wrong(token, "not a string"))?;
                let length = u32::try_from(text.len()).map_err(|_| self.wrong(token, "longer than 4 GiB"))?;
                self.bytes.extend_from_slice(&length.to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn float(&self, token: &str) -> Result<f64> {
        match token {
            "\"NaN\"" => return Ok(f64::NAN),
            "\"Infinity\"" => return Ok(f64::INFINITY),
            "\"-Infinity\"" => return Ok(f64::NEG_INFINITY),
            _ if !token.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                return Err(self.wrong(token, "not a number"));
            }
            _ => {}
        }
        let value: f64 = token.parse().map_err(|_| self.wrong(token, "not a number"))?;
        if value.is_infinite() { Err(self.wrong(token, "out of range")) } else { Ok(value) }
    }
}

fn shown(token: &str) -> String {
    let mut text: String = token.chars().take(40).collect();
    if text.len() < token.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn body(dtype: &str, shape: &str, data: &str) -> Bytes {
        format!(r#"{{"inputs": [{{"data": {data}, "name": "x", "datatype": "{dtype}", "shape": {shape}}}]}}"#)
            .into()
    }

    fn decoded(dtype: &str, shape: &str, data: &str) -> Result<Tensor> {
        request(&body(dtype, shape, data)).map(|mut asked| asked.inputs.remove(0).tensor)
    }

    #[test]
    fn nested_and_flat_are_the_same() {
        let expected = Tensor::of(vec![2, 2], &[1.5_f32, -2.0, 3e2, 0.0]).unwrap();
        for data in ["[1.5,-2,3e2,0]", "[[1.5, -2.0],\n[300, 0.0]]", "[[[1.5,-2]],[[300,0]]]"] {
            assert_eq!(decoded("FP32", "[2,2]", data).unwrap(), expected, "{data}");
        }
        assert_eq!(decoded("FP32", "[0,3]", "[]").unwrap().count(), 0);
        assert_eq!(
            decoded("INT64", "[]", "[9223372036854775807]").unwrap().to_vec::<i64>().unwrap(),
            [i64::MAX]
        );
        assert_eq!(
            decoded("UINT64", "[1]", "[18446744073709551615]").unwrap().to_vec::<u64>().unwrap(),
            [u64::MAX]
        );
        let strings = decoded("BYTES", "[3]", r#"["a,]\"", "é\u00e9", "NaN"]"#).unwrap();
        assert_eq!(strings.strings().collect::<Vec<_>>(), ["a,]\"".as_bytes(), "éé".as_bytes(), b"NaN"]);
    }

    #[test]
    fn python_writes_numbers_that_json_does_not_have() {
        let values =
            decoded("FP32", "[4]", "[NaN, Infinity, -Infinity, 3.4e39]").unwrap().to_vec::<f32>().unwrap();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
        // Half way between two FP32 by way of FP64.
        let tie = decoded("FP32", "[1]", "[1.00000017881393432617187499]").unwrap().to_vec::<f32>().unwrap();
        assert_eq!(tie, [1.000_000_1]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (dtype, shape, data, says) in [
            ("FP32", "[2]", r#"[1,"a"]"#, r#"input 'x': element 1 is "a", not a number"#),
            ("FP32", "[2]", "[1,null]", "input 'x': element 1 is null, not a number"),
            ("FP32", "[1]", "[true]", "input 'x': element 0 is true, not a number"),
            ("FP32", "[1]", "[1e400]", "input 'x': element 0 is 1e400, out of range"),
            ("FP32", "[1]", "[{}]", "input 'x': element 0 is {}], an object"),
            ("FP32", "[1]", "1", "input 'x': its data is 1, not an array"),
            ("UINT8", "[1]", "[300]", "input 'x': element 0 is 300, not a whole number from 0 to 255"),
            ("INT8", "[1]", "[1.5]", "input 'x': element 0 is 1.5, not a whole number from -128 to 127"),
            ("BOOL", "[1]", "[1]", "input 'x': element 0 is 1, neither true nor false"),
            ("BYTES", "[1]", "[1]", "input 'x': element 0 is 1, not a string"),
            ("FP32", "[2]", "[1]", "input 'x': shape [2] has 2 elements, the data 1"),
            (
                "FP32",
                "[2,2]",
                "[[1,2,3],[4]]",
                "input 'x': its data is ragged: arrays of 3 and of 1 side by side",
            ),
            (
                "FP32",
                "[9223372036854775807,9]",
                "[1]",
                "input 'x': shape [9223372036854775807, 9] has too many elements, the data 1",
            ),
            ("fp32", "[1]", "[1]", "input 'x': 'fp32' is no datatype"),
        ] {
            assert_eq!(decoded(dtype, shape, data).unwrap_err().chain(), says);
        }
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert!(decoded("FP32", "[1]", &deep).unwrap_err().chain().contains("nested deeper"));
        for (body, says) in [
            ("", "has no body"),
            ("{", "cannot be read: EOF while parsing"),
            ("[]", "cannot be read"),
            ("{}", "missing field `inputs`"),
            (
                r#"{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": []}]}"#,
                "cannot be read: invalid value",
            ),
            (
                r#"{"inputs": [{"name": "x", "shape": [1.5], "datatype": "FP32", "data": []}]}"#,
                "cannot be read: invalid type",
            ),
            (
                r#"{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}"#,
                "input 'x': it has no 'data'",
            ),
            (r#"{"inputs": [], "id": 7}"#, "cannot be read: invalid type"),
            (r#"{"inputs": [], "parameters": {"triton_x": 1}}"#, "reserved for Triton"),
            (
                r#"{"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": true}}]}"#,
                "binary tensors",
            ),
            (r#"{"inputs": []} trailing"#, "cannot be read: trailing characters"),
        ] {
            let error = request(&Bytes::from_static(body.as_bytes())).unwrap_err().chain();
            assert!(error.contains(says), "{body}: {error}");
        }
    }
}
