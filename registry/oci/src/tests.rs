#![allow(clippy::unwrap_used)]

mod access;
mod admission;
mod backup;
mod clock;
mod collect;
mod dataset;
mod formats;
mod given_up;
mod habits;
mod hostile;
mod mirror;
mod objects;
mod policy;
mod quota;
mod races;
mod uploads;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use eyot_access::{AccessSettings, AccessStore, NewToken};
use eyot_core::config::RegistrySettings as Config;
use eyot_core::{Clock, Digest, ErrorKind, ProjectName, Reference, SystemClock, Timestamp};
use eyot_meta::Database;
use eyot_store::{BlobStore as _, DirectoryStore};
use http::Request;
use serde_json::{Value, json};

use crate::manifest::IMAGE_MANIFEST;
use crate::response::read_body;
use crate::{ArtifactKind, Registry, RegistryClient, RegistrySettings, Transport, router};

/// A registry in a folder of its own, asked over its own wire.
struct World {
    registry: Registry,
    store: Arc<DirectoryStore>,
    transport: Transport,
    dir: Arc<tempfile::TempDir>,
    clock: Arc<ShiftedClock>,
}

/// The machine's clock, and what a test has moved it by.
#[derive(Default)]
struct ShiftedClock(AtomicI64);

impl ShiftedClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(crate::registry::milliseconds(by), Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

/// An answer.
struct Got {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The specification's code of an error.
    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), config).await
    }

    async fn open(dir: Arc<tempfile::TempDir>, config: Config) -> Self {
        let clock = Arc::new(ShiftedClock::default());
        let (registry, store) = registry(dir.path(), &config, clock.clone()).await;
        let transport = Transport::local(router(registry.clone()));
        Self { registry, store, transport, dir, clock }
    }

    /// The same folder, as after a restart.
    async fn reopened(self, config: Config) -> Self {
        self.registry.0.db.close().await;
        let dir = self.dir.clone();
        drop(self);
        Self::open(dir, config).await
    }

    fn client(&self) -> RegistryClient {
        RegistryClient::with_transport(self.transport.clone())
    }

    /// What was done, by the audit log of the project `default`.
    async fn audited(&self) -> Vec<String> {
        let log = self.registry.0.db.audit(&ProjectName::default(), 0, 100).await.unwrap();
        log.into_iter().map(|entry| entry.action).collect()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Got {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.transport.send(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: read_body(body, 8 << 20).await.unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Got {
        self.send("GET", path, &[], Body::empty()).await
    }

    /// Pushes a blob and answers its digest.
    async fn blob(&self, repository: &str, text: &str) -> Digest {
        let digest = Digest::of(text);
        let got = self
            .send("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], text.to_owned())
            .await;
        assert_eq!(got.status, 201, "{:?}", got.body);
        digest
    }

    /// The length of something that is here.
    async fn size(&self, digest: &Digest) -> u64 {
        self.store.size(digest).await.unwrap().unwrap()
    }

    /// Pushes an image of one layer; answers its digest.
    async fn image(&self, repository: &str, target: &str, layer: &str, more: Value) -> Digest {
        let manifest = self.manifest(repository, layer, more).await;
        let target = if target.is_empty() { Digest::of(&manifest).to_string() } else { target.to_owned() };
        let got = self.put(repository, &target, &manifest).await;
        assert_eq!(got.status, 201, "{:?}", got.body);
        Digest::of(manifest)
    }

    /// A manifest whose blobs are pushed, with `more` fields.
    async fn manifest(&self, repository: &str, layer: &str, more: Value) -> String {
        let (config, blob) = (self.blob(repository, "{}").await, self.blob(repository, layer).await);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "config": { "mediaType": "application/vnd.test.config", "digest": config, "size": 2 },
            "layers": [{ "mediaType": "application/vnd.test.layer", "digest": blob, "size": layer.len() }],
        });
        for (name, value) in more.as_object().unwrap() {
            manifest[name] = value.clone();
        }
        manifest.to_string()
    }

    async fn put(&self, repository: &str, target: &str, manifest: &str) -> Got {
        self.send("PUT", &format!("/v2/{repository}/manifests/{target}"), &[], manifest.to_owned()).await
    }
}

async fn registry(dir: &Path, config: &Config, clock: Arc<dyn Clock>) -> (Registry, Arc<DirectoryStore>) {
    let store = Arc::new(DirectoryStore::open(dir).await.unwrap());
    let db = open_database(&dir.join("eyot.db")).await;
    let access = open_access(db.clone(), config, clock.clone()).await;
    let settings = RegistrySettings::new(config).with_clock(clock);
    let registry = Registry::new(store.clone(), db, access, Some(dir.to_owned()), settings).await.unwrap();
    (registry, store)
}

async fn open_access(db: Database, config: &Config, clock: Arc<dyn Clock>) -> AccessStore {
    let settings = AccessSettings { anonymous: config.anonymous, clock, ..AccessSettings::default() };
    AccessStore::open(db, settings).await.unwrap()
}

impl Registry {
    /// A token of nobody.
    async fn token(&self, name: &str, scopes: &[&str], expires: Option<Timestamp>) -> String {
        let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        let token = NewToken { name: name.to_owned(), scopes, expires, project: None };
        let access = &self.0.access;
        access.create_token(&access.local_caller(), &ProjectName::default(), token).await.unwrap().secret
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
    let got = world.get("/v2/acme/steps/manifests/1.0.0").await;
    assert_eq!((got.status, got.header("docker-content-digest")), (200, pushed.digest.to_string().as_str()));
    assert_eq!(got.header("content-type"), "application/vnd.oci.image.manifest.v1+json");
    let manifest = got.json();
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
    let manifest = world.get(&format!("/v2/models/iris/manifests/{}", model.digest)).await.json();
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
    assert_eq!(world.registry.tags("a", None, 10).await.unwrap(), ["1", "2"]);
    assert_eq!(world.registry.collect(crate::CollectionMode::Remove).await.unwrap().blobs, 0);
    assert!(world.store.size(&first.content).await.unwrap().is_some());
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
        assert!(error.kind() == ErrorKind::Invalid && error.chain().contains(says), "{error:?}");
    }
    assert!(world.store.list().await.unwrap().is_empty());
}

/// The file, or the PostgreSQL database that stands for it while `cargo xtask test` runs these tests once more.
async fn open_database(file: &std::path::Path) -> Database {
    match eyot_test_services::database_url(file) {
        Some(url) => Database::connect(&url).await.unwrap(),
        None => Database::open(file).await.unwrap(),
    }
}
