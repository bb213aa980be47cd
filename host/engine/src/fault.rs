//! What went wrong inside of a guest, in words: which component, which export, why, where.

use std::time::Instant;

use eyot_core::interface::Interface;
use eyot_core::{Digest, Error, Kind, Result};
use wasmtime::{Trap, WasmBacktrace};

use crate::guest::Guest;

/// Frames of a backtrace that an error carries.
const FRAMES: usize = 12;

/// Refuses early what a compiler would refuse in its own words.
pub(crate) fn check_header(bytes: &[u8], what: &str) -> Result<()> {
    let hint = "a component is what cargo build --target wasm32-wasip2, eyot build or componentize-py write";
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            Err(Error::invalid(format!("{what} is a core wasm module, not a component")).hint(hint))
        }
        [0, b'a', b's', b'm', ..] => Ok(()),
        [] => Err(Error::invalid(format!("{what} is empty, not a component")).hint(hint)),
        _ => {
            Err(Error::invalid(format!("{what} is no wasm component: it does not start with \\0asm"))
                .hint(hint))
        }
    }
}

/// The bytes do not compile.
pub(crate) fn invalid_component(error: &wasmtime::Error, what: &str) -> Error {
    Error::invalid(format!("{what} is no valid component: {error:#}"))
        .hint("build it again; a file that was cut short or damaged looks like this")
}

/// An import that this host does not offer, or not with that type.
pub(crate) fn ungranted(error: &wasmtime::Error, interface: &Interface, digest: &Digest) -> Error {
    let text = format!("{error:#}");
    let named = interface.imports.iter().find(|import| text.contains(&format!("`{import}`")));
    let message = match named {
        Some(import) => format!("component {digest} imports '{import}', which is not granted: {text}"),
        None => format!("component {digest} imports what is not granted: {text}"),
    };
    Error::denied(message)
        .hint("Eyot offers eyot:ml@0.1.0, wasi:nn@0.2.0-rc-2024-10-28, WASI 0.2 and 0.3, wasi:logging@0.1.0-draft, and to components that \
               serve wasi:http, wasi:keyvalue@0.2.0-draft2, wasi:config@0.2.0-rc.1, spin:key-value@3, spin:variables@3 and spin:sqlite@3")
}

/// A call into a guest failed: the trap, the deadline or the limit behind it.
pub(crate) fn explain(error: &wasmtime::Error, guest: &Guest, digest: &Digest, export: &str) -> Error {
    let whom = format!("component {digest}, export {export}");
    let trap = error.downcast_ref::<Trap>();
    let exit = error.downcast_ref::<wasmtime_wasi::I32Exit>();
    let (kind, cause) = match (trap, exit) {
        _ if matches!(trap, Some(Trap::Interrupt)) || Instant::now() >= guest.end() => {
            (Kind::Timeout, "did not answer before its deadline".to_owned())
        }
        _ if guest.meter.refused.is_some() => {
            let wanted = guest.meter.refused.unwrap_or_default();
            (Kind::Failed, format!("ran out of memory: it wanted {wanted} bytes, more than its limit"))
        }
        (Some(trap), _) => (Kind::Failed, format!("trapped: {trap}")),
        (_, Some(exit)) => (Kind::Failed, format!("exited with status {}", exit.0)),
        _ => (Kind::Failed, format!("failed: {}", error.root_cause())),
    };
    let last = guest.stderr.last();
    let said = if last.is_empty() { String::new() } else { format!("; its last words: {last}") };
    let error = Error::new(kind, format!("{whom} {cause}{said}{}", backtrace(error)));
    match kind {
        Kind::Timeout => error.hint("raise the timeout, or make it do less in one call"),
        _ => error,
    }
}

fn backtrace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let mut text = String::from("\nwasm backtrace:");
    for (index, frame) in trace.frames().iter().take(FRAMES).enumerate() {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangle);
        text.push_str(&format!("\n  {index}: {name}"));
        let place = frame.symbols().iter().find_map(|symbol| Some((symbol.file()?, symbol.line()?)));
        if let Some((file, line)) = place {
            text.push_str(&format!(" at {file}:{line}"));
        }
    }
    match trace.frames().len().checked_sub(FRAMES) {
        Some(more) if more > 0 => text.push_str(&format!("\n  … and {more} more")),
        _ => {}
    }
    text
}

fn demangle(name: &str) -> String {
    // `#` leaves out the hash that makes a symbol unique: it changes from build to build.
    format!("{:#}", rustc_demangle::demangle(name))
}
