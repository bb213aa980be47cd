//! The registry: names for content. Manifests of the OCI image specification over the blob store, the
//! distribution API for other tools, and a client that speaks it.

mod answer;
mod client;
mod layout;
mod manifest;
mod registry;
mod server;
#[cfg(test)]
mod tests;
mod transport;
mod uploads;

pub use client::{Client, Pushed};
pub use manifest::{ArtifactKind, Built, Descriptor, Manifest, component_manifest, model_manifest};
pub use registry::{Entry, Registry, Resolved};
pub use server::router;
pub use transport::Transport;
