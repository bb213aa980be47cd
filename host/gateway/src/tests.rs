#![allow(clippy::unwrap_used)]

mod calls;
mod routes;
mod secure;
mod spans;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use eyot_core::{ByteCount, Error, Result, ScopedName, config};
use eyot_deploy::{Shadow, Traffic};
use eyot_engine::InstanceStats;
use eyot_http::ConnectionLimiter;
use eyot_nn::{DataType, InferOptions, ModelSignature, NamedTensor, RanOn, TensorSpec};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::protocol::metadata;
use crate::{Gateway, LoadedRevision, ModelRepository, Predictor, PredictorOutput};

/// Gives back its input, when it may; says which revision it is.
pub(crate) struct Echo {
    signature: ModelSignature,
    begun: Arc<Notify>,
    /// Requests end only with a permit from here.
    go: Option<Arc<Semaphore>>,
}

#[async_trait]
impl Predictor for Echo {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<PredictorOutput> {
        self.begun.notify_one();
        if let Some(go) = &self.go {
            let allowed = tokio::time::timeout_at(options.deadline.unwrap().into(), go.acquire()).await;
            allowed.map_err(|_| Error::timeout("did not answer before its deadline"))?.unwrap().forget();
        }
        let [x, s] = <[NamedTensor; 2]>::try_from(inputs).unwrap();
        let outputs = vec![NamedTensor { name: "y".into(), ..x }, NamedTensor { name: "t".into(), ..s }];
        Ok(PredictorOutput { outputs, ..PredictorOutput::default() })
    }

    fn instances(&self) -> Option<InstanceStats> {
        None
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        BTreeMap::new()
    }
}

pub(crate) fn echo(begun: &Arc<Notify>, go: Option<&Arc<Semaphore>>) -> Arc<Echo> {
    let spec = |name: &str, dtype, shape: &[i64]| TensorSpec::new(name, dtype, shape);
    let inputs = vec![spec("x", DataType::F32, &[-1, 2]), spec("s", DataType::Bytes, &[1])];
    let outputs = vec![spec("y", DataType::F32, &[-1, 2]), spec("t", DataType::Bytes, &[1])];
    Arc::new(Echo { signature: ModelSignature::new(inputs, outputs), begun: begun.clone(), go: go.cloned() })
}

struct World {
    gateway: Gateway,
    address: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<()>>,
    begun: Arc<Notify>,
    dir: TempDir,
}

/// A repository of one model that can be loaded.
struct Shelf {
    gateway: Gateway,
    unloaded: Mutex<bool>,
}

#[async_trait]
impl ModelRepository for Shelf {
    async fn troubles(&self) -> Result<Vec<(ScopedName, u64, String)>> {
        let unloaded = *self.unloaded.lock();
        Ok(unloaded.then(|| ("echo".parse().unwrap(), 7, "unloaded".to_owned())).into_iter().collect())
    }

    async fn load(&self, name: &ScopedName) -> Result<()> {
        if name.as_str() != "echo" {
            return Err(Error::not_found(format!("there is no deployment '{name}'")));
        }
        add(&self.gateway, 7, echo(&Arc::default(), None), MINUTE);
        self.gateway.route(name, &Traffic::all(7), &BTreeSet::from([7]));
        *self.unloaded.lock() = false;
        Ok(())
    }

    async fn unload(&self, name: &ScopedName) -> Result<()> {
        self.gateway.deactivate(name);
        *self.unloaded.lock() = true;
        Ok(())
    }
}

fn add(gateway: &Gateway, number: u64, predictor: Arc<dyn Predictor>, timeout: Duration) {
    gateway.add(revision(number, predictor, timeout));
}

/// A revision of `echo` that answers tensors.
pub(crate) fn revision(number: u64, predictor: Arc<dyn Predictor>, timeout: Duration) -> LoadedRevision {
    LoadedRevision {
        deployment: "echo".parse().unwrap(),
        revision: number,
        platform: "test".into(),
        component: None,
        models: BTreeMap::new(),
        predictor: Some(predictor),
        functions: None,
        web: None,
        routes: Vec::new(),
        timeout,
        concurrency: 64,
        queue: 1024,
        pins: Vec::new(),
    }
}

fn limits() -> config::HttpSettings {
    config::HttpSettings::default()
}

