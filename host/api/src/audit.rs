//! The audit log of a project.

use axum::extract::State;
use eyot_access::Caller;
use eyot_core::{Permission, ProjectName, Result};
use eyot_meta::{AuditEntry, AuditState};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{ApiResult, QueryParameters};
use crate::registry::require_whole_registry;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// Entries that one answer has at most.
pub(crate) const MAX_PAGE_ENTRIES: u32 = 1000;

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let rule = AccessRule::Needs(Permission::AuditRead);
    RuledRoutes::new(services)
        .path("/api/v1/audit", |path| path.get(rule, entries))
        .path("/api/v1/audit/state", |path| path.get(rule, state))
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuditPageQuery {
    /// The entry after which the answer begins.
    after: i64,
}

/// The log of the project `default` tells of the whole installation as well: of users, projects and garbage. Where there
/// are other projects it takes an owner to read it.
fn require_log_of(services: &ApiServices, caller: &Caller, project: &ProjectName) -> Result<()> {
    if project.is_default() { require_whole_registry(services, caller, project) } else { Ok(()) }
}

async fn entries(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    QueryParameters(AuditPageQuery { after }): QueryParameters<AuditPageQuery>,
) -> ApiResult<Vec<AuditEntry>> {
    require_log_of(&services, &caller, &project)?;
    Ok(axum::Json(services.access.audit(&project, after, MAX_PAGE_ENTRIES).await?))
}

async fn state(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<AuditState> {
    require_log_of(&services, &caller, &project)?;
    Ok(axum::Json(services.access.audit_state(&project).await?))
}
