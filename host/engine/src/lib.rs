//! The wasmtime host: compiles components once, instantiates them in microseconds, gives them what
//! they were granted and nothing else, and turns whatever they do wrong into an error.
//!
//! Two configurations of wasmtime live side by side. Handlers run on the *serving* one: pooled
//! instances, native floating point. Steps run on the *hermetic* one: clocks that stand, seeded
//! randomness, canonical NaNs, so that the same step on the same inputs writes the same bytes.

mod cache;
mod component;
mod engine;
mod fault;
mod guest;
mod handler;
mod hermetic;
mod host;
mod instances;
mod limits;
mod logs;
mod reflect;
mod step;
#[cfg(test)]
mod tests;

pub use component::Component;
pub use engine::{Engine, Mode, Options};
pub use guest::{Grants, Spent};
pub use handler::{Answer, Handler};
pub use instances::{Cause, Census, Instances};
pub use limits::Limits;
pub use logs::{Discard, Sink, Stream};
pub use step::{Artifact, Outcome, StepCall};

/// The version of what a step can observe of this host: part of every cache key. It rises when the
/// same component on the same inputs could write other bytes than before.
pub const SEMANTICS: &str = "eyot-steps/1 wasmtime/48";
