//! Spans of predictions for a collector of traces: OTLP over HTTP, in its JSON form. Nobody waits for
//! them; those that a slow collector cannot take are dropped and counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use eyot_core::{Error, Result};
use eyot_engine::InferenceUsage;
use eyot_http::{ClientSettings, HttpClient, ServerTrust, collect_body};
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::protocol::identity;
use crate::serving::collector::{self, TraceCollector};
use crate::serving::exchange::observer::{Capture, Observer};
use crate::serving::exchange::{BodySizes, Exchange, ExchangeOutcome};
use crate::serving::trace::RequestSpan;

/// Spans that wait to be sent; more are dropped.
const QUEUED_SPAN_COUNT: usize = 2048;
/// Spans of one message to the collector.
const BATCH_SPAN_COUNT: usize = 256;
/// Of what a collector answers; more is not read.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Takes the spans of the requests that are recorded.
pub(crate) struct SpanCollector {
    ended: mpsc::Sender<EndedSpan>,
    dropped: AtomicU64,
}

/// The span of a request that has ended.
struct EndedSpan {
    id: String,
    span: RequestSpan,
    name: String,
    caller: SocketAddr,
    started: Instant,
    now: (Instant, SystemTime),
    sizes: BodySizes,
    admission: Option<(Instant, Instant)>,
    work: Option<WorkSpan>,
    error: Option<String>,
}

/// What is known of a request once it was worked on.
struct WorkSpan {
    revision: u64,
    runs_on: String,
    took: Duration,
    /// What its inferences took.
    usage: Option<InferenceUsage>,
}

impl SpanCollector {
    /// For the collector at `endpoint`, as in `http://127.0.0.1:4318`, or that of the environment; spans are sent once
    /// the exporter runs. None where there is no collector.
    ///
    /// Fails with `Invalid` for an address that is none.
    pub(crate) fn new(endpoint: &str) -> Result<Option<(Self, SpanExporter)>> {
        let collector = TraceCollector::of(endpoint, identity::SERVER_NAME, collector::environment)?;
        let Some(collector) = collector else { return Ok(None) };
        let (ended, waiting) = mpsc::channel(QUEUED_SPAN_COUNT);
        let client = HttpClient::new(ClientSettings {
            trust: (collector.uri.scheme_str() == Some("https")).then_some(ServerTrust::System),
            total_timeout: Some(collector.timeout),
            ..ClientSettings::default()
        })?;
        let exporter = SpanExporter { waiting, client, collector, refusing: false };
        Ok(Some((Self { ended, dropped: AtomicU64::new(0) }, exporter)))
    }

    /// Spans that the collector was too slow for.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Observer for SpanCollector {
    fn interested(&self, exchange: &Exchange) -> Capture {
        if exchange.span.is_some() { Capture::Figures } else { Capture::Nothing }
    }

    fn finished(&self, exchange: &Exchange) {
        let Some(ended) = EndedSpan::of(exchange) else { return };
        if self.ended.try_send(ended).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl EndedSpan {
    fn of(exchange: &Exchange) -> Option<Self> {
        let work = exchange.revision().zip(exchange.timings.work).map(|(live, took)| WorkSpan {
            revision: live.revision.revision,
            runs_on: live.backends(),
            took,
            usage: exchange.usage,
        });
        Some(Self {
            id: exchange.id.clone(),
            span: exchange.span.clone()?,
            name: format!("predict {}", exchange.name()),
            caller: exchange.caller,
            started: exchange.timings.started,
            now: (exchange.timings.ended.unwrap_or_else(Instant::now), SystemTime::now()),
            sizes: exchange.sizes,
            admission: exchange.timings.admission,
            work,
            error: match exchange.outcome() {
                ExchangeOutcome::Answered | ExchangeOutcome::Declined(_) => None,
                ExchangeOutcome::Failed(error) => Some(error.chain()),
                ExchangeOutcome::Cancelled => Some("the client has gone".to_owned()),
            },
        })
    }

    /// Nanoseconds since 1970, as OTLP has them in JSON.
    fn at(&self, moment: Instant) -> String {
        let (now, date) = self.now;
        let since = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.saturating_sub(now.saturating_duration_since(moment)).as_nanos().to_string()
    }

    /// The request's span, and those of its parts.
    fn spans(&self) -> Vec<Value> {
        let trace = &self.span.trace;
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
            "attributes": self.attributes(),
            "status": status,
        });
        if let Some(parent) = &self.span.parent {
            whole["parentSpanId"] = Value::from(parent.as_str());
        }
        let mut spans = vec![whole];
        if let (Some((arrived, begun)), Some(work)) = (self.admission, &self.work) {
            spans.push(self.part("queue", arrived, begun, Vec::new()));
            spans.push(self.part("predict", begun, begun + work.took, work.attributes()));
        }
        spans
    }

