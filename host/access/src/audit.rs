//! Reading the audit log of a project, and writing down what somebody was not let do.

use std::collections::HashMap;
use std::time::Duration;

use eyot_core::{ProjectName, Result, Timestamp};
use eyot_meta::{AuditAction, AuditEntry, AuditOutcome, AuditState, RequestOrigin};
use parking_lot::Mutex;
use serde_json::json;

use crate::caller::Caller;
use crate::store::AccessStore;

/// Denials that are written in one project in one minute, of those who are known and of those who are not: whoever
/// knocks without end fills no disk, and a stranger's knocking hides nobody else's.
const MAX_MINUTE_DENIALS: u64 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// More of a path or a name tells nothing more.
const MAX_OBJECT_CHAR_COUNT: usize = 200;

/// How many denials were written lately.
#[derive(Default)]
pub(crate) struct DenialCounts(Mutex<HashMap<(ProjectName, bool), DenialCount>>);

#[derive(Default)]
struct DenialCount {
    minute: i64,
    written: u64,
    /// Not written, since the last that was.
    left_out: u64,
}

impl DenialCounts {
    /// Whether another one is written, and then how many were left out before it.
    fn take(&self, project: &ProjectName, is_known: bool, now: Timestamp) -> Option<u64> {
        let minute = now.0 / MINUTE.as_millis() as i64;
        let mut counts = self.0.lock();
        let count = counts.entry((project.clone(), is_known)).or_default();
        if count.minute != minute {
            (count.minute, count.written) = (minute, 0);
        }
        if count.written >= MAX_MINUTE_DENIALS {
            count.left_out += 1;
            return None;
        }
        count.written += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

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
        RequestOrigin::default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_written_so_many_a_minute_and_the_others_are_counted() {
        let counts = DenialCounts::default();
        let (project, at) = (ProjectName::default(), |second: i64| Timestamp(second * 1000));
        let take = |is_known, second| counts.take(&project, is_known, at(second));
        for _ in 0..MAX_MINUTE_DENIALS {
            assert_eq!(take(false, 10), Some(0));
        }
        for (is_known, second, expected) in [
            (false, 11, None),
            (false, 59, None),
            // Those who are known are counted by themselves.
            (true, 59, Some(0)),
            (false, 60, Some(2)),
            (false, 61, Some(0)),
            // A clock that goes back begins another minute.
            (false, 5, Some(0)),
        ] {
            assert_eq!(take(is_known, second), expected, "{is_known} {second}");
        }
    }
}
