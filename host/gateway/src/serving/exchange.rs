//! One request to the data plane: [`Exchange`] carries all that is known of it, from its head to the last byte of its
//! answer, and tells it to those who watch ([`observer`]) however it ends.

pub(crate) mod observer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eyot_core::{Error, ErrorKind, Result};
use eyot_engine::{CallArguments, FunctionReply, InferenceUsage};
use eyot_nn::NamedTensor;

use crate::serving::endpoint::{DeploymentEntry, ServingRevision};
use crate::serving::trace::{RequestSpan, TraceContext};
use observer::{ObserverList, ObserverSelection};

/// What kind of work a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeKind {
    /// Tensors, over REST or gRPC.
    Prediction,
    /// A call of a component's function.
    Function,
    /// A component that answers HTTP itself.
    Http,
}

/// A request and what has come of it so far.
///
/// One that is dropped before it was finished was cancelled: its client has gone. Those who watch are told so.
pub(crate) struct Exchange {
    /// Names the request in its answer's header, in logs and in the prediction log.
    pub(crate) id: String,
    pub(crate) kind: ExchangeKind,
    /// Where the request came from.
    pub(crate) caller: SocketAddr,
    /// The trace that the client sent along.
    pub(crate) trace: Option<TraceContext>,
    /// The request's own span, if it is recorded.
    pub(crate) span: Option<RequestSpan>,
    pub(crate) timings: ExchangeTimings,
    pub(crate) sizes: BodySizes,
    /// What its inferences took, once it was worked on.
    pub(crate) usage: Option<InferenceUsage>,
    /// When it must be answered, from the moment that its revision is known.
    pub(crate) deadline: Option<Instant>,
    /// The name that was asked for, where nothing of that name serves.
    unknown_name: Option<String>,
    deployment: Option<Arc<DeploymentEntry>>,
    revision: Option<Arc<ServingRevision>>,
    /// Whether it has a place among the requests that its revision works on.
    is_admitted: bool,
    watching: ObserverSelection,
    captured: Option<Arc<CapturedCall>>,
    outcome: ExchangeOutcome,
    observers: Arc<ObserverList>,
    has_ended: bool,
}

/// How long the parts of a request took, as far as it came.
pub(crate) struct ExchangeTimings {
    /// When its head had been read.
    pub(crate) started: Instant,
    /// When its body had been read, where it is read before it is worked on.
    pub(crate) received: Option<Instant>,
    /// From there until it was known which revision answers.
    pub(crate) decode: Option<Duration>,
    /// When it came to its revision's gate, and when it was let in.
    pub(crate) admission: Option<(Instant, Instant)>,
    /// In the model or component; in one that answers HTTP, until the head of its answer.
    pub(crate) work: Option<Duration>,
    /// Writing the answer's body.
    pub(crate) encode: Option<Duration>,
    /// When it ended.
    pub(crate) ended: Option<Instant>,
}

impl ExchangeTimings {
    /// From the head of the request to its end, or until now.
    pub(crate) fn total(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.started)
    }
}

/// Bytes of the bodies, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BodySizes {
    pub(crate) request_bytes: Option<u64>,
    pub(crate) response_bytes: Option<u64>,
}

/// How a request ended.
pub(crate) enum ExchangeOutcome {
    Answered,
    /// The component answered with an error of its own, or broke off in the middle of its answer. It counts as an
    /// error of this kind.
    Declined(ErrorKind),
    Failed(Error),
    /// Nobody waited for the answer any more.
    Cancelled,
}

/// What was asked and answered, kept because somebody who watches wants it.
#[derive(Clone, Debug)]
pub(crate) enum CapturedCall {
    Prediction { inputs: Vec<NamedTensor>, outputs: Option<Vec<NamedTensor>> },
    Function { name: String, arguments: CallArguments, reply: Option<FunctionReply> },
}

impl CapturedCall {
    /// Whether there is an answer beside the question.
    pub(crate) fn is_answered(&self) -> bool {
        match self {
            Self::Prediction { outputs, .. } => outputs.is_some(),
            Self::Function { reply, .. } => reply.is_some(),
        }
    }
}

impl Exchange {
    /// A request that has just come.
    pub(crate) fn begin(
        kind: ExchangeKind,
        caller: SocketAddr,
        trace: Option<TraceContext>,
        span: Option<RequestSpan>,
        observers: Arc<ObserverList>,
    ) -> Self {
        Self {
            id: eyot_core::new_id(),
            kind,
            caller,
            trace,
            span,
            timings: ExchangeTimings {
                started: Instant::now(),
                received: None,
                decode: None,
                admission: None,
                work: None,
                encode: None,
                ended: None,
            },
            sizes: BodySizes::default(),
            usage: None,
            deadline: None,
            unknown_name: None,
            deployment: None,
            revision: None,
            is_admitted: false,
            watching: ObserverSelection::Unasked,
            captured: None,
            outcome: ExchangeOutcome::Cancelled,
            observers,
            has_ended: false,
        }
    }

