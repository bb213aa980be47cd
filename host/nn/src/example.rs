//! Inputs made up from a signature, to warm a model up and to learn about it.

use half::{bf16, f16};

use crate::{DataType, Signature, Tensor, TensorSpec};

/// An example larger than this is not made: warming up must not take the memory it is to protect.
const MAX_ELEMENTS: usize = 16 << 20;

/// What made-up numbers are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
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
pub(crate) struct Examples(u64);

impl Examples {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Inputs of that many rows; variable dimensions behind the first get `open` elements. `None` when
    /// that is too large.
    pub(crate) fn inputs(
        &mut self,
        signature: &Signature,
        rows: usize,
        open: usize,
        manner: Manner,
    ) -> Option<Vec<Tensor>> {
        signature.inputs.iter().map(|spec| self.tensor(spec, rows, open, manner)).collect()
    }

    fn tensor(&mut self, spec: &TensorSpec, rows: usize, open: usize, manner: Manner) -> Option<Tensor> {
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
        self.fill(spec.dtype, shape, count, manner).ok()
    }

    fn fill(
        &mut self,
        dtype: DataType,
        shape: Vec<usize>,
        count: usize,
        manner: Manner,
    ) -> eyot_core::Result<Tensor> {
        macro_rules! of {
            ($($ty:ty: $value:expr),* $(,)?) => {
                match dtype {
                    $(<$ty as crate::Element>::TYPE => {
                        let value: fn(&mut Self, Manner) -> $ty = $value;
                        let values: Vec<$ty> = (0..count).map(|_| value(self, manner)).collect();
                        Tensor::of(shape, &values)
                    })*
                    DataType::Bool => {
                        let values: Vec<u8> = (0..count).map(|_| u8::from(self.number() < 0.5)).collect();
                        Tensor::new(dtype, shape, values)
                    }
                    DataType::Bytes => {
                        let values: Vec<_> = (0..count).map(|_| self.text(manner)).collect();
                        Tensor::of_strings(shape, &values)
                    }
                }
            };
        }
        // Conversions go to the nearest that there is.
        of! {
            f32: |all, manner| all.fraction(manner), f64: |all, manner| f64::from(all.fraction(manner)),
            f16: |all, manner| f16::from_f32(all.fraction(manner)),
            bf16: |all, manner| bf16::from_f32(all.fraction(manner)),
            u8: |all, manner| all.whole(manner) as u8, u16: |all, manner| all.whole(manner) as u16,
            u32: |all, manner| all.whole(manner) as u32, u64: |all, manner| all.whole(manner) as u64,
            i8: |all, manner| all.whole(manner) as i8, i16: |all, manner| all.whole(manner) as i16,
            i32: |all, manner| all.whole(manner) as i32, i64: |all, manner| all.whole(manner) as i64,
        }
    }

    fn fraction(&mut self, manner: Manner) -> f32 {
        match manner {
            Manner::Plain => self.number(),
            Manner::Wide if self.number() < 0.125 => 0.0,
            Manner::Wide => (self.number() - 0.5) * 10_f32.powf(6.0 * self.number() - 3.0),
            Manner::Extreme(value) | Manner::ExtremeFloats(value) => value,
        }
    }

    /// Whole numbers often are places in a table; 0 and 1 are in all but the smallest.
    fn whole(&mut self, manner: Manner) -> f32 {
        match manner {
            Manner::Plain | Manner::ExtremeFloats(_) => f32::from(u8::from(self.number() < 0.5)),
            Manner::Wide => (8.0 * self.number()).floor(),
            Manner::Extreme(value) => value,
        }
    }

    fn text(&mut self, manner: Manner) -> &'static str {
        let among: &[&str] = match manner {
            Manner::Plain | Manner::ExtremeFloats(_) => &["a", "b"],
            Manner::Wide => &["a", "b", "", " a", "c d"],
            Manner::Extreme(_) => &["nobody knows this, which is longer than the others and has an ä"],
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
            let signature = Signature::new(vec![spec(dtype, &[-1, 3, -1])], vec![]);
            let mut examples = Examples::new(1);
            let first = examples.inputs(&signature, 2, 16, Manner::Plain).unwrap();
            assert_eq!((first[0].dtype(), first[0].shape()), (dtype, &[2, 3, 16][..]));
            assert_ne!(first, examples.inputs(&signature, 2, 16, Manner::Plain).unwrap(), "{dtype}");
            assert_eq!(first, Examples::new(1).inputs(&signature, 2, 16, Manner::Plain).unwrap());
        }
        let huge = Signature::new(vec![spec(DataType::U8, &[i64::MAX, i64::MAX])], vec![]);
        assert!(Examples::new(1).inputs(&huge, 1, 1, Manner::Plain).is_none());
    }
}
