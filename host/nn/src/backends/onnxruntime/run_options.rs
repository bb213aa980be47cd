//! What a run is told, and told to stop by.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use eyot_core::{Error, Result};
use ort::sys;
use parking_lot::Mutex;

use super::value::check;
use crate::RunInterrupt;

/// Options of one run at a time, released when dropped.
pub(super) struct RunOptions(NonNull<sys::OrtRunOptions>);

// SAFETY: the library reads them in the thread of the run; telling it to stop is meant for others.
unsafe impl Send for RunOptions {}
// SAFETY: as above.
unsafe impl Sync for RunOptions {}

impl RunOptions {
    pub(super) fn new(keeps_memory: bool) -> Result<Arc<Self>> {
        let mut pointer = ptr::null_mut();
        // SAFETY: the pointer is written once.
        unsafe { check((ort::api().CreateRunOptions)(&mut pointer))? };
        let pointer = NonNull::new(pointer).ok_or_else(|| Error::internal("onnxruntime made no options"))?;
        let options = Arc::new(Self(pointer));
        if !keeps_memory {
            // SAFETY: both are texts that are copied.
            unsafe {
                let (name, value) = (c"memory.enable_memory_arena_shrinkage", c"cpu:0");
                check((ort::api().AddRunConfigEntry)(pointer.as_ptr(), name.as_ptr(), value.as_ptr()))?;
            }
        }
        Ok(options)
    }

    pub(super) fn pointer(&self) -> *const sys::OrtRunOptions {
        self.0.as_ptr().cast_const()
    }
}

impl RunInterrupt for RunOptions {
    fn interrupt(&self) {
        // SAFETY: sets a flag at which the run looks between operators.
        let status = unsafe { (ort::api().RunOptionsSetTerminate)(self.0.as_ptr()) };
        // SAFETY: the status is of this call.
        if let Err(error) = unsafe { check(status) } {
            tracing::warn!(%error, "a run cannot be stopped");
        }
    }
}

impl Drop for RunOptions {
    fn drop(&mut self) {
        // SAFETY: they are ours and are released once.
        unsafe { (ort::api().ReleaseRunOptions)(self.0.as_ptr()) };
    }
}

/// Those that no run of a model uses now.
pub(super) struct RunOptionsPool {
    free: Mutex<Vec<Arc<RunOptions>>>,
    keeps_memory: bool,
}

impl RunOptionsPool {
    pub(super) fn new(keeps_memory: bool) -> Self {
        Self { free: Mutex::default(), keeps_memory }
    }

    pub(super) fn take(&self) -> Result<Arc<RunOptions>> {
        let free = self.free.lock().pop();
        free.map_or_else(|| RunOptions::new(self.keeps_memory), Ok)
    }

    /// Of a run that was not told to stop.
    pub(super) fn give_back(&self, options: Arc<RunOptions>) {
        self.free.lock().push(options);
    }
}
