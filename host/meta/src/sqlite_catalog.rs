//! What only SQLite is asked: its catalog, its counters, and a copy of its file.

use std::path::Path;

use eyot_core::{Error, Result};

use crate::{Database, SqlConnection, sql};

/// A column as it was declared.
pub(crate) struct DeclaredColumn {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) declared: String,
    /// From 1 on; 0 outside of the primary key.
    pub(crate) key_place: i64,
}

/// Every column of every table of Eyot's own, in order.
pub(crate) async fn columns(db: &Database) -> Result<Vec<DeclaredColumn>> {
    let rows =
        sql("SELECT m.name AS table_name, c.name AS column_name, c.type AS declared, c.pk AS key_place \
         FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' \
         AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
         ORDER BY m.name, c.cid");
    let rows = rows.fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            Ok(DeclaredColumn {
                table: row.get("table_name")?,
                name: row.get("column_name")?,
                declared: row.get("declared")?,
                key_place: row.get("key_place")?,
            })
        })
        .collect()
}

/// Which table refers to which.
pub(crate) async fn references(db: &Database) -> Result<Vec<(String, String)>> {
    let rows = sql("SELECT m.name AS table_name, f.\"table\" AS target FROM sqlite_master m \
         JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'");
    let rows = rows.fetch_all(db).await?;
    rows.iter().map(|row| Ok((row.get("table_name")?, row.get("target")?))).collect()
}

/// The statements that make the triggers, by their names.
pub(crate) async fn triggers(on: impl SqlConnection) -> Result<Vec<(String, String)>> {
    let rows = sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name");
    rows.fetch_all(on).await?.iter().map(|row| Ok((row.get("name")?, row.get("sql")?))).collect()
}

/// The last number that each counter gave, by its table.
pub(crate) async fn counters(on: impl SqlConnection) -> Result<Vec<(String, i64)>> {
    let rows = sql("SELECT name, seq FROM sqlite_sequence ORDER BY name").fetch_all(on).await?;
    rows.iter().map(|row| Ok((row.get("name")?, row.get("seq")?))).collect()
}

/// Lets a counter go on after a number, where it is not further already.
pub(crate) async fn advance_counter(on: &mut crate::Transaction, table: &str, last: i64) -> Result<()> {
    let raise = sql("UPDATE sqlite_sequence SET seq = MAX(seq, $1) WHERE name = $2");
    if raise.bind(last).bind(table).execute(&mut *on).await? == 0 {
        let begin = sql("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)");
        begin.bind(table).bind(last).execute(on).await?;
    }
    Ok(())
}

/// Writes all that one moment had into a new file, while others read and write.
pub(crate) async fn copy_into_file(db: &Database, file: &Path) -> Result<()> {
    let path =
        file.to_str().ok_or_else(|| Error::invalid(format!("the path {} is no text", file.display())))?;
    sql("VACUUM INTO $1").bind(path).execute(db).await.map(drop)
}

/// Bytes of the database.
pub(crate) async fn bytes(db: &Database) -> Result<u64> {
    let row = sql("SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()");
    Ok(row.fetch_one(db).await?.get::<i64>("bytes")?.unsigned_abs())
}

/// Looks at every page.
///
/// Fails with `Corrupt` saying what is wrong first.
pub(crate) async fn check_pages(db: &Database) -> Result<()> {
    let row = sql("PRAGMA quick_check(1)").fetch_one(db).await;
    let said: String = match row {
        Ok(row) => row.get(0)?,
        Err(error) => return Err(Error::corrupt("the rows cannot be read").because(error)),
    };
    if said == "ok" { Ok(()) } else { Err(Error::corrupt(format!("the rows are damaged: {said}"))) }
}
