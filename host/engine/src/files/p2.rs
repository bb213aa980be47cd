//! `wasi:filesystem@0.2` over the files of steps.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    ErrorCode, Filesize, Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::view::{DescriptorHandle, FilesView};

/// What is left of a folder's list.
type EntryIterator = std::vec::IntoIter<DirectoryEntry>;

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(&mut self.inner)
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.inner, error)
    }
}

impl HostDescriptor for FilesView<'_> {
    async fn advise(
        &mut self,
        fd: DescriptorHandle,
        offset: Filesize,
        len: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.inner.advise(fd, offset, len, advice).await
    }

    async fn sync_data(&mut self, fd: DescriptorHandle) -> FsResult<()> {
        self.inner.sync_data(fd).await
    }

    async fn sync(&mut self, fd: DescriptorHandle) -> FsResult<()> {
        self.inner.sync(fd).await
    }

    async fn get_flags(&mut self, fd: DescriptorHandle) -> FsResult<DescriptorFlags> {
        self.inner.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: DescriptorHandle) -> FsResult<DescriptorType> {
        self.inner.get_type(fd).await
    }

    async fn set_size(&mut self, fd: DescriptorHandle, size: Filesize) -> FsResult<()> {
        FilesView::set_size(self, &fd, size)
    }

    async fn set_times(
        &mut self,
        fd: DescriptorHandle,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        FilesView::set_times(self, &fd, accessed, modified)
    }

    async fn read(
        &mut self,
        fd: DescriptorHandle,
        len: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.inner.read(fd, len, offset).await
    }

    async fn write(&mut self, fd: DescriptorHandle, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        FilesView::write(self, &fd, bytes, offset)
    }

    async fn read_directory(&mut self, fd: DescriptorHandle) -> FsResult<Resource<DirectoryEntryStream>> {
        let listed: EntryIterator = self.entries(&fd)?.into_iter();
        Ok(Resource::new_own(self.inner.table.push(listed)?.rep()))
    }

    async fn create_directory_at(&mut self, fd: DescriptorHandle, path: String) -> FsResult<()> {
        FilesView::create_directory_at(self, &fd, path)
    }

    async fn stat(&mut self, fd: DescriptorHandle) -> FsResult<DescriptorStat> {
        FilesView::stat(self, &fd)
    }

    async fn stat_at(
        &mut self,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        FilesView::stat_at(self, &fd, flags, path)
    }

    async fn set_times_at(
        &mut self,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        FilesView::set_times_at(self, &fd, flags, path, accessed, modified)
    }

    async fn link_at(
        &mut self,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
        new: DescriptorHandle,
        new_path: String,
    ) -> FsResult<()> {
        FilesView::link_at(self, &fd, flags, path, &new, new_path)
    }

    async fn open_at(
        &mut self,
        fd: DescriptorHandle,
        path_flags: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<DescriptorHandle> {
        FilesView::open_at(self, &fd, path_flags, path, how, flags)
    }

    fn drop(&mut self, fd: DescriptorHandle) -> wasmtime::Result<()> {
        FilesView::drop(self, fd)
    }

    async fn readlink_at(&mut self, fd: DescriptorHandle, path: String) -> FsResult<String> {
        self.inner.readlink_at(fd, path).await
    }

    async fn remove_directory_at(&mut self, fd: DescriptorHandle, path: String) -> FsResult<()> {
        FilesView::remove_directory_at(self, &fd, path)
    }

    async fn rename_at(
        &mut self,
        fd: DescriptorHandle,
        path: String,
        new: DescriptorHandle,
        new_path: String,
    ) -> FsResult<()> {
        FilesView::rename_at(self, &fd, path, &new, new_path)
    }

    async fn symlink_at(&mut self, fd: DescriptorHandle, target: String, path: String) -> FsResult<()> {
        FilesView::symlink_at(self, &fd, target, path)
    }

    async fn unlink_file_at(&mut self, fd: DescriptorHandle, path: String) -> FsResult<()> {
        FilesView::unlink_file_at(self, &fd, path)
    }

    fn read_via_stream(
        &mut self,
        fd: DescriptorHandle,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let reader: DynInputStream = Box::new(self.reader(&fd, offset)?);
        Ok(self.inner.table.push(reader)?)
    }

    fn write_via_stream(
        &mut self,
        fd: DescriptorHandle,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        let writer: DynOutputStream = Box::new(self.writer(&fd, Some(offset))?);
        Ok(self.inner.table.push(writer)?)
    }

    fn append_via_stream(&mut self, fd: DescriptorHandle) -> FsResult<Resource<DynOutputStream>> {
        let writer: DynOutputStream = Box::new(self.writer(&fd, None)?);
        Ok(self.inner.table.push(writer)?)
    }

    async fn is_same_object(
        &mut self,
        one: DescriptorHandle,
        other: DescriptorHandle,
    ) -> wasmtime::Result<bool> {
        self.inner.is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, fd: DescriptorHandle) -> FsResult<MetadataHashValue> {
        self.hash(&fd)
    }

    async fn metadata_hash_at(
        &mut self,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.hash_at(&fd, flags, &path)
    }
}

impl HostDirectoryEntryStream for FilesView<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        Ok(self.inner.table.get_mut(&Resource::<EntryIterator>::new_borrow(stream.rep()))?.next())
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.inner.table.delete(Resource::<EntryIterator>::new_own(stream.rep()))?;
        Ok(())
    }
}
