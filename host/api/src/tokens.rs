//! Access tokens.

use std::time::Duration;

use axum::extract::{Path, State};
use eyot_access::{AccessScope, AccessToken, CreatedToken, NewToken};
use eyot_core::{ProjectName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{ApiResult, Confidential, JsonBody, SecretResult};
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// Everybody has tokens of their own; the handlers look at whose each is.
const KNOWN: AccessRule = AccessRule::Known;

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    RuledRoutes::new(services)
        .path("/api/v1/tokens", |path| path.get(KNOWN, list).post(KNOWN, create))
        .path("/api/v1/tokens/{name}", |path| path.delete(KNOWN, revoke))
        .path("/api/v1/tokens/{name}/rotate", |path| path.post(KNOWN, rotate))
}

/// A token to be made.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) scopes: Vec<AccessScope>,
    /// Its only project.
    #[serde(default)]
    pub(crate) project: Option<ProjectName>,
    /// The service of the request's project whose it is; without one it is the caller's.
    #[serde(default)]
    pub(crate) service: Option<String>,
    #[serde(default)]
    pub(crate) expires: Option<Timestamp>,
}

/// How a token is rotated.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateRequest {
    /// How long the secret that it had is good, in milliseconds.
    #[serde(default)]
    pub(crate) grace_milliseconds: u64,
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<Vec<AccessToken>> {
    Ok(axum::Json(services.access.tokens(&caller, &project).await?))
}

async fn create(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    JsonBody(request): JsonBody<TokenRequest>,
) -> SecretResult<CreatedToken> {
    let TokenRequest { name, scopes, project: only, service, expires } = request;
    let token = NewToken { name, scopes, project: only, expires };
    let made = match service {
        Some(service) => services.access.create_service_token(&caller, &project, &service, token).await?,
        None => services.access.create_token(&caller, &project, token).await?,
    };
    Ok(Confidential(made))
}

async fn revoke(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    services.access.revoke_token(&caller, &project, &name).await?;
    Ok(axum::Json(()))
}

async fn rotate(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
    JsonBody(RotateRequest { grace_milliseconds }): JsonBody<RotateRequest>,
) -> SecretResult<CreatedToken> {
    let grace = Duration::from_millis(grace_milliseconds);
    Ok(Confidential(services.access.rotate_token(&caller, &project, &name, grace).await?))
}
