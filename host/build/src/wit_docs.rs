//! What the comments of a component's WIT say, put into the component, where servers read it: the tools of
//! other languages leave it out.

use std::collections::BTreeMap;
use std::path::Path;

use eyot_component::{DOCS_SECTION, custom_section};
use eyot_core::interface::Docs;
use eyot_core::{Error, Result, ResultExt};
use wit_parser::{Function, Resolve, WorldItem};

/// Adds the documentation of the world in `wit` to the component `wasm`; nothing where it documents nothing.
pub(crate) fn add(wit: &Path, wasm: &Path) -> Result<()> {
    let docs = read(wit)
        .map_err(|why| Error::internal(format!("the WIT in {} cannot be read: {why}", wit.display())))?;
    if docs.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string(&docs)
        .map_err(|error| Error::internal("documentation cannot be written").because(error))?;
    let cannot = || format!("cannot add documentation to {}", wasm.display());
    let mut bytes = std::fs::read(wasm).context(cannot)?;
    bytes.extend_from_slice(&custom_section(DOCS_SECTION, text.as_bytes()));
    std::fs::write(wasm, bytes).context(cannot)
}

fn read(wit: &Path) -> Result<BTreeMap<String, Docs>, String> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], None).map_err(|error| format!("{error:#}"))?;
    let mut docs = BTreeMap::new();
    let mut add = |name: String, function: &Function| {
        if let Some(text) = &function.docs.contents {
            docs.insert(name, Docs { text: text.trim().to_owned(), params: BTreeMap::new() });
        }
    };
    for (key, item) in &resolve.worlds[world].exports {
        let name = resolve.name_world_key(key);
        match item {
            WorldItem::Function(function) => add(name, function),
            WorldItem::Interface { id, .. } => {
                let functions = resolve.interfaces[*id].functions.values();
                functions.for_each(|function| add(format!("{name}#{}", function.name), function));
            }
            WorldItem::Type { .. } => {}
        }
    }
    Ok(docs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn comments_of_a_world_are_found_in_its_component() {
        let dir = tempfile::tempdir().unwrap();
        let long = "Says a lot. ".repeat(30);
        let text = format!(
            "package eyot:component;\ninterface app {{\n  /// {long}\n  greet: func(name: string) -> string;\n  quiet: func();\n}}\n\
             world component {{\n  export app;\n  /// Alone.\n  export one: func();\n}}\n"
        );
        std::fs::create_dir(dir.path().join("wit")).unwrap();
        std::fs::write(dir.path().join("wit/component.wit"), text).unwrap();
        let wasm = dir.path().join("a.wasm");
        std::fs::write(&wasm, b"\0asm\x0d\0\x01\0").unwrap();
        add(&dir.path().join("wit"), &wasm).unwrap();
        let found = eyot_component::function_docs(&std::fs::read(&wasm).unwrap());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["eyot:component/app#greet", "one"]);
        assert_eq!(found["eyot:component/app#greet"].text, long.trim());
    }
}
