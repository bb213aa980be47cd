//! Inputs made up from a signature, to warm a model up and to learn about it.

use half::{bf16, f16};

use crate::{DataType, Signature, Tensor, TensorSpec};

/// An example larger than this is not made: warming up must not take the memory it is to protect.
const MAX_ELEMENTS: usize = 16 << 20;

/// Makes inputs up: numbers between 0 and 1, whole numbers and texts out of a few, no two calls alike.
/// The same seed gives the same inputs.
pub(crate) struct Examples(u64);

impl Examples {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Inputs of that many rows; variable dimensions behind the first get `open` elements. `None` when
    /// that is too large.
    pub(crate) fn inputs(&mut self, signature: &Signature, rows: usize, open: usize) -> Option<Vec<Tensor>> {
        signature.inputs.iter().map(|spec| self.tensor(spec, rows, open)).collect()
    }

    fn tensor(&mut self, spec: &TensorSpec, rows: usize, open: usize) -> Option<Tensor> {
        let size = |(place, size): (usize, &i64)| match usize::try_from(*size) {
            Ok(size) => size,
            Err(_) if place == 0 => rows,
            Err(_) => open,
        };
        let shape: Vec<usize> = spec.shape.iter().enumerate().map(size).collect();
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
        if count > MAX_ELEMENTS {
            return None;
        }
        self.fill(spec.dtype, shape, count).ok()
    }

    fn fill(&mut self, dtype: DataType, shape: Vec<usize>, count: usize) -> eyot_core::Result<Tensor> {
        macro_rules! of {
            ($($ty:ty: $value:expr),* $(,)?) => {
                match dtype {
                    $(<$ty as crate::Element>::TYPE => {
                        let value: fn(f32) -> $ty = $value;
                        let values: Vec<$ty> = (0..count).map(|_| value(self.number())).collect();
                        Tensor::of(shape, &values)
                    })*
                    DataType::Bool => {
                        let values: Vec<u8> = (0..count).map(|_| u8::from(self.number() < 0.5)).collect();
                        Tensor::new(dtype, shape, values)
                    }
                    DataType::Bytes => {
                        let values: Vec<_> = (0..count).map(|_| if self.number() < 0.5 { "a" } else { "b" }).collect();
                        Tensor::of_strings(shape, &values)
                    }
                }
            };
        }
        // Whole numbers often are places in a table; 0 and 1 are in all but the smallest.
        of! {
            f32: |value| value, f64: f64::from, f16: f16::from_f32, bf16: bf16::from_f32,
            u8: |value| u8::from(value < 0.5), u16: |value| u16::from(value < 0.5),
            u32: |value| u32::from(value < 0.5), u64: |value| u64::from(value < 0.5),
            i8: |value| i8::from(value < 0.5), i16: |value| i16::from(value < 0.5),
            i32: |value| i32::from(value < 0.5), i64: |value| i64::from(value < 0.5),
        }
    }

    /// The next of a sequence of numbers between 0 and 1: splitmix64, whose numbers need not be better.
    fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn examples_fit_any_signature_and_differ() {
        let spec = |dtype: DataType, shape: &[i64]| TensorSpec {
            name: dtype.to_string(),
            dtype,
            shape: shape.into(),
        };
        for dtype in DataType::ALL.iter().copied() {
            let signature = Signature { inputs: vec![spec(dtype, &[-1, 3, -1])], outputs: vec![] };
            let mut examples = Examples::new(1);
            let first = examples.inputs(&signature, 2, 16).unwrap();
            assert_eq!((first[0].dtype(), first[0].shape()), (dtype, &[2, 3, 16][..]));
            assert_ne!(first, examples.inputs(&signature, 2, 16).unwrap(), "{dtype}");
            assert_eq!(first, Examples::new(1).inputs(&signature, 2, 16).unwrap());
        }
        let huge = Signature { inputs: vec![spec(DataType::U8, &[i64::MAX, i64::MAX])], outputs: vec![] };
        assert!(Examples::new(1).inputs(&huge, 1, 1).is_none());
    }
}
