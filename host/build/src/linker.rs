//! Several components linked into one: imports of a socket are filled with exports of plugs, as wac's `plug`
//! does it, and imports of plugs with those of others. What was linked can be read off the result.

use std::collections::BTreeMap;

use eyot_component::{
    ComponentDescription, Composition, DOCS_SECTION, LinkedPart, componentize, custom_section, function_docs,
};
use eyot_core::{Digest, Error, Result};
use wac_graph::types::{Package, SubtypeChecker, are_semver_compatible};
use wac_graph::{CompositionGraph, EncodeOptions, PackageId};
use wasmparser::Parser;

/// A component before it is linked, and what it is called in errors.
pub struct LinkInput<'a> {
    pub name: &'a str,
    pub wasm: &'a [u8],
}

/// An import of a part, and the plug and its export that fill it. Parts are told by their places.
struct ImportBinding {
    part: usize,
    import: String,
    plug: usize,
    export: String,
}

/// The parts while they are linked: the socket, then the plugs.
struct ComponentLinker<'a> {
    graph: CompositionGraph,
    is_offered: &'a dyn Fn(&str) -> bool,
    parts: Vec<(&'a LinkInput<'a>, PackageId)>,
}

/// Links `plugs` into `socket`: each import that a plug exports, under the same name or a compatible version,
/// is filled with it, and so are imports of other plugs. A plug has one instance, whoever it gives to. What else the
/// parts import, the whole imports; it exports what the socket exports.
///
/// Fails with `Invalid` that names part and interface when a plug fits nothing, when two fit the same import,
/// when types differ, when plugs wait for each other, and when an import is left that the host does not offer.
pub fn link_components(
    socket: &LinkInput<'_>,
    plugs: &[LinkInput<'_>],
    is_offered: &dyn Fn(&str) -> bool,
) -> Result<Vec<u8>> {
    let mut graph = CompositionGraph::new();
    let mut register = |index: usize, part: &LinkInput<'_>| -> Result<PackageId> {
        // What is no component is said in our words, before anything else reads it.
        if !Parser::is_component(part.wasm) && !Parser::is_core_wasm(part.wasm) {
            return Err(Error::invalid(format!("{} is neither a component nor a module", part.name))
                .hint("a plug is what eyot build, cargo or another toolchain wrote"));
        }
        ComponentDescription::read(part.wasm).map_err(|error| error.context(part.name.to_owned()))?;
        let wasm = componentize(part.wasm)?.into_owned();
        let unusable = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("{} cannot be linked: {error:#}", part.name))
                .hint("build it again with current tools")
        };
        let package = Package::from_bytes(&format!("eyot:part{index}"), None, wasm, graph.types_mut());
        graph.register_package(package.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))
    };
    let all = std::iter::once(socket).chain(plugs).enumerate();
    let parts = all.map(|(index, part)| Ok((part, register(index, part)?))).collect::<Result<Vec<_>>>()?;
    let mut linker = ComponentLinker { graph, is_offered, parts };
    let bindings = linker.bindings()?;
    linker.check_order(&bindings)?;
    let mut linked = linker.link(&bindings)?;
    linker.check_imports(&linked)?;
    linked.extend_from_slice(&linker.provenance(&bindings)?);
    Ok(linked)
}

