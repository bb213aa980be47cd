//! The values of tensors that lie in a file: as tensors, and as people read them.

use eyot_core::{Error, Result};

use crate::onnx::messages as pb;
use crate::{DataType, Tensor};

/// Elements that are shown one by one.
const MAX_SHOWN_ELEMENTS: usize = 16;
/// Characters of a text that are shown.
const MAX_SHOWN_CHARACTERS: usize = 80;

/// Fails with `Invalid` where type, dimensions and values are not those of one tensor.
pub(crate) fn tensor(proto: &pb::TensorProto) -> Result<Tensor> {
    let broken = |why: &str| Error::invalid(format!("the tensor '{}' of the file {why}", proto.name));
    let dtype = super::data_type(proto.data_type).ok_or_else(|| broken("has a type that is not known"))?;
    let shape: Option<Vec<usize>> = proto.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
    let shape = shape.ok_or_else(|| broken("has a dimension below zero"))?;
    if dtype == DataType::Bytes {
        return Tensor::of_strings(shape, &proto.string_data)
            .map_err(|error| broken("is not whole").because(error));
    }
    if !proto.external_data.is_empty() {
        return Err(broken("lies beside it"));
    }
    let bytes = if proto.raw_data.is_empty() { listed(proto, dtype) } else { proto.raw_data.clone() };
    Tensor::new(dtype, shape, bytes).map_err(|error| broken("is not whole").because(error))
}

/// Values that stand in the lists which the format has for some types, as bytes.
fn listed(proto: &pb::TensorProto, dtype: DataType) -> Vec<u8> {
    // What is narrower stands in the lowest bits of a number of 32.
    let narrow = |size: usize| {
        proto.int32_data.iter().flat_map(|number| number.to_le_bytes().into_iter().take(size)).collect()
    };
    match dtype {
        DataType::F32 => proto.float_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        DataType::F64 => proto.double_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        DataType::I64 => proto.int64_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        DataType::U64 => proto.uint64_data.iter().flat_map(|number| number.to_le_bytes()).collect(),
        DataType::U32 => {
            proto.uint64_data.iter().flat_map(|number| number.to_le_bytes().into_iter().take(4)).collect()
        }
        narrower => narrow(narrower.size().unwrap_or_default()),
    }
}

/// A default as people read it: its numbers where they are few, else how many of what there are.
pub(super) fn shown(proto: &pb::TensorProto) -> String {
    let count = proto.dims.iter().try_fold(1_i64, |count, dim| count.checked_mul(*dim));
    let is_small =
        count.and_then(|count| usize::try_from(count).ok()).is_some_and(|it| it <= MAX_SHOWN_ELEMENTS);
    let elements = if is_small { tensor(proto).ok().and_then(|tensor| elements(&tensor)) } else { None };
    match elements {
        Some(elements) if proto.dims.is_empty() => elements.concat(),
        Some(elements) => format!("[{}]", elements.join(", ")),
        None => {
            let dtype = super::data_type(proto.data_type).map_or("?", DataType::as_str);
            format!("{dtype} {:?} of the file", proto.dims)
        }
    }
}

fn elements(tensor: &Tensor) -> Option<Vec<String>> {
    macro_rules! of {
        ($($ours:ident: $type:ty),* $(,)?) => {
            match tensor.dtype() {
                $(DataType::$ours => tensor.to_vec::<$type>()?.iter().map(ToString::to_string).collect(),)*
                DataType::Bool => tensor.bytes().iter().map(|byte| (*byte != 0).to_string()).collect(),
                DataType::Bytes => tensor.strings().map(|text| {
                    let text = String::from_utf8_lossy(text);
                    format!("{:?}", text.chars().take(MAX_SHOWN_CHARACTERS).collect::<String>())
                }).collect(),
            }
        };
    }
    Some(of! {
        F16: half::f16, BF16: half::bf16, F32: f32, F64: f64,
        U8: u8, U16: u16, U32: u32, U64: u64, I8: i8, I16: i16, I32: i32, I64: i64,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn proto(data_type: i32, dims: &[i64]) -> pb::TensorProto {
        pb::TensorProto { data_type, dims: dims.to_vec(), ..pb::TensorProto::default() }
    }

    #[test]
    fn values_are_read_from_wherever_the_format_puts_them() {
        let raw = pb::TensorProto { raw_data: vec![0, 0, 0x80, 0x3f], ..proto(1, &[]) };
        let floats = pb::TensorProto { float_data: vec![1.0, -0.25], ..proto(1, &[2]) };
        let bytes = pb::TensorProto { int32_data: vec![255, 0], ..proto(2, &[2]) };
        let halves = pb::TensorProto { int32_data: vec![0x3c00], ..proto(10, &[1]) };
        let wide = pb::TensorProto { uint64_data: vec![4_000_000_000], ..proto(12, &[1]) };
        let booleans = pb::TensorProto { int32_data: vec![1, 0], ..proto(9, &[1, 2]) };
        let texts = pb::TensorProto { string_data: vec![b"a\"".to_vec()], ..proto(8, &[1]) };
        for (proto, expected) in [
            (raw, "1"),
            (floats, "[1, -0.25]"),
            (bytes, "[255, 0]"),
            (halves, "[1]"),
            (wide, "[4000000000]"),
            (booleans, "[true, false]"),
            (texts, r#"["a\""]"#),
            (proto(1, &[3]), "FP32 [3] of the file"),
            (proto(1, &[1 << 40, 1 << 40]), "FP32 [1099511627776, 1099511627776] of the file"),
            (proto(99, &[-1]), "? [-1] of the file"),
        ] {
            assert_eq!(shown(&proto), expected);
        }
        assert!(tensor(&proto(1, &[3])).is_err() && tensor(&proto(1, &[-1])).is_err());
    }
}
