//! All rows of one database into another, whichever of the two kinds each is.

use eyot_core::{Digest, Digester, Error, Result};
use serde::{Deserialize, Serialize};

use crate::read_transaction::ReadTransaction;
use crate::table_plan::{TablePlan, quoted};
use crate::{
    ConnectionPool, Database, SERVER_TERM, SqlConnection, SqlValue, Transaction, postgres_catalog, sql,
    sqlite_catalog,
};

/// Rows of one statement: both databases bound the values of one.
const INSERTED_ROWS: usize = 64;
/// Rows that are read at once: the most, and how many the first time, when nobody knows how large they are.
const MAX_PAGE_ROWS: usize = 1024;
const FIRST_PAGE_ROWS: usize = 16;
/// What a page should not exceed by much.
const PAGE_BYTES: usize = 4 << 20;

/// What a table holds: equal for equal rows, on either database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSummary {
    pub name: String,
    pub rows: u64,
    /// Over all values, in the order of the primary key.
    pub hash: Digest,
}

type Connection<'c> = dyn SqlConnection + Send + 'c;

impl Database {
    /// Copies every row, as all are at one moment, into a database that nobody has used, in one transaction there; the
    /// two are compared before it is committed. Numbers that a database gives go on after the last.
    ///
    /// Fails with `Conflict` where the target has rows, and with `Corrupt` naming a table that is not as it was.
    pub async fn copy_into(&self, target: &Database) -> Result<Vec<TableSummary>> {
        let tables = current_tables().await?;
        target.check_unused().await?;
        let mut reading = ReadTransaction::begin(self).await?;
        let mut writing = target.begin().await?;
        let prepared = PreparedTarget::prepare(target, &mut writing, &tables).await?;
        let mut summaries = Vec::new();
        for plan in &tables {
            summaries.push(copy_table(plan, &mut reading, &mut writing).await?);
        }
        let counters = self.counters(&mut reading).await?;
        prepared.finish(&mut writing, &tables, &counters).await?;
        for (plan, copied) in tables.iter().zip(&summaries) {
            if summarize(plan, &mut &mut writing).await? != *copied {
                return Err(Error::corrupt(format!("table {} is not what was copied", plan.name)));
            }
        }
        writing.commit().await?;
        Ok(summaries)
    }

    /// What each table holds at one moment, as the schema of this program has them.
    pub async fn summaries(&self) -> Result<Vec<TableSummary>> {
        self.summaries_of(&current_tables().await?).await
    }

    pub(crate) async fn summaries_of(&self, tables: &[TablePlan]) -> Result<Vec<TableSummary>> {
        let mut reading = ReadTransaction::begin(self).await?;
        let mut summaries = Vec::new();
        for plan in tables {
            summaries.push(summarize(plan, &mut &mut reading).await?);
        }
        Ok(summaries)
    }

    /// Fails with `Conflict` where a table has more rows than a new database begins with.
    pub async fn check_unused(&self) -> Result<()> {
        let fresh = Self::in_memory().await?;
        for plan in current_tables().await? {
            if count(self, &plan).await? > count(&fresh, &plan).await? {
                return Err(Error::conflict(format!(
                    "the database has rows of Eyot already, in its table {}",
                    plan.name
                ))
                .hint("name a database that is empty"));
            }
        }
        Ok(())
    }

    /// Whether the rows are those of another database.
    pub async fn has_rows_of(&self, other: &Database) -> Result<bool> {
        Ok(self.summaries().await? == other.summaries().await?)
    }

    async fn counters(&self, reading: &mut ReadTransaction) -> Result<Vec<(String, i64)>> {
        match &self.pool {
            ConnectionPool::Sqlite(_) => sqlite_catalog::counters(reading).await,
            ConnectionPool::Postgres(_) => postgres_catalog::counters(&mut &mut *reading).await,
        }
    }
}

