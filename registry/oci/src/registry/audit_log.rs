use eyot_core::ProjectName;
use eyot_meta::{AuditAction, Transaction};
use serde_json::{Value, json};

use super::Registry;

impl Registry {
    /// Says in the audit log of a repository's project what is done to it, in the transaction that makes it true.
    pub(super) fn audit(&self, tx: &mut Transaction, action: &str, repository: &str, detail: Value) {
        let project = self.0.access.project_of(repository);
        tx.audit(AuditAction::done(&project, action, repository, detail));
    }
}

/// Says what is done to a blob's bytes, which are of no project.
pub(super) fn audit_blob(tx: &mut Transaction, action: &str, digest: &str) {
    tx.audit(AuditAction::done(&ProjectName::default(), action, digest, json!({})));
}
