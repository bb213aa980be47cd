//! The registry: names for content. Manifests of the OCI image specification over the blob store, the
//! distribution API for other tools, and a client that speaks it.

mod access;
mod answer;
mod archive;
mod cache;
mod chunks;
mod client;
mod component_config;
mod dataset;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod glob;
mod layout;
mod manifest;
mod mirror;
mod model;
mod place;
#[cfg(test)]
mod properties;
mod registry;
mod release;
mod sbom;
mod scope;
mod server;
mod short_lived_token;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod transport;
mod tree;
mod trust;
mod unpack;
mod world;

pub use access::{Caller, LocalSecret};
pub use archive::{Moved, export, import};
pub use client::{Client, Fetched, Pushed};
pub use dataset::Travelled;
pub use manifest::{
    ArtifactKind, Built, DataLayer, Descriptor, IMAGE_MANIFEST, Manifest, component_manifest, model_manifest,
    model_manifest_with,
};
pub use model::DataPath;
pub use registry::{
    Collection, Entry, LogEntry, Mode, Policy, Registry, Removed, Requirement, Resolved, Scrub, Settings,
    Usage,
};
pub use release::{Part, Recipe, Release, differences};
pub use sbom::{SBOM, sbom};
pub use scope::{Action, Scope};
pub use server::{authenticate, router};
pub use tls::Trust;
pub use tokens::{Minted, Token};
pub use transport::Transport;
pub use trust::{Attached, LISTED, PrivateKey, PublicKey, SIGNED, Vouched, bundle_manifest, sign};
