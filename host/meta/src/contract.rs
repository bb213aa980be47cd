//! What both databases promise: every case runs on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eyot_core::{ErrorKind, ProjectName};
use eyot_test_services::{PostgresServer, give_up_after};
use serde_json::json;
use tempfile::TempDir;

use crate::{Database, Event, SqlValue, is_missing_reference, sql};

mod audit;
mod idempotency;

use audit::the_audit_log_of_each_project_is_a_chain;
use idempotency::a_request_with_a_key_is_done_once;

/// A new database, opened twice, as by two servers.
struct Opened {
    db: Database,
    other: Database,
    place: Place,
}

enum Place {
    File(#[allow(dead_code, reason = "deleted when dropped")] TempDir),
    Server(PostgresServer),
}

async fn sqlite() -> Option<Opened> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("eyot.db");
    let (db, other) = (Database::open(&file).await.unwrap(), Database::open(&file).await.unwrap());
    Some(Opened { db, other, place: Place::File(dir) })
}

async fn postgres() -> Option<Opened> {
    let server = PostgresServer::start().unwrap()?;
    let url = server.url("eyot");
    // Both at once: of two servers that begin with a new database, one makes its schema.
    let (db, other) = tokio::join!(Database::connect(&url), Database::connect(&url));
    Some(Opened { db: db.unwrap(), other: other.unwrap(), place: Place::Server(server) })
}

macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::sqlite().await.unwrap()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(opened) = super::postgres().await {
                    super::$case(opened).await;
                }
            })+
        }
    };
}

on_both! {
    values_of_every_type_come_back,
    text_is_ordered_by_its_bytes,
    what_is_refused_has_a_kind,
    events_happen_only_with_their_transaction,
    writers_of_two_servers_lose_no_update,
    events_of_two_servers_are_numbered_as_they_were_committed,
    a_transaction_of_which_a_statement_was_refused_is_not_committed,
    what_follows_from_a_commit_is_done_whenever_its_future_is_given_up,
    nothing_follows_from_what_is_not_committed,
    what_was_committed_outlives_a_crash,
    the_audit_log_of_each_project_is_a_chain,
    a_request_with_a_key_is_done_once,
}

fn event(topic: &str) -> Event {
    Event::new(topic, "x", json!({ "n": 1 }))
}

async fn topics(db: &Database, after: i64, limit: u32) -> Vec<(i64, String)> {
    let events = db.events(&ProjectName::default(), after, limit).await.unwrap();
    events.into_iter().map(|event| (event.id, event.topic)).collect()
}

async fn values_of_every_type_come_back(opened: Opened) {
    let on_file = matches!(opened.place, Place::File(_));
    let (real, bytes) = if on_file { ("REAL", "BLOB") } else { ("DOUBLE PRECISION", "BYTEA") };
    let table = format!("CREATE TABLE kinds (i BIGINT, r {real}, t TEXT, b {bytes})");
    sql(table).execute(&opened.db).await.unwrap();
    let rows = [
        (Some(i64::MIN), Some(0.1), Some("\u{e9}\u{1f680}'; --".to_owned()), Some(vec![0_u8, 255, 39])),
        (Some(i64::MAX), Some(f64::MAX), Some(String::new()), Some(Vec::new())),
        (None, None, None, None),
    ];
    for (i, r, t, b) in rows.clone() {
        let insert = sql("INSERT INTO kinds (i, r, t, b) VALUES ($1, $2, $3, $4)");
        let insert = insert.bind(i).bind(r).bind(t).bind(b);
        assert_eq!(insert.execute(&opened.db).await.unwrap(), 1);
    }
    let read = sql("SELECT i, r, t, b FROM kinds").fetch_all(&opened.db).await.unwrap();
    let read = read.iter().map(|row| {
        (row.get("i").unwrap(), row.get("r").unwrap(), row.get("t").unwrap(), row.get("b").unwrap())
    });
    assert_eq!(read.collect::<Vec<_>>(), rows);
    let changed = sql("UPDATE kinds SET i = 0 WHERE i IS NOT NULL").execute(&opened.db).await.unwrap();
    assert_eq!(changed, 2);
    assert_eq!(SqlValue::from(true), SqlValue::Integer(Some(1)));
    let one = sql("SELECT i FROM kinds WHERE t = $1").bind("no such").fetch_optional(&opened.db).await;
    assert!(one.unwrap().is_none());
}

async fn text_is_ordered_by_its_bytes(opened: Opened) {
    for name in ["b", "a", "B", "a-b", "ab", "\u{e4}", "Z"] {
        let insert = sql("INSERT INTO experiments (id, name, created_at) VALUES ($1, $1, 0)").bind(name);
        insert.execute(&opened.db).await.unwrap();
    }
    let rows = sql("SELECT name FROM experiments ORDER BY name").fetch_all(&opened.db).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
    assert_eq!(names, ["B", "Z", "a", "a-b", "ab", "b", "\u{e4}"]);
}

