//! OpenVINO's objects, each freed when dropped.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result};

use super::failed;
use super::library::{
    CompiledObject, CoreObject, Functions, ModelObject, OvDevices, OvProperty, OvShape, OvStatus,
    RequestObject, TensorObject, functions,
};
use crate::aligned::AlignedBuffer;
use crate::{DataType, RunControl, RunInterrupt, Tensor, TensorSpec};

/// What is wrong with a status, if anything is.
fn check(functions: &Functions, status: OvStatus, kind: ErrorKind, what: &str) -> Result<()> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the message is a text of our own, freed once.
    let why = unsafe {
        let text = (functions.ov_get_last_err_msg)();
        if text.is_null() {
            format!("status {status}")
        } else {
            let why = CStr::from_ptr(text).to_string_lossy().into_owned();
            (functions.ov_free)(text);
            why
        }
    };
    Err(failed(kind, what, &why))
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::internal("a zero byte in a property"))
}

macro_rules! handle {
    ($name:ident, $raw:ty, $free:ident, $what:literal) => {
        #[doc = $what]
        pub(super) struct $name {
            pointer: NonNull<$raw>,
            functions: &'static Functions,
        }

        impl $name {
            fn made(
                functions: &'static Functions,
                status: OvStatus,
                pointer: *mut $raw,
                kind: ErrorKind,
                what: &str,
            ) -> Result<Self> {
                check(functions, status, kind, what)?;
                let pointer = NonNull::new(pointer);
                let pointer = pointer.ok_or_else(|| Error::internal(format!("{what}: nothing came")))?;
                Ok(Self { pointer, functions })
            }

            fn raw(&self) -> *mut $raw {
                self.pointer.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: it is ours and is freed once.
                unsafe { (self.functions.$free)(self.raw()) };
            }
        }

        // SAFETY: the library's objects belong to no thread.
        unsafe impl Send for $name {}
    };
}

handle!(Core, CoreObject, ov_core_free, "The library itself, with its devices.");
handle!(Read, ModelObject, ov_model_free, "A model as it was read.");
handle!(Compiled, CompiledObject, ov_compiled_model_free, "A model that is ready to run.");
handle!(Request, RequestObject, ov_infer_request_free, "What one run at a time needs.");
handle!(Value, TensorObject, ov_tensor_free, "A tensor.");

// SAFETY: the core compiles models and lists devices, a compiled model is asked for requests and
// properties: all of which the library documents as safe from several threads at once.
unsafe impl Sync for Core {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}

/// `INVALID_C_PARAM`: what the library says when it is to make a shape of no dimensions, for a scalar.
const NO_DIMENSIONS: OvStatus = -14;
const LOADING: &str = "openvino cannot load this model";
const RUNNING: &str = "the model failed in openvino";

impl Core {
    pub(super) fn new() -> Result<Self> {
        let (functions, mut pointer) = (functions()?, ptr::null_mut());
        // SAFETY: the pointer is written once.
        let status = unsafe { (functions.ov_core_create)(&mut pointer) };
        Self::made(functions, status, pointer, ErrorKind::Unavailable, "openvino does not start")
    }

    /// The names of all devices.
    pub(super) fn devices(&self) -> Result<Vec<String>> {
        let mut found = OvDevices { names: ptr::null_mut(), count: 0 };
        // SAFETY: the list is written by the library, read here, and freed once.
        unsafe {
            let status = (self.functions.ov_core_get_available_devices)(self.raw(), &mut found);
            check(self.functions, status, ErrorKind::Unavailable, "openvino finds no devices")?;
            let names: &[*mut c_char] =
                if found.count == 0 { &[] } else { std::slice::from_raw_parts(found.names, found.count) };
            let names =
                names.iter().map(|name| CStr::from_ptr(*name).to_string_lossy().into_owned()).collect();
            (self.functions.ov_available_devices_free)(&mut found);
            Ok(names)
        }
    }

    pub(super) fn compile(
        &self,
        onnx: &Bytes,
        device: &str,
        properties: &[(&str, String)],
    ) -> Result<Compiled> {
        let device = text(device)?;
        let texts: Vec<(CString, CString)> =
            properties.iter().map(|(name, value)| Ok((text(name)?, text(value)?))).collect::<Result<_>>()?;
        let properties: Vec<OvProperty> = texts
            .iter()
            .map(|(name, value)| OvProperty { name: name.as_ptr(), value: value.as_ptr() })
            .collect();
        let (mut read, mut compiled) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the bytes live for the call that reads them, model and texts for the one that compiles.
        unsafe {
            let status = (self.functions.ov_core_read_model_from_memory_buffer)(
                self.raw(),
                onnx.as_ptr().cast(),
                onnx.len(),
                ptr::null(),
                &mut read,
            );
            // The file is a model, which was seen before: what fails is what this library lacks.
            let read = Read::made(self.functions, status, read, ErrorKind::Unsupported, LOADING)?;
            let status = (self.functions.ov_core_compile_model_props)(
                self.raw(),
                read.raw(),
                device.as_ptr(),
                properties.len(),
                properties.as_ptr(),
                &mut compiled,
            );
            Compiled::made(self.functions, status, compiled, ErrorKind::Unsupported, LOADING)
        }
    }
}

