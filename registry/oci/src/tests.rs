#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use eyot_core::{Digest, Kind, Reference};
use eyot_meta::Database;
use eyot_store::{BlobStore as _, Directory};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::answer::collect;
use crate::{ArtifactKind, Client, Registry, Transport, router};

struct World {
    registry: Registry,
    store: Arc<Directory>,
    transport: Transport,
    dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Directory::open(dir.path()).await.unwrap());
        let db = Database::open(&dir.path().join("eyot.db")).await.unwrap();
        let registry = Registry::new(store.clone(), db, Some(dir.path().to_owned())).await.unwrap();
        let transport = Transport::local(router(registry.clone()));
        Self { registry, store, transport, dir }
    }

    fn client(&self) -> Client {
        Client::with_transport(self.transport.clone())
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &'static str,
    ) -> (StatusCode, http::HeaderMap, Bytes) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        let response = self.transport.send(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, collect(body, 1 << 20).await.unwrap())
    }
}

fn component() -> Bytes {
    let wat = r#"(component
        (import "wasi:cli/environment@0.2.12" (instance))
        (core module $m (func (export "run")))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run"))))"#;
    wat::parse_str(wat).unwrap().into()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[tokio::test]
async fn components_and_models_are_what_other_tools_expect() {
    let world = World::new().await;
    let pushed = world.client().push_component("acme/steps", Some("1.0.0"), component()).await.unwrap();
    assert_eq!(pushed.content, Digest::of(component()));
    let (status, headers, bytes) = world.ask("GET", "/v2/acme/steps/manifests/1.0.0", "").await;
    assert_eq!(
        (status, headers["docker-content-digest"].to_str().unwrap()),
        (StatusCode::OK, pushed.digest.to_string().as_str())
    );
    assert_eq!(headers["content-type"], "application/vnd.oci.image.manifest.v1+json");
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    let config = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
    let config: Value =
        serde_json::from_slice(&world.client().pull_blob("acme/steps", &config).await.unwrap()).unwrap();
    assert_eq!(
        config["component"],
        json!({"exports": ["run"], "imports": ["wasi:cli/environment@0.2.12"], "target": null})
    );
    assert_eq!(config["layerDigests"], json!([Digest::of(component())]));

    let model = world
        .client()
        .push_model("models/iris", None, "iris.onnx", Bytes::from_static(b"weights"))
        .await
        .unwrap();
    let found = world.registry.artifact(&reference(&format!("models/iris@{}", model.digest))).await.unwrap();
    assert_eq!((found.kind, found.content), (ArtifactKind::Model, Digest::of(b"weights")));
    let (_, _, bytes) = world.ask("GET", &format!("/v2/models/iris/manifests/{}", model.digest), "").await;
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(manifest["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.cncf.model.weight.v1.raw");

    let names: Vec<_> =
        world.registry.list().await.unwrap().into_iter().map(|entry| (entry.repository, entry.tag)).collect();
    assert_eq!(
        names,
        [("acme/steps".to_owned(), Some("1.0.0".to_owned())), ("models/iris".to_owned(), None)]
    );
    let index: Value =
        serde_json::from_slice(&std::fs::read(world.dir.path().join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "acme/steps:1.0.0");
}

#[tokio::test]
async fn the_same_content_has_the_same_manifest_and_what_it_needs_is_kept() {
    let world = World::new().await;
    let first = world.client().push_component("a", Some("1"), component()).await.unwrap();
    let again = world.client().push_component("a", Some("2"), component()).await.unwrap();
    assert_eq!(first.digest, again.digest);
    assert_eq!(world.registry.tags("a").await.unwrap(), ["1", "2"]);
    assert_eq!(world.store.delete(&first.content).await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn what_is_no_component_is_not_pushed() {
    let world = World::new().await;
    let whole = component();
    for (bytes, says) in [
        (Bytes::new(), "no wasm component"),
        (Bytes::from_static(b"#!/bin/sh"), "no wasm component"),
        (wat::parse_str("(module)").unwrap().into(), "a core wasm module"),
        (whole.slice(..whole.len() - 9), "no valid component"),
    ] {
        let error = world.client().push_component("a", Some("1"), bytes).await.unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.chain().contains(says), "{error:?}");
    }
    assert!(world.store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn uploads_in_pieces_arrive_whole_or_not_at_all() {
    let world = World::new().await;
    let digest = Digest::of(b"hello world");
    let (status, headers, _) = world.ask("POST", "/v2/a/b/blobs/uploads/", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let upload = headers["location"].to_str().unwrap().to_owned();
    let (status, headers, _) = world.ask("PATCH", &upload, "hello ").await;
    assert_eq!((status, headers["range"].to_str().unwrap()), (StatusCode::ACCEPTED, "0-5"));
    assert_eq!(world.ask("GET", &upload, "").await.0, StatusCode::NO_CONTENT);
    let (status, _, _) = world.ask("PUT", &format!("{upload}?digest={digest}"), "world").await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(world.ask("GET", &format!("/v2/a/b/blobs/{digest}"), "").await.2, "hello world");
    // The session is over.
    assert_eq!(world.ask("PATCH", &upload, "more").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn wrong_requests_name_what_is_wrong_and_leave_nothing() {
    let world = World::new().await;
    let absent = Digest::of(b"absent");
    let needs = r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5}}"#;
    for (method, path, body, status, code) in [
        ("GET", "/v2/a/blobs/sha256:00".to_owned(), "", 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/{absent}"), "", 404, "BLOB_UNKNOWN"),
        ("POST", format!("/v2/a/blobs/uploads/?digest={absent}"), "other", 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/manifests/none".to_owned(), "", 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/a/manifests/t".to_owned(), "{", 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/a/manifests/t".to_owned(), r#"{"schemaVersion":1}"#, 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/a/manifests/t".to_owned(), needs, 404, "MANIFEST_BLOB_UNKNOWN"),
        ("PUT", format!("/v2/a/manifests/{absent}"), r#"{"schemaVersion":2}"#, 400, "MANIFEST_INVALID"),
        ("PUT", "/v2/a/manifests/-bad".to_owned(), "{}", 400, "MANIFEST_INVALID"),
        ("GET", "/v2/A/manifests/t".to_owned(), "", 400, "NAME_INVALID"),
        ("GET", "/v2/a/../../etc/manifests/t".to_owned(), "", 400, "NAME_INVALID"),
        ("GET", "/v2/a/tags/list".to_owned(), "", 404, "NAME_UNKNOWN"),
        ("DELETE", "/v2/a/tags/list".to_owned(), "", 405, "UNSUPPORTED"),
        ("GET", "/v2/nothing".to_owned(), "", 404, "UNSUPPORTED"),
    ] {
        let (found, _, bytes) = world.ask(method, &path, body).await;
        let problem: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            (found.as_u16(), problem["errors"][0]["code"].as_str().unwrap()),
            (status, code),
            "{method} {path}"
        );
    }
    assert!(world.store.list().await.unwrap().is_empty() && world.registry.list().await.unwrap().is_empty());
}
