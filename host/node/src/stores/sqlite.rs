//! SQLite databases of components, each a file: what their SQL reaches, and what it may take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eyot_core::{Error, Name, Result, ResultExt};
use eyot_engine::{Cell, Connection, HeldMemory, Rows, StatementLimits};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::stores::Closing;
use crate::stores::threads::{Stop, Waits, away};

/// How long a statement waits for another connection that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How large a database may grow, in pages of 4 KiB: 1 GiB.
const MAX_PAGES: u32 = 262_144;
/// The same for what a connection keeps in temporary tables: 256 MiB.
const MAX_TEMPORARY_PAGES: u32 = 65_536;
/// Rows that one statement may give, however small they are.
const MAX_ROWS: usize = 100_000;
/// Statements of one database that compute at once. Others wait until one ends.
const MAX_STATEMENTS: usize = 4;
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
pub(crate) struct Sqlite {
    path: PathBuf,
    closing: Arc<Closing>,
    statements: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl Sqlite {
    /// The database of that name in a data folder, for a deployment that may be taken away.
    pub(crate) fn new(data: &Path, name: &Name, closing: Arc<Closing>) -> Self {
        Self {
            path: data.join("sqlite").join(format!("{name}.db")),
            closing,
            statements: Arc::new(Semaphore::new(MAX_STATEMENTS)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }
}

#[async_trait]
impl eyot_engine::Database for Sqlite {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let place = tokio::time::timeout(BUSY_TIMEOUT, self.connections.clone().acquire_owned()).await;
        let place = place.ok().and_then(std::result::Result::ok).ok_or_else(|| {
            Error::exhausted(format!("{MAX_CONNECTIONS} connections to the database are open already"))
                .hint("close connections that are not needed any more")
        })?;
        let path = self.path.clone();
        let opened = away(move || open(&path)).await??;
        let (closing, statements) = (self.closing.clone(), self.statements.clone());
        Ok(Box::new(Opened { opened: Arc::new(Mutex::new(opened)), closing, statements, _place: place }))
    }
}

/// A connection, and whether the statement that is prepared on it searches.
struct Handle {
    connection: rusqlite::Connection,
    searches: Arc<AtomicBool>,
}

fn open(path: &Path) -> Result<Handle> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    }
    let unusable = |error: rusqlite::Error| refused(&error).context("the database cannot be opened");
    let connection = rusqlite::Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unusable)?;
    let setup = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA max_page_count = {MAX_PAGES}; \
                 PRAGMA temp.max_page_count = {MAX_TEMPORARY_PAGES};"
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
    let searches = Arc::<AtomicBool>::default();
    let seen = searches.clone();
    let watched = move |context: AuthContext<'_>| {
        if let AuthAction::Function { function_name } = context.action
            && SEARCHING.iter().any(|name| name.eq_ignore_ascii_case(function_name))
        {
            seen.store(true, Ordering::Relaxed);
        }
        allowed(context)
    };
    connection.authorizer(Some(watched)).map_err(unusable)?;
    Ok(Handle { connection, searches })
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

struct Opened {
    opened: Arc<Mutex<Handle>>,
    closing: Arc<Closing>,
    statements: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

#[async_trait]
impl Connection for Opened {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Cell>,
        limits: StatementLimits,
    ) -> Result<Rows> {
        let stop = Stop::new(limits.deadline, self.closing.clone());
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
        let waits = Waits(stop.clone());
        let done = away(move || {
            let _place = place;
            handle.run(&statement, parameters, &stop, &limits.answer)
        });
        let done = done.await;
        drop(waits);
        done?
    }
}

impl Handle {
    fn run(
        &self,
        statement: &str,
        parameters: Vec<Cell>,
        stop: &Arc<Stop>,
        answer: &HeldMemory,
    ) -> Result<Rows> {
        if let Some(why) = stop.due() {
            return Err(why);
        }
        let watch = stop.clone();
        let failed = |error: rusqlite::Error| stop.due().unwrap_or_else(|| refused(&error));
        let connection = &self.connection;
        connection.busy_timeout(BUSY_TIMEOUT.min(stop.remaining())).map_err(failed)?;
        connection.progress_handler(STEPS, Some(move || watch.due().is_some())).map_err(failed)?;
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
            let bytes = cells.clone().map(|cell| size_of::<Cell>() + value_bytes(cell)).sum::<usize>();
            answer.grow(size_of::<Vec<Cell>>() + bytes)?;
            rows.push(cells.map(into_cell).collect());
        }
        drop(found);
        let (last, changed) = (connection.last_insert_rowid(), connection.changes());
        Ok(Rows { columns, rows, last, changed })
    }
}

