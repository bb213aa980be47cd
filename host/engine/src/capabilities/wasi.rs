//! WASI itself, beside HTTP: 0.2 for everybody, 0.3 where there is an event loop.

use wasmtime::component::Linker;

use super::{Capability, OfferedInterface};
use crate::guest::Guest;
use crate::plan::Setup;
use crate::{files, step_clock};

pub(super) const CAPABILITY: Capability = Capability {
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

fn link(linker: &mut Linker<Guest>, setup: Setup) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    match setup {
        Setup::Plain => files::link_removal(linker, false),
        Setup::Concurrent => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            files::link_removal(linker, true)
        }
        Setup::Hermetic => {
            wasmtime_wasi::p3::add_to_linker(linker)?;
            step_clock::link(linker)?;
            files::link(linker)
        }
    }
}
