use clap::Args;
use eyot_core::{Name, Result};
use futures::StreamExt as _;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone};
use crate::session::ApiSession;
use crate::visible::visible;

/// Shows what the component of a deployment prints.
///
/// The server keeps the last 256 KiB of each deployment for as long as it runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot logs scorer\n  eyot logs scorer -f --tail 0")]
pub(crate) struct LogsCommand {
    /// The deployment.
    name: Name,
    /// Goes on with the lines that come, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines are shown first.
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    tail: usize,
}

impl LogsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        // Without a server nothing serves, and nothing prints.
        session.need_gateway()?;
        let mut lines = session.client().logs(&self.name, self.tail, self.follow).await?;
        while let Some(line) = lines.next().await {
            let line = line?;
            if output.is_json() {
                output.event(&line)?;
                continue;
            }
            let tone = if line.stream == "stderr" { TextTone::Strong } else { TextTone::Dim };
            let head = output.paint(tone, &format!("{} {}", line.time, line.stream));
            output.text(&format!("{head} {}", visible(&line.line)))?;
        }
        Ok(())
    }
}
