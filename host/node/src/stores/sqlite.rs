//! SQLite databases of components, each a file: what their SQL reaches, and what it may take.

use std::cell::Cell as Kept;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use eyot_core::{ByteCount, Error, Result, ResultExt};
use eyot_engine::{HeldMemory, SqlConnection, SqlRows, SqlValue, StatementLimits};
use eyot_store::DiskReserve;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::stores::StoreClosing;
use crate::stores::threads::{StatementStop, StopOnDrop, away};

/// How long a statement waits for another connection that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a page, as SQLite has them where nobody says otherwise.
const PAGE_BYTES: u64 = 4096;
/// What a connection keeps in temporary tables: 256 MiB.
const MAX_TEMPORARY_PAGE_COUNT: u32 = 65_536;
/// Rows that one statement may give, however small they are.
const MAX_ROWS: usize = 100_000;
/// Statements of one database that compute at once. Others wait until one ends.
const MAX_STATEMENT_CALLS: usize = 4;
/// Connections to one database that are open at once: each has descriptors and a cache.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of one text or blob, and with it of what a function of SQL computes between two looks at the clock.
const MAX_VALUE_BYTES: i32 = 32 << 20;
/// The same in a statement with a function whose time grows with the product of its arguments' lengths.
const MAX_SEARCHED_BYTES: i32 = 512 << 10;
/// Bytes of a pattern of LIKE or GLOB, whose time grows with its length times that of the text.
const MAX_PATTERN_BYTES: i32 = 1000;
/// Steps of SQLite's machine between two looks at the clock. Each may build a value, so they are few.
const STEPS: i32 = 100;

/// Functions whose time grows with the product of their arguments' lengths; they never look at the clock.
const SEARCHING: [&str; 9] =
    ["instr", "replace", "trim", "ltrim", "rtrim", "like", "glob", "json_patch", "jsonb_patch"];

/// SQLite databases of components, each a file.
#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    path: PathBuf,
    room: DiskRoom,
    closing: Arc<StoreClosing>,
    statements: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl SqliteDatabase {
    /// The database of that file, which may grow to so many bytes while the reserve is left, for a deployment
    /// that may be taken away.
    pub(crate) fn new(
        path: PathBuf,
        limit: ByteCount,
        reserve: DiskReserve,
        closing: Arc<StoreClosing>,
    ) -> Self {
        Self {
            path,
            room: DiskRoom { limit, reserve },
            closing,
            statements: Arc::new(Semaphore::new(MAX_STATEMENT_CALLS)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

/// What a database may take of the disk. What is written lies in the journal before it lies in the file.
#[derive(Clone, Debug)]
struct DiskRoom {
    limit: ByteCount,
    reserve: DiskReserve,
}

#[async_trait]
impl eyot_engine::SqlDatabase for SqliteDatabase {
    async fn connect(&self) -> Result<Box<dyn SqlConnection>> {
        let place = tokio::time::timeout(BUSY_TIMEOUT, self.connections.clone().acquire_owned()).await;
        let place = place.ok().and_then(std::result::Result::ok).ok_or_else(|| {
            Error::exhausted(format!("{MAX_CONNECTIONS} connections to the database are open already"))
                .hint("close connections that are not needed any more")
        })?;
        let path = self.path.clone();
        let room = self.room.clone();
        let opened = away(move || open(&path, room)).await??;
        let (closing, statements) = (self.closing.clone(), self.statements.clone());
        Ok(Box::new(OpenedConnection {
            opened: Arc::new(Mutex::new(opened)),
            closing,
            statements,
            _place: place,
        }))
    }
}

/// A connection, and whether the statement that is prepared on it searches.
struct StatementHandle {
    connection: rusqlite::Connection,
    room: DiskRoom,
    /// How large the connection lets its database become now, 0 before that was said.
    max_pages: Kept<u64>,
    /// Set while the statement is the server's own.
    trusted: Arc<AtomicBool>,
    searches: Arc<AtomicBool>,
}

fn open(path: &Path, room: DiskRoom) -> Result<StatementHandle> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    }
    let unusable = |error: rusqlite::Error| refused(&error).context("the database cannot be opened");
    let connection = rusqlite::Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unusable)?;
    let setup = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp.max_page_count = {MAX_TEMPORARY_PAGE_COUNT};"
    );
    connection.execute_batch(&setup).map_err(unusable)?;
    for (limit, value) in [
        // A component's SQL reaches its own database and no other file.
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value).map_err(unusable)?;
    }
    let (searches, trusted) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (seen, own) = (searches.clone(), trusted.clone());
    let watched = move |context: AuthContext<'_>| {
        if own.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        if let AuthAction::Function { function_name } = context.action
            && SEARCHING.iter().any(|name| name.eq_ignore_ascii_case(function_name))
        {
            seen.store(true, Ordering::Relaxed);
        }
        allowed(context)
    };
    connection.authorizer(Some(watched)).map_err(unusable)?;
    Ok(StatementHandle { connection, room, max_pages: Kept::new(0), trusted, searches })
}

