use std::path::PathBuf;

use clap::{Args, Subcommand};
use eyot_core::{Error, Result, ResultExt as _};
use eyot_meta::{AuditEntry, AuditOutcome, AuditState};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone, table};
use crate::session::ApiSession;
use crate::visible::visible;

/// Shows and checks the project's audit log: who did what, and who was not let do it.
///
/// The log of the project `default` tells of users, projects and garbage as well; where there are other projects, it
/// takes an owner to read it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot audit ls --denied\n  eyot --project fraud audit export > log.jsonl\n  eyot audit verify\n  \
    eyot audit verify log.jsonl --head 5f0c…"
)]
pub(crate) struct AuditCommand {
    #[command(subcommand)]
    command: AuditAction,
}

#[derive(Debug, Subcommand)]
enum AuditAction {
    /// Lists the last entries.
    Ls {
        /// How many of the last entries are looked at.
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        tail: u32,
        /// Only what was denied.
        #[arg(long)]
        denied: bool,
        /// Only what this user, service or token did, as in `user:ana`.
        #[arg(long, value_name = "ACTOR")]
        actor: Option<String>,
    },
    /// Prints every entry, one JSON object a line.
    Export,
    /// Checks that no entry was changed or taken out.
    ///
    /// An exported log that was cut off at its end is only noticed with --head: note what this command prints.
    Verify {
        /// A log that `eyot audit export` wrote [default: the project's].
        file: Option<PathBuf>,
        /// The hash that the log must contain.
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
}

impl AuditCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        match self.command {
            AuditAction::Ls { tail, denied, actor } => {
                let session = ApiSession::open(global).await?;
                let after = session.client().audit_state().await?.entries - i64::from(tail);
                let mut entries = entries(&session, after.max(0)).await?;
                entries.retain(|entry| {
                    let is_wanted = actor.as_deref().is_none_or(|actor| is_by(entry, actor));
                    is_wanted && (!denied || entry.outcome == AuditOutcome::Denied)
                });
                output.result(&entries, |output| listed(&entries, output))
            }
            AuditAction::Export => {
                let session = ApiSession::open(global).await?;
                for entry in entries(&session, 0).await? {
                    output.event(&entry)?;
                }
                Ok(())
            }
            AuditAction::Verify { file, head } => verify(file, head, global, output).await,
        }
    }
}

/// Whether an entry is by somebody, with whichever of their tokens.
fn is_by(entry: &AuditEntry, actor: &str) -> bool {
    entry.actor == actor || entry.actor.split(' ').any(|part| part == actor)
}

fn listed(entries: &[AuditEntry], output: &CommandOutput) -> String {
    let row = |entry: &AuditEntry| {
        let what = match entry.outcome {
            AuditOutcome::Done => entry.action.clone(),
            AuditOutcome::Denied => output.paint(TextTone::Bad, &format!("{} denied", entry.action)),
        };
        let texts = [&entry.actor, &entry.object].map(|text| visible(text).into_owned());
        let [actor, object] = texts;
        vec![entry.id.to_string(), entry.at.to_rfc3339(), actor, what, object, entry.address.clone()]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    table(output, &["NUMBER", "TIME", "WHO", "WHAT", "OF", "FROM"], &rows)
}

async fn verify(
    file: Option<PathBuf>,
    head: Option<String>,
    global: &GlobalOptions,
    output: &CommandOutput,
) -> Result<()> {
    let (log, least) = match file {
        Some(file) => (read(&file)?, 0),
        None => {
            let session = ApiSession::open(global).await?;
            // Asked for first: there may be more entries by the time that they are read, and not fewer.
            let state = session.client().audit_state().await?;
            (entries(&session, 0).await?, state.entries)
        }
    };
    let checked = check(&log)?;
    if checked.entries < least {
        return Err(Error::corrupt(format!(
            "the log ends with entry {}, and had {least}: the last ones are missing",
            checked.entries
        )));
    }
    if let Some(head) = head.filter(|head| log.iter().all(|entry| entry.hash != *head)) {
        return Err(Error::corrupt(format!(
            "the log has no entry with the hash {head}: it was cut off or replaced"
        )));
    }
    output.result(&checked, |_| {
        format!("{} entries in order, the last one is {}", checked.entries, checked.head)
    })
}

async fn entries(session: &ApiSession, after: i64) -> Result<Vec<AuditEntry>> {
    let mut log: Vec<AuditEntry> = Vec::new();
    loop {
        let page = session.client().audit(log.last().map_or(after, |entry| entry.id)).await?;
        if page.is_empty() {
            return Ok(log);
        }
        log.extend(page);
    }
}

fn read(file: &std::path::Path) -> Result<Vec<AuditEntry>> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let line = |(index, line): (usize, &str)| {
        let entry = serde_json::from_str(line);
        entry.map_err(|error| Error::invalid(format!("{}:{}: {error}", file.display(), index + 1)))
    };
    text.lines().enumerate().map(line).collect()
}

fn check(log: &[AuditEntry]) -> Result<AuditState> {
    let mut checked = AuditState::default();
    for entry in log {
        entry.check(checked.entries, &checked.head)?;
        checked = AuditState { entries: entry.id, head: entry.hash.clone() };
    }
    Ok(checked)
}
