//! The imports by which a guest reaches its files.

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker};

use super::p3;
use super::view::{DescriptorHandle, FilesView, ToFiles};
use crate::guest::GuestState;

fn files(guest: &mut GuestState) -> FilesView<'_> {
    let (files, inner) = guest.files_and_wasi();
    FilesView { inner, files }
}

/// Of what wasmtime has for programs with the machine's files, the one call that is not as POSIX says. Only what blocks
/// its thread, as those programs do, has files at all.
pub(crate) fn link_removal(linker: &mut Linker<GuestState>, is_concurrent: bool) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
    use wasmtime_wasi::p3::bindings::filesystem::types::ErrorCode as ThirdCode;
    const REMOVE: &str = "[method]descriptor.remove-directory-at";
    linker.allow_shadowing(true);
    let mut second = linker.instance("wasi:filesystem/types@0.2.12")?;
    second.func_wrap(
        REMOVE,
        |mut store: StoreContextMut<'_, GuestState>,
         (folder, path): (DescriptorHandle, String)|
         -> wasmtime::Result<_> {
            let removed = files(store.data_mut()).remove_folder(&folder, path);
            let code = removed.map_err(|error| error.downcast());
            Ok((code.map_or_else(|code| code.map(Err::<(), ErrorCode>), |()| Ok(Ok(())))?,))
        },
    )?;
    if is_concurrent {
        let mut third = linker.instance("wasi:filesystem/types@0.3.0")?;
        third.func_wrap_concurrent(
            REMOVE,
            |accessor: &Accessor<GuestState>, (folder, path): (DescriptorHandle, String)| {
                Box::pin(async move {
                    let removed =
                        accessor.with(|mut access| files(access.get()).remove_folder(&folder, path));
                    let code = removed.map_err(|error| p3::error(error).downcast());
                    Ok((code.map_or_else(|code| code.map(Err::<(), ThirdCode>), |()| Ok(Ok(())))?,))
                })
            },
        )?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// In place of what wasmtime has.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::filesystem as second;
    use wasmtime_wasi::p3::bindings::filesystem as third;
    linker.allow_shadowing(true);
    second::types::add_to_linker::<GuestState, ToFiles>(linker, files)?;
    second::preopens::add_to_linker::<GuestState, ToFiles>(linker, files)?;
    third::types::add_to_linker::<GuestState, ToFiles>(linker, files)?;
    third::preopens::add_to_linker::<GuestState, ToFiles>(linker, files)?;
    linker.allow_shadowing(false);
    Ok(())
}
