//! Answers, written into one buffer.

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{DataType, NamedTensor, Tensor, TensorElement};
use half::{bf16, f16};

use crate::protocol::{SelectedOutput, classify};

/// An answer's body: JSON, and behind it the binary tensors.
pub(crate) struct EncodedResponse {
    pub(crate) json: Vec<u8>,
    pub(crate) tensors: Vec<Bytes>,
    /// Whether the answer is of the binary extension's form.
    pub(crate) binary: bool,
}

/// How numbers are written that are not finite, for which JSON has no words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NonFinite {
    /// As null, which every reader of JSON takes.
    #[default]
    Null,
    /// As NaN, Infinity and -Infinity, which Python writes and reads.
    Words,
}

/// The body of an answer.
pub(crate) fn response(
    model: &str,
    version: &str,
    id: Option<&str>,
    outputs: &[NamedTensor],
    chosen: &[SelectedOutput],
    non_finite: NonFinite,
) -> Result<EncodedResponse> {
    let mut size = 160;
    for one in chosen {
        let bytes = outputs.get(one.position).map_or(0, |output| output.tensor.bytes().len());
        size += 128 + if one.binary { 0 } else { bytes * 3 };
    }
    let mut body = Vec::with_capacity(size);
    body.extend_from_slice(b"{\"model_name\":");
    text(&mut body, model);
    body.extend_from_slice(b",\"model_version\":");
    text(&mut body, version);
    if let Some(id) = id {
        body.extend_from_slice(b",\"id\":");
        text(&mut body, id);
    }
    body.extend_from_slice(b",\"outputs\":[");
    let (mut tensors, mut binary) = (Vec::new(), false);
    for (index, one) in chosen.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let output = outputs.get(one.position).ok_or_else(|| Error::internal("an output is missing"))?;
        let within = |error: Error| error.context(format!("output '{}'", output.name));
        let classes =
            one.classes.map(|classes| classify::best(&output.tensor, classes)).transpose().map_err(within)?;
        let tensor = classes.as_ref().unwrap_or(&output.tensor);
        head(&mut body, &output.name, tensor);
        if one.binary {
            binary = true;
            tensors.push(tensor.bytes().clone());
            body.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            integer(&mut body, tensor.bytes().len());
            body.extend_from_slice(b"}}");
        } else {
            body.extend_from_slice(b",\"data\":[");
            elements(&mut body, tensor, non_finite).map_err(within)?;
            body.extend_from_slice(b"]}");
        }
    }
    body.extend_from_slice(b"]}");
    Ok(EncodedResponse { json: body, tensors, binary })
}

fn text(body: &mut Vec<u8>, text: &str) {
    // A string always has a JSON form, and a vector takes all of it.
    let _ = serde_json::to_writer(body, text);
}

fn integer(body: &mut Vec<u8>, value: impl itoa::Integer) {
    body.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The beginning of a tensor in JSON: name, type and shape.
pub(crate) fn head(body: &mut Vec<u8>, name: &str, tensor: &Tensor) {
    body.extend_from_slice(b"{\"name\":");
    text(body, name);
    body.extend_from_slice(b",\"datatype\":\"");
    body.extend_from_slice(tensor.dtype().as_str().as_bytes());
    body.extend_from_slice(b"\",\"shape\":[");
    for (index, dim) in tensor.shape().iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        integer(body, *dim);
    }
    body.push(b']');
}

/// The elements of a tensor in JSON, with commas between.
pub(crate) fn elements(body: &mut Vec<u8>, tensor: &Tensor, non_finite: NonFinite) -> Result<()> {
    let mut buffer = ryu::Buffer::new();
    let mut single = |body: &mut Vec<u8>, value: f32| match word(f64::from(value), non_finite) {
        None => body.extend_from_slice(buffer.format_finite(value).as_bytes()),
        Some(word) => body.extend_from_slice(word),
    };
    match tensor.dtype() {
        DataType::Bool => list(body, tensor.bytes(), 1, |body, one| {
            body.extend_from_slice(if one == [0] { b"false" } else { b"true" });
        }),
        DataType::U8 => integers::<u8>(body, tensor),
        DataType::U16 => integers::<u16>(body, tensor),
        DataType::U32 => integers::<u32>(body, tensor),
        DataType::U64 => integers::<u64>(body, tensor),
        DataType::I8 => integers::<i8>(body, tensor),
        DataType::I16 => integers::<i16>(body, tensor),
        DataType::I32 => integers::<i32>(body, tensor),
        DataType::I64 => integers::<i64>(body, tensor),
        DataType::F16 => list(body, tensor.bytes(), 2, |body, one| single(body, f16::read(one).to_f32())),
        DataType::BF16 => list(body, tensor.bytes(), 2, |body, one| single(body, bf16::read(one).to_f32())),
        DataType::F32 => list(body, tensor.bytes(), 4, |body, one| single(body, f32::read(one))),
        DataType::F64 => list(body, tensor.bytes(), 8, |body, one| {
            let value = f64::read(one);
            match word(value, non_finite) {
                None => body.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes()),
                Some(word) => body.extend_from_slice(word),
            }
        }),
        DataType::Bytes => {
            for (index, element) in tensor.strings().enumerate() {
                let element = std::str::from_utf8(element).map_err(|_| {
                    Error::unsupported(format!("element {index} is not UTF-8, so JSON cannot hold it"))
                })?;
                if index > 0 {
                    body.push(b',');
                }
                text(body, element);
            }
        }
    }
    Ok(())
}

