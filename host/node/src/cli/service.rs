use clap::{Args, Subcommand};
use eyot_core::{Result, Role};
use serde_json::json;

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;
use crate::session::ApiSession;

/// Makes and removes services: programs with tokens, each in one project.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot --project fraud service create ci --role editor\n  \
    eyot --project fraud token create nightly --service ci --expires 720h\n  eyot --project fraud service rm ci")]
pub(crate) struct ServiceCommand {
    #[command(subcommand)]
    command: ServiceAction,
}

#[derive(Debug, Subcommand)]
enum ServiceAction {
    /// Makes a service of the project, and prints the secret of its first token, this once.
    Create {
        /// Its name; the token is called like it.
        name: String,
        /// What it is in the project: viewer, editor, deployer or admin.
        #[arg(long, value_name = "ROLE")]
        role: Role,
    },
    /// Removes a service of the project, with its tokens.
    Rm {
        /// Its name.
        name: String,
    },
}

impl ServiceCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        match self.command {
            ServiceAction::Create { name, role } => {
                let created = client.create_service(&name, role).await?;
                output.result(&created, |_| created.secret.clone())
            }
            ServiceAction::Rm { name } => {
                client.remove_service(&name).await?;
                output.result(&json!({ "removed": name }), |_| format!("{name} is removed"))
            }
        }
    }
}
