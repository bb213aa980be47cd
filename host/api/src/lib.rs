//! The control plane: Eyot's REST API under `/api/v1`, the registry under `/v2`, and the client that
//! speaks both.

mod answer;
mod client;
mod deployments;
mod front;
mod log_lines;
mod logs;
mod models;
mod registry;
mod routes;
mod runs;
mod server;
mod services;

pub use client::Client;
pub use deployments::DeployRequest;
pub use log_lines::{LogLine, Logs};
pub use runs::{Lineage, SubmitRequest, Submitted};
pub use server::{BUFFERS, router, serve};
pub use services::{ServerInfo, Services};
