//! What REST and gRPC have in common of a prediction: what was asked is checked against the revision, and the
//! predictor answers it.

use std::sync::Arc;

use eyot_core::Result;
use eyot_nn::{InferOptions, NamedTensor, RequestPriority};

use crate::protocol::encode::NonFinite;
use crate::protocol::{InferRequest, Prediction, SelectedOutput, choose};
use crate::serving::endpoint::ServingRevision;
use crate::serving::exchange::{CapturedCall, Exchange};

/// What was asked, fit for the revision's signature.
pub(super) struct PredictionCall {
    inputs: Vec<NamedTensor>,
    chosen: Vec<SelectedOutput>,
    priority: RequestPriority,
    id: Option<String>,
    non_finite: NonFinite,
}

/// Checks what was asked. Fails with `Invalid`, naming what is wrong, and with `NotFound` where the revision answers
/// no tensors.
pub(super) fn prepare(
    exchange: &mut Exchange,
    revision: &ServingRevision,
    asked: InferRequest,
) -> Result<PredictionCall> {
    let signature = revision.predictor()?.signature();
    let inputs = signature.check_inputs(asked.inputs)?;
    let chosen = choose(signature, &asked.outputs, asked.parameters.binary)?;
    exchange.shorten(asked.parameters.timeout);
    let (priority, non_finite) = (asked.parameters.priority, asked.parameters.non_finite.unwrap_or_default());
    Ok(PredictionCall { inputs, chosen, priority, id: asked.id, non_finite })
}

/// Answers it, and lets the next request in.
pub(super) async fn run(
    exchange: &mut Exchange,
    revision: Arc<ServingRevision>,
    call: PredictionCall,
) -> Result<Prediction> {
    let PredictionCall { inputs, chosen, priority, id, non_finite } = call;
    if exchange.captures() {
        exchange.capture(CapturedCall::Prediction { inputs: inputs.clone(), outputs: None });
    }
    let options = InferOptions { deadline: exchange.deadline, priority };
    let predicted = revision.predictor()?.predict(inputs, options).await;
    exchange.record_work(predicted.as_ref().ok().map(|predicted| predicted.usage));
    let outputs = predicted?.outputs;
    exchange.capture_outputs(&outputs);
    Ok(Prediction { live: revision, id, outputs, chosen, non_finite })
}