async fn current_tables() -> Result<Vec<TablePlan>> {
    TablePlan::of(&Database::in_memory().await?).await
}

async fn count(db: &Database, plan: &TablePlan) -> Result<i64> {
    let count = format!("SELECT COUNT(*) AS count FROM {} WHERE {}", quoted(&plan.name), copied_rows(plan));
    sql(count).fetch_one(db).await?.get("count")
}

/// Which rows are copied: all but the one that says which server a database belongs to, which stays where it is.
fn copied_rows(plan: &TablePlan) -> String {
    match plan.name.as_str() {
        "registry_state" => format!("name <> '{SERVER_TERM}'"),
        _ => "1 = 1".to_owned(),
    }
}

/// A target whose triggers do not fire, since what they would count is copied as well.
enum PreparedTarget {
    Sqlite { triggers: Vec<(String, String)> },
    Postgres,
}

impl PreparedTarget {
    /// Also removes the rows that a new database begins with.
    async fn prepare(target: &Database, writing: &mut Transaction, tables: &[TablePlan]) -> Result<Self> {
        let prepared = match &target.pool {
            ConnectionPool::Sqlite(_) => {
                let triggers = sqlite_catalog::triggers(&mut *writing).await?;
                for (name, _) in &triggers {
                    sql(format!("DROP TRIGGER {}", quoted(name))).execute(&mut *writing).await?;
                }
                Self::Sqlite { triggers }
            }
            ConnectionPool::Postgres(_) => {
                switch_triggers(writing, tables, "DISABLE").await?;
                Self::Postgres
            }
        };
        for plan in tables.iter().rev() {
            let delete = format!("DELETE FROM {} WHERE {}", quoted(&plan.name), copied_rows(plan));
            sql(delete).execute(&mut *writing).await?;
        }
        Ok(prepared)
    }

    async fn finish(
        self,
        writing: &mut Transaction,
        tables: &[TablePlan],
        counters: &[(String, i64)],
    ) -> Result<()> {
        match self {
            Self::Sqlite { triggers } => {
                for (_, statement) in triggers {
                    sql(statement).execute(&mut *writing).await?;
                }
                for (table, last) in counters {
                    sqlite_catalog::advance_counter(writing, table, *last).await?;
                }
                Ok(())
            }
            Self::Postgres => {
                switch_triggers(writing, tables, "ENABLE").await?;
                postgres_catalog::advance_counters(&mut &mut *writing, counters).await
            }
        }
    }
}

/// Those that Eyot made; foreign keys are checked all the same.
async fn switch_triggers(writing: &mut Transaction, tables: &[TablePlan], how: &str) -> Result<()> {
    for plan in tables {
        let table = quoted(&plan.name);
        sql(format!("ALTER TABLE {table} {how} TRIGGER USER")).execute(&mut *writing).await?;
    }
    Ok(())
}

async fn copy_table(
    plan: &TablePlan,
    reading: &mut ReadTransaction,
    writing: &mut Transaction,
) -> Result<TableSummary> {
    let mut pages = TablePages::new(plan);
    while let Some(rows) = pages.next(&mut &mut *reading).await? {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let batch: Vec<_> = rows.by_ref().take(INSERTED_ROWS).collect();
            let insert = sql(insert_statement(plan, batch.len()));
            let insert = batch.into_iter().flatten().fold(insert, |insert, value| insert.bind(value));
            insert
                .execute(&mut *writing)
                .await
                .map_err(|error| error.context(format!("cannot copy rows of table {}", plan.name)))?;
        }
    }
    Ok(pages.summary())
}

async fn summarize(plan: &TablePlan, on: &mut Connection<'_>) -> Result<TableSummary> {
    let mut pages = TablePages::new(plan);
    while pages.next(&mut *on).await?.is_some() {}
    Ok(pages.summary())
}

