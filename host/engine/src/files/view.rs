//! What a call does to files: wasmtime's own implementation does it, and this says what the program sees of it.

use std::sync::Arc;

use futures::FutureExt as _;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptor,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::quota::QuotaExceeded;
use super::streams::{FileReader, FileWriter};
use super::{FileNode, STEP_TIME, StepFiles};

/// The files of a guest while a call works on them.
pub(crate) struct FilesView<'a> {
    pub(super) inner: WasiFilesystemCtxView<'a>,
    pub(super) files: &'a mut StepFiles,
}

/// Gives a call of a guest its files.
pub(super) struct ToFiles;

impl HasData for ToFiles {
    type Data<'a> = FilesView<'a>;
}

/// A handle that a call has for as long as it takes.
pub(super) type DescriptorHandle = Resource<Descriptor>;

impl From<QuotaExceeded> for FsError {
    fn from(_: QuotaExceeded) -> Self {
        ErrorCode::InsufficientSpace.into()
    }
}

/// The same handle for another call.
fn same(handle: &DescriptorHandle) -> DescriptorHandle {
    Resource::new_borrow(handle.rep())
}

/// Steps may block their thread, so nothing is waited for.
pub(super) fn now<T>(call: impl Future<Output = FsResult<T>>) -> FsResult<T> {
    call.now_or_never()
        .unwrap_or_else(|| Err(FsError::trap(wasmtime::Error::msg("a call to a file did not end"))))
}

