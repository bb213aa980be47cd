use std::collections::BTreeMap;

use eyot_core::config::{BackendChoice, Optimization, Precision, Target, Tolerance};
use eyot_core::{Error, Period, Result};
use serde::{Deserialize, Serialize};

/// How one revision's models are loaded and run, and its instances kept. What is not said is as the
/// server's configuration has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InferenceOverrides {
    /// Which back end; without one, the first of the server that takes the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendChoice>,
    /// What computes. A target that is not there is an error, never a quiet fall-back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How exactly; lower than f32 only within `tolerance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// How far outputs at a lower precision may be from those at f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
    /// Threads inside of one inference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intra_threads: Option<usize>,
    /// Whether those threads spin while they wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spinning: Option<bool>,
    /// Whether the memory of one inference is kept for the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena: Option<bool>,
    /// How far the graph may be rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization: Option<Optimization>,
    /// Rows that calls of different requests are joined up to; 1 joins none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch: Option<usize>,
    /// How long a call may wait for others to join it when a thread is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Period>,
    /// Whether the weights stay in memory whatever else is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<bool>,
    /// Calls that one instance of the component serves; 1 is a fresh one for every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuse: Option<u64>,
}

impl InferenceOverrides {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Fails with `Invalid` for what could never answer.
    pub(crate) fn check(&self) -> Result<()> {
        let zeros = [
            ("intra-threads", self.intra_threads == Some(0)),
            ("max-batch", self.max_batch == Some(0)),
            ("reuse", self.reuse == Some(0)),
        ];
        if let Some((name, _)) = zeros.iter().find(|(_, zero)| *zero) {
            return Err(Error::invalid(format!("{name} is 0")).hint(format!("{name} must be more than 0")));
        }
        if self.tolerance.is_some() && matches!(self.precision, None | Some(Precision::F32)) {
            return Err(Error::invalid("a tolerance is stated, and no precision lower than f32")
                .hint("ask for one with --precision bf16, or leave the tolerance out"));
        }
        Ok(())
    }

    /// What is said, by name: `precision=bf16`.
    pub fn said(&self) -> BTreeMap<String, String> {
        let Ok(serde_json::Value::Object(said)) = serde_json::to_value(self) else { return BTreeMap::new() };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        said.into_iter().map(|(name, value)| (name, text(value))).collect()
    }
}
