//! Another registry whose repositories are served from here. The registry asks it through this trait and knows no
//! implementation: what fills a registry from an upstream stands above it.

use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::Result;
use eyot_store::ContentDigest;

use super::{HeldBlob, Registry, StoredManifest};
use crate::route::ManifestRef;

/// A manifest of an upstream, and what must be said of it.
pub(crate) struct UpstreamManifest {
    pub(crate) manifest: Arc<StoredManifest>,
    /// Why it may not be what the upstream has now.
    pub(crate) warning: Option<String>,
}

/// A page of an upstream's tags.
pub(crate) struct TagPage {
    pub(crate) tags: Vec<String>,
    pub(crate) has_more: bool,
}

/// A registry whose repositories are served from here. What it hands out is in the given registry from then on.
#[async_trait]
pub(crate) trait UpstreamRegistry: Send + Sync {
    /// Whether a repository of that name here is one of the upstream's.
    fn serves(&self, repository: &str) -> bool;

    /// A manifest: the one that is here, if it must be the right one, or the upstream's.
    ///
    /// Fails with `Denied` for a repository that is not mirrored, with `NotFound` when the upstream has no such
    /// manifest.
    async fn manifest(
        &self,
        registry: &Registry,
        repository: &str,
        target: &ManifestRef,
    ) -> Result<UpstreamManifest>;

    /// A blob: the one that is here, or the upstream's. Fetching goes on when whoever asked goes away.
    async fn blob(
        self: Arc<Self>,
        registry: &Registry,
        repository: &str,
        digest: &ContentDigest,
    ) -> Result<Option<HeldBlob>>;

    /// Tags of the upstream's repository after `last`, up to `most`.
    ///
    /// Fails with `Unavailable` or `Timeout` when it is down.
    async fn tags(&self, repository: &str, last: Option<&str>, most: u32) -> Result<TagPage>;

    /// Fetches what refers to a manifest at the upstream; answers a warning when it cannot be asked, so that what is
    /// here is all there is.
    async fn fetch_referrers(
        &self,
        registry: &Registry,
        repository: &str,
        subject: &ContentDigest,
    ) -> Result<Option<String>>;
}
