//! Tensors of ONNX Runtime over our bytes, and ours over its.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Error, Result};
use ort::AsPointer as _;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::sys;

use crate::aligned::{AlignedBuffer, aligned};
use crate::{DataType, Tensor};

/// A value, released when dropped.
pub(super) struct OrtValue {
    pointer: NonNull<sys::OrtValue>,
    /// What the value points into, where it does not own its bytes.
    bytes: Bytes,
}

// SAFETY: a value is owned by one holder, who reads it or gives it to `Run`, which reads it too.
unsafe impl Send for OrtValue {}
// SAFETY: as above.
unsafe impl Sync for OrtValue {}

impl Drop for OrtValue {
    fn drop(&mut self) {
        // SAFETY: it is ours and is released once.
        unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) };
    }
}

/// Turns a status into a result.
///
/// # Safety
///
/// The status comes from a call of the library and is used nowhere else.
pub(super) unsafe fn check(status: sys::OrtStatusPtr) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| super::failed(&error))
}

impl OrtValue {
    /// Takes over a value that the library made, if it did.
    pub(super) fn owned(pointer: *mut sys::OrtValue) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, bytes: Bytes::new() })
    }

    pub(super) fn pointer(&self) -> *const sys::OrtValue {
        self.pointer.as_ptr().cast_const()
    }

    /// An input over the bytes of a tensor, which are not copied.
    pub(super) fn of(tensor: &Tensor, memory: &MemoryInfo<'static>) -> Result<Self> {
        let shape: Vec<i64> =
            tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        if tensor.dtype() == DataType::Bytes {
            return texts(tensor, &shape);
        }
        let bytes = aligned(tensor.bytes(), tensor.dtype().size().unwrap_or(1));
        let mut pointer: *mut sys::OrtValue = ptr::null_mut();
        // SAFETY: the value keeps the bytes alive for as long as itself; inputs are not written to.
        unsafe {
            check((ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element_type(tensor.dtype()),
                &mut pointer,
            ))?;
        }
        let pointer = NonNull::new(pointer).ok_or_else(|| Error::internal("onnxruntime made no value"))?;
        Ok(Self { pointer, bytes })
    }

    /// An output of one number, which is written to that place.
    ///
    /// # Safety
    ///
    /// The place outlives the value, and nobody looks at it while a run may write to it.
    pub(super) unsafe fn at(place: *mut f32, memory: &MemoryInfo<'static>) -> Result<Self> {
        let (shape, mut pointer) = ([1_i64], ptr::null_mut());
        // SAFETY: the caller's promise.
        unsafe {
            check((ort::api().CreateTensorWithDataAsOrtValue)(
                memory.ptr(),
                place.cast::<c_void>(),
                size_of::<f32>(),
                shape.as_ptr(),
                shape.len(),
                element_type(DataType::F32),
                &mut pointer,
            ))?;
        }
        Self::owned(pointer).ok_or_else(|| Error::internal("onnxruntime made no value"))
    }

    /// Whether any of that memory is what this value was made over.
    fn overlaps(&self, data: NonNull<u8>, length: usize) -> bool {
        let (ours, theirs) = (self.bytes.as_ptr().addr(), data.as_ptr().addr());
        ours < theirs.saturating_add(length) && theirs < ours.saturating_add(self.bytes.len())
    }

    /// The tensor that a run over `inputs` gave. Large ones stay where the library put them, unless that is
    /// no place of its own: a graph that hands an input on gives back a value over the input's bytes, which
    /// are not its to keep.
    pub(super) fn into_tensor(self, inputs: &[OrtValue], session: &Arc<Session>) -> Result<Tensor> {
        let (element, shape) = self.element_and_shape()?;
        let dtype = data_type(element)
            .ok_or_else(|| Error::unsupported(format!("the model gave a tensor of {element:?}")))?;
        let Some(size) = dtype.size() else { return self.texts(shape) };
        let length = shape.iter().product::<usize>() * size;
        if length == 0 {
            return Ok(Tensor::trusted(dtype, shape, Bytes::new()));
        }
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the value is a tensor of a type with a fixed size.
        unsafe { check((ort::api().GetTensorMutableData)(self.pointer.as_ptr(), &mut data))? };
        let data = NonNull::new(data.cast::<u8>());
        let data = data.ok_or_else(|| Error::internal("onnxruntime gave a tensor without bytes"))?;
        let borrowed = inputs.iter().any(|input| input.overlaps(data, length));
        let output = OutputBytes { data, length, _value: self, _session: session.clone() };
        let bytes = if borrowed {
            let mut copy = AlignedBuffer::with_capacity(length);
            copy.append(output.as_ref());
            copy.into_bytes()
        } else if length <= MIN_SHARED_BYTES {
            Bytes::copy_from_slice(output.as_ref())
        } else {
            Bytes::from_owner(output)
        };
        // Whatever is behind a boolean, it is not for others to trip over.
        if dtype == DataType::Bool {
            Tensor::new(dtype, shape, bytes)
        } else {
            Ok(Tensor::trusted(dtype, shape, bytes))
        }
    }

    fn element_and_shape(&self) -> Result<(sys::ONNXTensorElementDataType, Vec<usize>)> {
        let mut kind = sys::ONNXType::ONNX_TYPE_UNKNOWN;
        let mut element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        let (mut dims, mut count) = (ptr::null(), 0);
        // SAFETY: the dimensions belong to the value and are copied before it can go.
        let dims: &[i64] = unsafe {
            check((ort::api().GetValueType)(self.pointer(), &mut kind))?;
            if kind != sys::ONNXType::ONNX_TYPE_TENSOR {
                return Err(Error::unsupported("the model gave something that is no tensor"));
            }
            check((ort::api().GetTensorElementTypeAndShapeDataReference)(
                self.pointer(),
                &mut element,
                &mut dims,
                &mut count,
            ))?;
            if count == 0 { &[] } else { std::slice::from_raw_parts(dims, count) }
        };
        Ok((element, dims.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect()))
    }

    fn texts(&self, shape: Vec<usize>) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        if count == 0 {
            return Ok(Tensor::trusted(DataType::Bytes, shape, Bytes::new()));
        }
        let mut length = 0;
        let mut starts = vec![0_usize; count];
        let mut content;
        // SAFETY: the buffers are as long as is said, and `count` is the number of elements.
        unsafe {
            check((ort::api().GetStringTensorDataLength)(self.pointer(), &mut length))?;
            content = vec![0_u8; length];
            check((ort::api().GetStringTensorContent)(
                self.pointer(),
                content.as_mut_ptr().cast(),
                length,
                starts.as_mut_ptr(),
                count,
            ))?;
        }
        let ends = starts.iter().skip(1).copied().chain([length]);
        let texts: Option<Vec<&[u8]>> =
            starts.iter().zip(ends).map(|(start, end)| content.get(*start..end)).collect();
        let texts = texts.ok_or_else(|| Error::internal("onnxruntime gave texts that overlap"))?;
        Tensor::of_strings(shape, &texts)
    }
}

