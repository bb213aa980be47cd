#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::interface::{Field, Function, Interface, Type};
use eyot_core::{Digest, Error, ProjectName, Result, ScopedName};
use eyot_meta::{Database, sql};
use eyot_store::{BlobStore as _, MemoryStore};
use eyot_test_services::give_up_after;
use eyot_tracking::TrackingStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Barrier, Notify};

use crate::plan::plan;
use crate::*;

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty }
}

fn function(name: &str, params: Vec<Field>, outputs: Vec<Field>) -> Function {
    let ok = Some(Box::new(Type::Record(outputs)));
    Function {
        name: name.to_owned(),
        params,
        result: Some(Type::Result { ok, err: Some(Box::new(Type::String)) }),
        docs: None,
    }
}

/// The functions of the component `steps:1`.
fn interface() -> Interface {
    let rows = || field("rows", Type::Artifact);
    let train = vec![rows(), field("seed", Type::U64)];
    Interface {
        functions: vec![
            function("load", vec![field("file", Type::Artifact)], vec![rows(), field("count", Type::U64)]),
            function("train", train, vec![field("model", Type::Artifact)]),
            function("make", vec![], vec![field("model", Type::Artifact)]),
            function("meet", vec![field("who", Type::String)], vec![field("who", Type::String)]),
            function("fail", vec![], vec![]),
            function("wait", vec![], vec![]),
        ],
        ..Interface::default()
    }
}

fn steps() -> Digest {
    Digest::of("steps:1")
}

fn request(source: &str) -> PlanRequest {
    let missing = Error::not_found("there is no 'steps:9' in the registry").hint("tags of steps are: 1");
    let files = input_files(source, "p.toml").map(|inputs| inputs.files).unwrap_or_default();
    PlanRequest {
        source: source.to_owned(),
        file: "p.toml".to_owned(),
        params: BTreeMap::new(),
        inputs: files.into_keys().map(|name| (name, Digest::of("data"))).collect(),
        components: [
            ("steps:1".to_owned(), ResolvedComponent::Found(steps())),
            ("steps:9".to_owned(), ResolvedComponent::Missing(missing)),
        ]
        .into(),
    }
}

