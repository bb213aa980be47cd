//! What wasm bytes say of themselves, whatever a config says of them.

use std::collections::BTreeSet;

use eyot_core::{Error, Result};
use serde_json::Value;
use wasmparser::{ComponentExternalKind, Parser, Payload, Validator, WasmFeatures};

/// A component's own imports and exports, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// What bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wasm {
    Component(Interface),
    /// A WIT package, which looks like a component that exports nothing but types.
    Package,
    Module,
}

impl Wasm {
    /// Reads bytes as far as their interface goes, and validates the whole.
    pub(crate) fn read(wasm: &[u8]) -> Result<Self> {
        if Parser::is_core_wasm(wasm) {
            validate(wasm)?;
            return Ok(Self::Module);
        }
        if !Parser::is_component(wasm) {
            return Err(no_component("no wasm component"));
        }
        validate(wasm)?;
        let (mut imports, mut exports, mut depth, mut only_types) = (Vec::new(), Vec::new(), 0_usize, true);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.map_err(invalid)? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export.map_err(invalid)?;
                        only_types &= export.kind == ComponentExternalKind::Type;
                        exports.push(export.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        if only_types && imports.is_empty() && !exports.is_empty() {
            return Ok(Self::Package);
        }
        Ok(Self::Component(Interface { imports, exports }))
    }
}

/// The interface of a component.
///
/// Fails with `Invalid` when the bytes are none.
pub(crate) fn interface(wasm: &[u8]) -> Result<Interface> {
    match Wasm::read(wasm)? {
        Wasm::Component(interface) => Ok(interface),
        Wasm::Package => Err(no_component("a WIT package, not a component")),
        Wasm::Module => Err(no_component("a core wasm module, not a component")),
    }
}

fn validate(wasm: &[u8]) -> Result<()> {
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm).map(drop).map_err(invalid)
}

fn invalid(error: wasmparser::BinaryReaderError) -> Error {
    Error::invalid(format!("the file is no valid component: {error}"))
        .hint("build it again; a file that was cut short or damaged looks like this")
}

fn no_component(what: &str) -> Error {
    Error::invalid(format!("the file is {what}"))
        .hint("a component is what cargo build --target wasm32-wasip2, eyot build or componentize-py write")
}

impl Interface {
    /// Compares with what a config says. Others decide by it what the component may do, so it must not
    /// be silent about an import, nor promise an export that is not there.
    ///
    /// Fails with `Invalid` naming both.
    pub(crate) fn check(&self, config: &[u8]) -> Result<()> {
        let config: Value = serde_json::from_slice(config)
            .map_err(|error| Error::invalid(format!("the component's config cannot be read: {error}")))?;
        let component = &config["component"];
        if component.is_null() {
            return Ok(());
        }
        let said = |name: &str| -> BTreeSet<&str> {
            component[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let own = |names: &'_ [String]| names.iter().map(String::clone).collect::<BTreeSet<_>>();
        let (imports, exports) = (said("imports"), said("exports"));
        if let Some(hidden) = self.imports.iter().find(|name| !imports.contains(name.as_str())) {
            return Err(Error::invalid(format!(
                "the component imports {hidden}, and its config does not say so"
            ))
            .hint("the config must list what the bytes import: wkg and eyot push write it from them"));
        }
        let there = own(&self.exports);
        if let Some(invented) = exports.iter().find(|name| !there.contains(**name)) {
            return Err(Error::invalid(format!(
                "the component's config lists the export {invented}, which is not there"
            ))
            .hint("the config must list what the bytes export: wkg and eyot push write it from them"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_config_hides_no_import_and_invents_no_export() {
        let own = Interface { imports: vec!["a:b/c".to_owned()], exports: vec!["run".to_owned()] };
        for (config, good) in [
            (r#"{}"#, true),
            (r#"{"component": null}"#, true),
            (r#"{"component": {"imports": ["a:b/c"], "exports": ["run"]}}"#, true),
            (r#"{"component": {"imports": ["a:b/c", "d:e/f"], "exports": []}}"#, true),
            (r#"{"component": {"imports": [], "exports": ["run"]}}"#, false),
            (r#"{"component": {"exports": ["run"]}}"#, false),
            (r#"{"component": {"imports": ["a:b/c"], "exports": ["run", "walk"]}}"#, false),
            (r#"{"component": 7}"#, false),
            ("no JSON", false),
        ] {
            assert_eq!(own.check(config.as_bytes()).is_ok(), good, "{config}");
        }
    }
}
