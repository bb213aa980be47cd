//! The audit log: who did what, or was not let do it. Each project has its own, a hash chain: every entry is hashed
//! together with the one before it, so that an entry that is changed or taken out breaks the chain. Entries are written
//! in the transaction that makes true what they tell.

use std::net::IpAddr;

use eyot_core::{Digest, Error, ProjectName, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::origin::{RequestOrigin, SERVER_ACTOR};
use crate::{Database, Event, SqlRow, sql};

/// How an entry is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditFormat {
    /// As entries are written.
    #[serde(rename = "eyot.audit/1")]
    Audit1,
    /// Of the registry's log, which the log of the project `default` goes on from.
    #[serde(rename = "eyot-registry-log-1")]
    RegistryLog1,
}

impl AuditFormat {
    fn as_str(self) -> &'static str {
        match self {
            Self::Audit1 => "eyot.audit/1",
            Self::RegistryLog1 => "eyot-registry-log-1",
        }
    }
}

/// Whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Done,
    Denied,
}

impl AuditOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
        }
    }
}

/// What an entry is to say; who did it is known from where the work comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditAction {
    pub project: ProjectName,
    /// `deployment.changed`, `artifact.pushed`, …: of what, and what was done to it.
    pub action: String,
    /// The name or id of what it was done to.
    pub object: String,
    pub outcome: AuditOutcome,
    /// What else there is to say.
    pub detail: serde_json::Value,
}

impl AuditAction {
    /// Something that is done.
    pub fn done(project: &ProjectName, action: &str, object: &str, detail: serde_json::Value) -> Self {
        let (action, object) = (action.to_owned(), object.to_owned());
        Self { project: project.clone(), action, object, outcome: AuditOutcome::Done, detail }
    }

    pub(crate) fn of(event: &Event) -> Self {
        Self::done(&event.project, &event.topic, &event.subject, event.payload.clone())
    }
}

/// An entry of a project's audit log.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    pub format: AuditFormat,
    pub project: ProjectName,
    /// 1 for the first of the project, then without gaps.
    pub id: i64,
    pub at: Timestamp,
    /// `user:NAME`, `service:NAME`, `token:NAME`, `anonymous`, `local` for who owns the data folder, and `server` for the
    /// server itself. Behind a user or a service is the token that was shown: `user:ana token:laptop`.
    pub actor: String,
    pub action: String,
    pub object: String,
    pub outcome: AuditOutcome,
    /// JSON, byte for byte as it was hashed.
    pub detail: Box<RawValue>,
    /// Names the request, as its answer does.
    pub request_id: String,
    /// Where the request came from; empty for what the server does by itself.
    pub address: String,
    /// The sha256 of the entry before and of all other fields of this one.
    pub hash: String,
}

impl AuditEntry {
    /// Its hash, if it follows an entry with the hash `previous`; the empty string before the first.
    ///
    /// The hash is over a JSON array: no field's text can be taken for the next field.
    pub fn chained(&self, previous: &str) -> String {
        let format = self.format.as_str();
        let fields = match self.format {
            AuditFormat::Audit1 => serde_json::json!([
                format,
                previous,
                self.project,
                self.id,
                self.at.0,
                self.actor,
                self.action,
                self.object,
                self.outcome.as_str(),
                self.detail.get(),
                self.request_id,
                self.address,
            ]),
            AuditFormat::RegistryLog1 => {
                let detail: RegistryDetail = serde_json::from_str(self.detail.get()).unwrap_or_default();
                serde_json::json!([
                    format,
                    previous,
                    self.id,
                    self.at.0,
                    self.actor,
                    self.action,
                    self.object,
                    detail.reference,
                    detail.digest,
                ])
            }
        };
        Digest::of(fields.to_string()).hex()
    }

    /// Checks that this entry follows one with the number and hash that are given.
    ///
    /// Fails with `Corrupt` naming the entry.
    pub fn check(&self, after: i64, previous: &str) -> Result<()> {
        let Self { id, project, .. } = self;
        if *id != after + 1 {
            return Err(Error::corrupt(format!(
                "the audit log of project '{project}' goes on with entry {id} after entry {after}: some are missing"
            )));
        }
        if self.chained(previous) != self.hash {
            return Err(Error::corrupt(format!(
                "entry {id} of the audit log of project '{project}', or the one before it, was changed"
            )));
        }
        Ok(())
    }
}

/// What the registry's log had in columns of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryDetail {
    digest: String,
    reference: String,
}

/// From whom an entry is.
#[derive(Clone, Debug)]
pub(crate) struct AuditSource {
    actor: String,
    request_id: String,
    address: String,
}

impl AuditSource {
    /// Of the work of this task.
    pub(crate) fn current() -> Self {
        match RequestOrigin::current() {
            None => {
                Self { actor: SERVER_ACTOR.to_owned(), request_id: String::new(), address: String::new() }
            }
            Some(origin) => Self {
                actor: origin.actor().to_owned(),
                request_id: origin.request_id().to_owned(),
                address: origin.address.as_ref().map(IpAddr::to_string).unwrap_or_default(),
            },
        }
    }