fn list(body: &mut Vec<u8>, bytes: &[u8], size: usize, mut write: impl FnMut(&mut Vec<u8>, &[u8])) {
    for (index, one) in bytes.chunks_exact(size).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write(body, one);
    }
}

fn integers<T: TensorElement + itoa::Integer>(body: &mut Vec<u8>, tensor: &Tensor) {
    list(body, tensor.bytes(), size_of::<T>(), |body, one| integer(body, T::read(one)));
}

/// The word for what is not finite.
fn word(value: f64, non_finite: NonFinite) -> Option<&'static [u8]> {
    match value {
        value if value.is_finite() => None,
        _ if non_finite == NonFinite::Null => Some(b"null"),
        value if value.is_nan() => Some(b"NaN"),
        f64::INFINITY => Some(b"Infinity"),
        f64::NEG_INFINITY => Some(b"-Infinity"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::protocol::request;

    /// Bytes without a pattern, the same in every run.
    fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// All NaNs are one in JSON.
    fn canonical(tensor: &Tensor) -> Tensor {
        fn floats<T: TensorElement>(tensor: &Tensor, is_nan: impl Fn(T) -> bool, nan: T) -> Tensor {
            let values = tensor.to_vec::<T>().unwrap();
            let values: Vec<T> =
                values.into_iter().map(|value| if is_nan(value) { nan } else { value }).collect();
            Tensor::of(tensor.shape().to_vec(), &values).unwrap()
        }
        match tensor.dtype() {
            DataType::F16 => floats(tensor, f16::is_nan, f16::NAN),
            DataType::BF16 => floats(tensor, bf16::is_nan, bf16::NAN),
            DataType::F32 => floats(tensor, f32::is_nan, f32::NAN),
            DataType::F64 => floats(tensor, f64::is_nan, f64::NAN),
            _ => tensor.clone(),
        }
    }

    #[test]
    fn what_json_has_no_word_for_is_null_unless_words_are_wanted() {
        let values = [f64::NAN, 1.5, f64::INFINITY, f64::NEG_INFINITY];
        let single = values.map(|value| value as f32);
        let tensors = [
            Tensor::of(vec![4], &values).unwrap(),
            Tensor::of(vec![4], &single).unwrap(),
            Tensor::of(vec![4], &values.map(f16::from_f64)).unwrap(),
            Tensor::of(vec![4], &values.map(bf16::from_f64)).unwrap(),
        ];
        for tensor in tensors {
            let written = |non_finite| {
                let mut body = Vec::new();
                elements(&mut body, &tensor, non_finite).unwrap();
                String::from_utf8(body).unwrap()
            };
            assert_eq!(written(NonFinite::Null), "null,1.5,null,null");
            assert_eq!(written(NonFinite::Words), "NaN,1.5,Infinity,-Infinity");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for (seed, dtype) in DataType::ALL.iter().copied().enumerate() {
            for count in [0_usize, 1, 257] {
                let tensor = match dtype {
                    DataType::Bytes => {
                        Tensor::of_strings(vec![count], &vec!["a \"b\"\n\u{1}é"; count]).unwrap()
                    }
                    DataType::Bool => Tensor::new(
                        dtype,
                        vec![count],
                        noise(count, 9).iter().map(|byte| byte & 1).collect::<Vec<_>>(),
                    )
                    .unwrap(),
                    other => {
                        Tensor::new(other, vec![count], noise(count * other.size().unwrap(), seed as u64))
                            .unwrap()
                    }
                };
                let named = [NamedTensor { name: "x".into(), tensor: tensor.clone() }];
                let back = |binary: bool| {
                    let chosen = [SelectedOutput { position: 0, binary, classes: None }];
                    let EncodedResponse { json, tensors, .. } =
                        response("m", "1", Some("id"), &named, &chosen, NonFinite::Words).unwrap();
                    let text = String::from_utf8(json).unwrap().replace("\"outputs\"", "\"inputs\"");
                    let header = binary.then_some(text.len());
                    let whole: Vec<u8> = text.into_bytes().into_iter().chain(tensors.concat()).collect();
                    request::read(&whole.into(), header).unwrap().inputs.remove(0).tensor
                };
                assert_eq!(back(true), tensor, "{dtype} {count}");
                let back = back(false);
                assert_eq!(canonical(&back), canonical(&tensor), "{dtype} {count}");
            }
        }
    }
}
