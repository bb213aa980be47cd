use clap::{Args, Subcommand};
use eyot_core::{Error, ProjectName, Result, Role};
use serde_json::json;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, table};
use crate::session::ApiSession;

/// Makes projects, and says who is in them. Every deployment, run, model and repository is in one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot project create fraud --member ana=admin --member bo=editor\n  \
    eyot project ls\n  eyot --project fraud deployments\n  eyot --project fraud project set bo deployer")]
pub(crate) struct ProjectCommand {
    #[command(subcommand)]
    command: ProjectAction,
}

#[derive(Debug, Subcommand)]
enum ProjectAction {
    /// Makes a project.
    Create {
        /// Its name: 2 to 63 lower-case letters, digits and '-'.
        name: ProjectName,
        /// Who is in it, and as what: viewer, editor, deployer or admin; may be repeated.
        #[arg(long = "member", value_name = "NAME=ROLE")]
        members: Vec<String>,
    },
    /// Lists the projects that you are in.
    Ls,
    /// Lists the members of the project.
    Members,
    /// Gives a user or service a role in the project: viewer, editor, deployer or admin.
    Set {
        /// The user or service.
        name: String,
        /// What they are from now on.
        role: Role,
    },
    /// Takes a user or service out of the project.
    Unset {
        /// The user or service.
        name: String,
    },
    /// Removes a project that is empty. Its name is not given again.
    Rm {
        /// Its name.
        name: ProjectName,
    },
}

impl ProjectCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        match self.command {
            ProjectAction::Create { name, members } => {
                let members = members.iter().map(|text| member(text)).collect::<Result<Vec<_>>>()?;
                let project = client.create_project(&name, &members).await?;
                output.result(&project, |_| format!("project {name} is there; --project {name} works in it"))
            }
            ProjectAction::Ls => {
                let projects = client.projects().await?;
                output.result(&projects, |output| {
                    let rows = projects.iter().map(|project| {
                        vec![project.name.to_string(), project.role.clone().unwrap_or_default()]
                    });
                    table(output, &["NAME", "YOUR ROLE"], &rows.collect::<Vec<_>>())
                })
            }
            ProjectAction::Members => {
                let members = client.members().await?;
                output.result(&members, |output| {
                    let rows = members.iter().map(|member| {
                        vec![member.name.clone(), member.kind.to_string(), member.role.to_string()]
                    });
                    table(output, &["NAME", "KIND", "ROLE"], &rows.collect::<Vec<_>>())
                })
            }
            ProjectAction::Set { name, role } => {
                let member = client.set_member(&name, role).await?;
                output.result(&member, |_| format!("{name} is {role}"))
            }
            ProjectAction::Unset { name } => {
                client.remove_member(&name).await?;
                output.result(&json!({ "removed": name }), |_| format!("{name} is no member any more"))
            }
            ProjectAction::Rm { name } => {
                client.remove_project(&name).await?;
                output.result(&json!({ "removed": name }), |_| format!("project {name} is removed"))
            }
        }
    }
}

fn member(text: &str) -> Result<(String, Role)> {
    let (name, role) = text.split_once('=').ok_or_else(|| {
        Error::invalid(format!("--member {text}: there is no '='"))
            .hint("write --member NAME=ROLE, as in ana=editor")
    })?;
    Ok((name.to_owned(), role.parse()?))
}
