//! Infer requests over HTTP. JSON elements go from the text of the body into the tensor's bytes, and
//! binary tensors are slices of the body.

use std::borrow::Cow;

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{DataType, NamedTensor, Tensor};

use crate::protocol::elements::{self, malformed};
use crate::protocol::encode::NonFinite;
use crate::protocol::json::{JsonError, JsonReader};
use crate::protocol::{InferRequest, ParameterValue, RequestedOutput};

impl From<JsonError> for Error {
    fn from(wrong: JsonError) -> Self {
        malformed(wrong)
    }
}

/// Reads the body of an infer request: JSON, and behind it binary tensors when `header` says how long
/// the JSON is.
///
/// Fails with `Invalid`, naming the input and the element at fault.
pub(crate) fn read(body: &Bytes, header: Option<usize>) -> Result<InferRequest> {
    let length = header.unwrap_or(body.len());
    let text = body.get(..length).ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length is {length}, and the body has {} bytes",
            body.len()
        ))
    })?;
    if text.is_empty() {
        return Err(Error::invalid("the request has no body")
            .hint("send JSON: {\"inputs\": [{\"name\", \"shape\", \"datatype\", \"data\"}]}"));
    }
    let text = std::str::from_utf8(text).map_err(|_| Error::invalid("the request's JSON is not UTF-8"))?;
    let mut asked = InferRequest::default();
    let mut drafts = None;
    let mut reader = JsonReader::new(text);
    // Clients that write every field they know write null for what they have not.
    reader.object(|reader, field| match &*field {
        "id" | "parameters" | "outputs" if reader.null() => Ok(()),
        "id" => {
            asked.id = Some(reader.string().map_err(|wrong| within("'id'", wrong.into()))?.into_owned());
            Ok(())
        }
        "parameters" => parameters(reader, |name, value| asked.parameters.add(name, value)),
        "inputs" => {
            let mut found = Vec::new();
            reader.array(|reader| InputDraft::read(reader, text).map(|draft| found.push(draft)))?;
            once(&mut drafts, found, "inputs")
        }
        "outputs" => reader.array(|reader| {
            asked.outputs.push(output(reader)?);
            Ok::<_, Error>(())
        }),
        _ => Ok(reader.skip()?),
    })?;
    reader.end()?;
    if reader.has_words() {
        // Whoever writes them reads them.
        asked.parameters.non_finite.get_or_insert(NonFinite::Words);
    }
    let drafts = drafts.ok_or_else(|| Error::invalid("the request has no 'inputs'"))?;
    let mut tensors = body.slice(length..);
    for draft in drafts {
        asked.inputs.push(draft.finish(&mut tensors)?);
    }
    if !tensors.is_empty() {
        return Err(Error::invalid(format!("{} bytes follow the last binary tensor", tensors.len())));
    }
    Ok(asked)
}

fn within(what: &str, error: Error) -> Error {
    error.context(what)
}

fn once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!("'{name}' is given twice"))),
    }
}

fn parameters(
    reader: &mut JsonReader<'_>,
    mut add: impl FnMut(&str, ParameterValue) -> Result<()>,
) -> Result<()> {
    reader.object(|reader, name| {
        let value = match reader.peek() {
            Some(b'"') => ParameterValue::Text(reader.string()?.into_owned()),
            Some(b't') if reader.literal("true") => ParameterValue::Bool(true),
            Some(b'f') if reader.literal("false") => ParameterValue::Bool(false),
            _ => match reader.integer::<i64>() {
                Some(value) => ParameterValue::Integer(value),
                None => reader.float::<f64>().map(ParameterValue::Float).ok_or_else(|| {
                    let shown = reader.shown();
                    Error::invalid(format!(
                        "parameter '{name}' is {shown}, neither a string, a number nor a boolean"
                    ))
                })?,
            },
        };
        add(&name, value)
    })
}

