//! What a collector of traces is told.

use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use super::*;

/// A collector that hands on what it is sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, messages) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let told = told.clone();
                async move {
                    assert_eq!(
                        (request.uri().path(), &request.headers()["content-type"]),
                        ("/v1/traces", &http::HeaderValue::from_static("application/json"))
                    );
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    told.send(serde_json::from_slice(&body).unwrap()).unwrap();
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, messages)
}

/// The next spans, by name.
async fn spans(messages: &mut mpsc::UnboundedReceiver<Value>) -> BTreeMap<String, Value> {
    let message = messages.recv().await.unwrap();
    let resource = &message["resourceSpans"][0];
    assert_eq!(
        resource["resource"]["attributes"][0],
        json!({"key": "service.name", "value": {"stringValue": "eyot"}})
    );
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    spans.iter().map(|span| (span["name"].as_str().unwrap().to_owned(), span.clone())).collect()
}

fn nanoseconds(span: &Value, what: &str) -> u128 {
    span[what].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_request_is_a_span_of_the_trace_that_it_came_with() {
    let (url, mut messages) = collector().await;
    let world = World::new(|config| config.otlp_endpoint = url).await;
    world.activate(5, None, MINUTE);
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let infer = "/v2/models/echo/infer";
    let context = format!("00-{trace}-{parent}-01");
    let answer = world.send("POST", infer, &[("traceparent", &context)], GOOD).await.unwrap();
    let told = answer.headers()["traceparent"].to_str().unwrap().to_owned();
    let found = spans(&mut messages).await;
    let whole = &found["predict echo"];
    assert_eq!(
        (&whole["traceId"], &whole["parentSpanId"], &whole["kind"]),
        (&json!(trace), &json!(parent), &json!(2))
    );
    assert_eq!(told, format!("00-{trace}-{}-01", whole["spanId"].as_str().unwrap()));
    assert_eq!(whole["status"], json!({"code": 1}));
    assert!(
        whole["attributes"]
            .as_array()
            .unwrap()
            .contains(&json!({"key": "eyot.revision", "value": {"intValue": "5"}}))
    );
    for part in ["queue", "predict"] {
        let part = &found[part];
        assert_eq!((&part["traceId"], &part["parentSpanId"]), (&whole["traceId"], &whole["spanId"]));
        assert!(nanoseconds(whole, "startTimeUnixNano") <= nanoseconds(part, "startTimeUnixNano"));
        assert!(nanoseconds(part, "startTimeUnixNano") <= nanoseconds(part, "endTimeUnixNano"));
        assert!(nanoseconds(part, "endTimeUnixNano") <= nanoseconds(whole, "endTimeUnixNano"));
    }

    // A client that does not record its trace gets no span; one without a trace begins one.
    let unrecorded = format!("00-{trace}-{parent}-00");
    let answer = world.send("POST", infer, &[("traceparent", &unrecorded)], GOOD).await.unwrap();
    assert!(!answer.headers().contains_key("traceparent"));
    let answer = world.send("POST", infer, &[], "{").await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let found = spans(&mut messages).await;
    let whole = &found["predict echo"];
    assert_eq!((&whole["status"]["code"], whole.get("parentSpanId"), found.len()), (&json!(2), None, 1));
    assert!(whole["status"]["message"].as_str().unwrap().contains("cannot be read"), "{whole}");

    // What ends last is told before the server ends.
    world.infer().await.unwrap();
    world.stop.send(()).unwrap();
    drop(world.client);
    world.served.await.unwrap().unwrap();
    assert!(spans(&mut messages).await.contains_key("predict echo"));
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_nobody_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let world = World::new(|config| config.otlp_endpoint = url).await;
    world.activate(5, None, MINUTE);
    for _ in 0..3 {
        assert_eq!(world.infer().await.unwrap().0, StatusCode::OK);
    }
    let refused = crate::telemetry::spans::SpanCollector::new("collector:4318").err().unwrap();
    assert!(refused.hint_text().unwrap().contains("http://127.0.0.1:4318"), "{refused:?}");
}

#[tokio::test]
async fn a_request_whose_client_has_gone_is_a_span_that_says_so() {
    let (url, mut messages) = collector().await;
    let world = World::new(|config| config.otlp_endpoint = url).await;
    let go = Arc::new(Semaphore::new(0));
    world.activate(5, Some(&go), MINUTE);
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let port = stream.local_addr().unwrap().port();
    let length = GOOD.len();
    let request = format!(
        "POST /v2/models/echo/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{GOOD}"
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    world.begun.notified().await;
    drop(stream);
    let found = spans(&mut messages).await;
    let whole = &found["predict echo"];
    assert_eq!(whole["status"], json!({"code": 2, "message": "the client has gone"}));
    assert_eq!(found.len(), 1, "nothing is told of work that did not end");
    let attributes = whole["attributes"].as_array().unwrap();
    for (key, value) in [
        ("client.address", json!({"stringValue": "127.0.0.1"})),
        ("client.port", json!({"intValue": port.to_string()})),
        ("http.request.body.size", json!({"intValue": length.to_string()})),
    ] {
        assert!(attributes.contains(&json!({"key": key, "value": value})), "{key}: {attributes:?}");
    }
}
