#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use eyot_core::ErrorKind;
use eyot_test_services::PostgresServer;
use serde_json::json;

use super::*;
use crate::{Event, RowSnapshot};

async fn open(dir: &Path, name: &str) -> Database {
    Database::open(&dir.join(name)).await.unwrap()
}

async fn run(db: &Database, statement: &str) {
    let mut tx = db.begin().await.unwrap();
    sql(statement.to_owned()).execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn number(db: &Database, statement: &str) -> i64 {
    sql(statement.to_owned()).fetch_one(db).await.unwrap().get(0).unwrap()
}

/// Rows of many kinds: more than a page of some, texts that quoting could harm, and numbers that were given and are
/// gone.
async fn fill(db: &Database) {
    let odd = "\u{e9}\u{1f680}'; -- \"\n";
    let insert = sql("INSERT INTO experiments (id, name, created_at) VALUES ($1, $2, $3)");
    insert.bind("1").bind(odd).bind(i64::MIN).execute(db).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.emit(Event::new("a", "b", json!({ "n": 1.5 })));
    for number in 0..2500 {
        let run = format!("r{number:04}");
        let insert = sql(
            "INSERT INTO runs (id, experiment, name, status, started_at) VALUES ($1, '1', $2, 'FINISHED', 0)",
        );
        insert.bind(&run).bind(odd).execute(&mut tx).await.unwrap();
        let insert =
            sql("INSERT INTO metrics (run, key, value, step, logged_at) VALUES ($1, 'loss', 'NaN', $2, 7)");
        insert.bind(&run).bind(number).execute(&mut tx).await.unwrap();
    }
    for (digest, size) in [("sha256:a", Some(5)), ("sha256:b", None)] {
        let insert =
            sql("INSERT INTO blobs (digest, size, uses, leased_until, checked_at) VALUES ($1, $2, 0, 0, 0)");
        insert.bind(digest).bind(size).execute(&mut tx).await.unwrap();
        let insert = sql("INSERT INTO repository_blobs (repository, digest) VALUES ('acme/x', $1)");
        insert.bind(digest).execute(&mut tx).await.unwrap();
    }
    let insert = sql("INSERT INTO key_values (store, key, value) VALUES ('s', $1, $2)");
    insert.bind("").bind(vec![0_u8, 255, 39]).execute(&mut tx).await.unwrap();
    for number in 0..6 {
        let insert = sql("INSERT INTO key_values (store, key, value) VALUES ('large', $1, $2)");
        insert.bind(number.to_string()).bind(vec![7_u8; 3 << 20]).execute(&mut tx).await.unwrap();
    }
    sql("DELETE FROM metrics WHERE id > 2490").execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_to_postgres_and_back_as_they_are() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (first, last) = (open(dir.path(), "first.db").await, open(dir.path(), "last.db").await);
    fill(&first).await;
    let middle = Database::connect(&postgres.url("eyot")).await.unwrap();
    // As a server that had the database for a moment and did nothing.
    drop(middle.claim().await.unwrap());

    let there = first.copy_into(&middle).await.unwrap();
    assert_eq!(there, first.summaries().await.unwrap());
    let rows = |name: &str| there.iter().find(|table| table.name == name).unwrap().rows;
    assert_eq!(
        (rows("runs"), rows("metrics"), rows("key_values"), rows("repository_usage")),
        (2500, 2490, 7, 1)
    );
    let back = middle.copy_into(&last).await.unwrap();
    assert_eq!(back, there);
    assert_eq!(dump(&first).await, dump(&last).await);

    for db in [&middle, &last] {
        // What was counted is not counted twice, and what comes is counted as before.
        let usage = "SELECT bytes FROM repository_usage WHERE repository = 'acme/x'";
        assert_eq!(number(db, usage).await, 5);
        run(db, "INSERT INTO repository_blobs (repository, digest) VALUES ('acme/y', 'sha256:a')").await;
        assert_eq!(number(db, "SELECT bytes FROM repository_usage WHERE repository = 'acme/y'").await, 5);
        run(db, "INSERT INTO metrics (run, key, value, step, logged_at) VALUES ('r0000', 'k', '1', 0, 0)")
            .await;
        assert_eq!(
            number(db, "SELECT MAX(id) FROM metrics").await,
            2501,
            "a number that was given is not given again"
        );
        let orphan = sql("INSERT INTO params (run, key, value) VALUES ('none', 'k', 'v')").execute(db).await;
        assert!(crate::is_missing_reference(&orphan.unwrap_err()));
        let error = first.copy_into(db).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
        assert!(error.chain().contains("has rows of Eyot already"), "{error:?}");
    }
}

/// Every row of every table as text, read by another way than copies are.
async fn dump(db: &Database) -> Vec<String> {
    let mut lines = Vec::new();
    for plan in TablePlan::of(db).await.unwrap() {
        let values: Vec<_> =
            plan.columns.iter().map(|column| format!("quote({})", quoted(&column.name))).collect();
        let select =
            format!("SELECT {} AS line FROM {} ORDER BY 1", values.join(" || ',' || "), quoted(&plan.name));
        let rows = sql(select).fetch_all(db).await.unwrap();
        lines.extend(rows.iter().map(|row| format!("{}: {}", plan.name, row.get::<String>("line").unwrap())));
    }
    let counters = sqlite_catalog::counters(db).await.unwrap();
    lines.extend(counters.into_iter().map(|(name, last)| format!("{name} counts from {last}")));
    lines
}

#[tokio::test]
async fn a_copy_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (from, into) = (open(dir.path(), "from.db").await, open(dir.path(), "into.db").await);
    run(&from, "INSERT INTO experiments (id, name, created_at) VALUES ('1', 'one', 0)").await;
    run(
        &from,
        "INSERT INTO tokens (id, name, secret_hash, scopes, created_at) VALUES ('1', 'a', x'00ff', '[]', 0)",
    )
    .await;
    let before = into.summaries().await.unwrap();
    let error = from.copy_into(&into).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.chain().contains("tokens.secret_hash"), "{error:?}");
    assert_eq!(into.summaries().await.unwrap(), before);
    let triggers = sqlite_catalog::triggers(&into).await.unwrap();
    assert_eq!(triggers.len(), 3);
}

