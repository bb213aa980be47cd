#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use eyot_core::config::{BackendChoice, InferenceSettings};
use eyot_core::{Digest, ErrorKind};
use eyot_store::{BlobStore as _, MemoryStore};

use super::*;
use crate::suite::fixture;
use crate::{InferOptions, NamedTensor, StoredData, Tensor};

/// Models of 1000 or so bytes each over a memory of so many.
struct World {
    store: MemoryStore,
    models: Arc<LoadedModels>,
}

impl World {
    fn new(memory: u64) -> Self {
        let store = MemoryStore::default();
        let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let options = ModelCacheOptions {
            threads: 2,
            memory,
            ..ModelCacheOptions::from(&InferenceSettings::default())
        };
        Self { models: LoadedModels::with(Arc::new(store.clone()), backends, options), store }
    }

    async fn put(&self, name: &str) -> Digest {
        self.store.put(fixture(name)).await.unwrap().digest
    }

    async fn load(&self, digest: Digest) -> Result<Arc<LoadedModel>> {
        self.models.load(digest, ModelSettings::default()).await
    }

    fn resident(&self) -> Vec<Digest> {
        let models = self.models.stats().models.into_iter();
        models.filter(|model| model.resident_bytes > 0).map(|model| model.digest).collect()
    }
}

fn length(name: &str) -> u64 {
    fixture(name).len() as u64
}

fn x(rows: usize) -> Vec<NamedTensor> {
    vec![NamedTensor { name: "x".into(), tensor: Tensor::of(vec![rows, 2], &vec![1_f32; 2 * rows]).unwrap() }]
}

async fn answers(model: &LoadedModel) -> bool {
    let outputs = model.infer(x(1), InferOptions::default()).await.unwrap().outputs;
    outputs[0].tensor == Tensor::of(vec![1, 2], &[2_f32; 2]).unwrap()
}

#[tokio::test]
async fn a_thousand_first_requests_load_once() {
    let world = World::new(u64::MAX);
    let digest = world.put("two").await;
    let loads = (0..1000).map(|_| {
        let models = world.models.clone();
        tokio::spawn(async move { models.load(digest, ModelSettings::default()).await.unwrap() })
    });
    let mut held = Vec::new();
    for load in loads.collect::<Vec<_>>() {
        held.push(load.await.unwrap());
    }
    let same = world.models.load_bytes(fixture("two"), ModelSettings::default()).await.unwrap();
    assert!(held.iter().all(|model| model.shares_with(&same)));
    assert_eq!(same.ran_on().to_string(), "tract 0.23 (cpu)");
    let stats = world.models.stats();
    assert_eq!((stats.loads, stats.models.len(), stats.resident_bytes), (1, 1, length("two")));
    // Other settings are another model.
    let settings = ModelSettings { intra_threads: Some(2), ..ModelSettings::default() };
    let other = world.models.load(digest, settings).await.unwrap();
    assert!(!other.shares_with(&same) && world.models.stats().loads == 2);
}

#[tokio::test]
async fn the_longest_unused_makes_room_and_comes_back_when_asked() {
    let world = World::new(length("add-fp32") + length("two") + 10);
    let (add, two, forest) =
        (world.put("add-fp32").await, world.put("two").await, world.put("same-fp32").await);
    let add_model = world.load(add).await.unwrap();
    let two_model = world.load(two).await.unwrap();
    assert!(answers(&add_model).await);
    // `two` was used longest ago; both are held.
    let _third = world.load(forest).await.unwrap();
    assert_eq!(world.models.stats().evictions, 1);
    assert!(!world.resident().contains(&two) || !world.resident().contains(&add));
    for _ in 0..3 {
        assert!(answers(&add_model).await);
        let a = NamedTensor { name: "a".into(), tensor: Tensor::of(vec![1, 3], &[1_f32, 2., 3.]).unwrap() };
        let b = NamedTensor { name: "b".into(), tensor: Tensor::of(vec![3, 1], &[1_f32; 3]).unwrap() };
        assert_eq!(
            two_model.infer(vec![a, b], InferOptions::default()).await.unwrap().outputs[1].tensor,
            Tensor::of(vec![], &[6_f32]).unwrap()
        );
    }
    let stats = world.models.stats();
    assert!(stats.resident_bytes <= stats.budget_bytes && stats.loads > 3, "{stats:?}");
}

