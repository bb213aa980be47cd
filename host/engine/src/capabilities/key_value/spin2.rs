//! `fermyon:spin/key-value@2.0.0`: what Spin's SDKs before the contracts of their own import.

use std::sync::Arc;

use eyot_core::{Error, Kind};
use eyot_world::SpinStore;
use eyot_world::serving::fermyon::spin::key_value;
use wasmtime::component::Resource;

use super::{all_keys, fetch};
use crate::guest::Guest;
use crate::stores::KeyValue;

type Store = Arc<dyn KeyValue>;
type Answered<T> = wasmtime::Result<Result<T, key_value::Error>>;

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
    async fn open(&mut self, label: String) -> Answered<Resource<SpinStore>> {
        match self.grants.reach.stores.get(&label).cloned() {
            Some(store) => Ok(Ok(self.push(store)?)),
            None => Ok(Err(key_value::Error::NoSuchStore)),
        }
    }

    async fn get(&mut self, store: Resource<SpinStore>, key: String) -> Answered<Option<Vec<u8>>> {
        let (store, memory) = (self.spin_store(&store)?, self.memory.clone());
        Ok(fetch(&store, &key, &memory).await.map_err(|error| other(&error)))
    }

    async fn set(&mut self, store: Resource<SpinStore>, key: String, value: Vec<u8>) -> Answered<()> {
        let store = self.spin_store(&store)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| other(&error)))
    }

    async fn delete(&mut self, store: Resource<SpinStore>, key: String) -> Answered<()> {
        let store = self.spin_store(&store)?;
        Ok(store.delete(vec![key]).await.map_err(|error| other(&error)))
    }

    async fn exists(&mut self, store: Resource<SpinStore>, key: String) -> Answered<bool> {
        let store = self.spin_store(&store)?;
        Ok(store.get(&key).await.map(|value| value.is_some()).map_err(|error| other(&error)))
    }

    async fn get_keys(&mut self, store: Resource<SpinStore>) -> Answered<Vec<String>> {
        let (store, held) = (self.spin_store(&store)?, self.memory.open());
        let (keys, ended) = all_keys(&store, &held).await;
        Ok(ended.map(|()| keys).map_err(|error| other(&error)))
    }

    async fn drop(&mut self, store: Resource<SpinStore>) -> wasmtime::Result<()> {
        self.take::<SpinStore, Store>(store).map(drop)
    }
}
