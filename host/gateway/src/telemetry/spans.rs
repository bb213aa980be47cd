//! Spans of predictions for a collector of traces: OTLP over HTTP, in its JSON form. Nobody waits for
//! them; those that a slow collector cannot take are dropped and counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_engine::Spent;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::protocol::identity;
use crate::serving::sampling::low_discrepancy_point;
use crate::serving::trace::Trace;

/// Spans that wait to be sent; more are dropped.
const WAITING: usize = 2048;
/// Spans of one message to the collector.
const TOGETHER: usize = 256;
/// How long a collector may take to accept a message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes the spans of a share of all requests.
pub(crate) struct Spans {
    share: f64,
    turn: AtomicU64,
    ended: mpsc::Sender<Ended>,
    dropped: AtomicU64,
}

/// The span of a request that goes on.
pub(crate) struct Span {
    trace: Trace,
    parent: Option<String>,
    prediction: OnceLock<Prediction>,
}

/// What is known of a prediction once it was made.
pub(crate) struct Prediction {
    pub(crate) revision: u64,
    pub(crate) runs_on: String,
    pub(crate) moments: Moments,
    /// What its inferences took.
    pub(crate) spent: Spent,
}

/// When a request came to the revision's gate, was let in, and how long it was worked on.
#[derive(Clone, Copy)]
pub(crate) struct Moments {
    pub(crate) arrived: Instant,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
}

struct Ended {
    span: Span,
    name: String,
    started: Instant,
    now: (Instant, SystemTime),
    error: Option<String>,
}

impl Spans {
    /// For the collector at `endpoint`, as in `http://127.0.0.1:4318`; spans are sent once the exporter
    /// runs.
    ///
    /// Fails with `Invalid` for an address that is none.
    pub(crate) fn new(endpoint: &str, share: f64) -> Result<(Self, Exporter)> {
        let address = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let uri: Option<Uri> = address.parse().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        let uri = uri.ok_or_else(|| {
            Error::invalid(format!("gateway.otlp-endpoint is '{endpoint}'"))
                .hint("write http://HOST:PORT of a collector that takes OTLP over HTTP, as in http://127.0.0.1:4318")
        })?;
        let (ended, waiting) = mpsc::channel(WAITING);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let exporter = Exporter { waiting, client, uri, refusing: false };
        Ok((Self { share, turn: AtomicU64::new(0), ended, dropped: AtomicU64::new(0) }, exporter))
    }

    /// The span of a request that begins, if it is to have one: a client that has decided decides.
    pub(crate) fn begin(&self, parent: Option<&Trace>) -> Option<Span> {
        let sampled = match parent {
            Some(parent) => parent.is_sampled(),
            None => (low_discrepancy_point(&self.turn) as f64) < self.share * 2_f64.powi(64),
        };
        let (trace, parent) = match parent {
            Some(parent) => (parent.child(), Some(parent.span().to_owned())),
            None => (Trace::root(), None),
        };
        sampled.then(|| Span { trace, parent, prediction: OnceLock::new() })
    }

    /// A request has been answered.
    pub(crate) fn end(&self, span: Span, deployment: &str, started: Instant, error: Option<&Error>) {
        let name = format!("predict {deployment}");
        let now = (Instant::now(), SystemTime::now());
        let ended = Ended { span, name, started, now, error: error.map(Error::chain) };
        if self.ended.try_send(ended).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Spans that the collector was too slow for.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Span {
    /// What others name as their parent.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(crate) fn predicted(&self, prediction: Prediction) {
        let _ = self.prediction.set(prediction);
    }
}

impl Ended {
    /// Nanoseconds since 1970, as OTLP has them in JSON.
    fn at(&self, moment: Instant) -> String {
        let (now, date) = self.now;
        let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.saturating_sub(now.saturating_duration_since(moment)).as_nanos().to_string()
    }

