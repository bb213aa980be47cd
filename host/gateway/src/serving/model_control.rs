//! What loads and unloads deployments at a client's wish.

use async_trait::async_trait;
use eyot_core::{Result, ScopedName};
use eyot_deploy::{DeploymentState, Deployments};

/// What can load and unload deployments: the deployments of the product, a fake in tests.
#[async_trait]
pub trait ModelRepository: Send + Sync + 'static {
    /// Deployments that do not serve as they should: name, revision, and why.
    async fn troubles(&self) -> Result<Vec<(ScopedName, u64, String)>>;

    /// Serves a deployment again. No change when it serves.
    async fn load(&self, name: &ScopedName) -> Result<()>;

    /// Stops serving a deployment until it is loaded.
    async fn unload(&self, name: &ScopedName) -> Result<()>;
}

#[async_trait]
impl ModelRepository for Deployments {
    async fn troubles(&self) -> Result<Vec<(ScopedName, u64, String)>> {
        let list = self.list_all().await?;
        let trouble = |deployment: eyot_deploy::Deployment| match deployment.state {
            DeploymentState::Serving => None,
            DeploymentState::Unloaded => Some("unloaded".to_owned()),
            DeploymentState::Failed { error } => Some(error),
        };
        let named = |deployment: eyot_deploy::Deployment| {
            let name = ScopedName::new(&deployment.project, &deployment.name);
            let revision = deployment.revision;
            trouble(deployment).map(|why| (name, revision, why))
        };
        Ok(list.into_iter().filter_map(named).collect())
    }

    async fn load(&self, name: &ScopedName) -> Result<()> {
        Deployments::load(self, name).await
    }

    async fn unload(&self, name: &ScopedName) -> Result<()> {
        Deployments::unload(self, name).await
    }
}
