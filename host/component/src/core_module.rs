//! Core modules of preview 1, as any compiler for WASI has written them for years, made into components.

use std::borrow::Cow;

use eyot_core::{Error, Result};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER as COMMAND,
    WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::names::validate;

/// The first bytes of a core module, of version 1.
const CORE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// The module that programs of the crate wasi-nn import.
const NN: &str = "wasi_ephemeral_nn";
/// What maps it onto wasi:nn, as a core module in text: a host builds without a wasm target.
const NN_ADAPTER: &str = include_str!("adapters/wasi_ephemeral_nn.wat");
/// The contract that it imports, and the world that says so.
const NN_WIT: &str = include_str!("../../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28/nn.wit");
const NN_WORLD: &str = "package eyot:adapters;
world wasi-ephemeral-nn {
  import wasi:nn/tensor@0.2.0-rc-2024-10-28;
  import wasi:nn/graph@0.2.0-rc-2024-10-28;
  import wasi:nn/inference@0.2.0-rc-2024-10-28;
  import wasi:nn/errors@0.2.0-rc-2024-10-28;
}
";

/// What `proc_exit` is imported from once the official adapter is not to have it: as long a name as the other, which
/// can be written over it.
const EXIT: &str = "eyot_wasi_exit_preview";
const EXIT_ADAPTER: &str = include_str!("adapters/proc_exit.wat");
const EXIT_WIT: &str = "package wasi:cli@0.2.12;
interface exit {
  exit: func(status: result);
  exit-with-code: func(status-code: u8);
}
";
const EXIT_WORLD: &str = "package eyot:adapters;
world proc-exit {
  import wasi:cli/exit@0.2.12;
}
";

/// A component as it is; a core module of preview 1 inside of the official adapter, and of ours where it
/// imports `wasi_ephemeral_nn`.
///
/// Fails with `Invalid` when the module cannot become one, which names what it imports beside these.
pub fn componentize(wasm: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !wasm.starts_with(&CORE) {
        return Ok(Cow::Borrowed(wasm));
    }
    // The encoder takes sections for as long as they say they are, and panics where the file is shorter.
    validate(wasm).map_err(|error| {
        Error::invalid(format!("the core module cannot become a component: {error}"))
            .hint("build it again; a file that was cut short or damaged looks like this")
    })?;
    let preview_1 = if exports(wasm, "_start") { COMMAND } else { REACTOR };
    let mut adapters = vec![(PREVIEW_1, Cow::Borrowed(preview_1))];
    if imports(wasm, NN) {
        adapters.push((NN, Cow::Owned(adapter(NN, NN_ADAPTER, NN_WIT, NN_WORLD)?)));
    }
    let exits = with_own_exit(wasm);
    if exits.is_some() {
        adapters.push((EXIT, Cow::Owned(adapter(EXIT, EXIT_ADAPTER, EXIT_WIT, EXIT_WORLD)?)));
    }
    let encoder = ComponentEncoder::default().validate(true).module(exits.as_deref().unwrap_or(wasm));
    let adapted = adapters
        .iter()
        .fold(encoder, |encoder, (name, bytes)| encoder.and_then(|encoder| encoder.adapter(name, bytes)));
    let encoded = adapted.and_then(|mut encoder| encoder.encode());
    encoded.map(Cow::Owned).map_err(|error| {
        Error::invalid(format!("the core module cannot become a component: {error:#}")).hint(
            "a module may import wasi_snapshot_preview1, wasi_ephemeral_nn and what its own WIT names, nothing else",
        )
    })
}

/// The module with its `proc_exit` imported from our adapter; none where it imports none.
fn with_own_exit(wasm: &[u8]) -> Option<Vec<u8>> {
    const IMPORT: &[u8] = b"wasi_snapshot_preview1\x09proc_exit\0";
    let section = wasmparser::Parser::new(0).parse_all(wasm).map_while(|one| one.ok()).find_map(
        |payload| match payload {
            wasmparser::Payload::ImportSection(section) => Some(section.range()),
            _ => None,
        },
    )?;
    let at = wasm.get(section.clone())?.windows(IMPORT.len()).position(|bytes| bytes == IMPORT)?;
    let mut module = wasm.to_vec();
    module.get_mut(section.start + at..)?.get_mut(..EXIT.len())?.copy_from_slice(EXIT.as_bytes());
    Some(module)
}