fn insert_statement(plan: &TablePlan, rows: usize) -> String {
    let width = plan.columns.len();
    let row = |row: usize| {
        let places: Vec<_> = (1..=width).map(|place| format!("${}", row * width + place)).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    let values = rows.join(", ");
    format!("INSERT INTO {} ({}) VALUES {values}", quoted(&plan.name), plan.column_list())
}

/// Reads a table by its key, a page after the other, of about as many bytes each.
struct TablePages<'p> {
    plan: &'p TablePlan,
    after: Option<Vec<SqlValue>>,
    page_rows: usize,
    ended: bool,
    rows: u64,
    hash: Digester,
}

impl<'p> TablePages<'p> {
    fn new(plan: &'p TablePlan) -> Self {
        let (page_rows, hash) = (FIRST_PAGE_ROWS, Digester::new());
        Self { plan, after: None, page_rows, ended: false, rows: 0, hash }
    }

    async fn next(&mut self, on: &mut Connection<'_>) -> Result<Option<Vec<Vec<SqlValue>>>> {
        if self.ended {
            return Ok(None);
        }
        let values = self.after.take().unwrap_or_default();
        let select = sql(self.select(!values.is_empty()));
        let select = values.into_iter().fold(select, |select, value| select.bind(value));
        let read = select.fetch_all(on).await?;
        let read = read.iter().map(|row| self.plan.read(row)).collect::<Result<Vec<_>>>()?;
        self.ended = read.len() < self.page_rows;
        self.rows += read.len() as u64;
        read.iter().flatten().for_each(|value| hash_value(&mut self.hash, value));
        let bytes: usize = read.iter().flatten().map(value_bytes).sum();
        let fits = self.page_rows.saturating_mul(PAGE_BYTES) / bytes.max(1);
        self.page_rows = fits.min(self.page_rows * 2).clamp(1, MAX_PAGE_ROWS);
        self.after = read.last().map(|row| self.key(row));
        Ok(Some(read))
    }

    fn select(&self, is_after: bool) -> String {
        let (columns, key, table) = (self.plan.column_list(), self.plan.key_list(), quoted(&self.plan.name));
        let places: Vec<_> = (1..=self.plan.key.len()).map(|place| format!("${place}")).collect();
        let mut condition = copied_rows(self.plan);
        if is_after {
            condition = format!("{condition} AND ({key}) > ({})", places.join(", "));
        }
        format!("SELECT {columns} FROM {table} WHERE {condition} ORDER BY {key} LIMIT {}", self.page_rows)
    }

    fn key(&self, row: &[SqlValue]) -> Vec<SqlValue> {
        self.plan.key.iter().filter_map(|place| row.get(*place)).cloned().collect()
    }

    fn summary(self) -> TableSummary {
        TableSummary { name: self.plan.name.clone(), rows: self.rows, hash: self.hash.finish() }
    }
}

fn value_bytes(value: &SqlValue) -> usize {
    size_of::<SqlValue>()
        + match value {
            SqlValue::Text(text) => text.as_ref().map_or(0, String::len),
            SqlValue::Bytes(bytes) => bytes.as_ref().map_or(0, Vec::len),
            SqlValue::Integer(_) | SqlValue::Real(_) => 0,
        }
}

/// No value's bytes can be taken for another's.
fn hash_value(hash: &mut Digester, value: &SqlValue) {
    let mut sized = |kind: &[u8], bytes: &[u8]| {
        hash.update(kind);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    match value {
        SqlValue::Integer(Some(value)) => sized(b"i", &value.to_le_bytes()),
        SqlValue::Real(Some(value)) => sized(b"r", &value.to_bits().to_le_bytes()),
        SqlValue::Text(Some(value)) => sized(b"t", value.as_bytes()),
        SqlValue::Bytes(Some(value)) => sized(b"b", value),
        SqlValue::Integer(None) | SqlValue::Real(None) | SqlValue::Text(None) | SqlValue::Bytes(None) => {
            sized(b"n", b"");
        }
    }
}

#[cfg(test)]
mod tests;
