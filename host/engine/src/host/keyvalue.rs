//! `wasi:keyvalue` and `spin:key-value` over the stores that were granted.

use std::sync::Arc;

use eyot_core::Error;
use eyot_world::serving::spin::key_value::key_value as spin;
use eyot_world::serving::wasi::keyvalue::{atomics, batch, store};
use eyot_world::{Bucket, Cas, SpinStore};
use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use crate::guest::Guest;
use crate::host::ToGuest;
use crate::stores::KeyValue;

type Store = Arc<dyn KeyValue>;

/// A value as it was when the handle was made.
struct Seen {
    store: Store,
    key: String,
    value: Option<Vec<u8>>,
}

/// Keys in one answer of `list-keys`.
const PAGE: usize = 1000;

fn other(error: &Error) -> store::Error {
    store::Error::Other(error.chain())
}

type Told<T> = wasmtime::Result<Result<T, store::Error>>;

impl Guest {
    fn granted_store(&self, label: &str) -> Option<Store> {
        self.grants.reach.stores.get(label).cloned()
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<Store> {
        Ok(self.get::<Bucket, Store>(bucket)?.clone())
    }
}

impl store::Host for Guest {
    async fn open(&mut self, identifier: String) -> Told<Resource<Bucket>> {
        match self.granted_store(&identifier) {
            Some(store) => Ok(Ok(self.push(store)?)),
            None => Ok(Err(store::Error::NoSuchStore)),
        }
    }
}

impl store::HostBucket for Guest {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Told<Option<Vec<u8>>> {
        let store = self.bucket(&bucket)?;
        Ok(store.get(&key).await.map_err(|error| other(&error)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Told<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| other(&error)))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Told<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.delete(vec![key]).await.map_err(|error| other(&error)))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Told<bool> {
        let store = self.bucket(&bucket)?;
        Ok(store.get(&key).await.map(|value| value.is_some()).map_err(|error| other(&error)))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Told<store::KeyResponse> {
        let store = self.bucket(&bucket)?;
        let keys = store.keys(cursor.as_deref(), PAGE).await;
        Ok(keys.map_err(|error| other(&error)).map(|keys| {
            let cursor = keys.last().filter(|_| keys.len() == PAGE).cloned();
            store::KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.take::<Bucket, Store>(bucket).map(drop)
    }
}

impl atomics::Host for Guest {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Told<i64> {
        let store = self.bucket(&bucket)?;
        Ok(store.increment(&key, delta).await.map_err(|error| other(&error)))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Seen { store, key, value: expected } = self.take::<Cas, Seen>(cas)?;
        match store.swap(&key, expected, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match store.get(&key).await {
                Ok(value) => {
                    let again = self.push(Seen { store, key, value })?;
                    Ok(Err(atomics::CasError::CasFailed(again)))
                }
                Err(error) => Ok(Err(atomics::CasError::StoreError(other(&error)))),
            },
            Err(error) => Ok(Err(atomics::CasError::StoreError(other(&error)))),
        }
    }
}

impl atomics::HostCas for Guest {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Told<Resource<Cas>> {
        let store = self.bucket(&bucket)?;
        match store.get(&key).await {
            Ok(value) => Ok(Ok(self.push(Seen { store, key, value })?)),
            Err(error) => Ok(Err(other(&error))),
        }
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Told<Option<Vec<u8>>> {
        Ok(Ok(self.get::<Cas, Seen>(&cas)?.value.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.take::<Cas, Seen>(cas).map(drop)
    }
}

impl batch::Host for Guest {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Told<Vec<(String, Option<Vec<u8>>)>> {
        let store = self.bucket(&bucket)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match store.get(&key).await {
                Ok(value) => found.push((key, value)),
                Err(error) => return Ok(Err(other(&error))),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> Told<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.set(pairs).await.map_err(|error| other(&error)))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Told<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.delete(keys).await.map_err(|error| other(&error)))
    }
}

fn spun(error: &Error) -> spin::Error {
    spin::Error::Other(error.chain())
}

type Spun<T> = wasmtime::Result<Result<T, spin::Error>>;

impl spin::Host for Guest {}

impl spin::HostStore for Guest {
    async fn drop(&mut self, store: Resource<SpinStore>) -> wasmtime::Result<()> {
        self.take::<SpinStore, Store>(store).map(drop)
    }
}

/// The store behind a handle, without holding on to the instance.
fn behind<T: Send>(accessor: &Accessor<T, ToGuest>, handle: &Resource<SpinStore>) -> wasmtime::Result<Store> {
    accessor.with(|mut access| Ok(access.get().get::<SpinStore, Store>(handle)?.clone()))
}

impl<T: Send> spin::HostStoreWithStore<T> for ToGuest {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> Spun<Resource<SpinStore>> {
        accessor.with(|mut access| {
            let guest = access.get();
            match guest.granted_store(&label) {
                Some(store) => Ok(Ok(guest.push(store)?)),
                None => Ok(Err(spin::Error::NoSuchStore)),
            }
        })
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
        key: String,
    ) -> Spun<Option<Vec<u8>>> {
        let store = behind(accessor, &store)?;
        Ok(store.get(&key).await.map_err(|error| spun(&error)))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
        key: String,
        value: Vec<u8>,
    ) -> Spun<()> {
        let store = behind(accessor, &store)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| spun(&error)))
    }

    async fn delete(accessor: &Accessor<T, Self>, store: Resource<SpinStore>, key: String) -> Spun<()> {
        let store = behind(accessor, &store)?;
        Ok(store.delete(vec![key]).await.map_err(|error| spun(&error)))
    }

    async fn exists(accessor: &Accessor<T, Self>, store: Resource<SpinStore>, key: String) -> Spun<bool> {
        let store = behind(accessor, &store)?;
        Ok(store.get(&key).await.map(|value| value.is_some()).map_err(|error| spun(&error)))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<Result<(), spin::Error>>)> {
        let store = behind(accessor, &store)?;
        let mut all: Vec<String> = Vec::new();
        let ended = loop {
            match store.keys(all.last().map(String::as_str), PAGE).await {
                Ok(page) if page.is_empty() => break Ok(()),
                Ok(page) => all.extend(page),
                Err(error) => break Err(spun(&error)),
            }
        };
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, all)?;
            Ok((keys, FutureReader::new(&mut access, async move { wasmtime::error::Ok(ended) })?))
        })
    }
}
