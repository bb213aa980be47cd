use clap::Args;
use eyot_core::{Name, Result};

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;
use crate::session::ApiSession;

/// Stops serving a deployment. Requests in flight end; its history stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot undeploy digits")]
pub(crate) struct UndeployCommand {
    /// The deployment.
    name: Name,
}

impl UndeployCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        session.client().undeploy(&self.name).await?;
        output.result(&serde_json::json!({ "undeployed": self.name }), |_| {
            format!("{} no longer serves", self.name)
        })
    }
}
