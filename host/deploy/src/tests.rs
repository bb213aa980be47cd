#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{Digest, Error, ErrorKind, ProjectName, Result, ScopedName, SystemClock};
use eyot_meta::{Database, sql};
use eyot_store::{BlobStore, MemoryStore};
use eyot_test_services::give_up_after;
use parking_lot::Mutex;

use crate::{
    DataPlane, DeploymentState, Deployments, PinnedArtifact, RevisionLimits, RevisionSpec, Shadow,
    StagedRevision, Traffic,
};

/// Serves by remembering; refuses whatever is called `broken`.
#[derive(Default)]
struct Fake {
    serving: Arc<Mutex<BTreeMap<ScopedName, Routed>>>,
    staged: Mutex<Vec<u64>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Routed {
    active: BTreeSet<u64>,
    traffic: Traffic,
}

struct Ready(Arc<Mutex<BTreeMap<ScopedName, Routed>>>, ScopedName, u64);

impl StagedRevision for Ready {
    fn activate(self: Box<Self>) {
        self.0.lock().entry(self.1).or_default().active.insert(self.2);
    }
}

#[async_trait]
impl DataPlane for Fake {
    async fn stage(
        &self,
        name: &ScopedName,
        revision: u64,
        spec: &RevisionSpec,
    ) -> Result<Box<dyn StagedRevision>> {
        if spec.models.values().any(|model| model.reference == "broken") {
            return Err(Error::invalid("the model is no ONNX file"));
        }
        self.staged.lock().push(revision);
        Ok(Box::new(Ready(self.serving.clone(), name.clone(), revision)))
    }

    fn route(&self, name: &ScopedName, traffic: &Traffic, live: &BTreeSet<u64>) {
        let mut serving = self.serving.lock();
        let routed = serving.entry(name.clone()).or_default();
        assert!(live.is_subset(&routed.active), "{live:?} of {routed:?}");
        routed.active = live.clone();
        routed.traffic = traffic.clone();
    }

    fn deactivate(&self, name: &ScopedName) {
        self.serving.lock().remove(name);
    }

    fn runs_on(&self, name: &ScopedName, revision: u64) -> BTreeMap<String, String> {
        let serves = self.serving.lock().get(name).is_some_and(|routed| routed.active.contains(&revision));
        serves.then(|| ("model".to_owned(), "a fake".to_owned())).into_iter().collect()
    }
}

struct World {
    db: Database,
    store: Arc<MemoryStore>,
    host: Arc<Fake>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&dir.path().join("meta.db")).await;
        Self { db, store: Arc::new(MemoryStore::default()), host: Arc::default(), _dir: dir }
    }

    fn deployments(&self) -> Deployments {
        Deployments::new(self.db.clone(), self.store.clone(), self.host.clone(), Arc::new(SystemClock))
    }

    async fn spec(&self, reference: &str) -> RevisionSpec {
        let blob = self.store.put(Bytes::from(reference.to_owned())).await.unwrap();
        let model = PinnedArtifact {
            reference: reference.into(),
            manifest: Digest::of("m"),
            content: blob.digest,
            data: Vec::new(),
        };
        RevisionSpec { models: BTreeMap::from([("model".to_owned(), model)]), ..RevisionSpec::default() }
    }

    async fn pins(&self, spec: &RevisionSpec) -> Vec<String> {
        self.store.pins(&spec.contents().next().unwrap()).await.unwrap()
    }

    fn serving(&self) -> Vec<(String, u64)> {
        let serving = self.host.serving.lock();
        serving.iter().map(|(name, routed)| (name.to_string(), routed.traffic.main().unwrap())).collect()
    }

    fn routed(&self, name: &str) -> (Vec<u64>, Traffic) {
        let serving = self.host.serving.lock();
        let routed = &serving[&name.parse::<ScopedName>().unwrap()];
        (routed.active.iter().copied().collect(), routed.traffic.clone())
    }
}

