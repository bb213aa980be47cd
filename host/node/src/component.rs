//! A component read as data, without compiling it: what it asks for, who gives that, what it offers.

use std::collections::BTreeSet;

use eyot_core::interface::{Case, Docs, Field, Function, Interface, Type};
use eyot_core::{Error, Result};
use serde::Serialize;
use wasmparser::{BinaryReader, Parser, Payload, ProducersSectionReader};
use wit_component::DecodedWasm;
use wit_parser::{Handle, Resolve, Type as Wit, TypeDefKind, TypeId, WorldItem, WorldKey};

use crate::compose::Composition;

/// What a component's bytes say about it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Described {
    #[serde(flatten)]
    pub(crate) interface: Interface,
    /// Imports with whoever provides them.
    pub(crate) provided: Vec<Import>,
    /// What it was written in, and made with.
    pub(crate) languages: Vec<String>,
    pub(crate) tools: Vec<String>,
    /// What it was linked from, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) composition: Option<Composition>,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Import {
    pub(crate) name: String,
    /// Who gives it; none where this host does not.
    pub(crate) provider: Option<&'static str>,
}

impl Described {
    /// Fails when the bytes are no component.
    pub(crate) fn read(wasm: &[u8]) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("this is no valid component: {error}"))
                .hint("build it again; a file that was cut short or damaged looks like this")
        };
        // A core module of preview 1 is what it becomes when it is pushed.
        let wasm = &*eyot_engine::componentize(wasm)?;
        let decoded = wit_component::decode(wasm).map_err(|error| wrong(&format!("{error:#}")))?;
        let DecodedWasm::Component(resolve, world) = decoded else {
            return Err(wrong(&"it holds only interfaces"));
        };
        let world = &resolve.worlds[world];
        let names = |(key, item): (&WorldKey, &WorldItem)| match item {
            WorldItem::Type { .. } => None,
            _ => Some(resolve.name_world_key(key)),
        };
        let imports: Vec<_> = world.imports.iter().filter_map(names).collect();
        let mut interface = Interface { imports: imports.clone(), ..Interface::default() };
        for (key, item) in world.exports.iter().filter(|(key, _)| !is_internal(key)) {
            let name = resolve.name_world_key(key);
            match item {
                WorldItem::Interface { id, .. } => {
                    let functions = resolve.interfaces[*id].functions.values();
                    let named = |function| describe(&resolve, format!("{name}#"), function);
                    interface.functions.extend(functions.map(named));
                    interface.exports.push(name);
                }
                WorldItem::Function(function) => {
                    interface.functions.push(describe(&resolve, String::new(), function));
                }
                WorldItem::Type { .. } => {}
            }
        }
        let provided = imports.into_iter().map(|name| Import { provider: provider(&name), name }).collect();
        let (languages, tools) = producers(wasm);
        Ok(Self { interface, provided, languages, tools, composition: Composition::read(wasm) })
    }

    /// The imports that nobody gives.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let missing = self.provided.iter().filter(|import| import.provider.is_none());
        missing.map(|import| import.name.as_str()).collect()
    }
}

/// What componentize-py exports for itself.
fn is_internal(key: &WorldKey) -> bool {
    matches!(key, WorldKey::Name(name) if name == "exports")
}

/// The packages that this host offers, by the start of an interface's name, the start of its version, and
/// who that is.
const OFFERED: &[(&str, &str, &str)] = &[
    ("eyot:ml/", "0.1.", "eyot"),
    ("wasi:nn/", "0.2.0-rc-2024-10-28", "eyot"),
    ("wasi:cli/", "0.2.", "WASI 0.2"),
    ("wasi:clocks/", "0.2.", "WASI 0.2"),
    ("wasi:filesystem/", "0.2.", "WASI 0.2"),
    ("wasi:io/", "0.2.", "WASI 0.2"),
    ("wasi:random/", "0.2.", "WASI 0.2"),
    ("wasi:sockets/", "0.2.", "WASI 0.2"),
    ("wasi:http/", "0.2.", "WASI 0.2"),
    ("wasi:cli/", "0.3.", "WASI 0.3"),
    ("wasi:clocks/", "0.3.", "WASI 0.3"),
    ("wasi:filesystem/", "0.3.", "WASI 0.3"),
    ("wasi:random/", "0.3.", "WASI 0.3"),
    ("wasi:sockets/", "0.3.", "WASI 0.3"),
    ("wasi:http/", "0.3.", "WASI 0.3"),
    ("wasi:logging/", "0.1.0-draft", "eyot"),
    ("wasi:config/", "0.2.0-rc.1", "eyot, where granted"),
    ("wasi:keyvalue/", "0.2.0-draft2", "eyot, where granted"),
    ("fermyon:spin/key-value", "2.0.", "eyot, where granted"),
    ("fermyon:spin/sqlite", "2.0.", "eyot, where granted"),
    ("fermyon:spin/variables", "2.0.", "eyot, where granted"),
    ("spin:key-value/", "3.0.", "eyot, where granted"),
    ("spin:variables/", "3.0.", "eyot, where granted"),
    ("spin:sqlite/", "3.1.", "eyot, where granted"),
];

