//! What a run is to those who look at it.

use eyot_core::{Digest, Error, Name, Result, Timestamp};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$case_doc])* #[serde(rename = $word)] $case,)* }

        impl $name {
            /// The word that is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$case => $word,)* }
            }

            pub(crate) fn parse(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok($name::$case),)*
                    other => Err(Error::corrupt(format!("'{other}' is no status"))),
                }
            }
        }
    };
}

words! {
    /// How a step is doing.
    StepStatus {
        Waiting "waiting",
        Running "running",
        Succeeded "succeeded",
        /// Ran before on the same inputs.
        Cached "cached",
        Failed "failed",
        /// A step that it needs did not succeed.
        Skipped "skipped",
        Cancelled "cancelled",
    }
}

words! {
    /// How a pipeline run is doing.
    RunStatus {
        Running "running",
        Succeeded "succeeded",
        Failed "failed",
        Cancelled "cancelled",
    }
}

/// One run of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    pub step: Name,
    pub status: StepStatus,
    /// None for a step that is built into Eyot.
    pub component: Option<Digest>,
    pub export: Option<String>,
    pub cache_key: Option<Digest>,
    /// Arguments by parameter; artifacts as digests. Empty until the step starts.
    pub inputs: IndexMap<String, Value>,
    pub outputs: IndexMap<String, Value>,
    pub error: Option<String>,
    /// Wall time, waiting for a slot not counted.
    pub milliseconds: u64,
}

/// One run of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineRun {
    pub id: String,
    pub pipeline: Name,
    pub status: RunStatus,
    pub error: Option<String>,
    pub steps: Vec<StepRun>,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    /// The run in tracking that holds what the steps reported.
    pub tracking_run: Option<String>,
}

impl PipelineRun {
    /// The digest of an artifact that a step gave.
    pub(crate) fn artifact(&self, step: &str, output: &str) -> Result<Digest> {
        let found = self.steps.iter().find(|one| one.step.as_str() == step);
        let found = found.ok_or_else(|| {
            let names: Vec<_> = self.steps.iter().map(|one| one.step.as_str()).collect();
            Error::not_found(format!("run {} has no step '{step}'", self.id))
                .hint(format!("its steps are {}", names.join(", ")))
        })?;
        let digest = found.outputs.get(output).and_then(Value::as_str).and_then(|text| text.parse().ok());
        digest.ok_or_else(|| {
            let names: Vec<_> = artifacts(&found.outputs).map(|(name, _)| name).collect();
            let error = Error::not_found(format!("step '{step}' gave no artifact '{output}'"));
            error.hint(match names.as_slice() {
                [] => "it gave none".to_owned(),
                names => format!("it gave {}", names.join(", ")),
            })
        })
    }

    /// Whether nothing of it runs any more.
    pub fn is_over(&self) -> bool {
        self.status != RunStatus::Running
    }

    /// The run's end as a result: which step failed, and why.
    pub fn outcome(&self) -> Result<()> {
        let why = || {
            let failed = self.steps.iter().find(|step| step.status == StepStatus::Failed);
            let step =
                failed.and_then(|step| Some(format!("step '{}': {}", step.step, step.error.as_deref()?)));
            step.or_else(|| self.error.clone()).unwrap_or_else(|| "no reason was recorded".to_owned())
        };
        match self.status {
            RunStatus::Succeeded => Ok(()),
            RunStatus::Running => Err(Error::unavailable(format!("run {} still runs", self.id))),
            RunStatus::Failed => Err(Error::failed(format!("run {} failed: {}", self.id, why()))),
            RunStatus::Cancelled => Err(Error::cancelled(format!("run {} was cancelled", self.id))),
        }
    }
}

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RunEvent {
    StepStarted { run: String, step: Name },
    Log { run: String, step: Name, line: String },
    StepFinished { run: String, step: Name, status: StepStatus, error: Option<String>, milliseconds: u64 },
    RunFinished { run: String, status: RunStatus, error: Option<String> },
}

impl RunEvent {
    /// The run in which it happened.
    pub fn run_id(&self) -> &str {
        match self {
            RunEvent::StepStarted { run, .. }
            | RunEvent::Log { run, .. }
            | RunEvent::StepFinished { run, .. }
            | RunEvent::RunFinished { run, .. } => run,
        }
    }

    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        matches!(self, RunEvent::RunFinished { .. })
    }
}

/// An arrow of a run's lineage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageEdge {
    pub from: String,
    pub to: String,
    /// What flowed: a parameter's or an output's name.
    pub what: String,
}

impl PipelineRun {
    /// Which code read what and wrote what.
    pub(crate) fn lineage(&self) -> Vec<LineageEdge> {
        let mut edges = Vec::new();
        for step in &self.steps {
            let node = format!("step {}", step.step);
            if let Some(component) = &step.component {
                let export = step.export.clone().unwrap_or_default();
                edges.push(LineageEdge {
                    from: format!("component {component}"),
                    to: node.clone(),
                    what: export,
                });
            }
            for (name, digest) in artifacts(&step.inputs) {
                edges.push(LineageEdge { from: digest.to_string(), to: node.clone(), what: name });
            }
            for (name, digest) in artifacts(&step.outputs) {
                edges.push(LineageEdge { from: node.clone(), to: digest.to_string(), what: name });
            }
            if let (Some(Value::String(model)), Some(version)) =
                (step.outputs.get("model"), step.outputs.get("version"))
            {
                edges.push(LineageEdge {
                    from: node,
                    to: format!("models:/{model}/{version}"),
                    what: "registered".to_owned(),
                });
            }
        }
        edges
    }
}

/// The values that are digests.
fn artifacts(values: &IndexMap<String, Value>) -> impl Iterator<Item = (String, Digest)> {
    values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse().ok()?)))
}
