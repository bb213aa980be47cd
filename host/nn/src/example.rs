//! Inputs made up from a signature, to warm a model up and to learn about it.

use half::{bf16, f16};

use crate::{DataType, ModelSignature, Tensor, TensorSpec};

/// An example larger than this is not made: warming up must not take the memory it is to protect.
const MAX_ELEMENTS: usize = 16 << 20;

/// What made-up numbers are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ExampleKind {
    /// Numbers between 0 and 1; whole numbers and texts out of two.
    Plain,
    /// Below and above zero, from thousandths to thousands, and zeros; whole numbers and texts out of a few.
    Wide,
    /// That number everywhere, or the nearest that a type has; a text that nobody knows.
    Extreme(f32),
    /// The same where numbers have fractions, the rest plain.
    ExtremeFloats(f32),
}

/// Makes inputs up, no two calls alike unless all their numbers are the same.
/// The same seed gives the same inputs.
pub(crate) struct ExampleGenerator(u64);

impl ExampleGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Inputs of that many rows; variable dimensions behind the first get `open` elements. `None` when
    /// that is too large.
    pub(crate) fn inputs(
        &mut self,
        signature: &ModelSignature,
        rows: usize,
        open: usize,
        kind: ExampleKind,
    ) -> Option<Vec<Tensor>> {
        signature.inputs.iter().map(|spec| self.tensor(spec, rows, open, kind)).collect()
    }

    fn tensor(&mut self, spec: &TensorSpec, rows: usize, open: usize, kind: ExampleKind) -> Option<Tensor> {
        let size = |(place, size): (usize, &i64)| match usize::try_from(*size) {
            Ok(size) => size,
            Err(_) if place == 0 => rows,
            Err(_) => open,
        };
        let shape: Vec<usize> = match spec.any_shape {
            // Rows and columns are what most take.
            true => vec![rows, open],
            false => spec.shape.iter().enumerate().map(size).collect(),
        };
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
        if count > MAX_ELEMENTS {
            return None;
        }
        self.fill(spec.dtype, shape, count, kind).ok()
    }

    fn fill(
        &mut self,
        dtype: DataType,
        shape: Vec<usize>,
        count: usize,
        kind: ExampleKind,
    ) -> eyot_core::Result<Tensor> {
        macro_rules! of {
            ($($ty:ty: $value:expr),* $(,)?) => {
                match dtype {
                    $(<$ty as crate::TensorElement>::TYPE => {
                        let value: fn(&mut Self, ExampleKind) -> $ty = $value;
                        let values: Vec<$ty> = (0..count).map(|_| value(self, kind)).collect();
                        Tensor::of(shape, &values)
                    })*
                    DataType::Bool => {
                        let values: Vec<u8> = (0..count).map(|_| u8::from(self.number() < 0.5)).collect();
                        Tensor::new(dtype, shape, values)
                    }
                    DataType::Bytes => {
                        let values: Vec<_> = (0..count).map(|_| self.text(kind)).collect();
                        Tensor::of_strings(shape, &values)
                    }
                }
            };
        }
        // Conversions go to the nearest that there is.
        of! {
            f32: |all, kind| all.fraction(kind), f64: |all, kind| f64::from(all.fraction(kind)),
            f16: |all, kind| f16::from_f32(all.fraction(kind)),
            bf16: |all, kind| bf16::from_f32(all.fraction(kind)),
            u8: |all, kind| all.whole(kind) as u8, u16: |all, kind| all.whole(kind) as u16,
            u32: |all, kind| all.whole(kind) as u32, u64: |all, kind| all.whole(kind) as u64,
            i8: |all, kind| all.whole(kind) as i8, i16: |all, kind| all.whole(kind) as i16,
            i32: |all, kind| all.whole(kind) as i32, i64: |all, kind| all.whole(kind) as i64,
        }
    }

    fn fraction(&mut self, kind: ExampleKind) -> f32 {
        match kind {
            ExampleKind::Plain => self.number(),
            ExampleKind::Wide if self.number() < 0.125 => 0.0,
            ExampleKind::Wide => (self.number() - 0.5) * 10_f32.powf(6.0 * self.number() - 3.0),
            ExampleKind::Extreme(value) | ExampleKind::ExtremeFloats(value) => value,
        }
    }

    /// Whole numbers often are places in a table; 0 and 1 are in all but the smallest.
    fn whole(&mut self, kind: ExampleKind) -> f32 {
        match kind {
            ExampleKind::Plain | ExampleKind::ExtremeFloats(_) => f32::from(u8::from(self.number() < 0.5)),
            ExampleKind::Wide => (8.0 * self.number()).floor(),
            ExampleKind::Extreme(value) => value,
        }
    }

    fn text(&mut self, kind: ExampleKind) -> &'static str {
        let among: &[&str] = match kind {
            ExampleKind::Plain | ExampleKind::ExtremeFloats(_) => &["a", "b"],
            ExampleKind::Wide => &["a", "b", "", " a", "c d"],
            ExampleKind::Extreme(_) => &["nobody knows this, which is longer than the others and has an ä"],
        };
        among[(self.number() * among.len() as f32) as usize % among.len()]
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
        let spec = |dtype: DataType, shape: &[i64]| TensorSpec::new(dtype.to_string(), dtype, shape);
        for dtype in DataType::ALL.iter().copied() {
            let signature = ModelSignature::new(vec![spec(dtype, &[-1, 3, -1])], vec![]);
            let mut examples = ExampleGenerator::new(1);
            let first = examples.inputs(&signature, 2, 16, ExampleKind::Plain).unwrap();
            assert_eq!((first[0].dtype(), first[0].shape()), (dtype, &[2, 3, 16][..]));
            assert_ne!(first, examples.inputs(&signature, 2, 16, ExampleKind::Plain).unwrap(), "{dtype}");
            assert_eq!(
                first,
                ExampleGenerator::new(1).inputs(&signature, 2, 16, ExampleKind::Plain).unwrap()
            );
        }
        let huge = ModelSignature::new(vec![spec(DataType::U8, &[i64::MAX, i64::MAX])], vec![]);
        assert!(ExampleGenerator::new(1).inputs(&huge, 1, 1, ExampleKind::Plain).is_none());
    }
}
