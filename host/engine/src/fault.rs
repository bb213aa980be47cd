//! What went wrong inside of a guest, in words: which component, which export, why, where.

use std::time::Instant;

use eyot_core::interface::Interface;
use eyot_core::{ByteCount, Digest, Error, ErrorKind, Period, Result};
use wasmtime::{Trap, WasmBacktrace};

use crate::FailureCause;
use crate::capabilities::offered_packages;
use crate::guest::GuestState;

/// Frames of a backtrace that an error carries.
const MAX_FRAMES: usize = 12;

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
    Error::denied(message).hint(format!(
        "Eyot offers {}; another import is left out only where it shares no resource with them",
        offered_packages()
    ))
}

/// Whether a guest ended itself, and says that all went well.
pub(crate) fn is_success(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<wasmtime_wasi::I32Exit>().is_some_and(|exit| exit.0 == 0)
}

/// Why a call into a guest failed.
pub(crate) fn cause(error: &wasmtime::Error, guest: &GuestState) -> FailureCause {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        _ if matches!(trap, Some(Trap::Interrupt)) || Instant::now() >= guest.end() => FailureCause::Deadline,
        _ if lacked_memory(trap, guest) => FailureCause::Memory,
        Some(_) => FailureCause::Trap,
        None if error.is::<wasmtime_wasi::I32Exit>() => FailureCause::Exit,
        None => FailureCause::Host,
    }
}

/// Whether what ended a guest is that it got no more memory. One that got over that, as a program in Python does that
/// catches its `MemoryError`, grows by as much later or says something else last; and there are traps that lack of memory
/// never leads to.
fn lacked_memory(trap: Option<&Trap>, guest: &GuestState) -> bool {
    let Some(refusal) = &guest.meter.refused else { return false };
    let possible = trap.is_none_or(|trap| {
        matches!(trap, Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds | Trap::IndirectCallToNull)
    });
    let (said_at, last) = guest.stderr.last_said();
    let of_memory = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["memory", "alloc", "oom"].iter().any(|word| text.contains(word))
    };
    possible && (said_at.is_none_or(|at| at < refusal.at) || of_memory(&last))
}

/// A call into a guest failed: the trap, the deadline or the limit behind it.
pub(crate) fn explain(error: &wasmtime::Error, guest: &GuestState, digest: &Digest, export: &str) -> Error {
    let whom = format!("component {digest}, export {export}");
    let cause = cause(error, guest);
    let kind = if cause == FailureCause::Deadline { ErrorKind::Timeout } else { ErrorKind::Failed };
    let why = match cause {
        FailureCause::Deadline | FailureCause::Abandoned => "did not answer before its deadline".to_owned(),
        FailureCause::Memory => {
            let wanted = guest.meter.refused.as_ref().map_or(0, |refusal| refusal.wanted_bytes);
            let limit = memory_limit(guest);
            format!("ran out of memory: it wanted {wanted} bytes, more than its limit of {limit}")
        }
        FailureCause::Trap => {
            let trap = error.downcast_ref::<Trap>();
            trap.map_or_else(|| "trapped".to_owned(), |trap| format!("trapped: {trap}"))
        }
        FailureCause::Exit => {
            let status = error.downcast_ref::<wasmtime_wasi::I32Exit>().map_or(0, |exit| exit.0);
            format!("exited with status {status}")
        }
        FailureCause::Host => format!("failed: {}", error.root_cause()),
    };
    let last = guest.stderr.last();
    let said = if last.is_empty() { String::new() } else { format!("; its last words: {last}") };
    let error = Error::new(kind, format!("{whom} {why}{said}{}", backtrace(error)));
    match cause {
        FailureCause::Deadline | FailureCause::Abandoned => error.hint(timeout_hint(guest)),
        FailureCause::Memory => error.hint(memory_hint(guest)),
        _ => error,
    }
}

/// A guest answered an error of its own. If more memory was refused to it meanwhile, that may be why.
pub(crate) fn answered(error: Error, guest: &GuestState) -> Error {
    match &guest.meter.refused {
        Some(_) => error.hint(memory_hint(guest)),
        None => error,
    }
}

fn memory_limit(guest: &GuestState) -> ByteCount {
    ByteCount(guest.meter.memory_limit as u64)
}

/// The section of the configuration that limits it.
fn section(guest: &GuestState) -> &'static str {
    if guest.hermetic { "steps" } else { "handlers" }
}

fn memory_hint(guest: &GuestState) -> String {
    let (limit, section) = (memory_limit(guest), section(guest));
    format!(
        "it may have {limit} of memory, and asked for more: raise {section}.memory, or make it hold less at once"
    )
}

fn timeout_hint(guest: &GuestState) -> String {
    let (limit, section) = (Period(guest.timeout), section(guest));
    let deployed = if guest.hermetic { "" } else { " or eyot deploy --timeout" };
    format!("a call may take {limit}: raise {section}.timeout{deployed}, or make it do less in one call")
}

fn backtrace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    // Of an interpreter they are its own functions, and none of the program's.
    let interprets = |name: &str| {
        let starts = ["Py", "_Py", "<pyo3", "pyo3", "wit_dylib_", "js::"];
        starts.iter().any(|start| name.starts_with(start))
    };
    if trace.frames().iter().any(|frame| frame.func_name().is_some_and(interprets)) {
        return String::new();
    }
    let mut text = String::from("\nwasm backtrace:");
    for (index, frame) in trace.frames().iter().take(MAX_FRAMES).enumerate() {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangle);
        text.push_str(&format!("\n  {index}: {name}"));
        let place = frame.symbols().iter().find_map(|symbol| Some((symbol.file()?, symbol.line()?)));
        if let Some((file, line)) = place {
            text.push_str(&format!(" at {file}:{line}"));
        }
    }
    match trace.frames().len().checked_sub(MAX_FRAMES) {
        Some(more) if more > 0 => text.push_str(&format!("\n  … and {more} more")),
        _ => {}
    }
    text
}

fn demangle(name: &str) -> String {
    // `#` leaves out the hash that makes a symbol unique: it changes from build to build.
    format!("{:#}", rustc_demangle::demangle(name))
}
