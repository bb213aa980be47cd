//! The control plane: Eyot's REST API under `/api/v1`, the registry under `/v2`, and the client that
//! speaks both.

mod answer;
mod artifacts;
mod audit;
mod backups;
mod client;
mod deployments;
mod events;
mod front;
mod idempotency;
mod log_lines;
mod logs;
mod models;
mod projects;
mod registry;
mod routes;
mod runs;
mod server;
mod services;
mod sign_in;
mod tokens;
mod users;

pub use backups::SnapshotNotice;
pub use client::{ApiClient, EventsFrom, SnapshotLease, TokenOptions};
pub use deployments::DeployRequest;
pub use log_lines::{DeploymentLogs, LogLine};
pub use projects::CreatedService;
pub use runs::{RunLineage, SubmitRequest, SubmittedRun};
pub use server::{CONNECTION_BUFFERS, router, serve};
pub use services::{ApiExposure, ApiServices, ServerInfo};
pub use sign_in::FORM_PATHS;
pub use users::CallerInfo;