    /// The request's span, and those of its parts.
    fn spans(&self) -> Vec<Value> {
        let Span { trace, parent, prediction } = &self.span;
        let mut attributes = Vec::new();
        let mut parts = Vec::new();
        if let Some(it) = prediction.get() {
            attributes.push(attribute("eyot.revision", json!({ "intValue": it.revision.to_string() })));
            attributes.push(attribute("eyot.runs_on", json!({ "stringValue": it.runs_on })));
            let Moments { arrived, begun, took } = it.moments;
            parts.push(self.part("queue", arrived, begun, Vec::new()));
            let count = |number: usize| json!({ "intValue": number.to_string() });
            let milliseconds = |time: Duration| json!({ "doubleValue": time.as_secs_f64() * 1e3 });
            let inner = vec![
                attribute("eyot.model_queue_ms", milliseconds(it.spent.queued)),
                attribute("eyot.inference_ms", milliseconds(it.spent.computed)),
                attribute("eyot.inferences", json!({ "intValue": it.spent.inferences.to_string() })),
                attribute("eyot.at_once", count(it.spent.at_once)),
                attribute("eyot.batch", count(it.spent.batch)),
            ];
            parts.push(self.part("predict", begun, begun + took, inner));
        }
        let status = match &self.error {
            None => json!({ "code": 1 }),
            Some(error) => json!({ "code": 2, "message": error }),
        };
        let mut whole = json!({
            "traceId": trace.id(),
            "spanId": trace.span(),
            "name": self.name,
            "kind": 2,
            "startTimeUnixNano": self.at(self.started),
            "endTimeUnixNano": self.at(self.now.0),
            "attributes": attributes,
            "status": status,
        });
        if let Some(parent) = parent {
            whole["parentSpanId"] = Value::from(parent.as_str());
        }
        parts.insert(0, whole);
        parts
    }

    fn part(&self, name: &str, from: Instant, to: Instant, attributes: Vec<Value>) -> Value {
        let trace = &self.span.trace;
        json!({
            "traceId": trace.id(),
            "spanId": trace.child().span(),
            "parentSpanId": trace.span(),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": self.at(from),
            "endTimeUnixNano": self.at(to),
            "attributes": attributes,
        })
    }
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

/// Sends spans to a collector.
pub(crate) struct Exporter {
    waiting: mpsc::Receiver<Ended>,
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    /// Whether the last message was not taken: said once, not with every message.
    refusing: bool,
}

impl Exporter {
    /// Sends what ends, as it comes, until `stop`; then what still waits.
    pub(crate) async fn run(mut self, stop: oneshot::Receiver<()>) {
        tokio::pin!(stop);
        let mut ended = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! {
                count = self.waiting.recv_many(&mut ended, TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = &mut stop => {
                    while ended.len() < WAITING {
                        let Ok(one) = self.waiting.try_recv() else { break };
                        ended.push(one);
                    }
                    self.send(&ended).await;
                    return;
                }
            }
            self.send(&ended).await;
            ended.clear();
        }
    }

    async fn send(&mut self, ended: &[Ended]) {
        if ended.is_empty() {
            return;
        }
        let spans: Vec<Value> = ended.iter().flat_map(Ended::spans).collect();
        let text = |value: &str| json!({ "stringValue": value });
        let resource = [
            attribute("service.name", text(identity::SERVER_NAME)),
            attribute("service.version", text(identity::SERVER_VERSION)),
        ];
        let message = json!({ "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "eyot-gateway" }, "spans": spans }],
        }]});
        let taken = tokio::time::timeout(PATIENCE, self.post(message.to_string())).await;
        let taken = taken.unwrap_or_else(|_| Err(Error::timeout("it does not answer")));
        match &taken {
            Ok(()) => self.refusing = false,
            Err(error) if !std::mem::replace(&mut self.refusing, true) => {
                tracing::warn!(collector = %self.uri, error = %error.chain(), "spans are not taken, and lost");
            }
            Err(_) => {}
        }
    }

    async fn post(&self, message: String) -> Result<()> {
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(message)))
            .map_err(|error| Error::internal("no such request").because(error))?;
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|error| Error::unavailable("it cannot be reached").because(error))?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let _ = answer.into_body().collect().await;
        if status.is_success() { Ok(()) } else { Err(Error::failed(format!("it answers {status}"))) }
    }
}
