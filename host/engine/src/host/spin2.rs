//! `fermyon:spin@2.0.0`: what Spin's SDKs before the contracts of their own import, over the same stores.

use std::sync::Arc;

use eyot_core::{Error, Kind};
use eyot_world::serving::fermyon::spin::{key_value, sqlite, variables};
use eyot_world::{SpinConnection, SpinStore};
use wasmtime::component::{Linker, Resource};

use super::ToGuest;
use super::keyvalue::all_keys;
use super::settings::variable;
use crate::guest::Guest;
use crate::stores::{Cell, Connection, KeyValue};

/// Makes them importable.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    key_value::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    sqlite::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    variables::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)
}

type Store = Arc<dyn KeyValue>;
type Answered<T, E> = wasmtime::Result<Result<T, E>>;

fn other(error: &Error) -> key_value::Error {
    match error.kind() {
        Kind::Denied => key_value::Error::AccessDenied,
        _ => key_value::Error::Other(error.chain()),
    }
}

impl Guest {
    fn spin_store(&self, store: &Resource<SpinStore>) -> wasmtime::Result<Store> {
        Ok(self.get::<SpinStore, Store>(store)?.clone())
    }
}

impl key_value::Host for Guest {}

impl key_value::HostStore for Guest {
    async fn open(&mut self, label: String) -> Answered<Resource<SpinStore>, key_value::Error> {
        match self.grants.reach.stores.get(&label).cloned() {
            Some(store) => Ok(Ok(self.push(store)?)),
            None => Ok(Err(key_value::Error::NoSuchStore)),
        }
    }

    async fn get(
        &mut self,
        store: Resource<SpinStore>,
        key: String,
    ) -> Answered<Option<Vec<u8>>, key_value::Error> {
        let (store, memory) = (self.spin_store(&store)?, self.memory.clone());
        Ok(super::keyvalue::fetch(&store, &key, &memory).await.map_err(|error| other(&error)))
    }

    async fn set(
        &mut self,
        store: Resource<SpinStore>,
        key: String,
        value: Vec<u8>,
    ) -> Answered<(), key_value::Error> {
        let store = self.spin_store(&store)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| other(&error)))
    }

    async fn delete(&mut self, store: Resource<SpinStore>, key: String) -> Answered<(), key_value::Error> {
        let store = self.spin_store(&store)?;
        Ok(store.delete(vec![key]).await.map_err(|error| other(&error)))
    }

    async fn exists(&mut self, store: Resource<SpinStore>, key: String) -> Answered<bool, key_value::Error> {
        let store = self.spin_store(&store)?;
        Ok(store.get(&key).await.map(|value| value.is_some()).map_err(|error| other(&error)))
    }

    async fn get_keys(&mut self, store: Resource<SpinStore>) -> Answered<Vec<String>, key_value::Error> {
        let (store, held) = (self.spin_store(&store)?, self.memory.open());
        let (keys, ended) = all_keys(&store, &held).await;
        Ok(ended.map(|()| keys).map_err(|error| other(&error)))
    }

    async fn drop(&mut self, store: Resource<SpinStore>) -> wasmtime::Result<()> {
        self.take::<SpinStore, Store>(store).map(drop)
    }
}

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
    async fn open(&mut self, label: String) -> Answered<Resource<SpinConnection>, sqlite::Error> {
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
    ) -> Answered<sqlite::QueryResult, sqlite::Error> {
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

impl variables::Host for Guest {
    async fn get(&mut self, name: String) -> Answered<String, variables::Error> {
        Ok(variable(self, &name).map_err(|undefined| match undefined {
            None => variables::Error::InvalidName(name),
            Some(text) => variables::Error::Undefined(text),
        }))
    }
}