    fn attributes(&self) -> Vec<Value> {
        let number = |bytes: u64| json!({ "intValue": bytes.to_string() });
        let text = |text: String| json!({ "stringValue": text });
        let mut attributes = vec![
            attribute("eyot.prediction_id", text(self.id.clone())),
            attribute("client.address", text(self.caller.ip().to_string())),
            attribute("client.port", number(self.caller.port().into())),
        ];
        if let Some(work) = &self.work {
            attributes.push(attribute("eyot.revision", number(work.revision)));
            attributes.push(attribute("eyot.runs_on", text(work.runs_on.clone())));
        }
        let sizes = [
            ("http.request.body.size", self.sizes.request_bytes),
            ("http.response.body.size", self.sizes.response_bytes),
        ];
        attributes.extend(sizes.into_iter().filter_map(|(key, size)| Some(attribute(key, number(size?)))));
        attributes
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

impl WorkSpan {
    /// What is known of its inferences.
    fn attributes(&self) -> Vec<Value> {
        let Some(usage) = self.usage else { return Vec::new() };
        let count = |number: usize| json!({ "intValue": number.to_string() });
        let milliseconds = |time: Duration| json!({ "doubleValue": time.as_secs_f64() * 1e3 });
        vec![
            attribute("eyot.model_queue_ms", milliseconds(usage.queue_time)),
            attribute("eyot.inference_ms", milliseconds(usage.compute_time)),
            attribute("eyot.inferences", json!({ "intValue": usage.inferences.to_string() })),
            attribute("eyot.at_once", count(usage.max_in_flight)),
            attribute("eyot.batch", count(usage.max_batch_size)),
        ]
    }
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

/// Sends spans to a collector.
pub(crate) struct SpanExporter {
    waiting: mpsc::Receiver<EndedSpan>,
    client: HttpClient,
    collector: TraceCollector,
    /// Whether the last message was not taken: said once, not with every message.
    refusing: bool,
}

impl SpanExporter {
    /// Sends what ends, as it comes, until `stop`; then what still waits.
    pub(crate) async fn run(mut self, stop: oneshot::Receiver<()>) {
        tokio::pin!(stop);
        let mut ended = Vec::with_capacity(BATCH_SPAN_COUNT);
        loop {
            tokio::select! {
                count = self.waiting.recv_many(&mut ended, BATCH_SPAN_COUNT) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = &mut stop => {
                    while ended.len() < QUEUED_SPAN_COUNT {
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

    async fn send(&mut self, ended: &[EndedSpan]) {
        if ended.is_empty() {
            return;
        }
        let spans: Vec<Value> = ended.iter().flat_map(EndedSpan::spans).collect();
        let text = |value: &str| json!({ "stringValue": value });
        let mut resource = vec![attribute("service.name", text(&self.collector.service_name))];
        if !self.collector.resource.iter().any(|(key, _)| key == "service.version") {
            resource.push(attribute("service.version", text(identity::SERVER_VERSION)));
        }
        resource.extend(self.collector.resource.iter().map(|(key, value)| attribute(key, text(value))));
        let message = json!({ "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "eyot-gateway" }, "spans": spans }],
        }]});
        match &self.post(message.to_string()).await {
            Ok(()) => self.refusing = false,
            Err(error) if !std::mem::replace(&mut self.refusing, true) => {
                tracing::warn!(collector = %self.collector.uri, error = %error.chain(), "spans are not taken, and lost");
            }
            Err(_) => {}
        }
    }

    async fn post(&self, message: String) -> Result<()> {
        let mut request = Request::post(self.collector.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(message)))
            .map_err(|error| Error::internal("no such request").because(error))?;
        request.headers_mut().extend(self.collector.headers.clone());
        let answer = self.client.send(request).await?;
        let status = answer.status();
        // Read to its end, so that the connection can be used again.
        let _ = collect_body(answer.into_body(), MAX_ANSWER_BYTES).await;
        if status.is_success() { Ok(()) } else { Err(Error::failed(format!("it answers {status}"))) }
    }
}
