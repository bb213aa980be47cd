use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use eyot_core::{Clock as _, Error, Reference, Result, SystemClock, Timestamp};
use eyot_oci::{
    Action, Collection, Entry, LogEntry, Minted, Mode, Policy, Resolved, Scope, Scrub, Token, Usage,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, collect};
use crate::{Client, Services};

pub(crate) fn routes() -> Router<Services> {
    Router::new()
        .route("/api/v1/artifacts", get(list))
        .route("/api/v1/artifacts/resolve", get(resolve))
        .route("/api/v1/registry/collections", post(collect_garbage))
        .route("/api/v1/registry/scrubs", post(scrub))
        .route("/api/v1/registry/tokens", get(tokens).post(create_token))
        .route("/api/v1/registry/tokens/{name}", delete(revoke_token))
        .route("/api/v1/registry/log", get(log))
        .route("/api/v1/registry/usage", get(usage))
        .route("/api/v1/registry/policies", get(policies).put(set_policy).delete(remove_policy))
}

async fn list(State(services): State<Services>) -> Answer<Vec<Entry>> {
    Ok(axum::Json(services.registry.list().await?))
}

#[derive(Deserialize)]
struct ByReference {
    reference: Option<String>,
}

async fn resolve(State(services): State<Services>, Query(query): Query<ByReference>) -> Answer<Resolved> {
    let text = query.reference.ok_or_else(|| Error::invalid("the query parameter 'reference' is missing"))?;
    let target = match text.strip_prefix("models:/") {
        Some(model) => services.tracking.resolve_model(model).await?.source,
        None => text,
    };
    Ok(axum::Json(services.registry.artifact(&target.parse::<Reference>()?).await?))
}

/// Lets in whoever may administer the registry; answers the body of their request.
async fn administer(services: &Services, request: Request) -> Result<Bytes> {
    let (parts, body) = request.into_parts();
    eyot_oci::check_access(&services.registry, &parts, Action::Administer).await?;
    collect(body, 1 << 20).await
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("the request body cannot be read: {error}")))
}

/// What a collection is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectRequest {
    mode: Mode,
}

async fn collect_garbage(State(services): State<Services>, request: Request) -> Answer<Collection> {
    let CollectRequest { mode } = read(&administer(&services, request).await?)?;
    Ok(axum::Json(services.registry.collect(mode).await?))
}

async fn scrub(State(services): State<Services>, request: Request) -> Answer<Scrub> {
    administer(&services, request).await?;
    Ok(axum::Json(services.registry.scrub(SystemClock.now().0, &CancellationToken::new()).await?))
}

async fn tokens(State(services): State<Services>, request: Request) -> Answer<Vec<Token>> {
    administer(&services, request).await?;
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

async fn create_token(State(services): State<Services>, request: Request) -> Answer<Minted> {
    let TokenRequest { name, scopes, expires } = read(&administer(&services, request).await?)?;
    Ok(axum::Json(services.registry.create_token(&name, scopes, expires).await?))
}

async fn revoke_token(
    State(services): State<Services>,
    Path(name): Path<String>,
    request: Request,
) -> Answer<()> {
    administer(&services, request).await?;
    Ok(axum::Json(services.registry.revoke_token(&name).await?))
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
    request: Request,
) -> Answer<Vec<LogEntry>> {
    administer(&services, request).await?;
    Ok(axum::Json(services.registry.log(after, PAGE).await?))
}

async fn usage(State(services): State<Services>, request: Request) -> Answer<Vec<Usage>> {
    administer(&services, request).await?;
    Ok(axum::Json(services.registry.usage().await?))
}

async fn policies(State(services): State<Services>, request: Request) -> Answer<Vec<Policy>> {
    administer(&services, request).await?;
    Ok(axum::Json(services.registry.policies().await?))
}

/// Who changes something, for the log.
async fn actor(services: &Services, request: Request) -> Result<(String, Bytes)> {
    let (parts, body) = request.into_parts();
    eyot_oci::check_access(&services.registry, &parts, Action::Administer).await?;
    let actor = eyot_oci::actor(&services.registry, &parts).await?;
    Ok((actor, collect(body, 1 << 20).await?))
}

async fn set_policy(State(services): State<Services>, request: Request) -> Answer<Policy> {
    let (actor, body) = actor(&services, request).await?;
    let policy: Policy = read(&body)?;
    services.registry.set_policy(&policy, &actor).await?;
    Ok(axum::Json(policy))
}

#[derive(Deserialize)]
struct ByRepository {
    repository: String,
}

async fn remove_policy(
    State(services): State<Services>,
    Query(ByRepository { repository }): Query<ByRepository>,
    request: Request,
) -> Answer<()> {
    let (actor, _) = actor(&services, request).await?;
    Ok(axum::Json(services.registry.remove_policy(&repository, &actor).await?))
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
