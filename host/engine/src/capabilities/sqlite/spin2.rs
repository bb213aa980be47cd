//! `fermyon:spin/sqlite@2.0.0`: what Spin's SDKs before the contracts of their own import.

use std::sync::Arc;

use eyot_core::{Error, ErrorKind};
use eyot_world::SpinConnection;
use eyot_world::serving::fermyon::spin::sqlite;
use wasmtime::component::Resource;

use crate::guest::GuestState;
use crate::stores::{SqlConnection, SqlValue};

type Spin2Result<T> = wasmtime::Result<Result<T, sqlite::Error>>;

type SharedConnection = Arc<dyn SqlConnection>;

fn sqlite_error(error: &Error) -> sqlite::Error {
    match error.kind() {
        ErrorKind::Exhausted => sqlite::Error::DatabaseFull,
        ErrorKind::Denied => sqlite::Error::AccessDenied,
        _ => sqlite::Error::Io(error.chain()),
    }
}

fn cell(value: sqlite::Value) -> SqlValue {
    match value {
        sqlite::Value::Integer(number) => SqlValue::Integer(number),
        sqlite::Value::Real(number) => SqlValue::Real(number),
        sqlite::Value::Text(text) => SqlValue::Text(text),
        sqlite::Value::Blob(bytes) => SqlValue::Blob(bytes),
        sqlite::Value::Null => SqlValue::Null,
    }
}

fn value(cell: SqlValue) -> sqlite::Value {
    match cell {
        SqlValue::Integer(number) => sqlite::Value::Integer(number),
        SqlValue::Real(number) => sqlite::Value::Real(number),
        SqlValue::Text(text) => sqlite::Value::Text(text),
        SqlValue::Blob(bytes) => sqlite::Value::Blob(bytes),
        SqlValue::Null => sqlite::Value::Null,
    }
}

impl sqlite::Host for GuestState {}

impl sqlite::HostConnection for GuestState {
    async fn open(&mut self, label: String) -> Spin2Result<Resource<SpinConnection>> {
        let Some(database) = self.grants.capabilities.databases.get(&label).cloned() else {
            return Ok(Err(sqlite::Error::NoSuchDatabase));
        };
        match database.connect().await {
            Ok(connection) => Ok(Ok(self.push::<_, SharedConnection>(connection.into())?)),
            Err(error) => Ok(Err(sqlite_error(&error))),
        }
    }

    async fn execute(
        &mut self,
        connection: Resource<SpinConnection>,
        statement: String,
        parameters: Vec<sqlite::Value>,
    ) -> Spin2Result<sqlite::QueryResult> {
        let connection = self.get::<SpinConnection, SharedConnection>(&connection)?.clone();
        let cells = parameters.into_iter().map(cell).collect();
        let rows = match connection.execute(statement, cells, self.statement_limits()).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(sqlite_error(&error))),
        };
        let row = |cells: Vec<SqlValue>| sqlite::RowResult { values: cells.into_iter().map(value).collect() };
        Ok(Ok(sqlite::QueryResult { columns: rows.columns, rows: rows.rows.into_iter().map(row).collect() }))
    }

    async fn drop(&mut self, connection: Resource<SpinConnection>) -> wasmtime::Result<()> {
        self.take::<SpinConnection, SharedConnection>(connection).map(drop)
    }
}
