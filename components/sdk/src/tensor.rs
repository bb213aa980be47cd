use crate::bindings::eyot::ml::types::{self, Dtype};
use crate::{Error, Result};

/// A named tensor: dense, row-major, little-endian.
#[derive(Clone, Debug)]
pub struct Tensor(types::Tensor);

impl Tensor {
    /// A tensor of elements. The number of elements must be that of the shape: the host checks it.
    pub fn of<T: Element>(name: &str, shape: &[usize], elements: &[T]) -> Self {
        let mut data = Vec::with_capacity(size_of_val(elements));
        elements.iter().for_each(|element| element.write(&mut data));
        Self::raw(name, T::DTYPE, shape, data)
    }

    /// A tensor of texts.
    pub fn of_texts(name: &str, shape: &[usize], texts: &[impl AsRef<str>]) -> Self {
        let mut data = Vec::new();
        for text in texts {
            let text = text.as_ref().as_bytes();
            data.extend_from_slice(&(text.len() as u32).to_le_bytes());
            data.extend_from_slice(text);
        }
        Self::raw(name, Dtype::Bytes, shape, data)
    }

    fn raw(name: &str, dtype: Dtype, shape: &[usize], data: Vec<u8>) -> Self {
        let shape = shape.iter().map(|dim| *dim as u64).collect();
        Self(types::Tensor { name: name.to_owned(), dtype, shape, data })
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same tensor under another name.
    pub fn renamed(mut self, name: &str) -> Self {
        self.0.name = name.to_owned();
        self
    }

    /// The size of each dimension.
    pub fn shape(&self) -> Vec<usize> {
        self.0.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX)).collect()
    }

    /// The elements.
    ///
    /// Fails when they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.check(T::DTYPE)?;
        Ok(self.0.data.chunks_exact(size_of::<T>()).map(T::read).collect())
    }

    /// The elements of a tensor of texts or other bytes.
    ///
    /// Fails when they are of another type, or their lengths are not those of the data.
    pub fn to_byte_strings(&self) -> Result<Vec<&[u8]>> {
        self.check(Dtype::Bytes)?;
        let (mut rest, mut elements) = (self.0.data.as_slice(), Vec::new());
        while !rest.is_empty() {
            let split = rest.split_first_chunk().and_then(|(length, after)| {
                after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
            });
            let (element, after) = split.ok_or_else(|| {
                Error::invalid(format!("the elements of tensor '{}' do not fit its data", self.0.name))
            })?;
            elements.push(element);
            rest = after;
        }
        Ok(elements)
    }

    fn check(&self, wanted: Dtype) -> Result<()> {
        let Self(types::Tensor { name, dtype, .. }) = self;
        if *dtype == wanted {
            return Ok(());
        }
        Err(Error::invalid(format!("tensor '{name}' is {dtype:?}, not {wanted:?}")))
    }
}

impl From<types::Tensor> for Tensor {
    fn from(tensor: types::Tensor) -> Self {
        Self(tensor)
    }
}

impl From<Tensor> for types::Tensor {
    fn from(tensor: Tensor) -> Self {
        tensor.0
    }
}

/// A Rust type that is a tensor's element.
pub trait Element: Copy {
    #[doc(hidden)]
    const DTYPE: Dtype;
    #[doc(hidden)]
    fn write(self, data: &mut Vec<u8>);
    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Self;
}

impl Element for bool {
    const DTYPE: Dtype = Dtype::Boolean;

    fn write(self, data: &mut Vec<u8>) {
        data.push(u8::from(self));
    }

    fn read(bytes: &[u8]) -> Self {
        bytes.first().is_some_and(|byte| *byte != 0)
    }
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn write(self, data: &mut Vec<u8>) {
                data.extend_from_slice(&self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or_else(|_| Self::default(), Self::from_le_bytes)
            }
        }
    )*};
}

elements! {
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    f32 => Fp32, f64 => Fp64,
}