    /// Nothing serves under this name, which may be anything.
    pub(crate) fn set_unknown_name(&mut self, name: &str) {
        self.unknown_name = Some(name.chars().take(128).collect());
    }

    pub(crate) fn set_deployment(&mut self, deployment: Arc<DeploymentEntry>) {
        self.deployment = Some(deployment);
    }

    /// From here on the request counts as one of this revision's.
    pub(crate) fn select(&mut self, revision: Arc<ServingRevision>) {
        revision.stats.in_flight.fetch_add(1, Ordering::Relaxed);
        self.deadline = Some(self.timings.started + revision.revision.timeout);
        self.revision = Some(revision);
    }

    /// It could not be read: it counts as a request of the revision that stands for its deployment.
    pub(crate) fn select_main(&mut self) {
        if let Some(main) = self.deployment.as_ref().and_then(|deployment| deployment.main()).cloned() {
            self.select(main);
        }
    }

    /// The client waits no longer than this.
    pub(crate) fn shorten(&mut self, patience: Option<Duration>) {
        let wanted = patience.map(|patience| self.timings.started + patience);
        self.deadline = [self.deadline, wanted].into_iter().flatten().min();
    }

    /// Waits for room in the revision, and asks those who watch what they want of the request.
    ///
    /// Fails as [`crate::serving::admission::AdmissionGate::enter`] does.
    pub(crate) async fn admit(&mut self) -> Result<()> {
        let arrived = Instant::now();
        let revision = self.revision.as_ref().ok_or_else(|| Error::internal("no revision was selected"))?;
        // Given back by `release`: an answer may outlive whoever lets the request in.
        revision.gate.enter(self.deadline.unwrap_or(arrived)).await?.forget();
        self.is_admitted = true;
        self.timings.admission = Some((arrived, Instant::now()));
        self.watching = self.observers.ask(self);
        Ok(())
    }

    /// The work is done, for better or worse. What it was done with may serve the next request.
    pub(crate) fn record_work(&mut self, usage: Option<InferenceUsage>) {
        self.timings.work = self.timings.admission.map(|(_, begun)| begun.elapsed());
        self.usage = usage;
        self.release();
    }

    /// The head of an answer is there, whose body the component goes on to make.
    pub(crate) fn record_response_head(&mut self) {
        self.timings.work = self.timings.admission.map(|(_, begun)| begun.elapsed());
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.is_admitted)
            && let Some(revision) = &self.revision
        {
            revision.gate.release();
        }
    }

    /// Whether somebody wants to see what was asked and answered.
    pub(crate) fn captures(&self) -> bool {
        self.watching.captures()
    }

    /// Keeps what was asked.
    pub(crate) fn capture(&mut self, asked: CapturedCall) {
        self.captured = Some(Arc::new(asked));
    }

    /// Keeps what was answered beside it.
    pub(crate) fn capture_outputs(&mut self, answered: &[NamedTensor]) {
        if let Some(CapturedCall::Prediction { outputs, .. }) = self.captured.as_mut().and_then(Arc::get_mut)
        {
            *outputs = Some(answered.to_vec());
        }
    }

    /// Keeps what a function answered beside what it was called with.
    pub(crate) fn capture_reply(&mut self, answered: Option<FunctionReply>) {
        if let Some(CapturedCall::Function { reply, .. }) = self.captured.as_mut().and_then(Arc::get_mut) {
            *reply = answered;
        }
    }

    /// What was kept; those who watch share it.
    pub(crate) fn captured(&self) -> Option<&Arc<CapturedCall>> {
        self.captured.as_ref()
    }

    pub(crate) fn deployment(&self) -> Option<&Arc<DeploymentEntry>> {
        self.deployment.as_ref()
    }

    pub(crate) fn revision(&self) -> Option<&Arc<ServingRevision>> {
        self.revision.as_ref()
    }

    /// The name that was asked for.
    pub(crate) fn name(&self) -> &str {
        let found = self.deployment.as_ref().map(|deployment| deployment.name.as_str());
        found.or(self.unknown_name.as_deref()).unwrap_or_default()
    }

    pub(crate) fn outcome(&self) -> &ExchangeOutcome {
        &self.outcome
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.timings.admission.is_some()
    }

    /// The answer has gone out, or nothing goes out. Only the first end counts.
    pub(crate) fn end(&mut self, outcome: ExchangeOutcome) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        (self.outcome, self.timings.ended) = (outcome, Some(Instant::now()));
        if self.watching == ObserverSelection::Unasked {
            self.watching = self.observers.ask(self);
        }
        self.observers.tell(self);
        if let Some(revision) = &self.revision {
            revision.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends it, and gives the id away for the answer's header.
    pub(crate) fn finish(mut self, outcome: ExchangeOutcome) -> String {
        self.end(outcome);
        std::mem::take(&mut self.id)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(ExchangeOutcome::Cancelled);
        self.release();
    }
}