#[test]
fn every_wrong_file_is_refused_with_place_and_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cases");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = source
            .lines()
            .map_while(|line| line.strip_prefix("# "))
            .map(|line| format!("p.toml:{line}"))
            .collect();
        let found = plan(&request(&source), &HashMap::from([(steps(), Ok(interface()))])).unwrap_err();
        let found: Vec<_> = found.message().lines().map(str::to_owned).collect();
        if std::env::var_os("EYOT_BLESS").is_some() {
            let rest: String = source.lines().skip(expected.len()).map(|line| format!("{line}\n")).collect();
            let head: String = found.iter().map(|line| line.replacen("p.toml:", "# ", 1) + "\n").collect();
            std::fs::write(&path, head + &rest).unwrap();
        } else {
            assert_eq!(found, expected, "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 6, "the cases were not found");
}

#[test]
fn what_is_not_in_the_file_is_refused_too() {
    let source =
        "[pipeline]\nname = \"p\"\n[params]\nseed = 1\n[steps.a]\ncomponent = \"steps:1\"\ncall = \"make\"\n";
    let mut request = request(source);
    request.params.insert("sed".into(), json!(2));
    request.inputs.insert("data".into(), Digest::of("x"));
    let error = plan(&request, &HashMap::from([(steps(), Ok(interface()))])).unwrap_err();
    assert_eq!(
        error.message(),
        "p.toml: there is no input 'data'; there are none\np.toml: there is no parameter 'sed'; there are: 'seed'"
    );
    for (path, good) in
        [("data/a.csv", true), ("../a.csv", false), ("/etc/passwd", false), ("a/../../b", false)]
    {
        let source = format!("[pipeline]\nname = \"p\"\n[inputs]\nd = {{ path = \"{path}\" }}\n");
        assert_eq!(input_files(&source, "p.toml").is_ok(), good, "{path}");
    }
}

/// Runs the functions of `interface()`, counting.
struct Fake {
    store: Arc<MemoryStore>,
    ran: Mutex<Vec<String>>,
    attestations: Mutex<Vec<(String, Value)>>,
    together: Barrier,
    stopped: Arc<AtomicUsize>,
    started: Notify,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl StepRunner for Fake {
    async fn interface(&self, _: &Digest) -> Result<Interface> {
        Ok(interface())
    }

    fn semantics(&self, _: &Interface) -> String {
        "fake/1".to_owned()
    }

    async fn run(&self, work: StepWork, reporter: Arc<dyn StepReporter>) -> Result<StepOutcome> {
        self.ran.lock().push(work.function.clone());
        self.started.notify_one();
        reporter.line(&format!("running {}", work.function));
        reporter.metric("loss", f64::from(work.seed[0]), 1);
        match work.function.as_str() {
            "fail" => return Err(Error::failed("too few rows").hint("more rows")),
            "meet" => {
                self.together.wait().await;
            }
            "wait" => {
                let _stopped = CountDrop(self.stopped.clone());
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        if let Some(who) = work.arguments.get("who") {
            return Ok(StepOutcome {
                outputs: [("who".to_owned(), who.clone())].into_iter().collect(),
                artifacts: vec![],
            });
        }
        let text = serde_json::to_string(&work.arguments).unwrap();
        let blob = self.store.put(Bytes::from(format!("{} of {text}", work.function))).await.unwrap();
        let name = if work.function == "load" { "rows" } else { "model" };
        let mut outputs: indexmap::IndexMap<String, Value> =
            [(name.to_owned(), json!(blob.digest))].into_iter().collect();
        if work.function == "load" {
            outputs.insert("count".to_owned(), json!(3));
        }
        let at = format!("/{name}");
        let artifact =
            StepArtifact { at, digest: blob.digest, size: blob.size, media_type: "text/plain".into() };
        Ok(StepOutcome { outputs, artifacts: vec![artifact] })
    }
}

#[async_trait]
impl ModelPublisher for Fake {
    async fn publish(&self, model: &ScopedName, weights: &Digest) -> Result<String> {
        Ok(format!("models/{model}@{weights}"))
    }

    async fn attest(&self, source: &str, predicate: Value) -> Result<()> {
        self.attestations.lock().push((source.to_owned(), predicate));
        Ok(())
    }
}

static HERE: LazyLock<ProjectName> = LazyLock::new(ProjectName::default);
struct World {
    fake: Arc<Fake>,
    db: Database,
    executor: PipelineExecutor,
    tracking: TrackingStore,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = open_database(&dir.path().join("eyot.db")).await;
        let store = Arc::new(MemoryStore::default());
        store.put(Bytes::from_static(b"data")).await.unwrap();
        let fake = Arc::new(Fake {
            store: store.clone(),
            ran: Mutex::default(),
            attestations: Mutex::default(),
            together: Barrier::new(2),
            stopped: Arc::default(),
            started: Notify::new(),
        });
        let tracking = TrackingStore::new(db.clone());
        let executor =
            PipelineExecutor::new(db.clone(), store, tracking.clone(), fake.clone(), fake.clone(), 4);
        Self { fake, db, executor, tracking, _dir: dir }
    }

    async fn finish(&self, request: PlanRequest) -> PipelineRun {
        let mut events = self.executor.subscribe();
        let id = self.executor.submit(&HERE, request).await.unwrap();
        self.end(&mut events, &id).await
    }

    async fn end(&self, events: &mut tokio::sync::broadcast::Receiver<RunEvent>, id: &str) -> PipelineRun {
        loop {
            let event = events.recv().await.unwrap();
            if event.run_id() == id && event.is_last() {
                return self.executor.get(&HERE, id).await.unwrap();
            }
        }
    }

    fn ran(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.ran.lock())
    }
}

const WHOLE: &str = r#"
[pipeline]
name = "p"
[inputs]
data = { path = "data.csv", media-type = "text/csv" }
[params]
seed = 7
[steps.register]
register = "digits"
model = { from = "train.model" }
alias = "champion"
[steps.train]
component = "steps:1"
with = { rows = { from = "load.rows" }, seed = { param = "seed" } }
[steps.load]
component = "steps:1"
with = { file = { input = "data" } }
"#;

fn statuses(run: &PipelineRun) -> Vec<(&str, &str)> {
    run.steps.iter().map(|step| (step.step.as_str(), step.status.as_str())).collect()
}

#[tokio::test]
async fn steps_run_in_order_and_never_twice() {
    let world = World::new().await;
    let first = world.finish(request(WHOLE)).await;
    assert_eq!(statuses(&first), [("load", "succeeded"), ("train", "succeeded"), ("register", "succeeded")]);
    assert_eq!(world.ran(), ["load", "train"]);
    first.outcome().unwrap();

    let second = world.finish(request(WHOLE)).await;
    assert_eq!(statuses(&second), [("load", "cached"), ("train", "cached"), ("register", "cached")]);
    assert!(world.ran().is_empty());
    assert_eq!(second.steps[1].outputs, first.steps[1].outputs);
    // What a cached step reported is reported for the second run too.
    let mut losses = Vec::new();
    for run in [&first, &second] {
        let points =
            world.tracking.metric_history(run.tracking_run.as_deref().unwrap(), "train/loss").await.unwrap();
        losses.push(points.iter().map(|point| point.value).collect::<Vec<_>>());
    }
    assert!(losses[0] == losses[1] && losses[0].len() == 1, "{losses:?}");

    let mut other = request(WHOLE);
    other.params.insert("seed".into(), json!(8));
    let third = world.finish(other).await;
    assert_eq!(statuses(&third), [("load", "cached"), ("train", "succeeded"), ("register", "succeeded")]);
    assert_eq!(third.steps[2].outputs["version"], json!(2));
    assert_eq!(world.tracking.resolve_model(&HERE, "digits@champion").await.unwrap().version, 2);
    assert_eq!(world.executor.runs(&HERE).await.unwrap().len(), 3);
    // How a model came about is said once for each that is new, with the artifacts that went into it.
    let attestations = world.fake.attestations.lock().clone();
    let said = attestations.iter().map(|(source, predicate)| {
        (json!(source), predicate["runDetails"]["metadata"]["invocationId"].clone())
    });
    let made = [&first, &third].map(|run| (run.steps[2].outputs["source"].clone(), json!(run.id)));
    assert_eq!(said.collect::<Vec<_>>(), made);
    let data = json!({ "name": "load/file", "digest": { "sha256": Digest::of("data").hex() } });
    let dependencies = attestations[1].1["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    assert!(dependencies.contains(&data), "{dependencies:?}");
    assert_eq!(attestations[1].1["buildDefinition"]["externalParameters"]["parameters"]["train/seed"], 8);
    let lineage = world.executor.lineage(&HERE, &third.id[..12]).await.unwrap();
    let arrow = |from: &str, to: &str| lineage.iter().any(|edge| edge.from == from && edge.to == to);
    assert!(arrow(&Digest::of("data").to_string(), "step load"), "{lineage:?}");
    assert!(
        arrow(&format!("component {}", steps()), "step train") && arrow("step register", "models:/digits/2"),
        "{lineage:?}"
    );
}

#[tokio::test]
async fn a_lost_artifact_is_made_again() {
    let world = World::new().await;
    let first = world.finish(request(WHOLE)).await;
    world.ran();
    let rows: Digest = first.steps[0].outputs["rows"].as_str().unwrap().parse().unwrap();
    for owner in world.fake.store.pins(&rows).await.unwrap() {
        world.fake.store.unpin(&rows, &owner).await.unwrap();
    }
    world.fake.store.delete(&rows).await.unwrap();
    let second = world.finish(request(WHOLE)).await;
    assert_eq!(statuses(&second), [("load", "succeeded"), ("train", "cached"), ("register", "cached")]);
}

#[tokio::test]
async fn what_was_pinned_for_an_outcome_that_was_never_written_is_let_go() {
    let world = World::new().await;
    let run = world.finish(request(WHOLE)).await;
    let rows: Digest = run.steps[0].outputs["rows"].as_str().unwrap().parse().unwrap();
    let store = &world.fake.store;
    let before = store.pins(&rows).await.unwrap();
    store.pin(&rows, &format!("cache/{}", Digest::of("a killed server's").hex())).await.unwrap();
    world.executor.recover().await.unwrap();
    assert_eq!(store.pins(&rows).await.unwrap(), before);
    assert!(!before.is_empty());
}

fn calls(lines: &str) -> PlanRequest {
    request(&format!("[pipeline]\nname = \"p\"\n{lines}"))
}

fn call(name: &str, function: &str, more: &str) -> String {
    format!("[steps.{name}]\ncomponent = \"steps:1\"\ncall = \"{function}\"\n{more}\n")
}

#[tokio::test]
async fn independent_steps_run_at_the_same_time() {
    let world = World::new().await;
    // Each waits for the other: one after another they would never end.
    let both = call("a", "meet", "with = { who = \"a\" }") + &call("b", "meet", "with = { who = \"b\" }");
    let run = world.finish(calls(&both)).await;
    assert_eq!(statuses(&run), [("a", "succeeded"), ("b", "succeeded")]);
}

#[tokio::test]
async fn a_failure_stops_what_depends_on_it_and_nothing_else() {
    let world = World::new().await;
    let file = call("bad", "fail", "")
        + &call("after", "make", "after = [\"bad\"]")
        + &call("last", "fail", "after = [\"after\"]")
        + &call("other", "make", "");
    let run = world.finish(calls(&file)).await;
    let mut found = statuses(&run);
    found.sort_unstable();
    assert_eq!(found, [("after", "skipped"), ("bad", "failed"), ("last", "skipped"), ("other", "succeeded")]);
    let error = run.outcome().unwrap_err().chain();
    assert!(error.ends_with("failed: step 'bad': too few rows; more rows"), "{error}");
    // A failure is not kept: the next run tries again.
    world.ran();
    world.finish(calls(&file)).await;
    assert_eq!(world.ran(), ["fail"]);
}

#[tokio::test]
async fn a_cancelled_run_stops_its_steps() {
    let world = World::new().await;
    let mut events = world.executor.subscribe();
    let id = world
        .executor
        .submit(&HERE, calls(&(call("a", "wait", "") + &call("b", "make", "after = [\"a\"]"))))
        .await
        .unwrap();
    world.fake.started.notified().await;
    world.executor.cancel(&HERE, &id).await.unwrap();
    let run = world.end(&mut events, &id).await;
    assert_eq!(statuses(&run), [("a", "cancelled"), ("b", "cancelled")]);
    assert_eq!((run.status, world.fake.stopped.load(Ordering::SeqCst)), (RunStatus::Cancelled, 1));
    assert!(world.executor.cancel(&HERE, &id).await.unwrap_err().to_string().contains("is over"));
}

#[tokio::test]
async fn two_runs_of_the_same_thing_do_it_once() {
    let world = World::new().await;
    let (first, second) = tokio::join!(world.finish(request(WHOLE)), world.finish(request(WHOLE)));
    let mut ran = world.ran();
    ran.sort();
    assert_eq!(ran, ["load", "train"]);
    assert_eq!(first.steps[1].outputs, second.steps[1].outputs);
    assert_eq!(world.tracking.list_model_versions(&HERE, "digits").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_killed_server_left_running_is_failed() {
    let world = World::new().await;
    let id = world
        .executor
        .submit(&HERE, calls(&(call("a", "wait", "") + &call("b", "make", "after = [\"a\"]"))))
        .await
        .unwrap();
    world.fake.started.notified().await;
    // Another executor on the same database is what a restart is.
    let store = world.fake.store.clone();
    let again = PipelineExecutor::new(
        world.db.clone(),
        store,
        world.tracking.clone(),
        world.fake.clone(),
        world.fake.clone(),
        1,
    );
    again.recover().await.unwrap();
    let run = again.get(&HERE, &id).await.unwrap();
    assert_eq!(statuses(&run), [("a", "failed"), ("b", "skipped")]);
    assert!(run.outcome().unwrap_err().chain().contains("the server stopped while it ran"));
    assert_eq!(
        world.tracking.run(&HERE, run.tracking_run.as_deref().unwrap()).await.unwrap().status,
        "FAILED"
    );
    world.executor.close().await;
    for id in ["", "zz", "%", "00000000"] {
        assert!(again.get(&HERE, id).await.is_err(), "{id}");
    }
}

#[tokio::test]
async fn whoever_goes_away_while_a_run_is_submitted_leaves_none_that_never_ends() {
    let world = World::new().await;
    for polls in 0.. {
        let submitted = world.executor.submit(&HERE, calls(&call("a", "make", "")));
        let ended = give_up_after(polls, submitted).await;
        world.executor.settled().await;
        world.executor.close().await;
        for run in world.executor.runs(&HERE).await.unwrap() {
            assert!(run.is_over(), "given up after {polls} polls: {run:?}");
            assert_ne!(
                world.tracking.run(&HERE, &run.tracking_run.unwrap()).await.unwrap().status,
                "RUNNING"
            );
        }
        if let Some(ended) = ended {
            ended.unwrap();
            break;
        }
    }
}

#[tokio::test]
async fn what_runs_of_an_earlier_version_wrote_is_pinned_when_the_folder_is_opened() {
    let world = World::new().await;
    let run = world.finish(calls(&call("a", "make", "cache = false"))).await;
    let artifact: Digest = run.steps[0].outputs["model"].as_str().unwrap().parse().unwrap();
    let owner = format!("run/{}", run.id);
    assert_eq!(world.fake.store.pins(&artifact).await.unwrap(), std::slice::from_ref(&owner));
    // As the earlier version left it, and as the migration finds it.
    world.fake.store.unpin(&artifact, &owner).await.unwrap();
    let mut tx = world.db.begin().await.unwrap();
    let query = sql("INSERT INTO unpinned_runs (run) VALUES ($1)").bind(&run.id);
    query.execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    world.executor.recover().await.unwrap();
    assert_eq!(world.fake.store.pins(&artifact).await.unwrap(), std::slice::from_ref(&owner));
    // Once is enough: what is let go of later is not pinned again.
    world.fake.store.unpin(&artifact, &owner).await.unwrap();
    world.executor.recover().await.unwrap();
    assert!(world.fake.store.pins(&artifact).await.unwrap().is_empty());
}

/// The file, or the PostgreSQL database that stands for it while `cargo xtask test` runs these tests once more.
async fn open_database(file: &std::path::Path) -> Database {
    match eyot_test_services::database_url(file) {
        Some(url) => Database::connect(&url).await.unwrap(),
        None => Database::open(file).await.unwrap(),
    }
}
