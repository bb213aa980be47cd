//! `spin:sqlite` over the databases that were granted.

use std::sync::Arc;

use eyot_core::{Error, Kind};
use eyot_world::SpinConnection;
use eyot_world::serving::fermyon::spin::sqlite as spin2_sqlite;
use eyot_world::serving::spin::sqlite::sqlite::{
    self as spin_sqlite, Error as Told, Host, HostConnection, HostConnectionWithStore, QueryResult,
    RowResult, Value,
};
use parking_lot::Mutex;
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::held::HeldItems;
use super::{Capability, GrantRule, OfferedInterface, RefusedCalls, ToGuest};
use crate::guest::Guest;
use crate::plan::Setup;
use crate::stores::{Cell, Connection, Database, Rows, StatementLimits};

mod spin2;

pub(super) const CAPABILITY: Capability = Capability {
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
            is_granted: |reach| !reach.databases.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<Guest>, setup: Setup) -> wasmtime::Result<()> {
    if setup == Setup::Hermetic {
        return Ok(());
    }
    spin2_sqlite::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    if setup == Setup::Concurrent {
        spin_sqlite::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    }
    Ok(())
}

/// A connection, and what its last statement did.
#[derive(Clone)]
struct Open {
    connection: Arc<dyn Connection>,
    last: Arc<Mutex<(i64, u64)>>,
}

impl Open {
    async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
        limits: StatementLimits,
    ) -> Result<Rows, Told> {
        let cells = parameters.into_iter().map(cell).collect();
        let rows = self.connection.execute(statement, cells, limits).await.map_err(|error| told(&error))?;
        *self.last.lock() = (rows.last, rows.changed);
        Ok(rows)
    }
}

fn told(error: &Error) -> Told {
    match error.kind() {
        Kind::Exhausted => Told::DatabaseFull,
        Kind::Denied => Told::AccessDenied,
        _ => Told::Io(error.chain()),
    }
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Integer(number) => Cell::Integer(number),
        Value::Real(number) => Cell::Real(number),
        Value::Text(text) => Cell::Text(text),
        Value::Blob(bytes) => Cell::Blob(bytes),
        Value::Null => Cell::Null,
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Integer(number) => Value::Integer(number),
        Cell::Real(number) => Value::Real(number),
        Cell::Text(text) => Value::Text(text),
        Cell::Blob(bytes) => Value::Blob(bytes),
        Cell::Null => Value::Null,
    }
}

fn row(cells: Vec<Cell>) -> RowResult {
    RowResult { values: cells.into_iter().map(value).collect() }
}

impl Guest {
    fn database(&self, label: &str) -> Option<Arc<dyn Database>> {
        self.grants.reach.databases.get(label).cloned()
    }

    fn opened(&self, handle: &Resource<SpinConnection>) -> wasmtime::Result<Open> {
        Ok(self.get::<SpinConnection, Open>(handle)?.clone())
    }

    /// What a statement that starts now may take. It ends a little before the call does, so that the guest hears of
    /// it and can still answer.
    pub(super) fn statement_limits(&self) -> StatementLimits {
        StatementLimits { deadline: self.inference_deadline(), answer: Arc::new(self.memory.open()) }
    }
}

async fn connect(database: Option<Arc<dyn Database>>) -> Result<Open, Told> {
    let database = database.ok_or(Told::NoSuchDatabase)?;
    let connection = database.connect().await.map_err(|error| told(&error))?;
    Ok(Open { connection: connection.into(), last: Arc::default() })
}

impl Host for Guest {}

impl HostConnection for Guest {
    async fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<SpinConnection>, Told>> {
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
    ) -> wasmtime::Result<Result<QueryResult, Told>> {
        let open = self.opened(&handle)?;
        let rows = open.execute(statement, parameters, self.statement_limits()).await;
        Ok(rows.map(|Rows { columns, rows, .. }| QueryResult {
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
        self.take::<SpinConnection, Open>(handle).map(drop)
    }
}

type Streamed = (Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Told>>);

impl<T: Send> HostConnectionWithStore<T> for ToGuest {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<SpinConnection>, Told>> {
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
    ) -> wasmtime::Result<Result<Streamed, Told>> {
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
