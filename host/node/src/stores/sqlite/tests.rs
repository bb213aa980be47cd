#![allow(clippy::unwrap_used)]

use std::time::Instant;

use eyot_core::ErrorKind;
use eyot_engine::{HostMemory, SqlDatabase as _};

use super::*;
use crate::stores::closing::StoreClosings;

const LONG: Duration = Duration::from_secs(60);
const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

fn database(dir: &Path) -> SqliteDatabase {
    let reserve = DiskReserve::new(dir, ByteCount(0)).unwrap();
    SqliteDatabase::new(dir.join("sqlite/app.db"), ByteCount(1 << 30), reserve, Arc::default())
}

fn limits(time: Duration, bytes: usize) -> StatementLimits {
    let answer = Arc::new(HostMemory::new(bytes).open());
    StatementLimits { deadline: Instant::now() + time, answer }
}

async fn ask(connection: &dyn SqlConnection, statement: &str) -> Result<SqlRows> {
    connection.execute(statement.to_owned(), vec![], limits(LONG, 64 << 20)).await
}

/// Every place for a statement, once all that computed have ended.
async fn idle(database: &SqliteDatabase) {
    let all = database.statements.acquire_many(MAX_STATEMENT_CALLS as u32);
    tokio::time::timeout(LONG, all).await.expect("every statement ends").unwrap().forget();
    database.statements.add_permits(MAX_STATEMENT_CALLS);
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
        let done = connection.execute(endless.clone(), vec![], limits(Duration::from_millis(200), 1 << 20));
        assert_eq!(done.await.unwrap_err().kind(), ErrorKind::Timeout, "{endless}");
        assert!(begun.elapsed() < LONG / 4, "{endless}");
        idle(&database).await;
    }
    // What computes without looking at the clock has little to compute on.
    let slow = "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1')";
    assert_eq!(ask(&*connection, slow).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(ask(&*connection, "SELECT 1").await.unwrap().rows, [[SqlValue::Integer(1)]]);
}

#[tokio::test]
async fn statements_that_nobody_waits_for_end_and_keep_their_place_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path());
    for _ in 0..3 * MAX_STATEMENT_CALLS {
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
    let (closings, name) = (StoreClosings::default(), "app".parse().unwrap());
    let database = SqliteDatabase { closing: closings.of(&name), ..database(dir.path()) };
    let connection = database.connect().await.unwrap();
    let statement = connection.execute(ENDLESS.to_owned(), vec![], limits(LONG, 1 << 20));
    let (ended, ()) = tokio::join!(statement, async { closings.close(&name) });
    let error = ended.unwrap_err();
    assert!(error.kind() == ErrorKind::Cancelled && error.chain().contains("taken away"), "{error}");
    // A request that is still being answered may ask for a little.
    assert_eq!(ask(&*connection, "SELECT 1").await.unwrap().rows.len(), 1);
}

#[tokio::test]
async fn a_database_grows_to_its_limit_and_not_into_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let all = DiskReserve::new(dir.path(), ByteCount(1)).unwrap().left().unwrap();
    for (limit, reserve) in [(1 << 20, 1), (1 << 30, all.saturating_mul(2))] {
        let reserve = DiskReserve::new(dir.path(), ByteCount(reserve)).unwrap();
        let path = dir.path().join(format!("{limit}.db"));
        let database = SqliteDatabase::new(path, ByteCount(limit), reserve, Arc::default());
        let connection = database.connect().await.unwrap();
        let made = ask(&*connection, "CREATE TABLE IF NOT EXISTS t (b BLOB)").await;
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
                    INSERT INTO t SELECT zeroblob(100000) FROM n";
        let filled = match made {
            Ok(_) => ask(&*connection, fill).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(filled.unwrap_err().kind(), ErrorKind::Exhausted, "{limit}");
        assert_eq!(ask(&*connection, "SELECT 1").await.unwrap().rows.len(), 1);
    }
}

#[tokio::test]
async fn temporary_tables_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let connection = database(dir.path()).connect().await.unwrap();
    ask(&*connection, "CREATE TEMP TABLE t (b BLOB)").await.unwrap();
    let most = ask(&*connection, "SELECT * FROM pragma_max_page_count('temp')").await;
    assert_eq!(most.unwrap_err().kind(), ErrorKind::Denied);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
                INSERT INTO t SELECT zeroblob(20000000) FROM n";
    assert_eq!(ask(&*connection, fill).await.unwrap_err().kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn an_answer_is_bounded_by_bytes_and_not_by_rows() {
    let dir = tempfile::tempdir().unwrap();
    let database = database(dir.path());
    let connection = database.connect().await.unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) SELECT zeroblob(SIZE) FROM n";
    for (statement, kind) in [
        (many.replace("SIZE", "1000000"), ErrorKind::TooLarge),
        (many.replace("SIZE", "100000000"), ErrorKind::TooLarge),
        (many.replace("SIZE", "20000000"), ErrorKind::TooLarge),
        (many.replace("i < 60", "i < 10000000").replace("SIZE", "0"), ErrorKind::Exhausted),
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
    let execute = |statement: &str, parameters: Vec<SqlValue>| {
        connection.execute(statement.to_owned(), parameters, limits(LONG, 1 << 20))
    };
    execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, weight REAL, data BLOB)", vec![])
        .await
        .unwrap();
    let cells = vec![SqlValue::Text("a".into()), SqlValue::Real(0.5), SqlValue::Blob(vec![0, 255])];
    let done =
        execute("INSERT INTO notes (text, weight, data) VALUES (?, ?, ?)", cells.clone()).await.unwrap();
    assert_eq!((done.last, done.changed), (1, 1));
    let found = execute("SELECT id, text, weight, data, NULL AS none FROM notes", vec![]).await.unwrap();
    assert_eq!(found.columns, ["id", "text", "weight", "data", "none"]);
    assert_eq!(found.rows, [[vec![SqlValue::Integer(1)], cells, vec![SqlValue::Null]].concat()]);
    let outside = dir.path().join("outside.db").display().to_string();
    for (statement, kind) in [
        (format!("ATTACH DATABASE '{outside}' AS other"), ErrorKind::Denied),
        (format!("VACUUM INTO '{outside}'"), ErrorKind::Denied),
        ("PRAGMA journal_mode = DELETE".to_owned(), ErrorKind::Denied),
        ("PRAGMA temp_store_directory = '/'".to_owned(), ErrorKind::Denied),
        ("SELECT load_extension('x')".to_owned(), ErrorKind::Denied),
        ("SELECT * FROM missing".to_owned(), ErrorKind::Invalid),
        ("SELECT 1; SELECT 2".to_owned(), ErrorKind::Invalid),
    ] {
        let error = execute(&statement, vec![]).await.unwrap_err();
        let denied = error.kind() == kind || kind == ErrorKind::Denied && error.kind() == ErrorKind::Invalid;
        assert!(denied, "{statement}: {error}");
    }
    assert!(!Path::new(&outside).exists());
    let again = database.connect().await.unwrap();
    let count = ask(&*again, "SELECT count(*) FROM notes").await.unwrap();
    assert_eq!(count.rows, [[SqlValue::Integer(1)]]);
}
