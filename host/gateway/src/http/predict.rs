//! A prediction, whatever protocol asks for it: which revision, whether now, what comes out, and what
//! is counted and told of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Kind, Result};
use eyot_engine::Spent;
use eyot_nn::{Ask, NamedTensor};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::answers::{Answer, PREDICTION, Refusal};
use crate::protocol::encode::NonFinite;
use crate::protocol::metadata;
use crate::protocol::{Asked, Chosen, choose};
use crate::serving::endpoint::{Endpoint, Live};
use crate::serving::state::GatewayState;
use crate::serving::stats::Counted;
use crate::serving::trace::{TRACEPARENT, Trace};
use crate::telemetry::prediction_log;
use crate::telemetry::shadow;
use crate::telemetry::spans::{Moments, Prediction, Span};

/// One request for a prediction.
pub(crate) struct Call {
    /// Names the prediction in the answer's header, in logs and in the prediction log.
    pub(crate) id: String,
    pub(crate) started: Instant,
    pub(crate) trace: Option<Trace>,
    /// How long the client waits, where its protocol says so beside the request.
    pub(crate) patience: Option<Duration>,
    span: Option<Span>,
}

/// What came of it.
pub(crate) struct Answered {
    pub(crate) live: Arc<Live>,
    pub(crate) id: Option<String>,
    pub(crate) outputs: Vec<NamedTensor>,
    pub(crate) chosen: Vec<Chosen>,
    pub(crate) non_finite: NonFinite,
    counted: Counted,
}

impl Answered {
    /// Counts the request as answered, or not, if its answer could not be written.
    pub(crate) fn end<T>(self, writing: Instant, written: Result<T>) -> Result<T> {
        match &written {
            Ok(_) => {
                self.live.stats.encode.add(writing.elapsed());
                self.counted.end(Ok(()));
            }
            Err(error) => self.counted.end(Err(error.kind())),
        }
        written
    }
}

/// Counts a request that could not be read against the revision that stands for its deployment.
pub(crate) fn refused(call: &Call, endpoint: &Endpoint, error: &Error) {
    if let Some(live) = endpoint.main() {
        Counted::begin(live.stats.clone(), call.started).end(Err(error.kind()));
    }
}

impl Call {
    pub(crate) fn new(gateway: &GatewayState, headers: &HeaderMap, patience: Option<Duration>) -> Self {
        let trace = Trace::of(headers);
        let span = gateway.spans().and_then(|spans| spans.begin(trace.as_ref()));
        Self { id: eyot_core::new_id(), started: Instant::now(), trace, patience, span }
    }

