use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use eyot_core::config::{Config, DatabaseUrl};
use eyot_core::{Error, Result, ResultExt as _};
use eyot_meta::{Database, TableSummary};
use serde::Serialize;

use crate::backup::remove_database;
use crate::claimed_database::ClaimedDatabase;
use crate::cli::GlobalOptions;
use crate::durable_files::sync_folder_of;
use crate::folder::FolderLock;
use crate::output::{CommandOutput, table};

const FILE: &str = "eyot.db";
/// The file's name while rows come into it.
const FRESH_FILE: &str = "eyot.db.moving";

/// Copies all rows of a data folder from SQLite to PostgreSQL, or back.
///
/// No server runs on the folder meanwhile. All tables are copied in one transaction and compared; where the rows were,
/// they stay as they are. Then the server uses the new database once storage.database says so, which this command
/// prints. Blobs and what components keep stay in the data folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot move --to postgres://eyot@db/eyot\n  \
    eyot move --to sqlite --set storage.database=postgres://eyot@db/eyot")]
pub(crate) struct MoveCommand {
    /// An empty database, postgres://USER@HOST/DATABASE, or sqlite for a file in the data folder. A password is best left
    /// to PGPASSWORD or ~/.pgpass.
    #[arg(long, value_name = "DATABASE")]
    to: MoveTarget,
}

#[derive(Clone, Debug, PartialEq)]
enum MoveTarget {
    Sqlite,
    Postgres(DatabaseUrl),
}

impl FromStr for MoveTarget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        let wrong = || {
            Error::invalid("that is no place for rows").hint("write sqlite, or postgres://USER@HOST/DATABASE")
        };
        let url: DatabaseUrl = text.parse().map_err(|_| wrong())?;
        if url.is_empty() { Err(wrong()) } else { Ok(Self::Postgres(url)) }
    }
}

/// What was moved, and how the server is told.
#[derive(Serialize)]
struct MoveReport {
    tables: Vec<TableSummary>,
    rows: u64,
    /// The line for eyot.toml.
    setting: String,
}

impl MoveCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if global.server().is_some() {
            return Err(Error::unsupported("rows are moved on the machine where the data folder is")
                .hint("run eyot move there, with --data and without --server"));
        }
        let config = global.config()?;
        if !config.data.dir.join("registry").is_dir() {
            return Err(Error::not_found(format!("{} is no data folder", config.data.dir.display()))
                .hint("name the data folder with --data"));
        }
        let _lock = FolderLock::take(&config.data.dir)?;
        check_different(&config, &self.to)?;
        let source = open(&config).await?;
        let moved = output.waiting("copying rows", self.copy(&config, &source.db)).await;
        source.db.close().await;
        let tables = moved?;
        let rows = tables.iter().map(|table| table.rows).sum();
        let report = MoveReport { tables, rows, setting: self.setting() };
        output.result(&report, |output| human(output, &report))
    }

    async fn copy(&self, config: &Config, source: &Database) -> Result<Vec<TableSummary>> {
        match &self.to {
            MoveTarget::Postgres(url) => {
                let target = ClaimedDatabase::connect(url).await?;
                let copied = source.copy_into(&target.db).await;
                target.db.close().await;
                copied
            }
            MoveTarget::Sqlite => copy_to_file(&config.data.dir, source).await,
        }
    }

    fn setting(&self) -> String {
        match &self.to {
            MoveTarget::Sqlite => "storage.database = \"\"".to_owned(),
            MoveTarget::Postgres(url) => format!("storage.database = \"{url}\""),
        }
    }
}

fn human(output: &CommandOutput, report: &MoveReport) -> String {
    let with_rows = report.tables.iter().filter(|table| table.rows > 0);
    let rows: Vec<_> = with_rows.map(|table| vec![table.name.clone(), table.rows.to_string()]).collect();
    let tables = table(output, &["TABLE", "ROWS"], &rows);
    format!(
        "{tables}\n{} rows were copied and compared; where they were, they are as before. In eyot.toml:\n{}",
        report.rows, report.setting
    )
}

fn check_different(config: &Config, to: &MoveTarget) -> Result<()> {
    let now = &config.storage.database;
    let (is_there, what) = match to {
        MoveTarget::Sqlite => (now.is_empty(), "SQLite".to_owned()),
        MoveTarget::Postgres(url) => (now == url, url.to_string()),
    };
    match is_there {
        false => Ok(()),
        true => Err(Error::conflict(format!("the rows are in {what} already"))
            .hint("storage.database says where they are; eyot config shows it")),
    }
}

/// The database that the rows are in.
async fn open(config: &Config) -> Result<ClaimedDatabase> {
    let url = &config.storage.database;
    if !url.is_empty() {
        return ClaimedDatabase::connect(url).await;
    }
    let file = config.data.dir.join(FILE);
    if !file.is_file() {
        return Err(Error::not_found(format!("there is no {}", file.display()))
            .hint("set storage.database where the rows are in PostgreSQL"));
    }
    Ok(ClaimedDatabase::of_folder(Database::open(&file).await?))
}

async fn copy_to_file(dir: &Path, source: &Database) -> Result<Vec<TableSummary>> {
    let (file, fresh): (PathBuf, PathBuf) = (dir.join(FILE), dir.join(FRESH_FILE));
    // Also its journal alone: SQLite would take that for the new file's.
    for file in ["", "-wal", "-shm"].map(|ending| dir.join(format!("{FILE}{ending}"))) {
        if !file.exists() {
            continue;
        }
        return Err(Error::conflict(format!("{} is there already", file.display())).hint(
            "it holds the rows of before they were moved to PostgreSQL: move it away if nobody needs them",
        ));
    }
    remove_database(&fresh)?;
    let target = Database::open(&fresh).await?;
    let copied = source.copy_into(&target).await;
    // With the last connection SQLite brings everything into the one file.
    target.close().await;
    let copied = copied?;
    std::fs::rename(&fresh, &file).context(|| format!("cannot write {}", file.display()))?;
    sync_folder_of(&file)?;
    Ok(copied)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_target_is_one_of_the_two() {
        assert_eq!("sqlite".parse::<MoveTarget>().unwrap(), MoveTarget::Sqlite);
        let url = "postgres://ana:s3cret@db/eyot";
        let command = MoveCommand { to: url.parse().unwrap() };
        assert_eq!(command.setting(), "storage.database = \"postgres://ana:***@db/eyot\"");
        for wrong in ["", "mysql://ana:s3cret@db/eyot", "eyot.db"] {
            let error = wrong.parse::<MoveTarget>().unwrap_err();
            assert!(!error.chain().contains("s3cret"), "{error:?}");
        }
    }
}
