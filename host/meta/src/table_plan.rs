//! Which tables there are, found in the schema of a SQLite file: PostgreSQL has the same, which a test compares.

use std::collections::{BTreeMap, BTreeSet};

use eyot_core::{Error, Result};

use crate::sqlite_catalog;
use crate::{Database, SqlRow, SqlValue};

/// A table and its columns, each of one of the four types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TablePlan {
    pub(crate) name: String,
    pub(crate) columns: Vec<ColumnPlan>,
    /// The places of the columns of the primary key, in its order.
    pub(crate) key: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnPlan {
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Integer,
    Real,
    Text,
    Bytes,
}

impl ColumnKind {
    fn parse(declared: &str) -> Option<Self> {
        match declared.to_ascii_uppercase().as_str() {
            "INTEGER" | "BIGINT" => Some(Self::Integer),
            "REAL" | "DOUBLE PRECISION" => Some(Self::Real),
            "TEXT" => Some(Self::Text),
            "BLOB" => Some(Self::Bytes),
            _ => None,
        }
    }
}

/// A name as SQL has it, whatever it is.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl TablePlan {
    /// Every table of a SQLite database, each after those that it refers to.
    pub(crate) async fn of(db: &Database) -> Result<Vec<Self>> {
        let mut tables: BTreeMap<String, Self> = BTreeMap::new();
        for column in sqlite_catalog::columns(db).await? {
            let plan = tables.entry(column.table.clone()).or_insert_with(|| Self::named(&column.table));
            let kind = ColumnKind::parse(&column.declared).ok_or_else(|| {
                Error::internal(format!(
                    "column {}.{} has the type {}, which no value has",
                    column.table, column.name, column.declared
                ))
            })?;
            if column.key_place > 0 {
                plan.key.push(plan.columns.len());
            }
            plan.columns.push(ColumnPlan { name: column.name, kind });
        }
        if let Some(plan) = tables.values().find(|plan| plan.key.is_empty()) {
            return Err(Error::internal(format!("table {} has no primary key", plan.name)));
        }
        in_order(tables, &sqlite_catalog::references(db).await?)
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), columns: Vec::new(), key: Vec::new() }
    }

    /// The columns as SQL lists them.
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        names.join(", ")
    }

    /// The columns of the key as SQL lists them.
    pub(crate) fn key_list(&self) -> String {
        let names = self.key.iter().filter_map(|place| self.columns.get(*place));
        let names: Vec<_> = names.map(|column| quoted(&column.name)).collect();
        names.join(", ")
    }

    /// The values of a row of `column_list`.
    ///
    /// Fails with `Corrupt` where one has another type than its column.
    pub(crate) fn read(&self, row: &SqlRow) -> Result<Vec<SqlValue>> {
        let read = |(place, column): (usize, &ColumnPlan)| {
            let value = match column.kind {
                ColumnKind::Integer => row.get(place).map(SqlValue::Integer),
                ColumnKind::Real => row.get(place).map(SqlValue::Real),
                ColumnKind::Text => row.get(place).map(SqlValue::Text),
                ColumnKind::Bytes => row.get(place).map(SqlValue::Bytes),
            };
            value.map_err(|error| {
                Error::corrupt(format!("{}.{} has a value of another type", self.name, column.name))
                    .because(error)
            })
        };
        self.columns.iter().enumerate().map(read).collect()
    }
}

/// Tables after those that they refer to; otherwise by name.
fn in_order(
    mut left: BTreeMap<String, TablePlan>,
    references: &[(String, String)],
) -> Result<Vec<TablePlan>> {
    let mut ordered: Vec<TablePlan> = Vec::new();
    while !left.is_empty() {
        let waits: BTreeSet<&str> = references
            .iter()
            .filter(|(from, to)| from != to && left.contains_key(to))
            .map(|(from, _)| from.as_str())
            .collect();
        let Some(next) = left.keys().find(|name| !waits.contains(name.as_str())).cloned() else {
            let names: Vec<_> = left.into_keys().collect();
            return Err(Error::internal(format!("tables refer to each other: {}", names.join(", "))));
        };
        ordered.extend(left.remove(&next));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tables_come_after_what_they_refer_to() {
        let order = |names: &[&str], references: &[(&str, &str)]| {
            let tables = names.iter().map(|name| ((*name).to_owned(), TablePlan::named(name))).collect();
            let references: Vec<_> =
                references.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
            let ordered = in_order(tables, &references)?;
            Ok::<_, Error>(ordered.into_iter().map(|plan| plan.name).collect::<Vec<_>>())
        };
        let references = [("a", "c"), ("b", "a"), ("c", "c"), ("d", "gone")];
        assert_eq!(order(&["a", "b", "c", "d"], &references).unwrap(), ["c", "a", "b", "d"]);
        let error = order(&["a", "b", "c"], &[("a", "b"), ("b", "a")]).unwrap_err();
        assert!(error.chain().contains("a, b"), "{error:?}");
    }

    #[tokio::test]
    async fn every_table_of_the_schema_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let db = Database::open(&dir.path().join("eyot.db")).await.unwrap();
        let tables = TablePlan::of(&db).await.unwrap();
        let place = |name: &str| tables.iter().position(|plan| plan.name == name).unwrap();
        assert!(place("runs") < place("metrics") && place("manifests") < place("tags"));
        let tags = &tables[place("tags")];
        assert_eq!(tags.column_list(), r#""repository", "tag", "digest", "updated_at""#);
        assert_eq!(tags.key_list(), r#""repository", "tag""#);
        assert!(tables.iter().all(|plan| !plan.name.starts_with('_')));
    }
}
