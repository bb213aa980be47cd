//! How components run, and which of the engine's profiles that takes.

use eyot_component::outer_names;

/// How components run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionMode {
    /// Predictions: fast to instantiate, native floating point.
    Serving,
    /// Steps: the same on every machine.
    Hermetic,
}

/// The kinds of engine profiles: what a wasmtime engine is configured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProfileKind {
    /// Predictions by components of which one instance has one call at a time. A call is a switch to the
    /// guest's stack and back.
    Plain,
    /// Predictions by components that use the component model's async. Each call is a task of an event
    /// loop, which takes longer.
    Concurrent,
    /// Steps: the same on every machine.
    Hermetic,
}

impl ProfileKind {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Concurrent, Self::Hermetic];
}

/// Whether a component's imports or exports are offered by, or called through, an event loop. One that says
/// no may still use async of its own, which shows when the plain engine refuses it.
pub(crate) fn asks_for_concurrency(wasm: &[u8], asks: fn(&str) -> bool) -> bool {
    // What cannot be read asks for nothing: the compiler says what is wrong.
    outer_names(wasm).any(asks)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::capabilities::needs_event_loop;

    #[test]
    fn names_tell_who_needs_an_event_loop() {
        let instance = |name: &str, what: &str| format!(r#"(component ({what} "{name}" (instance)))"#);
        for (name, expected) in [
            ("wasi:http/incoming-handler@0.2.3", false),
            ("wasi:http/handler@0.3.0", true),
            ("wasi:clocks/monotonic-clock@0.3.0", true),
            ("wasi:clocks/monotonic-clock@0.2.3", false),
            ("wasi:http/outgoing-handler@0.2.3", false),
            ("spin:sqlite/sqlite@3.1.0", true),
            ("eyot:ml/models@0.1.0", false),
            ("mine:own/thing@0.3.0", false),
        ] {
            let wasm = wat::parse_str(instance(name, "import")).unwrap();
            assert_eq!(asks_for_concurrency(&wasm, needs_event_loop), expected, "{name}");
        }
        // What a component inside asks for is another's to give.
        let inside = r#"(component (component (import "wasi:http/handler@0.3.0" (instance))))"#;
        assert!(!asks_for_concurrency(&wat::parse_str(inside).unwrap(), needs_event_loop));
        assert!(!asks_for_concurrency(b"\0asm, but not really", needs_event_loop));
    }
}
