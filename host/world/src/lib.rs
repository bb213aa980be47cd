//! The Rust face of `wit/`: what `bindgen!` makes of the contracts, and nothing else.
//!
//! It is a crate of its own because the macro's output is slow to compile and changes only when a
//! contract does. One interface is written by hand: see [`types`]. The resource types are markers: the engine keeps what they stand for in its own
//! resource table.

pub mod types;

/// A handle of `eyot:ml/artifacts.artifact`.
pub struct Artifact(());
/// A handle of `eyot:ml/artifacts.writer`.
pub struct ArtifactWriter(());
/// A handle of `eyot:ml/models.model`.
pub struct Model(());
/// A handle of `wasi:nn/tensor.tensor`.
pub struct NnTensor(());
/// A handle of `wasi:nn/graph.graph`.
pub struct NnGraph(());
/// A handle of `wasi:nn/inference.graph-execution-context`.
pub struct NnContext(());
/// A handle of `wasi:nn/errors.error`.
pub struct NnError(());

/// Everything the host offers to components beside WASI.
///
/// Only calls that may wait are asynchronous: an asynchronous host call costs a switch of stacks,
/// which a getter should not pay.
pub mod imports {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "eyot:ml/host",
        imports: {
            "eyot:ml/artifacts.[method]artifact.read": async | trappable,
            "eyot:ml/artifacts.[method]writer.write": async | trappable,
            "eyot:ml/artifacts.[static]writer.finish": async | trappable,
            "eyot:ml/models.[static]model.load": async | trappable,
            "eyot:ml/models.[method]model.infer": async | trappable,
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
        with: {
            "eyot:ml/types": crate::types,
            "eyot:ml/artifacts.artifact": crate::Artifact,
            "eyot:ml/artifacts.writer": crate::ArtifactWriter,
            "eyot:ml/models.model": crate::Model,
            "wasi:nn/tensor.tensor": crate::NnTensor,
            "wasi:nn/graph.graph": crate::NnGraph,
            "wasi:nn/inference.graph-execution-context": crate::NnContext,
            "wasi:nn/errors.error": crate::NnError,
        },
    });
}

/// A bucket of `wasi:keyvalue/store`.
pub struct Bucket(());
/// A handle of `wasi:keyvalue/atomics.cas`.
pub struct Cas(());
/// A store of `spin:key-value/key-value`.
pub struct SpinStore(());
/// A connection of `spin:sqlite/sqlite`.
pub struct SpinConnection(());

/// What the host offers to components that serve and were granted it: stores, databases, settings.
pub mod serving {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "eyot:ml/serving-host",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::Bucket,
            "wasi:keyvalue/atomics.cas": crate::Cas,
            "spin:key-value/key-value.store": crate::SpinStore,
            "spin:sqlite/sqlite.connection": crate::SpinConnection,
            "fermyon:spin/key-value.store": crate::SpinStore,
            "fermyon:spin/sqlite.connection": crate::SpinConnection,
        },
    });
}

/// The exports of a component that answers predictions.
pub mod handler {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "eyot:ml/model-handler",
        exports: { default: async },
        with: {
            "eyot:ml/types": crate::types,
            "eyot:ml/artifacts": crate::imports::eyot::ml::artifacts,
            "eyot:ml/models": crate::imports::eyot::ml::models,
        },
    });
}

/// The asynchronous twins: what a component imports to have several inferences under way, and what it
/// exports to wait for them.
pub mod asynchronous {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "eyot:ml/model-handler-async",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "eyot:ml/types": crate::types,
            "eyot:ml/artifacts": crate::imports::eyot::ml::artifacts,
            "eyot:ml/models": crate::imports::eyot::ml::models,
        },
    });
}
