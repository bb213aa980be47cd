//! Revisions side by side, and everything about a model that is no prediction.

use eyot_engine::{FailureCause, InferenceUsage};

use super::*;

/// Adds one to every element.
struct Off(ModelSignature);

#[async_trait]
impl Predictor for Off {
    fn signature(&self) -> &ModelSignature {
        &self.0
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<PredictorOutput> {
        let mut predicted = echo(&Arc::default(), None).predict(inputs, options).await?;
        let first = &mut predicted.outputs[0].tensor;
        let values: Vec<f32> = first.to_vec::<f32>().unwrap().iter().map(|value| value + 1.0).collect();
        *first = eyot_nn::Tensor::of(first.shape().to_vec(), &values).unwrap();
        predicted.usage = InferenceUsage { inferences: 1, max_batch_size: 3, ..InferenceUsage::default() };
        Ok(predicted)
    }

    fn instances(&self) -> Option<InstanceStats> {
        let ended = FailureCause::ALL.map(|cause| (cause, u64::from(cause == FailureCause::Memory)));
        Some(InstanceStats { started: 5, idle: 2, busy: 1, ended: ended.into() })
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        BTreeMap::from([("model".to_owned(), RanOn::plain("tract", "1"))])
    }
}

async fn versions(world: &World, headers: &[(&str, &str)], count: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let answer = world.send("POST", "/v2/models/echo/infer", headers, GOOD).await.unwrap();
        let json: Value = serde_json::from_slice(answer.body()).unwrap();
        *found.entry(json["model_version"].as_str().unwrap_or("?").to_owned()).or_default() += 1;
    }
    found
}

#[tokio::test]
async fn revisions_share_requests_as_their_weights_say() {
    let world = World::new(|_| {}).await;
    for revision in 1..=3 {
        add(&world.gateway, revision, echo(&world.begun, None), MINUTE);
    }
    assert_eq!(world.infer().await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE, "nothing is routed yet");
    world.split(Traffic {
        sticky: Some("x-user".into()),
        weights: BTreeMap::from([(1, 3), (2, 1), (3, 0)]),
        shadow: None,
    });
    let shares = versions(&world, &[], 100).await;
    assert!((73..=77).contains(&shares["1"]) && shares["1"] + shares["2"] == 100, "{shares:?}");
    for user in ["ann", "bob", "eve"] {
        assert_eq!(versions(&world, &[("x-user", user)], 5).await.len(), 1, "{user} stays on one revision");
        let parameter = GOOD.replacen('{', &format!("{{\"parameters\": {{\"x-user\": \"{user}\"}},"), 1);
        let by_header = versions(&world, &[("x-user", user)], 1).await;
        let by_parameter = world.ask("POST", "/v2/models/echo/infer", parameter).await.unwrap().1;
        assert!(by_header.contains_key(by_parameter["model_version"].as_str().unwrap()), "{user}");
    }
    let direct = world.ask("POST", "/v2/models/echo/versions/3/infer", GOOD).await.unwrap();
    assert_eq!((direct.0, direct.1["model_version"].clone()), (StatusCode::OK, json!("3")));
    let (_, metadata) = world.ask("GET", "/v2/models/echo", "").await.unwrap();
    assert_eq!(metadata["versions"], json!(["1", "2", "3"]));
    world.route(&[(2, 1)]);
    let gone = world.ask("POST", "/v2/models/echo/versions/3/infer", GOOD).await.unwrap();
    assert_eq!(gone.1["error"], "model 'echo' has no version '3'; version 2 serves");
}