impl ComponentLinker<'_> {
    /// Finds what fits where.
    fn bindings(&self) -> Result<Vec<ImportBinding>> {
        let types = self.graph.types();
        let mut bindings: Vec<ImportBinding> = Vec::new();
        for (plug, (_, id)) in self.parts.iter().enumerate().skip(1) {
            for (export, ty) in &types[self.graph[*id].ty()].exports {
                for (part, (_, importer)) in self.parts.iter().enumerate().filter(|(part, _)| *part != plug) {
                    let imports = &types[self.graph[*importer].ty()].imports;
                    let compatible = || imports.keys().find(|import| are_semver_compatible(export, import));
                    let exact = imports.get_key_value(export).map(|(import, _)| import);
                    let Some(import) = exact.or_else(compatible) else { continue };
                    if let Some(other) =
                        bindings.iter().find(|binding| binding.part == part && binding.import == *import)
                    {
                        return Err(self.twice(other, plug));
                    }
                    let mut cache = Default::default();
                    SubtypeChecker::new(&mut cache)
                        .is_subtype(*ty, types, imports[import], types)
                        .map_err(|error| self.differs(import, part, plug, &error))?;
                    bindings.push(ImportBinding {
                        part,
                        import: import.clone(),
                        plug,
                        export: export.clone(),
                    });
                }
            }
            if bindings.iter().all(|binding| binding.plug != plug) {
                return Err(self.fits_nothing(plug));
            }
        }
        Ok(bindings)
    }

    fn name(&self, part: usize) -> &str {
        self.parts.get(part).map_or("the whole", |(part, _)| part.name)
    }

    fn twice(&self, other: &ImportBinding, plug: usize) -> Error {
        let (part, one, two) = (self.name(other.part), self.name(other.plug), self.name(plug));
        Error::invalid(format!("{one} and {two} both export {}, which {part} imports once", other.import))
            .hint("plug in one of them")
    }

    fn differs(&self, interface: &str, part: usize, plug: usize, error: &dyn std::fmt::Display) -> Error {
        let (part, plug) = (self.name(part), self.name(plug));
        Error::invalid(format!(
            "{plug} exports another {interface} than {part} imports: {}",
            in_words(&format!("{error:#}"))
        ))
        .hint("both must be built from the same WIT")
    }

    fn fits_nothing(&self, plug: usize) -> Error {
        let types = self.graph.types();
        let list = |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let world = |part: usize| self.parts.get(part).map(|(_, id)| &types[self.graph[*id].ty()]);
        let exports = list(
            world(plug).into_iter().flat_map(|world| world.exports.keys()).map(String::as_str).collect(),
        );
        // What the host gives is imported by everybody, and no plug is meant for it.
        let open = |part: usize| {
            let imports = world(part).into_iter().flat_map(|world| world.imports.keys()).map(String::as_str);
            imports.filter(|name| !(self.is_offered)(name)).collect::<Vec<_>>()
        };
        let others = (1..self.parts.len()).filter(|other| *other != plug && !open(*other).is_empty());
        let others = others.map(|other| format!(", {} {}", self.name(other), list(open(other))));
        let (socket, name) = (self.name(0), self.name(plug));
        Error::invalid(format!("{name} exports nothing that {socket} or another plug imports")).hint(format!(
            "{name} exports {exports}; {socket} imports {}{}",
            list(open(0)),
            others.collect::<String>()
        ))
    }

    /// Fails where no part can be started before those that it gives to.
    fn check_order(&self, bindings: &[ImportBinding]) -> Result<()> {
        let mut waiting: Vec<usize> = (0..self.parts.len()).collect();
        loop {
            let stuck = |part: &usize| {
                bindings.iter().any(|binding| binding.part == *part && waiting.contains(&binding.plug))
            };
            let left: Vec<usize> = waiting.iter().copied().filter(stuck).collect();
            if left.is_empty() {
                return Ok(());
            }
            if left.len() == waiting.len() {
                // The socket gives nothing, and can but wait for one of a circle.
                let plugs = left.into_iter().filter(|part| *part != 0);
                let names: Vec<&str> = plugs.map(|part| self.name(part)).collect();
                return Err(Error::invalid(format!("plugs wait for each other: {}", names.join(", ")))
                    .hint("of two that need each other make one component"));
            }
            waiting = left;
        }
    }

    /// Makes the whole.
    fn link(&mut self, bindings: &[ImportBinding]) -> Result<Vec<u8>> {
        let cannot = |error: &dyn std::error::Error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            Error::invalid(format!("the components cannot be linked: {text}"))
                .hint("parts that import the same interface must be built from the same WIT")
        };
        let graph = &mut self.graph;
        let parts: Vec<_> = self.parts.iter().map(|(_, id)| graph.instantiate(*id)).collect();
        for binding in bindings {
            let (plug, part) = (parts[binding.plug], parts[binding.part]);
            let export =
                graph.alias_instance_export(plug, &binding.export).map_err(|error| cannot(&error))?;
            graph
                .set_instantiation_argument(part, &binding.import, export)
                .map_err(|error| cannot(&error))?;
        }
        let exports: Vec<_> = graph.types()[graph[self.parts[0].1].ty()].exports.keys().cloned().collect();
        for name in exports {
            let export = graph.alias_instance_export(parts[0], &name).map_err(|error| cannot(&error))?;
            graph.export(export, &name).map_err(|error| cannot(&error))?;
        }
        graph.encode(EncodeOptions::default()).map_err(|error| cannot(&error))
    }

    /// What is linked is whole: nobody can fill an import of it any more.
    fn check_imports(&self, linked: &[u8]) -> Result<()> {
        let imports = ComponentDescription::read(linked)?.interface.imports;
        let Some(import) = imports.into_iter().find(|import| !(self.is_offered)(import)) else {
            return Ok(());
        };
        let types = self.graph.types();
        let imports = |id: PackageId| types[self.graph[id].ty()].imports.contains_key(&import);
        let importer =
            self.parts.iter().find(|(_, id)| imports(*id)).map_or("the whole", |(part, _)| part.name);
        Err(Error::invalid(format!(
            "{importer} imports {import}, which no plug exports and this host does not offer"
        ))
        .hint("plug in a component that exports it; eyot inspect shows what a component exports"))
    }

    /// The sections that say what was linked, and what the socket's functions do: plugs may have functions of
    /// the same names, and are inside of the whole as well.
    fn provenance(&self, bindings: &[ImportBinding]) -> Result<Vec<u8>> {
        let piece = |(index, (part, _)): (usize, &(&LinkInput<'_>, PackageId))| {
            let mut fills = BTreeMap::<usize, Vec<String>>::new();
            for binding in bindings.iter().filter(|binding| binding.plug == index) {
                fills.entry(binding.part).or_default().push(binding.import.clone());
            }
            LinkedPart {
                name: part.name.to_owned(),
                digest: Digest::of(part.wasm),
                fills: fills.remove(&0).unwrap_or_default(),
                fills_of: fills
                    .into_iter()
                    .map(|(part, fills)| (self.name(part).to_owned(), fills))
                    .collect(),
            }
        };
        let mut pieces = self.parts.iter().enumerate().map(piece);
        let socket = pieces.next().ok_or_else(|| Error::internal("there is nothing to link"))?;
        let composition = Composition { socket, plugs: pieces.collect() };
        let docs = function_docs(self.parts[0].0.wasm);
        let mut sections = composition.section()?;
        if !docs.is_empty() {
            let json = serde_json::to_vec(&docs)
                .map_err(|error| Error::internal("documentation cannot be written").because(error))?;
            sections.extend(custom_section(DOCS_SECTION, &json));
        }
        Ok(sections)
    }
}