/// Settings of a connection that a component may read and change: none of them names a file.
const PRAGMAS: [&str; 8] = [
    "foreign_keys",
    "foreign_key_list",
    "index_list",
    "index_info",
    "table_info",
    "table_list",
    "user_version",
    "case_sensitive_like",
];

fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } if !PRAGMAS.contains(&pragma_name) => Authorization::Deny,
        AuthAction::Function { function_name: "load_extension" } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

fn refused(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::exhausted(text),
        Some(ErrorCode::TooBig) => Error::too_large(text).hint(format!(
            "a text or blob has at most {} MiB, and {} KiB where the statement searches in it",
            MAX_VALUE_BYTES >> 20,
            MAX_SEARCHED_BYTES >> 10
        )),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            Error::denied(text).hint("a component's SQL reaches its own database and no other file")
        }
        _ => Error::invalid(text),
    }
}

struct OpenedConnection {
    opened: Arc<Mutex<StatementHandle>>,
    closing: Arc<StoreClosing>,
    statements: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

#[async_trait]
impl SqlConnection for OpenedConnection {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<SqlValue>,
        limits: StatementLimits,
    ) -> Result<SqlRows> {
        let stop = StatementStop::new(limits.deadline, self.closing.clone());
        let turn = async {
            let handle = self.opened.clone().lock_owned().await;
            (handle, self.statements.clone().acquire_owned().await)
        };
        // Neither the connection nor the place is free before the statement's thread is: not when whoever asked
        // goes away.
        let Ok((handle, place)) = tokio::time::timeout_at(limits.deadline.into(), turn).await else {
            return Err(Error::timeout("the statement did not get its turn before the deadline of its call")
                .hint("other statements of this database take too long"));
        };
        let waits = StopOnDrop(stop.clone());
        let done = away(move || {
            let _place = place;
            handle.run(&statement, parameters, &stop, &limits.answer)
        });
        let done = done.await;
        drop(waits);
        done?
    }
}

impl StatementHandle {
    /// Lets the database grow by what the disk has now.
    fn bound_growth(&self) -> Result<()> {
        let more = self.room.reserve.left()? / (2 * PAGE_BYTES);
        let limit = (self.room.limit.0 / PAGE_BYTES).max(1);
        let connection = &self.connection;
        self.trusted.store(true, Ordering::Relaxed);
        let set = || {
            let pages = if more < limit {
                let now: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
                limit.min(u64::try_from(now).unwrap_or_default().saturating_add(more)).max(1)
            } else {
                limit
            };
            if self.max_pages.replace(pages) == pages {
                return Ok(());
            }
            connection.execute_batch(&format!("PRAGMA max_page_count = {pages}"))
        };
        let set = set();
        self.trusted.store(false, Ordering::Relaxed);
        set.map_err(|error: rusqlite::Error| refused(&error))
    }

