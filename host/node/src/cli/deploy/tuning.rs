//! The flags of `eyot deploy` that say how models run and instances are kept.

use clap::Args;
use eyot_core::Period;
use eyot_core::config::{BackendChoice, Optimization, Precision, Target, Tolerance};
use eyot_deploy::InferenceOverrides;
use serde::de::DeserializeOwned;

/// How models run. What is not said is as the server's configuration has it.
#[derive(Debug, Args)]
#[command(next_help_heading = "How models run")]
pub(crate) struct TuningOptions {
    /// The back end: onnxruntime, openvino or tract [default: the first that takes the model].
    #[arg(long, value_name = "NAME", value_parser = word::<BackendChoice>)]
    backend: Option<BackendChoice>,
    /// What computes: cpu, gpu or tpu [default: cpu].
    #[arg(long, value_name = "NAME", value_parser = word::<Target>)]
    target: Option<Target>,
    /// How exactly: f32, bf16 or int8; lower than f32 only if outputs on examples stay within the
    /// tolerance [default: f32].
    #[arg(long, value_name = "NAME", value_parser = word::<Precision>)]
    precision: Option<Precision>,
    /// How far outputs at a lower precision may be from those at f32, as a part of the largest
    /// [default: 0.02].
    #[arg(long, value_name = "PART", requires = "precision")]
    tolerance: Option<Tolerance>,
    /// Threads inside of one inference [default: inference.intra-threads].
    #[arg(long, value_name = "NUMBER")]
    intra_threads: Option<usize>,
    /// Whether those threads spin while they wait [default: inference.spinning].
    #[arg(long, value_name = "BOOL")]
    spinning: Option<bool>,
    /// Whether the memory of one inference is kept for the next [default: inference.arena].
    #[arg(long, value_name = "BOOL")]
    arena: Option<bool>,
    /// How far the graph may be rewritten: off, basic, extended or all [default: inference.optimization].
    #[arg(long, value_name = "NAME", value_parser = word::<Optimization>)]
    optimization: Option<Optimization>,
    /// Rows that calls of different requests are joined up to, if a row is sure to get what it would get
    /// alone; 1 joins none [default: inference.max-batch].
    #[arg(long, value_name = "NUMBER")]
    max_batch: Option<usize>,
    /// How long a call may wait for others to join it when a thread is free, as in 200us [default:
    /// inference.max-delay].
    #[arg(long, value_name = "TIME")]
    max_delay: Option<Period>,
    /// Keeps the weights in memory whatever else is asked for.
    #[arg(long)]
    pin: bool,
    /// Requests that one instance of the component serves; 1 is a fresh one each [default: handlers.reuse].
    #[arg(long, value_name = "NUMBER")]
    reuse: Option<u64>,
}

/// One of an option's words; which there are is said where it is none.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| error.to_string())
}

impl TuningOptions {
    pub(crate) fn inference(&self) -> InferenceOverrides {
        InferenceOverrides {
            backend: self.backend,
            target: self.target,
            precision: self.precision,
            tolerance: self.tolerance,
            intra_threads: self.intra_threads,
            spinning: self.spinning,
            arena: self.arena,
            optimization: self.optimization,
            max_batch: self.max_batch,
            max_delay: self.max_delay,
            pin: self.pin.then_some(true),
            reuse: self.reuse,
        }
    }
}
