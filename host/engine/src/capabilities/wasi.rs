//! WASI itself, beside HTTP: 0.2 for everybody, 0.3 where there is an event loop.

use wasmtime::component::Linker;

use super::{HostCapability, OfferedInterface};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::{files, step_clock};

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[
        OfferedInterface::new("wasi:cli/", "0.2."),
        OfferedInterface::new("wasi:clocks/", "0.2."),
        OfferedInterface::new("wasi:filesystem/", "0.2."),
        OfferedInterface::new("wasi:io/", "0.2."),
        OfferedInterface::new("wasi:random/", "0.2."),
        OfferedInterface::new("wasi:sockets/", "0.2."),
        OfferedInterface::with_event_loop("wasi:cli/", "0.3."),
        OfferedInterface::with_event_loop("wasi:clocks/", "0.3."),
        OfferedInterface::with_event_loop("wasi:filesystem/", "0.3."),
        OfferedInterface::with_event_loop("wasi:random/", "0.3."),
        OfferedInterface::with_event_loop("wasi:sockets/", "0.3."),
    ],
    grant: None,
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    match profile_kind {
        ProfileKind::Plain => files::link_removal(linker, false),
        ProfileKind::Concurrent => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            files::link_removal(linker, true)
        }
        ProfileKind::Hermetic => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            step_clock::link(linker)?;
            files::link(linker)
        }
    }
}
