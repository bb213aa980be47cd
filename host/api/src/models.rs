use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use eyot_tracking::{ModelVersion, RegisteredModel};
use serde::Serialize;

use crate::Services;
use crate::answer::Answer;

/// A registered model with its versions, newest first.
#[derive(Clone, Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    model: RegisteredModel,
    versions: Vec<ModelVersion>,
}

pub(crate) fn routes() -> Router<Services> {
    Router::new().route("/api/v1/models", get(list)).route("/api/v1/models/{name}", get(one))
}

async fn list(State(services): State<Services>) -> Answer<Vec<RegisteredModel>> {
    Ok(axum::Json(services.tracking.list_registered_models().await?))
}

async fn one(State(services): State<Services>, Path(name): Path<String>) -> Answer<Whole> {
    let model = services.tracking.get_registered_model(&name).await?;
    let versions = services.tracking.list_model_versions(&name).await?;
    Ok(axum::Json(Whole { model, versions }))
}