/// Whether this host gives an import.
pub(crate) fn is_offered(import: &str) -> bool {
    provider(import).is_some()
}

/// Who provides an import.
fn provider(import: &str) -> Option<&'static str> {
    let (name, version) = import.split_once('@')?;
    let found =
        OFFERED.iter().find(|(package, start, _)| name.starts_with(package) && version.starts_with(start));
    found.map(|(_, _, who)| *who)
}

/// What the sections `producers` say, of the component and of the modules in it.
fn producers(wasm: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut languages, mut tools) = (BTreeSet::new(), BTreeSet::new());
    for payload in Parser::new(0).parse_all(wasm).map_while(|one| one.ok()) {
        let Payload::CustomSection(section) = payload else { continue };
        if section.name() != "producers" {
            continue;
        }
        // The section is a remark: one that cannot be read says nothing.
        let reader = ProducersSectionReader::new(BinaryReader::new(section.data(), section.data_offset()));
        for field in reader.into_iter().flatten().map_while(|one| one.ok()) {
            let into = match field.name {
                "language" => &mut languages,
                "processed-by" => &mut tools,
                _ => continue,
            };
            let values = field.values.into_iter().map_while(|one| one.ok());
            into.extend(
                values.map(|value| format!("{} {}", value.name, value.version).trim_end().to_owned()),
            );
        }
    }
    (languages.into_iter().collect(), tools.into_iter().collect())
}

fn describe(resolve: &Resolve, before: String, function: &wit_parser::Function) -> Function {
    let field =
        |param: &wit_parser::Param| Field { name: param.name.clone(), ty: type_of(resolve, &param.ty) };
    Function {
        name: before + &function.name,
        params: function.params.iter().map(field).collect(),
        result: function.result.as_ref().map(|ty| type_of(resolve, ty)),
        docs: function.docs.contents.clone().map(|text| Docs { text, ..Docs::default() }),
    }
}

fn type_of(resolve: &Resolve, ty: &Wit) -> Type {
    match ty {
        Wit::Bool => Type::Bool,
        Wit::U8 => Type::U8,
        Wit::U16 => Type::U16,
        Wit::U32 => Type::U32,
        Wit::U64 => Type::U64,
        Wit::S8 => Type::S8,
        Wit::S16 => Type::S16,
        Wit::S32 => Type::S32,
        Wit::S64 => Type::S64,
        Wit::F32 => Type::F32,
        Wit::F64 => Type::F64,
        Wit::Char => Type::Char,
        Wit::String => Type::String,
        Wit::ErrorContext => Type::Resource("error-context".to_owned()),
        Wit::Id(id) => defined(resolve, *id),
    }
}

fn defined(resolve: &Resolve, id: TypeId) -> Type {
    let inner = |ty: &Wit| type_of(resolve, ty);
    let boxed = |ty: &Wit| Box::new(type_of(resolve, ty));
    match &resolve.types[id].kind {
        TypeDefKind::Type(ty) => inner(ty),
        TypeDefKind::List(ty) | TypeDefKind::FixedLengthList(ty, _) => Type::List(boxed(ty)),
        TypeDefKind::Option(ty) => Type::Option(boxed(ty)),
        TypeDefKind::Tuple(tuple) => Type::Tuple(tuple.types.iter().map(inner).collect()),
        TypeDefKind::Record(record) => {
            let field = |field: &wit_parser::Field| Field { name: field.name.clone(), ty: inner(&field.ty) };
            Type::Record(record.fields.iter().map(field).collect())
        }
        TypeDefKind::Variant(variant) => {
            let case =
                |case: &wit_parser::Case| Case { name: case.name.clone(), ty: case.ty.as_ref().map(inner) };
            Type::Variant(variant.cases.iter().map(case).collect())
        }
        TypeDefKind::Enum(cases) => Type::Enum(cases.cases.iter().map(|case| case.name.clone()).collect()),
        TypeDefKind::Flags(flags) => Type::Flags(flags.flags.iter().map(|flag| flag.name.clone()).collect()),
        TypeDefKind::Result(result) => {
            Type::Result { ok: result.ok.as_ref().map(boxed), err: result.err.as_ref().map(boxed) }
        }
        TypeDefKind::Handle(Handle::Own(resource) | Handle::Borrow(resource)) => handle(resolve, *resource),
        other => Type::Resource(other.as_str().to_owned()),
    }
}

