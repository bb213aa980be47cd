use clap::{Args, Subcommand};
use eyot_core::Result;
use serde_json::json;

use crate::cli::GlobalOptions;
use crate::cli::login::password;
use crate::output::{CommandOutput, table};
use crate::session::ApiSession;

/// Adds, lists and removes users. The first one turns sign-in on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot user add ana --owner\n  eyot user add bo --password-stdin < password.txt\n  \
    eyot user password bo\n  eyot user ls"
)]
pub(crate) struct UserCommand {
    #[command(subcommand)]
    command: UserAction,
}

#[derive(Debug, Subcommand)]
enum UserAction {
    /// Adds a user, and prints the password that was made for them, this once. The first user owns the installation.
    Add {
        /// Their name.
        name: String,
        /// Owns the whole installation: users, projects, every project's data.
        #[arg(long)]
        owner: bool,
        /// Reads their password from the standard input, in place of making one.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Lists users.
    Ls,
    /// Gives a user another password; their sessions end, their tokens stay.
    Password {
        /// Their name.
        name: String,
        /// Reads it from the standard input, without asking.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Removes a user, with every token and session.
    Rm {
        /// Their name.
        name: String,
    },
}

impl UserCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        match self.command {
            UserAction::Add { name, owner, password_stdin } => {
                let given = password_stdin.then(|| password(true, "")).transpose()?;
                let added = client.add_user(&name, given, owner).await?;
                output.result(&added, |_| {
                    let what = if added.user.is_owner { "an owner" } else { "a user" };
                    match &added.password {
                        Some(password) => format!("{name} is {what}, with the password\n{password}"),
                        None => format!("{name} is {what}"),
                    }
                })
            }
            UserAction::Ls => {
                let users = client.users().await?;
                output.result(&users, |output| {
                    let rows = users.iter().map(|user| {
                        let role = if user.is_owner { "owner" } else { "" };
                        vec![user.name.clone(), role.to_owned(), user.created.to_rfc3339()]
                    });
                    table(output, &["NAME", "ROLE", "ADDED"], &rows.collect::<Vec<_>>())
                })
            }
            UserAction::Password { name, password_stdin } => {
                let new = password(password_stdin, &format!("New password of {name}: "))?;
                client.set_password(&name, new).await?;
                output.result(&json!({ "user": name }), |_| format!("{name} has another password"))
            }
            UserAction::Rm { name } => {
                client.remove_user(&name).await?;
                output.result(&json!({ "removed": name }), |_| format!("{name} is removed"))
            }
        }
    }
}
