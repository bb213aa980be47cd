//! `wasi:filesystem@0.3` over the files of steps, in the terms of 0.2.

use std::iter;

use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{self as second, HostDescriptor as _};
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::preopens;
use wasmtime_wasi::p3::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, Host,
    HostDescriptor, HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::streams::{EndSignal, FileConsumer, FileProducer, FileWriter};
use super::view::{DescriptorHandle, FilesView, ToFiles, now};

type EndFuture = FutureReader<Result<(), ErrorCode>>;

impl preopens::Host for FilesView<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        preopens::Host::get_directories(&mut self.inner)
    }
}

impl Host for FilesView<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }
}

impl HostDescriptor for FilesView<'_> {
    fn drop(&mut self, fd: DescriptorHandle) -> wasmtime::Result<()> {
        FilesView::drop(self, fd)
    }
}

/// A call that is over at once, in the terms of 0.3.
fn call<U, T>(
    accessor: &Accessor<U, ToFiles>,
    call: impl FnOnce(&mut FilesView<'_>) -> Result<T, FsError>,
) -> FilesystemResult<T> {
    accessor.with(|mut access| call(&mut access.get()).map_err(error))
}

/// Writes what comes, once that may be.
fn write<U>(
    mut store: Access<'_, U, ToFiles>,
    mut data: StreamReader<u8>,
    writer: Result<FileWriter, FsError>,
) -> wasmtime::Result<EndFuture> {
    let (mut ended, end) = EndSignal::new();
    match writer {
        Ok(writer) => data.pipe(&mut store, FileConsumer { writer, ended })?,
        Err(refused) => {
            data.close(&mut store)?;
            ended.send(Err(error(refused).downcast()?));
        }
    }
    FutureReader::new(&mut store, end)
}

impl<U> HostDescriptorWithStore<U> for ToFiles {
    fn read_via_stream(
        mut store: Access<'_, U, Self>,
        fd: DescriptorHandle,
        offset: Filesize,
    ) -> wasmtime::Result<(StreamReader<u8>, EndFuture)> {
        let (mut ended, end) = EndSignal::new();
        let stream = match store.get().reader(&fd, offset) {
            Ok(reader) => StreamReader::new(&mut store, FileProducer { reader, ended })?,
            Err(refused) => {
                ended.send(Err(error(refused).downcast()?));
                StreamReader::new(&mut store, iter::empty())?
            }
        };
        Ok((stream, FutureReader::new(&mut store, end)?))
    }

    fn write_via_stream(
        mut store: Access<'_, U, Self>,
        fd: DescriptorHandle,
        data: StreamReader<u8>,
        offset: Filesize,
    ) -> wasmtime::Result<EndFuture> {
        let writer = store.get().writer(&fd, Some(offset));
        write(store, data, writer)
    }

    fn append_via_stream(
        mut store: Access<'_, U, Self>,
        fd: DescriptorHandle,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<EndFuture> {
        let writer = store.get().writer(&fd, None);
        write(store, data, writer)
    }

    async fn advise(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FilesystemResult<()> {
        let advice = match advice {
            Advice::Normal => second::Advice::Normal,
            Advice::Sequential => second::Advice::Sequential,
            Advice::Random => second::Advice::Random,
            Advice::WillNeed => second::Advice::WillNeed,
            Advice::DontNeed => second::Advice::DontNeed,
            Advice::NoReuse => second::Advice::NoReuse,
        };
        call(store, |files| now(files.inner.advise(fd, offset, length, advice)))
    }

    async fn sync_data(store: &Accessor<U, Self>, fd: DescriptorHandle) -> FilesystemResult<()> {
        call(store, |files| now(files.inner.sync_data(fd)))
    }

    async fn sync(store: &Accessor<U, Self>, fd: DescriptorHandle) -> FilesystemResult<()> {
        call(store, |files| now(files.inner.sync(fd)))
    }

    async fn get_flags(store: &Accessor<U, Self>, fd: DescriptorHandle) -> FilesystemResult<DescriptorFlags> {
        let flags = call(store, |files| now(files.inner.get_flags(fd)))?;
        let set = DESCRIPTOR_FLAGS.iter().filter(|(second, _)| flags.contains(*second));
        Ok(set.fold(DescriptorFlags::empty(), |all, (_, third)| all | *third))
    }

    async fn get_type(store: &Accessor<U, Self>, fd: DescriptorHandle) -> FilesystemResult<DescriptorType> {
        call(store, |files| now(files.inner.get_type(fd))).map(kind)
    }

    async fn set_size(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        size: Filesize,
    ) -> FilesystemResult<()> {
        call(store, |files| files.set_size(&fd, size))
    }

    async fn set_times(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        call(store, |files| files.set_times(&fd, accessed, modified))
    }

    fn read_directory(
        mut store: Access<'_, U, Self>,
        fd: DescriptorHandle,
    ) -> wasmtime::Result<(StreamReader<DirectoryEntry>, EndFuture)> {
        let (mut ended, end) = EndSignal::new();
        let entries = match store.get().entries(&fd) {
            Ok(entries) => entries,
            Err(refused) => {
                ended.send(Err(error(refused).downcast()?));
                Vec::new()
            }
        };
        let entry =
            |entry: second::DirectoryEntry| DirectoryEntry { type_: kind(entry.type_), name: entry.name };
        let entries: Vec<_> = entries.into_iter().map(entry).collect();
        Ok((StreamReader::new(&mut store, entries)?, FutureReader::new(&mut store, end)?))
    }

    async fn create_directory_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.create_directory_at(&fd, path))
    }

    async fn stat(store: &Accessor<U, Self>, fd: DescriptorHandle) -> FilesystemResult<DescriptorStat> {
        call(store, |files| files.stat(&fd)).map(stat)
    }

    async fn stat_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<DescriptorStat> {
        call(store, |files| files.stat_at(&fd, path_flags(flags), path)).map(stat)
    }

    async fn set_times_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        let (accessed, modified) = (time(accessed)?, time(modified)?);
        call(store, |files| files.set_times_at(&fd, path_flags(flags), path, accessed, modified))
    }

    async fn link_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
        new: DescriptorHandle,
        new_path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.link_at(&fd, path_flags(flags), path, &new, new_path))
    }

    async fn open_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
        how: OpenFlags,
        wanted: DescriptorFlags,
    ) -> FilesystemResult<DescriptorHandle> {
        let set = DESCRIPTOR_FLAGS.iter().filter(|(_, third)| wanted.contains(*third));
        let wanted = set.fold(second::DescriptorFlags::empty(), |all, (second, _)| all | *second);
        call(store, |files| files.open_at(&fd, path_flags(flags), path, open_flags(how), wanted))
    }

    async fn readlink_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        path: String,
    ) -> FilesystemResult<String> {
        call(store, |files| now(files.inner.readlink_at(fd, path)))
    }

    async fn remove_directory_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.remove_directory_at(&fd, path))
    }

    async fn rename_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        path: String,
        new: DescriptorHandle,
        new_path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.rename_at(&fd, path, &new, new_path))
    }

    async fn symlink_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        target: String,
        path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.symlink_at(&fd, target, path))
    }

    async fn unlink_file_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        path: String,
    ) -> FilesystemResult<()> {
        call(store, |files| files.unlink_file_at(&fd, path))
    }

    async fn is_same_object(
        store: &Accessor<U, Self>,
        one: DescriptorHandle,
        other: DescriptorHandle,
    ) -> wasmtime::Result<bool> {
        let same = call(store, |files| {
            now(async { files.inner.is_same_object(one, other).await.map_err(FsError::trap) })
        });
        same.map_err(wasmtime::Error::from)
    }

    async fn metadata_hash(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
    ) -> FilesystemResult<MetadataHashValue> {
        call(store, |files| files.hash(&fd)).map(hash)
    }

    async fn metadata_hash_at(
        store: &Accessor<U, Self>,
        fd: DescriptorHandle,
        flags: PathFlags,
        path: String,
    ) -> FilesystemResult<MetadataHashValue> {
        call(store, |files| files.hash_at(&fd, path_flags(flags), &path)).map(hash)
    }
}

