//! The raw form of the binary extension.

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_nn::{ModelSignature, NamedTensor, Tensor};

use crate::protocol::InferRequest;

/// Reads a body that is nothing but the elements of the only input (Inference-Header-Content-Length
/// is 0). One dimension may be open; `BYTES` are one element, the body as it is.
pub(crate) fn read(body: &Bytes, signature: &ModelSignature) -> Result<InferRequest> {
    let [spec] = signature.inputs.as_slice() else {
        let count = signature.inputs.len();
        return Err(Error::invalid(format!("a raw binary request needs a model of one input, and this has {count}"))
            .hint("send JSON with binary_data_size for each input, and its length in Inference-Header-Content-Length"));
    };
    if spec.any_shape {
        return Err(Error::invalid(format!(
            "a raw binary request cannot say the shape of input '{}', which may be any",
            spec.name
        ))
        .hint("send JSON, or JSON with binary_data_size and its length in Inference-Header-Content-Length"));
    }
    let within = |error: Error| error.context(format!("input '{}'", spec.name));
    let fixed = spec.shape.iter().filter(|dim| **dim >= 0).try_fold(1_usize, |product, dim| {
        usize::try_from(*dim).ok().and_then(|dim| product.checked_mul(dim))
    });
    let open = spec.shape.iter().filter(|dim| **dim < 0).count();
    let element = spec.dtype.size();
    // A batch of one: of two open dimensions the first is taken for the batch.
    let rows = match element.map(|element| fixed.and_then(|fixed| fixed.checked_mul(element))) {
        _ if open > 2 => None,
        Some(Some(row)) if open > 0 && row > 0 => body.len().is_multiple_of(row).then(|| body.len() / row),
        _ => Some(1),
    };
    let rows = rows.ok_or_else(|| {
        within(Error::invalid(format!(
            "{} bytes do not make a shape {:?} of {}",
            body.len(),
            spec.shape,
            spec.dtype
        )))
    })?;
    let mut left = open;
    let shape = spec.shape.iter().map(|dim| {
        usize::try_from(*dim).unwrap_or_else(|_| {
            left -= 1;
            if left == 0 { rows } else { 1 }
        })
    });
    let shape: Vec<usize> = shape.collect();
    let tensor = match element {
        Some(_) => Tensor::new(spec.dtype, shape, body.clone()),
        None => Tensor::of_strings(shape, &[body]),
    };
    let mut asked = InferRequest::default();
    asked.parameters.binary = true;
    asked.inputs.push(NamedTensor { name: spec.name.clone(), tensor: tensor.map_err(within)? });
    Ok(asked)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_nn::{DataType, TensorSpec};

    use super::*;

    #[test]
    fn a_raw_body_is_the_only_input() {
        let signature =
            |dtype, shape: &[i64]| ModelSignature::new(vec![TensorSpec::new("x", dtype, shape)], vec![]);
        let twelve = Bytes::from_static(&[0; 12]);
        for (dtype, shape, found) in [
            (DataType::F32, &[-1, 3][..], Some(vec![1, 3])),
            (DataType::I16, &[-1, 3], Some(vec![2, 3])),
            (DataType::F32, &[-1, -1], Some(vec![1, 3])),
            (DataType::F32, &[3], Some(vec![3])),
            (DataType::F32, &[-1, 2], None),
            (DataType::F32, &[4], None),
            (DataType::Bytes, &[-1], Some(vec![1])),
            (DataType::F32, &[-1, i64::MAX], None),
        ] {
            let asked = read(&twelve, &signature(dtype, shape)).ok();
            assert_eq!(
                asked.map(|asked| asked.inputs[0].tensor.shape().to_vec()),
                found,
                "{dtype} {shape:?}"
            );
        }
        assert!(read(&twelve, &ModelSignature::default()).is_err());
    }
}
