//! How much a project may hold.

use super::*;
use crate::CollectionMode;
use eyot_core::config::Quota;
use eyot_core::{ByteCount, Period};
use eyot_meta::sql;
use std::time::Duration;

fn limited(size: u64) -> Config {
    let quota = vec![Quota { repository: "acme/*".to_owned(), size: ByteCount(size) }];
    Config { quota, lease: Period(Duration::from_micros(1)), ..Config::default() }
}

async fn used(world: &World) -> u64 {
    world.registry.usage().await.unwrap()[0].bytes
}

#[tokio::test]
async fn a_project_takes_in_no_more_than_it_may() {
    let world = World::with(limited(2000)).await;
    let digest = world.image("acme/a", "t", &"x".repeat(1000), json!({})).await;
    let before = used(&world).await;
    assert!((1002..2000).contains(&before), "layer, config and manifest: {before}");
    // Another project has its own limits, here none.
    world.image("other", "t", &"y".repeat(5000), json!({})).await;
    let large = "z".repeat(1001);
    let (path, of_large) = ("/v2/acme/b/blobs/uploads/", Digest::of(&large));
    let chunked = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(large.clone())]));
    let started = world.send("POST", path, &[], Body::empty()).await;
    let upload = started.header("location").to_owned();
    for (what, got) in [
        ("at once", world.send("POST", &format!("{path}?digest={of_large}"), &[], large.clone()).await),
        ("of unknown length", world.send("POST", &format!("{path}?digest={of_large}"), &[], chunked).await),
        ("a chunk", world.send("PATCH", &upload, &[], large.clone()).await),
        (
            "the last chunk",
            world.send("PUT", &format!("{upload}?digest={of_large}"), &[], large.clone()).await,
        ),
        (
            "mounted",
            world
                .send("POST", &format!("{path}?mount={}&from=other", Digest::of("y".repeat(5000))), &[], "")
                .await,
        ),
    ] {
        assert_eq!((got.status, got.code().as_str()), (507, "DENIED"), "{what}");
        assert!(got.json()["errors"][0]["message"].as_str().unwrap().contains("acme/b is full"), "{what}");
    }
    assert_eq!(used(&world).await, before, "nothing of it was counted");
    // What is deleted makes room once it is collected.
    world.send("DELETE", &format!("/v2/acme/a/manifests/{digest}"), &[], Body::empty()).await;
    world.clock.advance(Duration::from_millis(2));
    world.registry.collect(CollectionMode::Remove).await.unwrap();
    assert_eq!(used(&world).await, 0);
    world.image("acme/b", "t", &large, json!({})).await;
}

#[tokio::test]
async fn a_manifest_that_fills_a_project_up_is_not_there() {
    let world = World::with(limited(1200)).await;
    let manifest =
        world.manifest("acme/a", &"x".repeat(1000), json!({ "annotations": { "a": "b".repeat(500) } })).await;
    let got = world.put("acme/a", "t", &manifest).await;
    assert_eq!(got.status, 507, "{:?}", got.body);
    assert_eq!(world.get("/v2/acme/a/manifests/t").await.status, 404);
    assert_eq!(used(&world).await, 1002, "the blobs are");
}

#[tokio::test]
async fn what_came_before_there_were_quotas_counts() {
    let world = World::with(limited(9000)).await;
    world.image("acme/a", "t", "layer", json!({})).await;
    let before = used(&world).await;
    let db = &world.registry.0.db;
    for query in ["UPDATE blobs SET size = NULL", "UPDATE repository_usage SET bytes = 0"] {
        sql(query).execute(db).await.unwrap();
    }
    let world = world.reopened(limited(9000)).await;
    assert_eq!(used(&world).await, before);
}

fn of_a_quota(config: Config) -> Config {
    Config { lease: Config::default().lease, ..config }
}

#[tokio::test]
async fn what_is_refused_is_not_on_the_disk() {
    let world = World::with(of_a_quota(limited(1 << 20))).await;
    let manifest = world.manifest("acme/a", "layer", json!({})).await;
    let before = world.store.list().await.unwrap();
    for number in 0..25 {
        let padded = format!("{}{}", " ".repeat(2_000_000 + number), manifest);
        let got = world.put("acme/a", "t", &padded).await;
        assert_eq!((got.status, got.code().as_str()), (507, "DENIED"), "{number}");
        let unknown =
            manifest.replace(&Digest::of("layer").to_string(), &Digest::of([number as u8]).to_string());
        let got = world.put("acme/a", &format!("t{number}"), &unknown).await;
        assert_eq!((got.status, got.code().as_str()), (404, "MANIFEST_BLOB_UNKNOWN"), "{number}");
    }
    world.image("acme/a", "1.0.0", "layer", json!({})).await;
    let kept = world.store.list().await.unwrap();
    assert_eq!(kept.len(), before.len() + 1);
    // A version names one manifest for ever.
    let other = world.manifest("acme/a", "layer", json!({ "annotations": { "a": "b" } })).await;
    assert_eq!(world.put("acme/a", "1.0.0", &other).await.status, 409);
    assert_eq!(world.store.list().await.unwrap(), kept);
}

#[tokio::test]
async fn uploads_under_way_count() {
    let world = World::with(of_a_quota(limited(1000))).await;
    let start = async |world: &World| {
        let started = world.send("POST", "/v2/acme/a/blobs/uploads/", &[], Body::empty()).await;
        started.header("location").to_owned()
    };
    let (one, other) = (start(&world).await, start(&world).await);
    assert_eq!(world.send("PATCH", &one, &[], "x".repeat(600)).await.status, 202);
    assert_eq!(world.send("PATCH", &other, &[], "y".repeat(600)).await.status, 507);
    assert_eq!(world.send("PATCH", &other, &[], "y".repeat(400)).await.status, 202);
    // Those that were begun before a restart count as well.
    let world = world.reopened(of_a_quota(limited(1000))).await;
    assert_eq!(world.send("PATCH", &other, &[], "y").await.status, 507);
    assert_eq!(world.send("DELETE", &one, &[], Body::empty()).await.status, 204);
    let whole = "y".repeat(1000);
    let path = format!("{other}?digest={}", Digest::of(&whole));
    assert_eq!(world.send("PUT", &path, &[], "y".repeat(600)).await.status, 201);
    assert_eq!(used(&world).await, 1000);
}
