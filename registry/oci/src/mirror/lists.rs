//! What an upstream lists: its tags, and what refers to a manifest.

use std::collections::BTreeSet;

use eyot_core::{Error, ErrorKind, Result};
use eyot_store::ContentDigest;
use http::Method;
use serde::Deserialize;

use super::{MAX_MANIFEST_BYTES, RegistryMirror};
use crate::manifest::{IMAGE_INDEX, Manifest};
use crate::registry::{Registry, TagPage, UpstreamRegistry as _, milliseconds, referrers_tag};
use crate::response::{next_page_path, read_body, stale_warning};
use crate::route::ManifestRef;

/// Referrers of one manifest that are fetched: whoever may push to the upstream could add any number.
const MAX_REFERRER_COUNT: usize = 200;

#[derive(Deserialize)]
struct TagListDocument {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// What an index of the upstream lists.
fn entries(index: &[u8]) -> Result<BTreeSet<ContentDigest>> {
    let index = Manifest::parse(index).map_err(|error| error.with_kind(ErrorKind::Unavailable))?;
    Ok(index.manifests.iter().map(|entry| entry.digest).take(MAX_REFERRER_COUNT).collect())
}

impl RegistryMirror {
    pub(super) async fn list_tags(&self, repository: &str, last: Option<&str>, most: u32) -> Result<TagPage> {
        let name = self.upstream_name(repository)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &most.to_string())
            .extend_pairs(last.map(|last| ("last", last)))
            .finish();
        let path = format!("/v2/{name}/tags/list?{query}");
        let response = self.upstream.request(Method::GET, name, &path, "application/json").await?;
        let more = next_page_path(response.headers()).is_some();
        let bytes = read_body(response.into_body(), MAX_MANIFEST_BYTES).await?;
        let listed: TagListDocument = serde_json::from_slice(&bytes).map_err(|error| {
            Error::unavailable(format!("{} lists tags as nobody can read them", self.config.upstream))
                .because(error)
        })?;
        let mut tags = listed.tags.unwrap_or_default();
        let whole = tags.len();
        tags.truncate(most as usize);
        Ok(TagPage { has_more: more || tags.len() < whole, tags })
    }

    pub(super) async fn fetch_missing_referrers(
        &self,
        registry: &Registry,
        repository: &str,
        subject: &ContentDigest,
    ) -> Result<Option<String>> {
        let name = self.upstream_name(repository)?;
        let key = format!("{repository} referrers {subject}");
        let is_fresh = || {
            registry.now() < self.compared.get(&key).unwrap_or_default() + milliseconds(self.config.fresh.0)
        };
        let _turn = self.lock_key(&key).await;
        if is_fresh() {
            return Ok(None);
        }
        let brought = match self.list_referrers(name, subject).await {
            Ok(found) => self.fetch_manifests(registry, repository, found).await,
            // Registries without this API list them under a tag.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match self.manifest(registry, repository, &ManifestRef::Tag(referrers_tag(subject))).await {
                    Ok(list) => {
                        self.fetch_manifests(registry, repository, entries(&list.manifest.bytes)?).await
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        match brought {
            Ok(()) => {
                let epoch = self.compared.epoch();
                self.compared.insert(epoch, key, registry.now(), 1);
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), repository, %subject, "an upstream's referrers are not seen");
                Ok(Some(stale_warning(&error)))
            }
        }
    }

    /// What the upstream says refers to a manifest.
    async fn list_referrers(&self, name: &str, subject: &ContentDigest) -> Result<BTreeSet<ContentDigest>> {
        let mut found = BTreeSet::new();
        let mut next = Some(format!("/v2/{name}/referrers/{subject}"));
        while let Some(path) = next {
            let response = self.upstream.request(Method::GET, name, &path, IMAGE_INDEX).await?;
            let after = next_page_path(response.headers()).filter(|after| *after != path);
            let page = entries(&read_body(response.into_body(), MAX_MANIFEST_BYTES).await?)?;
            let before = found.len();
            found.extend(page.into_iter().take(MAX_REFERRER_COUNT - before));
            // An upstream whose pages never end says nothing new.
            next = after.filter(|_| found.len() > before && found.len() < MAX_REFERRER_COUNT);
        }
        Ok(found)
    }

    async fn fetch_manifests(
        &self,
        registry: &Registry,
        repository: &str,
        found: BTreeSet<ContentDigest>,
    ) -> Result<()> {
        for digest in found {
            match self.manifest(registry, repository, &ManifestRef::Digest(digest)).await {
                // It was deleted meanwhile, or is something that is not taken in.
                Err(error) if !matches!(error.kind(), ErrorKind::Timeout) => {
                    tracing::debug!(error = %error.chain(), %digest, "a referrer is not brought here");
                }
                brought => drop(brought?),
            }
        }
        Ok(())
    }
}
