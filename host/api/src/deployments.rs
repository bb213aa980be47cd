use std::collections::BTreeMap;

use axum::extract::{Path, State};
use eyot_core::{Error, Permission, ProjectName, Result, ScopedName};
use eyot_deploy::{
    Deployment, InferenceOverrides, PinnedArtifact, PinnedData, Revision, RevisionGrants, RevisionLimits,
    RevisionSpec, Route, Traffic,
};
use eyot_oci::{ArtifactKind, ResolvedArtifact};
use serde::{Deserialize, Serialize};

use crate::ApiServices;
use crate::answer::{ApiResult, ErrorResponse, JsonBody};
use crate::artifacts::ArtifactLookup;
use crate::routes::{AccessRule, RequestCaller, RuledRoutes};

/// What to serve: references as users write them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// A component or a model: `digits-image:0.1.0`, `models:/digits@champion`.
    pub source: String,
    /// Models granted to the component: name → reference.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub models: BTreeMap<String, String>,
    /// What the revision may take of the server.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub limits: RevisionLimits,
    /// What the component may reach beside its models.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub grants: RevisionGrants,
    /// The requests that a component which answers HTTP gets; none is everything below its name.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub routes: Vec<Route>,
    /// How its models run.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub inference: InferenceOverrides,
    /// Whether the revision is only made ready: the requests go on to those that serve.
    #[serde(default, deserialize_with = "eyot_core::nullable")]
    pub no_traffic: bool,
}

/// The name under which a model that is deployed alone is granted to the built-in handler.
const ALONE: &str = "model";

const READ: AccessRule = AccessRule::Needs(Permission::DeploymentRead);
const WRITE: AccessRule = AccessRule::Needs(Permission::DeploymentWrite);
const MOVE_TRAFFIC: AccessRule = AccessRule::Needs(Permission::TrafficWrite);

pub(crate) fn routes(services: &ApiServices) -> RuledRoutes {
    RuledRoutes::new(services)
        .path("/api/v1/deployments", |path| path.get(READ, list))
        .path("/api/v1/deployments/{name}", |path| {
            path.get(READ, one).put(WRITE, deploy).delete(WRITE, undeploy)
        })
        .path("/api/v1/deployments/{name}/revisions", |path| path.get(READ, revisions))
        .path("/api/v1/deployments/{name}/traffic", |path| path.put(MOVE_TRAFFIC, split))
        .path("/api/v1/deployments/{name}/rollback", |path| path.post(MOVE_TRAFFIC, roll_back))
}

async fn list(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
) -> ApiResult<Vec<Deployment>> {
    Ok(axum::Json(services.deployments.list(&project).await?))
}

/// A deployment of the request's project.
pub(crate) fn scoped(project: &ProjectName, name: &str) -> Result<ScopedName> {
    Ok(ScopedName::new(project, &name.parse()?))
}