/// The checker's words: it calls a function of an interface its export.
fn in_words(error: &str) -> String {
    error
        .replace("mismatched type for export `", "function or type `")
        .replace("instance is missing expected function export", "there is no function")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Counts the tokens of a text by asking whoever exports `interface`.
    fn socket(interface: &str) -> Vec<u8> {
        let text = format!(
            r#"(component
                (import "{interface}" (instance $tokens
                    (export "count" (func (param "text" string) (result u32)))))
                (alias export $tokens "count" (func $count))
                (export "run" (func $count)))"#
        );
        wat::parse_str(text).unwrap()
    }

    /// Exports `interface` with a function of that name over a parameter of that type, and imports `import`.
    fn plugged(interface: &str, function: &str, ty: &str, import: &str) -> Vec<u8> {
        let params = if ty == "string" { "(param i32 i32)" } else { "(param i32)" };
        let text = format!(
            r#"(component
                {import}
                (core module $module
                    (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
                    (func (export "count") {params} (result i32) (i32.const 7)))
                (core instance $inner (instantiate $module))
                (func $count (param "text" {ty}) (result u32)
                    (canon lift (core func $inner "count") (memory (core memory $inner "memory"))
                        (realloc (core func $inner "realloc"))))
                (instance $tokens (export "{function}" (func $count)))
                (export "{interface}" (instance $tokens)))"#
        );
        wat::parse_str(text).unwrap()
    }

    fn link(socket: &[u8], plugs: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
        let parts: Vec<_> = plugs.iter().map(|(name, wasm)| LinkInput { name, wasm }).collect();
        let is_offered = |import: &str| import.starts_with("wasi:");
        link_components(&LinkInput { name: "scorer", wasm: socket }, &parts, &is_offered)
    }

    const TOKENS: &str = "acme:text/tokens@0.1.0";

    #[test]
    fn imports_are_filled_and_what_was_linked_can_be_read() {
        let clock =
            r#"(import "wasi:clocks/monotonic-clock@0.2.6" (instance (export "now" (func (result u64)))))"#;
        for (export, import, imports) in [
            (TOKENS, "", vec![]),
            // A later version that says it is compatible.
            ("acme:text/tokens@0.1.7", "", vec![]),
            // What the host gives is still imported.
            (TOKENS, clock, vec!["wasi:clocks/monotonic-clock@0.2.6".to_owned()]),
        ] {
            let (socket, plug) = (socket(TOKENS), plugged(export, "count", "string", import));
            let linked = link(&socket, &[("tokens:0.1.0", plug.clone())]).unwrap();
            let described = ComponentDescription::read(&linked).unwrap();
            let names: Vec<_> = described.interface.functions.iter().map(|one| one.name.as_str()).collect();
            assert_eq!((&described.interface.imports, names), (&imports, vec!["run"]), "{export}");
            let piece = |name: &str, wasm: &[u8], fills: &[&str]| LinkedPart {
                name: name.to_owned(),
                digest: Digest::of(wasm),
                fills: fills.iter().map(|one| (*one).to_owned()).collect(),
                fills_of: BTreeMap::new(),
            };
            let expected = Composition {
                socket: piece("scorer", &socket, &[]),
                plugs: vec![piece("tokens:0.1.0", &plug, &[TOKENS])],
            };
            assert_eq!(described.composition, Some(expected));
            // A linked component is one like any other: of a whole that has it in it, it is not told.
            assert_eq!(Composition::read(&socket), None);
        }
    }

    /// Imports `interface` as [`plugged`] exports it.
    fn importing(interface: &str) -> String {
        format!(
            r#"(import "{interface}" (instance (export "count" (func (param "text" string) (result u32)))))"#
        )
    }

    #[test]
    fn plugs_fill_each_other() {
        const WORDS: &str = "acme:text/words@0.1.0";
        let tokens = plugged(TOKENS, "count", "string", &importing(WORDS));
        let words = || plugged(WORDS, "count", "string", "");
        for plugs in [
            [("tokens:1", tokens.clone()), ("words:1", words())],
            [("words:1", words()), ("tokens:1", tokens)],
        ] {
            let linked = link(&socket(TOKENS), &plugs).unwrap();
            let described = ComponentDescription::read(&linked).unwrap();
            assert!(described.interface.imports.is_empty(), "{:?}", described.interface.imports);
            let composition = described.composition.unwrap();
            let piece = |name: &str| composition.plugs.iter().find(|plug| plug.name == name).unwrap();
            assert_eq!(piece("tokens:1").fills, [TOKENS]);
            let given = BTreeMap::from([("tokens:1".to_owned(), vec![WORDS.to_owned()])]);
            assert_eq!((&piece("words:1").fills, &piece("words:1").fills_of), (&vec![], &given));
        }
        let circle = [
            ("tokens:1", plugged(TOKENS, "count", "string", &importing(WORDS))),
            ("words:1", plugged(WORDS, "count", "string", &importing(TOKENS))),
        ];
        // Whether the socket needs one of them or not.
        for needed in [TOKENS, "acme:text/others@0.1.0"] {
            let error = link(&socket(needed), &circle).unwrap_err();
            assert_eq!(error.to_string(), "plugs wait for each other: tokens:1, words:1");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let good = || plugged(TOKENS, "count", "string", "");
        let store = r#"(import "acme:store/rows@1.0.0" (instance (export "next" (func (result u32)))))"#;
        for (plugs, says) in [
            (
                vec![("other:1", plugged("acme:text/words", "count", "string", ""))],
                "other:1 exports nothing that scorer or another plug imports",
            ),
            (
                vec![("later:1", plugged("acme:text/tokens@0.2.0", "count", "string", ""))],
                "later:1 exports nothing that scorer or another plug imports",
            ),
            (
                vec![("one:1", good()), ("two:1", good())],
                "one:1 and two:1 both export acme:text/tokens@0.1.0, which scorer imports once",
            ),
            (
                vec![("numbers:1", plugged(TOKENS, "count", "u32", ""))],
                "numbers:1 exports another acme:text/tokens@0.1.0 than scorer imports: function or type `count`",
            ),
            (
                vec![("empty:1", plugged(TOKENS, "sum", "string", ""))],
                "empty:1 exports another acme:text/tokens@0.1.0 than scorer imports: there is no function `count`",
            ),
            (
                vec![("rows:1", plugged(TOKENS, "count", "string", store))],
                "rows:1 imports acme:store/rows@1.0.0, which no plug exports and this host does not offer",
            ),
            (vec![("broken:1", b"\0asm\x0d\0\x01\0x".to_vec())], "broken:1"),
            (vec![("text:1", b"text".to_vec())], "text:1 is neither a component nor a module"),
        ] {
            let error = link(&socket(TOKENS), &plugs).unwrap_err();
            assert_eq!(error.kind(), eyot_core::ErrorKind::Invalid, "{error}");
            assert!(error.chain().contains(says), "{says}: {}", error.chain());
        }
        let error = link(&socket(TOKENS), &[("other:1", plugged("acme:text/words", "count", "string", ""))]);
        let hint = error.unwrap_err().hint_text().unwrap().to_owned();
        assert!(
            hint.contains("other:1 exports acme:text/words; scorer imports acme:text/tokens@0.1.0"),
            "{hint}"
        );
    }
}