    /// What the answer says of the trace, where the request is a part of one that is recorded.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.span.as_ref().map(|span| span.trace().as_str())
    }

    /// The answer is ready: tells of the request whoever collects traces.
    pub(crate) fn tell(&mut self, gateway: &GatewayState, deployment: &str, error: Option<&Error>) {
        if let (Some(spans), Some(span)) = (gateway.spans(), self.span.take()) {
            spans.end(span, deployment, self.started, error);
        }
    }

    /// What was attempted for it as an answer, which names it; tells of it whoever collects traces.
    pub(crate) fn answered(
        self,
        gateway: &GatewayState,
        deployment: &str,
        attempted: Result<Answer, Refusal>,
    ) -> Answer {
        let signed = self.ended(gateway, deployment, attempted.as_ref().err().map(|refusal| &refusal.error));
        let mut answer = attempted.unwrap_or_else(Refusal::answer);
        answer.headers_mut().extend(signed);
        answer
    }

    /// The answer is ready: tells of the request whoever collects traces, and answers the headers that name
    /// it.
    pub(crate) fn ended(
        mut self,
        gateway: &GatewayState,
        deployment: &str,
        error: Option<&Error>,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let traceparent = self.traceparent().and_then(|text| HeaderValue::try_from(text).ok());
        self.tell(gateway, deployment, error);
        let id = HeaderValue::try_from(self.id).ok();
        let named = |name: &'static str| move |value| (HeaderName::from_static(name), value);
        traceparent.map(named(TRACEPARENT)).into_iter().chain(id.map(named(PREDICTION)))
    }

    /// Answers what was asked, once `live` has room for it.
    pub(crate) async fn run(
        &self,
        gateway: &GatewayState,
        endpoint: &Endpoint,
        live: Arc<Live>,
        asked: Asked,
    ) -> Result<Answered> {
        let counted = Counted::begin(live.stats.clone(), self.started);
        let (id, non_finite) = (asked.id.clone(), asked.parameters.non_finite.unwrap_or_default());
        match self.attempt(gateway, endpoint, &live, asked).await {
            Ok((outputs, chosen)) => Ok(Answered { live, id, outputs, chosen, non_finite, counted }),
            Err(error) => {
                counted.end(Err(error.kind()));
                self.note(&live, &error);
                Err(error)
            }
        }
    }

    /// Keeps for whoever collects traces what is known of the request, now that it was worked on.
    pub(crate) fn predicted(&self, live: &Live, moments: Moments, spent: Option<Spent>) {
        if let Some(span) = &self.span {
            let (revision, runs_on) = (live.revision.revision, metadata::backend(live));
            span.predicted(Prediction { revision, runs_on, moments, spent: spent.unwrap_or_default() });
        }
    }

    /// What the prediction log is told of it.
    pub(crate) fn told(
        &self,
        live: &Live,
        took: Duration,
        asked: prediction_log::Asked,
    ) -> prediction_log::Told {
        prediction_log::Told {
            id: self.id.clone(),
            trace: self.trace.clone(),
            deployment: live.revision.deployment.clone(),
            revision: live.revision.revision,
            took,
            asked,
        }
    }

    /// Writes an error that is no client's into the server's log.
    pub(crate) fn note(&self, live: &Live, error: &Error) {
        if matches!(error.kind(), Kind::Internal | Kind::Corrupt | Kind::Failed) {
            let trace = self.trace.as_ref().map(Trace::as_str).unwrap_or_default();
            let (deployment, revision) = (&live.revision.deployment, live.revision.revision);
            tracing::warn!(%deployment, revision, id = %self.id, trace, error = %error.chain(), "a prediction failed");
        }
    }

    async fn attempt(
        &self,
        gateway: &GatewayState,
        endpoint: &Endpoint,
        live: &Arc<Live>,
        asked: Asked,
    ) -> Result<(Vec<NamedTensor>, Vec<Chosen>)> {
        let predictor = live.predictor()?;
        let signature = predictor.signature();
        let inputs = signature.check_inputs(asked.inputs)?;
        let chosen = choose(signature, &asked.outputs, asked.parameters.binary)?;
        let patience = [self.patience, asked.parameters.timeout].into_iter().flatten();
        let deadline = self.started + patience.fold(live.revision.timeout, Duration::min);
        let ask = Ask { deadline: Some(deadline), priority: asked.parameters.priority };
        let arrived = Instant::now();
        let permit = live.gate.enter(deadline).await?;
        let begun = Instant::now();
        live.stats.queue.add(begun - arrived);
        let shadow = endpoint.shadow().filter(|shadow| shadow.version != live.version);
        let told = gateway.log().filter(|log| log.samples());
        let kept = (shadow.is_some() || told.is_some()).then(|| inputs.clone());
        let answered = predictor.predict(inputs, ask).await;
        let took = begun.elapsed();
        let spent = answered.as_ref().ok().map(|predicted| predicted.spent);
        live.stats.predicted(took, spent);
        self.predicted(live, Moments { arrived, begun, took }, spent);
        drop(permit);
        let answered = answered.map(|predicted| predicted.outputs);
        if let (Some(shadow), Some(inputs), Ok(outputs)) = (shadow, &kept, &answered) {
            let asked = shadow::Asked::Prediction { inputs: inputs.clone(), outputs: outputs.clone() };
            shadow::compare(shadow.clone(), asked);
        }
        if let (Some(log), Some(inputs)) = (told, kept) {
            let outputs = answered.as_ref().cloned().map_err(Error::chain);
            log.tell(self.told(live, took, prediction_log::Asked::Prediction { inputs, outputs }));
        }
        Ok((answered?, chosen))
    }
}
