//! What steps report while they run: to whoever watches, to tracking, and into the cache, so that a step
//! that is not run again has reported the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_core::{Clock as _, Name, SystemClock};
use eyot_tracking::Tracking;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use crate::RunEvent;
use crate::runner::Reporter;

/// One thing that a step reported about itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Report {
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
const MOST: usize = 100_000;

/// Hands reports on without waiting.
pub(crate) struct Forward {
    run: String,
    step: Name,
    events: broadcast::Sender<RunEvent>,
    reports: Mutex<Option<mpsc::UnboundedSender<Report>>>,
    count: AtomicUsize,
}

impl Forward {
    /// Also answers what is reported, for [`drain`].
    pub(crate) fn new(
        run: &str,
        step: &Name,
        events: broadcast::Sender<RunEvent>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Report>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (run, step, reports) = (run.to_owned(), step.clone(), Mutex::new(Some(sender)));
        (Arc::new(Self { run, step, events, reports, count: AtomicUsize::new(0) }), receiver)
    }

    /// Nothing more is heard, whoever still holds this.
    pub(crate) fn close(&self) {
        self.reports.lock().take();
    }

    fn report(&self, report: Report) {
        match self.count.fetch_add(1, Ordering::Relaxed) {
            count if count < MOST => {
                if let Some(reports) = &*self.reports.lock() {
                    // Fails when the run is gone: nobody is left to hear.
                    let _ = reports.send(report);
                }
            }
            MOST => self.line(&format!("(reports beyond {MOST} are dropped)")),
            _ => {}
        }
    }
}

impl Reporter for Forward {
    fn line(&self, line: &str) {
        // Fails when nobody listens, which is no fault.
        let _ = self.events.send(RunEvent::Log {
            run: self.run.clone(),
            step: self.step.clone(),
            line: line.to_owned(),
        });
    }

    fn metric(&self, key: &str, value: f64, step: i64) {
        self.report(Report::Metric { key: key.to_owned(), value: value.to_string(), step });
    }

    fn param(&self, key: &str, value: &str) {
        self.report(Report::Param { key: key.to_owned(), value: value.to_owned() });
    }

    fn tag(&self, key: &str, value: &str) {
        self.report(Report::Tag { key: key.to_owned(), value: value.to_owned() });
    }
}

/// Writes reports into tracking as they come; answers them all once the step has dropped its end.
pub(crate) async fn drain(
    tracking: Tracking,
    run: Option<String>,
    step: Name,
    mut reports: mpsc::UnboundedReceiver<Report>,
) -> Vec<Report> {
    let mut all = Vec::new();
    while let Some(report) = reports.recv().await {
        write(&tracking, run.as_deref(), &step, &report).await;
        all.push(report);
    }
    all
}

/// Writes one report. A report that cannot be written is no reason for a step to fail.
pub(crate) async fn write(tracking: &Tracking, run: Option<&str>, step: &Name, report: &Report) {
    let Some(run) = run else { return };
    let name = |key: &str| format!("{step}/{key}");
    let written = match report {
        Report::Metric { key, value, step } => {
            let value = value.parse().unwrap_or(f64::NAN);
            tracking.log_metric(run, &name(key), value, *step, SystemClock.now()).await
        }
        Report::Param { key, value } => tracking.log_param(run, &name(key), value).await,
        Report::Tag { key, value } => tracking.set_tag(run, &name(key), value).await,
    };
    if let Err(error) = written {
        tracing::warn!(run, %step, error = %error.chain(), "a report was not recorded");
    }
}