async fn one(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<Deployment> {
    Ok(axum::Json(services.deployments.get(&scoped(&project, &name)?).await?))
}

async fn deploy(
    State(services): State<ApiServices>,
    RequestCaller { caller, project }: RequestCaller,
    Path(name): Path<String>,
    JsonBody(request): JsonBody<DeployRequest>,
) -> ApiResult<Deployment> {
    let name = scoped(&project, &name)?;
    let context = ArtifactLookup { services: &services, caller: &caller, project: &project };
    let spec = resolve(&context, &request)
        .await
        .map_err(|error| error.context(format!("cannot deploy '{}'", name.name())))?;
    let deployed = match request.no_traffic {
        true => services.deployments.prepare(&name, spec).await?,
        false => services.deployments.deploy(&name, spec).await?,
    };
    Ok(axum::Json(deployed))
}

async fn revisions(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<Vec<Revision>> {
    Ok(axum::Json(services.deployments.revisions(&scoped(&project, &name)?).await?))
}

async fn split(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
    JsonBody(traffic): JsonBody<Traffic>,
) -> ApiResult<Deployment> {
    Ok(axum::Json(services.deployments.split(&scoped(&project, &name)?, traffic).await?))
}

async fn roll_back(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
) -> ApiResult<Deployment> {
    Ok(axum::Json(services.deployments.roll_back(&scoped(&project, &name)?).await?))
}

async fn undeploy(
    State(services): State<ApiServices>,
    RequestCaller { project, .. }: RequestCaller,
    Path(name): Path<String>,
) -> Result<axum::Json<()>, ErrorResponse> {
    services.deployments.undeploy(&scoped(&project, &name)?).await?;
    Ok(axum::Json(()))
}

/// Pins everything a request names to digests.
async fn resolve(context: &ArtifactLookup<'_>, request: &DeployRequest) -> Result<RevisionSpec> {
    let (found, source) = pin(context, &request.source).await?;
    if found.kind == ArtifactKind::Model {
        if let Some(name) = request.models.keys().next() {
            return Err(Error::invalid(format!(
                "'{}' is a model, and '{name}' is granted to it",
                request.source
            ))
            .hint("models are granted to components; deploy the component and grant it both"));
        }
        let models = BTreeMap::from([(ALONE.to_owned(), source)]);
        if !request.routes.is_empty() || request.grants != RevisionGrants::default() {
            return Err(Error::invalid(format!(
                "'{}' is a model, and routes or grants are for components",
                request.source
            )));
        }
        let (limits, inference) = (request.limits.clone(), request.inference.clone());
        return Ok(RevisionSpec { models, limits, inference, ..RevisionSpec::default() });
    }
    if let Some(name) = found.models.iter().find(|name| !request.models.contains_key(*name)) {
        let error = format!("'{}' declares the model '{name}', which it was not granted", request.source);
        return Err(Error::invalid(error)
            .hint(format!("add --model {name}=SOURCE, as in --model {name}=models:/{name}@champion")));
    }
    let mut models = BTreeMap::new();
    for (name, reference) in &request.models {
        let (found, pinned) = pin(context, reference).await?;
        if found.kind != ArtifactKind::Model {
            return Err(Error::invalid(format!(
                "'{reference}' is granted as model '{name}' but is no model"
            )));
        }
        models.insert(name.clone(), pinned);
    }
    Ok(RevisionSpec {
        component: Some(source),
        models,
        limits: request.limits.clone(),
        inference: request.inference.clone(),
        grants: request.grants.clone(),
        routes: request.routes.clone(),
    })
}

async fn pin(context: &ArtifactLookup<'_>, reference: &str) -> Result<(ResolvedArtifact, PinnedArtifact)> {
    let found = context.find(reference).await?;
    if found.kind == ArtifactKind::Other {
        return Err(Error::invalid(format!("'{reference}' is neither a component nor a model"))
            .hint("eyot ls shows what is in the registry"));
    }
    context.services.registry.check_policy(&found.repository, &found.manifest).await?;
    let data = found.data.iter().map(|layer| PinnedData { name: layer.name.clone(), digest: layer.digest });
    let pinned = PinnedArtifact {
        reference: reference.to_owned(),
        manifest: found.manifest,
        content: found.content,
        data: data.collect(),
    };
    Ok((found, pinned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_what_is_left_out() {
        let plain: DeployRequest = serde_json::from_str(r#"{"source": "a:1"}"#).unwrap();
        for body in [
            r#"{"source": "a:1", "models": null, "limits": null, "grants": null, "routes": null, "inference": null, "no_traffic": null}"#,
            r#"{"source": "a:1", "grants": {"http": null, "variables": null, "stores": null, "databases": null}}"#,
            r#"{"source": "a:1", "limits": {"queue": null}, "inference": {"max-batch": null}}"#,
        ] {
            let read: DeployRequest = serde_json::from_str(body).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&plain).unwrap(), "{body}");
        }
    }
}
