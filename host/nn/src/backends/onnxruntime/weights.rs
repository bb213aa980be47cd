//! Weights that lie beside a model's file, handed to ONNX Runtime as memory: it opens no file.

use std::ffi::{CString, c_char};

use ort::session::builder::SessionBuilder;
use ort::{AsPointer as _, sys};

use crate::DataFile;

/// Has the session that is built take what its model says lies in these files from where they lie in memory. The
/// files outlive the session.
pub(super) fn lend(builder: &SessionBuilder, data: &[DataFile]) -> ort::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let names = data.iter().map(|file| CString::new(file.name.as_str())).collect::<Result<Vec<_>, _>>();
    let names = names.map_err(|_| ort::Error::new("a file of weights has a zero byte in its name"))?;
    let pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let buffers: Vec<*mut c_char> =
        data.iter().map(|file| file.bytes.as_ptr().cast_mut().cast::<c_char>()).collect();
    let lengths: Vec<usize> = data.iter().map(|file| file.bytes.len()).collect();
    let options: *mut sys::OrtSessionOptions = builder.ptr().cast_mut();
    // SAFETY: all are arrays of that many; names are copied, and weights are read and never written.
    unsafe {
        let status = (ort::api().AddExternalInitializersFromMemory)(
            options,
            pointers.as_ptr(),
            buffers.as_ptr(),
            lengths.as_ptr(),
            data.len(),
        );
        ort::Error::result_from_status(status)
    }
}
