//! `spin:sqlite` over the databases that were granted.

use std::sync::Arc;

use eyot_core::{Error, ErrorKind};
use eyot_world::SpinConnection;
use eyot_world::serving::fermyon::spin::sqlite as spin2_sqlite;
use eyot_world::serving::spin::sqlite::sqlite::{
    self as spin_sqlite, Error as SqliteError, Host, HostConnection, HostConnectionWithStore, QueryResult,
    RowResult, Value,
};
use parking_lot::Mutex;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::held::HeldItems;
use super::{GrantRule, HostCapability, OfferedInterface, RefusedCalls, ToGuest};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::stores::{SqlConnection, SqlDatabase, SqlRows, SqlValue, StatementLimits};

mod spin2;

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[
        OfferedInterface::new("fermyon:spin/sqlite", "2.0."),
        OfferedInterface::with_event_loop("spin:sqlite/", "3.1."),
    ],
    grant: Some(GrantRule {
        flag: "--sqlite",
        key: "sqlite",
        refused: Some(RefusedCalls {
            interfaces: &["spin:sqlite/sqlite", "fermyon:spin/sqlite"],
            hint: "grant a database under the label that it opens: --sqlite default",
            is_granted: |capabilities| !capabilities.databases.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    if profile_kind == ProfileKind::Hermetic {
        return Ok(());
    }
    spin2_sqlite::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    if profile_kind == ProfileKind::Concurrent {
        spin_sqlite::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    }
    Ok(())
}

/// A connection, and what its last statement did.
#[derive(Clone)]
struct OpenConnection {
    connection: Arc<dyn SqlConnection>,
    last: Arc<Mutex<(i64, u64)>>,
}

impl OpenConnection {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
        limits: StatementLimits,
    ) -> Result<SqlRows, SqliteError> {
        let cells = parameters.into_iter().map(cell).collect();
        let rows =
            self.connection.execute(statement, cells, limits).await.map_err(|error| sqlite_error(&error))?;
        *self.last.lock() = (rows.last, rows.changed);
        Ok(rows)
    }
}

fn sqlite_error(error: &Error) -> SqliteError {
    match error.kind() {
        ErrorKind::Exhausted => SqliteError::DatabaseFull,
        ErrorKind::Denied => SqliteError::AccessDenied,
        _ => SqliteError::Io(error.chain()),
    }
}

fn cell(value: Value) -> SqlValue {
    match value {
        Value::Integer(number) => SqlValue::Integer(number),
        Value::Real(number) => SqlValue::Real(number),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Blob(bytes),
        Value::Null => SqlValue::Null,
    }
}

fn value(cell: SqlValue) -> Value {
    match cell {
        SqlValue::Integer(number) => Value::Integer(number),
        SqlValue::Real(number) => Value::Real(number),
        SqlValue::Text(text) => Value::Text(text),
        SqlValue::Blob(bytes) => Value::Blob(bytes),
        SqlValue::Null => Value::Null,
    }
}

fn row(cells: Vec<SqlValue>) -> RowResult {
    RowResult { values: cells.into_iter().map(value).collect() }
}

impl GuestState {
    fn database(&self, label: &str) -> Option<Arc<dyn SqlDatabase>> {
        self.grants.capabilities.databases.get(label).cloned()
    }

    fn opened(&self, handle: &Resource<SpinConnection>) -> wasmtime::Result<OpenConnection> {
        Ok(self.get::<SpinConnection, OpenConnection>(handle)?.clone())
    }

    /// What a statement that starts now may take. It ends a little before the call does, so that the guest gets
    /// the error and can still answer.
    pub(super) fn statement_limits(&self) -> StatementLimits {
        StatementLimits { deadline: self.inference_deadline(), answer: Arc::new(self.memory.open()) }
    }
}

async fn connect(database: Option<Arc<dyn SqlDatabase>>) -> Result<OpenConnection, SqliteError> {
    let database = database.ok_or(SqliteError::NoSuchDatabase)?;
    let connection = database.connect().await.map_err(|error| sqlite_error(&error))?;
    Ok(OpenConnection { connection: connection.into(), last: Arc::default() })
}

impl Host for GuestState {}

impl HostConnection for GuestState {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<SpinConnection>, SqliteError>> {
        match connect(self.database(&label)).await {
            Ok(open) => Ok(Ok(self.push(open)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute(
        &mut self,
        handle: Resource<SpinConnection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, SqliteError>> {
        let open = self.opened(&handle)?;
        let rows = open.execute(statement, parameters, self.statement_limits()).await;
        Ok(rows.map(|SqlRows { columns, rows, .. }| QueryResult {
            columns,
            rows: rows.into_iter().map(row).collect(),
        }))
    }

    async fn last_insert_rowid(&mut self, handle: Resource<SpinConnection>) -> wasmtime::Result<i64> {
        Ok(self.opened(&handle)?.last.lock().0)
    }

    async fn changes(&mut self, handle: Resource<SpinConnection>) -> wasmtime::Result<u64> {
        Ok(self.opened(&handle)?.last.lock().1)
    }

    async fn drop(&mut self, handle: Resource<SpinConnection>) -> wasmtime::Result<()> {
        self.take::<SpinConnection, OpenConnection>(handle).map(drop)
    }
}

type StreamedRows = (Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), SqliteError>>);

impl<T: Send> HostConnectionWithStore<T> for ToGuest {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<SpinConnection>, SqliteError>> {
        let database = accessor.with(|mut access| access.get().database(&label));
        match connect(database).await {
            Ok(open) => Ok(Ok(accessor.with(|mut access| access.get().push(open))?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        handle: Resource<SpinConnection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<StreamedRows, SqliteError>> {
        let (open, limits) = accessor.with(|mut access| {
            let guest = access.get();
            guest.opened(&handle).map(|open| (open, guest.statement_limits()))
        })?;
        let rows = match open.execute(statement, parameters, limits.clone()).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let found: Vec<RowResult> = rows.rows.into_iter().map(row).collect();
            let stream = StreamReader::new(&mut access, HeldItems::new(found, limits.answer))?;
            let ended = FutureReader::new(&mut access, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((rows.columns, stream, ended)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        handle: Resource<SpinConnection>,
    ) -> wasmtime::Result<i64> {
        accessor.with(|mut access| Ok(access.get().opened(&handle)?.last.lock().0))
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        handle: Resource<SpinConnection>,
    ) -> wasmtime::Result<u64> {
        accessor.with(|mut access| Ok(access.get().opened(&handle)?.last.lock().1))
    }
}
