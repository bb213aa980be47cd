use eyot_core::{Digest, Error, Result};
use eyot_meta::sql;
use eyot_store::ContentDigest;
use serde_json::Value;

use super::Registry;
use crate::manifest::{Descriptor, Manifest};
use crate::route::ManifestRef;

/// A page of a manifest's referrers.
#[derive(Debug)]
pub(crate) struct ReferrerPage {
    pub(crate) descriptors: Vec<Value>,
    /// Where the next page goes on; none after the last.
    pub(crate) next: Option<String>,
}

/// A manifest as the referrers API lists it.
pub(crate) fn referrer_descriptor(
    manifest: &Manifest,
    media_type: &str,
    digest: ContentDigest,
    size: u64,
) -> Result<String> {
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        artifact_type: manifest.kind_of_artifact().map(str::to_owned),
        annotations: manifest.annotations.clone(),
        urls: Vec::new(),
    };
    serde_json::to_string(&descriptor)
        .map_err(|error| Error::internal("a descriptor has no JSON form").because(error))
}

/// The tag under which referrers are listed where there is no API for them.
pub(crate) fn referrers_tag(subject: &ContentDigest) -> String {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or_default();
    format!("{algorithm}-{}", hex.get(..64).unwrap_or(hex))
}

impl Registry {
    /// Up to `most` manifests of a repository whose subject is `subject`, after the one named `last`,
    /// and of one type, if it is given.
    pub(crate) async fn referrers(
        &self,
        repository: &str,
        subject: &ContentDigest,
        artifact_type: Option<&str>,
        last: &str,
        most: u32,
    ) -> Result<ReferrerPage> {
        let other_name = self.sha256_of(subject).await?.map(|digest| digest.to_string());
        let rows = sql(
            "SELECT digest, descriptor FROM manifests WHERE repository = $1 AND subject IN ($2, $3) AND digest > $4 \
             AND ($5 = '' OR artifact_type = $6) AND descriptor IS NOT NULL ORDER BY digest LIMIT $7",
        )
        .bind(repository)
        .bind(subject.to_string())
        .bind(other_name.unwrap_or_default())
        .bind(last)
        .bind(artifact_type.unwrap_or_default())
        .bind(artifact_type.unwrap_or_default())
        .bind(most.saturating_add(1))
        .fetch_all(&self.0.db)
        .await?;
        let more = rows.len() > most as usize;
        let mut page = ReferrerPage { descriptors: Vec::new(), next: None };
        for row in rows.iter().take(most as usize) {
            page.descriptors.push(parse(&row.get::<String>("descriptor")?)?);
            page.next = more.then(|| row.get("digest")).transpose()?;
        }
        if last.is_empty() {
            let listed = self.listed_under_a_tag(repository, subject).await?;
            let wanted = |kind: Option<&str>| artifact_type.is_none_or(|wanted| kind == Some(wanted));
            page.descriptors
                .extend(listed.into_iter().filter(|entry| wanted(entry["artifactType"].as_str())));
        }
        Ok(page)
    }

    /// Referrers that clients listed under the tag `sha256-…` of a registry without this API, and that were copied here
    /// with it. Those that name their subject themselves are found by that.
    async fn listed_under_a_tag(&self, repository: &str, subject: &ContentDigest) -> Result<Vec<Value>> {
        let tag = referrers_tag(subject);
        let query = "SELECT 1 FROM tags WHERE repository = $1 AND tag = $2";
        let row = sql(query).bind(repository).bind(&tag).fetch_optional(&self.0.db).await?;
        if row.is_none() {
            return Ok(Vec::new());
        }
        let stored = self.manifest(repository, &ManifestRef::Tag(tag)).await?;
        let Ok(index) = Manifest::parse(&stored.bytes) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in &index.manifests {
            let Some(digest) = self.sha256_of(&entry.digest).await? else { continue };
            let query =
                "SELECT descriptor FROM manifests WHERE repository = $1 AND digest = $2 AND subject IS NULL";
            let row = sql(query).bind(repository).bind(digest.to_string());
            if row.fetch_optional(&self.0.db).await?.is_some() {
                let text = serde_json::to_string(entry)
                    .map_err(|error| Error::internal("no JSON").because(error))?;
                found.push(parse(&text)?);
            }
        }
        Ok(found)
    }

    /// Records the subjects of manifests that were stored before the registry listed referrers.
    pub(super) async fn list_older_manifests(&self) -> Result<()> {
        let rows = sql("SELECT repository, digest, media_type FROM manifests WHERE descriptor IS NULL");
        let rows = rows.fetch_all(&self.0.db).await?;
        for row in rows {
            let (repository, digest): (String, String) = (row.get("repository")?, row.get("digest")?);
            let media_type: String = row.get("media_type")?;
            let blob: Digest = digest.parse()?;
            // One that is damaged stays unlisted until it is pushed again.
            let Ok(bytes) = self.0.store.get(&blob).await else { continue };
            let Ok(manifest) = Manifest::parse(&bytes) else { continue };
            let mut tx = self.0.db.begin().await?;
            let query = "UPDATE manifests SET subject = $1, artifact_type = $2, descriptor = $3, bytes = $4 WHERE repository = $5 AND digest = $6";
            sql(query)
                .bind(manifest.subject.as_ref().map(|subject| subject.digest.to_string()))
                .bind(manifest.kind_of_artifact())
                .bind(referrer_descriptor(&manifest, &media_type, blob.into(), bytes.len() as u64)?)
                .bind(i64::try_from(bytes.len()).unwrap_or(i64::MAX))
                .bind(&repository)
                .bind(&digest)
                .execute(&mut tx)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

fn parse(descriptor: &str) -> Result<Value> {
    serde_json::from_str(descriptor)
        .map_err(|error| Error::corrupt("a descriptor has no JSON").because(error))
}
