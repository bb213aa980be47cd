use std::collections::BTreeSet;

use eyot_core::{Digest, Error, Period, Result, Timestamp, read_stored, write_stored};
use eyot_meta::fail;
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::log::{Entry, record};
use super::stored_policy::{StoredPolicy, StoredRequirement};
use super::{Registry, milliseconds, now};
use crate::glob;
use crate::manifest::Manifest;
use crate::place::Target;
use crate::tree::Tree;
use crate::trust::{self, BUNDLE, Held, PublicKey, SIGNED};

/// Who must vouch for what some repositories hold, before a tag names it and before it is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Which repositories, `*` standing for any text.
    pub repository: String,
    /// Everything that is wanted.
    pub require: Vec<Requirement>,
}

/// One kind of statement, by enough of those who are trusted with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Requirement {
    /// What the statement says: a predicate type of in-toto.
    #[serde(default = "signed")]
    pub predicate: String,
    /// Public keys in PEM.
    pub keys: Vec<String>,
    /// How many of the keys must have signed such a statement.
    #[serde(default = "one")]
    pub threshold: usize,
    /// How old a statement may be; none for any age. Its age counts from the time that it says, or from
    /// when it came here, whichever is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
}

fn signed() -> String {
    SIGNED.to_owned()
}

fn one() -> usize {
    1
}

/// Statements of one manifest that are looked at: whoever may push could add any number.
const STATEMENTS: u32 = 200;

impl Policy {
    /// Fails with `Invalid` for a policy that nothing could meet, or that asks for nothing.
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

impl From<Policy> for StoredPolicy {
    fn from(Policy { repository, require }: Policy) -> Self {
        let require = require.into_iter().map(|Requirement { predicate, keys, threshold, max_age }| {
            StoredRequirement { predicate, keys, threshold, max_age }
        });
        Self { repository, require: require.collect() }
    }
}

impl From<StoredPolicy> for Policy {
    fn from(StoredPolicy { repository, require }: StoredPolicy) -> Self {
        let require = require.into_iter().map(|StoredRequirement { predicate, keys, threshold, max_age }| {
            Requirement { predicate, keys, threshold, max_age }
        });
        Self { repository, require: require.collect() }
    }
}

/// A statement of a manifest, and how old it is.
struct Statement {
    bundle: bytes::Bytes,
    since: i64,
}

impl Registry {
    /// Every policy, by the pattern of repositories.
    pub async fn policies(&self) -> Result<Vec<Policy>> {
        let rows = sqlx::query("SELECT policy FROM registry_policies ORDER BY repository");
        let rows = rows.fetch_all(self.0.db.pool()).await.map_err(fail)?;
        rows.iter()
            .map(|row| {
                let text: String = row.try_get("policy").map_err(fail)?;
                read_stored::<StoredPolicy>(&text).map(Policy::from)
            })
            .collect()
    }

    /// Puts a policy in the place of the one for the same pattern. What is tagged and deployed already
    /// stays so.
    pub async fn set_policy(&self, policy: &Policy, actor: &str) -> Result<()> {
        policy.check()?;
        let text = write_stored(&StoredPolicy::from(policy.clone()))?;
        let mut tx = self.0.db.begin().await?;
        sqlx::query(
            "INSERT INTO registry_policies (repository, policy, updated_at) VALUES (?, ?, ?) \
             ON CONFLICT (repository) DO UPDATE SET policy = excluded.policy, updated_at = excluded.updated_at",
        )
        .bind(&policy.repository)
        .bind(&text)
        .bind(now())
        .execute(&mut *tx)
        .await
        .map_err(fail)?;
        let digest = Digest::of(&text).to_string();
        let entry = Entry {
            actor,
            action: "policy",
            repository: &policy.repository,
            reference: "set",
            digest: &digest,
        };
        record(&mut tx, entry).await?;
        tx.commit().await
    }

    /// Takes a policy away.
    ///
    /// Fails with `NotFound` when there is none for that pattern.
    pub async fn remove_policy(&self, repository: &str, actor: &str) -> Result<()> {
        let mut tx = self.0.db.begin().await?;
        let removed = sqlx::query("DELETE FROM registry_policies WHERE repository = ?").bind(repository);
        let removed = removed.execute(&mut *tx).await.map_err(fail)?;
        if removed.rows_affected() == 0 {
            return Err(Error::not_found(format!("there is no policy for '{repository}'"))
                .hint("eyot policy show lists them"));
        }
        record(&mut tx, Entry { actor, action: "policy", repository, reference: "removed", digest: "" })
            .await?;
        tx.commit().await
    }

