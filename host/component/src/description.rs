//! All that a component's bytes say of it.

use std::collections::BTreeSet;

use eyot_core::interface::Interface;
use eyot_core::{Error, Result};
use wit_component::DecodedWasm;
use wit_parser::{WorldItem, WorldKey};

use crate::composition::Composition;
use crate::core_module::componentize;
use crate::decoded::decode;
use crate::producers::producers;
use crate::wit_types::described_function;

/// What a component's bytes say about it.
#[derive(Clone, Debug)]
pub struct ComponentDescription {
    pub interface: Interface,
    /// What it was written in.
    pub languages: Vec<String>,
    /// What it was made with.
    pub tools: Vec<String>,
    /// What it was linked from, where it was.
    pub composition: Option<Composition>,
}

impl ComponentDescription {
    /// Reads a component, or a core module of preview 1 as what it becomes when it is pushed.
    ///
    /// Fails with `Invalid` when the bytes are neither.
    pub fn read(wasm: &[u8]) -> Result<Self> {
        let wasm = &*componentize(wasm)?;
        let interface = interface(wasm)?;
        let (languages, tools) = languages_and_tools(wasm);
        Ok(Self { interface, languages, tools, composition: Composition::read(wasm) })
    }
}

fn interface(wasm: &[u8]) -> Result<Interface> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("this is no valid component: {error}"))
            .hint("build it again; a file that was cut short or damaged looks like this")
    };
    let decoded = decode(wasm).map_err(|said| wrong(&said))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(wrong(&"it holds only interfaces"));
    };
    let world = &resolve.worlds[world];
    let names = |(key, item): (&WorldKey, &WorldItem)| match item {
        WorldItem::Type { .. } => None,
        _ => Some(resolve.name_world_key(key)),
    };
    let imports = world.imports.iter().filter_map(names).collect();
    let mut interface = Interface { imports, ..Interface::default() };
    for (key, item) in world.exports.iter().filter(|(key, _)| !is_internal(key)) {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Interface { id, .. } => {
                let functions = resolve.interfaces[*id].functions.values();
                let named = |function| described_function(&resolve, format!("{name}#"), function);
                interface.functions.extend(functions.map(named));
                interface.exports.push(name);
            }
            WorldItem::Function(function) => {
                interface.functions.push(described_function(&resolve, String::new(), function));
            }
            WorldItem::Type { .. } => {}
        }
    }
    Ok(interface)
}

/// What componentize-py exports for itself.
fn is_internal(key: &WorldKey) -> bool {
    matches!(key, WorldKey::Name(name) if name == "exports")
}

/// What the component and the modules in it were written in, and made with: a remark, so that what cannot be read says
/// nothing.
fn languages_and_tools(wasm: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut languages, mut tools) = (BTreeSet::new(), BTreeSet::new());
    for producer in producers(wasm).flatten() {
        let into = match producer.field.as_str() {
            "language" => &mut languages,
            "processed-by" => &mut tools,
            _ => continue,
        };
        into.insert(format!("{} {}", producer.name, producer.version).trim_end().to_owned());
    }
    (languages.into_iter().collect(), tools.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_no_component_is_an_error() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0garbage", b"text"] {
            assert!(ComponentDescription::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
