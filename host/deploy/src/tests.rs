#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Digest, Error, Kind, Name, Result, SystemClock};
use eyot_meta::Database;
use eyot_store::{BlobStore, Memory};
use parking_lot::Mutex;

use crate::{Deployments, Host, Pinned, Spec, Staged, State};

/// Serves by remembering; refuses whatever is called `broken`.
#[derive(Default)]
struct Fake {
    serving: Arc<Mutex<BTreeMap<Name, u64>>>,
}

struct Ready(Arc<Mutex<BTreeMap<Name, u64>>>, Name, u64);

impl Staged for Ready {
    fn activate(self: Box<Self>) {
        self.0.lock().insert(self.1, self.2);
    }
}

#[async_trait]
impl Host for Fake {
    async fn stage(&self, name: &Name, revision: u64, spec: &Spec) -> Result<Box<dyn Staged>> {
        if spec.models.values().any(|model| model.reference == "broken") {
            return Err(Error::invalid("the model is no ONNX file"));
        }
        Ok(Box::new(Ready(self.serving.clone(), name.clone(), revision)))
    }

    fn deactivate(&self, name: &Name) {
        self.serving.lock().remove(name);
    }
}

struct World {
    db: Database,
    store: Arc<Memory>,
    host: Arc<Fake>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("meta.db")).await.unwrap();
        Self { db, store: Arc::new(Memory::default()), host: Arc::default(), _dir: dir }
    }

    fn deployments(&self) -> Deployments {
        Deployments::new(self.db.clone(), self.store.clone(), self.host.clone(), Arc::new(SystemClock))
    }

    async fn spec(&self, reference: &str) -> Spec {
        let blob = self.store.put(Bytes::from(reference.to_owned())).await.unwrap();
        let model = Pinned { reference: reference.into(), manifest: Digest::of("m"), content: blob.digest };
        Spec { component: None, models: BTreeMap::from([("model".to_owned(), model)]) }
    }

    async fn pins(&self, spec: &Spec) -> Vec<String> {
        self.store.pins(&spec.contents().next().unwrap()).await.unwrap()
    }

    fn serving(&self) -> Vec<(String, u64)> {
        self.host.serving.lock().iter().map(|(name, revision)| (name.to_string(), *revision)).collect()
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[tokio::test]
async fn revisions_count_up_and_the_same_spec_is_no_change() {
    let world = World::new().await;
    let deployments = world.deployments();
    let (one, two) = (world.spec("one").await, world.spec("two").await);
    assert_eq!(deployments.deploy(&name("a"), one.clone()).await.unwrap().revision, 1);
    assert_eq!(deployments.deploy(&name("a"), one.clone()).await.unwrap().revision, 1);
    assert_eq!(deployments.deploy(&name("a"), two.clone()).await.unwrap().revision, 2);
    assert_eq!(world.serving(), [("a".to_owned(), 2)]);
    assert_eq!(world.pins(&one).await, Vec::<String>::new());
    assert_eq!(world.pins(&two).await, ["deployment/a/2"]);
    deployments.undeploy(&name("a")).await.unwrap();
    assert!(deployments.list().await.unwrap().is_empty() && world.serving().is_empty());
    assert_eq!(deployments.deploy(&name("a"), one).await.unwrap().revision, 3, "numbers never repeat");
}

#[tokio::test]
async fn what_cannot_be_staged_changes_nothing() {
    let world = World::new().await;
    let deployments = world.deployments();
    deployments.deploy(&name("a"), world.spec("good").await).await.unwrap();
    let broken = world.spec("broken").await;
    let error = deployments.deploy(&name("a"), broken.clone()).await.unwrap_err();
    assert_eq!(error.chain(), "cannot deploy 'a': the model is no ONNX file");
    assert_eq!(world.serving(), [("a".to_owned(), 1)]);
    assert!(world.pins(&broken).await.is_empty());
    assert_eq!(deployments.deploy(&name("b"), Spec::default()).await.unwrap_err().kind(), Kind::Invalid);
    assert_eq!(deployments.undeploy(&name("b")).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_restart_serves_what_served_and_says_what_it_cannot() {
    let world = World::new().await;
    let first = world.deployments();
    first.deploy(&name("a"), world.spec("good").await).await.unwrap();
    first.deploy(&name("b"), world.spec("soon").await).await.unwrap();
    world.host.serving.lock().clear();
    // The second start finds b's model unusable.
    sqlx::query("UPDATE revisions SET spec = replace(spec, '\"soon\"', '\"broken\"')")
        .execute(world.db.pool())
        .await
        .unwrap();
    let second = world.deployments();
    second.restore().await.unwrap();
    assert_eq!(world.serving(), [("a".to_owned(), 1)]);
    let states: Vec<_> =
        second.list().await.unwrap().into_iter().map(|deployment| deployment.state).collect();
    assert_eq!(states, [State::Serving, State::Failed { error: "the model is no ONNX file".into() }]);
    let again = second.deploy(&name("b"), world.spec("good").await).await.unwrap();
    assert_eq!((again.revision, again.state), (2, State::Serving));
}
