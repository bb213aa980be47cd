//! `wasi:http`: sending requests, where that is granted, and answering them.

use wasmtime::component::Linker;

use super::{Capability, GrantRule, OfferedInterface, RefusedCalls};
use crate::guest::Guest;
use crate::plan::Setup;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &[
        OfferedInterface::new("wasi:http/", "0.2."),
        OfferedInterface::with_event_loop("wasi:http/", "0.3."),
    ],
    grant: Some(GrantRule {
        flag: "--allow-http",
        key: "http",
        refused: Some(RefusedCalls {
            interfaces: &["wasi:http/outgoing-handler", "wasi:http/client"],
            hint: "grant where it may send requests: --allow-http HOST",
            is_granted: |reach| !reach.http.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<Guest>, setup: Setup) -> wasmtime::Result<()> {
    if setup == Setup::Hermetic {
        return Ok(());
    }
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if setup == Setup::Concurrent {
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    Ok(())
}