    fn run(
        &self,
        statement: &str,
        parameters: Vec<SqlValue>,
        stop: &Arc<StatementStop>,
        answer: &HeldMemory,
    ) -> Result<SqlRows> {
        if let Some(why) = stop.due() {
            return Err(why);
        }
        self.bound_growth()?;
        let (watch, spilled) = (stop.clone(), SpilledFiles::default());
        let (watches, full) = (spilled.clone(), || spilled.error());
        let failed = |error: rusqlite::Error| stop.due().or_else(full).unwrap_or_else(|| refused(&error));
        let connection = &self.connection;
        connection.busy_timeout(BUSY_TIMEOUT.min(stop.remaining())).map_err(failed)?;
        connection
            .progress_handler(STEPS, Some(move || watch.due().is_some() || watches.fills_the_disk()))
            .map_err(failed)?;
        self.searches.store(false, Ordering::Relaxed);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES).map_err(failed)?;
        let mut prepared = connection.prepare(statement).map_err(failed)?;
        if self.searches.load(Ordering::Relaxed) {
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_SEARCHED_BYTES).map_err(failed)?;
        }
        let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
        answer.grow(columns.iter().map(|name| size_of::<String>() + name.len()).sum())?;
        let parameters = parameters.into_iter().map(into_value);
        let mut found = prepared.query(rusqlite::params_from_iter(parameters)).map_err(failed)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(failed)? {
            if rows.len() == MAX_ROWS {
                return Err(Error::exhausted(format!("the statement gives more than {MAX_ROWS} rows"))
                    .hint("ask for them in pages, with LIMIT"));
            }
            let cells = (0..columns.len()).map(|index| row.get_ref(index).unwrap_or(ValueRef::Null));
            // Before they are copied: one value may be larger than all that the component may have.
            let bytes = cells.clone().map(|cell| size_of::<SqlValue>() + value_bytes(cell)).sum::<usize>();
            answer.grow(size_of::<Vec<SqlValue>>() + bytes)?;
            rows.push(cells.map(into_cell).collect());
        }
        drop(found);
        let (last, changed) = (connection.last_insert_rowid(), connection.changes());
        Ok(SqlRows { columns, rows, last, changed })
    }
}

/// Looks after the files to which SQLite sorts what does not fit into memory: they have no limit of their own.
#[derive(Clone, Default)]
struct SpilledFiles(Arc<(AtomicU32, AtomicBool)>);

/// Calls of the progress handler between two looks at the disk.
const DISK_CHECK_CALLS: u32 = 1024;

impl SpilledFiles {
    fn fills_the_disk(&self) -> bool {
        let (calls, full) = &*self.0;
        if calls.fetch_add(1, Ordering::Relaxed) % DISK_CHECK_CALLS == DISK_CHECK_CALLS - 1 {
            let left = TEMPORARY.as_ref().map(DiskReserve::left);
            full.store(matches!(left, Some(Ok(0))), Ordering::Relaxed);
        }
        full.load(Ordering::Relaxed)
    }

    fn error(&self) -> Option<Error> {
        self.0.1.load(Ordering::Relaxed).then(|| {
            Error::exhausted("the disk for temporary files is full")
                .hint("sort less at once, or add an index")
        })
    }
}

/// The disk of temporary files, looked for as SQLite does.
static TEMPORARY: LazyLock<Option<DiskReserve>> = LazyLock::new(|| {
    let named = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp", "."].into_iter().map(PathBuf::from);
    let folder = named.chain(usual).find(|folder| folder.is_dir())?;
    DiskReserve::new(&folder, ByteCount(0)).ok()
});

fn into_value(cell: SqlValue) -> Value {
    match cell {
        SqlValue::Null => Value::Null,
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Real(number) => Value::Real(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
    }
}

fn into_cell(value: ValueRef<'_>) -> SqlValue {
    match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Text(text) => SqlValue::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    }
}

fn value_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
