use eyot_world::imports::wasi::logging::logging::{Host, Level, add_to_linker};
use wasmtime::component::HasSelf;

use super::{HostCapability, OfferedInterface};
use crate::guest::GuestState;

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[OfferedInterface::new("wasi:logging/", "0.1.0-draft")],
    grant: None,
    link: |linker, _| add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest),
};

/// What a guest logs stands among what it prints, with its level and context before it.
impl Host for GuestState {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        };
        let line = match context.is_empty() {
            true => format!("{level} {message}\n"),
            false => format!("{level} {context}: {message}\n"),
        };
        self.stderr.print(line.as_bytes());
        Ok(())
    }
}
