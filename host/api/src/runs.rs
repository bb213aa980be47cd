use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use eyot_core::{Digest, Error, Permission, ProjectName, Reference, Result};
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
use crate::artifacts::ArtifactLookup;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

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
        .path("/api/v1/pipeline-runs", |path| path.get(READ_RULE, list).post(submits, submit))
        .path("/api/v1/pipeline-runs/{id}", |path| path.get(READ_RULE, one))
        .path("/api/v1/pipeline-runs/{id}/cancel", |path| path.post(cancels, cancel))
        .path("/api/v1/pipeline-runs/{id}/lineage", |path| path.get(READ_RULE, lineage))
        .path("/api/v1/pipeline-runs/{id}/events", |path| path.get(READ_RULE, events))
        .path("/api/v1/pipeline-runs/{id}/artifacts/{step}/{output}", |path| path.get(READ_RULE, artifact))
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
) -> ApiResult<Vec<PipelineRun>> {
    Ok(axum::Json(services.pipelines.runs(&project).await?))
}

async fn one(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(id): Path<String>,
) -> ApiResult<PipelineRun> {
    Ok(axum::Json(services.pipelines.get(&project, &id).await?))
}

async fn cancel(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(id): Path<String>,
) -> ApiResult<()> {
    services.pipelines.cancel(&project, &id).await?;
    Ok(axum::Json(()))
}

async fn lineage(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(id): Path<String>,
) -> ApiResult<RunLineage> {
    let edges = services.pipelines.lineage(&project, &id).await?;
    Ok(axum::Json(RunLineage { run: id, edges }))
}

/// The bytes of an artifact, streamed.
async fn artifact(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path((id, step, output)): Path<(String, String, String)>,
) -> Result<Response, ErrorResponse> {
    let (digest, size, reader) = services.pipelines.artifact(&project, &id, &step, &output).await?;
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
    RequestCaller { caller, project }: RequestCaller,
    JsonBody(request): JsonBody<SubmitRequest>,
) -> ApiResult<SubmittedRun> {
    require_held(&services, &project, request.inputs.values()).await?;
    let lookup = ArtifactLookup { services: &services, caller: &caller, project: &project };
    let components = pin(&lookup, &request.source).await?;
    let plan = PlanRequest {
        source: request.source,
        file: request.file,
        params: request.params,
        inputs: request.inputs,
        components,
    };
    let id = services.pipelines.submit(&project, plan).await?;
    Ok(axum::Json(SubmittedRun { id }))
}

/// Inputs are blobs that were pushed to a repository of the project: whoever knows the digest of what another project has
/// does not read it by that.
async fn require_held(
    services: &ApiServices,
    project: &ProjectName,
    digests: impl Iterator<Item = &Digest>,
) -> Result<()> {
    if services.access.is_only_default() {
        return Ok(());
    }
    for digest in digests {
        let repositories = services.registry.repositories_of(digest).await?;
        if !repositories.iter().any(|repository| services.access.project_of(repository) == *project) {
            return Err(Error::not_found(format!(
                "no repository of project '{project}' has the input {digest}"
            ))
            .hint("eyot run pushes the input files of a pipeline; push it again"));
        }
    }
    Ok(())
}

/// What the component references of a pipeline mean now. One that means nothing is left out: the
/// planner says where in the file it stands.
async fn pin(lookup: &ArtifactLookup<'_>, source: &str) -> Result<BTreeMap<String, ResolvedComponent>> {
    let mut components = BTreeMap::new();
    for reference in eyot_pipelines::component_references(source) {
        if reference.parse::<Reference>().is_err() {
            continue;
        }
        match lookup.find(&reference).await {
            Ok(found) if found.kind == ArtifactKind::Component => {
                components.insert(reference, ResolvedComponent::Found(found.content));
            }
            Ok(_) => {
                let error = Error::invalid(format!("'{reference}' is no component"));
                components.insert(reference, ResolvedComponent::Missing(error));
            }
            Err(error) if error.kind() == eyot_core::ErrorKind::NotFound => {
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
    RequestCaller { project, .. }: RequestCaller,
    Path(id): Path<String>,
) -> Result<RunEvents, ErrorResponse> {
    // Subscribed before the run is read: between the two nothing can be missed.
    let receiver = services.pipelines.subscribe();
    let run = services.pipelines.get(&project, &id).await?;
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