impl Compiled {
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let key = text(name)?;
        let mut value = ptr::null_mut();
        // SAFETY: the value is a text of our own, freed once.
        unsafe {
            let status =
                (self.functions.ov_compiled_model_get_property)(self.raw(), key.as_ptr(), &mut value);
            check(self.functions, status, ErrorKind::Unsupported, &format!("openvino does not know {name}"))?;
            let text = CStr::from_ptr(value).to_string_lossy().into_owned();
            (self.functions.ov_free)(value);
            Ok(text)
        }
    }

    pub(super) fn request(&self) -> Result<Request> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the compiled model is there; the library keeps what the request needs of it.
        let status =
            unsafe { (self.functions.ov_compiled_model_create_infer_request)(self.raw(), &mut pointer) };
        Request::made(self.functions, status, pointer, ErrorKind::Failed, RUNNING)
    }
}

/// A request with the places of its inputs. They stay where they are for as long as it lives: an output that
/// is an input goes on pointing to the place of the first run, wherever a later one's input lies.
pub(super) struct PreparedRequest {
    request: Request,
    places: Vec<InputBuffer>,
}

/// Where the bytes of an input are put.
struct InputBuffer {
    data: *mut u8,
    length: usize,
    shape: Vec<usize>,
    _value: Value,
}

// SAFETY: the place is memory of the value beside it, which may be used on any thread, one at a time.
unsafe impl Send for InputBuffer {}

impl PreparedRequest {
    /// With room for inputs of these shapes.
    pub(super) fn new<'a>(
        request: Request,
        inputs: impl Iterator<Item = (&'a CString, &'a Tensor)>,
    ) -> Result<Self> {
        let functions = request.functions;
        let mut places = Vec::new();
        for (name, tensor) in inputs {
            let value = Value::like(functions, tensor)?;
            // SAFETY: name and tensor live for the call; the request keeps the tensor's memory.
            let status =
                unsafe { (functions.ov_infer_request_set_tensor)(request.raw(), name.as_ptr(), value.raw()) };
            check(functions, status, ErrorKind::Invalid, &format!("input '{}'", name.to_string_lossy()))?;
            let (data, length) = value.data()?;
            if length != tensor.bytes().len() {
                return Err(Error::internal("openvino made a tensor of another size"));
            }
            places.push(InputBuffer { data, length, shape: tensor.shape().to_vec(), _value: value });
        }
        Ok(Self { request, places })
    }

    /// Whether these inputs have the shapes that there is room for.
    pub(super) fn fits(&self, inputs: &[Tensor]) -> bool {
        let shapes = inputs.iter().map(Tensor::shape);
        self.places.iter().map(|place| place.shape.as_slice()).eq(shapes)
    }

    /// Runs once, with inputs that fit.
    ///
    /// Fails with `Unsupported` when an output lies where an input does, unless it is `alone`.
    pub(super) fn run<'a>(
        &mut self,
        control: &RunControl,
        inputs: &[Tensor],
        outputs: impl Iterator<Item = (&'a CString, &'a TensorSpec)>,
        alone: bool,
    ) -> Result<Vec<Tensor>> {
        for (place, tensor) in self.places.iter().zip(inputs) {
            if place.length != tensor.bytes().len() {
                return Err(Error::internal("a request has no room for this input"));
            }
            // SAFETY: the place has that many bytes, and nothing runs with it, since this is borrowed alone.
            unsafe { ptr::copy_nonoverlapping(tensor.bytes().as_ptr(), place.data, place.length) };
        }
        let functions = self.request.functions;
        let interruptible =
            control.interrupted_by(Arc::new(RequestCancel { functions, request: self.request.pointer }));
        // SAFETY: one run at a time, since this is borrowed alone.
        let status = unsafe { (functions.ov_infer_request_infer)(self.request.raw()) };
        drop(interruptible);
        check(functions, status, ErrorKind::Failed, RUNNING)?;
        let places: &[InputBuffer] = if alone { &[] } else { &self.places };
        outputs.map(|(name, spec)| self.request.output(name, spec, places)).collect()
    }
}

/// Ends the run of a request.
struct RequestCancel {
    functions: &'static Functions,
    request: NonNull<RequestObject>,
}

// SAFETY: a request may be cancelled from any thread while it runs; it is only told to while it is there.
unsafe impl Send for RequestCancel {}
// SAFETY: as above.
unsafe impl Sync for RequestCancel {}

impl RunInterrupt for RequestCancel {
    fn interrupt(&self) {
        // SAFETY: the request is borrowed for as long as it can be interrupted. One that does not run does
        // not mind.
        unsafe { (self.functions.ov_infer_request_cancel)(self.request.as_ptr()) };
    }
}

