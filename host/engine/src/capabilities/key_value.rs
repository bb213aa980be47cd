//! `wasi:keyvalue` and `spin:key-value` over the stores that were granted.

use std::sync::Arc;

use eyot_core::{Error, Result};
use eyot_world::serving::fermyon::spin::key_value as spin2_key_value;
use eyot_world::serving::spin::key_value::key_value as spin;
use eyot_world::serving::wasi::keyvalue::{atomics, batch, store};
use eyot_world::{Bucket, Cas, SpinStore};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::held::HeldItems;
use super::{Capability, GrantRule, OfferedInterface, RefusedCalls, ToGuest};
use crate::guest::Guest;
use crate::memory::{HeldMemory, HostMemory};
use crate::plan::Setup;
use crate::stores::KeyValue;

mod spin2;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &[
        OfferedInterface::new("wasi:keyvalue/", "0.2.0-draft2"),
        OfferedInterface::new("fermyon:spin/key-value", "2.0."),
        OfferedInterface::with_event_loop("spin:key-value/", "3.0."),
    ],
    grant: Some(GrantRule {
        flag: "--key-value",
        key: "key-value",
        refused: Some(RefusedCalls {
            interfaces: &[
                "wasi:keyvalue/store",
                "wasi:keyvalue/atomics",
                "wasi:keyvalue/batch",
                "spin:key-value/key-value",
                "fermyon:spin/key-value",
            ],
            hint: "grant a store under the label that it opens: --key-value default",
            is_granted: |reach| !reach.stores.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<Guest>, setup: Setup) -> wasmtime::Result<()> {
    if setup == Setup::Hermetic {
        return Ok(());
    }
    store::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    atomics::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    batch::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    spin2_key_value::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    if setup == Setup::Concurrent {
        spin::add_to_linker::<Guest, ToGuest>(linker, |guest| guest)?;
    }
    Ok(())
}

type Store = Arc<dyn KeyValue>;

/// A value as it was when the handle was made.
struct Seen {
    store: Store,
    key: String,
    value: Option<Vec<u8>>,
    #[expect(dead_code, reason = "dropped with the value, which it counts")]
    held: HeldMemory,
}

impl Seen {
    async fn look(store: Store, key: String, memory: &HostMemory) -> Result<Self> {
        let value = store.get(&key).await?;
        let held = memory.hold(value_bytes(&key, value.as_deref()))?;
        Ok(Self { store, key, value, held })
    }
}

/// What the host holds for a pair.
fn value_bytes(key: &str, value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len) + PAIR_BYTES
}

/// What a pair takes beside its bytes.
const PAIR_BYTES: usize = 64;

/// A value that its guest has room for.
pub(super) async fn fetch(store: &Store, key: &str, memory: &HostMemory) -> Result<Option<Vec<u8>>> {
    let value = store.get(key).await?;
    memory.hold(value_bytes(key, value.as_deref())).map(|_| value)
}

/// Keys in one answer of `list-keys`.
const PAGE: usize = 1000;

fn other(error: &Error) -> store::Error {
    store::Error::Other(error.chain())
}

type Told<T> = wasmtime::Result<std::result::Result<T, store::Error>>;

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
        Ok(fetch(&store, &key, &self.memory).await.map_err(|error| other(&error)))
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
        Ok(store.exists(&key).await.map_err(|error| other(&error)))
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
    ) -> wasmtime::Result<std::result::Result<(), atomics::CasError>> {
        let Seen { store, key, value: expected, .. } = self.take::<Cas, Seen>(cas)?;
        match store.swap(&key, expected, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match Seen::look(store, key, &self.memory).await {
                Ok(seen) => {
                    let again = self.push(seen)?;
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
        match Seen::look(store, key, &self.memory).await {
            Ok(seen) => Ok(Ok(self.push(seen)?)),
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
        let answer = self.memory.open();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let value = store.get(&key).await;
            let counted =
                value.and_then(|value| answer.grow(value_bytes(&key, value.as_deref())).map(|()| value));
            match counted {
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

type Spun<T> = wasmtime::Result<std::result::Result<T, spin::Error>>;

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
        let memory = accessor.with(|mut access| access.get().memory.clone());
        Ok(fetch(&store, &key, &memory).await.map_err(|error| spun(&error)))
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
        Ok(store.exists(&key).await.map_err(|error| spun(&error)))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<std::result::Result<(), spin::Error>>)> {
        let store = behind(accessor, &store)?;
        let held = Arc::new(accessor.with(|mut access| access.get().memory.open()));
        let (all, ended) = all_keys(&store, &held).await;
        let ended = ended.map_err(|error| spun(&error));
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, HeldItems::new(all, held))?;
            Ok((keys, FutureReader::new(&mut access, async move { wasmtime::error::Ok(ended) })?))
        })
    }
}

/// All keys of a store, as far as they could be read and there is room for them in `held`, and how that ended.
pub(super) async fn all_keys(store: &Store, held: &HeldMemory) -> (Vec<String>, Result<()>) {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = store.keys(all.last().map(String::as_str), PAGE).await;
        let page = page
            .and_then(|page| held.grow(page.iter().map(|key| value_bytes(key, None)).sum()).map(|()| page));
        match page {
            Ok(page) if page.is_empty() => return (all, Ok(())),
            Ok(page) => all.extend(page),
            Err(error) => return (all, Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;
    use std::time::Duration;

    use async_trait::async_trait;
    use eyot_core::config::BackendChoice;
    use eyot_nn::{Backends, Models};
    use eyot_store::Memory;

    use super::*;
    use crate::{Discard, Grants, Limits};

    const VALUE_BYTES: usize = 1 << 20;

    /// Every key has a value of a megabyte.
    #[derive(Debug)]
    struct Large;

    #[async_trait]
    impl KeyValue for Large {
        async fn get(&self, _: &str) -> Result<Option<Vec<u8>>> {
            Ok(Some(vec![7; VALUE_BYTES]))
        }

        async fn exists(&self, _: &str) -> Result<bool> {
            Ok(true)
        }

        async fn set(&self, _: Vec<(String, Vec<u8>)>) -> Result<()> {
            Ok(())
        }

        async fn delete(&self, _: Vec<String>) -> Result<()> {
            Ok(())
        }

        async fn keys(&self, _: Option<&str>, limit: usize) -> Result<Vec<String>> {
            Ok(vec!["key".to_owned(); limit])
        }

        async fn increment(&self, _: &str, by: i64) -> Result<i64> {
            Ok(by)
        }

        async fn swap(&self, _: &str, _: Option<Vec<u8>>, _: Vec<u8>) -> Result<bool> {
            Ok(false)
        }
    }

    /// A guest that may have 16 MiB, and its bucket.
    fn guest() -> (Guest, Store) {
        let backends = Backends::open(Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let loader = Models::new(Arc::<Memory>::default(), backends, 1);
        let grants = Grants::new(Arc::default(), loader, Arc::new(Discard));
        let limits = Limits { memory: 16 << 20, timeout: Duration::from_secs(1), handles: 100 };
        (Guest::new(grants, &limits, None), Arc::new(Large))
    }

    #[tokio::test]
    async fn what_many_keys_hold_is_counted_against_the_guest() {
        let (mut guest, store) = guest();
        for (count, fits) in [(10, true), (17, false), (1000, false)] {
            let bucket = guest.push(store.clone()).unwrap();
            let keys = (0..count).map(|number| number.to_string()).collect();
            let found = batch::Host::get_many(&mut guest, bucket, keys).await.unwrap();
            assert_eq!(found.is_ok(), fits, "{count}");
            assert_eq!(guest.memory.held_bytes(), 0, "{count}");
        }
    }

    #[tokio::test]
    async fn what_a_handle_keeps_is_counted_until_it_is_dropped() {
        let (mut guest, store) = guest();
        let mut kept = Vec::new();
        let refused = loop {
            let bucket = guest.push(store.clone()).unwrap();
            match atomics::HostCas::new(&mut guest, bucket, "key".to_owned()).await.unwrap() {
                Ok(cas) => kept.push(cas),
                Err(error) => break error,
            }
        };
        assert_eq!(kept.len(), 15);
        assert!(format!("{refused:?}").contains("more than its limit of 16 MiB"), "{refused:?}");
        for cas in kept {
            atomics::HostCas::drop(&mut guest, cas).await.unwrap();
        }
        assert_eq!(guest.memory.held_bytes(), 0);
    }
}
