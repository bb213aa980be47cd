//! `wasi:http`: sending requests, where that is granted, and answering them.

use wasmtime::component::Linker;

use super::{GrantRule, HostCapability, OfferedInterface, RefusedCalls};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;

pub(super) const CAPABILITY: HostCapability = HostCapability {
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
            is_granted: |capabilities| !capabilities.http.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    if profile_kind == ProfileKind::Hermetic {
        return Ok(());
    }
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    if profile_kind == ProfileKind::Concurrent {
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    Ok(())
}