    /// The entry that follows one with the number and the hash.
    pub(crate) fn entry(&self, action: AuditAction, at: Timestamp, last: (i64, &str)) -> Result<AuditEntry> {
        let detail = serde_json::value::to_raw_value(&action.detail)
            .map_err(|error| Error::internal("a detail has no JSON").because(error))?;
        let mut entry = AuditEntry {
            format: AuditFormat::Audit1,
            project: action.project,
            id: last.0 + 1,
            at,
            actor: self.actor.clone(),
            action: action.action,
            object: action.object,
            outcome: action.outcome,
            detail,
            request_id: self.request_id.clone(),
            address: self.address.clone(),
            hash: String::new(),
        };
        entry.hash = entry.chained(last.1);
        Ok(entry)
    }
}

impl AuditEntry {
    pub(crate) fn insert(self) -> crate::SqlStatement {
        let insert = sql(
            "INSERT INTO audit_entries (project, id, format, at, actor, action, object, outcome, detail, \
             request_id, address, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        );
        let insert =
            insert.bind(self.project.as_str()).bind(self.id).bind(self.format.as_str()).bind(self.at.0);
        let insert = insert.bind(self.actor).bind(self.action).bind(self.object).bind(self.outcome.as_str());
        insert.bind(self.detail.get()).bind(self.request_id).bind(self.address).bind(self.hash)
    }
}

/// Where a project's audit log stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    pub entries: i64,
    /// The hash of the last entry: it stands for all. Empty where there is none.
    pub head: String,
}

/// Entries that are read at once when a log is checked.
const PAGE_ENTRIES: u32 = 1000;

/// A project's audit log that is in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedAudit {
    pub project: ProjectName,
    pub entries: i64,
    /// The hash of the last entry: it stands for all.
    pub head: String,
}

impl Database {
    /// Up to `limit` entries of a project's audit log after the one numbered `after`, oldest first.
    pub async fn audit(&self, project: &ProjectName, after: i64, limit: u32) -> Result<Vec<AuditEntry>> {
        let page = sql(
            "SELECT project, id, format, at, actor, action, object, outcome, detail, request_id, address, hash \
             FROM audit_entries WHERE project = $1 AND id > $2 ORDER BY id LIMIT $3",
        );
        let page = page.bind(project.as_str()).bind(after).bind(limit).fetch_all(self).await?;
        page.iter().map(read).collect()
    }

    /// Where a project's audit log stands.
    pub async fn audit_state(&self, project: &ProjectName) -> Result<AuditState> {
        let row = sql("SELECT audit_id, audit_hash FROM streams WHERE name = $1").bind(project.as_str());
        let Some(row) = row.fetch_optional(self).await? else { return Ok(AuditState::default()) };
        Ok(AuditState { entries: row.get("audit_id")?, head: row.get("audit_hash")? })
    }

    /// Writes an entry by itself: that something was not allowed, for one, which changes nothing else.
    pub async fn append_audit(&self, action: AuditAction) -> Result<()> {
        let mut tx = self.begin().await?;
        tx.audit(action);
        tx.commit().await
    }

    /// Checks the audit log of every project.
    ///
    /// Fails with `Corrupt` naming the first entry that was changed or is missing, the last ones too.
    pub async fn check_audit(&self) -> Result<Vec<CheckedAudit>> {
        let mut all = Vec::new();
        for row in sql("SELECT name FROM streams ORDER BY name").fetch_all(self).await? {
            let project: ProjectName = row.get::<String>("name")?.parse()?;
            // Read first: there may be more entries by the time that they are read, and not fewer.
            let state = self.audit_state(&project).await?;
            let checked = self.check_project_audit(project).await?;
            if checked.entries < state.entries {
                return Err(Error::corrupt(format!(
                    "the audit log of project '{}' ends with entry {}, and had {}: the last ones are missing",
                    checked.project, checked.entries, state.entries
                )));
            }
            all.push(checked);
        }
        Ok(all)
    }

    async fn check_project_audit(&self, project: ProjectName) -> Result<CheckedAudit> {
        let mut checked = CheckedAudit { project, entries: 0, head: String::new() };
        loop {
            let page = self.audit(&checked.project, checked.entries, PAGE_ENTRIES).await?;
            if page.is_empty() {
                return Ok(checked);
            }
            for entry in page {
                entry.check(checked.entries, &checked.head)?;
                (checked.entries, checked.head) = (entry.id, entry.hash);
            }
        }
    }
}

fn read(row: &SqlRow) -> Result<AuditEntry> {
    let text = |name: &str| row.get::<String>(name);
    let unknown = |what: &str| Error::corrupt(format!("an entry of the audit log has no known {what}"));
    let format = match text("format")?.as_str() {
        "eyot.audit/1" => AuditFormat::Audit1,
        "eyot-registry-log-1" => AuditFormat::RegistryLog1,
        _ => return Err(unknown("format").hint("a newer Eyot wrote it: read it with that one")),
    };
    let outcome = match text("outcome")?.as_str() {
        "done" => AuditOutcome::Done,
        "denied" => AuditOutcome::Denied,
        _ => return Err(unknown("outcome")),
    };
    Ok(AuditEntry {
        format,
        project: text("project")?.parse()?,
        id: row.get("id")?,
        at: Timestamp(row.get("at")?),
        actor: text("actor")?,
        action: text("action")?,
        object: text("object")?,
        outcome,
        detail: RawValue::from_string(text("detail")?)
            .map_err(|error| Error::corrupt("a detail of the audit log is no JSON").because(error))?,
        request_id: text("request_id")?,
        address: text("address")?,
        hash: text("hash")?,
    })
}
