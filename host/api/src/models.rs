use axum::extract::{Path, State};
use eyot_core::Permission;
use eyot_tracking::{ModelVersion, RegisteredModel};
use serde::Serialize;

use crate::Services;
use crate::answer::Answer;
use crate::routes::{Routes, Rule};

/// A registered model with its versions, newest first.
#[derive(Clone, Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    model: RegisteredModel,
    versions: Vec<ModelVersion>,
}

const READ: Rule = Rule::Needs(Permission::ModelRead);

pub(crate) fn routes(services: &Services) -> Routes {
    Routes::new(services)
        .path("/api/v1/models", |path| path.get(READ, list))
        .path("/api/v1/models/{name}", |path| path.get(READ, one))
}

async fn list(State(services): State<Services>) -> Answer<Vec<RegisteredModel>> {
    Ok(axum::Json(services.tracking.list_registered_models().await?))
}

async fn one(State(services): State<Services>, Path(name): Path<String>) -> Answer<Whole> {
    let model = services.tracking.get_registered_model(&name).await?;
    let versions = services.tracking.list_model_versions(&name).await?;
    Ok(axum::Json(Whole { model, versions }))
}
