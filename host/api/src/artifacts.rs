//! What references mean in a project, for whoever asks.

use eyot_access::Caller;
use eyot_core::{Error, Permission, ProjectName, Reference, Result};
use eyot_oci::ResolvedArtifact;

use crate::ApiServices;

/// Looks up artifacts for a caller, out of a project.
pub(crate) struct ArtifactLookup<'a> {
    pub(crate) services: &'a ApiServices,
    pub(crate) caller: &'a Caller,
    pub(crate) project: &'a ProjectName,
}

impl ArtifactLookup<'_> {
    /// What a reference means: `NAME:TAG` and `NAME@DIGEST` in the repository of the project, or of another whose name
    /// stands before it; `models:/NAME@ALIAS` among its registered models, `models://PROJECT/NAME@ALIAS` among
    /// another's.
    ///
    /// Fails with `Denied` or `NotFound` before it is looked up, where the caller may not pull it: who may not learns
    /// nothing of whether it is there.
    pub(crate) async fn find(&self, reference: &str) -> Result<ResolvedArtifact> {
        let target: Reference = match reference.strip_prefix("models:/") {
            Some(model) => self.model_source(model).await?.parse()?,
            None => {
                let mut target: Reference = reference.parse()?;
                target.repository = self.services.access.repository_in(self.project, &target.repository);
                target
            }
        };
        self.caller.require_pull(&target.repository)?;
        self.services.registry.artifact(&target).await
    }

    async fn model_source(&self, model: &str) -> Result<String> {
        let (project, model) = match model.strip_prefix('/') {
            None => (self.project.clone(), model),
            Some(rest) => {
                let (project, model) = rest.split_once('/').ok_or_else(|| {
                    Error::invalid(format!("'models:/{model}' names no model")).hint(
                        "write models:/NAME@ALIAS, or models://PROJECT/NAME@ALIAS for another project's",
                    )
                })?;
                (project.parse()?, model)
            }
        };
        self.caller.require(Permission::ModelRead, &project)?;
        Ok(self.services.tracking.resolve_model(&project, model).await?.source)
    }
}