async fn what_is_refused_has_a_kind(opened: Opened) {
    let insert = || sql("INSERT INTO experiments (id, name, created_at) VALUES ('1', 'one', 0)");
    insert().execute(&opened.db).await.unwrap();
    let twice = insert().execute(&opened.db).await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Conflict);
    assert!(!is_missing_reference(&twice));
    let orphan = sql("INSERT INTO params (run, key, value) VALUES ('none', 'k', 'v')");
    let orphan = orphan.execute(&opened.db).await.unwrap_err();
    assert!(is_missing_reference(&orphan), "{orphan:?}");
    let missing = sql("SELECT id FROM experiments WHERE id = '2'").fetch_one(&opened.db).await;
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
    let row = sql("SELECT id FROM experiments").fetch_one(&opened.db).await.unwrap();
    assert_eq!(row.get::<String>("name").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(row.get::<i64>("id").unwrap_err().kind(), ErrorKind::Internal);
}

async fn events_happen_only_with_their_transaction(opened: Opened) {
    let db = &opened.db;
    let mut kept = db.begin().await.unwrap();
    kept.emit(event("a"));
    kept.emit(event("b"));
    kept.commit().await.unwrap();
    let mut dropped = db.begin().await.unwrap();
    dropped.emit(event("c"));
    drop(dropped);
    db.close().await;
    let other = &opened.other;
    let named = |id: i64, topic: &str| (id, topic.to_owned());
    assert_eq!(topics(other, 0, 10).await, [named(1, "a"), named(2, "b")]);
    assert_eq!(other.events(&ProjectName::default(), 0, 1).await.unwrap()[0].payload, json!({ "n": 1 }));
    assert_eq!(topics(other, 1, 10).await, [named(2, "b")]);
    assert_eq!(topics(other, 0, 1).await, [named(1, "a")]);
}

/// Reads, and writes what follows from it: right only if no other writer comes between.
async fn increment(db: &Database) -> eyot_core::Result<()> {
    let mut tx = db.begin().await?;
    let row = sql("SELECT value FROM registry_state WHERE name = 'tags'").fetch_one(&mut tx).await?;
    let value: i64 = row.get("value")?;
    let write = sql("UPDATE registry_state SET value = $1 WHERE name = 'tags'").bind(value + 1);
    write.execute(&mut tx).await?;
    tx.emit(event("incremented"));
    tx.commit().await
}

async fn writers_of_two_servers_lose_no_update(opened: Opened) {
    let writers: Vec<_> = (0..60)
        .map(|number| if number % 2 == 0 { opened.db.clone() } else { opened.other.clone() })
        .map(|db| tokio::spawn(async move { increment(&db).await }))
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    let row =
        sql("SELECT value FROM registry_state WHERE name = 'tags'").fetch_one(&opened.db).await.unwrap();
    assert_eq!(row.get::<i64>("value").unwrap(), 61);
    let ids: Vec<i64> = topics(&opened.other, 0, 100).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, (1..=60).collect::<Vec<_>>());
}