impl FilesView<'_> {
    fn identity(&mut self, handle: &DescriptorHandle) -> FsResult<u64> {
        Ok(now(self.inner.metadata_hash(same(handle)))?.lower)
    }

    fn identity_at(&mut self, handle: &DescriptorHandle, flags: PathFlags, path: &str) -> FsResult<u64> {
        Ok(now(self.inner.metadata_hash_at(same(handle), flags, path.to_owned()))?.lower)
    }

    /// The file behind a handle.
    fn node(&mut self, handle: &DescriptorHandle) -> FsResult<Arc<FileNode>> {
        if let Some(node) = self.files.open.get(&handle.rep()) {
            return Ok(node.clone());
        }
        let identity = self.identity(handle)?;
        let node = self.files.node(identity);
        self.files.open.insert(handle.rep(), node.clone());
        Ok(node)
    }

    fn node_at(
        &mut self,
        handle: &DescriptorHandle,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<Arc<FileNode>> {
        let identity = self.identity_at(handle, flags, path)?;
        Ok(self.files.node(identity))
    }

    pub(super) fn stat(&mut self, handle: &DescriptorHandle) -> FsResult<DescriptorStat> {
        let found = now(self.inner.stat(same(handle)))?;
        let node = self.node(handle)?;
        Ok(seen(found, &node))
    }

    pub(super) fn stat_at(
        &mut self,
        handle: &DescriptorHandle,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let node = self.node_at(handle, flags, &path)?;
        let found = now(self.inner.stat_at(same(handle), flags, path))?;
        Ok(seen(found, &node))
    }

    pub(super) fn hash(&mut self, handle: &DescriptorHandle) -> FsResult<MetadataHashValue> {
        Ok(hash_of(&*self.node(handle)?))
    }

    pub(super) fn hash_at(
        &mut self,
        handle: &DescriptorHandle,
        flags: PathFlags,
        path: &str,
    ) -> FsResult<MetadataHashValue> {
        Ok(hash_of(&*self.node_at(handle, flags, path)?))
    }

    pub(super) fn set_times(
        &mut self,
        handle: &DescriptorHandle,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        now(self.inner.set_times(same(handle), wanted(accessed), wanted(modified)))?;
        self.node(handle)?.set_times(accessed, modified);
        Ok(())
    }

    pub(super) fn set_times_at(
        &mut self,
        handle: &DescriptorHandle,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        let node = self.node_at(handle, flags, &path)?;
        now(self.inner.set_times_at(same(handle), flags, path, wanted(accessed), wanted(modified)))?;
        node.set_times(accessed, modified);
        Ok(())
    }

    pub(super) fn set_size(&mut self, handle: &DescriptorHandle, size_bytes: u64) -> FsResult<()> {
        self.writable(handle)?;
        self.node(handle)?.resize(size_bytes)?;
        now(self.inner.set_size(same(handle), size_bytes))
    }

    pub(super) fn write(&mut self, handle: &DescriptorHandle, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.writable(handle)?;
        let end = offset.checked_add(bytes.len() as u64).ok_or(ErrorCode::FileTooLarge)?;
        self.node(handle)?.grow_to(end)?;
        now(self.inner.write(same(handle), bytes, offset))
    }

    /// What is listed is in the order of its names.
    pub(super) fn entries(&mut self, handle: &DescriptorHandle) -> FsResult<Vec<DirectoryEntry>> {
        let found = now(self.inner.read_directory(same(handle)))?;
        let found = self.inner.table.delete(found)?;
        let mut entries = found.into_iter().collect::<FsResult<Vec<_>>>()?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    pub(super) fn create_directory_at(&mut self, handle: &DescriptorHandle, path: String) -> FsResult<()> {
        self.entering(|view| now(view.inner.create_directory_at(same(handle), path)))
    }

    pub(super) fn symlink_at(
        &mut self,
        handle: &DescriptorHandle,
        target: String,
        path: String,
    ) -> FsResult<()> {
        self.entering(|view| now(view.inner.symlink_at(same(handle), target, path)))
    }

    pub(super) fn link_at(
        &mut self,
        handle: &DescriptorHandle,
        flags: PathFlags,
        path: String,
        new: &DescriptorHandle,
        new_path: String,
    ) -> FsResult<()> {
        self.entering(|view| now(view.inner.link_at(same(handle), flags, path, same(new), new_path)))
    }

    /// Makes an entry of a folder, if there may be one more.
    fn entering<T>(&mut self, make: impl FnOnce(&mut Self) -> FsResult<T>) -> FsResult<T> {
        self.files.usage.enter()?;
        let made = make(self);
        if made.is_err() {
            self.files.usage.leave();
        }
        made
    }

    pub(super) fn open_at(
        &mut self,
        handle: &DescriptorHandle,
        path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<DescriptorHandle> {
        let makes = how.contains(OpenFlags::CREATE) && self.identity_at(handle, path_flags, &path).is_err();
        let open = |view: &mut Self| now(view.inner.open_at(same(handle), path_flags, path, how, flags));
        let opened = if makes { self.entering(open)? } else { open(self)? };
        let node = self.node(&opened)?;
        if how.contains(OpenFlags::TRUNCATE) {
            node.resize(0)?;
        }
        Ok(opened)
    }

    pub(super) fn drop(&mut self, handle: DescriptorHandle) -> wasmtime::Result<()> {
        self.files.open.remove(&handle.rep());
        HostDescriptor::drop(&mut self.inner, handle)
    }

    pub(super) fn unlink_file_at(&mut self, handle: &DescriptorHandle, path: String) -> FsResult<()> {
        let last = self.last_name(handle, &path);
        now(self.inner.unlink_file_at(same(handle), path))?;
        self.left(last);
        Ok(())
    }

    pub(super) fn remove_directory_at(&mut self, handle: &DescriptorHandle, path: String) -> FsResult<()> {
        let last = self.last_name(handle, &path);
        self.remove_folder(handle, path)?;
        self.left(last);
        Ok(())
    }

    /// Removes a folder of the host. A slash at the end of its path says once more that it is one, as in POSIX; wasmtime
    /// takes it for a wrong path.
    pub(super) fn remove_folder(&mut self, handle: &DescriptorHandle, mut path: String) -> FsResult<()> {
        match path.trim_end_matches('/').len() {
            // The root, or nothing at all.
            0 => {}
            length => path.truncate(length),
        }
        now(self.inner.remove_directory_at(same(handle), path))
    }

    pub(super) fn rename_at(
        &mut self,
        handle: &DescriptorHandle,
        path: String,
        new: &DescriptorHandle,
        new_path: String,
    ) -> FsResult<()> {
        let replaced = self.identity_at(new, PathFlags::empty(), &new_path).ok();
        // Two names of one file stay as they are.
        let replaced =
            replaced.filter(|one| self.identity_at(handle, PathFlags::empty(), &path).ok() != Some(*one));
        let last = replaced.and_then(|_| self.last_name(new, &new_path));
        now(self.inner.rename_at(same(handle), path, same(new), new_path))?;
        if replaced.is_some() {
            self.left(last);
        }
        Ok(())
    }

    /// The file of that name, where it has no other.
    fn last_name(&mut self, handle: &DescriptorHandle, path: &str) -> Option<u64> {
        let found = now(self.inner.stat_at(same(handle), PathFlags::empty(), path.to_owned())).ok()?;
        let only = found.type_ == DescriptorType::Directory || found.link_count <= 1;
        self.identity_at(handle, PathFlags::empty(), path).ok().filter(|_| only)
    }

    /// A name is gone, and with it the file that it was the last name of.
    fn left(&mut self, last: Option<u64>) {
        self.files.usage.leave();
        if let Some(identity) = last {
            self.files.forget(identity);
        }
    }

    pub(super) fn reader(&mut self, handle: &DescriptorHandle, position: u64) -> FsResult<FileReader> {
        match self.inner.table.get(handle)? {
            Descriptor::File(file) => Ok(FileReader { file: file.file.clone(), position }),
            Descriptor::Dir(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// Writes at `position`, or at the end.
    pub(super) fn writer(
        &mut self,
        handle: &DescriptorHandle,
        position: Option<u64>,
    ) -> FsResult<FileWriter> {
        self.writable(handle)?;
        let node = self.node(handle)?;
        match self.inner.table.get(handle)? {
            Descriptor::File(file) => Ok(FileWriter { file: file.file.clone(), node, position }),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Fails where wasmtime would refuse to write, so that nothing is counted that is not written.
    fn writable(&mut self, handle: &DescriptorHandle) -> FsResult<()> {
        match self.inner.table.get(handle)? {
            Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::NotPermitted.into()),
            Descriptor::File(_) => Ok(()),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }
}

/// What is seen of a file. A folder's size and links tell of the host's file system.
fn seen(found: DescriptorStat, node: &FileNode) -> DescriptorStat {
    let folder = found.type_ == DescriptorType::Directory;
    let times = node.times();
    DescriptorStat {
        type_: found.type_,
        link_count: if folder { 1 } else { found.link_count },
        size: if folder { 0 } else { found.size },
        data_access_timestamp: Some(times.accessed.unwrap_or(STEP_TIME)),
        data_modification_timestamp: Some(times.modified.unwrap_or(STEP_TIME)),
        status_change_timestamp: Some(STEP_TIME),
    }
}

fn hash_of(node: &FileNode) -> MetadataHashValue {
    MetadataHashValue { lower: node.number, upper: !node.number }
}

/// The time that is set; none where it stays.
fn time(new: NewTimestamp) -> FsResult<Option<Datetime>> {
    Ok(match new {
        NewTimestamp::NoChange => None,
        NewTimestamp::Now => Some(STEP_TIME),
        NewTimestamp::Timestamp(time) if time.nanoseconds >= 1_000_000_000 => {
            return Err(ErrorCode::Invalid.into());
        }
        NewTimestamp::Timestamp(time) => Some(time),
    })
}

fn wanted(time: Option<Datetime>) -> NewTimestamp {
    time.map_or(NewTimestamp::NoChange, NewTimestamp::Timestamp)
}