/// A handle of `eyot:ml/artifacts` is an artifact; others have no form outside of their component.
fn handle(resolve: &Resolve, mut id: TypeId) -> Type {
    // The same resource has a name in every interface that uses it.
    while let TypeDefKind::Type(Wit::Id(inner)) = resolve.types[id].kind {
        id = inner;
    }
    let resource = &resolve.types[id];
    let name = resource.name.clone().unwrap_or_default();
    let of = match resource.owner {
        wit_parser::TypeOwner::Interface(interface) => resolve.id_of(interface),
        _ => None,
    };
    match of {
        Some(interface) if name == "artifact" && interface.starts_with("eyot:ml/artifacts@") => {
            Type::Artifact
        }
        Some(interface) => Type::Resource(format!("{interface}.{name}")),
        None => Type::Resource(name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_engine::{Engine, Mode, Options, Reach};
    use eyot_store::{BlobStore as _, Memory};

    use super::*;

    /// One item of an interface: enough for the host to say whether it is there.
    const INTERFACES: &[(&str, &str)] = &[
        (
            "eyot:ml/tracking@0.1.0",
            r#"(export "log-param" (func (param "key" string) (param "value" string)))"#,
        ),
        ("wasi:nn/tensor@0.2.0-rc-2024-10-28", r#"(export "tensor" (type (sub resource)))"#),
        ("wasi:cli/environment@0.2.0", r#"(export "get-arguments" (func (result (list string))))"#),
        ("wasi:cli/environment@0.2.12", r#"(export "get-arguments" (func (result (list string))))"#),
        ("wasi:clocks/monotonic-clock@0.2.6", r#"(export "resolution" (func (result u64)))"#),
        ("wasi:filesystem/types@0.2.0", r#"(export "descriptor" (type (sub resource)))"#),
        ("wasi:io/streams@0.2.0", r#"(export "input-stream" (type (sub resource)))"#),
        ("wasi:random/random@0.2.0", r#"(export "get-random-u64" (func (result u64)))"#),
        ("wasi:sockets/network@0.2.0", r#"(export "network" (type (sub resource)))"#),
        ("wasi:http/types@0.2.10", r#"(export "fields" (type (sub resource)))"#),
        ("wasi:cli/environment@0.3.0", r#"(export "get-arguments" (func (result (list string))))"#),
        ("wasi:filesystem/types@0.3.0", r#"(export "descriptor" (type (sub resource)))"#),
        ("wasi:random/random@0.3.0", r#"(export "get-random-u64" (func (result u64)))"#),
        ("wasi:http/types@0.3.0", r#"(export "fields" (type (sub resource)))"#),
        ("wasi:keyvalue/store@0.2.0-draft2", r#"(export "bucket" (type (sub resource)))"#),
        ("spin:key-value/key-value@3.0.0", r#"(export "store" (type (sub resource)))"#),
        ("spin:sqlite/sqlite@3.1.0", r#"(export "connection" (type (sub resource)))"#),
        ("fermyon:spin/key-value@2.0.0", r#"(export "store" (type (sub resource)))"#),
        ("fermyon:spin/sqlite@2.0.0", r#"(export "connection" (type (sub resource)))"#),
        ("fermyon:spin/variables@2.0.0", ""),
        ("wasi:random/random@0.3.0-rc-2026-01-06", r#"(export "get-random-u64" (func (result u64)))"#),
        ("fermyon:spin/llm@2.0.0", r#"(export "ask" (func (result u32)))"#),
        ("wasi:random/random@0.9.0", r#"(export "get-random-u64" (func (result u64)))"#),
        (
            "eyot:ml/tracking@0.2.0",
            r#"(export "log-param" (func (param "key" string) (param "value" string)))"#,
        ),
        ("acme:database/query@1.0.0", r#"(export "ask" (func (result u32)))"#),
    ];

    #[tokio::test]
    async fn what_is_said_to_be_offered_is_what_the_engine_links() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&Options { cache: dir.path().to_owned() }).unwrap();
        let store = Memory::default();
        for (name, item) in INTERFACES {
            let wasm = wat::parse_str(format!(r#"(component (import "{name}" (instance {item})))"#)).unwrap();
            let digest = store.put(wasm.clone().into()).await.unwrap().digest;
            let loaded = engine.load(&store, digest, Mode::Serving).await.unwrap();
            let linked = loaded.warnings(&Reach::default()).iter().all(|one| !one.contains("not offered"));
            let described = Described::read(&wasm).unwrap();
            assert_eq!(described.provided, [Import { name: (*name).to_owned(), provider: provider(name) }]);
            assert_eq!(provider(name).is_some(), linked, "{name}");
        }
    }

    #[test]
    fn what_is_no_component_is_an_error() {
        for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0garbage", b"text"] {
            assert!(Described::read(bytes).is_err(), "{bytes:?}");
        }
    }
}
