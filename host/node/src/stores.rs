//! Where components keep things: key-value stores as rows of the node's database, SQLite databases as
//! files of their own in the data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::{Error, Name, Result, ResultExt};
use eyot_engine::{Cell, Connection, KeyValue, Rows};
use eyot_meta::KeyValues;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{Value, ValueRef};

/// A key-value store of that name.
pub(crate) fn key_value(db: &eyot_meta::Database, name: &Name) -> Arc<dyn KeyValue> {
    Arc::new(Kept(KeyValues::new(db.clone(), name.as_str())))
}

#[derive(Debug)]
struct Kept(KeyValues);

#[async_trait]
impl KeyValue for Kept {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(key).await
    }

    async fn set(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<()> {
        self.0.set(&pairs).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<()> {
        self.0.delete(&keys).await
    }

    async fn keys(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.0.keys(after, limit).await
    }

    async fn increment(&self, key: &str, by: i64) -> Result<i64> {
        self.0.increment(key, by).await
    }

    async fn swap(&self, key: &str, expected: Option<Vec<u8>>, value: Vec<u8>) -> Result<bool> {
        self.0.swap(key, expected.as_deref(), &value).await
    }
}

/// SQLite databases of components, each a file.
#[derive(Debug)]
pub(crate) struct Sqlite(PathBuf);

impl Sqlite {
    /// The database of that name in a data folder.
    pub(crate) fn new(data: &Path, name: &Name) -> Self {
        Self(data.join("sqlite").join(format!("{name}.db")))
    }
}

#[async_trait]
impl eyot_engine::Database for Sqlite {
    async fn connect(&self) -> Result<Box<dyn Connection>> {
        let path = self.0.clone();
        let opened = away(move || open(&path)).await??;
        Ok(Box::new(Opened(Arc::new(parking_lot::Mutex::new(opened)))))
    }
}

/// How long a statement waits for another connection that writes.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
/// How large a database may grow, in pages of 4 KiB: 1 GiB.
const PAGES: u32 = 262_144;
/// Rows that one statement may give: all of them are in memory at once.
const ROWS: usize = 100_000;

fn open(path: &Path) -> Result<rusqlite::Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    }
    let unusable = |error: rusqlite::Error| refused(&error).context("the database cannot be opened");
    let connection = rusqlite::Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(BUSY).map_err(unusable)?;
    let setup =
        format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA max_page_count = {PAGES};");
    connection.execute_batch(&setup).map_err(unusable)?;
    // A component's SQL reaches its own database and no other file.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(unusable)?;
    connection.authorizer(Some(allowed)).map_err(unusable)?;
    Ok(connection)
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
        Some(ErrorCode::DiskFull | ErrorCode::TooBig) => Error::exhausted(text),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            Error::denied(text).hint("a component's SQL reaches its own database and no other file")
        }
        _ => Error::invalid(text),
    }
}

/// SQLite computes on the thread that asks: away from those that serve.
async fn away<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal("work on a database ended early").because(error))
}

struct Opened(Arc<parking_lot::Mutex<rusqlite::Connection>>);

#[async_trait]
impl Connection for Opened {
    async fn execute(&self, statement: String, parameters: Vec<Cell>) -> Result<Rows> {
        let connection = self.0.clone();
        away(move || run(&connection.lock(), &statement, parameters)).await?
    }
}

fn run(connection: &rusqlite::Connection, statement: &str, parameters: Vec<Cell>) -> Result<Rows> {
    let mut prepared = connection.prepare(statement).map_err(|error| refused(&error))?;
    let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
    let parameters = parameters.into_iter().map(|cell| match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::Integer(number),
        Cell::Real(number) => Value::Real(number),
        Cell::Text(text) => Value::Text(text),
        Cell::Blob(bytes) => Value::Blob(bytes),
    });
    let mut found =
        prepared.query(rusqlite::params_from_iter(parameters)).map_err(|error| refused(&error))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(|error| refused(&error))? {
        if rows.len() == ROWS {
            return Err(Error::exhausted(format!("the statement gives more than {ROWS} rows"))
                .hint("ask for them in pages, with LIMIT"));
        }
        let cells = (0..columns.len()).map(|index| match row.get_ref(index) {
            Ok(ValueRef::Null) | Err(_) => Cell::Null,
            Ok(ValueRef::Integer(number)) => Cell::Integer(number),
            Ok(ValueRef::Real(number)) => Cell::Real(number),
            Ok(ValueRef::Text(text)) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
            Ok(ValueRef::Blob(bytes)) => Cell::Blob(bytes.to_vec()),
        });
        rows.push(cells.collect());
    }
    drop(found);
    let (last, changed) = (connection.last_insert_rowid(), connection.changes());
    Ok(Rows { columns, rows, last, changed })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::Kind;
    use eyot_engine::Database as _;

    use super::*;

    #[tokio::test]
    async fn sql_reaches_its_own_database_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let database = Sqlite::new(dir.path(), &"app.default".parse().unwrap());
        let connection = database.connect().await.unwrap();
        let ask =
            |statement: &str, parameters: Vec<Cell>| connection.execute(statement.to_owned(), parameters);
        ask("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, weight REAL, data BLOB)", vec![])
            .await
            .unwrap();
        let cells = vec![Cell::Text("a".into()), Cell::Real(0.5), Cell::Blob(vec![0, 255])];
        let done =
            ask("INSERT INTO notes (text, weight, data) VALUES (?, ?, ?)", cells.clone()).await.unwrap();
        assert_eq!((done.last, done.changed), (1, 1));
        let found = ask("SELECT id, text, weight, data, NULL AS none FROM notes", vec![]).await.unwrap();
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
            let error = connection.execute(statement.clone(), vec![]).await.unwrap_err();
            let denied = error.kind() == kind || kind == Kind::Denied && error.kind() == Kind::Invalid;
            assert!(denied, "{statement}: {error}");
        }
        assert!(!Path::new(&outside).exists());
        let again = database.connect().await.unwrap();
        let count = again.execute("SELECT count(*) FROM notes".to_owned(), vec![]).await.unwrap();
        assert_eq!(count.rows, [[Cell::Integer(1)]]);
    }
}
