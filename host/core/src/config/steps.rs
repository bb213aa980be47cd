use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteCount, Period};

/// Limits of one step run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepSettings {
    /// Linear memory of one step.
    pub memory: ByteCount,
    /// Wall time of one step, where the pipeline does not say.
    pub timeout: Period,
    /// Resource handles that one step may hold.
    pub handles: usize,
    /// Bytes that one step may write: into artifacts, and as a command under /out.
    pub output: ByteCount,
    /// Files, folders and links that a command may leave under /out.
    pub output_files: u64,
    /// Steps that run at the same time; 0 is one for each processor.
    pub parallel: usize,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self {
            memory: ByteCount(2 << 30),
            timeout: Period(Duration::from_secs(3600)),
            handles: 100_000,
            output: ByteCount(16 << 30),
            output_files: 100_000,
            parallel: 0,
        }
    }
}
