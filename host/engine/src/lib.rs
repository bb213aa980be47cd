//! The wasmtime host: compiles components once, instantiates them in microseconds, gives them what
//! they were granted and nothing else, and turns whatever they do wrong into an error.
//!
//! Two configurations of wasmtime live side by side. Handlers run on the *serving* one: pooled
//! instances, native floating point. Steps run on the *hermetic* one: clocks that stand, seeded
//! randomness, canonical NaNs, so that the same step on the same inputs writes the same bytes.

mod background_executor;
mod cache;
mod capabilities;
mod command;
mod component;
mod engine;
mod execution_mode;
mod fault;
mod fault_history;
mod files;
mod functions;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod granted_capabilities;
mod guest;
mod handler;
mod hermetic;
mod http_component;
mod idle_pool;
mod instances;
mod limits;
mod logs;
mod memory;
mod pool;
mod profile;
mod program;
mod reflect;
mod seal;
mod step;
mod step_clock;
mod stores;
#[cfg(test)]
mod tests;
mod throttle;
mod unoffered;

pub use background_executor::BackgroundExecutor;
pub use capabilities::{grant_flags, provider};
pub use command::CommandCall;
pub use component::Component;
pub use engine::{Engine, EngineOptions};
pub use execution_mode::ExecutionMode;
pub use files::OutputLimits;
pub use functions::{CallArguments, CallOptions, CompletedCall, FunctionReply, JsonFunctions};
pub use granted_capabilities::{GrantedCapabilities, HttpDestination};
pub use guest::{GuestGrants, InferenceUsage};
pub use handler::{HandlerOutput, PredictionHandler};
pub use http_component::{HttpComponent, StreamedBody};
pub use instances::{FailureCause, InstancePolicy, InstanceStats};
pub use limits::InstanceLimits;
pub use logs::{NullSink, ReportSink, StandardStream};
pub use memory::{HeldMemory, HostMemory};
pub use program::{PreopenedDirectory, ProgramCall};
pub use step::{OutputArtifact, StepCall, StepResult};
pub use stores::{KeyValueStore, SqlConnection, SqlDatabase, SqlRows, SqlValue, StatementLimits};
pub use throttle::ThrottledSink;

/// The version of what a step can observe of this host: part of every cache key. It rises when the
/// same component on the same inputs could write other bytes than before.
pub const SEMANTICS: &str = "eyot-steps/4 wasmtime/48";
