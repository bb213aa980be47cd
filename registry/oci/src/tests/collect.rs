//! Collecting garbage while others push.

use eyot_store::{DigestAlgorithm, UploadId};

use super::*;
use crate::CollectionMode;
use eyot_core::Period;
use eyot_core::config::Retention;

/// Leases end at once: what nothing uses goes with the next collection.
fn short() -> Config {
    Config { lease: Period(Duration::from_micros(1)), ..Config::default() }
}

#[tokio::test]
async fn only_what_nothing_uses_goes() {
    let world = World::with(short()).await;
    let digest = world.image("a", "t", "layer", json!({})).await;
    world.image("b", "t", "layer", json!({})).await;
    let (alone, pinned) = (world.blob("a", "alone").await, world.blob("a", "pinned").await);
    world.store.pin(&pinned, "deployment/x/1").await.unwrap();
    let outside = world.store.put("of a pipeline".into()).await.unwrap().digest;
    world.store.pin(&outside, "cache/1").await.unwrap();
    world.clock.advance(Duration::from_millis(2));
    for (mode, blobs, after) in [
        (CollectionMode::DryRun, 1, true),
        (CollectionMode::Remove, 1, false),
        (CollectionMode::Remove, 0, false),
    ] {
        let collection = world.registry.collect(mode).await.unwrap();
        assert_eq!((collection.blobs, collection.bytes), (blobs, blobs * 5), "{mode:?}");
        assert_eq!(world.store.size(&alone).await.unwrap().is_some(), after);
    }
    assert_eq!(
        world.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], Body::empty()).await.status,
        202
    );
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(
        world.registry.collect(CollectionMode::Remove).await.unwrap().blobs,
        0,
        "the other repository uses them"
    );
    assert_eq!(
        world.get(&format!("/v2/a/blobs/{}", Digest::of("layer"))).await.status,
        404,
        "but this one does not any more"
    );
    assert_eq!(world.get("/v2/b/manifests/t").await.status, 200);
    assert_eq!(
        world.send("DELETE", &format!("/v2/b/manifests/{digest}"), &[], Body::empty()).await.status,
        202
    );
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 3);
    world.store.unpin(&pinned, "deployment/x/1").await.unwrap();
    world.registry.collect(CollectionMode::Remove).await.unwrap();
    let left: Vec<_> = world.store.list().await.unwrap().into_iter().map(|blob| blob.digest).collect();
    assert_eq!(left, [outside], "what the registry did not take in is not the registry's");
}

#[tokio::test]
async fn what_a_client_was_told_is_here_stays_for_its_push() {
    let world = World::new().await;
    let digest = world.image("a", "t", "layer", json!({})).await;
    assert_eq!(
        world.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], Body::empty()).await.status,
        202
    );
    assert_eq!(
        world.send("HEAD", &format!("/v2/a/blobs/{}", Digest::of("layer")), &[], Body::empty()).await.status,
        200
    );
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 0, "the lease runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_during_a_collection_lose_nothing() {
    // Leases long enough for a push, short enough that collections find something.
    let config = Config {
        lease: Period(Duration::from_millis(400)),
        immutable_tags: eyot_core::config::ImmutableTags::None,
        ..Config::default()
    };
    let world = Arc::new(World::with(config).await);
    let pushers = (0..2).map(|pusher| {
        let world = world.clone();
        tokio::spawn(async move {
            for round in 0..40 {
                // Both push the same layers, and drop each other's.
                let layer = format!("layer {}", round % 3);
                let repository = format!("r{pusher}");
                let digest = world
                    .image(&repository, "t", &layer, json!({ "annotations": { "round": round.to_string() } }))
                    .await;
                let got = world.get(&format!("/v2/{repository}/manifests/t")).await;
                assert_eq!(
                    (got.status, got.header("docker-content-digest")),
                    (200, digest.to_string().as_str())
                );
                assert_eq!(
                    world.get(&format!("/v2/{repository}/blobs/{}", Digest::of(&layer))).await.body,
                    layer
                );
                if round % 2 == 0 {
                    let path = format!("/v2/{repository}/manifests/{digest}");
                    assert_eq!(world.send("DELETE", &path, &[], Body::empty()).await.status, 202);
                }
            }
        })
    });
    let pushers: Vec<_> = pushers.collect();
    while !pushers.iter().all(|pusher| pusher.is_finished()) {
        world.registry.collect(CollectionMode::Remove).await.unwrap();
        tokio::task::yield_now().await;
    }
    for pusher in pushers {
        pusher.await.unwrap();
    }
    for entry in world.registry.list().await.unwrap() {
        let manifest =
            world.get(&format!("/v2/{}/manifests/{}", entry.repository, entry.digest)).await.json();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        assert_eq!(world.get(&format!("/v2/{}/blobs/{layer}", entry.repository)).await.status, 200);
    }
    assert!(world.store.verify().await.unwrap().damaged.is_empty());
}

