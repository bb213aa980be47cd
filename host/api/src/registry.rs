use axum::extract::{Path, Query, State};
use eyot_core::{Clock as _, Error, Permission, Reference, Result, SystemClock, Timestamp};
use eyot_oci::{Collection, Entry, LogEntry, Minted, Mode, Policy, Resolved, Scope, Scrub, Token, Usage};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Json};
use crate::routes::{Caller, Routes, Rule};
use crate::{Client, Services};

const TOKENS: Rule = Rule::Needs(Permission::TokenManage);
const POLICIES: Rule = Rule::Needs(Permission::PolicyManage);
const COLLECTS: Rule = Rule::Needs(Permission::GarbageCollect);

pub(crate) fn routes(services: &Services) -> Routes {
    let (audit, quotas) = (Rule::Needs(Permission::AuditRead), Rule::Needs(Permission::QuotaRead));
    Routes::new(services)
        .path("/api/v1/artifacts", |path| path.get(Rule::EachRepository, list))
        .path("/api/v1/artifacts/resolve", |path| path.get(Rule::EachRepository, resolve))
        .path("/api/v1/registry/collections", |path| path.post(COLLECTS, collect_garbage))
        .path("/api/v1/registry/scrubs", |path| path.post(COLLECTS, scrub))
        .path("/api/v1/registry/tokens", |path| path.get(TOKENS, tokens).post(TOKENS, create_token))
        .path("/api/v1/registry/tokens/{name}", |path| path.delete(TOKENS, revoke_token))
        .path("/api/v1/registry/log", |path| path.get(audit, log))
        .path("/api/v1/registry/usage", |path| path.get(quotas, usage))
        .path("/api/v1/registry/policies", |path| {
            path.get(POLICIES, policies).put(POLICIES, set_policy).delete(POLICIES, remove_policy)
        })
}

/// What the caller may pull.
async fn list(State(services): State<Services>, Caller(caller): Caller) -> Answer<Vec<Entry>> {
    let mut entries = services.registry.list().await?;
    entries.retain(|entry| caller.may_pull(&entry.repository));
    Ok(axum::Json(entries))
}

#[derive(Deserialize)]
struct ByReference {
    reference: Option<String>,
}

async fn resolve(
    State(services): State<Services>,
    Caller(caller): Caller,
    Query(query): Query<ByReference>,
) -> Answer<Resolved> {
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
struct CollectRequest {
    mode: Mode,
}

async fn collect_garbage(
    State(services): State<Services>,
    Json(CollectRequest { mode }): Json<CollectRequest>,
) -> Answer<Collection> {
    Ok(axum::Json(services.registry.collect(mode).await?))
}

async fn scrub(State(services): State<Services>) -> Answer<Scrub> {
    Ok(axum::Json(services.registry.scrub(SystemClock.now().0, &CancellationToken::new()).await?))
}

async fn tokens(State(services): State<Services>) -> Answer<Vec<Token>> {
    Ok(axum::Json(services.registry.tokens().await?))
}

/// A token to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    name: String,
    scopes: Vec<Scope>,
    #[serde(default)]
    expires: Option<Timestamp>,
}

async fn create_token(
    State(services): State<Services>,
    Caller(caller): Caller,
    Json(request): Json<TokenRequest>,
) -> Answer<Minted> {
    let TokenRequest { name, scopes, expires } = request;
    Ok(axum::Json(services.registry.create_token_for(&caller, &name, scopes, expires).await?))
}

async fn revoke_token(
    State(services): State<Services>,
    Caller(caller): Caller,
    Path(name): Path<String>,
) -> Answer<()> {
    Ok(axum::Json(services.registry.revoke_token_for(&caller, &name).await?))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: i64,
}

/// Entries of the log in one answer.
const PAGE: u32 = 1000;

async fn log(
    State(services): State<Services>,
    Query(After { after }): Query<After>,
) -> Answer<Vec<LogEntry>> {
    Ok(axum::Json(services.registry.log(after, PAGE).await?))
}

async fn usage(State(services): State<Services>) -> Answer<Vec<Usage>> {
    Ok(axum::Json(services.registry.usage().await?))
}

async fn policies(State(services): State<Services>) -> Answer<Vec<Policy>> {
    Ok(axum::Json(services.registry.policies().await?))
}

async fn set_policy(
    State(services): State<Services>,
    Caller(caller): Caller,
    Json(policy): Json<Policy>,
) -> Answer<Policy> {
    services.registry.set_policy(&policy, &caller.actor()).await?;
    Ok(axum::Json(policy))
}

#[derive(Deserialize)]
struct ByRepository {
    repository: String,
}

async fn remove_policy(
    State(services): State<Services>,
    Caller(caller): Caller,
    Query(ByRepository { repository }): Query<ByRepository>,
) -> Answer<()> {
    Ok(axum::Json(services.registry.remove_policy(&repository, &caller.actor()).await?))
}

impl Client {
    /// What repositories may hold, and what they hold of it.
    pub async fn usage(&self) -> Result<Vec<Usage>> {
        self.get("/api/v1/registry/usage").await
    }

    /// Who must vouch for what.
    pub async fn policies(&self) -> Result<Vec<Policy>> {
        self.get("/api/v1/registry/policies").await
    }

    pub async fn set_policy(&self, policy: &Policy) -> Result<Policy> {
        self.put("/api/v1/registry/policies", policy).await
    }

    pub async fn remove_policy(&self, repository: &str) -> Result<()> {
        let repository = crate::client::escape(repository);
        self.delete(&format!("/api/v1/registry/policies?repository={repository}")).await
    }

    /// Collects the registry's garbage, or says what a collection would remove.
    pub async fn collect_garbage(&self, mode: Mode) -> Result<Collection> {
        self.post("/api/v1/registry/collections", &CollectRequest { mode }).await
    }

    /// Hashes every blob of the registry again.
    pub async fn scrub(&self) -> Result<Scrub> {
        self.post("/api/v1/registry/scrubs", &()).await
    }

    pub async fn tokens(&self) -> Result<Vec<Token>> {
        self.get("/api/v1/registry/tokens").await
    }

    pub async fn create_token(
        &self,
        name: &str,
        scopes: Vec<Scope>,
        expires: Option<Timestamp>,
    ) -> Result<Minted> {
        self.post("/api/v1/registry/tokens", &TokenRequest { name: name.to_owned(), scopes, expires }).await
    }

    pub async fn revoke_token(&self, name: &str) -> Result<()> {
        self.delete(&format!("/api/v1/registry/tokens/{}", crate::client::escape(name))).await
    }

    /// The registry's log after an entry, oldest first: as many as one answer holds, none at the end.
    pub async fn registry_log(&self, after: i64) -> Result<Vec<LogEntry>> {
        self.get(&format!("/api/v1/registry/log?after={after}")).await
    }
}
