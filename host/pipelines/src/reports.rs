//! What steps report while they run: to whoever watches, to tracking, and into the cache, so that a step
//! that is not run again has reported the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_core::{Clock as _, Name, SystemClock};
use eyot_tracking::TrackingStore;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use crate::RunEvent;
use crate::runner::StepReporter;

/// One thing that a step reported about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StepReport {
    /// The value as text, since JSON has no NaN.
    Metric {
        key: String,
        value: String,
        step: i64,
    },
    Param {
        key: String,
        value: String,
    },
    Tag {
        key: String,
        value: String,
    },
}

/// A step that reports more than this is not heard any more: what it says is kept in memory and in the
/// database.
const MAX_REPORT_COUNT: usize = 100_000;

/// Hands reports on without waiting.
pub(crate) struct ReportForwarder {
    run: String,
    step: Name,
    events: broadcast::Sender<RunEvent>,
    reports: Mutex<Option<mpsc::UnboundedSender<StepReport>>>,
    count: AtomicUsize,
}

impl ReportForwarder {
    /// Also answers what is reported, for [`drain`].
    pub(crate) fn new(
        run: &str,
        step: &Name,
        events: broadcast::Sender<RunEvent>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<StepReport>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (run, step, reports) = (run.to_owned(), step.clone(), Mutex::new(Some(sender)));
        (Arc::new(Self { run, step, events, reports, count: AtomicUsize::new(0) }), receiver)
    }

    /// Nothing more is heard, whoever still holds this.
    pub(crate) fn close(&self) {
        self.reports.lock().take();
    }

    fn report(&self, report: StepReport) {
        match self.count.fetch_add(1, Ordering::Relaxed) {
            count if count < MAX_REPORT_COUNT => {
                if let Some(reports) = &*self.reports.lock() {
                    // Fails when the run is gone: nobody is left to hear.
                    let _ = reports.send(report);
                }
            }
            MAX_REPORT_COUNT => self.line(&format!("(reports beyond {MAX_REPORT_COUNT} are dropped)")),
            _ => {}
        }
    }
}

impl StepReporter for ReportForwarder {
    fn line(&self, line: &str) {
        // Fails when nobody listens, which is no fault.
        let _ = self.events.send(RunEvent::Log {
            run: self.run.clone(),
            step: self.step.clone(),
            line: line.to_owned(),
        });
    }

    fn metric(&self, key: &str, value: f64, step: i64) {
        self.report(StepReport::Metric { key: key.to_owned(), value: value.to_string(), step });
    }

    fn param(&self, key: &str, value: &str) {
        self.report(StepReport::Param { key: key.to_owned(), value: value.to_owned() });
    }

    fn tag(&self, key: &str, value: &str) {
        self.report(StepReport::Tag { key: key.to_owned(), value: value.to_owned() });
    }
}

/// Writes reports into tracking as they come; answers them all once the step has dropped its end.
pub(crate) async fn drain(
    tracking: TrackingStore,
    run: Option<String>,
    step: Name,
    mut reports: mpsc::UnboundedReceiver<StepReport>,
) -> Vec<StepReport> {
    let mut all = Vec::new();
    while let Some(report) = reports.recv().await {
        write(&tracking, run.as_deref(), &step, &report).await;
        all.push(report);
    }
    all
}

/// Writes one report. A report that cannot be written is no reason for a step to fail.
pub(crate) async fn write(tracking: &TrackingStore, run: Option<&str>, step: &Name, report: &StepReport) {
    let Some(run) = run else { return };
    let name = |key: &str| format!("{step}/{key}");
    let written = match report {
        StepReport::Metric { key, value, step } => {
            let value = value.parse().unwrap_or(f64::NAN);
            tracking.log_metric(run, &name(key), value, *step, SystemClock.now()).await
        }
        StepReport::Param { key, value } => tracking.log_param(run, &name(key), value).await,
        StepReport::Tag { key, value } => tracking.set_tag(run, &name(key), value).await,
    };
    if let Err(error) = written {
        tracing::warn!(run, %step, error = %error.chain(), "a report was not recorded");
    }
}