/// An output is an input as it is.
pub(super) fn echo(output: &str) -> Error {
    Error::unsupported(format!("openvino confuses requests whose output '{output}' is an input as it is"))
        .hint("onnxruntime takes it: --backend onnxruntime")
}

impl InputBuffer {
    fn holds(&self, data: *const u8) -> bool {
        self.data.addr() <= data.addr() && data.addr() < self.data.addr() + self.length
    }
}

impl Request {
    /// Copied, since the next run writes to the same place.
    fn output(&self, name: &CString, spec: &TensorSpec, places: &[InputBuffer]) -> Result<Tensor> {
        let functions = self.functions;
        let mut pointer = ptr::null_mut();
        // SAFETY: names and values live for the calls; bytes are read before the request runs again.
        unsafe {
            let status = (functions.ov_infer_request_get_tensor)(self.raw(), name.as_ptr(), &mut pointer);
            let value = Value::made(functions, status, pointer, ErrorKind::Failed, RUNNING)?;
            let shape = value.shape()?;
            let mut found = 0;
            let status = (functions.ov_tensor_get_element_type)(value.raw(), &mut found);
            check(functions, status, ErrorKind::Failed, RUNNING)?;
            if Some(found) != element(spec.dtype) {
                let text = format!("output '{}' came as another type than {}", spec.name, spec.dtype);
                return Err(Error::unsupported(text));
            }
            let (data, length) = value.data()?;
            if places.iter().any(|place| place.holds(data)) {
                return Err(echo(&spec.name));
            }
            let bytes = std::slice::from_raw_parts(data.cast_const(), length);
            let mut copy = AlignedBuffer::with_capacity(length);
            copy.append(bytes);
            // Checks that there are as many as type and shape say.
            Tensor::new(spec.dtype, shape, copy.into_bytes())
        }
    }
}

impl Value {
    /// Room for a tensor of that type and shape.
    fn like(functions: &'static Functions, tensor: &Tensor) -> Result<Self> {
        let element = element(tensor.dtype())
            .ok_or_else(|| Error::unsupported(format!("openvino has no {} tensors", tensor.dtype())))?;
        let mut dims: Vec<i64> =
            tensor.shape().iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect();
        let shape = OvShape { rank: dims.len() as i64, dims: dims.as_mut_ptr() };
        let mut pointer = ptr::null_mut();
        // SAFETY: the shape is copied.
        let status = unsafe { (functions.ov_tensor_create)(element, shape, &mut pointer) };
        Self::made(functions, status, pointer, ErrorKind::Invalid, "openvino does not take this tensor")
    }

    /// Where its bytes are, and how many; for none, anywhere.
    fn data(&self) -> Result<(*mut u8, usize)> {
        let (mut length, mut data) = (0, ptr::null_mut());
        // SAFETY: both are written by the library; the bytes live as long as the value.
        unsafe {
            let status = (self.functions.ov_tensor_get_byte_size)(self.raw(), &mut length);
            check(self.functions, status, ErrorKind::Failed, RUNNING)?;
            if length == 0 {
                return Ok((NonNull::dangling().as_ptr(), 0));
            }
            let status = (self.functions.ov_tensor_data)(self.raw(), &mut data);
            check(self.functions, status, ErrorKind::Failed, RUNNING)?;
        }
        let data = NonNull::new(data.cast::<u8>());
        let data = data.ok_or_else(|| Error::internal("openvino gave a tensor without bytes"))?;
        Ok((data.as_ptr(), length))
    }

    fn shape(&self) -> Result<Vec<usize>> {
        let mut shape = OvShape { rank: 0, dims: ptr::null_mut() };
        // SAFETY: the shape is written by the library, read here, and freed once.
        unsafe {
            let status = (self.functions.ov_tensor_get_shape)(self.raw(), &mut shape);
            if status == NO_DIMENSIONS {
                return Ok(Vec::new());
            }
            check(self.functions, status, ErrorKind::Failed, RUNNING)?;
            let rank = usize::try_from(shape.rank).unwrap_or_default();
            let dims: &[i64] = if rank == 0 { &[] } else { std::slice::from_raw_parts(shape.dims, rank) };
            let dims = dims.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
            (self.functions.ov_shape_free)(&mut shape);
            Ok(dims)
        }
    }
}

/// `ov_element_type_e`.
fn element(dtype: DataType) -> Option<c_int> {
    Some(match dtype {
        DataType::Bool => 1,
        DataType::BF16 => 2,
        DataType::F16 => 3,
        DataType::F32 => 4,
        DataType::F64 => 5,
        DataType::I8 => 7,
        DataType::I16 => 8,
        DataType::I32 => 9,
        DataType::I64 => 10,
        DataType::U8 => 16,
        DataType::U16 => 17,
        DataType::U32 => 18,
        DataType::U64 => 19,
        DataType::Bytes => return None,
    })
}
