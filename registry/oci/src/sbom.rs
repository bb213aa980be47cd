//! The software bill of materials of a component, from its own bytes: a CycloneDX document.

use std::collections::BTreeSet;
use std::io::Read as _;

use eyot_component::{component_names, custom_sections, producers};
use eyot_core::{Digest, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The predicate type of a bundle that holds a CycloneDX document.
pub const SBOM_PREDICATE: &str = "https://cyclonedx.org/bom";
/// The custom section in which cargo-auditable keeps a list of crates.
const CRATES_SECTION: &str = ".dep-v0";
/// The largest list of crates, unpacked.
const MAX_CRATE_LIST_BYTES: u64 = 8 << 20;

/// What cargo-auditable writes.
#[derive(Deserialize)]
struct AuditedCrates {
    packages: Vec<AuditedCrate>,
}

#[derive(Deserialize)]
struct AuditedCrate {
    name: String,
    version: String,
}

/// The document for a component: the languages and tools that its `producers` sections name, the crates
/// that it was audited with, and the interfaces that it imports. The same bytes give the same document.
///
/// Fails with `Invalid` when the bytes are no component.
pub fn sbom(name: &str, wasm: &[u8]) -> Result<Value> {
    let names = component_names(wasm)?;
    let mut parts = BTreeSet::new();
    for producer in producers(wasm) {
        let producer = producer?;
        let kind = if producer.field == "sdk" { "library" } else { "application" };
        parts.insert((kind, producer.name, producer.version));
    }
    for section in custom_sections(wasm) {
        let section = section?;
        if section.name == CRATES_SECTION {
            let crates = crates(section.data).unwrap_or_default();
            parts.extend(crates.into_iter().map(|one| ("library", one.name, one.version)));
        }
    }
    let components = parts
        .into_iter()
        .map(|(kind, name, version)| json!({ "type": kind, "name": name, "version": version }));
    let imports = names.imports.iter().map(|import| json!({ "name": "wit:import", "value": import }));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "name": name,
            "hashes": [{ "alg": "SHA-256", "content": Digest::of(wasm).hex() }],
            "properties": imports.collect::<Vec<_>>(),
        } },
        "components": components.collect::<Vec<_>>(),
    }))
}

/// None for a section that is not what its name says: anybody may call a section so.
fn crates(packed: &[u8]) -> Option<Vec<AuditedCrate>> {
    let mut text = Vec::new();
    flate2::read::ZlibDecoder::new(packed).take(MAX_CRATE_LIST_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice::<AuditedCrates>(&text).ok().map(|audited| audited.packages)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use super::*;

    #[test]
    fn tools_crates_and_imports_are_listed() {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packed
            .write_all(br#"{"packages":[{"name":"serde","version":"1.0.0","source":"crates.io"}]}"#)
            .unwrap();
        let text: String = packed.finish().unwrap().iter().map(|byte| format!("\\{byte:02x}")).collect();
        let wat = format!(
            r#"(component
                (import "wasi:cli/environment@0.2.12" (instance))
                (core module
                    (@producers (processed-by "rustc" "1.95.0") (sdk "eyot-sdk" "0.1.0"))
                    (@custom ".dep-v0" "{text}")
                    (@custom "producers" "damaged")))"#
        );
        let good = wat.replace("(@custom \"producers\" \"damaged\")", "");
        let document = sbom("acme/x", &wat::parse_str(&good).unwrap()).unwrap();
        let names: Vec<_> = document["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["rustc", "eyot-sdk", "serde"]);
        assert_eq!(
            document["metadata"]["component"]["properties"][0]["value"],
            "wasi:cli/environment@0.2.12"
        );
        assert!(sbom("x", b"no component").is_err());
        let _ = sbom("x", &wat::parse_str(&wat).unwrap());
    }
}
