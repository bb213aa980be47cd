//! ONNX Runtime, opened at run time from where `eyot backend install` put it.

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Error, Kind, Result};
use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, TensorElementType, ValueType};
use ort::{AsPointer as _, sys};
use parking_lot::Mutex;

use crate::{Backend, DataType, Model, Settings, Signature, Target, Tensor, install, onnx};

pub(crate) struct OnnxRuntime {
    environment: Environment,
}

/// The library has one environment a process, and can be opened once.
static OPENED: Mutex<Option<Arc<OnnxRuntime>>> = Mutex::new(None);

impl OnnxRuntime {
    /// Opens the library, once in a process.
    pub(crate) fn open(library: &Path) -> Result<Arc<Self>> {
        let mut opened = OPENED.lock();
        if let Some(runtime) = &*opened {
            return Ok(runtime.clone());
        }
        let broken = |why: String| {
            Error::unavailable(format!("onnxruntime cannot be opened from {}: {why}", library.display()))
                .hint("remove that folder, then: eyot backend install onnxruntime")
        };
        let builder = ort::init_from(library).map_err(|error| broken(error.to_string()))?;
        let environment = builder
            .with_name("eyot")
            .with_telemetry(false)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        // What goes wrong comes back as an error; its own log would write into the terminal.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        let runtime = Arc::new(Self { environment });
        *opened = Some(runtime.clone());
        Ok(runtime)
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> &str {
        install::VERSION
    }

    fn targets(&self) -> Vec<Target> {
        vec![Target::Cpu]
    }

    fn load(&self, bytes: &Bytes, settings: Settings) -> Result<Box<dyn Model>> {
        if settings.target != Target::Cpu {
            return Err(Error::unsupported(format!(
                "this onnxruntime does not compute on {}",
                settings.target
            ))
            .hint("it computes on cpu; a build with other execution providers is needed"));
        }
        let signature = onnx::signature(&onnx::parse(bytes)?)?;
        let session = self.session(bytes).map_err(|error| {
            let kind = if error.code() == ort::ErrorCode::NotImplemented {
                Kind::Unsupported
            } else {
                Kind::Invalid
            };
            Error::new(kind, format!("onnxruntime cannot load this model: {}", error.message()))
        })?;
        let names = |specs: &[crate::TensorSpec]| {
            specs.iter().map(|spec| CString::new(spec.name.as_str())).collect::<Result<Vec<_>, _>>()
        };
        let names = names(&signature.inputs).and_then(|inputs| Ok((inputs, names(&signature.outputs)?)));
        let (inputs, outputs) =
            names.map_err(|_| Error::invalid("an input or output has a zero byte in its name"))?;
        let memory = MemoryInfo::default();
        Ok(Box::new(Loaded { session, signature, inputs, outputs, memory }))
    }
}

impl OnnxRuntime {
    fn session(&self, bytes: &Bytes) -> ort::Result<Session> {
        // One thread each: requests run beside each other, and a pool per model would have more threads
        // than the machine has processors.
        let builder = Session::builder(&self.environment)?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::Level3)?;
        builder.with_intra_threads(1)?.with_inter_threads(1)?.commit_from_memory(bytes)
    }
}

struct Loaded {
    session: Session,
    signature: Signature,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
    memory: MemoryInfo<'static>,
}

// SAFETY: a session is used through `Run` only, which ONNX Runtime documents as safe to call from
// several threads at once on the CPU provider, the only one this back end uses; the memory info is
// read and never written.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Model for Loaded {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let values = inputs.iter().map(|tensor| self.value(tensor)).collect::<Result<Vec<_>>>()?;
        let given: Vec<*const sys::OrtValue> =
            values.iter().map(|value| value.pointer.as_ptr().cast_const()).collect();
        let names = |names: &[CString]| names.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
        let (input_names, output_names) = (names(&self.inputs), names(&self.outputs));
        let mut answers: Vec<*mut sys::OrtValue> = vec![ptr::null_mut(); output_names.len()];
        // `ort` lends a session to one caller at a time, which would be one lock a model.
        // SAFETY: names, inputs and outputs are arrays of the lengths given, alive for the call; see
        // `Sync` above for running from several threads.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                given.as_ptr(),
                given.len(),
                output_names.as_ptr(),
                output_names.len(),
                answers.as_mut_ptr(),
            )
        };
        // SAFETY: the status comes from the call above and is used nowhere else.
        let ran = unsafe { ort::Error::result_from_status(status) };
        let answers: Vec<_> = answers.into_iter().map(NonNull::new).collect();
        // Taken over before any error is looked at, so that each is released.
        let allocator = self.session.allocator();
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                answer.map(|pointer| {
                    // SAFETY: `Run` gave this value to us, and its allocator is the session's.
                    unsafe { DynValue::from_ptr(pointer, Some(allocator)) }
                })
            })
            .collect();
        ran.map_err(|error| failed(&error))?;
        answers
            .iter()
            .map(|answer| {
                answer.as_ref().map_or_else(|| Err(Error::internal("onnxruntime gave no output")), read)
            })
            .collect()
    }
}

fn failed(error: &ort::Error) -> Error {
    let kind = if error.code() == ort::ErrorCode::InvalidArgument { Kind::Invalid } else { Kind::Failed };
    Error::new(kind, format!("the model failed in onnxruntime: {}", error.message()))
}

