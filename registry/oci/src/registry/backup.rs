//! What a backup copies: the rows of one moment, and every blob that they name until it is copied.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eyot_core::{Digest, Error, Result, ResultExt as _};
use eyot_meta::{Database, sql};
use eyot_store::{DiskReserve, StoreHold};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::Registry;

/// The names of the files of a snapshot.
const ROWS_FILE: &str = "rows.db";
const PINS_FILE: &str = "pins.jsonl";

/// How long one who has gone away may take to be noticed.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Rows that are read at once.
const PAGE_ROWS: u32 = 10_000;

/// Makes snapshots of a data folder, one at a time. Cheap to clone.
#[derive(Clone)]
pub struct BackupSource {
    registry: Registry,
    folder: PathBuf,
    reserve: DiskReserve,
    turn: Arc<Semaphore>,
    ended: CancellationToken,
}

/// The rows of one moment as a file, and the blobs that were there then: none is deleted until this is dropped, and
/// the file with it.
pub struct HeldSnapshot {
    folder: PathBuf,
    hold: StoreHold,
    _turn: OwnedSemaphorePermit,
}

impl HeldSnapshot {
    /// The names of its two files in the folder of snapshots: a SQLite database of all rows, and the pins.
    pub fn files() -> [&'static str; 2] {
        [ROWS_FILE, PINS_FILE]
    }
}

/// For whom a blob is pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobPin {
    pub digest: Digest,
    pub owner: String,
}

impl BackupSource {
    /// Over a registry and the folder where snapshots lie while they are copied; what a killed process left there is
    /// removed.
    pub fn new(registry: Registry, folder: PathBuf, reserve: DiskReserve) -> Result<Self> {
        remove(&folder)?;
        let (turn, ended) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
        Ok(Self { registry, folder, reserve, turn, ended })
    }

    /// The server ends: who copies is not waited for. Nothing is deleted any more.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Returns when the server ends.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes a snapshot.
    ///
    /// Fails with `Conflict` while another one is copied, with `Full` where the disk has no room for one.
    pub async fn snapshot(&self) -> Result<HeldSnapshot> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turn.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(std::result::Result::ok).ok_or_else(|| {
            Error::conflict("another backup of this data folder is under way").hint("wait until it has ended")
        })?;
        let state = &self.registry.0;
        let mut snapshot =
            HeldSnapshot { folder: self.folder.clone(), hold: state.store.hold_all(), _turn: turn };
        // Blobs are deleted inside of transactions: one that began before the hold has ended now, and the snapshot
        // sees that what it deleted is gone.
        drop(state.db.begin().await?);
        self.reserve.check(state.db.bytes().await?)?;
        remove(&self.folder)?;
        std::fs::create_dir_all(&self.folder)
            .context(|| format!("cannot create {}", self.folder.display()))?;
        state
            .db
            .snapshot(&snapshot.folder.join(ROWS_FILE))
            .await
            .context(|| "cannot copy the rows".to_owned())?;
        // After the rows: whatever they rely on was pinned before they were written, and is pinned now or was
        // unpinned since the hold began.
        let pins = state.store.pins_of("").await?.into_iter().chain(snapshot.hold.unpinned());
        let pins: BTreeSet<_> = pins.map(|(digest, owner)| BlobPin { digest, owner }).collect();
        write_pins(&snapshot.folder.join(PINS_FILE), &pins)?;
        Ok(snapshot)
    }
}

impl Drop for HeldSnapshot {
    fn drop(&mut self) {
        // What is left is removed before the next snapshot.
        let _ = remove(&self.folder);
    }
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("cannot remove {}", folder.display())))
        }
        _ => Ok(()),
    }
}

fn write_pins(file: &Path, pins: &BTreeSet<BlobPin>) -> Result<()> {
    let mut lines = BufWriter::new(std::fs::File::create(file)?);
    for pin in pins {
        let line = serde_json::to_string(pin);
        let line = line.map_err(|error| Error::internal("a pin has no JSON form").because(error))?;
        writeln!(lines, "{line}")?;
    }
    lines.flush().map_err(Error::from)
}

/// Reads what [`BackupSource::snapshot`] wrote of pins.
pub fn read_pins(file: &Path) -> Result<Vec<BlobPin>> {
    let text = std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))?;
    let read = |line| serde_json::from_str(line);
    let pins = text.lines().map(read).collect::<std::result::Result<Vec<BlobPin>, _>>();
    pins.map_err(|error| Error::corrupt(format!("{} is no list of pins", file.display())).because(error))
}

/// The blobs that the registry's rows say are there, by digest.
pub async fn recorded_blobs(rows: &Database) -> Result<Vec<Digest>> {
    let (mut blobs, mut after) = (Vec::new(), String::new());
    loop {
        let page = sql("SELECT digest FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2");
        let page = page.bind(&after).bind(PAGE_ROWS).fetch_all(rows).await?;
        let Some(last) = page.last() else { return Ok(blobs) };
        after = last.get("digest")?;
        for row in &page {
            blobs.push(row.get::<String>("digest")?.parse()?);
        }
    }
}