/// Two tables that only ever change together.
async fn write_pairs(db: Database, stop: &AtomicBool) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut tx = db.begin().await.unwrap();
        let insert = sql("INSERT INTO experiments (id, name, created_at) VALUES ($1, $1, 0)");
        insert.bind(number.to_string()).execute(&mut tx).await.unwrap();
        let insert =
            sql("INSERT INTO registered_models (name, latest, created_at, updated_at) VALUES ($1, 0, 0, 0)");
        insert.bind(number.to_string()).execute(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn snapshots_are_of_one_moment(db: &Database, dir: &Path) {
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (db, stop) = (db.clone(), stop.clone());
        async move { write_pairs(db, &stop).await }
    });
    let mut last = 0;
    for round in 0..3 {
        while number(db, "SELECT COUNT(*) FROM experiments").await <= last {
            tokio::task::yield_now().await;
        }
        let file = dir.join(format!("snapshot{round}.db"));
        db.snapshot(&file).await.unwrap();
        let snapshot = RowSnapshot::open(&file).await.unwrap();
        let tables = snapshot.summaries().await.unwrap();
        let rows = |name: &str| tables.iter().find(|table| table.name == name).unwrap().rows;
        assert_eq!(rows("experiments"), rows("registered_models"));
        assert!(rows("experiments") as i64 > last, "what was committed before is there");
        last = rows("experiments") as i64;
        snapshot.close().await;
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(db.bytes().await.unwrap() > 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_sqlite_are_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), "eyot.db").await;
    snapshots_are_of_one_moment(&db, dir.path()).await;
    let error = db.snapshot(&dir.path().join("snapshot0.db")).await.unwrap_err();
    assert!(error.chain().contains("already exists"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_postgres_are_of_one_moment() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let db = Database::connect(&postgres.url("eyot")).await.unwrap();
    snapshots_are_of_one_moment(&db, dir.path()).await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), "eyot.db").await;
    let file = dir.path().join("snapshot.db");
    db.snapshot(&file).await.unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100..4096].fill(0xa5);
    std::fs::write(&file, &bytes).unwrap();
    let snapshot = RowSnapshot::open(&file).await.unwrap();
    let error = snapshot.summaries().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    std::fs::write(&file, "no database, though it is long enough to be looked at as one".repeat(100))
        .unwrap();
    let refused = match RowSnapshot::open(&file).await {
        Ok(snapshot) => snapshot.summaries().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused:?}");
}
