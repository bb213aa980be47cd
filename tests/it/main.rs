//! End-to-end tests: the real binary, the wire, real guests.

#![allow(clippy::unwrap_used)]

mod batch;
mod cli;
mod clients;
mod crash;
mod digits;
mod functions;
mod guests;
mod input;
mod registry;
mod shutdown;
mod soak;
mod templates;
mod tuning;
mod web;
mod world;
