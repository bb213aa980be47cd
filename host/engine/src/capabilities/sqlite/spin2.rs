//! `fermyon:spin/sqlite@2.0.0`: what Spin's SDKs before the contracts of their own import.

use std::sync::Arc;

use eyot_core::{Error, Kind};
use eyot_world::SpinConnection;
use eyot_world::serving::fermyon::spin::sqlite;
use wasmtime::component::Resource;

use crate::guest::Guest;
use crate::stores::{Cell, Connection};

type Answered<T> = wasmtime::Result<Result<T, sqlite::Error>>;

type Connected = Arc<dyn Connection>;

fn told(error: &Error) -> sqlite::Error {
    match error.kind() {
        Kind::Exhausted => sqlite::Error::DatabaseFull,
        Kind::Denied => sqlite::Error::AccessDenied,
        _ => sqlite::Error::Io(error.chain()),
    }
}

fn cell(value: sqlite::Value) -> Cell {
    match value {
        sqlite::Value::Integer(number) => Cell::Integer(number),
        sqlite::Value::Real(number) => Cell::Real(number),
        sqlite::Value::Text(text) => Cell::Text(text),
        sqlite::Value::Blob(bytes) => Cell::Blob(bytes),
        sqlite::Value::Null => Cell::Null,
    }
}

fn value(cell: Cell) -> sqlite::Value {
    match cell {
        Cell::Integer(number) => sqlite::Value::Integer(number),
        Cell::Real(number) => sqlite::Value::Real(number),
        Cell::Text(text) => sqlite::Value::Text(text),
        Cell::Blob(bytes) => sqlite::Value::Blob(bytes),
        Cell::Null => sqlite::Value::Null,
    }
}

impl sqlite::Host for Guest {}

impl sqlite::HostConnection for Guest {
    async fn open(&mut self, label: String) -> Answered<Resource<SpinConnection>> {
        let Some(database) = self.grants.reach.databases.get(&label).cloned() else {
            return Ok(Err(sqlite::Error::NoSuchDatabase));
        };
        match database.connect().await {
            Ok(connection) => Ok(Ok(self.push::<_, Connected>(connection.into())?)),
            Err(error) => Ok(Err(told(&error))),
        }
    }

    async fn execute(
        &mut self,
        connection: Resource<SpinConnection>,
        statement: String,
        parameters: Vec<sqlite::Value>,
    ) -> Answered<sqlite::QueryResult> {
        let connection = self.get::<SpinConnection, Connected>(&connection)?.clone();
        let cells = parameters.into_iter().map(cell).collect();
        let rows = match connection.execute(statement, cells, self.statement_limits()).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(told(&error))),
        };
        let row = |cells: Vec<Cell>| sqlite::RowResult { values: cells.into_iter().map(value).collect() };
        Ok(Ok(sqlite::QueryResult { columns: rows.columns, rows: rows.rows.into_iter().map(row).collect() }))
    }

    async fn drop(&mut self, connection: Resource<SpinConnection>) -> wasmtime::Result<()> {
        self.take::<SpinConnection, Connected>(connection).map(drop)
    }
}
