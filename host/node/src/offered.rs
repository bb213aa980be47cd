//! Which imports this host offers to components: those of the engine's table.

use eyot_engine::provider;

/// Whether this host gives an import, named with its version.
pub(crate) fn is_offered(import: &str) -> bool {
    provider(import).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_component::ComponentDescription;
    use eyot_engine::{Engine, EngineOptions, ExecutionMode, GrantedCapabilities};
    use eyot_store::{BlobStore as _, MemoryStore};

    use super::*;

    /// One item of an interface: enough for the host to say whether it is there.
    const INTERFACE_ITEMS: &[(&str, &str)] = &[
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
        let engine = Engine::new(&EngineOptions { cache: dir.path().to_owned() }).unwrap();
        let store = MemoryStore::default();
        for (name, item) in INTERFACE_ITEMS {
            let wasm = wat::parse_str(format!(r#"(component (import "{name}" (instance {item})))"#)).unwrap();
            let digest = store.put(wasm.clone().into()).await.unwrap().digest;
            let loaded = engine.load(&store, digest, ExecutionMode::Serving).await.unwrap();
            let linked = loaded
                .warnings(&GrantedCapabilities::default())
                .iter()
                .all(|one| !one.contains("not offered"));
            let described = ComponentDescription::read(&wasm).unwrap();
            assert_eq!(described.interface.imports, [(*name).to_owned()]);
            assert_eq!(provider(name).is_some(), linked, "{name}");
        }
    }
}
