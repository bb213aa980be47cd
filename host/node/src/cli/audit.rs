use std::path::PathBuf;

use clap::{Args, Subcommand};
use eyot_core::{Error, Result, ResultExt as _};
use eyot_oci::LogEntry;
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;
use crate::session::ApiSession;

/// Shows and checks the registry's log: who pushed, tagged, signed and deleted what.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot audit export > log.jsonl\n  eyot audit verify\n  eyot audit verify log.jsonl --head 5f0c…"
)]
pub(crate) struct AuditCommand {
    #[command(subcommand)]
    command: AuditAction,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Prints every entry, one JSON object a line.
    Export,
    /// Checks that no entry was changed or taken out.
    ///
    /// A log that was cut off at its end is only noticed with --head: note what this command prints.
    Verify {
        /// A log that `eyot audit export` wrote [default: the registry's].
        file: Option<PathBuf>,
        /// The hash that the log must contain.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

/// What a log says that is in order.
#[derive(Default, Serialize)]
struct CheckedLog {
    entries: i64,
    /// The hash of the last entry: it stands for all.
    head: String,
}

impl AuditCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        match self.command {
            AuditAction::Export => {
                for entry in entries(global).await? {
                    output.event(&entry)?;
                }
                Ok(())
            }
            AuditAction::Verify { file, head } => {
                let log = match file {
                    Some(file) => read(&file)?,
                    None => entries(global).await?,
                };
                let checked = check(&log)?;
                if let Some(head) = head.filter(|head| log.iter().all(|entry| entry.hash != *head)) {
                    return Err(Error::corrupt(format!(
                        "the log has no entry with the hash {head}: it was cut off or replaced"
                    )));
                }
                output.result(&checked, |_| {
                    format!("{} entries in order, the last one is {}", checked.entries, checked.head)
                })
            }
        }
    }
}

async fn entries(global: &GlobalOptions) -> Result<Vec<LogEntry>> {
    let session = ApiSession::open(global).await?;
    let mut log: Vec<LogEntry> = Vec::new();
    loop {
        let page = session.client().registry_log(log.last().map_or(0, |entry| entry.id)).await?;
        if page.is_empty() {
            return Ok(log);
        }
        log.extend(page);
    }
}

fn read(file: &std::path::Path) -> Result<Vec<LogEntry>> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let line = |(index, line): (usize, &str)| {
        let entry = serde_json::from_str(line);
        entry.map_err(|error| Error::invalid(format!("{}:{}: {error}", file.display(), index + 1)))
    };
    text.lines().enumerate().map(line).collect()
}

fn check(log: &[LogEntry]) -> Result<CheckedLog> {
    let mut checked = CheckedLog::default();
    for entry in log {
        entry.check(checked.entries, &checked.head)?;
        checked = CheckedLog { entries: entry.id, head: entry.hash.clone() };
    }
    Ok(checked)
}