/// An adapter with its world in it.
fn adapter(name: &str, text: &str, wit: &str, world: &str) -> Result<Vec<u8>> {
    let broken = |error: &dyn std::fmt::Display| Error::internal(format!("the adapter of {name}: {error:#}"));
    let mut adapter = wat::parse_str(text).map_err(|error| broken(&error))?;
    let mut resolve = Resolve::default();
    resolve.push_str("contract.wit", wit).map_err(|error| broken(&error))?;
    let package = resolve.push_str("adapter.wit", world).map_err(|error| broken(&error))?;
    let world = resolve.select_world(&[package], None).map_err(|error| broken(&error))?;
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| broken(&error))?;
    Ok(adapter)
}

/// Whether a module imports from a module of that name.
fn imports(wasm: &[u8], module: &str) -> bool {
    wasmparser::Parser::new(0).parse_all(wasm).map_while(|one| one.ok()).any(|payload| match payload {
        wasmparser::Payload::ImportSection(section) => {
            section.into_imports().flatten().any(|import| import.module == module)
        }
        _ => false,
    })
}

/// Whether a module exports something of that name. What cannot be read exports nothing: the encoder
/// says what is wrong with it.
fn exports(wasm: &[u8], name: &str) -> bool {
    wasmparser::Parser::new(0).parse_all(wasm).map_while(|one| one.ok()).any(|payload| match payload {
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
        // Cut off within its code, of which the encoder would ask for more than there is.
        let whole = wat::parse_str(start).unwrap();
        for length in 8..whole.len() {
            let _ = componentize(&whole[..length]);
        }
        assert_eq!(
            componentize(&whole[..whole.len() - 1]).unwrap_err().kind(),
            eyot_core::ErrorKind::Invalid
        );
    }

    #[test]
    fn a_status_is_more_than_success_or_failure() {
        let module = wat::parse_str(
            r#"(module
                (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "wasi_snapshot_preview1\09proc_exit\00")
                (func (export "_start")))"#,
        )
        .unwrap();
        let own = with_own_exit(&module).unwrap();
        let changed: Vec<_> = own.iter().zip(&module).map(|(one, other)| one != other).collect();
        assert_eq!((own.len(), changed.iter().filter(|one| **one).count()), (module.len(), 21));
        assert!(imports(&own, EXIT) && imports(&own, PREVIEW_1));
        assert!(componentize(&module).unwrap().starts_with(b"\0asm\x0d\0\x01\0"));
        assert!(with_own_exit(&wat::parse_str("(module)").unwrap()).is_none());
    }

    #[test]
    fn what_imports_the_older_interface_of_inference_gets_that_of_today() {
        let nn = |name: &str| {
            let text = format!(
                r#"(module
                    (import "wasi_ephemeral_nn" "{name}" (func (param i32 i32 i32) (result i32)))
                    (memory (export "memory") 1)
                    (func (export "_start")))"#
            );
            componentize(&wat::parse_str(text).unwrap()).map(Cow::into_owned)
        };
        let made = nn("load_by_name").unwrap();
        let decoded = wit_component::decode(&made).unwrap();
        let (resolve, world) = match decoded {
            wit_component::DecodedWasm::Component(resolve, world) => (resolve, world),
            wit_component::DecodedWasm::WitPackage(..) => panic!("no component"),
        };
        let imports = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key));
        let found: Vec<_> = imports.filter(|name| name.starts_with("wasi:nn/")).collect();
        assert!(found.contains(&"wasi:nn/graph@0.2.0-rc-2024-10-28".to_owned()), "{found:?}");
        let error = nn("load_by_name_with_config").unwrap_err().to_string();
        assert!(error.contains("load_by_name_with_config"), "{error}");
    }
}
