//! What is linked into components and lies in the registry.

use eyot_api::ApiClient;
use eyot_build::ComponentProject;
use eyot_core::Result;

/// Gives projects what is linked into them from the registry.
///
/// Fails with `NotFound` where there is no such component.
pub(crate) async fn fetch(projects: &mut [ComponentProject], client: &ApiClient) -> Result<()> {
    for project in projects {
        for reference in project.wanted_references() {
            let resolved = client.resolve(&reference.to_string()).await?;
            let wasm = client.registry().pull_blob(&resolved.repository, &resolved.content).await?;
            project.provide(&reference, &wasm);
        }
    }
    Ok(())
}
