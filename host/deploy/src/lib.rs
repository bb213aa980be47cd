//! Deployments: a named endpoint, and the revisions that served under it.
//!
//! A revision pins everything by digest. It is staged (loaded, checked, probed) before anything is
//! written, written before it serves, and served only when written: whenever the process dies, what
//! a restart restores is either the old revision or the new one, whole.

mod deployments;
mod inference;
mod records;
mod revision;
mod route;
mod stored;
#[cfg(test)]
mod tests;
mod traffic;

pub use deployments::{DataPlane, Deployments, StagedRevision};
pub use inference::InferenceOverrides;
pub use revision::{
    Deployment, DeploymentState, PinnedArtifact, PinnedData, Revision, RevisionGrants, RevisionLimits,
    RevisionSpec,
};
pub use route::{PathMatch, Route};
pub use traffic::{Shadow, Traffic};
