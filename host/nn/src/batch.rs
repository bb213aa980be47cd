//! Several calls of one model as one: inputs joined along their first dimension, outputs split again.

use eyot_core::{Error, Result};

use crate::aligned::AlignedBuffer;
use crate::{DataType, ModelSignature, Tensor, TensorSpec};

/// Whether a model takes and gives any number of rows: the first dimension of everything is variable.
/// That it treats each row for itself is another question, which `batch_probe` answers.
pub(crate) fn takes_rows(signature: &ModelSignature) -> bool {
    let variable = |spec: &TensorSpec| spec.any_shape || spec.shape.first() == Some(&-1);
    !signature.inputs.is_empty() && signature.inputs.iter().chain(&signature.outputs).all(variable)
}

/// The rows of a call: the first dimension that all its inputs share, `None` where they do not.
pub(crate) fn rows(inputs: &[Tensor]) -> Option<usize> {
    let first = *inputs.first()?.shape().first()?;
    let same = inputs.iter().all(|input| input.shape().first() == Some(&first));
    (same && first > 0).then_some(first)
}

/// Whether two calls differ in their number of rows only.
pub(crate) fn fit(one: &[Tensor], other: &[Tensor]) -> bool {
    let same = |(one, other): (&Tensor, &Tensor)| {
        one.dtype() == other.dtype() && one.shape().get(1..) == other.shape().get(1..)
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The elements of all inputs together: the size by which costs are learned.
pub(crate) fn size(inputs: &[Tensor]) -> u64 {
    inputs.iter().map(|input| input.count() as u64).sum()
}

/// The calls as one, which must [`fit`] each other and have rows.
pub(crate) fn join(calls: &[&[Tensor]]) -> Result<Vec<Tensor>> {
    let first = calls.first().ok_or_else(|| Error::internal("a batch of nothing"))?;
    (0..first.len()).map(|input| join_one(calls, input)).collect()
}

fn join_one(calls: &[&[Tensor]], input: usize) -> Result<Tensor> {
    let parts: Option<Vec<&Tensor>> = calls.iter().map(|call| call.get(input)).collect();
    let parts = parts.ok_or_else(|| Error::internal("a batch of calls with different inputs"))?;
    let mut shape = parts[0].shape().to_vec();
    let rows = parts.iter().filter_map(|part| part.shape().first()).sum();
    *shape.first_mut().ok_or_else(|| Error::internal("a batch of scalars"))? = rows;
    let mut bytes = AlignedBuffer::with_capacity(parts.iter().map(|part| part.bytes().len()).sum());
    parts.iter().for_each(|part| bytes.append(part.bytes()));
    Ok(Tensor::trusted(parts[0].dtype(), shape, bytes.into_bytes()))
}

/// The outputs of each call out of those of all, whose rows follow each other as the calls' did.
/// Bytes are shared, not copied.
///
/// `None` when an output has not as many rows as went in: it is no matter of rows, then.
pub(crate) fn split(outputs: &[Tensor], rows: &[usize]) -> Option<Vec<Vec<Tensor>>> {
    let mut calls: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for output in outputs {
        if output.shape().first() != Some(&rows.iter().sum()) {
            return None;
        }
        let mut start = 0;
        for (call, rows) in calls.iter_mut().zip(rows) {
            let mut shape = output.shape().to_vec();
            shape[0] = *rows;
            let end = start + length(output, start, &shape)?;
            call.push(Tensor::trusted(output.dtype(), shape, output.bytes().slice(start..end)));
            start = end;
        }
    }
    Some(calls)
}

/// The bytes that a tensor of that shape takes from `start`.
fn length(output: &Tensor, start: usize, shape: &[usize]) -> Option<usize> {
    let count: usize = shape.iter().product();
    if let Some(size) = output.dtype().size() {
        return Some(count * size);
    }
    debug_assert_eq!(output.dtype(), DataType::Bytes);
    let mut rest = output.bytes().get(start..)?;
    let whole = rest.len();
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        rest = behind.get(u32::from_le_bytes(*length) as usize..)?;
    }
    Some(whole - rest.len())
}

/// Parts of the largest value by which a joined result may differ, about a hundred times what the
/// type can tell apart: libraries choose other kernels for other numbers of rows, which add up in
/// another order.
fn rounding(dtype: DataType) -> f64 {
    match dtype {
        DataType::F64 => 1e-13,
        DataType::F32 => 1e-5,
        DataType::F16 => 2e-3,
        _ => 2e-2,
    }
}

/// Whether two results are the same but for rounding.
pub(crate) fn same(one: &[Tensor], other: &[Tensor]) -> bool {
    let same = |(one, other): (&Tensor, &Tensor)| {
        one.dtype() == other.dtype()
            && one.shape() == other.shape()
            && (one.bytes() == other.bytes() || close(one, other))
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

fn close(one: &Tensor, other: &Tensor) -> bool {
    let rounding = rounding(one.dtype());
    let Some((one, other)) = numbers(one).zip(numbers(other)) else { return false };
    let largest =
        one.iter().filter(|value| value.is_finite()).fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let close = |(one, other): (&f64, &f64)| {
        one.to_bits() == other.to_bits()
            || (one.is_nan() && other.is_nan())
            || one == other
            || (one - other).abs() <= rounding * largest
    };
    one.iter().zip(&other).all(close)
}

/// The values of a floating-point tensor; whole numbers and texts have no rounding.
pub(crate) fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    match tensor.dtype() {
        DataType::F64 => tensor.to_vec::<f64>(),
        DataType::F32 => tensor.to_vec::<f32>().map(wide),
        DataType::F16 => {
            tensor.to_vec().map(|values: Vec<half::f16>| values.into_iter().map(f64::from).collect())
        }
        DataType::BF16 => {
            tensor.to_vec().map(|values: Vec<half::bf16>| values.into_iter().map(f64::from).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn strings(texts: &[&str]) -> Tensor {
        Tensor::of_strings(vec![texts.len()], texts).unwrap()
    }

    #[test]
    fn what_is_joined_splits_into_what_it_was() {
        let calls = [
            vec![Tensor::of(vec![1, 2], &[1_f32, 2.]).unwrap(), strings(&["a"])],
            vec![Tensor::of(vec![2, 2], &[3_f32, 4., 5., 6.]).unwrap(), strings(&["", "bcd"])],
            vec![Tensor::of(vec![1, 2], &[7_f32, 8.]).unwrap(), strings(&["ä"])],
        ];
        let borrowed: Vec<&[Tensor]> = calls.iter().map(Vec::as_slice).collect();
        let joined = join(&borrowed).unwrap();
        assert_eq!(joined[0], Tensor::of(vec![4, 2], &[1_f32, 2., 3., 4., 5., 6., 7., 8.]).unwrap());
        assert_eq!(joined[1], strings(&["a", "", "bcd", "ä"]));
        assert_eq!(split(&joined, &[1, 2, 1]).unwrap(), calls);
        assert!(split(&joined, &[1, 1]).is_none());
    }

    #[test]
    fn rows_are_what_all_inputs_share() {
        let of = |shape: &[usize]| Tensor::of(shape.to_vec(), &vec![0_f32; shape.iter().product()]).unwrap();
        for (shapes, expected) in [
            (&[][..], None),
            (&[&[][..]], None),
            (&[&[0, 2]], None),
            (&[&[3, 2]], Some(3)),
            (&[&[3, 2], &[3]], Some(3)),
            (&[&[3, 2], &[1]], None),
        ] {
            let inputs: Vec<_> = shapes.iter().map(|shape| of(shape)).collect();
            assert_eq!(rows(&inputs), expected, "{shapes:?}");
        }
        assert!(fit(&[of(&[1, 2])], &[of(&[5, 2])]));
        assert!(!fit(&[of(&[1, 2])], &[of(&[1, 3])]) && !fit(&[of(&[1, 2])], &[]));
    }

    #[test]
    fn only_rounding_is_forgiven() {
        let of = |values: &[f32]| [Tensor::of(vec![values.len()], values).unwrap()];
        for (one, other, expected) in [
            (&[1.0, 100.0][..], &[1.0, 100.0][..], true),
            (&[1.0, 100.0], &[1.0005, 100.0], true),
            (&[1.0, 100.0], &[1.01, 100.0], false),
            (&[f32::NAN, 1.0], &[f32::NAN, 1.0], true),
            (&[f32::INFINITY, 1.0], &[1e30, 1.0], false),
        ] {
            assert_eq!(same(&of(one), &of(other)), expected, "{one:?} {other:?}");
        }
        let whole = |value: i64| [Tensor::of(vec![1], &[value]).unwrap()];
        assert!(!same(&whole(1_000_000), &whole(1_000_001)));
    }
}
