use axum::extract::{Path, State};
use eyot_core::{Clock as _, Error, Permission, Reference, SystemClock, Timestamp};
use eyot_oci::{
    AccessScope, AccessToken, CollectionMode, CollectionReport, CreatedToken, LogEntry, QuotaUsage,
    RegistryEntry, ResolvedArtifact, ScrubReport, SignaturePolicy,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::ApiServices;
use crate::answer::{ApiResult, JsonBody, QueryParameters};
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

const TOKENS_RULE: AccessRule = AccessRule::Needs(Permission::TokenManage);
const POLICIES_RULE: AccessRule = AccessRule::Needs(Permission::PolicyManage);
const COLLECT_RULE: AccessRule = AccessRule::Needs(Permission::GarbageCollect);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let (audit, quotas) =
        (AccessRule::Needs(Permission::AuditRead), AccessRule::Needs(Permission::QuotaRead));
    RuledRoutes::new(services)
        .path("/api/v1/artifacts", |path| path.get(AccessRule::EachRepository, list))
        .path("/api/v1/artifacts/resolve", |path| path.get(AccessRule::EachRepository, resolve))
        .path("/api/v1/registry/collections", |path| path.post(COLLECT_RULE, collect_garbage))
        .path("/api/v1/registry/scrubs", |path| path.post(COLLECT_RULE, scrub))
        .path("/api/v1/registry/tokens", |path| path.get(TOKENS_RULE, tokens).post(TOKENS_RULE, create_token))
        .path("/api/v1/registry/tokens/{name}", |path| path.delete(TOKENS_RULE, revoke_token))
        .path("/api/v1/registry/log", |path| path.get(audit, log))
        .path("/api/v1/registry/usage", |path| path.get(quotas, usage))
        .path("/api/v1/registry/policies", |path| {
            path.get(POLICIES_RULE, policies)
                .put(POLICIES_RULE, set_policy)
                .delete(POLICIES_RULE, remove_policy)
        })
}

/// What the caller may pull.
async fn list(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
) -> ApiResult<Vec<RegistryEntry>> {
    let mut entries = services.registry.list().await?;
    entries.retain(|entry| caller.may_pull(&entry.repository));
    Ok(axum::Json(entries))
}

#[derive(Deserialize)]
struct ByReference {
    reference: Option<String>,
}

async fn resolve(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
    QueryParameters(query): QueryParameters<ByReference>,
) -> ApiResult<ResolvedArtifact> {
    let text = query.reference.ok_or_else(|| Error::invalid("the query parameter 'reference' is missing"))?;
    let target = match text.strip_prefix("models:/") {
        Some(model) => {
            caller.require(Permission::ModelRead)?;
            services.tracking.resolve_model(model).await?.source
        }
        None => text,
    };
    let target: Reference = target.parse()?;
    // Before it is looked up: who may not pull it learns nothing of whether it is there.
    caller.require_pull(&target.repository)?;
    Ok(axum::Json(services.registry.artifact(&target).await?))
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

async fn tokens(State(services): State<ApiServices>) -> ApiResult<Vec<AccessToken>> {
    Ok(axum::Json(services.registry.tokens().await?))
}

/// A token to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) name: String,
    pub(crate) scopes: Vec<AccessScope>,
    #[serde(default)]
    pub(crate) expires: Option<Timestamp>,
}

async fn create_token(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
    JsonBody(request): JsonBody<TokenRequest>,
) -> ApiResult<CreatedToken> {
    let TokenRequest { name, scopes, expires } = request;
    Ok(axum::Json(services.registry.create_token_for(&caller, &name, scopes, expires).await?))
}

async fn revoke_token(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    Ok(axum::Json(services.registry.revoke_token_for(&caller, &name).await?))
}

#[derive(Deserialize)]
struct LogPageQuery {
    #[serde(default)]
    after: i64,
}

/// Entries of the log in one answer.
const MAX_PAGE_ENTRIES: u32 = 1000;

async fn log(
    State(services): State<ApiServices>,
    QueryParameters(LogPageQuery { after }): QueryParameters<LogPageQuery>,
) -> ApiResult<Vec<LogEntry>> {
    Ok(axum::Json(services.registry.log(after, MAX_PAGE_ENTRIES).await?))
}

async fn usage(State(services): State<ApiServices>) -> ApiResult<Vec<QuotaUsage>> {
    Ok(axum::Json(services.registry.usage().await?))
}

async fn policies(State(services): State<ApiServices>) -> ApiResult<Vec<SignaturePolicy>> {
    Ok(axum::Json(services.registry.policies().await?))
}

async fn set_policy(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
    JsonBody(policy): JsonBody<SignaturePolicy>,
) -> ApiResult<SignaturePolicy> {
    services.registry.set_policy(&policy, &caller.actor()).await?;
    Ok(axum::Json(policy))
}

#[derive(Deserialize)]
struct ByRepository {
    repository: String,
}

async fn remove_policy(
    State(services): State<ApiServices>,
    RequestCaller(caller): RequestCaller,
    QueryParameters(ByRepository { repository }): QueryParameters<ByRepository>,
) -> ApiResult<()> {
    Ok(axum::Json(services.registry.remove_policy(&repository, &caller.actor()).await?))
}
