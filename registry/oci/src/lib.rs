//! The registry: names for content. Manifests of the OCI image specification over the blob store, the
//! distribution API for other tools, and a client that speaks it.

mod archive;
mod attestation;
mod chunks;
mod client;
mod component_config;
mod dataset;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod layout;
mod manifest;
mod mirror;
mod model;
#[cfg(test)]
mod properties;
mod registry;
mod release;
mod response;
mod route;
mod sbom;
mod server;
#[cfg(test)]
mod tests;
mod transport;
mod tree;
mod unpack;
mod world;

pub use archive::{TransferStats, export, import};
pub use attestation::{
    AttachedStatement, FILE_LIST_PREDICATE, PrivateKey, PublicKey, SIGNATURE_PREDICATE, VerifiedSignature,
    bundle_manifest, sign,
};
pub use client::{FetchedManifest, PushedArtifact, RegistryClient};
pub use dataset::DatasetTransfer;
pub use manifest::{
    ArtifactKind, BuiltManifest, DataLayer, Descriptor, IMAGE_MANIFEST, Manifest, component_manifest,
    model_manifest, model_manifest_with,
};
pub use model::DataPath;
pub use registry::{
    BackupSource, BlobPin, CollectionMode, CollectionReport, HeldSnapshot, PolicyRequirement, QuotaUsage,
    Registry, RegistryEntry, RegistrySettings, ResolvedArtifact, RetiredEntry, ScrubReport, SignaturePolicy,
    read_pins, recorded_blobs,
};
pub use release::{Release, ReleasePart, ReleaseSpec, differences};
pub use sbom::{SBOM_PREDICATE, sbom};
pub use server::router;
pub use transport::Transport;
