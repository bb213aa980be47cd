use axum::extract::State;
use eyot_access::Caller;
use eyot_core::{Clock as _, Error, Permission, ProjectName, Result, SystemClock};
use eyot_oci::{
    CollectionMode, CollectionReport, QuotaUsage, RegistryEntry, ResolvedArtifact, ScrubReport,
    SignaturePolicy,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::ApiServices;
use crate::answer::{ApiResult, JsonBody, QueryParameters};
use crate::artifacts::ArtifactLookup;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

const POLICIES_RULE: AccessRule = AccessRule::Needs(Permission::PolicyManage);
const COLLECT_RULE: AccessRule = AccessRule::Needs(Permission::GarbageCollect);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let quotas = AccessRule::Needs(Permission::QuotaRead);
    RuledRoutes::new(services)
        .path("/api/v1/artifacts", |path| path.get(AccessRule::EachRepository, list))
        .path("/api/v1/artifacts/resolve", |path| path.get(AccessRule::EachRepository, resolve))
        .path("/api/v1/registry/collections", |path| path.post(COLLECT_RULE, collect_garbage))
        .path("/api/v1/registry/scrubs", |path| path.post(COLLECT_RULE, scrub))
        .path("/api/v1/registry/usage", |path| path.get(quotas, usage))
        .path("/api/v1/registry/policies", |path| {
            path.get(POLICIES_RULE, policies)
                .put(POLICIES_RULE, set_policy)
                .delete(POLICIES_RULE, remove_policy)
        })
}

/// What the caller may pull of the project.
async fn list(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<Vec<RegistryEntry>> {
    let mut entries = services.registry.list().await?;
    entries.retain(|entry| {
        caller.project_of(&entry.repository) == project && caller.may_pull(&entry.repository)
    });
    Ok(axum::Json(entries))
}

#[derive(Deserialize)]
struct ByReference {
    reference: Option<String>,
}

async fn resolve(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    QueryParameters(query): QueryParameters<ByReference>,
) -> ApiResult<ResolvedArtifact> {
    let text = query.reference.ok_or_else(|| Error::invalid("the query parameter 'reference' is missing"))?;
    let lookup = ArtifactLookup { services: &services, caller: &caller, project: &project };
    Ok(axum::Json(lookup.find(&text).await?))
}

/// What a collection is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectRequest {
    pub(crate) mode: CollectionMode,
}

async fn collect_garbage(
    State(services): State<ApiServices>,
    JsonBody(CollectRequest { mode }): JsonBody<CollectRequest>,
) -> ApiResult<CollectionReport> {
    Ok(axum::Json(services.registry.collect(mode).await?))
}

async fn scrub(State(services): State<ApiServices>) -> ApiResult<ScrubReport> {
    Ok(axum::Json(services.registry.scrub(SystemClock.now().0, &CancellationToken::new()).await?))
}

/// Quotas and policies are of the whole registry: an admin of a project manages them as long as there is only
/// that project, then an owner does.
pub(crate) fn require_whole_registry(
    services: &ApiServices,
    caller: &Caller,
    project: &ProjectName,
) -> Result<()> {
    match project.is_default() && services.access.is_only_default() {
        true => Ok(()),
        false => caller.require(Permission::ProjectManage, project),
    }
}

async fn usage(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<Vec<QuotaUsage>> {
    require_whole_registry(&services, &caller, &project)?;
    Ok(axum::Json(services.registry.usage().await?))
}

async fn policies(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<Vec<SignaturePolicy>> {
    require_whole_registry(&services, &caller, &project)?;
    Ok(axum::Json(services.registry.policies().await?))
}

async fn set_policy(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    JsonBody(policy): JsonBody<SignaturePolicy>,
) -> ApiResult<SignaturePolicy> {
    require_whole_registry(&services, &caller, &project)?;
    services.registry.set_policy(&policy).await?;
    Ok(axum::Json(policy))
}

#[derive(Deserialize)]
struct ByRepository {
    repository: String,
}

async fn remove_policy(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    QueryParameters(ByRepository { repository }): QueryParameters<ByRepository>,
) -> ApiResult<()> {
    require_whole_registry(&services, &caller, &project)?;
    Ok(axum::Json(services.registry.remove_policy(&repository).await?))
}
