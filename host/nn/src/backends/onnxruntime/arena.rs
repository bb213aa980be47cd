//! The memory of ONNX Runtime: one arena for the process, with a limit.
//!
//! The library counts weights in with it, but does not look at the limit when it takes room for them, and
//! beyond the limit it does not hold at all. So there is a look before and after each load.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use eyot_core::{ByteCount, Error, Result};
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::{AsPointer as _, sys};
use parking_lot::Mutex;

use super::run_options::RunOptions;
use super::value::{OrtValue, check};
use crate::Tensor;

pub(super) struct RunArena {
    limit: u64,
    /// The arena as sessions see it.
    allocator: NonNull<sys::OrtAllocator>,
    /// The library gives memory back at the end of a run that says so: of this one, which does nothing else.
    session: Session,
    giving_back: Arc<RunOptions>,
    /// One load at a time, or two would see the same room.
    loads: Mutex<()>,
}

// SAFETY: the library's allocators are made to be used by all threads, and so is running a session.
unsafe impl Sync for RunArena {}
// SAFETY: as above.
unsafe impl Send for RunArena {}

/// An ONNX file: `y` is the one number `x`.
const NOTHING: &[u8] =
    b"\x08\x07:7\n\x10\n\x01x\x12\x01y\"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\
    \x12\x04\n\x02\x08\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r";

/// What the library says when the arena has not that much left.
pub(super) fn is_full(message: &str) -> bool {
    message.contains("Available memory of ")
        || message.contains("Failed to allocate memory for requested buffer")
}

impl RunArena {
    /// The arena of all sessions that are made for the environment.
    pub(super) fn register(environment: &Environment, limit: u64) -> Result<Self> {
        // Regions as large as what is asked for: those that grow by themselves are where the library loses
        // sight of its limit.
        let settings = [(c"max_mem", limit as usize), (c"arena_extend_strategy", SAME_AS_REQUESTED_CODE)];
        let keys = settings.map(|(key, _)| key.as_ptr());
        let values = settings.map(|(_, value)| value);
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)
            .map_err(|error| super::failed(&error))?;
        let pointer = environment.ptr().cast_mut();
        let (mut configuration, mut allocator) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: keys and values are arrays of that length, alive for the call; the configuration is copied
        // and released once.
        unsafe {
            check((ort::api().CreateArenaCfgV2)(
                keys.as_ptr(),
                values.as_ptr(),
                keys.len(),
                &mut configuration,
            ))?;
            let registered = (ort::api().CreateAndRegisterAllocator)(pointer, memory.ptr(), configuration);
            (ort::api().ReleaseArenaCfg)(configuration);
            check(registered)?;
        }
        let session = Session::builder(environment)
            .and_then(|builder| Ok(builder.with_intra_threads(1)?.with_env_allocators()?))
            .and_then(|mut builder| builder.commit_from_memory(NOTHING));
        let session = session.map_err(|error| super::failed(&error))?;
        // SAFETY: the allocator is written once; it is used while the session is there.
        unsafe { check((ort::api().CreateAllocator)(session.ptr(), memory.ptr(), &mut allocator))? };
        let allocator = NonNull::new(allocator).ok_or_else(|| Error::internal("onnxruntime has no arena"))?;
        Ok(Self { limit, allocator, session, giving_back: RunOptions::new(false)?, loads: Mutex::default() })
    }

    /// Loads a model of so many bytes, if there is room for it.
    ///
    /// Fails with `Exhausted` when there is none, now or in the end.
    pub(super) fn admit(&self, bytes: u64, load: impl FnOnce() -> Result<Session>) -> Result<Session> {
        let _one_at_a_time = self.loads.lock();
        if self.check_room(bytes).is_err() {
            self.shrink()?;
        }
        self.check_room(bytes)?;
        let session = load()?;
        // Dropped with the room that it took.
        self.check_room(0)?;
        Ok(session)
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        if self.taken()?.saturating_add(bytes) <= self.limit {
            return Ok(());
        }
        let limit = ByteCount(self.limit);
        Err(Error::exhausted(format!("there is no room for this model in the {limit} of onnxruntime"))
            .hint("raise inference.memory or inference.run-memory, or try again in a moment"))
    }

    /// Bytes of weights as the library packs them, and of what runs take or have taken and may use again.
    fn taken(&self) -> Result<u64> {
        let mut stats = ptr::null_mut();
        // SAFETY: the statistics are read and released once; the text lives as long as they.
        unsafe {
            check((ort::api().AllocatorGetStats)(self.allocator.as_ptr(), &mut stats))?;
            let text = (ort::api().GetKeyValue)(stats, c"TotalAllocated".as_ptr());
            let text = if text.is_null() { None } else { CStr::from_ptr(text).to_str().ok() };
            let taken = text.and_then(|text| text.parse().ok());
            (ort::api().ReleaseKeyValuePairs)(stats);
            taken.ok_or_else(|| Error::internal("onnxruntime does not say how much memory it has taken"))
        }
    }

    /// Gives back what no run uses.
    pub(super) fn shrink(&self) -> Result<()> {
        let memory = MemoryInfo::default();
        let (one, mut place) = (Tensor::of(vec![1], &[0_f32])?, 0_f32);
        let input = OrtValue::of(&one, &memory)?;
        // The answer has a place of its own: in the arena it would lie where memory is to be given back.
        // SAFETY: the place is looked at by nobody, and outlives the value.
        let output = unsafe { OrtValue::at(&mut place, &memory)? };
        let (inputs, mut outputs) = ([input.pointer()], [output.pointer().cast_mut()]);
        // SAFETY: one name and one value each, alive for the call.
        unsafe {
            check((ort::api().Run)(
                self.session.ptr().cast_mut(),
                self.giving_back.pointer(),
                [c"x".as_ptr()].as_ptr(),
                inputs.as_ptr(),
                1,
                [c"y".as_ptr()].as_ptr(),
                1,
                outputs.as_mut_ptr(),
            ))
        }
    }
}

/// `arena_extend_strategy`.
const SAME_AS_REQUESTED_CODE: usize = 1;
