//! End-to-end tests: the real binary, the wire, real guests.

#![allow(clippy::unwrap_used)]

mod cli;
mod clients;
mod crash;
mod developing;
mod digits;
mod examples;
mod functions;
mod guests;
mod input;
mod registry;
mod shutdown;
mod templates;
mod web;
mod world;
