//! What a backup copies is of one moment, and stays until it is copied.

use eyot_core::{ByteCount, Period};
use eyot_meta::RowSnapshot;
use eyot_store::DiskReserve;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{BackupSource, CollectionMode, HeldSnapshot, read_pins, recorded_blobs};

/// Leases end at once: what nothing uses goes with the next collection.
async fn world() -> World {
    World::with(Config { lease: Period(Duration::from_micros(1)), ..Config::default() }).await
}

fn source(world: &World, reserve: u64) -> BackupSource {
    let reserve = DiskReserve::new(world.dir.path(), ByteCount(reserve)).unwrap();
    BackupSource::new(world.registry.clone(), world.dir.path().join("snapshot"), reserve).unwrap()
}

/// The blobs that the rows of the snapshot say are there.
async fn recorded(world: &World) -> Vec<Digest> {
    let [rows, _] = HeldSnapshot::files();
    let snapshot = RowSnapshot::open(&world.dir.path().join("snapshot").join(rows)).await.unwrap();
    let recorded = recorded_blobs(snapshot.database()).await.unwrap();
    snapshot.database().check_audit().await.unwrap();
    snapshot.close().await;
    recorded
}

#[tokio::test]
async fn what_a_snapshot_names_stays_until_it_is_dropped() {
    let world = world().await;
    let digest = world.image("a", "t", "layer", json!({})).await;
    world.store.pin(&digest, "deployment/x/1").await.unwrap();
    let held = source(&world, 1).snapshot().await.unwrap();
    assert_eq!(recorded(&world).await.len(), 3);
    let [_, pins] = HeldSnapshot::files();
    let pins = read_pins(&world.dir.path().join("snapshot").join(pins)).unwrap();
    assert_eq!(pins.iter().map(|pin| pin.owner.as_str()).collect::<Vec<_>>(), ["deployment/x/1"]);
    world.store.unpin(&digest, "deployment/x/1").await.unwrap();
    world.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], Body::empty()).await;
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 0);
    assert_eq!(world.store.list().await.unwrap().len(), 3);
    drop(held);
    assert!(!world.dir.path().join("snapshot").exists());
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 3);
}

#[tokio::test]
async fn a_disk_without_room_for_a_snapshot_is_said_and_nothing_is_held() {
    let world = world().await;
    world.blob("a", "alone").await;
    let error = source(&world, u64::MAX / 2).snapshot().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_names_nothing_that_a_collection_deletes_meanwhile() {
    let world = Arc::new(world().await);
    let source = source(&world, 1);
    let stop = CancellationToken::new();
    let (pushing, collecting) = ((world.clone(), stop.clone()), (world.clone(), stop.clone()));
    let pushes = tokio::spawn(async move {
        let (world, stop) = pushing;
        for number in 0.. {
            if stop.is_cancelled() {
                return;
            }
            let layer = format!("layer {number}");
            let upload = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&layer));
            assert_eq!(world.send("POST", &upload, &[], layer).await.status, 201);
        }
    });
    let collections = tokio::spawn(async move {
        let (world, stop) = collecting;
        while !stop.is_cancelled() {
            world.clock.advance(Duration::from_millis(1));
            world.registry.collect(CollectionMode::Remove).await.unwrap();
        }
    });
    let mut named = 0;
    for _ in 0..40 {
        let held = source.snapshot().await.unwrap();
        let here: Vec<_> = world.store.list().await.unwrap().into_iter().map(|blob| blob.digest).collect();
        for digest in recorded(&world).await {
            assert!(here.binary_search(&digest).is_ok(), "{digest} is named and is not there");
            named += 1;
        }
        drop(held);
    }
    assert!(named > 0, "nothing was there to be named");
    stop.cancel();
    pushes.await.unwrap();
    collections.await.unwrap();
}
