use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use eyot_core::{Error, Reference};
use eyot_oci::{Entry, Resolved};
use serde::Deserialize;

use crate::Services;
use crate::answer::Answer;

pub(crate) fn routes() -> Router<Services> {
    Router::new().route("/api/v1/artifacts", get(list)).route("/api/v1/artifacts/resolve", get(resolve))
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
