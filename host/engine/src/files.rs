//! The files of steps: what a program can see of them is a function of what it was handed and of what it does.
//!
//! The bytes lie in folders of the host. Everything else about a file is made here: its times stand at the time of
//! steps until the program sets others, a number stands for its inode in the order in which the program came across
//! it, folders are listed by name, and reading and writing never has to be waited for. What a program may leave is
//! bounded while it writes.

mod linking;
mod p2;
mod p3;
mod quota;
mod streams;
mod view;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;

use crate::hermetic;
pub(crate) use linking::{link, link_removal};
pub use quota::OutputLimits;
pub(crate) use quota::OutputUsage;

/// What is known of the files of one step.
pub(crate) struct StepFiles {
    /// By what wasmtime calls a file's identity, which is its device and inode.
    nodes: HashMap<u64, Arc<FileNode>>,
    /// By the handle of a descriptor. A file that has no name any more is only here.
    open: HashMap<u32, Arc<FileNode>>,
    next_number: u64,
    pub(crate) usage: OutputUsage,
}

/// One file or folder.
struct FileNode {
    number: u64,
    usage: OutputUsage,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    /// Bytes of it that are counted.
    size_bytes: u64,
    times: FileTimes,
}

/// What a program set; the time of steps where it did not.
#[derive(Clone, Copy, Default)]
struct FileTimes {
    accessed: Option<Datetime>,
    modified: Option<Datetime>,
}

/// What the clock of steps says, as a file's time.
pub(crate) const STEP_TIME: Datetime = Datetime { seconds: hermetic::EPOCH.as_secs(), nanoseconds: 0 };

impl StepFiles {
    pub(crate) fn new(limits: OutputLimits) -> Self {
        let (nodes, open) = Default::default();
        Self { nodes, open, next_number: 1, usage: OutputUsage::new(limits) }
    }

    /// The file of that identity, which gets the next number where it is seen for the first time.
    fn node(&mut self, identity: u64) -> Arc<FileNode> {
        let (next_number, usage) = (&mut self.next_number, &self.usage);
        let new = || {
            let number = *next_number;
            *next_number += 1;
            Arc::new(FileNode { number, usage: usage.clone(), state: Mutex::default() })
        };
        self.nodes.entry(identity).or_insert_with(new).clone()
    }

    /// A file lost its last name: another may get its inode.
    fn forget(&mut self, identity: u64) {
        self.nodes.remove(&identity);
    }
}

impl FileNode {
    /// It becomes at least so long, and has been changed.
    ///
    /// Fails where the step may not leave as much.
    fn grow_to(&self, size_bytes: u64) -> std::result::Result<(), quota::QuotaExceeded> {
        let mut state = self.state.lock();
        self.usage.grow(size_bytes.saturating_sub(state.size_bytes))?;
        state.size_bytes = state.size_bytes.max(size_bytes);
        state.times.modified = None;
        Ok(())
    }

    /// It gets that size.
    fn resize(&self, size_bytes: u64) -> std::result::Result<(), quota::QuotaExceeded> {
        self.grow_to(size_bytes)?;
        let mut state = self.state.lock();
        self.usage.shrink(state.size_bytes - size_bytes);
        state.size_bytes = size_bytes;
        Ok(())
    }

    fn set_times(&self, accessed: Option<Datetime>, modified: Option<Datetime>) {
        let times = &mut self.state.lock().times;
        times.accessed = accessed.or(times.accessed);
        times.modified = modified.or(times.modified);
    }

    fn times(&self) -> FileTimes {
        self.state.lock().times
    }
}

impl Drop for FileNode {
    fn drop(&mut self) {
        self.usage.shrink(self.state.get_mut().size_bytes);
    }
}