/// An input value over the bytes of a tensor, released when dropped.
struct Input {
    pointer: NonNull<sys::OrtValue>,
    /// What the value points into.
    _bytes: Bytes,
    _strings: Vec<CString>,
}

impl Drop for Input {
    fn drop(&mut self) {
        // SAFETY: made by `value` below, released once.
        unsafe { (ort::api().ReleaseValue)(self.pointer.as_ptr()) };
    }
}

impl Loaded {
    fn value(&self, tensor: &Tensor) -> Result<Input> {
        let shape: Vec<i64> =
            tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let mut pointer: *mut sys::OrtValue = ptr::null_mut();
        if tensor.dtype() == DataType::Bytes {
            let texts = tensor.strings().map(CString::new).collect::<Result<Vec<_>, _>>();
            let texts = texts.map_err(|_| {
                Error::invalid("a string tensor holds a zero byte, which onnxruntime cannot take")
            })?;
            let firsts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
            let allocator = ort::memory::Allocator::default();
            // SAFETY: shape and texts are alive for the calls; the value is checked before it is filled.
            unsafe {
                let element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
                let made = (ort::api().CreateTensorAsOrtValue)(
                    allocator.ptr().cast_mut(),
                    shape.as_ptr(),
                    shape.len(),
                    element,
                    &mut pointer,
                );
                ort::Error::result_from_status(made).map_err(|error| failed(&error))?;
                let input = Input { pointer: given(pointer)?, _bytes: Bytes::new(), _strings: texts };
                let filled = (ort::api().FillStringTensor)(pointer, firsts.as_ptr(), firsts.len());
                ort::Error::result_from_status(filled).map_err(|error| failed(&error))?;
                return Ok(input);
            }
        }
        let bytes = aligned(tensor.bytes(), tensor.dtype().size().unwrap_or(1));
        // SAFETY: `Input` keeps the bytes alive for as long as the value; inputs are not written to.
        let made = unsafe {
            let data = bytes.as_ptr().cast_mut().cast::<c_void>();
            let element = element_type(tensor.dtype());
            (ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.ptr(),
                data,
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element,
                &mut pointer,
            )
        };
        // SAFETY: the status comes from the call above.
        unsafe { ort::Error::result_from_status(made) }.map_err(|error| failed(&error))?;
        Ok(Input { pointer: given(pointer)?, _bytes: bytes, _strings: Vec::new() })
    }
}

fn given(pointer: *mut sys::OrtValue) -> Result<NonNull<sys::OrtValue>> {
    NonNull::new(pointer).ok_or_else(|| Error::internal("onnxruntime made no value"))
}

/// The bytes where the library may read them as elements. Buffers mostly are aligned already: the
/// allocator's smallest alignment is that of the largest element.
fn aligned(bytes: &Bytes, alignment: usize) -> Bytes {
    if bytes.as_ptr().addr().is_multiple_of(alignment) {
        return bytes.clone();
    }
    // A fresh vector of one byte elements comes from the system allocator, 16-aligned; should it ever
    // not be, ONNX Runtime on x86 and ARM still reads it correctly, only slower.
    Bytes::from(bytes.to_vec())
}

fn read(value: &DynValue) -> Result<Tensor> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(Error::unsupported("the model gave something that is no tensor"));
    };
    let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
    if *ty == TensorElementType::String {
        let (_, texts) = value.try_extract_strings().map_err(|error| failed(&error))?;
        return Tensor::of_strings(shape, &texts);
    }
    let dtype =
        data_type(*ty).ok_or_else(|| Error::unsupported(format!("the model gave a tensor of {ty:?}")))?;
    let length = shape.iter().product::<usize>() * dtype.size().unwrap_or_default();
    if length == 0 {
        return Tensor::new(dtype, shape, Bytes::new());
    }
    let mut data: *mut c_void = ptr::null_mut();
    // SAFETY: the value is a tensor of a fixed-size type with as many elements as its shape says.
    let bytes = unsafe {
        let got = (ort::api().GetTensorMutableData)(value.ptr().cast_mut(), &mut data);
        ort::Error::result_from_status(got).map_err(|error| failed(&error))?;
        std::slice::from_raw_parts(data.cast::<u8>(), length)
    };
    Tensor::new(dtype, shape, Bytes::copy_from_slice(bytes))
}

macro_rules! pairs {
    ($($ours:ident <=> $ort:ident $sys:ident),* $(,)?) => {
        fn element_type(dtype: DataType) -> sys::ONNXTensorElementDataType {
            match dtype { $(DataType::$ours => sys::ONNXTensorElementDataType::$sys),* }
        }

        fn data_type(ty: TensorElementType) -> Option<DataType> {
            match ty { $(TensorElementType::$ort => Some(DataType::$ours),)* _ => None }
        }
    };
}

pairs! {
    Bool <=> Bool ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    U8 <=> Uint8 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    U16 <=> Uint16 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    U32 <=> Uint32 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
    U64 <=> Uint64 ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    I8 <=> Int8 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    I16 <=> Int16 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    I32 <=> Int32 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    I64 <=> Int64 ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    F16 <=> Float16 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    BF16 <=> Bfloat16 ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    F32 <=> Float32 ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    F64 <=> Float64 ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    Bytes <=> String ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
}
