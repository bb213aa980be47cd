//! Who vouches for what.

/// The artifact type of a signature: a Sigstore bundle.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