fn hash(value: second::MetadataHashValue) -> MetadataHashValue {
    MetadataHashValue { lower: value.lower, upper: value.upper }
}

fn stat(stat: second::DescriptorStat) -> DescriptorStat {
    let instant = |time: Datetime| Instant {
        seconds: i64::try_from(time.seconds).unwrap_or(i64::MAX),
        nanoseconds: time.nanoseconds,
    };
    DescriptorStat {
        type_: kind(stat.type_),
        link_count: stat.link_count,
        size: stat.size,
        data_access_timestamp: stat.data_access_timestamp.map(instant),
        data_modification_timestamp: stat.data_modification_timestamp.map(instant),
        status_change_timestamp: stat.status_change_timestamp.map(instant),
    }
}

/// A time in the terms of 0.2, which has none before 1970.
fn time(new: NewTimestamp) -> Result<second::NewTimestamp, ErrorCode> {
    Ok(match new {
        NewTimestamp::NoChange => second::NewTimestamp::NoChange,
        NewTimestamp::Now => second::NewTimestamp::Now,
        NewTimestamp::Timestamp(Instant { seconds, nanoseconds }) => {
            let seconds = u64::try_from(seconds).map_err(|_| ErrorCode::Overflow)?;
            second::NewTimestamp::Timestamp(Datetime { seconds, nanoseconds })
        }
    })
}

