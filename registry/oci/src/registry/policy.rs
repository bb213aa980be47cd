use std::collections::BTreeSet;

use eyot_core::{Digest, Error, Period, Result, Timestamp, read_stored, write_stored};
use eyot_meta::sql;
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::stored_policy::{StoredPolicy, StoredRequirement};
use super::{Registry, milliseconds};
use crate::attestation::{self, AttestedManifest, BUNDLE_TYPE, PublicKey, SIGNATURE_PREDICATE};
use crate::manifest::Manifest;
use crate::route::ManifestRef;
use crate::tree::FileTree;
use eyot_core::glob;

/// The attestations that manifests of some repositories need before they are tagged or deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SignaturePolicy {
    /// Which repositories, `*` standing for any text.
    pub repository: String,
    /// All of them must be met.
    pub require: Vec<PolicyRequirement>,
}

/// One kind of statement, signed with enough of the keys that are trusted with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyRequirement {
    /// The in-toto predicate type of the statement.
    #[serde(default = "default_predicate")]
    pub predicate: String,
    /// Public keys in PEM.
    pub keys: Vec<String>,
    /// How many of the keys must have signed such a statement.
    #[serde(default = "default_threshold")]
    pub threshold: usize,
    /// How old a statement may be; none for any age. Its age counts from the time of signing that it states, or from its
    /// push, whichever is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
}

fn default_predicate() -> String {
    SIGNATURE_PREDICATE.to_owned()
}

fn default_threshold() -> usize {
    1
}

/// Statements of one manifest that are verified: whoever may push could add any number.
const MAX_STATEMENT_COUNT: u32 = 200;

impl SignaturePolicy {
    /// Fails with `Invalid` for a policy that nothing could meet, or that requires nothing.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| {
            Error::invalid(format!("the policy for '{}' {what}", self.repository))
                .hint("eyot policy set 'acme/*' --key release.pub --threshold 1")
        };
        if self.repository.is_empty() {
            return Err(wrong("is for no repository".to_owned()));
        }
        if self.require.is_empty() {
            return Err(wrong("asks for nothing".to_owned()));
        }
        for requirement in &self.require {
            let keys: BTreeSet<_> = requirement
                .keys
                .iter()
                .map(|key| PublicKey::from_pem(key)?.fingerprint())
                .collect::<Result<_>>()?;
            let (wanted, there) = (requirement.threshold, keys.len());
            if wanted == 0 || wanted > there {
                return Err(wrong(format!("wants {wanted} of {there} different keys")));
            }
        }
        Ok(())
    }
}

impl From<SignaturePolicy> for StoredPolicy {
    fn from(SignaturePolicy { repository, require }: SignaturePolicy) -> Self {
        let require = require.into_iter().map(|PolicyRequirement { predicate, keys, threshold, max_age }| {
            StoredRequirement { predicate, keys, threshold, max_age }
        });
        Self { repository, require: require.collect() }
    }
}

impl From<StoredPolicy> for SignaturePolicy {
    fn from(StoredPolicy { repository, require }: StoredPolicy) -> Self {
        let require = require.into_iter().map(|StoredRequirement { predicate, keys, threshold, max_age }| {
            PolicyRequirement { predicate, keys, threshold, max_age }
        });
        Self { repository, require: require.collect() }
    }
}

/// The bundle of a statement, and when it was pushed.
struct DatedBundle {
    bundle: bytes::Bytes,
    since: i64,
}

impl Registry {
    /// Every policy, by the pattern of repositories.
    pub async fn policies(&self) -> Result<Vec<SignaturePolicy>> {
        let rows = sql("SELECT policy FROM registry_policies ORDER BY repository");
        let rows = rows.fetch_all(&self.0.db).await?;
        rows.iter()
            .map(|row| {
                let text: String = row.get("policy")?;
                read_stored::<StoredPolicy>(&text).map(SignaturePolicy::from)
            })
            .collect()
    }

    /// Replaces the policy of the same pattern. What is tagged and deployed already stays so.
    pub async fn set_policy(&self, policy: &SignaturePolicy) -> Result<()> {
        policy.check()?;
        let text = write_stored(&StoredPolicy::from(policy.clone()))?;
        let mut tx = self.0.db.begin().await?;
        sql(
            "INSERT INTO registry_policies (repository, policy, updated_at) VALUES ($1, $2, $3) \
             ON CONFLICT (repository) DO UPDATE SET policy = excluded.policy, updated_at = excluded.updated_at",
        )
        .bind(&policy.repository)
        .bind(&text)
        .bind(self.now())
        .execute(&mut tx)
        .await?;
        let digest = Digest::of(&text).to_string();
        self.audit(&mut tx, "policy.set", &policy.repository, json!({ "digest": digest }));
        tx.commit().await
    }

