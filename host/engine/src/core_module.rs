//! Core modules of preview 1, as any compiler for WASI has written them for years, made into components.

use std::borrow::Cow;

use eyot_core::{Error, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wit_component::ComponentEncoder;

/// The first bytes of a core module, of version 1.
const CORE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// A component as it is; a core module of preview 1 inside of the official adapter.
///
/// Fails with `Invalid` when the module cannot become one, which names what it imports beside preview 1.
pub fn componentize(wasm: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !wasm.starts_with(&CORE) {
        return Ok(Cow::Borrowed(wasm));
    }
    let adapter = if exports(wasm, "_start") { COMMAND } else { REACTOR };
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|encoder| encoder.adapter(PREVIEW_1, adapter))
        .and_then(|mut encoder| encoder.encode());
    encoded.map(Cow::Owned).map_err(|error| {
        Error::invalid(format!("the core module cannot become a component: {error:#}"))
            .hint("a module may import wasi_snapshot_preview1 and what its own WIT names, nothing else")
    })
}

/// Whether a module exports something of that name. What cannot be read exports nothing: the encoder
/// says what is wrong with it.
fn exports(wasm: &[u8], name: &str) -> bool {
    wasmparser::Parser::new(0).parse_all(wasm).flatten().any(|payload| match payload {
        wasmparser::Payload::ExportSection(section) => {
            section.into_iter().flatten().any(|export| export.name == name)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn modules_become_components_and_components_stay() {
        let component = wat::parse_str("(component)").unwrap();
        assert_eq!(componentize(&component).unwrap(), component);
        let start = r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const 0))))"#;
        let made = componentize(&wat::parse_str(start).unwrap()).unwrap().into_owned();
        assert!(made.starts_with(b"\0asm\x0d\0\x01\0"));
        let foreign = r#"(module (import "env" "secret" (func)) (memory (export "memory") 1) (func (export "_start")))"#;
        let error = componentize(&wat::parse_str(foreign).unwrap()).unwrap_err().to_string();
        assert!(error.contains("env"), "{error}");
        assert!(componentize(b"\0asm\x01\0\0\0garbage").is_err());
    }
}