/// Whoever reads on after the last event that it saw sees every event, whatever else is being committed.
async fn events_of_two_servers_are_numbered_as_they_were_committed(opened: Opened) {
    let writers: Vec<_> = [opened.db.clone(), opened.other.clone()]
        .into_iter()
        .map(|db| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    increment(&db).await.unwrap();
                }
            })
        })
        .collect();
    let (mut seen, mut last) = (0, 0);
    while seen < 50 {
        let events = opened.db.events(&ProjectName::default(), last, 7).await.unwrap();
        for found in &events {
            assert_eq!(found.id, last + 1, "one was committed before and became visible after");
            last = found.id;
        }
        seen += events.len();
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn a_transaction_of_which_a_statement_was_refused_is_not_committed(opened: Opened) {
    let mut tx = opened.db.begin().await.unwrap();
    let insert = || sql("INSERT INTO experiments (id, name, created_at) VALUES ('1', 'one', 0)");
    insert().execute(&mut tx).await.unwrap();
    insert().execute(&mut tx).await.unwrap_err();
    tx.then(|| panic!("it did not happen"));
    tx.commit().await.unwrap_err();
    let rows = sql("SELECT id FROM experiments").fetch_all(&opened.other).await.unwrap();
    assert!(rows.is_empty());
    increment(&opened.db).await.unwrap();
}

async fn what_follows_from_a_commit_is_done_whenever_its_future_is_given_up(opened: Opened) {
    let db = opened.db;
    for polls in 0.. {
        let done = Arc::new(AtomicUsize::new(0));
        let before = db.events(&ProjectName::default(), 0, 1000).await.unwrap().len();
        let work = async {
            let mut tx = db.begin().await?;
            tx.emit(event("a"));
            let done = done.clone();
            tx.then(move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
            tx.commit().await
        };
        let ended = give_up_after(polls, work).await;
        // The next transaction begins when the last one has ended.
        drop(db.begin().await.unwrap());
        let written = db.events(&ProjectName::default(), 0, 1000).await.unwrap().len() - before;
        assert_eq!(written, done.load(Ordering::SeqCst), "given up after {polls} polls");
        if let Some(ended) = ended {
            ended.unwrap();
            assert_eq!(written, 1);
            assert!(polls > 1, "it was given up in the middle");
            return;
        }
    }
}

async fn nothing_follows_from_what_is_not_committed(opened: Opened) {
    let mut tx = opened.db.begin().await.unwrap();
    tx.then(|| panic!("it did not happen"));
    drop(tx);
    opened.db.close().await;
}

async fn what_was_committed_outlives_a_crash(mut opened: Opened) {
    for _ in 0..5 {
        increment(&opened.db).await.unwrap();
    }
    let mut open = opened.db.begin().await.unwrap();
    open.emit(event("never"));
    if let Place::Server(server) = &mut opened.place {
        server.restart_after_kill().unwrap();
        // It is told that what was open is gone, and goes on by itself with new connections.
        assert_eq!(open.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
    } else {
        drop(open);
    }
    for _ in 0..3 {
        increment(&opened.other).await.unwrap();
        increment(&opened.db).await.unwrap();
    }
    assert_eq!(topics(&opened.db, 0, 100).await.len(), 11);
}

/// A server that lost its claim with the database's restart writes nothing once another has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_succeeded_writes_nothing() {
    let Some(mut opened) = postgres().await else { return };
    let claim = opened.db.claim().await.unwrap();
    assert_eq!(opened.other.claim().await.err().unwrap().kind(), ErrorKind::Conflict);
    increment(&opened.db).await.unwrap();
    let Place::Server(server) = &mut opened.place else { panic!("it is on PostgreSQL") };
    server.restart_after_kill().unwrap();
    // Alone it goes on.
    increment(&opened.db).await.unwrap();
    let successor = opened.other.claim().await.unwrap();
    increment(&opened.other).await.unwrap();
    assert_eq!(increment(&opened.db).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(topics(&opened.other, 0, 10).await.len(), 3);
    drop((claim, successor));
}

/// What the steps of SQLite lead to is what PostgreSQL begins with.
#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let Some(on_postgres) = postgres().await else { return };
    let on_sqlite = sqlite().await.unwrap();
    let tables = "SELECT m.name AS table_name, c.name AS column_name, c.type AS kind, c.\"notnull\" AS required, \
         c.pk AS key_place FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '_sqlx%'";
    let rows = sql(tables).fetch_all(&on_sqlite.db).await.unwrap();
    let mut expected: Vec<_> = rows.iter().map(column).collect();
    let tables = "SELECT c.table_name::text AS table_name, c.column_name::text AS column_name, \
         CASE c.data_type WHEN 'bytea' THEN 'BLOB' ELSE UPPER(c.data_type) END AS kind, \
         CAST(CASE c.is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS BIGINT) AS required, \
         COALESCE(CAST(array_position(k.conkey, a.attnum) AS BIGINT), 0) AS key_place \
         FROM information_schema.columns c JOIN pg_class t ON t.relname = c.table_name AND t.relkind = 'r' \
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = c.column_name \
         LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p' \
         WHERE c.table_schema = 'public' AND c.table_name NOT LIKE '\\_sqlx%'";
    let rows = sql(tables).fetch_all(&on_postgres.db).await.unwrap();
    let mut found: Vec<_> = rows.iter().map(column).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);

    let indexes =
        "SELECT name FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY name";
    let rows = sql(indexes).fetch_all(&on_sqlite.db).await.unwrap();
    let expected: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
    let indexes = "SELECT name FROM (SELECT i.relname::text AS name FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
         JOIN pg_namespace n ON n.oid = i.relnamespace \
         WHERE n.nspname = 'public' AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.oid) \
         UNION ALL SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal) names ORDER BY name";
    let rows = sql(indexes).fetch_all(&on_postgres.db).await.unwrap();
    let found: Vec<String> = rows.iter().map(|row| row.get("name").unwrap()).collect();
    assert_eq!(found, expected);
}

/// Table, column, type, whether it is required, and its place in the primary key.
fn column(row: &crate::SqlRow) -> (String, String, String, bool, i64) {
    let text = |name: &str| row.get::<String>(name).unwrap();
    let (table, name, mut kind) = (text("table_name"), text("column_name"), text("kind"));
    if kind == "INTEGER" {
        kind = "BIGINT".to_owned();
    }
    let required = row.get::<i64>("required").unwrap() == 1;
    (table, name, kind, required, row.get("key_place").unwrap())
}
