//! Answers, written into one buffer.

use eyot_core::{Error, Result};
use eyot_nn::{DataType, Element, NamedTensor, Signature, Tensor};
use half::{bf16, f16};

/// The positions of the outputs that are wanted, in the order asked for; all when none is named.
pub(crate) fn choose(signature: &Signature, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..signature.outputs.len()).collect());
    }
    let find = |name: &String| {
        signature.outputs.iter().position(|spec| spec.name == *name).ok_or_else(|| {
            let known: Vec<_> = signature.outputs.iter().map(|spec| format!("'{}'", spec.name)).collect();
            Error::invalid(format!("there is no output '{name}'"))
                .hint(format!("outputs are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// The body of an answer.
pub(crate) fn response(
    model: &str,
    version: &str,
    id: Option<&str>,
    outputs: &[NamedTensor],
    wanted: &[usize],
) -> Result<Vec<u8>> {
    let size: usize = outputs.iter().map(|output| output.tensor.bytes().len() * 3 + 128).sum();
    let mut body = Vec::with_capacity(size + 128);
    body.extend_from_slice(b"{\"model_name\":");
    text(&mut body, model);
    body.extend_from_slice(b",\"model_version\":");
    text(&mut body, version);
    if let Some(id) = id {
        body.extend_from_slice(b",\"id\":");
        text(&mut body, id);
    }
    body.extend_from_slice(b",\"outputs\":[");
    for (index, position) in wanted.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let output = outputs.get(*position).ok_or_else(|| Error::internal("an output is missing"))?;
        tensor(&mut body, output).map_err(|error| error.context(format!("output '{}'", output.name)))?;
    }
    body.extend_from_slice(b"]}");
    Ok(body)
}

fn text(body: &mut Vec<u8>, text: &str) {
    // A string always has a JSON form, and a vector takes all of it.
    let _ = serde_json::to_writer(body, text);
}

fn tensor(body: &mut Vec<u8>, output: &NamedTensor) -> Result<()> {
    let tensor = &output.tensor;
    body.extend_from_slice(b"{\"name\":");
    text(body, &output.name);
    body.extend_from_slice(
        format!(",\"datatype\":\"{}\",\"shape\":{:?},\"data\":[", tensor.dtype(), tensor.shape()).as_bytes(),
    );
    elements(body, tensor)?;
    body.extend_from_slice(b"]}");
    Ok(())
}

fn elements(body: &mut Vec<u8>, tensor: &Tensor) -> Result<()> {
    let mut buffer = ryu::Buffer::new();
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
        DataType::F16 => {
            list(body, tensor.bytes(), 2, |body, one| single(body, &mut buffer, f16::read(one).to_f32()))
        }
        DataType::BF16 => {
            list(body, tensor.bytes(), 2, |body, one| single(body, &mut buffer, bf16::read(one).to_f32()))
        }
        DataType::F32 => list(body, tensor.bytes(), 4, |body, one| single(body, &mut buffer, f32::read(one))),
        DataType::F64 => list(body, tensor.bytes(), 8, |body, one| {
            let value = f64::read(one);
            match finite(value) {
                None => body.extend_from_slice(buffer.format_finite(value).as_bytes()),
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

fn integers<T: Element + std::fmt::Display>(body: &mut Vec<u8>, tensor: &Tensor) {
    use std::io::Write as _;
    list(body, tensor.bytes(), size_of::<T>(), |body, one| {
        // Writing into a vector cannot fail.
        let _ = write!(body, "{}", T::read(one));
    });
}

fn single(body: &mut Vec<u8>, buffer: &mut ryu::Buffer, value: f32) {
    match finite(f64::from(value)) {
        None => body.extend_from_slice(buffer.format_finite(value).as_bytes()),
        Some(word) => body.extend_from_slice(word),
    }
}

/// The word for what is not finite. JSON has none; clients in Python read these.
fn finite(value: f64) -> Option<&'static [u8]> {
    match value {
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
    use crate::protocol::decode;

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
        fn floats<T: Element>(tensor: &Tensor, is_nan: impl Fn(T) -> bool, nan: T) -> Tensor {
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
                let named = NamedTensor { name: "x".into(), tensor: tensor.clone() };
                let body = response("m", "1", Some("id"), &[named], &[0]).unwrap();
                let text = String::from_utf8(body).unwrap().replace("\"outputs\"", "\"inputs\"");
                let back = decode::request(&text.into()).unwrap().inputs.remove(0).tensor;
                assert_eq!(canonical(&back), canonical(&tensor), "{dtype} {count}");
            }
        }
    }
}
