//! Reading the audit log of a project, and writing down what somebody was not let do.

use eyot_core::{ProjectName, Result};
use eyot_meta::{AuditAction, AuditEntry, AuditOutcome, AuditState, RequestOrigin};
use serde_json::json;

use crate::caller::Caller;
use crate::store::AccessStore;

/// More of a path or a name tells nothing more.
const MAX_OBJECT_CHAR_COUNT: usize = 200;

/// Something that somebody was not let do.
#[derive(Debug)]
pub struct Denial<'a> {
    /// Where; what is denied in a project that is not there is written in the project `default`.
    pub project: &'a ProjectName,
    /// `request`, `sign-in`, `endpoint-call`, …
    pub action: &'a str,
    /// What it was about: a method and a path, a name.
    pub object: &'a str,
    /// What they were told.
    pub reason: &'a str,
}

impl AccessStore {
    /// Up to `limit` entries of a project's audit log after the one numbered `after`, oldest first.
    pub async fn audit(&self, project: &ProjectName, after: i64, limit: u32) -> Result<Vec<AuditEntry>> {
        self.0.db.audit(project, after, limit).await
    }

    /// How many entries a project's audit log has, and the hash of the last.
    pub async fn audit_state(&self, project: &ProjectName) -> Result<AuditState> {
        self.0.db.audit_state(project).await
    }

    /// Writes down that a caller was not let do something. That this fails is logged, and changes nothing of what the
    /// caller is answered.
    pub async fn record_denial(&self, caller: &Caller, denial: Denial<'_>) {
        let write = self.write_denial(caller.is_known(), denial);
        if RequestOrigin::current().is_some() {
            return write.await;
        }
        let actor = caller.actor();
        RequestOrigin::new(None, None)
            .scope(async {
                RequestOrigin::set_actor(|| actor);
                write.await;
            })
            .await;
    }

    pub(crate) async fn write_denial(&self, is_known: bool, denial: Denial<'_>) {
        let Denial { project, action, object, reason } = denial;
        let nowhere = ProjectName::default();
        let project = if self.check_project(project).is_ok() { project } else { &nowhere };
        let Some(left_out) = self.0.denials.take(project, is_known, self.now()) else { return };
        let object: String = object.chars().take(MAX_OBJECT_CHAR_COUNT).collect();
        let mut detail = json!({ "reason": reason });
        if left_out > 0 {
            detail["left-out-before"] = left_out.into();
        }
        let denied = AuditAction {
            outcome: AuditOutcome::Denied,
            ..AuditAction::done(project, action, &object, detail)
        };
        if let Err(error) = self.0.db.append_audit(denied).await {
            tracing::warn!(%error, action, "a denial could not be written into the audit log");
        }
    }
}
