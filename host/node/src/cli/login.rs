use std::io::{IsTerminal as _, Read as _};
use std::net::IpAddr;

use clap::Args;
use eyot_api::ApiClient;
use eyot_core::{Error, Result, ResultExt as _};
use eyot_oci::Transport;
use serde_json::json;

use crate::cli::GlobalOptions;
use crate::credentials::{self, ServerCredentials};
use crate::output::{CommandOutput, table};
use crate::session::{ApiSession, trust};

/// Signs in to a server, and keeps a token for it in a file that only you can read.
///
/// Commands with that --server show it from then on. The token is good for 90 days, or until eyot logout.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot login https://eyot.example.com --user ana\n  \
    eyot login http://127.0.0.1:8090 --user ana --password-stdin < password.txt\n  \
    eyot --server https://eyot.example.com deployments")]
pub(crate) struct LoginCommand {
    /// The server's address.
    url: String,
    /// Who signs in.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Reads the password from the standard input, without asking.
    #[arg(long)]
    password_stdin: bool,
}

/// Forgets the token of a server, and revokes it there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot logout https://eyot.example.com")]
pub(crate) struct LogoutCommand {
    /// The server's address.
    url: String,
}

/// Says what the server takes you for: your name, your projects and your roles.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot whoami\n  eyot --server https://eyot.example.com whoami")]
pub(crate) struct WhoamiCommand {}

impl LoginCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        check_secrecy(&self.url)?;
        let password = password(self.password_stdin, &format!("Password of {}: ", self.user))?;
        let transport = Transport::connect(&self.url, &trust(&global.config()?))?;
        let created = ApiClient::new(transport).log_in(&self.user, &password, &host_name()).await?;
        let kept = ServerCredentials {
            user: self.user.clone(),
            token: created.token.name.clone(),
            secret: created.secret,
        };
        let path = credentials::keep(&self.url, kept)?;
        let told = json!({ "server": self.url, "user": self.user, "token": created.token.name });
        output.result(&told, |_| {
            format!(
                "signed in to {} as {}\nthe token {} is in {}\nshow it with --server {}, or set EYOT_SERVER",
                self.url,
                self.user,
                created.token.name,
                path.display(),
                self.url
            )
        })
    }
}

impl LogoutCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let Some(kept) = credentials::forget(&self.url)? else {
            return Err(Error::not_found(format!("there is no token for {}", self.url))
                .hint("eyot login URL --user NAME gets one"));
        };
        let transport = Transport::connect(&self.url, &trust(&global.config()?))?.with_token(&kept.secret)?;
        // It is forgotten here in any case.
        let revoked = ApiClient::new(transport).revoke_token(&kept.token).await;
        let told = json!({ "server": self.url, "user": kept.user, "revoked": revoked.is_ok() });
        output.result(&told, |_| match &revoked {
            Ok(()) => format!("signed out of {}", self.url),
            Err(error) => format!(
                "the token {} is forgotten here, and could not be revoked there: {}",
                kept.token,
                error.chain()
            ),
        })
    }
}

impl WhoamiCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let caller = session.client().whoami().await?;
        output.result(&caller, |output| {
            let rows = caller
                .projects
                .iter()
                .map(|project| vec![project.name.to_string(), project.role.clone().unwrap_or_default()]);
            let rows: Vec<_> = rows.collect();
            format!("{}\n{}", caller.actor, table(output, &["PROJECT", "ROLE"], &rows))
        })
    }
}

/// A password goes over TLS, or does not leave the machine; the server says so too, when it has been sent already.
fn check_secrecy(url: &str) -> Result<()> {
    let Some(rest) = url.strip_prefix("http://") else { return Ok(()) };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match is_here {
        true => Ok(()),
        false => Err(Error::denied(format!("a password is not sent to {host} over plain HTTP"))
            .hint("write https://; api.ca names an authority to trust that is not this machine's")),
    }
}

/// A password from the standard input, or from whoever sits at the terminal.
pub(crate) fn password(from_stdin: bool, prompt: &str) -> Result<String> {
    if from_stdin {
        let mut text = String::new();
        let read = std::io::stdin().take(MAX_INPUT_BYTES).read_to_string(&mut text);
        read.context(|| "cannot read the password from the standard input".to_owned())?;
        return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::invalid("there is no terminal to ask for the password")
            .hint("--password-stdin reads it from the standard input"));
    }
    rpassword::prompt_password(prompt).context(|| "cannot ask for the password".to_owned())
}

/// More is no password.
const MAX_INPUT_BYTES: u64 = 4096;

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_leave_the_machine_over_tls_alone() {
        for (url, goes) in [
            ("https://eyot.example", true),
            ("http://127.0.0.1:8090", true),
            ("http://localhost:8090/", true),
            ("http://[::1]:8090", true),
            ("http://10.0.0.1:8090", false),
            ("http://eyot.example", false),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example:8090", false),
            ("http://[::2]", false),
            ("http://", false),
        ] {
            assert_eq!(check_secrecy(url).is_ok(), goes, "{url}");
        }
    }
}
