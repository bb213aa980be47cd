//! Predictions over HTTP: JSON and the binary extension, both compressed or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use eyot_core::{Error, Result};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::http::answers::{self, ErrorResponse, HttpResponse};
use crate::http::body::{RequestBody, SegmentedBody};
use crate::http::predict::{self, PredictionCall};
use crate::http::receiving::{OFFLOAD_THRESHOLD_BYTES, read_body};
use crate::http::routes::ModelRef;
use crate::protocol::{InferRequest, Prediction, encode, raw, request};
use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::exchange::{Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::pipeline::{RequestWork, serve};
use crate::serving::state::GatewayState;

/// The header that says how much of a body is JSON.
const JSON_LENGTH: &str = "inference-header-content-length";

pub(super) async fn infer(
    gateway: &Arc<GatewayState>,
    target: &ModelRef<'_>,
    headers: &HeaderMap,
    caller: SocketAddr,
    body: RequestBody,
) -> HttpResponse {
    let exchange = gateway.begin(ExchangeKind::Prediction, headers, caller);
    serve(exchange, RestPrediction { gateway, target, headers, body: Some(body), json_bytes: None }).await
}

struct RestPrediction<'a> {
    gateway: &'a Arc<GatewayState>,
    target: &'a ModelRef<'a>,
    headers: &'a HeaderMap,
    /// Until it is read.
    body: Option<RequestBody>,
    /// How much of the body is JSON, where binary tensors follow it.
    json_bytes: Option<usize>,
}

impl RequestWork for RestPrediction<'_> {
    type Input = InferRequest;
    type Call = PredictionCall;
    type Answer = HttpResponse;
    type Failure = ErrorResponse;
    type Response = HttpResponse;

    fn gateway(&self) -> &GatewayState {
        self.gateway
    }

    fn name(&self) -> &str {
        &self.target.model
    }

    fn check(&mut self, _: &DeploymentEntry) -> Result<(), ErrorResponse> {
        self.json_bytes = json_length(self.headers)?;
        Ok(())
    }

    async fn read(
        &mut self,
        exchange: &mut Exchange,
        deployment: &DeploymentEntry,
    ) -> Result<InferRequest, ErrorResponse> {
        let body = self.body.take().ok_or_else(|| Error::internal("the body was read already"))?;
        let json_bytes = self.json_bytes;
        let received = read_body(self.gateway, exchange, self.headers, body, json_bytes).await?;
        exchange.timings.received = Some(Instant::now());
        Ok(match json_bytes {
            Some(0) => {
                let live = deployment.shown(self.target.version.as_deref())?;
                raw::read(&received, live.predictor()?.signature())?
            }
            // Binary tensors are only sliced; JSON is read byte by byte.
            json_bytes if json_bytes.unwrap_or(received.len()) > OFFLOAD_THRESHOLD_BYTES => {
                self.gateway.offload(move || request::read(&received, json_bytes)).await?
            }
            json_bytes => request::read(&received, json_bytes)?,
        })
    }

    fn select(&self, deployment: &DeploymentEntry, asked: &InferRequest) -> Result<Arc<ServingRevision>> {
        let header =
            |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok().map(str::to_owned));
        let key = deployment.sticky_key(header, |name| asked.parameters.text(name));
        deployment.route(self.target.version.as_deref(), key.as_deref())
    }

    fn prepare(
        &mut self,
        exchange: &mut Exchange,
        revision: &ServingRevision,
        asked: InferRequest,
    ) -> Result<PredictionCall> {
        predict::prepare(exchange, revision, asked)
    }

    async fn run(
        self,
        exchange: &mut Exchange,
        revision: Arc<ServingRevision>,
        call: PredictionCall,
    ) -> Result<HttpResponse, ErrorResponse> {
        let prediction = predict::run(exchange, revision, call).await?;
        let writing = Instant::now();
        let size: usize = prediction.outputs.iter().map(|output| output.tensor.bytes().len()).sum();
        let write = move || {
            let (live, id) = (&prediction.live, prediction.id.as_deref());
            let (model, version) = (live.revision.deployment.as_str(), live.version.as_str());
            let Prediction { outputs, chosen, non_finite, .. } = &prediction;
            encode::response(model, version, id, outputs, chosen, *non_finite)
        };
        let encoded =
            if size > OFFLOAD_THRESHOLD_BYTES { self.gateway.offload(write).await? } else { write()? };
        exchange.timings.encode = Some(writing.elapsed());
        Ok(response(self.gateway, self.headers, encoded).await?)
    }

    fn respond(exchange: Exchange, attempted: Result<HttpResponse, ErrorResponse>) -> HttpResponse {
        answers::end(exchange, attempted, ExchangeOutcome::Answered)
    }
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        Error::invalid(format!(
            "Inference-Header-Content-Length is {value:?}, not a whole number of 0 or more"
        ))
    })
}

async fn response(
    gateway: &GatewayState,
    headers: &HeaderMap,
    encoded: encode::EncodedResponse,
) -> Result<HttpResponse> {
    let encode::EncodedResponse { json, tensors, binary } = encoded;
    let length = json.len();
    let content_type = if binary { "application/octet-stream" } else { "application/json" };
    let body = SegmentedBody::new(json, tensors);
    let mut answer = answers::compressed(gateway, headers, StatusCode::OK, content_type, body).await?;
    if binary {
        answer.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    }
    Ok(answer)
}
