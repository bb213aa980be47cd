//! Projects, their members and their services.

use axum::extract::{Path, State};
use eyot_access::{Principal, Project, ProjectMember};
use eyot_core::{Permission, ProjectName, Role};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{ApiResult, Confidential, JsonBody, SecretResult};
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// The handlers look at the project that the path names.
const KNOWN: AccessRule = AccessRule::Known;

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let (read, members) =
        (AccessRule::Needs(Permission::ProjectRead), AccessRule::Needs(Permission::MemberManage));
    RuledRoutes::new(services)
        .path("/api/v1/projects", |path| path.get(KNOWN, list).post(KNOWN, create))
        .path("/api/v1/projects/{name}", |path| path.delete(KNOWN, remove))
        .path("/api/v1/members", |path| path.get(read, list_members))
        .path("/api/v1/members/{name}", |path| path.put(members, set_member).delete(members, remove_member))
        .path("/api/v1/services", |path| path.post(members, create_service))
        .path("/api/v1/services/{name}", |path| path.delete(members, remove_service))
}

/// A project to be made.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectRequest {
    pub(crate) name: ProjectName,
    /// Who is in it from the start.
    #[serde(default)]
    pub(crate) members: Vec<MemberRequest>,
}

/// A user or service, and its role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberRequest {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// The role of a member.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleRequest {
    pub(crate) role: Role,
}

/// A service that was just made, with its first token: the only time its secret is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatedService {
    #[serde(flatten)]
    pub service: Principal,
    pub secret: String,
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
) -> ApiResult<Vec<Project>> {
    Ok(axum::Json(services.access.projects(&caller).await?))
}

async fn create(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    JsonBody(ProjectRequest { name, members }): JsonBody<ProjectRequest>,
) -> ApiResult<Project> {
    let members: Vec<_> = members.into_iter().map(|member| (member.name, member.role)).collect();
    Ok(axum::Json(services.access.create_project(&caller, &name, &members).await?))
}

async fn remove(
    State(services): State<ApiServices>,
    RequestCaller { caller, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    services.access.remove_project(&caller, &name.parse()?).await?;
    Ok(axum::Json(()))
}

async fn list_members(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
) -> ApiResult<Vec<ProjectMember>> {
    Ok(axum::Json(services.access.members(&project).await?))
}

async fn set_member(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
    JsonBody(RoleRequest { role }): JsonBody<RoleRequest>,
) -> ApiResult<ProjectMember> {
    Ok(axum::Json(services.access.set_member(&caller, &project, &name, role).await?))
}

async fn remove_member(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    services.access.remove_member(&caller, &project, &name).await?;
    Ok(axum::Json(()))
}

async fn create_service(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    JsonBody(MemberRequest { name, role }): JsonBody<MemberRequest>,
) -> SecretResult<CreatedService> {
    let (service, token) = services.access.create_service(&caller, &project, &name, role).await?;
    Ok(Confidential(CreatedService { service, secret: token.secret }))
}

async fn remove_service(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<()> {
    services.access.remove_service(&caller, &project, &name).await?;
    Ok(axum::Json(()))
}
