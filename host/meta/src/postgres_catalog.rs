//! What only PostgreSQL is asked: its counters and its size.

use eyot_core::Result;

use crate::{Database, SqlConnection, sql};

/// The columns that count by themselves, by table.
async fn identities(on: &mut (dyn SqlConnection + Send + '_)) -> Result<Vec<(String, String)>> {
    let rows = sql("SELECT table_name::text AS table_name, column_name::text AS column_name \
         FROM information_schema.columns WHERE table_schema = current_schema() AND is_identity = 'YES' \
         ORDER BY table_name");
    rows.fetch_all(on)
        .await?
        .iter()
        .map(|row| Ok((row.get("table_name")?, row.get("column_name")?)))
        .collect()
}

/// The last number that each counter gave, by its table.
pub(crate) async fn counters(on: &mut (dyn SqlConnection + Send + '_)) -> Result<Vec<(String, i64)>> {
    let mut counters = Vec::new();
    for (table, column) in identities(&mut *on).await? {
        let last = sql("SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass) AS last");
        let last = last.bind(&table).bind(column).fetch_one(&mut *on).await?;
        if let Some(last) = last.get::<Option<i64>>("last")? {
            counters.push((table, last));
        }
    }
    Ok(counters)
}

/// Lets each counter go on after the largest number of its column, and after that which is said of it.
pub(crate) async fn advance_counters(
    on: &mut (dyn SqlConnection + Send + '_),
    counters: &[(String, i64)],
) -> Result<()> {
    for (table, column) in identities(&mut *on).await? {
        let largest = format!("SELECT MAX(\"{column}\") AS largest FROM \"{table}\"");
        let largest: Option<i64> = sql(largest).fetch_one(&mut *on).await?.get("largest")?;
        let said = counters.iter().find(|(name, _)| *name == table).map(|(_, last)| *last);
        if let Some(last) = largest.max(said).filter(|last| *last > 0) {
            let set = sql("SELECT setval(pg_get_serial_sequence($1, $2)::regclass, $3::bigint)");
            set.bind(table).bind(column).bind(last).execute(&mut *on).await?;
        }
    }
    Ok(())
}

/// Bytes of the database.
pub(crate) async fn bytes(db: &Database) -> Result<u64> {
    let row = sql("SELECT pg_database_size(current_database()) AS bytes").fetch_one(db).await?;
    Ok(row.get::<i64>("bytes")?.unsigned_abs())
}