    /// Removes a policy.
    ///
    /// Fails with `NotFound` when there is none for that pattern.
    pub async fn remove_policy(&self, repository: &str) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let removed = sql("DELETE FROM registry_policies WHERE repository = $1").bind(repository);
        let removed = removed.execute(&mut tx).await?;
        if removed == 0 {
            return Err(Error::not_found(format!("there is no policy for '{repository}'"))
                .hint("eyot policy show lists them"));
        }
        self.audit(&mut tx, "policy.removed", repository, json!({}));
        tx.commit().await
    }

    /// Checks that a manifest may be deployed. The statements of a mirrored one are fetched from its upstream.
    ///
    /// Fails with `Denied`, naming the policy, what is missing and the digest.
    pub async fn check_policy(&self, repository: &str, digest: &Digest) -> Result<()> {
        if let Some(upstream) = self.upstream(repository) {
            upstream.fetch_referrers(self, repository, &(*digest).into()).await?;
        }
        self.check_local_policy(repository, digest).await
    }

    /// The same with local statements alone, before a tag names the manifest.
    pub(crate) async fn check_local_policy(&self, repository: &str, digest: &Digest) -> Result<()> {
        let policies = self.policies().await?;
        let mut known = None;
        for policy in policies.iter().filter(|policy| glob::matches(&policy.repository, repository)) {
            let (attested, statements) = match &known {
                Some(known) => known,
                None => known.insert((
                    self.attested(repository, digest).await?,
                    self.statements(repository, digest).await?,
                )),
            };
            for requirement in &policy.require {
                check_requirement(policy, requirement, repository, (attested, statements), self.now())?;
            }
        }
        Ok(())
    }

    /// A manifest as the subject of statements; one that is not here yet has no files that they could list.
    async fn attested(&self, repository: &str, digest: &Digest) -> Result<AttestedManifest> {
        let stored = self.local_manifest(repository, &ManifestRef::Digest((*digest).into())).await?;
        let mut files = FileTree::default();
        if let Some(manifest) = stored.and_then(|stored| Manifest::parse(&stored.bytes).ok()) {
            let config = match FileTree::config(&manifest) {
                Some(ContentDigest::Sha256(config)) => Some(self.read_small(&config).await?),
                _ => None,
            };
            files = FileTree::of(&manifest, config.as_deref()).unwrap_or_default();
        }
        Ok(AttestedManifest { digest: *digest, files })
    }

    async fn statements(&self, repository: &str, digest: &Digest) -> Result<Vec<DatedBundle>> {
        let rows = sql(
            "SELECT digest, created_at FROM manifests WHERE repository = $1 AND subject = $2 AND artifact_type = $3 \
             ORDER BY created_at DESC LIMIT $4",
        )
        .bind(repository)
        .bind(digest.to_string())
        .bind(BUNDLE_TYPE)
        .bind(MAX_STATEMENT_COUNT);
        let mut found = Vec::new();
        for row in rows.fetch_all(&self.0.db).await? {
            let signature: Digest = row.get::<String>("digest")?.parse()?;
            let target = ManifestRef::Digest(signature.into());
            let Some(stored) = self.local_manifest(repository, &target).await? else { continue };
            let Ok(manifest) = Manifest::parse(&stored.bytes) else { continue };
            let [layer] = manifest.layers.as_slice() else { continue };
            let (ContentDigest::Sha256(blob), true) =
                (layer.digest, layer.size <= attestation::MAX_BUNDLE_BYTES)
            else {
                continue;
            };
            if let Some(upstream) = self.upstream(repository) {
                upstream.clone().blob(self, repository, &layer.digest).await?;
            }
            let bundle = self.read_small(&blob).await?;
            found.push(DatedBundle { bundle, since: row.get("created_at")? });
        }
        Ok(found)
    }
}

/// Fails with `Denied` unless enough of a requirement's keys have signed its statement about a manifest.
fn check_requirement(
    policy: &SignaturePolicy,
    requirement: &PolicyRequirement,
    repository: &str,
    (attested, statements): (&AttestedManifest, &[DatedBundle]),
    now: i64,
) -> Result<()> {
    let keys = requirement.keys.iter().map(|key| PublicKey::from_pem(key)).collect::<Result<Vec<_>>>()?;
    let oldest = requirement.max_age.map_or(i64::MIN, |age| now - milliseconds(age.0));
    let (mut signers, mut too_old) = (BTreeSet::new(), 0);
    for statement in statements {
        // An invalid one counts as missing: whoever may push could add such.
        let Ok(checked) = attestation::verify(&statement.bundle, attested, &keys) else { continue };
        if checked.predicate_type != requirement.predicate {
            continue;
        }
        let since = checked.signed_at.map_or(statement.since, |Timestamp(said)| said.min(statement.since));
        if since < oldest {
            too_old += 1;
        } else {
            signers.extend(checked.keys);
        }
    }
    let (wanted, there, digest) = (requirement.threshold, signers.len(), attested.digest);
    if there >= wanted {
        return Ok(());
    }
    let older = match too_old {
        0 => String::new(),
        count => {
            format!(", and {count} older than {}", requirement.max_age.unwrap_or(Period(Default::default())))
        }
    };
    Err(Error::denied(format!(
        "the policy for '{}' wants {wanted} of {} keys to say {} of {repository}@{digest}: {there} did{older}",
        policy.repository,
        keys.len(),
        requirement.predicate,
    ))
    .hint(format!("push it by its digest, then eyot sign {repository}@{digest} --key FILE, then tag it; eyot push --key does all three")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn policies_of_every_version_are_read() {
        let of = |file: &str| SignaturePolicy::from(read_stored::<StoredPolicy>(file).unwrap());
        let newest = of(include_str!("stored_policy/policy-1.json"));
        assert_eq!(of(include_str!("stored_policy/policy-0.json")), newest);
        assert_eq!((newest.require.len(), newest.require[1].threshold), (2, 2));
        let written = write_stored(&StoredPolicy::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored_policy/policy-1.json").trim_end());
    }
}
