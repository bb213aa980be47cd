//! Users of the installation, and what the caller is.

use axum::extract::{Path, State};
use eyot_access::{BrowserSession, NewUser, Principal, PrincipalKind, Project};
use eyot_core::{Error, Permission, ProjectName};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{ApiResult, JsonBody};
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

const USERS: AccessRule = AccessRule::Needs(Permission::UserManage);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    RuledRoutes::new(services)
        .path("/api/v1/users", |path| path.get(USERS, list).post(USERS, add))
        .path("/api/v1/users/{name}", |path| path.delete(USERS, remove))
        .path("/api/v1/users/{name}/password", |path| path.put(AccessRule::Known, set_password))
        .path("/api/v1/whoami", |path| path.get(AccessRule::Known, whoami))
        .path("/api/v1/sessions", |path| path.get(AccessRule::Known, sessions))
        .path("/api/v1/sessions/{id}", |path| path.delete(AccessRule::Known, end_session))
}

/// A user to be added.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserRequest {
    pub(crate) name: String,
    /// None has one made.
    #[serde(default)]
    pub(crate) password: Option<String>,
    /// Whether they own the installation; the first user does.
    #[serde(default)]
    pub(crate) owner: bool,
}

/// A user's new password.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordRequest {
    pub(crate) password: String,
}

/// What the caller is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallerInfo {
    /// As the audit log writes it: `user:ana`, `service:ci token:ci`, `local`.
    pub actor: String,
    /// The user's or service's name; none for a token of nobody and for who owns the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PrincipalKind>,
    /// The project of this request.
    pub project: ProjectName,
    /// The projects that they have a part in, each with their role.
    pub projects: Vec<Project>,
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
) -> ApiResult<Vec<Principal>> {
    Ok(axum::Json(services.access.users(&caller).await?))
}

async fn add(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    JsonBody(UserRequest { name, password, owner }): JsonBody<UserRequest>,
) -> ApiResult<NewUser> {
    Ok(axum::Json(services.access.add_user(&caller, &name, password.as_deref(), owner).await?))
}

async fn remove(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    services.access.remove_user(&caller, &name).await?;
    Ok(axum::Json(()))
}

async fn set_password(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    Path(name): Path<String>,
    JsonBody(PasswordRequest { password }): JsonBody<PasswordRequest>,
) -> ApiResult<()> {
    services.access.set_password(&caller, &name, &password).await?;
    Ok(axum::Json(()))
}

async fn whoami(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
) -> ApiResult<CallerInfo> {
    let (kind, name) = caller.principal().map(|(kind, name)| (kind, name.to_owned())).unzip();
    let projects = services.access.projects(&caller).await?;
    // Whoever names no project is told who they are all the same.
    if !project.is_default() && !projects.iter().any(|one| one.name == project) {
        return Err(Error::not_found(format!("there is no project '{project}'"))
            .hint("eyot project ls lists yours")
            .into());
    }
    Ok(axum::Json(CallerInfo { actor: caller.actor().into_owned(), name, kind, project, projects }))
}

async fn sessions(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
) -> ApiResult<Vec<BrowserSession>> {
    Ok(axum::Json(services.access.sessions(&caller).await?))
}

async fn end_session(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    Path(id): Path<String>,
) -> ApiResult<()> {
    services.access.end_session(&caller, &id).await?;
    Ok(axum::Json(()))
}
