//! What an upstream lists: its tags, and what refers to a manifest.

use std::collections::BTreeSet;

use eyot_core::{Error, Kind, Result};
use eyot_store::ContentDigest;
use http::Method;
use serde::Deserialize;

use super::{MANIFEST, Mirror};
use crate::answer::{collect, next_page, stale_warning};
use crate::manifest::{IMAGE_INDEX, Manifest};
use crate::place::Target;
use crate::registry::{Registry, TagPage, UpstreamRegistry as _, milliseconds, now, tag_of};

/// Referrers of one manifest that are brought here: whoever may push to the upstream could add any number.
const REFERRERS: usize = 200;

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// What an index of the upstream lists.
fn entries(index: &[u8]) -> Result<BTreeSet<ContentDigest>> {
    let index = Manifest::parse(index).map_err(|error| error.with_kind(Kind::Unavailable))?;
    Ok(index.manifests.iter().map(|entry| entry.digest).take(REFERRERS).collect())
}

impl Mirror {
    pub(super) async fn list_tags(&self, repository: &str, last: Option<&str>, most: u32) -> Result<TagPage> {
        let name = self.permitted(repository)?;
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &most.to_string())
            .extend_pairs(last.map(|last| ("last", last)))
            .finish();
        let path = format!("/v2/{name}/tags/list?{query}");
        let response = self.upstream.ask(Method::GET, name, &path, "application/json").await?;
        let more = next_page(response.headers()).is_some();
        let bytes = collect(response.into_body(), MANIFEST).await?;
        let listed: Listed = serde_json::from_slice(&bytes).map_err(|error| {
            Error::unavailable(format!("{} lists tags as nobody can read them", self.config.upstream))
                .because(error)
        })?;
        let mut tags = listed.tags.unwrap_or_default();
        let whole = tags.len();
        tags.truncate(most as usize);
        Ok(TagPage { has_more: more || tags.len() < whole, tags })
    }

    pub(super) async fn bring_referrers(
        &self,
        registry: &Registry,
        repository: &str,
        subject: &ContentDigest,
    ) -> Result<Option<String>> {
        let name = self.permitted(repository)?;
        let key = format!("{repository} referrers {subject}");
        let is_fresh = || now() < self.seen.get(&key).unwrap_or_default() + milliseconds(self.config.fresh.0);
        let _turn = self.turn(&key).await;
        if is_fresh() {
            return Ok(None);
        }
        let brought = match self.listed(name, subject).await {
            Ok(found) => self.bring(registry, repository, found).await,
            // Registries without this API have a tag in its place, whose list is read where it came.
            Err(error) if error.kind() == Kind::NotFound => {
                match self.manifest(registry, repository, &Target::Tag(tag_of(subject))).await {
                    Ok(list) => self.bring(registry, repository, entries(&list.manifest.bytes)?).await,
                    Err(error) if error.kind() == Kind::NotFound => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        match brought {
            Ok(()) => {
                let epoch = self.seen.epoch();
                self.seen.insert(epoch, key, now(), 1);
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), repository, %subject, "an upstream's referrers are not seen");
                Ok(Some(stale_warning(&error)))
            }
        }
    }

    /// What the upstream says refers to a manifest.
    async fn listed(&self, name: &str, subject: &ContentDigest) -> Result<BTreeSet<ContentDigest>> {
        let mut found = BTreeSet::new();
        let mut next = Some(format!("/v2/{name}/referrers/{subject}"));
        while let Some(path) = next {
            let response = self.upstream.ask(Method::GET, name, &path, IMAGE_INDEX).await?;
            let after = next_page(response.headers()).filter(|after| *after != path);
            let page = entries(&collect(response.into_body(), MANIFEST).await?)?;
            let before = found.len();
            found.extend(page.into_iter().take(REFERRERS - before));
            // An upstream whose pages never end says nothing new.
            next = after.filter(|_| found.len() > before && found.len() < REFERRERS);
        }
        Ok(found)
    }

    async fn bring(
        &self,
        registry: &Registry,
        repository: &str,
        found: BTreeSet<ContentDigest>,
    ) -> Result<()> {
        for digest in found {
            match self.manifest(registry, repository, &Target::Digest(digest)).await {
                // It was deleted meanwhile, or is something that is not taken in.
                Err(error) if !matches!(error.kind(), Kind::Timeout) => {
                    tracing::debug!(error = %error.chain(), %digest, "a referrer is not brought here");
                }
                brought => drop(brought?),
            }
        }
        Ok(())
    }
}
