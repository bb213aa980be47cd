//! How far a model at a lower precision is from itself at full precision.

use eyot_core::config::Tolerance;
use eyot_core::{Error, Result};
use half::{bf16, f16};

use crate::example::ExampleGenerator;
use crate::{BackendModel, DataType, Tensor, batch_probe};

/// Made-up inputs on which both are run.
const EXAMPLE_COUNT: usize = 8;

/// Runs both on made-up inputs: the largest difference between any two elements of an output, as a part
/// of that output's largest element; of whole numbers and texts, the part that is not the same.
///
/// Fails where the model runs on no example: nothing is known of it then.
pub(crate) fn measure(model: &dyn BackendModel, exact: &dyn BackendModel) -> Result<Tolerance> {
    let mut examples = ExampleGenerator::new(1);
    let mut largest = 0.0_f64;
    for _ in 0..EXAMPLE_COUNT {
        let inputs = batch_probe::example(exact, &mut examples, 1).ok_or_else(|| {
            Error::unsupported(
                "no example was found on which this model runs, so that a lower precision cannot be checked",
            )
            .hint("deploy it at f32")
        })?;
        let (found, expected) = (batch_probe::run(model, &inputs)?, batch_probe::run(exact, &inputs)?);
        for (found, expected) in found.iter().zip(&expected) {
            largest = largest.max(between(found, expected));
        }
    }
    Tolerance::new(largest.min(1.0))
}

fn between(found: &Tensor, expected: &Tensor) -> f64 {
    if found.dtype() != expected.dtype() || found.shape() != expected.shape() {
        return 1.0;
    }
    let Some((found, expected)) = numbers(found).zip(numbers(expected)) else {
        return unequal(found, expected);
    };
    let scale = expected.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
    let apart = |(found, expected): (&f64, &f64)| {
        let same = found == expected || found.is_nan() && expected.is_nan();
        if same { 0.0 } else { (found - expected).abs() / scale }
    };
    let worst = found.iter().zip(&expected).map(apart).fold(0.0_f64, f64::max);
    // One is infinite or no number where the other is.
    let broken =
        found.iter().zip(&expected).any(|(found, expected)| found.is_finite() != expected.is_finite());
    if broken { 1.0 } else { worst.min(1.0) }
}

/// The elements of a floating-point tensor.
fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.dtype() {
        DataType::F32 => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
        DataType::F64 => tensor.to_vec::<f64>()?,
        DataType::F16 => tensor.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
        DataType::BF16 => tensor.to_vec::<bf16>()?.into_iter().map(f64::from).collect(),
        _ => return None,
    })
}

fn unequal(found: &Tensor, expected: &Tensor) -> f64 {
    let Some(size) = found.dtype().size() else { return if found == expected { 0.0 } else { 1.0 } };
    let pairs = found.bytes().chunks(size).zip(expected.bytes().chunks(size));
    let count = expected.bytes().len() / size;
    pairs.filter(|(found, expected)| found != expected).count() as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn differences_are_parts_of_the_largest_element() {
        let floats = |values: &[f32]| Tensor::of(vec![values.len()], values).unwrap();
        let whole = |values: &[i64]| Tensor::of(vec![values.len()], values).unwrap();
        let cases = [
            (floats(&[1.0, -4.0]), floats(&[1.0, -4.0]), 0.0),
            (floats(&[1.5, -4.0]), floats(&[1.0, -4.0]), 0.125),
            (floats(&[f32::NAN, 2.0]), floats(&[f32::NAN, 2.0]), 0.0),
            (floats(&[f32::NAN, 2.0]), floats(&[1.0, 2.0]), 1.0),
            (floats(&[9.0]), floats(&[1.0]), 1.0),
            (floats(&[1.0]), floats(&[0.0]), 1.0),
            (floats(&[1.0]), floats(&[1.0, 1.0]), 1.0),
            (whole(&[1, 2, 3, 4]), whole(&[1, 2, 3, 5]), 0.25),
        ];
        for (found, expected, difference) in cases {
            assert!((between(&found, &expected) - difference).abs() < 1e-9, "{found:?} {expected:?}");
        }
    }
}