fn output(reader: &mut JsonReader<'_>) -> Result<RequestedOutput> {
    let (mut name, mut wanted) = (None, RequestedOutput::default());
    reader.object(|reader, field| match &*field {
        "name" => once(&mut name, reader.string()?.into_owned(), "name"),
        "parameters" if reader.null() => Ok(()),
        "parameters" => parameters(reader, |name, value| match (name, value) {
            ("binary_data", ParameterValue::Bool(binary)) => {
                wanted.binary = Some(binary);
                Ok(())
            }
            ("classification", ParameterValue::Integer(classes @ 1..)) => {
                wanted.classes = usize::try_from(classes).ok();
                Ok(())
            }
            ("binary_data", _) => Err(Error::invalid("parameter 'binary_data' is neither true nor false")),
            ("classification", _) => {
                Err(Error::invalid("parameter 'classification' is no whole number of 1 or more"))
            }
            (name, _) if name.starts_with("shared_memory") => Err(no_shared_memory()),
            _ => Ok(()),
        }),
        _ => Ok(reader.skip()?),
    })?;
    wanted.name = name.ok_or_else(|| Error::invalid("an output has no 'name'"))?;
    Ok(wanted)
}

fn no_shared_memory() -> Error {
    Error::invalid("tensors in shared memory are not taken").hint("send them in the request's body")
}

/// An input as far as its JSON tells it.
#[derive(Default)]
struct InputDraft<'a> {
    name: Option<Cow<'a, str>>,
    dtype: Option<DataType>,
    shape: Option<Vec<usize>>,
    elements: Option<Vec<u8>>,
    /// Where data begins that came before it was known what it is.
    data: Option<(&'a str, usize)>,
    binary: Option<usize>,
}

impl<'a> InputDraft<'a> {
    fn read(reader: &mut JsonReader<'a>, text: &'a str) -> Result<Self> {
        let mut draft = Self::default();
        let read = reader.object(|reader, field| draft.field(reader, text, &field));
        read.map_err(|error| draft.within(error))?;
        Ok(draft)
    }

    fn field(&mut self, reader: &mut JsonReader<'a>, text: &'a str, field: &str) -> Result<()> {
        match field {
            "name" => once(&mut self.name, reader.string()?, "name"),
            "parameters" | "data" if reader.null() => Ok(()),
            "datatype" => {
                let dtype = reader.string()?.parse()?;
                once(&mut self.dtype, dtype, "datatype")
            }
            "shape" => {
                let mut shape = Vec::with_capacity(4);
                reader.array(|reader| {
                    let dim = reader.unsigned().ok().and_then(|dim| usize::try_from(dim).ok());
                    let wrong = |reader: &mut JsonReader<'_>| {
                        Error::invalid(format!(
                            "its shape holds {}, not a whole number of 0 or more",
                            reader.shown()
                        ))
                    };
                    shape.push(dim.ok_or_else(|| wrong(reader))?);
                    Ok::<_, Error>(())
                })?;
                once(&mut self.shape, shape, "shape")
            }
            "parameters" => parameters(reader, |name, value| match (name, value) {
                ("binary_data_size", ParameterValue::Integer(size @ 0..)) => {
                    once(&mut self.binary, usize::try_from(size).unwrap_or(usize::MAX), "binary_data_size")
                }
                ("binary_data_size", _) => {
                    Err(Error::invalid("its binary_data_size is no whole number of 0 or more"))
                }
                (name, _) if name.starts_with("shared_memory") => Err(no_shared_memory()),
                _ => Ok(()),
            }),
            "data" if self.elements.is_some() || self.data.is_some() => {
                Err(Error::invalid("'data' is given twice"))
            }
            "data" => match (&self.shape, self.dtype) {
                (Some(shape), Some(dtype)) => {
                    self.elements = Some(data(reader, dtype, shape)?);
                    Ok(())
                }
                _ => {
                    reader.peek();
                    self.data = Some((text, reader.position()));
                    Ok(reader.skip()?)
                }
            },
            _ => Ok(reader.skip()?),
        }
    }

    fn within(&self, error: Error) -> Error {
        match &self.name {
            Some(name) => {
                let shown: String = name.chars().take(80).collect();
                within(&format!("input '{shown}'"), error)
            }
            None => within("an input", error),
        }
    }

    /// The tensor; one that is binary is cut off the front of `tensors`.
    fn finish(mut self, tensors: &mut Bytes) -> Result<NamedTensor> {
        let tensor = self.tensor(tensors).map_err(|error| self.within(error))?;
        let name = self.name.ok_or_else(|| Error::invalid("an input has no 'name'"))?;
        Ok(NamedTensor { name: name.into_owned(), tensor })
    }

    fn tensor(&mut self, tensors: &mut Bytes) -> Result<Tensor> {
        let missing = |what: &str| Error::invalid(format!("it has no '{what}'"));
        let dtype = self.dtype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.take().ok_or_else(|| missing("shape"))?;
        if let Some((text, at)) = self.data {
            self.elements = Some(data(&mut JsonReader::from(text, at), dtype, &shape)?);
        }
        match (self.elements.take(), self.binary) {
            (Some(elements), None) => Tensor::new(dtype, shape, elements),
            (None, Some(size)) if size <= tensors.len() => Tensor::new(dtype, shape, tensors.split_to(size)),
            (None, Some(size)) => Err(Error::invalid(format!(
                "its binary_data_size is {size}, and {} bytes are left",
                tensors.len()
            ))),
            (None, None) => {
                Err(missing("data").hint("elements are sent as 'data', or binary with a binary_data_size"))
            }
            (Some(_), Some(_)) => Err(Error::invalid("it has both 'data' and a binary_data_size")),
        }
    }
}