#[tokio::test]
async fn a_shadow_is_compared_and_never_heard() {
    let world = World::new(|_| {}).await;
    add(&world.gateway, 1, echo(&world.begun, None), MINUTE);
    add(&world.gateway, 2, Arc::new(Off(echo(&world.begun, None).signature.clone())), MINUTE);
    add(&world.gateway, 3, echo(&world.begun, None), MINUTE);
    let shadow = |revision| Some(Shadow { revision, percent: 100 });
    let all = BTreeMap::from([(1, 1), (2, 0), (3, 0)]);
    for revision in [2, 3] {
        world.split(Traffic { weights: all.clone(), sticky: None, shadow: shadow(revision) });
        assert_eq!(versions(&world, &[], 4).await, BTreeMap::from([("1".to_owned(), 4)]));
    }
    // Nobody waits for shadows but this test.
    let told = async |line: &str| {
        world
            .send("GET", "/metrics", &[], "")
            .await
            .unwrap()
            .body()
            .windows(line.len())
            .any(|at| at == line.as_bytes())
    };
    while !told("eyot_shadow_requests_total{deployment=\"echo\",revision=\"2\",result=\"different\"} 4").await
        || !told("eyot_shadow_requests_total{deployment=\"echo\",revision=\"3\",result=\"same\"} 4").await
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn moving_traffic_under_load_drops_no_request() {
    let world = World::new(|_| {}).await;
    world.activate(1, None, MINUTE);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = (0..8).map(|_| {
        let (client, address, done) = (world.client.clone(), world.address, done.clone());
        tokio::spawn(async move {
            let mut answered = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let request = Request::post(format!("http://{address}/v2/models/echo/infer"));
                let answer =
                    client.request(request.body(Full::new(Bytes::from(GOOD))).unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.unwrap();
                answered += 1;
            }
            answered
        })
    });
    let load: Vec<_> = load.collect();
    for revision in 2..60 {
        add(&world.gateway, revision, echo(&world.begun, None), MINUTE);
        world.route(&[(revision - 1, 1), (revision, 1)]);
        assert_eq!(world.infer().await.unwrap().0, StatusCode::OK);
        world.route(&[(revision, 1)]);
        assert_eq!(world.infer().await.unwrap().0, StatusCode::OK);
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for one in load {
        assert!(one.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_model_tells_all_about_itself() {
    let world = World::new(|config| config.hosts = vec!["*".to_owned()]).await;
    add(&world.gateway, 4, Arc::new(Off(echo(&world.begun, None).signature.clone())), MINUTE);
    world.route(&[(4, 1)]);
    world.infer().await.unwrap();
    world.ask("POST", "/v2/models/echo/infer", "{").await.unwrap();
    let get = async |path: &str| {
        let (status, json) = world.ask("GET", path, "").await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {json}");
        json
    };
    let config = get("/v2/models/echo/config").await;
    assert_eq!(config["input"][0], json!({"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}));
    assert_eq!(
        (&config["backend"], &config["version_policy"]),
        (&json!("tract"), &json!({"specific": {"versions": [4]}}))
    );
    for path in ["/v2/models/echo/stats", "/v2/models/echo/versions/4/stats", "/v2/models/stats"] {
        let stats = &get(path).await["model_stats"][0];
        assert_eq!(
            (&stats["name"], &stats["version"], &stats["inference_count"]),
            (&json!("echo"), &json!("4"), &json!(1)),
            "{path}"
        );
        assert_eq!(
            (&stats["inference_stats"]["success"]["count"], &stats["inference_stats"]["fail"]["count"]),
            (&json!(1), &json!(1))
        );
    }
    let metrics = world.send("GET", "/metrics", &[], "").await.unwrap();
    let metrics = std::str::from_utf8(metrics.body()).unwrap();
    for line in [
        "eyot_requests_total{deployment=\"echo\",revision=\"4\",status=\"ok\"} 1\n",
        "eyot_requests_total{deployment=\"echo\",revision=\"4\",status=\"invalid\"} 1\n",
        "eyot_request_duration_seconds_count{deployment=\"echo\",revision=\"4\"} 2\n",
        "eyot_prediction_duration_seconds_bucket{deployment=\"echo\",revision=\"4\",le=\"+Inf\"} 1\n",
        "eyot_guest_duration_seconds_count{deployment=\"echo\",revision=\"4\"} 1\n",
        "eyot_model_queue_duration_seconds_count{deployment=\"echo\",revision=\"4\"} 1\n",
        "eyot_inference_duration_seconds_count{deployment=\"echo\",revision=\"4\",backend=\"tract\",provider=\"cpu\"} 1\n",
        "eyot_batch_size_bucket{deployment=\"echo\",revision=\"4\",backend=\"tract\",provider=\"cpu\",le=\"2\"} 0\n",
        "eyot_batch_size_bucket{deployment=\"echo\",revision=\"4\",backend=\"tract\",provider=\"cpu\",le=\"4\"} 1\n",
        "eyot_instances{deployment=\"echo\",revision=\"4\",state=\"idle\"} 2\n",
        "eyot_instances_started_total{deployment=\"echo\",revision=\"4\"} 5\n",
        "eyot_instances_ended_total{deployment=\"echo\",revision=\"4\",cause=\"memory\"} 1\n",
        "eyot_instances_ended_total{deployment=\"echo\",revision=\"4\",cause=\"trap\"} 0\n",
        "eyot_requests_in_flight{deployment=\"echo\",revision=\"4\"} 0\n",
        "eyot_backend_info{deployment=\"echo\",revision=\"4\",model=\"model\",backend=\"tract\",provider=\"cpu\",version=\"1\",target=\"cpu\",precision=\"f32\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    let openapi = get("/v2/models/echo/openapi.json").await;
    assert_eq!(openapi["openapi"], "3.1.0");
    let example = &openapi["paths"]["/v2/models/echo/infer"]["post"]["requestBody"]["content"]["application/json"]
        ["example"];
    let (status, answer) = world.ask("POST", "/v2/models/echo/infer", example.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK, "the example works: {answer}");
    let docs = world.send("GET", "/v2/models/echo/docs", &[("host", "a<b")], "").await.unwrap();
    let page = std::str::from_utf8(docs.body()).unwrap();
    assert!(page.contains("<td><code>x</code><td>FP32<td>any × 2") && !page.contains("a<b"), "{page}");
    assert!(docs.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}

#[tokio::test]
async fn clients_load_and_unload_where_they_may() {
    let closed = World::new(|_| {}).await;
    closed.activate(7, None, MINUTE);
    let index = json!([{"name": "echo", "version": "7", "state": "READY", "reason": ""}]);
    for body in ["", "{}", "{\"ready\": true}"] {
        assert_eq!(
            closed.ask("POST", "/v2/repository/index", body).await.unwrap(),
            (StatusCode::OK, index.clone())
        );
    }
    let (status, answer) = closed.ask("POST", "/v2/repository/models/echo/unload", "").await.unwrap();
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");

    let open = World::new(|config| config.model_control = true).await;
    open.activate(7, None, MINUTE);
    for (path, body, status) in [
        ("/v2/repository/models/echo/unload", "", StatusCode::OK),
        ("/v2/models/echo/infer", GOOD, StatusCode::NOT_FOUND),
        (
            "/v2/repository/models/echo/load",
            r#"{"parameters": {"config": "{}"}}"#,
            StatusCode::NOT_IMPLEMENTED,
        ),
        ("/v2/repository/models/other/load", "", StatusCode::NOT_FOUND),
        ("/v2/repository/models/..%2Fx/load", "", StatusCode::NOT_FOUND),
        ("/v2/repository/models/echo/load", "[]", StatusCode::BAD_REQUEST),
    ] {
        let (found, answer) = open.ask("POST", path, body).await.unwrap();
        assert_eq!(found, status, "{path} {body}: {answer}");
    }
    let away = json!([{"name": "echo", "version": "7", "state": "UNAVAILABLE", "reason": "unloaded"}]);
    assert_eq!(open.ask("POST", "/v2/repository/index", "").await.unwrap().1, away);
    assert_eq!(open.ask("POST", "/v2/repository/models/echo/load", "{}").await.unwrap().0, StatusCode::OK);
    assert_eq!(open.infer().await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn predictions_have_ids_and_are_logged() {
    let world = World::new(|config| config.prediction_log = 1.0).await;
    world.activate(1, None, MINUTE);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = world.send("POST", "/v2/models/echo/infer", &[("traceparent", trace)], GOOD).await.unwrap();
    let id = answer.headers()["eyot-prediction-id"].to_str().unwrap().to_owned();
    let refused = world.send("POST", "/v2/models/echo/infer", &[], "{").await.unwrap();
    assert!(refused.headers().contains_key("eyot-prediction-id"));
    let path = world.dir.path().join("echo.jsonl");
    let line: Value = loop {
        match std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n')) {
            Some(text) => break serde_json::from_str(&text).unwrap(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(
        (&line["id"], &line["traceparent"], &line["revision"]),
        (&json!(id), &json!(trace), &json!(1))
    );
    assert_eq!(line["outputs"][0]["data"], json!([1.5, 2.0]));
}

#[tokio::test]
async fn requests_whose_client_has_gone_never_run() {
    let world = World::new(|_| {}).await;
    let go = Arc::new(Semaphore::new(0));
    narrow(&world, &go);
    let first = world.infer();
    world.begun.notified().await;
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{GOOD}",
        GOOD.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    let told = async |line: &str| {
        world
            .send("GET", "/metrics", &[], "")
            .await
            .unwrap()
            .body()
            .windows(line.len())
            .any(|at| at == line.as_bytes())
    };
    while !told("eyot_requests_waiting{deployment=\"echo\",revision=\"1\"} 1").await {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while !told("status=\"cancelled\"} 1").await {
        tokio::task::yield_now().await;
    }
    go.add_permits(1);
    assert_eq!(first.await.unwrap().0, StatusCode::OK);
    assert!(
        told("eyot_prediction_duration_seconds_count{deployment=\"echo\",revision=\"1\"} 1").await,
        "only the first ran"
    );
}
