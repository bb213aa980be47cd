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

pub use deployments::{Deployments, Host, Staged};
pub use inference::Inference;
pub use revision::{Deployment, Grants, Limits, Pinned, PinnedData, Revision, Spec, State};
pub use route::{Matched, Route};
pub use traffic::{Shadow, Traffic};