fn data(reader: &mut JsonReader<'_>, dtype: DataType, shape: &[usize]) -> Result<Vec<u8>> {
    let count = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    let count =
        count.ok_or_else(|| Error::invalid(format!("a tensor of shape {shape:?} has too many elements")))?;
    elements::read(reader, dtype, count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn decoded(dtype: &str, shape: &str, data: &str) -> Result<Tensor> {
        let last = format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "{dtype}", "shape": {shape}, "data": {data}}}]}}"#
        );
        let first = format!(
            r#"{{"inputs": [{{"data": {data}, "name": "x", "datatype": "{dtype}", "shape": {shape}}}]}}"#
        );
        let [last, first] =
            [last, first].map(|text| read(&text.into(), None).map(|mut asked| asked.inputs.remove(0).tensor));
        assert_eq!(last.as_ref().ok(), first.as_ref().ok(), "order does not matter");
        last
    }

    #[test]
    fn nested_and_flat_are_the_same() {
        let expected = Tensor::of(vec![2, 2], &[1.5_f32, -2.0, 3e2, 0.0]).unwrap();
        for data in ["[1.5,-2,3e2,0]", "[[1.5, -2.0],\n[300, 0.0]]", "[[[1.5,-2]],[[300,0]]]"] {
            assert_eq!(decoded("FP32", "[2,2]", data).unwrap(), expected, "{data}");
        }
        for data in ["[]", "[[]]", "[[],[]]"] {
            assert_eq!(decoded("FP32", "[0,3]", data).unwrap().count(), 0, "{data}");
        }
        assert_eq!(
            decoded("INT64", "[]", "[9223372036854775807]").unwrap().to_vec::<i64>().unwrap(),
            [i64::MAX]
        );
        assert_eq!(
            decoded("UINT64", "[1]", "[18446744073709551615]").unwrap().to_vec::<u64>().unwrap(),
            [u64::MAX]
        );
        assert_eq!(decoded("BOOL", "[2]", "[true, false]").unwrap().bytes().to_vec(), [1, 0]);
        let strings = decoded("BYTES", "[3]", r#"["a,]\"", "é\u00e9", "NaN"]"#).unwrap();
        assert_eq!(strings.strings().collect::<Vec<_>>(), ["a,]\"".as_bytes(), "éé".as_bytes(), b"NaN"]);
    }

    #[test]
    fn python_writes_numbers_that_json_does_not_have() {
        let values =
            decoded("FP32", "[4]", "[NaN, Infinity, -Infinity, 3.4e39]").unwrap().to_vec::<f32>().unwrap();
        assert!(values[0].is_nan());
        let wanted = |parameters: &str, data: &str| {
            let body = format!(
                r#"{{{parameters} "inputs": [{{"name": "x", "shape": [1], "datatype": "FP32", "data": [{data}]}}]}}"#
            );
            read(&body.into(), None).unwrap().parameters.non_finite
        };
        assert_eq!(wanted("", "NaN"), Some(NonFinite::Words), "whoever writes them reads them");
        assert_eq!(wanted("", "null"), None);
        assert_eq!(wanted(r#""parameters": {"allow_nan": true},"#, "1"), Some(NonFinite::Words));
        assert_eq!(wanted(r#""parameters": {"allow_nan": false},"#, "NaN"), Some(NonFinite::Null));
        assert_eq!(values[1..], [f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY]);
    }

    #[test]
    fn what_is_missing_is_null_and_what_is_whole_may_have_a_point() {
        for dtype in ["FP16", "BF16", "FP32", "FP64"] {
            let tensor = decoded(dtype, "[2]", "[null, 1]").unwrap();
            let mut shown = Vec::new();
            crate::protocol::encode::elements(&mut shown, &tensor, NonFinite::Words).unwrap();
            assert_eq!(shown, b"NaN,1.0", "{dtype}");
        }
        let numbers = |dtype, data| decoded(dtype, "[3]", data).unwrap().to_vec::<i64>();
        assert_eq!(
            numbers("INT64", "[1.0, -2e2, 9007199254740993.0]").unwrap(),
            [1, -200, 9_007_199_254_740_993]
        );
        assert_eq!(decoded("UINT8", "[2]", "[255.0, 0.0]").unwrap().bytes().to_vec(), [255, 0]);
        assert_eq!(decoded("BOOL", "[4]", "[1, 0, true, 1.0]").unwrap().bytes().to_vec(), [1, 0, 1, 1]);
        let body = r#"{"id": null, "parameters": null, "outputs": null, "model_name": null,
            "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1], "parameters": null}]}"#;
        let asked = read(&body.into(), None).unwrap();
        assert!(asked.id.is_none() && asked.outputs.is_empty() && asked.inputs.len() == 1);
        let body = r#"{"inputs": [], "outputs": [{"name": "y", "parameters": null, "shape": null}]}"#;
        assert_eq!(read(&body.into(), None).unwrap().outputs[0].name, "y");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (dtype, shape, data, says) in [
            ("FP32", "[2]", r#"[1,"a"]"#, r#"input 'x': element 1 is "a", not a number"#),
            ("FP32", "[2]", r#"[1,"NaN"]"#, r#"input 'x': element 1 is "NaN", not a number"#),
            ("INT8", "[2]", "[1,null]", "input 'x': element 1 is null, not a whole number from -128 to 127"),
            ("UINT8", "[1]", "[256.0]", "input 'x': element 0 is 256.0, not a whole number from 0 to 255"),
            ("BOOL", "[1]", "[0.5]", "input 'x': element 0 is 0.5, neither true nor false"),
            ("FP32", "[1]", "[true]", "input 'x': element 0 is true, not a number"),
            ("FP32", "[1]", "[1e400]", "input 'x': element 0 is 1e400, out of range"),
            ("FP32", "[1]", "[{}]", "input 'x': element 0 is {, not a number"),
            ("FP32", "[1]", "1", "input 'x': its data is 1, not an array"),
            ("UINT8", "[1]", "[300]", "input 'x': element 0 is 300, not a whole number from 0 to 255"),
            ("INT8", "[1]", "[1.5]", "input 'x': element 0 is 1.5, not a whole number from -128 to 127"),
            (
                "INT32",
                "[1]",
                "[NaN]",
                "input 'x': element 0 is NaN, not a whole number from -2147483648 to 2147483647",
            ),
            ("BOOL", "[1]", "[2]", "input 'x': element 0 is 2, neither true nor false"),
            ("BYTES", "[1]", "[1]", "input 'x': element 0 is 1, not a string"),
            ("FP32", "[2]", "[1]", "input 'x': its shape has 2 elements, its data 1"),
            ("FP32", "[2]", "[1,2,3]", "input 'x': its shape has 2 elements, its data 3"),
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
                "input 'x': a tensor of shape [9223372036854775807, 9] has too many elements",
            ),
            ("FP32", "[1000000000]", "[1]", "input 'x': its shape has 1000000000 elements, its data 1"),
            ("fp32", "[1]", "[1]", "input 'x': 'fp32' is no datatype"),
        ] {
            assert_eq!(decoded(dtype, shape, data).unwrap_err().chain(), says);
        }
        for data in ["[1,]", "[[1] [2]]", "[1 2]", "[[1],]", "[1", "[1}", "[[1]", "[,1]"] {
            assert!(decoded("FP32", "[2]", data).is_err(), "{data}");
        }
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        assert!(decoded("FP32", "[1]", &deep).unwrap_err().chain().contains("nested deeper"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let input = |rest: &str| {
            format!(r#"{{"inputs": [{{"name": "x", "shape": [1], "datatype": "FP32"{rest}}}]}}"#)
        };
        for (body, says) in [
            (String::new(), "has no body"),
            ("{".into(), "the request cannot be read: it ends too early at byte 1"),
            ("[]".into(), "the request cannot be read: an object is expected at byte 0"),
            ("{}".into(), "the request has no 'inputs'"),
            (
                r#"{"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]}"#.into(),
                "an input has no 'name'",
            ),
            (
                r#"{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": []}]}"#.into(),
                "its shape holds -1, not",
            ),
            (
                r#"{"inputs": [{"name": "x", "shape": [1.5], "datatype": "FP32", "data": []}]}"#.into(),
                "its shape holds 1.5, not",
            ),
            (
                r#"{"inputs": [{"name": "x", "shape": ["1"], "datatype": "FP32", "data": []}]}"#.into(),
                r#"its shape holds "1", not"#,
            ),
            (input(""), "input 'x': it has no 'data'"),
            (input(r#", "data": [1], "data": [1]"#), "'data' is given twice"),
            (
                input(r#", "data": [1], "parameters": {"binary_data_size": 4}"#),
                "it has both 'data' and a binary_data_size",
            ),
            (
                input(r#", "parameters": {"binary_data_size": 4}"#),
                "its binary_data_size is 4, and 0 bytes are left",
            ),
            (input(r#", "parameters": {"binary_data_size": -4}"#), "its binary_data_size is no whole number"),
            (input(r#", "parameters": {"shared_memory_region": "r"}"#), "shared memory are not taken"),
            (
                r#"{"inputs": [], "id": 7}"#.into(),
                "'id': the request cannot be read: a string is expected at byte 21",
            ),
            (r#"{"inputs": [], "parameters": {"triton_x": 1}}"#.into(), "reserved for Triton"),
            (r#"{"inputs": [], "parameters": {"a": null}}"#.into(), "parameter 'a' is null, neither"),
            (
                r#"{"inputs": [], "parameters": {"timeout": "soon"}}"#.into(),
                "parameter 'timeout' is no whole number",
            ),
            (r#"{"inputs": [], "parameters": {"priority": -1}}"#.into(), "parameter 'priority' is negative"),
            (
                r#"{"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}"#.into(),
                "neither true nor false",
            ),
            (
                r#"{"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 0}}]}"#.into(),
                "1 or more",
            ),
            (r#"{"inputs": [], "outputs": [{}]}"#.into(), "an output has no 'name'"),
            (r#"{"inputs": []} trailing"#.into(), "something follows it at byte 15"),
        ] {
            let error = read(&body.clone().into(), None).unwrap_err().chain();
            assert!(error.contains(says), "{body}: {error}");
        }
    }

    #[test]
    fn binary_tensors_are_slices_in_order() {
        let json = r#"{"inputs": [{"name": "a", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4}},
            {"name": "b", "shape": [1], "datatype": "FP32", "data": [1]},
            {"name": "c", "shape": [0], "datatype": "FP32", "parameters": {"binary_data_size": 0}},
            {"name": "d", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]}"#;
        let body = |tensors: &[u8]| Bytes::from([json.as_bytes(), tensors].concat());
        let whole = body(b"\x01\x00\x02\x00\x02\x00\x00\x00hi");
        let asked = read(&whole, Some(json.len())).unwrap();
        let tensor = |index: usize| &asked.inputs[index].tensor;
        assert_eq!(tensor(0).to_vec::<i16>().unwrap(), [1, 2]);
        assert_eq!(tensor(0).bytes().as_ptr(), whole[json.len()..].as_ptr(), "no copy");
        assert_eq!(tensor(3).strings().collect::<Vec<_>>(), [b"hi"]);
        for (tensors, says) in [
            (&b"\x01\x00\x02\x00\x02\x00\x00\x00hi!"[..], "1 bytes follow the last binary tensor"),
            (b"\x01\x00", "input 'a': its binary_data_size is 4, and 2 bytes are left"),
            (b"\x01\x00\x02\x00\x03\x00\x00\x00hi", "input 'd': the last BYTES element is cut off"),
        ] {
            assert_eq!(read(&body(tensors), Some(json.len())).unwrap_err().chain(), says);
        }
        assert!(read(&whole, Some(9999)).unwrap_err().chain().contains("the body has"));
        let short = json.replace("\"shape\": [2]", "\"shape\": [3]");
        let whole = Bytes::from([short.as_bytes(), b"\x01\x00\x02\x00\x02\x00\x00\x00hi"].concat());
        assert_eq!(
            read(&whole, Some(short.len())).unwrap_err().chain(),
            "input 'a': INT16 of shape [3] has 6 bytes, not 4"
        );
    }
}
