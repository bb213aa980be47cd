//! Observers of requests. A further one, as for drift or an audit, is a file here and a line in [`GatewayTelemetry::open`].

mod failure_log;
mod metrics;
pub(crate) mod prediction_log;
pub(crate) mod prometheus;
mod shadow;
pub(crate) mod spans;

use std::path::Path;
use std::sync::Arc;

use eyot_core::{Result, config};

use crate::serving::exchange::observer::{Observer, ObserverList};
use prediction_log::PredictionLog;
use spans::{SpanCollector, SpanExporter};

/// What tells of a data plane's requests.
pub(crate) struct GatewayTelemetry {
    /// Those that the configuration asks for.
    log: Option<Arc<PredictionLog>>,
    spans: Option<Arc<SpanCollector>>,
}

impl GatewayTelemetry {
    /// Those who watch as the configuration has it, and what sends spans to a collector of traces, if there is one.
    /// The prediction log is written under `logs`.
    pub(crate) fn open(
        config: &config::GatewaySettings,
        logs: &Path,
    ) -> Result<(Self, ObserverList, Option<SpanExporter>)> {
        let log = (config.prediction_log > 0.0)
            .then(|| {
                PredictionLog::open(logs, config.prediction_log, config.prediction_log_size.0).map(Arc::new)
            })
            .transpose()?;
        let collected = SpanCollector::new(&config.otlp_endpoint)?;
        let (spans, exporter) = collected.map(|(spans, exporter)| (Arc::new(spans), exporter)).unzip();
        let observers: Vec<Option<Arc<dyn Observer>>> = vec![
            Some(Arc::new(metrics::MetricsObserver)),
            Some(Arc::new(failure_log::FailureLog)),
            Some(Arc::new(shadow::ShadowObserver)),
            log.clone().map(|log| log as Arc<dyn Observer>),
            spans.clone().map(|spans| spans as Arc<dyn Observer>),
        ];
        let observers = ObserverList::new(observers.into_iter().flatten().collect())?;
        Ok((Self { log, spans }, observers, exporter))
    }
}
