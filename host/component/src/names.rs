//! What wasm bytes are, and the names of what a component itself imports and exports.

use eyot_core::{Error, Result};
use wasmparser::{
    BinaryReaderError, ComponentExport, ComponentExternalKind, ComponentImport, Parser, Payload, Validator,
    WasmFeatures,
};

/// A component's own imports and exports, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComponentNames {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// What bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WasmContent {
    Component(ComponentNames),
    /// A WIT package, which looks like a component that exports nothing but types.
    WitPackage,
    CoreModule,
}

/// An import or export of the component itself.
enum OuterItem<'a> {
    Import(ComponentImport<'a>),
    Export(ComponentExport<'a>),
}

impl WasmContent {
    /// Reads bytes as far as their names go, and validates the whole.
    ///
    /// Fails with `Invalid` when the bytes are neither a component nor a core module.
    pub fn read(wasm: &[u8]) -> Result<Self> {
        if Parser::is_core_wasm(wasm) {
            validate(wasm).map_err(invalid)?;
            return Ok(Self::CoreModule);
        }
        if !Parser::is_component(wasm) {
            return Err(no_component("no wasm component"));
        }
        validate(wasm).map_err(invalid)?;
        let (mut names, mut has_only_types) = (ComponentNames::default(), true);
        for item in outer_items(wasm) {
            match item.map_err(invalid)? {
                OuterItem::Import(import) => names.imports.push(import.name.name.to_owned()),
                OuterItem::Export(export) => {
                    has_only_types &= export.kind == ComponentExternalKind::Type;
                    names.exports.push(export.name.name.to_owned());
                }
            }
        }
        if has_only_types && names.imports.is_empty() && !names.exports.is_empty() {
            return Ok(Self::WitPackage);
        }
        Ok(Self::Component(names))
    }
}

/// The imports and exports of the outermost component, in their order; an error ends them.
fn outer_items(wasm: &[u8]) -> impl Iterator<Item = Result<OuterItem<'_>, BinaryReaderError>> {
    let mut depth = 0_usize;
    let payloads = Parser::new(0).parse_all(wasm);
    payloads.flat_map(move |payload| match payload {
        Ok(Payload::Version { .. }) => {
            depth += 1;
            Vec::new()
        }
        Ok(Payload::End(_)) => {
            depth = depth.saturating_sub(1);
            Vec::new()
        }
        Ok(Payload::ComponentImportSection(section)) if depth == 1 => {
            readable(section.into_iter().map(|import| import.map(OuterItem::Import)))
        }
        Ok(Payload::ComponentExportSection(section)) if depth == 1 => {
            readable(section.into_iter().map(|export| export.map(OuterItem::Export)))
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![Err(error)],
    })
}

/// The items up to the first that cannot be read, and that error. How many a section says it has is not believed: it may
/// be billions, for which `collect` would take memory at once.
fn readable<'a>(
    section: impl Iterator<Item = Result<OuterItem<'a>, BinaryReaderError>>,
) -> Vec<Result<OuterItem<'a>, BinaryReaderError>> {
    let mut items = Vec::new();
    for item in section {
        let is_last = item.is_err();
        items.push(item);
        if is_last {
            break;
        }
    }
    items
}

/// The names of what a component itself imports and exports, as far as they can be read: nothing is validated. It is for
/// whoever gives the bytes to somebody next who does.
pub fn outer_names(wasm: &[u8]) -> impl Iterator<Item = &str> {
    outer_items(wasm).map_while(Result::ok).map(|item| match item {
        OuterItem::Import(import) => import.name.name,
        OuterItem::Export(export) => export.name.name,
    })
}

/// The names of a component.
///
/// Fails with `Invalid` when the bytes are none.
pub fn component_names(wasm: &[u8]) -> Result<ComponentNames> {
    match WasmContent::read(wasm)? {
        WasmContent::Component(names) => Ok(names),
        WasmContent::WitPackage => Err(no_component("a WIT package, not a component")),
        WasmContent::CoreModule => Err(no_component("a core wasm module, not a component")),
    }
}

/// Reads the whole, with every proposal that there is.
pub(crate) fn validate(wasm: &[u8]) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).map(drop)
}

fn invalid(error: BinaryReaderError) -> Error {
    Error::invalid(format!("the file is no valid component: {error}"))
        .hint("build it again; a file that was cut short or damaged looks like this")
}

fn no_component(what: &str) -> Error {
    Error::invalid(format!("the file is {what}"))
        .hint("a component is what cargo build --target wasm32-wasip2, eyot build or componentize-py write")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_bytes_are_shows_in_them_and_what_is_inside_is_not_theirs() {
        let read = |text: &str| WasmContent::read(&wat::parse_str(text).unwrap()).unwrap();
        let names = |imports: &[&str], exports: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            WasmContent::Component(ComponentNames { imports: owned(imports), exports: owned(exports) })
        };
        let component = r#"(component
            (import "wasi:cli/stdin@0.2.0" (instance $stdin))
            (component (import "acme:inside/it" (func)))
            (export "acme:out/stdin" (instance $stdin)))"#;
        assert_eq!(read(component), names(&["wasi:cli/stdin@0.2.0"], &["acme:out/stdin"]));
        let bytes = wat::parse_str(component).unwrap();
        assert_eq!(outer_names(&bytes).collect::<Vec<_>>(), ["wasi:cli/stdin@0.2.0", "acme:out/stdin"]);
        assert_eq!(read("(component)"), names(&[], &[]));
        assert_eq!(read("(module)"), WasmContent::CoreModule);
        let package = r#"(component (type $t (component)) (export "acme:some/package" (type $t)))"#;
        assert_eq!(read(package), WasmContent::WitPackage);
        // A section that says it has four billion items, and has none.
        let mut endless = wat::parse_str("(component)").unwrap();
        endless.extend([10, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(outer_names(&endless).count(), 0);
        for (bytes, says) in [
            (&b"text"[..], "no wasm component"),
            (b"\0asm\x01\0\0\0", "a core wasm module, not a component"),
            (b"\0asm\x0d\0\x01\0garbage", "no valid component"),
        ] {
            let error = component_names(bytes).unwrap_err();
            assert_eq!(
                (error.kind(), error.message().contains(says)),
                (eyot_core::ErrorKind::Invalid, true),
                "{error}"
            );
        }
    }
}
