//! What loads and unloads deployments at a client's wish.

use async_trait::async_trait;
use eyot_core::{Name, Result};
use eyot_deploy::{DeploymentState, Deployments};

/// What can load and unload deployments: the deployments of the product, a fake in tests.
#[async_trait]
pub trait ModelRepository: Send + Sync + 'static {
    /// Deployments that do not serve as they should: name, revision, and why.
    async fn troubles(&self) -> Result<Vec<(Name, u64, String)>>;

    /// Serves a deployment again. No change when it serves.
    async fn load(&self, name: &Name) -> Result<()>;

    /// Stops serving a deployment until it is loaded.
    async fn unload(&self, name: &Name) -> Result<()>;
}

#[async_trait]
impl ModelRepository for Deployments {
    async fn troubles(&self) -> Result<Vec<(Name, u64, String)>> {
        let list = self.list().await?;
        let trouble = |deployment: eyot_deploy::Deployment| match deployment.state {
            DeploymentState::Serving => None,
            DeploymentState::Unloaded => Some((deployment.name, deployment.revision, "unloaded".to_owned())),
            DeploymentState::Failed { error } => Some((deployment.name, deployment.revision, error)),
        };
        Ok(list.into_iter().filter_map(trouble).collect())
    }

    async fn load(&self, name: &Name) -> Result<()> {
        Deployments::load(self, name).await
    }

    async fn unload(&self, name: &Name) -> Result<()> {
        Deployments::unload(self, name).await
    }
}
