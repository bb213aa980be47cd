use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use eyot_core::{Error, Result};
use serde::{Deserialize, Serialize};

macro_rules! data_types {
    ($($variant:ident $name:literal $size:literal,)*) => {
        /// The type of a tensor's elements, named as in the Open Inference Protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum DataType {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl DataType {
            /// Every type.
            pub const ALL: &'static [DataType] = &[$(DataType::$variant,)*];

            /// The name in the Open Inference Protocol.
            pub fn as_str(self) -> &'static str {
                match self { $(DataType::$variant => $name,)* }
            }

            /// Bytes of one element; `None` for `BYTES`, whose elements have lengths of their own.
            pub fn size(self) -> Option<usize> {
                let size = match self { $(DataType::$variant => $size,)* };
                (size != 0).then_some(size)
            }
        }
    };
}

data_types! {
    Bool "BOOL" 1,
    U8 "UINT8" 1,
    U16 "UINT16" 2,
    U32 "UINT32" 4,
    U64 "UINT64" 8,
    I8 "INT8" 1,
    I16 "INT16" 2,
    I32 "INT32" 4,
    I64 "INT64" 8,
    F16 "FP16" 2,
    BF16 "BF16" 2,
    F32 "FP32" 4,
    F64 "FP64" 8,
    Bytes "BYTES" 0,
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DataType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        DataType::ALL.iter().copied().find(|ty| ty.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = DataType::ALL.iter().map(|ty| ty.as_str()).collect();
            let shown: String = text.chars().take(40).collect();
            Error::invalid(format!("'{shown}' is no datatype"))
                .hint(format!("datatypes are {}", names.join(", ")))
        })
    }
}

// Tensors are little-endian wherever they are, and back ends read them as the processor's own numbers.
#[cfg(target_endian = "big")]
compile_error!("host/nn needs a little-endian processor");

/// A dense tensor: row-major, little-endian. `BYTES` elements stand one after another, each behind its
/// length as a `u32`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DataType,
    shape: Vec<usize>,
    bytes: Bytes,
}

/// A tensor under the name of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTensor {
    pub name: String,
    pub tensor: Tensor,
}

impl Tensor {
    /// A tensor over bytes, checked against type and shape.
    ///
    /// Fails with `Invalid` when the length does not fit, a boolean is neither 0 nor 1, or the lengths
    /// of `BYTES` elements do not add up.
    pub fn new(dtype: DataType, shape: Vec<usize>, bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        let count = elements(&shape)?;
        match dtype.size() {
            Some(size) => check_length(dtype, &shape, count, size, bytes.len())?,
            None => check_strings(&shape, count, &bytes)?,
        }
        if dtype == DataType::Bool
            && let Some(byte) = bytes.iter().find(|byte| **byte > 1)
        {
            return Err(Error::invalid(format!("a BOOL element is 0 or 1, not {byte}")));
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// A tensor of elements.
    pub fn of<T: TensorElement>(shape: Vec<usize>, elements: &[T]) -> Result<Self> {
        // SAFETY: elements are numbers without padding, see `TensorElement`.
        let bytes =
            unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements)) };
        Self::new(T::TYPE, shape, bytes.to_vec())
    }

    /// A tensor over bytes that are known to fit: made by a back end, or out of other tensors.
    pub(crate) fn trusted(dtype: DataType, shape: Vec<usize>, bytes: Bytes) -> Self {
        Self { dtype, shape, bytes }
    }

    /// A `BYTES` tensor.
    pub fn of_strings(shape: Vec<usize>, elements: &[impl AsRef<[u8]>]) -> Result<Self> {
        let mut bytes = Vec::new();
        for element in elements {
            let element = element.as_ref();
            let length = u32::try_from(element.len())
                .map_err(|_| Error::too_large("a BYTES element is larger than 4 GiB"))?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(element);
        }
        Self::new(DataType::Bytes, shape, bytes)
    }

    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements, if they are of that type.
    pub fn to_vec<T: TensorElement>(&self) -> Option<Vec<T>> {
        if self.dtype != T::TYPE {
            return None;
        }
        let count = self.bytes.len() / size_of::<T>();
        let mut elements = Vec::<T>::with_capacity(count);
        // SAFETY: room for `count` elements was reserved, `bytes` holds as many, and every pattern of
        // bits is one, see `TensorElement`. The bytes may lie anywhere, so they are copied as bytes.
        unsafe {
            let target = elements.as_mut_ptr().cast::<u8>();
            std::ptr::copy_nonoverlapping(self.bytes.as_ptr(), target, count * size_of::<T>());
            elements.set_len(count);
        }
        Some(elements)
    }

    /// The elements of a `BYTES` tensor; nothing for any other.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let all: &[u8] = if self.dtype == DataType::Bytes { &self.bytes } else { &[] };
        StringIterator(all)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} of {} bytes", self.dtype, self.shape, self.bytes.len())
    }
}

