//! Writes into the server's log what failed by no client's fault.

use eyot_core::ErrorKind;

use crate::serving::exchange::observer::{Capture, Observer};
use crate::serving::exchange::{Exchange, ExchangeOutcome};
use crate::serving::trace::TraceContext;

pub(super) struct FailureLog;

impl Observer for FailureLog {
    fn interested(&self, _: &Exchange) -> Capture {
        Capture::Figures
    }

    fn finished(&self, exchange: &Exchange) {
        let (ExchangeOutcome::Failed(error), Some(live)) = (exchange.outcome(), exchange.revision()) else {
            return;
        };
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt | ErrorKind::Failed) {
            let trace = exchange.trace.as_ref().map(TraceContext::as_str).unwrap_or_default();
            let (deployment, revision) = (&live.revision.deployment, live.revision.revision);
            tracing::warn!(%deployment, revision, id = %exchange.id, trace, error = %error.chain(), "a prediction failed");
        }
    }
}