fn into_value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::Integer(number),
        Cell::Real(number) => Value::Real(number),
        Cell::Text(text) => Value::Text(text),
        Cell::Blob(bytes) => Value::Blob(bytes),
    }
}

fn into_cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Integer(number),
        ValueRef::Real(number) => Cell::Real(number),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

fn value_bytes(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use eyot_core::Kind;
    use eyot_engine::{Database as _, HostMemory};

    use super::*;
    use crate::stores::closing::Closings;

    const LONG: Duration = Duration::from_secs(60);
    const ENDLESS: &str =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

    fn database(dir: &Path) -> Sqlite {
        Sqlite::new(dir, &"app.default".parse().unwrap(), Arc::default())
    }

    fn limits(time: Duration, bytes: usize) -> StatementLimits {
        let answer = Arc::new(HostMemory::new(bytes).open());
        StatementLimits { deadline: Instant::now() + time, answer }
    }

    async fn ask(connection: &dyn Connection, statement: &str) -> Result<Rows> {
        connection.execute(statement.to_owned(), vec![], limits(LONG, 64 << 20)).await
    }

    /// Every place for a statement, once all that computed have ended.
    async fn idle(database: &Sqlite) {
        let all = database.statements.acquire_many(MAX_STATEMENTS as u32);
        tokio::time::timeout(LONG, all).await.expect("every statement ends").unwrap().forget();
        database.statements.add_permits(MAX_STATEMENTS);
    }

    #[tokio::test]
    async fn an_endless_statement_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let connection = database.connect().await.unwrap();
        for endless in [
            ENDLESS.to_owned(),
            ENDLESS.replace("max(i)", "sum(length(hex(zeroblob(1000000))))"),
            format!("CREATE TABLE t AS {ENDLESS}"),
            ENDLESS.replace("SELECT max(i) FROM n", "SELECT count(*) FROM n a, n b, n c"),
        ] {
            let begun = Instant::now();
            let done =
                connection.execute(endless.clone(), vec![], limits(Duration::from_millis(200), 1 << 20));
            assert_eq!(done.await.unwrap_err().kind(), Kind::Timeout, "{endless}");
            assert!(begun.elapsed() < LONG / 4, "{endless}");
            idle(&database).await;
        }
        // What computes without looking at the clock has little to compute on.
        let slow = "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1')";
        assert_eq!(ask(&*connection, slow).await.unwrap_err().kind(), Kind::TooLarge);
        assert_eq!(ask(&*connection, "SELECT 1").await.unwrap().rows, [[Cell::Integer(1)]]);
    }

    #[tokio::test]
    async fn statements_that_nobody_waits_for_end_and_keep_their_place_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        for _ in 0..3 * MAX_STATEMENTS {
            let connection = database.connect().await.unwrap();
            let statement = connection.execute(ENDLESS.to_owned(), vec![], limits(LONG, 1 << 20));
            let gone = tokio::time::timeout(Duration::from_millis(20), statement);
            assert!(gone.await.is_err());
        }
        idle(&database).await;
    }

    #[tokio::test]
    async fn statements_end_with_their_deployment() {
        let dir = tempfile::tempdir().unwrap();
        let (closings, name) = (Closings::default(), "app".parse().unwrap());
        let database = Sqlite::new(dir.path(), &name, closings.of(&name));
        let connection = database.connect().await.unwrap();
        let statement = connection.execute(ENDLESS.to_owned(), vec![], limits(LONG, 1 << 20));
        let (ended, ()) = tokio::join!(statement, async { closings.close(&name) });
        let error = ended.unwrap_err();
        assert!(error.kind() == Kind::Cancelled && error.chain().contains("taken away"), "{error}");
        // A request that is still being answered may ask for a little.
        assert_eq!(ask(&*connection, "SELECT 1").await.unwrap().rows.len(), 1);
    }

    #[tokio::test]
    async fn temporary_tables_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let connection = database(dir.path()).connect().await.unwrap();
        ask(&*connection, "CREATE TEMP TABLE t (b BLOB)").await.unwrap();
        let most = ask(&*connection, "SELECT * FROM pragma_max_page_count('temp')").await;
        assert_eq!(most.unwrap_err().kind(), Kind::Denied);
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
                    INSERT INTO t SELECT zeroblob(20000000) FROM n";
        assert_eq!(ask(&*connection, fill).await.unwrap_err().kind(), Kind::Exhausted);
    }

    #[tokio::test]
    async fn an_answer_is_bounded_by_bytes_and_not_by_rows() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let connection = database.connect().await.unwrap();
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) SELECT zeroblob(SIZE) FROM n";
        for (statement, kind) in [
            (many.replace("SIZE", "1000000"), Kind::TooLarge),
            (many.replace("SIZE", "100000000"), Kind::TooLarge),
            (many.replace("SIZE", "20000000"), Kind::TooLarge),
            (many.replace("i < 60", "i < 10000000").replace("SIZE", "0"), Kind::Exhausted),
        ] {
            let memory = HostMemory::new(32 << 20);
            let answer = Arc::new(memory.open());
            let limits = StatementLimits { deadline: Instant::now() + LONG, answer };
            let error = connection.execute(statement.clone(), vec![], limits).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{statement}: {error}");
            assert_eq!(memory.held_bytes(), 0);
        }
        let memory = HostMemory::new(32 << 20);
        let limits = StatementLimits { deadline: Instant::now() + LONG, answer: Arc::new(memory.open()) };
        let rows = connection.execute(many.replace("SIZE", "100000"), vec![], limits.clone()).await.unwrap();
        assert_eq!(rows.rows.len(), 60);
        assert!((6_000_000..6_100_000).contains(&memory.held_bytes()), "{}", memory.held_bytes());
    }

    #[tokio::test]
    async fn sql_reaches_its_own_database_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let connection = database.connect().await.unwrap();
        let execute = |statement: &str, parameters: Vec<Cell>| {
            connection.execute(statement.to_owned(), parameters, limits(LONG, 1 << 20))
        };
        execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, weight REAL, data BLOB)", vec![])
            .await
            .unwrap();
        let cells = vec![Cell::Text("a".into()), Cell::Real(0.5), Cell::Blob(vec![0, 255])];
        let done =
            execute("INSERT INTO notes (text, weight, data) VALUES (?, ?, ?)", cells.clone()).await.unwrap();
        assert_eq!((done.last, done.changed), (1, 1));
        let found = execute("SELECT id, text, weight, data, NULL AS none FROM notes", vec![]).await.unwrap();
        assert_eq!(found.columns, ["id", "text", "weight", "data", "none"]);
        assert_eq!(found.rows, [[vec![Cell::Integer(1)], cells, vec![Cell::Null]].concat()]);
        let outside = dir.path().join("outside.db").display().to_string();
        for (statement, kind) in [
            (format!("ATTACH DATABASE '{outside}' AS other"), Kind::Denied),
            (format!("VACUUM INTO '{outside}'"), Kind::Denied),
            ("PRAGMA journal_mode = DELETE".to_owned(), Kind::Denied),
            ("PRAGMA temp_store_directory = '/'".to_owned(), Kind::Denied),
            ("SELECT load_extension('x')".to_owned(), Kind::Denied),
            ("SELECT * FROM missing".to_owned(), Kind::Invalid),
            ("SELECT 1; SELECT 2".to_owned(), Kind::Invalid),
        ] {
            let error = execute(&statement, vec![]).await.unwrap_err();
            let denied = error.kind() == kind || kind == Kind::Denied && error.kind() == Kind::Invalid;
            assert!(denied, "{statement}: {error}");
        }
        assert!(!Path::new(&outside).exists());
        let again = database.connect().await.unwrap();
        let count = ask(&*again, "SELECT count(*) FROM notes").await.unwrap();
        assert_eq!(count.rows, [[Cell::Integer(1)]]);
    }
}
