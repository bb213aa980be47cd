//! The model repository extension: which models there are, and loading and unloading them, where the
//! configuration lets clients do that.

use eyot_core::{Error, Result, ScopedName};
use serde::Serialize;

use crate::serving::model_control::ModelRepository;
use crate::serving::state::GatewayState;

/// One model in the repository, under the names of the protocol.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RepositoryEntry {
    pub(crate) name: ScopedName,
    pub(crate) version: String,
    pub(crate) state: &'static str,
    pub(crate) reason: String,
}

/// Every revision of a project that serves, and every deployment that does not as it should.
pub(crate) async fn index(
    gateway: &GatewayState,
    project: &str,
    ready_only: bool,
) -> Result<Vec<RepositoryEntry>> {
    let mut index = Vec::new();
    for endpoint in gateway.revisions.all_in(project) {
        index.extend(endpoint.all().map(|live| RepositoryEntry {
            name: endpoint.name.clone(),
            version: live.version.clone(),
            state: "READY",
            reason: String::new(),
        }));
    }
    if let (false, Some(repository)) = (ready_only, gateway.repository()) {
        for (name, revision, reason) in repository.troubles().await? {
            let version = revision.to_string();
            if name.project() == project
                && !index.iter().any(|indexed| indexed.name == name && indexed.version == version)
            {
                index.push(RepositoryEntry { name, version, state: "UNAVAILABLE", reason });
            }
        }
    }
    index.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(index)
}

/// Loads a deployment at a client's wish. What it serves is what was deployed: configurations and
/// files that a client brings along are not taken.
pub(crate) async fn load(
    gateway: &GatewayState,
    name: &str,
    parameters: impl Iterator<Item = &str>,
) -> Result<()> {
    let repository = allowed(gateway, "loaded")?;
    let mut parameters = parameters;
    if let Some(parameter) = parameters.find(|name| *name == "config" || name.starts_with("file:")) {
        return Err(Error::unsupported(format!("parameter '{parameter}' would change what was deployed"))
            .hint("deploy a new revision with eyot deploy"));
    }
    repository.load(&parse_name(name)?).await
}

/// Unloads a deployment at a client's wish.
pub(crate) async fn unload(gateway: &GatewayState, name: &str) -> Result<()> {
    allowed(gateway, "unloaded")?.unload(&parse_name(name)?).await
}

fn allowed(gateway: &GatewayState, what: &str) -> Result<std::sync::Arc<dyn ModelRepository>> {
    if !gateway.config.model_control {
        return Err(Error::denied(format!("models are not {what} by clients of this server"))
            .hint("start it with --set gateway.model-control=true to let them"));
    }
    gateway
        .repository()
        .ok_or_else(|| Error::unavailable("the server is starting or stopping").hint("try again in a moment"))
}

/// A name that no deployment can have is no deployment's.
fn parse_name(name: &str) -> Result<ScopedName> {
    let shown: String = name.chars().take(128).collect();
    name.parse().map_err(|_| Error::not_found(format!("there is no model '{shown}'")))
}
