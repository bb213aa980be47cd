//! The doors: from a connection to a request's work, and from what came of it to an answer.

mod answers;
mod body;
mod docs;
mod functions;
mod grpc;
mod predict;
mod receiving;
mod repository;
mod rest;
mod router;
mod routes;
pub(crate) mod server;
mod web;

#[cfg(any(test, fuzzing))]
pub(crate) use grpc::{check_message_boundaries, grpc_timeout};
