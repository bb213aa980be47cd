//! `fermyon:spin/key-value@2.0.0`: what Spin's SDKs before the contracts of their own import.

use std::sync::Arc;

use eyot_core::{Error, ErrorKind};
use eyot_world::SpinStore;
use eyot_world::serving::fermyon::spin::key_value;
use wasmtime::component::Resource;

use super::{all_keys, fetch};
use crate::guest::GuestState;
use crate::stores::KeyValueStore;

type SharedStore = Arc<dyn KeyValueStore>;
type Spin2Result<T> = wasmtime::Result<Result<T, key_value::Error>>;

fn spin2_error(error: &Error) -> key_value::Error {
    match error.kind() {
        ErrorKind::Denied => key_value::Error::AccessDenied,
        _ => key_value::Error::Other(error.chain()),
    }
}

impl GuestState {
    fn spin_store(&self, store: &Resource<SpinStore>) -> wasmtime::Result<SharedStore> {
        Ok(self.get::<SpinStore, SharedStore>(store)?.clone())
    }
}

impl key_value::Host for GuestState {}

impl key_value::HostStore for GuestState {
    async fn open(&mut self, label: String) -> Spin2Result<Resource<SpinStore>> {
        match self.grants.capabilities.stores.get(&label).cloned() {
            Some(store) => Ok(Ok(self.push(store)?)),
            None => Ok(Err(key_value::Error::NoSuchStore)),
        }
    }

    async fn get(&mut self, store: Resource<SpinStore>, key: String) -> Spin2Result<Option<Vec<u8>>> {
        let (store, memory) = (self.spin_store(&store)?, self.memory.clone());
        Ok(fetch(&store, &key, &memory).await.map_err(|error| spin2_error(&error)))
    }

    async fn set(&mut self, store: Resource<SpinStore>, key: String, value: Vec<u8>) -> Spin2Result<()> {
        let store = self.spin_store(&store)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| spin2_error(&error)))
    }

    async fn delete(&mut self, store: Resource<SpinStore>, key: String) -> Spin2Result<()> {
        let store = self.spin_store(&store)?;
        Ok(store.delete(vec![key]).await.map_err(|error| spin2_error(&error)))
    }

    async fn exists(&mut self, store: Resource<SpinStore>, key: String) -> Spin2Result<bool> {
        let store = self.spin_store(&store)?;
        Ok(store.get(&key).await.map(|value| value.is_some()).map_err(|error| spin2_error(&error)))
    }

    async fn get_keys(&mut self, store: Resource<SpinStore>) -> Spin2Result<Vec<String>> {
        let (store, held) = (self.spin_store(&store)?, self.memory.open());
        let (keys, ended) = all_keys(&store, &held).await;
        Ok(ended.map(|()| keys).map_err(|error| spin2_error(&error)))
    }

    async fn drop(&mut self, store: Resource<SpinStore>) -> wasmtime::Result<()> {
        self.take::<SpinStore, SharedStore>(store).map(drop)
    }
}
