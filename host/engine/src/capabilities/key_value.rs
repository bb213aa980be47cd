//! `wasi:keyvalue` and `spin:key-value` over the stores that were granted.

use std::sync::Arc;

use eyot_core::{Error, Result};
use eyot_world::serving::fermyon::spin::key_value as spin2_key_value;
use eyot_world::serving::spin::key_value::key_value as spin;
use eyot_world::serving::wasi::keyvalue::{atomics, batch, store};
use eyot_world::{Bucket, Cas, SpinStore};
use wasmtime::component::{Accessor, FutureReader, Linker, Resource, StreamReader};

use super::held::HeldItems;
use super::{GrantRule, HostCapability, OfferedInterface, RefusedCalls, ToGuest};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::memory::{HeldMemory, HostMemory};
use crate::stores::KeyValueStore;

mod spin2;

pub(super) const CAPABILITY: HostCapability = HostCapability {
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
            is_granted: |capabilities| !capabilities.stores.is_empty(),
        }),
    }),
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    if profile_kind == ProfileKind::Hermetic {
        return Ok(());
    }
    store::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    atomics::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    batch::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    spin2_key_value::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    if profile_kind == ProfileKind::Concurrent {
        spin::add_to_linker::<GuestState, ToGuest>(linker, |guest| guest)?;
    }
    Ok(())
}

type SharedStore = Arc<dyn KeyValueStore>;

/// A value as it was when the handle was made.
struct KeySnapshot {
    store: SharedStore,
    key: String,
    value: Option<Vec<u8>>,
    #[expect(dead_code, reason = "dropped with the value, which it counts")]
    held: HeldMemory,
}

