//! End-to-end tests: the real binary, the wire, real guests.

#![allow(clippy::unwrap_used)]

mod abuse;
mod access;
mod batch;
mod cli;
mod clients;
mod connections;
mod crash;
mod crash_registry;
mod data_folders;
mod developing;
mod digits;
mod disk_full;
mod estimators;
mod examples;
mod files;
mod functions;
mod guard;
mod guests;
mod input;
mod javascript;
mod joining;
mod linking;
mod overlap;
mod plain;
mod programs;
mod python_errors;
mod registry;
mod registry_clients;
mod registry_policy;
mod shapes;
mod shutdown;
mod signatures;
mod soak;
mod spin2;
mod starting;
mod stores;
mod templates;
mod threads;
mod tuning;
mod web;
mod weights;
mod world;