/// Below this, a copy costs less than keeping the library's own buffer from being used again.
const MIN_SHARED_BYTES: usize = 4096;

/// The bytes of an output where the library put them.
struct OutputBytes {
    data: NonNull<u8>,
    length: usize,
    _value: OrtValue,
    /// The library's allocator lives as long as its session.
    _session: Arc<Session>,
}

// SAFETY: nobody writes to the bytes any more, and the value may be released on any thread.
unsafe impl Send for OutputBytes {}
// SAFETY: as above.
unsafe impl Sync for OutputBytes {}

impl AsRef<[u8]> for OutputBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the value has that many bytes there, and lives as long as this.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }
}

fn texts(tensor: &Tensor, shape: &[i64]) -> Result<OrtValue> {
    // The library would take other bytes, and its answer could not be read.
    if tensor.strings().any(|text| std::str::from_utf8(text).is_err()) {
        return Err(Error::invalid("a string tensor holds bytes that are no UTF-8"));
    }
    let texts = tensor.strings().map(CString::new).collect::<Result<Vec<_>, _>>();
    let texts = texts
        .map_err(|_| Error::invalid("a string tensor holds a zero byte, which onnxruntime cannot take"))?;
    let firsts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let allocator = ort::memory::Allocator::default();
    let mut pointer: *mut sys::OrtValue = ptr::null_mut();
    // SAFETY: shape and texts are alive for the calls; the value is there before it is filled, and
    // keeps copies of the texts.
    unsafe {
        let element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
        check((ort::api().CreateTensorAsOrtValue)(
            allocator.ptr().cast_mut(),
            shape.as_ptr(),
            shape.len(),
            element,
            &mut pointer,
        ))?;
        let value = OrtValue::owned(pointer).ok_or_else(|| Error::internal("onnxruntime made no value"))?;
        check((ort::api().FillStringTensor)(pointer, firsts.as_ptr(), firsts.len()))?;
        Ok(value)
    }
}

macro_rules! pairs {
    ($($ours:ident <=> $sys:ident),* $(,)?) => {
        fn element_type(dtype: DataType) -> sys::ONNXTensorElementDataType {
            match dtype { $(DataType::$ours => sys::ONNXTensorElementDataType::$sys),* }
        }

        fn data_type(element: sys::ONNXTensorElementDataType) -> Option<DataType> {
            match element { $(sys::ONNXTensorElementDataType::$sys => Some(DataType::$ours),)* _ => None }
        }
    };
}

pairs! {
    Bool <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    U8 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    U16 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    U32 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
    U64 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    I8 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    I16 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    I32 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    I64 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    F16 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    BF16 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    F32 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    F64 <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    Bytes <=> ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
}
