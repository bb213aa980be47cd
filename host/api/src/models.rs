use axum::extract::{Path, State};
use eyot_core::Permission;
use eyot_tracking::{ModelVersion, RegisteredModel};
use serde::Serialize;

use crate::ApiServices;
use crate::answer::ApiResult;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// A registered model with its versions, newest first.
#[derive(Clone, Debug, Serialize)]
struct ModelWithVersions {
    #[serde(flatten)]
    model: RegisteredModel,
    versions: Vec<ModelVersion>,
}

const READ_RULE: AccessRule = AccessRule::Needs(Permission::ModelRead);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    RuledRoutes::new(services)
        .path("/api/v1/models", |path| path.get(READ_RULE, list))
        .path("/api/v1/models/{name}", |path| path.get(READ_RULE, one))
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
) -> ApiResult<Vec<RegisteredModel>> {
    Ok(axum::Json(services.tracking.list_registered_models(&project).await?))
}

async fn one(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<ModelWithVersions> {
    let model = services.tracking.get_registered_model(&project, &name).await?;
    let versions = services.tracking.list_model_versions(&project, &name).await?;
    Ok(axum::Json(ModelWithVersions { model, versions }))
}
