use clap::Args;
use eyot_core::{Name, Result};

use crate::cli::Global;
use crate::output::Output;
use crate::session::Session;

/// Stops serving a deployment. Requests in flight end; its history stays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot undeploy digits")]
pub(crate) struct Undeploy {
    /// The deployment.
    name: Name,
}

impl Undeploy {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let session = Session::open(global).await?;
        session.client().undeploy(&self.name).await?;
        output.result(&serde_json::json!({ "undeployed": self.name }), |_| {
            format!("{} no longer serves", self.name)
        })
    }
}