#[tokio::test]
async fn what_nobody_holds_goes_first_and_what_is_pinned_stays() {
    let world = World::new(length("add-fp32") + length("two") + 10);
    let (add, two) = (world.put("add-fp32").await, world.put("two").await);
    let same = world.put("same-fp32").await;
    let held = world.load(add).await.unwrap();
    let pin = held.pin();
    drop(world.load(two).await.unwrap());
    assert_eq!(world.resident().len(), 2, "kept while there is room");
    let third = world.load(same).await.unwrap();
    assert!(world.resident().contains(&add) && !world.resident().contains(&two));

    let pinned = [held.pin(), third.pin()];
    let error = world.load(two).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert_eq!(world.models.unload(&add).unwrap_err().kind(), ErrorKind::Conflict);
    drop((pin, pinned));
    world.load(two).await.unwrap();
}

#[tokio::test]
async fn what_is_unloaded_is_gone_until_somebody_asks() {
    let world = World::new(u64::MAX);
    let digest = world.put("add-fp32").await;
    let held = world.load(digest).await.unwrap();
    world.models.unload(&digest).unwrap();
    assert_eq!(world.models.stats().resident_bytes, 0);
    assert!(answers(&held).await && world.models.stats().loads == 2);
    world.models.unload(&digest).unwrap();
    let bytes = world.store.get(&digest).await.unwrap();
    world.store.delete(&digest).await.unwrap();
    assert_eq!(held.infer(x(1), InferOptions::default()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    world.store.put(bytes).await.unwrap();
    assert!(answers(&held).await);
    drop(held);
    world.models.unload(&digest).unwrap();
    assert!(world.models.stats().models.is_empty());
    assert_eq!(world.models.unload(&digest).unwrap_err().kind(), ErrorKind::NotFound);
    world.store.delete(&digest).await.unwrap();
    assert_eq!(world.load(digest).await.err().unwrap().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_components_bring_themselves_cannot_push_out_everybody_else() {
    let world = World::new(4 * length("add-fp32") + 4 * length("two") - 4);
    let guest_loaded = world.models.load_bytes(fixture("add-fp32"), ModelSettings::default()).await.unwrap();
    let error = world.models.load_bytes(fixture("two"), ModelSettings::default()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error:?}");
    assert_eq!(world.models.unload(&guest_loaded.digest()).unwrap_err().kind(), ErrorKind::Conflict);
    // Once it lets go of the first there is room for the second.
    drop(guest_loaded);
    drop(world.models.load_bytes(fixture("same-fp32"), ModelSettings::default()).await.unwrap());
    world.models.load_bytes(fixture("two"), ModelSettings::default()).await.unwrap();
    let huge = world.models.load_bytes(Bytes::from(vec![0; 1 << 20]), ModelSettings::default()).await;
    assert_eq!(huge.err().unwrap().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn a_back_end_that_is_asked_for_by_name_is_the_one() {
    let world = World::new(u64::MAX);
    let digest = world.put("two").await;
    let settings = |backend| ModelSettings { backend, ..ModelSettings::default() };
    assert!(world.models.load(digest, settings(BackendChoice::Tract)).await.is_ok());
    let error = world.models.load(digest, settings(BackendChoice::Onnxruntime)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn what_a_probe_found_out_is_not_found_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = MemoryStore::default();
    let digest = store.put(fixture("add-fp32")).await.unwrap().digest;
    let process = || {
        let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
        let options = ModelCacheOptions::from(&InferenceSettings::default());
        LoadedModels::with_probe_cache(Arc::new(store.clone()), backends, options, dir.path())
    };
    let said = |models: &LoadedModels| models.stats().models[0].batching.clone();
    let first = process();
    let model = first.load(digest, ModelSettings::default()).await.unwrap();
    assert_eq!(said(&first), "joins");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    // Only by what is kept another process can come to another opinion.
    let key = ProbeKey::new(&digest, &model.settings(), &model.ran_on());
    let memory = ProbeCache::new(dir.path());
    let cost = memory.recall(&key).unwrap().cost;
    memory.keep(&key, crate::batch_probe::ProbeResult::RowsDependent, &cost);
    let second = process();
    let model = second.load(digest, ModelSettings::default()).await.unwrap();
    assert_eq!(said(&second), "rows depend on each other");
    assert!(answers(&model).await);
    // An opinion that nobody can have of this model is not taken.
    memory.keep(&key, crate::batch_probe::ProbeResult::Unproved, &cost);
    let third = process();
    third.load(digest, ModelSettings::default()).await.unwrap();
    assert_eq!(said(&third), "joins");
}

/// The model whose weights lie beside it, in a store.
async fn put_beside(store: &dyn eyot_store::BlobStore, weights: Bytes) -> StoredModel {
    let onnx = store.put(fixture("beside")).await.unwrap().digest;
    let digest = store.put(weights).await.unwrap().digest;
    StoredModel { onnx, data: vec![StoredData { name: "beside.onnx.data".into(), digest }] }
}

fn weights() -> Bytes {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx/beside.onnx.data");
    std::fs::read(path).unwrap().into()
}

async fn first_output(model: &LoadedModel) -> Vec<f32> {
    let x = Tensor::of(vec![1, 130], &[1_f32; 130]).unwrap();
    let outputs = model
        .infer(vec![NamedTensor { name: "x".into(), tensor: x }], InferOptions::default())
        .await
        .unwrap()
        .outputs;
    outputs[0].tensor.to_vec().unwrap()
}

/// Whether a store has files or not: weights beside a model count, tell models apart, and come back.
#[tokio::test]
async fn weights_beside_a_model_are_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn eyot_store::BlobStore>; 2] = [
        Arc::new(MemoryStore::default()),
        Arc::new(eyot_store::DirectoryStore::open(dir.path()).await.unwrap()),
    ];
    for store in stores {
        let size = length("beside") + weights().len() as u64;
        let with = |memory| {
            let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
            let options = ModelCacheOptions {
                threads: 2,
                memory,
                ..ModelCacheOptions::from(&InferenceSettings::default())
            };
            LoadedModels::with(store.clone(), backends, options)
        };
        let stored = put_beside(&*store, weights()).await;
        let mut other = weights().to_vec();
        other.reverse();
        let other = put_beside(&*store, other.into()).await;
        assert_eq!(stored.onnx, other.onnx);
        // There is room for one of them.
        let models = with(size + 10);
        let model = models.load_stored(stored.clone(), ModelSettings::default()).await.unwrap();
        assert_eq!((model.digest(), model.stats().resident_bytes), (stored.digest(), size));
        let expected = first_output(&model).await;
        let another = models.load_stored(other, ModelSettings::default()).await.unwrap();
        assert!(!another.shares_with(&model) && model.stats().resident_bytes == 0);
        assert_ne!(first_output(&another).await, expected);
        assert_eq!(first_output(&model).await, expected);
        let error = with(size - 1).load_stored(stored, ModelSettings::default()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
    }
}

/// What a store has damaged on its disk is not computed with.
#[tokio::test]
async fn damaged_weights_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(eyot_store::DirectoryStore::open(dir.path()).await.unwrap());
    let stored = put_beside(&*store, weights()).await;
    let path = store.path(&stored.data[0].digest).unwrap();
    let mut bytes = weights().to_vec();
    bytes[1000] ^= 1;
    // As a disk does it: a new file would be what a store makes, and read-only.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let backends = BackendSet::open(std::path::Path::new("/nowhere"), BackendChoice::Tract).unwrap();
    let models = LoadedModels::new(store, backends, 1);
    let error = models.load_stored(stored, ModelSettings::default()).await.err().unwrap();
    assert!(error.kind() == ErrorKind::Corrupt && error.chain().contains("'beside.onnx.data'"), "{error:?}");
}
