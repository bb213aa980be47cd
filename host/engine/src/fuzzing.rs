//! What the fuzz target of `tests/fuzz` calls: it takes any bytes, and panics where something that must hold does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eyot_core::config::BackendChoice;
use eyot_core::interface::{Field, Function, Type};
use eyot_core::{Error, ErrorKind, Result};
use eyot_nn::{BackendSet, LoadedModels};
use eyot_store::MemoryStore;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::Val;

use crate::guest::GuestState;
use crate::logs::NullSink;
use crate::{GuestGrants, InstanceLimits, reflect};

/// A type in JSON and, on the next line, a value: a value that does not fit its type is refused as `Invalid`. What one
/// that fits becomes has a JSON form that fits as well, and that becomes the same again.
pub fn reflection(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (ty, value) = bytes.split_at(end);
    let Ok(ty) = serde_json::from_slice::<Type>(ty) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(value) else { return };
    STORE.with_borrow_mut(|store| {
        let store = store.as_mut().expect("a store can be made");
        let fits = ty.check(&value);
        match (there_and_back(store, &ty, &value), fits) {
            (Ok(first), Ok(())) => {
                assert!(ty.check(&first).is_ok(), "{ty}: {value} became {first}, which does not fit");
                let second = there_and_back(store, &ty, &first);
                assert_eq!(second.as_ref().ok(), Some(&first), "{ty}: {second:?}");
            }
            (Ok(first), Err(error)) => panic!("{ty}: {value} became {first}, and does not fit: {error}"),
            (Err(error), Err(_)) => assert_eq!(error.kind(), ErrorKind::Invalid, "{ty} {value}: {error}"),
            // No artifact was handed to this guest, and it has no resources.
            (Err(error), Ok(())) => assert_eq!(error.kind(), ErrorKind::Denied, "{ty} {value}: {error}"),
        }
    });
}

fn there_and_back(store: &mut Store<GuestState>, ty: &Type, value: &Value) -> Result<Value> {
    let params = vec![Field { name: "value".to_owned(), ty: ty.clone() }];
    let function = Function { name: "f".to_owned(), params, result: None, docs: None };
    let mut values = reflect::arguments(store, &function, |_| Some(value), &BTreeMap::new())?;
    let value: Val = values.pop().ok_or_else(|| Error::internal("an argument without a value"))?;
    reflect::from_val(store, ty, value)
}

thread_local! {
    static STORE: std::cell::RefCell<Option<Store<GuestState>>> = std::cell::RefCell::new(store().ok());
}

/// The store of a guest that was granted nothing.
fn store() -> Result<Store<GuestState>> {
    let backends = BackendSet::open(Path::new("/nowhere"), BackendChoice::Auto)?;
    let models = LoadedModels::new(Arc::<MemoryStore>::default(), backends, 1);
    let grants = GuestGrants::new(Arc::default(), models, Arc::new(NullSink));
    let limits = InstanceLimits { memory: 16 << 20, timeout: Duration::from_secs(1), handles: 100 };
    Ok(Store::new(&wasmtime::Engine::default(), GuestState::new(grants, &limits, None)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/reflection");
        let files = std::fs::read_dir(corpus).unwrap();
        let run = |file: std::io::Result<std::fs::DirEntry>| {
            super::reflection(&std::fs::read(file.unwrap().path()).unwrap());
        };
        assert!(files.map(run).count() > 0);
    }
}