fn name(text: &str) -> ScopedName {
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
    assert_eq!(world.pins(&one).await, ["deployment/a/1"], "kept for a rollback");
    assert_eq!(world.pins(&two).await, ["deployment/a/2"]);
    assert_eq!(deployments.deploy(&name("a"), world.spec("three").await).await.unwrap().revision, 3);
    assert_eq!(world.pins(&one).await, Vec::<String>::new());
    deployments.undeploy(&name("a")).await.unwrap();
    assert!(
        deployments.list(&ProjectName::default()).await.unwrap().is_empty() && world.serving().is_empty()
    );
    assert_eq!(world.pins(&two).await, Vec::<String>::new());
    assert_eq!(deployments.deploy(&name("a"), one).await.unwrap().revision, 4, "numbers never repeat");
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
    assert_eq!(
        deployments.deploy(&name("b"), RevisionSpec::default()).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(deployments.undeploy(&name("b")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_restart_serves_what_served_and_says_what_it_cannot() {
    let world = World::new().await;
    let first = world.deployments();
    first.deploy(&name("a"), world.spec("good").await).await.unwrap();
    first.deploy(&name("b"), world.spec("soon").await).await.unwrap();
    world.host.serving.lock().clear();
    // The second start finds b's model unusable.
    sql("UPDATE revisions SET spec = replace(spec, '\"soon\"', '\"broken\"')")
        .execute(&world.db)
        .await
        .unwrap();
    let second = world.deployments();
    second.restore().await.unwrap();
    assert_eq!(world.serving(), [("a".to_owned(), 1)]);
    let states: Vec<_> = second
        .list(&ProjectName::default())
        .await
        .unwrap()
        .into_iter()
        .map(|deployment| deployment.state)
        .collect();
    assert_eq!(
        states,
        [DeploymentState::Serving, DeploymentState::Failed { error: "the model is no ONNX file".into() }]
    );
    let again = second.deploy(&name("b"), world.spec("good").await).await.unwrap();
    assert_eq!((again.revision, again.state), (2, DeploymentState::Serving));
}

fn split(weights: &[(u64, u32)]) -> Traffic {
    Traffic { weights: weights.iter().copied().collect(), ..Traffic::default() }
}

#[tokio::test]
async fn traffic_moves_rolls_back_and_survives_a_restart() {
    let world = World::new().await;
    let deployments = world.deployments();
    let a = name("a");
    assert_eq!(
        deployments.prepare(&a, world.spec("one").await).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    deployments.deploy(&a, world.spec("one").await).await.unwrap();
    let prepared = deployments.prepare(&a, world.spec("two").await).await.unwrap();
    assert_eq!((prepared.revision, &prepared.traffic), (1, &split(&[(1, 100), (2, 0)])));
    assert_eq!(world.routed("a"), (vec![1, 2], split(&[(1, 100), (2, 0)])));

    let shadow = Some(Shadow { revision: 1, percent: 50 });
    let canary = Traffic { sticky: Some("x-user".into()), shadow, ..split(&[(1, 90), (2, 10)]) };
    deployments.split(&a, canary.clone()).await.unwrap();
    deployments.split(&a, Traffic::all(2)).await.unwrap();
    assert_eq!(world.routed("a"), (vec![1, 2], Traffic::all(2)));
    let weights: Vec<_> = deployments
        .revisions(&a)
        .await
        .unwrap()
        .iter()
        .map(|it| (it.revision, it.weight, it.ready))
        .collect();
    assert_eq!(weights, [(1, 0, true), (2, 100, true)]);
    world.host.staged.lock().clear();
    assert_eq!(deployments.roll_back(&a).await.unwrap().traffic, canary);
    assert!(world.host.staged.lock().is_empty(), "a rollback loads nothing");
    assert_eq!(deployments.roll_back(&a).await.unwrap().revision, 2, "and forward again");
    deployments.roll_back(&a).await.unwrap();

    world.host.serving.lock().clear();
    let second = world.deployments();
    second.restore().await.unwrap();
    assert_eq!(world.routed("a"), (vec![1, 2], canary));
    assert_eq!(second.roll_back(&a).await.unwrap().traffic, Traffic::all(2));
}

#[tokio::test]
async fn traffic_that_cannot_be_changes_nothing() {
    let world = World::new().await;
    let deployments = world.deployments();
    let a = name("a");
    deployments.deploy(&a, world.spec("one").await).await.unwrap();
    let before = world.routed("a");
    for (traffic, kind) in [
        (split(&[(1, 50), (2, 50)]), ErrorKind::NotFound),
        (split(&[(1, 0)]), ErrorKind::Invalid),
        (
            Traffic { shadow: Some(Shadow { revision: 9, percent: 1 }), ..Traffic::all(1) },
            ErrorKind::NotFound,
        ),
    ] {
        assert_eq!(deployments.split(&a, traffic).await.unwrap_err().kind(), kind);
    }
    assert_eq!(deployments.roll_back(&a).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(deployments.split(&name("b"), Traffic::all(1)).await.unwrap_err().kind(), ErrorKind::NotFound);
    let never = RevisionSpec {
        limits: RevisionLimits { concurrency: Some(0), ..RevisionLimits::default() },
        ..world.spec("one").await
    };
    assert_eq!(deployments.deploy(&a, never).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(world.routed("a"), before);
    // One that was let go long ago is loaded again.
    for reference in ["two", "three"] {
        deployments.deploy(&a, world.spec(reference).await).await.unwrap();
    }
    assert_eq!(world.routed("a").0, [2, 3]);
    deployments.split(&a, split(&[(1, 1), (3, 1)])).await.unwrap();
    assert_eq!(world.routed("a").0, [1, 3]);
}

#[tokio::test]
async fn what_is_unloaded_serves_again_when_loaded() {
    let world = World::new().await;
    let deployments = world.deployments();
    let a = name("a");
    deployments.deploy(&a, world.spec("one").await).await.unwrap();
    let routed = world.routed("a");
    deployments.unload(&a).await.unwrap();
    assert_eq!(
        (world.serving(), deployments.get(&a).await.unwrap().state),
        (vec![], DeploymentState::Unloaded)
    );
    deployments.load(&a).await.unwrap();
    deployments.load(&a).await.unwrap();
    assert_eq!(
        (world.routed("a"), deployments.get(&a).await.unwrap().state),
        (routed, DeploymentState::Serving)
    );
    assert_eq!(deployments.load(&name("b")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Changes something under a name; answers whether it went on to its end.
async fn change(
    what: usize,
    polls: usize,
    deployments: &Deployments,
    name: &ScopedName,
    spec: RevisionSpec,
) -> bool {
    let ended = match what {
        0 => give_up_after(polls, deployments.deploy(name, spec)).await.map(|done| done.map(drop)),
        1 => give_up_after(polls, deployments.prepare(name, spec)).await.map(|done| done.map(drop)),
        2 => give_up_after(polls, deployments.split(name, split(&[(1, 1), (2, 1)])))
            .await
            .map(|done| done.map(drop)),
        3 => give_up_after(polls, deployments.roll_back(name)).await.map(|done| done.map(drop)),
        4 => give_up_after(polls, deployments.unload(name)).await,
        5 => give_up_after(polls, deployments.load(name)).await,
        _ => give_up_after(polls, deployments.undeploy(name)).await,
    };
    ended.is_some_and(|done| done.map(|()| true).unwrap())
}

#[tokio::test]
async fn whoever_goes_away_at_any_moment_leaves_what_serves_and_what_is_written_the_same() {
    let world = World::new().await;
    let deployments = world.deployments();
    for what in 0..7 {
        for polls in 0.. {
            let name = name(&format!("a-{what}-{polls}"));
            for reference in ["one", "two", "three"] {
                deployments.deploy(&name, world.spec(reference).await).await.unwrap();
            }
            if what == 5 {
                deployments.unload(&name).await.unwrap();
            }
            let spec = world.spec("four").await;
            let ended = change(what, polls, &deployments, &name, spec.clone()).await;
            deployments.settled().await;
            let case = format!("change {what}, given up after {polls} polls");
            let routed = world.host.serving.lock().get(&name).cloned();
            let found = deployments.get(&name).await.ok();
            match (&found, &routed) {
                (Some(found), Some(routed)) if found.state == DeploymentState::Serving => {
                    assert_eq!(found.traffic, routed.traffic, "{case}");
                }
                (Some(found), None) => assert_eq!(found.state, DeploymentState::Unloaded, "{case}"),
                (found, routed) => {
                    assert!(found.is_none() && routed.is_none(), "{case}: {found:?} {routed:?}")
                }
            }
            let is_made = found.is_some() && deployments.revisions(&name).await.unwrap().len() == 4;
            let pins = world.pins(&spec).await;
            assert_eq!(pins.contains(&format!("deployment/{name}/4")), is_made, "{case}: {pins:?}");
            if ended {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_written_pins_nothing() {
    let world = World::new().await;
    let deployments = world.deployments();
    deployments.deploy(&name("a"), world.spec("one").await).await.unwrap();
    let two = world.spec("two").await;
    let refuse = "CREATE UNIQUE INDEX one_revision ON revisions (deployment)";
    sql(refuse).execute(&world.db).await.unwrap();
    deployments.deploy(&name("a"), two.clone()).await.unwrap_err();
    assert!(world.pins(&two).await.is_empty());
    assert_eq!(world.serving(), [("a".to_owned(), 1)]);
}

#[tokio::test]
async fn what_was_pinned_for_a_revision_that_was_never_written_is_let_go() {
    let world = World::new().await;
    let spec = world.spec("a").await;
    world.deployments().deploy(&name("m"), spec.clone()).await.unwrap();
    let digest = spec.contents().next().unwrap();
    for owner in ["deployment/m/2", "deployment/gone/1"] {
        world.store.pin(&digest, owner).await.unwrap();
    }
    world.deployments().restore().await.unwrap();
    assert_eq!(world.pins(&spec).await, ["deployment/m/1"]);
}

/// The file, or the PostgreSQL database that stands for it while `cargo xtask test` runs these tests once more.
async fn open_database(file: &std::path::Path) -> Database {
    match eyot_test_services::database_url(file) {
        Some(url) => Database::connect(&url).await.unwrap(),
        None => Database::open(file).await.unwrap(),
    }
}
