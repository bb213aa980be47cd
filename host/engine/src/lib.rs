//! The wasmtime host: compiles components once, instantiates them in microseconds, gives them what
//! they were granted and nothing else, and turns whatever they do wrong into an error.
//!
//! Two configurations of wasmtime live side by side. Handlers run on the *serving* one: pooled
//! instances, native floating point. Steps run on the *hermetic* one: clocks that stand, seeded
//! randomness, canonical NaNs, so that the same step on the same inputs writes the same bytes.

mod cache;
mod capabilities;
mod command;
mod component;
mod engine;
mod fault;
mod files;
mod functions;
mod guest;
mod handler;
mod hermetic;
mod instances;
mod lane;
mod limits;
mod logs;
mod memory;
mod plan;
mod pool;
mod profile;
mod program;
mod reach;
mod reflect;
mod seal;
mod shelf;
mod step;
mod step_clock;
mod stores;
mod temper;
#[cfg(test)]
mod tests;
mod throttle;
mod unoffered;
mod web;

pub use capabilities::{grant_flags, provider};
pub use command::CommandCall;
pub use component::Component;
pub use engine::{Engine, Options};
pub use files::OutputLimits;
pub use functions::{Arguments, Called, Functions, Reply, When};
pub use guest::{Grants, Spent};
pub use handler::{Answer, Handler};
pub use instances::{Cause, Census, Instances};
pub use lane::Lane;
pub use limits::Limits;
pub use logs::{Discard, Sink, Stream};
pub use memory::{HeldMemory, HostMemory};
pub use plan::Mode;
pub use program::{Folder, ProgramCall};
pub use reach::{Destination, Reach};
pub use step::{Artifact, Outcome, StepCall};
pub use stores::{Cell, Connection, Database, KeyValue, Rows, StatementLimits};
pub use throttle::Throttle;
pub use web::{Streamed, Web};

/// The version of what a step can observe of this host: part of every cache key. It rises when the
/// same component on the same inputs could write other bytes than before.
pub const SEMANTICS: &str = "eyot-steps/4 wasmtime/48";
