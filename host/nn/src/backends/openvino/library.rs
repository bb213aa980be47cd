//! OpenVINO's C interface, as far as it is used: `openvino/c/*.h` of 2026.4.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::OnceLock;

use eyot_core::{Error, Result};
use libloading::Library;

/// Objects of the library, of which only pointers are known.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        #[repr(C)]
        pub(super) struct $name([u8; 0]);
    )*};
}

opaque!(CoreObject, ModelObject, CompiledObject, RequestObject, TensorObject);

/// `ov_shape_t`.
#[repr(C)]
pub(super) struct OvShape {
    pub(super) rank: i64,
    pub(super) dims: *mut i64,
}

/// `ov_property_t`.
#[repr(C)]
pub(super) struct OvProperty {
    pub(super) name: *const c_char,
    pub(super) value: *const c_char,
}

/// `ov_available_devices_t`.
#[repr(C)]
pub(super) struct OvDevices {
    pub(super) names: *mut *mut c_char,
    pub(super) count: usize,
}

/// `ov_status_e`: 0 is good.
pub(super) type OvStatus = c_int;

macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {
        /// The functions of the library.
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($type),*) $(-> $answer)?,)*
            /// What the functions are in; it stays open for as long as the process.
            _library: Library,
        }

        impl Functions {
            /// # Safety
            ///
            /// The library is OpenVINO's C library, whose functions have these types.
            unsafe fn of(library: Library) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: the caller's promise.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: library,
                    })
                }
            }
        }
    };
}

functions! {
    fn ov_get_last_err_msg() -> *const c_char;
    fn ov_free(text: *const c_char);
    fn ov_core_create(core: *mut *mut CoreObject) -> OvStatus;
    fn ov_core_free(core: *mut CoreObject);
    fn ov_core_get_available_devices(core: *const CoreObject, devices: *mut OvDevices) -> OvStatus;
    fn ov_available_devices_free(devices: *mut OvDevices);
    fn ov_core_read_model_from_memory_buffer(
        core: *const CoreObject,
        bytes: *const c_char,
        length: usize,
        weights: *const TensorObject,
        model: *mut *mut ModelObject
    ) -> OvStatus;
    fn ov_core_compile_model_props(
        core: *const CoreObject,
        model: *const ModelObject,
        device: *const c_char,
        count: usize,
        properties: *const OvProperty,
        compiled: *mut *mut CompiledObject
    ) -> OvStatus;
    fn ov_model_free(model: *mut ModelObject);
    fn ov_compiled_model_get_property(
        compiled: *const CompiledObject,
        name: *const c_char,
        value: *mut *mut c_char
    ) -> OvStatus;
    fn ov_compiled_model_create_infer_request(
        compiled: *const CompiledObject,
        request: *mut *mut RequestObject
    ) -> OvStatus;
    fn ov_compiled_model_free(compiled: *mut CompiledObject);
    fn ov_infer_request_set_tensor(
        request: *mut RequestObject,
        name: *const c_char,
        tensor: *const TensorObject
    ) -> OvStatus;
    fn ov_infer_request_get_tensor(
        request: *const RequestObject,
        name: *const c_char,
        tensor: *mut *mut TensorObject
    ) -> OvStatus;
    fn ov_infer_request_infer(request: *mut RequestObject) -> OvStatus;
    fn ov_infer_request_cancel(request: *mut RequestObject) -> OvStatus;
    fn ov_infer_request_free(request: *mut RequestObject);
    fn ov_tensor_create(element: c_int, shape: OvShape, tensor: *mut *mut TensorObject) -> OvStatus;
    fn ov_tensor_get_element_type(tensor: *const TensorObject, element: *mut c_int) -> OvStatus;
    fn ov_tensor_get_shape(tensor: *const TensorObject, shape: *mut OvShape) -> OvStatus;
    fn ov_tensor_get_byte_size(tensor: *const TensorObject, bytes: *mut usize) -> OvStatus;
    fn ov_tensor_data(tensor: *const TensorObject, bytes: *mut *mut c_void) -> OvStatus;
    fn ov_tensor_free(tensor: *mut TensorObject);
    fn ov_shape_free(shape: *mut OvShape) -> OvStatus;
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

/// Opens the library, once in a process: the first path that is given stays.
pub(super) fn open(path: &Path) -> Result<()> {
    if FUNCTIONS.get().is_some() {
        return Ok(());
    }
    // SAFETY: it is the library that `install` checked by its sha256, or what the user put there in its
    // place; its types are those of its headers.
    let functions = unsafe { Library::new(path).and_then(|library| Functions::of(library)) };
    let functions = functions.map_err(|error| Error::unavailable(error.to_string()))?;
    // Another thread may have been faster, with the same library.
    let _ = FUNCTIONS.set(functions);
    Ok(())
}

/// The functions of the library that was opened.
pub(super) fn functions() -> Result<&'static Functions> {
    FUNCTIONS.get().ok_or_else(|| Error::internal("openvino is used before it is opened"))
}