    /// Lets a manifest be deployed, if those vouch for it who must. Of a mirrored one the upstream is asked
    /// who does.
    ///
    /// Fails with `Denied`, naming the rule, what is missing and the digest.
    pub async fn check_policy(&self, repository: &str, digest: &Digest) -> Result<()> {
        if let Some(upstream) = self.upstream(repository) {
            upstream.fetch_referrers(self, repository, &(*digest).into()).await?;
        }
        self.check_own_policy(repository, digest).await
    }

    /// The same by what is here already, before a tag names the manifest.
    pub(crate) async fn check_own_policy(&self, repository: &str, digest: &Digest) -> Result<()> {
        let policies = self.policies().await?;
        let mut known = None;
        for policy in policies.iter().filter(|policy| glob::matches(&policy.repository, repository)) {
            let (held, statements) = match &known {
                Some(known) => known,
                None => known.insert((
                    self.held(repository, digest).await?,
                    self.statements(repository, digest).await?,
                )),
            };
            for requirement in &policy.require {
                vouched(policy, requirement, repository, held, statements)?;
            }
        }
        Ok(())
    }

    /// A manifest that statements are about; one that is not here yet holds nothing that they could list.
    async fn held(&self, repository: &str, digest: &Digest) -> Result<Held> {
        let stored = self.local_manifest(repository, &Target::Digest((*digest).into())).await?;
        let mut files = Tree::default();
        if let Some(manifest) = stored.and_then(|stored| Manifest::parse(&stored.bytes).ok()) {
            let config = match Tree::config(&manifest) {
                Some(ContentDigest::Sha256(config)) => Some(self.small(&config).await?),
                _ => None,
            };
            files = Tree::of(&manifest, config.as_deref()).unwrap_or_default();
        }
        Ok(Held { digest: *digest, files })
    }

    async fn statements(&self, repository: &str, digest: &Digest) -> Result<Vec<Statement>> {
        let rows = sqlx::query(
            "SELECT digest, created_at FROM manifests WHERE repository = ? AND subject = ? AND artifact_type = ? \
             ORDER BY created_at DESC LIMIT ?",
        )
        .bind(repository)
        .bind(digest.to_string())
        .bind(BUNDLE)
        .bind(STATEMENTS);
        let mut found = Vec::new();
        for row in rows.fetch_all(self.0.db.pool()).await.map_err(fail)? {
            let signature: Digest = row.try_get::<String, _>("digest").map_err(fail)?.parse()?;
            let target = Target::Digest(signature.into());
            let Some(stored) = self.local_manifest(repository, &target).await? else { continue };
            let Ok(manifest) = Manifest::parse(&stored.bytes) else { continue };
            let [layer] = manifest.layers.as_slice() else { continue };
            let (ContentDigest::Sha256(blob), true) = (layer.digest, layer.size <= trust::LARGEST) else {
                continue;
            };
            if let Some(upstream) = self.upstream(repository) {
                upstream.clone().blob(self, repository, &layer.digest).await?;
            }
            let bundle = self.small(&blob).await?;
            found.push(Statement { bundle, since: row.try_get("created_at").map_err(fail)? });
        }
        Ok(found)
    }
}

/// Whether enough of a requirement's keys say of a manifest what they must.
fn vouched(
    policy: &Policy,
    requirement: &Requirement,
    repository: &str,
    held: &Held,
    statements: &[Statement],
) -> Result<()> {
    let keys = requirement.keys.iter().map(|key| PublicKey::from_pem(key)).collect::<Result<Vec<_>>>()?;
    let oldest = requirement.max_age.map_or(i64::MIN, |age| now() - milliseconds(age.0));
    let (mut signers, mut too_old) = (BTreeSet::new(), 0);
    for statement in statements {
        // What is no good is as if it were not there: anybody who may push could add such.
        let Ok(checked) = trust::check(&statement.bundle, held, &keys) else { continue };
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
    let (wanted, there, digest) = (requirement.threshold, signers.len(), held.digest);
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
        let of = |file: &str| Policy::from(read_stored::<StoredPolicy>(file).unwrap());
        let newest = of(include_str!("stored_policy/policy-1.json"));
        assert_eq!(of(include_str!("stored_policy/policy-0.json")), newest);
        assert_eq!((newest.require.len(), newest.require[1].threshold), (2, 2));
        let written = write_stored(&StoredPolicy::from(newest)).unwrap();
        assert_eq!(written, include_str!("stored_policy/policy-1.json").trim_end());
    }
}
