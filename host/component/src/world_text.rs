//! The world of a component, as WIT.

use std::collections::BTreeSet;
use std::fmt::Display;

use eyot_core::{Error, Result};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{PackageId, Resolve, WorldId, WorldItem};

use crate::decoded::decode;

/// What a component imports and exports, with the definition of what it exports; packages that it only
/// imports are named with their versions.
///
/// Fails with `Invalid` when the bytes are no component.
pub fn world_text(wasm: &[u8]) -> Result<String> {
    let (resolve, package, world) = match decode(wasm).map_err(|said| wrong(&said))? {
        DecodedWasm::Component(resolve, world) => {
            let package = resolve.worlds[world].package;
            let package = package.ok_or_else(|| Error::invalid("the component's world has no package"))?;
            (resolve, package, world)
        }
        DecodedWasm::WitPackage(..) => return Err(Error::invalid("this is a WIT package, not a component")),
    };
    let exported = exported(&resolve, world).into_iter().filter(|other| *other != package);
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(&resolve, package, &exported.collect::<Vec<_>>()).map_err(wrong)?;
    Ok(printer.output.to_string())
}

fn wrong(error: impl Display) -> Error {
    Error::invalid(format!("the world of the component cannot be read: {error:#}"))
}

fn exported(resolve: &Resolve, world: WorldId) -> BTreeSet<PackageId> {
    let package = |item: &WorldItem| match item {
        WorldItem::Interface { id, .. } => resolve.interfaces[*id].package,
        WorldItem::Function(_) | WorldItem::Type { .. } => None,
    };
    resolve.worlds[world].exports.values().filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_world_is_read_from_the_bytes() {
        let component = wat::parse_str(
            r#"(component
                (import "wasi:clocks/monotonic-clock@0.2.12" (instance))
                (core module $m (func (export "twice") (param i32) (result i32) local.get 0))
                (core instance $i (instantiate $m))
                (func (export "twice") (param "number" u32) (result u32) (canon lift (core func $i "twice"))))"#,
        );
        let text = world_text(&component.unwrap()).unwrap();
        assert!(text.contains("export twice: func(number: u32) -> u32;"), "{text}");
        assert!(text.contains("import wasi:clocks/monotonic-clock@0.2.12;"), "{text}");
        assert!(world_text(b"nothing").is_err());
    }
}
