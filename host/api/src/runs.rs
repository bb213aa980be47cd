use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use eyot_core::{Digest, Error, Permission, Reference, Result};
use eyot_oci::ArtifactKind;
use eyot_pipelines::{LineageEdge, PipelineRun, PlanRequest, ResolvedComponent, RunEvent};
use futures::Stream;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::io::ReaderStream;

use crate::ApiServices;
use crate::answer::{ApiResult, ErrorResponse, JsonBody, user_bytes};
use crate::routes::{AccessRule, RuledRoutes};

/// A pipeline to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// The pipeline file's text.
    pub source: String,
    /// Its name, for errors.
    pub file: String,
    /// Parameters in place of the file's.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub params: BTreeMap<String, Value>,
    /// The input files, already in the store: name → digest.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub inputs: BTreeMap<String, Digest>,
}

/// A pipeline run that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubmittedRun {
    pub id: String,
}

/// What a run read and wrote, and by which code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunLineage {
    pub run: String,
    pub edges: Vec<LineageEdge>,
}

const READ_RULE: AccessRule = AccessRule::Needs(Permission::RunRead);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    let (submits, cancels) =
        (AccessRule::Needs(Permission::RunSubmit), AccessRule::Needs(Permission::RunCancel));
    RuledRoutes::new(services)
        .path("/api/v1/runs", |path| path.get(READ_RULE, list).post(submits, submit))
        .path("/api/v1/runs/{id}", |path| path.get(READ_RULE, one))
        .path("/api/v1/runs/{id}/cancel", |path| path.post(cancels, cancel))
        .path("/api/v1/runs/{id}/lineage", |path| path.get(READ_RULE, lineage))
        .path("/api/v1/runs/{id}/events", |path| path.get(READ_RULE, events))
        .path("/api/v1/runs/{id}/artifacts/{step}/{output}", |path| path.get(READ_RULE, artifact))
}

async fn list(State(services): State<ApiServices>) -> ApiResult<Vec<PipelineRun>> {
    Ok(axum::Json(services.pipelines.runs().await?))
}

async fn one(State(services): State<ApiServices>, Path(id): Path<String>) -> ApiResult<PipelineRun> {
    Ok(axum::Json(services.pipelines.get(&id).await?))
}

async fn cancel(State(services): State<ApiServices>, Path(id): Path<String>) -> ApiResult<()> {
    services.pipelines.cancel(&id).await?;
    Ok(axum::Json(()))
}

async fn lineage(State(services): State<ApiServices>, Path(id): Path<String>) -> ApiResult<RunLineage> {
    let edges = services.pipelines.lineage(&id).await?;
    Ok(axum::Json(RunLineage { run: id, edges }))
}

/// The bytes of an artifact, streamed.
async fn artifact(
    State(services): State<ApiServices>,
    Path((id, step, output)): Path<(String, String, String)>,
) -> Result<Response, ErrorResponse> {
    let (digest, size, reader) = services.pipelines.artifact(&id, &step, &output).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::ETAG, format!("\"{digest}\"")),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(reader, 64 << 10));
    Ok((headers, user_bytes(), body).into_response())
}

async fn submit(
    State(services): State<ApiServices>,
    JsonBody(request): JsonBody<SubmitRequest>,
) -> ApiResult<SubmittedRun> {
    let components = pin(&services, &request.source).await?;
    let plan = PlanRequest {
        source: request.source,
        file: request.file,
        params: request.params,
        inputs: request.inputs,
        components,
    };
    let id = services.pipelines.submit(plan).await?;
    Ok(axum::Json(SubmittedRun { id }))
}

/// What the component references of a pipeline mean now. One that means nothing is left out: the
/// planner says where in the file it stands.
async fn pin(services: &ApiServices, source: &str) -> Result<BTreeMap<String, ResolvedComponent>> {
    let mut components = BTreeMap::new();
    for reference in eyot_pipelines::component_references(source) {
        let Ok(parsed) = reference.parse::<Reference>() else { continue };
        match services.registry.artifact(&parsed).await {
            Ok(found) if found.kind == ArtifactKind::Component => {
                components.insert(reference, ResolvedComponent::Found(found.content));
            }
            Ok(_) => {
                let error = Error::invalid(format!("'{reference}' is no component"));
                components.insert(reference, ResolvedComponent::Missing(error));
            }
            Err(error) if error.kind() == eyot_core::Kind::NotFound => {
                components.insert(reference, ResolvedComponent::Missing(error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(components)
}

type RunEvents =
    Sse<sse::KeepAliveStream<std::pin::Pin<Box<dyn Stream<Item = Result<sse::Event, Infallible>> + Send>>>>;

async fn events(
    State(services): State<ApiServices>,
    Path(id): Path<String>,
) -> Result<RunEvents, ErrorResponse> {
    // Subscribed before the run is read: between the two nothing can be missed.
    let receiver = services.pipelines.subscribe();
    let run = services.pipelines.get(&id).await?;
    let live =
        futures::stream::unfold((receiver, id, run.is_over()), |(mut receiver, id, over)| async move {
            if over {
                return None;
            }
            loop {
                match receiver.recv().await {
                    Ok(event) if event.run_id() == id => {
                        let over = event.is_last();
                        return Some((event, (receiver, id, over)));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
    let events = live.map(|event: RunEvent| {
        Ok(sse::Event::default()
            .json_data(&event)
            .unwrap_or_else(|_| sse::Event::default().comment("unreadable")))
    });
    let events: std::pin::Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(events);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
