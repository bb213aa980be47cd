//! The classification extension: the best elements of an output instead of all of them.

use eyot_core::{Error, Result};
use eyot_nn::{DataType, Tensor, TensorElement};
use half::{bf16, f16};

/// The `classes` largest elements, largest first, each as `value:index`; of a tensor of several
/// dimensions those of each row.
///
/// Fails for `BYTES` and `BOOL`, which have no order.
pub(crate) fn best(tensor: &Tensor, classes: usize) -> Result<Tensor> {
    let (rows, shape) = match tensor.shape() {
        [rows, _, ..] => (*rows, true),
        _ => (1, false),
    };
    let length = tensor.count().checked_div(rows).unwrap_or_default();
    let classes = classes.min(length);
    let words = match tensor.dtype() {
        DataType::U8 => ranked::<u8>(tensor, length, classes, |value| value.to_string()),
        DataType::U16 => ranked::<u16>(tensor, length, classes, |value| value.to_string()),
        DataType::U32 => ranked::<u32>(tensor, length, classes, |value| value.to_string()),
        DataType::U64 => ranked::<u64>(tensor, length, classes, |value| value.to_string()),
        DataType::I8 => ranked::<i8>(tensor, length, classes, |value| value.to_string()),
        DataType::I16 => ranked::<i16>(tensor, length, classes, |value| value.to_string()),
        DataType::I32 => ranked::<i32>(tensor, length, classes, |value| value.to_string()),
        DataType::I64 => ranked::<i64>(tensor, length, classes, |value| value.to_string()),
        DataType::F16 => ranked::<f16>(tensor, length, classes, |value| format!("{:.6}", value.to_f32())),
        DataType::BF16 => ranked::<bf16>(tensor, length, classes, |value| format!("{:.6}", value.to_f32())),
        DataType::F32 => ranked::<f32>(tensor, length, classes, |value| format!("{value:.6}")),
        DataType::F64 => ranked::<f64>(tensor, length, classes, |value| format!("{value:.6}")),
        other @ (DataType::Bool | DataType::Bytes) => {
            return Err(Error::invalid(format!("{other} has no largest classes")));
        }
    };
    Tensor::of_strings(if shape { vec![rows, classes] } else { vec![classes] }, &words)
}

fn ranked<T: TensorElement + PartialOrd>(
    tensor: &Tensor,
    length: usize,
    classes: usize,
    show: impl Fn(T) -> String,
) -> Vec<String> {
    let values = tensor.to_vec::<T>().unwrap_or_default();
    let mut words = Vec::new();
    for row in values.chunks(length.max(1)) {
        let mut order: Vec<(usize, T)> = row.iter().copied().enumerate().collect();
        // What is no number ranks behind all that are.
        order.sort_by(|(_, one), (_, other)| {
            let number = |value: &T| value.partial_cmp(value).is_some();
            other.partial_cmp(one).unwrap_or_else(|| number(other).cmp(&number(one)))
        });
        words
            .extend(order.into_iter().take(classes).map(|(index, value)| format!("{}:{index}", show(value))));
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_best_come_first() {
        let rows = Tensor::of(vec![2, 3], &[0.25_f32, 0.5, f32::NAN, 3.0, -1.0, 2.0]).unwrap();
        for (tensor, classes, expected) in [
            (&rows, 2, vec!["0.500000:1", "0.250000:0", "3.000000:0", "2.000000:2"]),
            (&rows, 9, vec!["0.500000:1", "0.250000:0", "NaN:2", "3.000000:0", "2.000000:2", "-1.000000:1"]),
            (&Tensor::of(vec![3], &[7_i64, 9, 8]).unwrap(), 1, vec!["9:1"]),
            (&Tensor::of::<f32>(vec![0, 3], &[]).unwrap(), 1, vec![]),
        ] {
            let best = best(tensor, classes).unwrap();
            let words: Vec<_> = best.strings().map(|word| std::str::from_utf8(word).unwrap()).collect();
            assert_eq!(words, expected);
        }
        assert!(best(&Tensor::of_strings(vec![1], &["a"]).unwrap(), 1).is_err());
    }
}