fn kind(kind: second::DescriptorType) -> DescriptorType {
    match kind {
        second::DescriptorType::Unknown => DescriptorType::Other(None),
        second::DescriptorType::BlockDevice => DescriptorType::BlockDevice,
        second::DescriptorType::CharacterDevice => DescriptorType::CharacterDevice,
        second::DescriptorType::Directory => DescriptorType::Directory,
        second::DescriptorType::Fifo => DescriptorType::Fifo,
        second::DescriptorType::SymbolicLink => DescriptorType::SymbolicLink,
        second::DescriptorType::RegularFile => DescriptorType::RegularFile,
        second::DescriptorType::Socket => DescriptorType::Socket,
    }
}

fn path_flags(flags: PathFlags) -> second::PathFlags {
    match flags.contains(PathFlags::SYMLINK_FOLLOW) {
        true => second::PathFlags::SYMLINK_FOLLOW,
        false => second::PathFlags::empty(),
    }
}

fn open_flags(flags: OpenFlags) -> second::OpenFlags {
    let pairs = [
        (OpenFlags::CREATE, second::OpenFlags::CREATE),
        (OpenFlags::DIRECTORY, second::OpenFlags::DIRECTORY),
        (OpenFlags::EXCLUSIVE, second::OpenFlags::EXCLUSIVE),
        (OpenFlags::TRUNCATE, second::OpenFlags::TRUNCATE),
    ];
    let set = pairs.into_iter().filter(|(third, _)| flags.contains(*third));
    set.fold(second::OpenFlags::empty(), |all, (_, one)| all | one)
}

const DESCRIPTOR_FLAGS: &[(second::DescriptorFlags, DescriptorFlags)] = &[
    (second::DescriptorFlags::READ, DescriptorFlags::READ),
    (second::DescriptorFlags::WRITE, DescriptorFlags::WRITE),
    (second::DescriptorFlags::FILE_INTEGRITY_SYNC, DescriptorFlags::FILE_INTEGRITY_SYNC),
    (second::DescriptorFlags::DATA_INTEGRITY_SYNC, DescriptorFlags::DATA_INTEGRITY_SYNC),
    (second::DescriptorFlags::REQUESTED_WRITE_SYNC, DescriptorFlags::REQUESTED_WRITE_SYNC),
    (second::DescriptorFlags::MUTATE_DIRECTORY, DescriptorFlags::MUTATE_DIRECTORY),
];

pub(super) fn error(error: FsError) -> FilesystemError {
    match error.downcast() {
        Ok(code) => error_code(code).into(),
        Err(trap) => FilesystemError::trap(trap),
    }
}

/// The codes that both have under one name.
macro_rules! error_codes {
    ($code:expr; $($name:ident),*; $($other:pat => $as:expr),*) => {
        match $code {
            $(second::ErrorCode::$name => ErrorCode::$name,)*
            $($other => $as,)*
        }
    };
}

fn error_code(code: second::ErrorCode) -> ErrorCode {
    error_codes!(code;
        Access, Already, BadDescriptor, Busy, Deadlock, Quota, Exist, FileTooLarge, IllegalByteSequence, InProgress,
        Interrupted, Invalid, Io, IsDirectory, Loop, TooManyLinks, MessageSize, NameTooLong, NoDevice, NoEntry, NoLock,
        InsufficientMemory, InsufficientSpace, NotDirectory, NotEmpty, NotRecoverable, Unsupported, NoTty, NoSuchDevice,
        Overflow, NotPermitted, Pipe, ReadOnly, InvalidSeek, TextFileBusy, CrossDevice;
        second::ErrorCode::WouldBlock => ErrorCode::Other(Some("would block".to_owned())))
}