impl World {
    async fn new(change: impl FnOnce(&mut config::GatewaySettings)) -> Self {
        let mut config =
            config::GatewaySettings { max_body: ByteCount(4096), ..config::GatewaySettings::default() };
        change(&mut config);
        let gateway = Gateway::new(config, Arc::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let dir = tempfile::tempdir().unwrap();
        let repository = Arc::new(Shelf { gateway: gateway.clone(), unloaded: Mutex::default() });
        let listening = gateway
            .listen(listener, limits(), ConnectionLimiter::new(&limits()), dir.path(), repository)
            .unwrap();
        let served = tokio::spawn(listening.serve(async { drop(stopped.await) }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { gateway, address, client, stop, served, begun: Arc::default(), dir }
    }

    fn activate(&self, revision: u64, go: Option<&Arc<Semaphore>>, timeout: Duration) {
        add(&self.gateway, revision, echo(&self.begun, go), timeout);
        self.route(&[(revision, 100)]);
    }

    fn route(&self, weights: &[(u64, u32)]) {
        self.split(Traffic { weights: weights.iter().copied().collect(), ..Traffic::default() });
    }

    fn split(&self, traffic: Traffic) {
        self.gateway.route(&"echo".parse().unwrap(), &traffic, &traffic.revisions());
    }

    fn ask(&self, method: &str, path: &str, body: impl Into<Bytes>) -> JoinHandle<(StatusCode, Value)> {
        let answer = self.send(method, path, &[], body);
        tokio::spawn(async move {
            let (parts, bytes) = answer.await.unwrap().into_parts();
            (parts.status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> JoinHandle<Response<Bytes>> {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap());
        tokio::spawn(async move {
            let (parts, body) = answer.await.unwrap().into_parts();
            Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
        })
    }

    fn infer(&self) -> JoinHandle<(StatusCode, Value)> {
        self.ask("POST", "/v2/models/echo/infer", GOOD)
    }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const GOOD: &str = r#"{"id": "7", "inputs": [
    {"name": "s", "shape": [1], "datatype": "BYTES", "data": ["hi"]},
    {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [[1.5, 2]]}]}"#;

#[tokio::test]
async fn every_route_answers_as_the_protocol_says() {
    let world = World::new(|_| {}).await;
    world.activate(3, None, MINUTE);
    let inputs = json!([
        {"name": "x", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "s", "datatype": "BYTES", "shape": [1]},
    ]);
    let outputs = json!([
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]},
        {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["hi"]},
    ]);
    let swapped = GOOD.replacen("\"id\": \"7\"", r#""outputs": [{"name": "t"}]"#, 1);
    let big = format!("{{\"id\": \"{}\", \"inputs\": []}}", "x".repeat(5000));
    for (method, path, body, status, expected) in [
        ("GET", "/v2/", "", 200, json!({"name": "eyot", "extensions": metadata::EXTENSIONS})),
        ("GET", "/v2/health/live", "", 200, json!({"live": true})),
        ("GET", "/v2/health/ready", "", 200, json!({"ready": true})),
        ("GET", "/v2/models", "", 200, json!({"models": ["echo"]})),
        (
            "GET",
            "/v2/models/echo",
            "",
            200,
            json!({"name": "echo", "versions": ["3"], "platform": "test", "inputs": inputs}),
        ),
        ("GET", "/v2/models/echo/versions/3/ready", "", 200, json!({"name": "echo", "ready": true})),
        (
            "POST",
            "/v2/models/echo/infer",
            GOOD,
            200,
            json!({"model_name": "echo", "model_version": "3", "id": "7", "outputs": outputs}),
        ),
        ("POST", "/v2/models/echo/infer", swapped.as_str(), 200, json!({"outputs": [outputs[1]]})),
        ("GET", "/v2/models/none", "", 404, json!({"error": "there is no model 'none'; deployed are: echo"})),
        (
            "GET",
            "/v2/models/none/ready",
            "",
            404,
            json!({"error": "there is no model 'none'; deployed are: echo"}),
        ),
        (
            "POST",
            "/v2/models/none/infer",
            GOOD,
            404,
            json!({"error": "there is no model 'none'; deployed are: echo"}),
        ),
        (
            "GET",
            "/v2/models/echo/versions/4",
            "",
            404,
            json!({"error": "model 'echo' has no version '4'; version 3 serves"}),
        ),
        (
            "POST",
            "/v2/models/echo/versions/x/infer",
            GOOD,
            404,
            json!({"error": "model 'echo' has no version 'x'; version 3 serves"}),
        ),
        (
            "GET",
            "/v2/models/echo/infer",
            "",
            405,
            json!({"error": "/v2/models/echo/infer takes no GET; it takes POST"}),
        ),
        ("DELETE", "/v2", "", 405, json!({"error": "/v2 takes no DELETE; it takes GET, HEAD"})),
        (
            "POST",
            "/v2/models/echo/infer",
            big.as_str(),
            413,
            json!({"error": "the request's body is larger than 4 KiB; send fewer rows in one request, or raise gateway.max-body"}),
        ),
        ("POST", "/v2/models/echo/infer", "", 400, json!({})),
        ("POST", "/v2/models/echo/infer", "{", 400, json!({})),
        (
            "POST",
            "/v2/models/echo/infer",
            r#"{"inputs": []}"#,
            400,
            json!({"error": "input 'x' is missing; it is FP32 of shape [-1, 2]"}),
        ),
    ] {
        let (found, answer) = world.ask(method, path, body.to_owned()).await.unwrap();
        assert_eq!(found.as_u16(), status, "{method} {path} {body}: {answer}");
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(answer[key], *value, "{method} {path} {body}");
        }
        assert!(status < 400 || answer["error"].is_string(), "{method} {path}: {answer}");
    }
    for (from, to, says) in [
        ("\"FP32\"", "\"INT64\"", "input 'x': element 0 is 1.5, not a whole number"),
        ("\"FP32\"", "\"FP64\"", "input 'x' is FP32, not FP64"),
        ("[1, 2]", "[2]", "input 'x' has the shape [-1, 2], not [2]; -1 stands for any size"),
        ("[1, 2]", "[1, 3]", "input 'x': its shape has 3 elements, its data 2"),
        ("\"x\"", "\"z\"", "there is no input 'z'; inputs are 'x', 's'"),
        ("\"x\"", "\"s\"", "input 's' is BYTES, not FP32"),
        ("\"id\": \"7\"", "\"outputs\": [{\"name\": \"q\"}]", "there is no output 'q'; outputs are 'y', 't'"),
    ] {
        let (status, answer) =
            world.ask("POST", "/v2/models/echo/infer", GOOD.replacen(from, to, 1)).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{to}");
        assert!(answer["error"].as_str().unwrap().starts_with(says), "{answer}");
    }
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_takes_no_new_ones() {
    let world = World::new(|_| {}).await;
    let go = Arc::new(Semaphore::new(0));
    world.activate(1, Some(&go), MINUTE);
    let in_flight = world.infer();
    world.begun.notified().await;
    world.stop.send(()).unwrap();
    // Once the listener is gone nobody connects any more.
    while tokio::net::TcpStream::connect(world.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!world.served.is_finished() && !in_flight.is_finished());
    go.add_permits(1);
    assert_eq!(in_flight.await.unwrap().0, StatusCode::OK);
    world.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_queue_is_told_to_come_back() {
    let world = World::new(|_| {}).await;
    let go = Arc::new(Semaphore::new(0));
    narrow(&world, &go);
    let first = world.infer();
    world.begun.notified().await;
    // One of the next two waits, the other is refused, whichever comes first.
    let (second, third) = (world.infer(), world.infer());
    let (refused, waits) = first_of(second, third).await;
    assert_eq!(refused.0, StatusCode::TOO_MANY_REQUESTS);
    go.add_permits(2);
    assert_eq!((first.await.unwrap().0, waits.await.unwrap().0), (StatusCode::OK, StatusCode::OK));
}

/// A revision that works on one request and lets one wait.
fn narrow(world: &World, go: &Arc<Semaphore>) {
    let predictor = echo(&world.begun, Some(go));
    world.gateway.add(LoadedRevision { concurrency: 1, queue: 1, ..revision(1, predictor, MINUTE) });
    world.route(&[(1, 1)]);
}

type Asked = JoinHandle<(StatusCode, Value)>;

async fn first_of(mut one: Asked, mut other: Asked) -> ((StatusCode, Value), Asked) {
    tokio::select! {
        done = &mut one => (done.unwrap(), other),
        done = &mut other => (done.unwrap(), one),
    }
}

#[tokio::test]
async fn a_deadline_and_a_new_revision() {
    let world = World::new(|_| {}).await;
    let go = Arc::new(Semaphore::new(0));
    world.activate(1, Some(&go), Duration::from_millis(20));
    assert_eq!(world.infer().await.unwrap().0, StatusCode::GATEWAY_TIMEOUT);
    world.activate(2, Some(&go), MINUTE);
    world.begun.notified().await;
    let on_two = world.infer();
    world.begun.notified().await;
    world.activate(3, None, MINUTE);
    assert_eq!(world.infer().await.unwrap().1["model_version"], "3");
    go.add_permits(1);
    assert_eq!(on_two.await.unwrap().1["model_version"], "2");
    world.gateway.deactivate(&"echo".parse().unwrap());
    assert_eq!(world.infer().await.unwrap().0, StatusCode::NOT_FOUND);
}
