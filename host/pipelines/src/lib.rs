//! Pipelines: files that say which steps there are and what flows between them, a planner that rejects
//! everything wrong before anything runs, and an executor that runs what was not run before.

mod cache;
mod command;
mod executor;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod pins;
mod plan;
mod provenance;
mod records;
mod reports;
mod run;
mod runner;
mod state;
mod store;
mod stored;
#[cfg(test)]
mod tests;

pub use command::{CommandSpec, OutputFile};
pub use executor::PipelineExecutor;
pub use file::{InputFiles, component_references, input_files};
pub use plan::{PlanRequest, ResolvedComponent};
pub use provenance::PROVENANCE;
pub use records::{LineageEdge, PipelineRun, RunEvent, RunStatus, StepRun, StepStatus};
pub use runner::{ModelPublisher, StepArtifact, StepOutcome, StepReporter, StepRunner, StepWork};