#[tokio::test]
async fn rules_of_retention_spare_what_is_used() {
    let rule = |keep_tags, untagged_after| Retention {
        repository: "models/*".into(),
        tags: "*".into(),
        keep_tags,
        untagged_after,
    };
    let config = Config { retention: vec![rule(1, Period(Duration::from_millis(1)))], ..short() };
    let world = World::with(config).await;
    let kept = world.image("models/a", "2.0.0", "two", json!({})).await;
    let signature = json!({ "subject": { "mediaType": IMAGE_MANIFEST, "digest": kept, "size": 1 } });
    world.image("models/a", "", "signature", signature).await;
    let used = world.image("models/a", "", "deployed", json!({})).await;
    world.store.pin(&Digest::of("deployed"), "deployment/x/1").await.unwrap();
    world.image("models/a", "", "stale", json!({})).await;
    world.image("other", "", "stale", json!({})).await;
    world.clock.advance(Duration::from_millis(2));
    let planned = world.registry.collect(CollectionMode::DryRun).await.unwrap().retired;
    let done = world.registry.collect(CollectionMode::Remove).await.unwrap().retired;
    assert_eq!(planned, done);
    assert_eq!(
        done.iter().map(|removed| removed.rule.as_str()).collect::<Vec<_>>(),
        ["untagged for more than 1ms"]
    );
    assert_eq!(world.get(&format!("/v2/models/a/manifests/{used}")).await.status, 200);
    assert_eq!(
        world.get(&format!("/v2/models/a/referrers/{kept}")).await.json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn the_audit_log_shows_every_change() {
    let world = World::new().await;
    world.image("a", "t", "one", json!({})).await;
    world.image("a", "t", "two", json!({})).await;
    world.send("DELETE", "/v2/a/manifests/t", &[], Body::empty()).await;
    assert_eq!(
        world.audited().await,
        ["tag.set", "artifact.pushed", "tag.set", "artifact.pushed", "tag.removed", "artifact.deleted"]
    );
}

#[tokio::test]
async fn what_is_written_down_nowhere_goes_once_a_lease_has_passed() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    // As a process leaves it that is killed between the storing and the writing.
    let world = World::open(dir.clone(), Config::default()).await;
    world.image("a", "t", "layer", json!({})).await;
    let stray = world.store.put("stray".into()).await.unwrap().digest;
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 0, "it is fresh");
    let world = world.reopened(short()).await;
    world.clock.advance(Duration::from_millis(2));
    let dry = world.registry.collect(CollectionMode::DryRun).await.unwrap();
    assert_eq!((dry.blobs, dry.bytes), (1, 5));
    let held = world.store.put("held".into()).await.unwrap().digest;
    let hold = world.store.hold(&held);
    world.clock.advance(Duration::from_millis(2));
    for (mode, blobs) in [(CollectionMode::Remove, 1), (CollectionMode::Remove, 0)] {
        let collection = world.registry.collect(mode).await.unwrap();
        assert_eq!((collection.blobs, collection.bytes), (blobs, blobs * 5), "{mode:?}");
    }
    assert_eq!(world.store.size(&stray).await.unwrap(), None);
    assert_eq!(world.store.size(&held).await.unwrap(), Some(4));
    drop(hold);
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 1);
    assert_eq!(world.get("/v2/a/manifests/t").await.status, 200);
}

#[tokio::test]
async fn the_file_of_an_upload_that_is_nobodys_goes() {
    let world = World::new().await;
    let started = world.send("POST", "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(started.status, 202);
    let [stray, written] = [UploadId::random(), UploadId::random()];
    drop(world.store.start_upload(stray, DigestAlgorithm::Sha256).await.unwrap());
    let writer = world.store.start_upload(written, DigestAlgorithm::Sha256).await.unwrap();
    world.registry.expire_uploads().await.unwrap();
    let left = world.store.uploads().await.unwrap();
    assert!(left.len() == 2 && left.contains(&written) && !left.contains(&stray), "{left:?}");
    drop(writer);
    world.registry.expire_uploads().await.unwrap();
    assert_eq!(world.store.uploads().await.unwrap().len(), 1);
}
