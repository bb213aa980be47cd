//! The registry's own routes: usage, signature policies, the audit log.

use eyot_core::Result;
use eyot_meta::{AuditEntry, AuditState};
use eyot_oci::{CollectionMode, CollectionReport, QuotaUsage, ScrubReport, SignaturePolicy};

use super::{ApiClient, escape};
use crate::registry::CollectRequest;

impl ApiClient {
    /// What repositories may hold, and what they hold of it.
    pub async fn usage(&self) -> Result<Vec<QuotaUsage>> {
        self.get("/api/v1/registry/usage").await
    }

    /// Every signature policy.
    pub async fn policies(&self) -> Result<Vec<SignaturePolicy>> {
        self.get("/api/v1/registry/policies").await
    }

    pub async fn set_policy(&self, policy: &SignaturePolicy) -> Result<SignaturePolicy> {
        self.put("/api/v1/registry/policies", policy).await
    }

    pub async fn remove_policy(&self, repository: &str) -> Result<()> {
        let repository = escape(repository);
        self.delete(&format!("/api/v1/registry/policies?repository={repository}")).await
    }

    /// Collects the registry's garbage, or says what a collection would remove.
    pub async fn collect_garbage(&self, mode: CollectionMode) -> Result<CollectionReport> {
        self.post("/api/v1/registry/collections", &CollectRequest { mode }).await
    }

    /// Hashes every blob of the registry again.
    pub async fn scrub(&self) -> Result<ScrubReport> {
        self.post("/api/v1/registry/scrubs", &()).await
    }

    /// The project's audit log after an entry, oldest first: as many as one answer holds, none at the end.
    pub async fn audit(&self, after: i64) -> Result<Vec<AuditEntry>> {
        self.get(&format!("/api/v1/audit?after={after}")).await
    }

    /// Where the project's audit log stands.
    pub async fn audit_state(&self) -> Result<AuditState> {
        self.get("/api/v1/audit/state").await
    }
}