impl KeySnapshot {
    async fn read(store: SharedStore, key: String, memory: &HostMemory) -> Result<Self> {
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
pub(super) async fn fetch(store: &SharedStore, key: &str, memory: &HostMemory) -> Result<Option<Vec<u8>>> {
    let value = store.get(key).await?;
    memory.hold(value_bytes(key, value.as_deref())).map(|_| value)
}

/// Keys in one answer of `list-keys`.
const PAGE_ENTRIES: usize = 1000;

fn store_error(error: &Error) -> store::Error {
    store::Error::Other(error.chain())
}

type StoreResult<T> = wasmtime::Result<std::result::Result<T, store::Error>>;

impl GuestState {
    fn granted_store(&self, label: &str) -> Option<SharedStore> {
        self.grants.capabilities.stores.get(label).cloned()
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> wasmtime::Result<SharedStore> {
        Ok(self.get::<Bucket, SharedStore>(bucket)?.clone())
    }
}

impl store::Host for GuestState {
    async fn open(&mut self, identifier: String) -> StoreResult<Resource<Bucket>> {
        match self.granted_store(&identifier) {
            Some(store) => Ok(Ok(self.push(store)?)),
            None => Ok(Err(store::Error::NoSuchStore)),
        }
    }
}

impl store::HostBucket for GuestState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<Option<Vec<u8>>> {
        let store = self.bucket(&bucket)?;
        Ok(fetch(&store, &key, &self.memory).await.map_err(|error| store_error(&error)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> StoreResult<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| store_error(&error)))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.delete(vec![key]).await.map_err(|error| store_error(&error)))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<bool> {
        let store = self.bucket(&bucket)?;
        Ok(store.exists(&key).await.map_err(|error| store_error(&error)))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> StoreResult<store::KeyResponse> {
        let store = self.bucket(&bucket)?;
        let keys = store.keys(cursor.as_deref(), PAGE_ENTRIES).await;
        Ok(keys.map_err(|error| store_error(&error)).map(|keys| {
            let cursor = keys.last().filter(|_| keys.len() == PAGE_ENTRIES).cloned();
            store::KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.take::<Bucket, SharedStore>(bucket).map(drop)
    }
}

impl atomics::Host for GuestState {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> StoreResult<i64> {
        let store = self.bucket(&bucket)?;
        Ok(store.increment(&key, delta).await.map_err(|error| store_error(&error)))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<std::result::Result<(), atomics::CasError>> {
        let KeySnapshot { store, key, value: expected, .. } = self.take::<Cas, KeySnapshot>(cas)?;
        match store.swap(&key, expected, value).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => match KeySnapshot::read(store, key, &self.memory).await {
                Ok(snapshot) => {
                    let again = self.push(snapshot)?;
                    Ok(Err(atomics::CasError::CasFailed(again)))
                }
                Err(error) => Ok(Err(atomics::CasError::StoreError(store_error(&error)))),
            },
            Err(error) => Ok(Err(atomics::CasError::StoreError(store_error(&error)))),
        }
    }
}

impl atomics::HostCas for GuestState {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> StoreResult<Resource<Cas>> {
        let store = self.bucket(&bucket)?;
        match KeySnapshot::read(store, key, &self.memory).await {
            Ok(snapshot) => Ok(Ok(self.push(snapshot)?)),
            Err(error) => Ok(Err(store_error(&error))),
        }
    }

    async fn current(&mut self, cas: Resource<Cas>) -> StoreResult<Option<Vec<u8>>> {
        Ok(Ok(self.get::<Cas, KeySnapshot>(&cas)?.value.clone()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.take::<Cas, KeySnapshot>(cas).map(drop)
    }
}

impl batch::Host for GuestState {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> StoreResult<Vec<(String, Option<Vec<u8>>)>> {
        let store = self.bucket(&bucket)?;
        let answer = self.memory.open();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let value = store.get(&key).await;
            let counted =
                value.and_then(|value| answer.grow(value_bytes(&key, value.as_deref())).map(|()| value));
            match counted {
                Ok(value) => found.push((key, value)),
                Err(error) => return Ok(Err(store_error(&error))),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> StoreResult<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.set(pairs).await.map_err(|error| store_error(&error)))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> StoreResult<()> {
        let store = self.bucket(&bucket)?;
        Ok(store.delete(keys).await.map_err(|error| store_error(&error)))
    }
}

fn spin_error(error: &Error) -> spin::Error {
    spin::Error::Other(error.chain())
}

type SpinResult<T> = wasmtime::Result<std::result::Result<T, spin::Error>>;

impl spin::Host for GuestState {}

impl spin::HostStore for GuestState {
    async fn drop(&mut self, store: Resource<SpinStore>) -> wasmtime::Result<()> {
        self.take::<SpinStore, SharedStore>(store).map(drop)
    }
}

/// The store behind a handle, without holding on to the instance.
fn behind<T: Send>(
    accessor: &Accessor<T, ToGuest>,
    handle: &Resource<SpinStore>,
) -> wasmtime::Result<SharedStore> {
    accessor.with(|mut access| Ok(access.get().get::<SpinStore, SharedStore>(handle)?.clone()))
}

impl<T: Send> spin::HostStoreWithStore<T> for ToGuest {
    async fn open(accessor: &Accessor<T, Self>, label: String) -> SpinResult<Resource<SpinStore>> {
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
    ) -> SpinResult<Option<Vec<u8>>> {
        let store = behind(accessor, &store)?;
        let memory = accessor.with(|mut access| access.get().memory.clone());
        Ok(fetch(&store, &key, &memory).await.map_err(|error| spin_error(&error)))
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
        key: String,
        value: Vec<u8>,
    ) -> SpinResult<()> {
        let store = behind(accessor, &store)?;
        Ok(store.set(vec![(key, value)]).await.map_err(|error| spin_error(&error)))
    }

    async fn delete(accessor: &Accessor<T, Self>, store: Resource<SpinStore>, key: String) -> SpinResult<()> {
        let store = behind(accessor, &store)?;
        Ok(store.delete(vec![key]).await.map_err(|error| spin_error(&error)))
    }

    async fn exists(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
        key: String,
    ) -> SpinResult<bool> {
        let store = behind(accessor, &store)?;
        Ok(store.exists(&key).await.map_err(|error| spin_error(&error)))
    }

    async fn get_keys(
        accessor: &Accessor<T, Self>,
        store: Resource<SpinStore>,
    ) -> wasmtime::Result<(StreamReader<String>, FutureReader<std::result::Result<(), spin::Error>>)> {
        let store = behind(accessor, &store)?;
        let held = Arc::new(accessor.with(|mut access| access.get().memory.open()));
        let (all, ended) = all_keys(&store, &held).await;
        let ended = ended.map_err(|error| spin_error(&error));
        accessor.with(|mut access| {
            let keys = StreamReader::new(&mut access, HeldItems::new(all, held))?;
            Ok((keys, FutureReader::new(&mut access, async move { wasmtime::error::Ok(ended) })?))
        })
    }
}

/// All keys of a store, as far as they could be read and there is room for them in `held`, and how that ended.
pub(super) async fn all_keys(store: &SharedStore, held: &HeldMemory) -> (Vec<String>, Result<()>) {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = store.keys(all.last().map(String::as_str), PAGE_ENTRIES).await;
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
    use eyot_nn::{BackendSet, LoadedModels};
    use eyot_store::MemoryStore;

    use super::*;
    use crate::{GuestGrants, InstanceLimits, NullSink};

    const VALUE_BYTES: usize = 1 << 20;

    /// Every key has a value of a megabyte.
    #[derive(Debug)]
    struct Large;

    #[async_trait]
    impl KeyValueStore for Large {
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
    fn guest() -> (GuestState, SharedStore) {
        let backends = BackendSet::open(Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let loader = LoadedModels::new(Arc::<MemoryStore>::default(), backends, 1);
        let grants = GuestGrants::new(Arc::default(), loader, Arc::new(NullSink));
        let limits = InstanceLimits { memory: 16 << 20, timeout: Duration::from_secs(1), handles: 100 };
        (GuestState::new(grants, &limits, None), Arc::new(Large))
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