/// The elements of a shape, whose product a stranger may have chosen to overflow.
fn elements(shape: &[usize]) -> Result<usize> {
    let product = shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim));
    product.ok_or_else(|| {
        Error::invalid(format!("a tensor of shape {shape:?} is larger than this machine's memory"))
    })
}

fn check_length(dtype: DataType, shape: &[usize], count: usize, size: usize, found: usize) -> Result<()> {
    let wanted = count.checked_mul(size);
    if wanted == Some(found) {
        return Ok(());
    }
    let wanted = wanted.map_or_else(|| "too many".to_owned(), |wanted| wanted.to_string());
    Err(Error::invalid(format!("{dtype} of shape {shape:?} has {wanted} bytes, not {found}")))
}

fn check_strings(shape: &[usize], count: usize, bytes: &[u8]) -> Result<()> {
    let mut strings = StringIterator(bytes);
    let found = strings.by_ref().count();
    if !strings.0.is_empty() {
        return Err(Error::invalid("the last BYTES element is cut off")
            .hint("each is its length as a u32, then its bytes"));
    }
    if found == count {
        return Ok(());
    }
    Err(Error::invalid(format!("BYTES of shape {shape:?} has {count} elements, not {found}")))
}

struct StringIterator<'a>(&'a [u8]);

impl<'a> Iterator for StringIterator<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(element)
    }
}

/// A Rust type that is a tensor's element.
///
/// # Safety
///
/// A number of [`DataType::size`] bytes of which every pattern of bits is a value.
pub unsafe trait TensorElement: Copy {
    const TYPE: DataType;
    /// Appends the element, little-endian.
    fn write(self, bytes: &mut Vec<u8>);
    /// Reads one element from exactly its bytes.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! elements {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        // SAFETY: a primitive number, or a transparent wrapper of one.
        unsafe impl TensorElement for $type {
            const TYPE: DataType = DataType::$variant;

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or_else(|_| Self::default(), Self::from_le_bytes)
            }
        }
    )*};
}

elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    half::f16 => F16, half::bf16 => BF16, f32 => F32, f64 => F64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lengths_must_fit_shapes() {
        for (dtype, shape, length, fits) in [
            (DataType::F32, vec![2, 3], 24, true),
            (DataType::F32, vec![2, 3], 23, false),
            (DataType::F32, vec![], 4, true),
            (DataType::U8, vec![0, 7], 0, true),
            (DataType::U8, vec![usize::MAX, 2], 0, false),
            (DataType::F64, vec![usize::MAX / 4], 0, false),
            (DataType::Bytes, vec![0], 0, true),
        ] {
            assert_eq!(
                Tensor::new(dtype, shape.clone(), vec![0; length]).is_ok(),
                fits,
                "{dtype} {shape:?} {length}"
            );
        }
        assert!(Tensor::new(DataType::Bool, vec![2], vec![1, 2]).is_err());
    }

    #[test]
    fn strings_are_counted_and_whole() {
        let tensor = Tensor::of_strings(vec![3], &["a", "", "ccc"]).unwrap();
        assert_eq!(tensor.strings().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        let bytes = tensor.bytes().to_vec();
        for (shape, bytes) in [
            (vec![2], bytes.clone()),
            (vec![3], bytes[..bytes.len() - 1].to_vec()),
            (vec![3], [&bytes[..], &[0]].concat()),
            (vec![1], u32::MAX.to_le_bytes().to_vec()),
        ] {
            assert!(Tensor::new(DataType::Bytes, shape.clone(), bytes).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn names_parse_back() {
        for dtype in DataType::ALL {
            assert_eq!(dtype.as_str().parse::<DataType>().unwrap(), *dtype);
        }
        assert!("fp32".parse::<DataType>().is_err());
    }
}
