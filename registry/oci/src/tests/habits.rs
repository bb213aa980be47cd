//! What other clients send and take for granted.

use std::time::Duration;

use eyot_core::Period;

use super::*;
use crate::CollectionMode;
use crate::manifest::IMAGE_INDEX;

#[tokio::test]
async fn null_is_an_empty_list() {
    let world = World::new().await;
    let config = world.blob("a", "{}").await;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": IMAGE_MANIFEST,
        "config": { "mediaType": "x/y", "digest": config, "size": 2, "urls": null, "annotations": null },
        "layers": null,
        "annotations": null,
    })
    .to_string();
    assert_eq!(world.put("a", "t", &manifest).await.status, 201);
    assert_eq!(world.get("/v2/a/manifests/t").await.body, manifest, "as it was pushed");
    let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": null }).to_string();
    let got = world.send("PUT", "/v2/a/manifests/i", &[("content-type", IMAGE_INDEX)], index).await;
    assert_eq!(got.status, 201, "{:?}", got.body);
}

#[tokio::test]
async fn what_is_escaped_without_need_is_found() {
    let world = World::new().await;
    let digest = world.image("a/b", "v1", "layer", json!({})).await.to_string();
    for path in [digest.replace(':', "%3A"), digest.replace(':', "%3a"), "%761".to_owned()] {
        assert_eq!(world.get(&format!("/v2/a/b/manifests/{path}")).await.status, 200, "{path}");
    }
    // Once: what is an escape after that is no name; and a slash in a segment divides nothing.
    for path in ["/v2/a/b/manifests/%25761", "/v2/a%2Fb/manifests/v1", "/v2/a/b%2Fmanifests/v1"] {
        let status = world.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn an_index_says_how_long_its_manifests_are() {
    let world = World::new().await;
    let child = world.image("a", "", "layer", json!({})).await;
    let length = world.get(&format!("/v2/a/manifests/{child}")).await.body.len();
    for (size, status, code) in
        [(length + 1, 400, "MANIFEST_INVALID"), (0, 400, "MANIFEST_INVALID"), (length, 201, "")]
    {
        let manifests = json!([{ "mediaType": IMAGE_MANIFEST, "digest": child, "size": size }]);
        let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests });
        let index = index.to_string();
        let got = world.send("PUT", "/v2/a/manifests/i", &[("content-type", IMAGE_INDEX)], index).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{size}");
    }
}

#[tokio::test]
async fn a_push_may_take_longer_than_a_lease() {
    let lease = Duration::from_millis(300);
    let world = World::with(Config { lease: Period(lease), ..Config::default() }).await;
    let started = world.send("POST", "/v2/a/blobs/uploads/", &[], Body::empty()).await;
    let upload = started.header("location").to_owned();
    let manifest = world.manifest("a", "layer", json!({})).await;
    // The lease of what came first ends while the rest arrives.
    for _ in 0..4 {
        world.send("PATCH", &upload, &[], "x").await;
        world.clock.advance(lease / 2);
    }
    assert_eq!(world.registry.collect(CollectionMode::Remove).await.unwrap().blobs, 0);
    let received =
        world.get(&upload).await.header("range").split_once('-').unwrap().1.parse::<usize>().unwrap();
    let last = format!("{upload}?digest={}", Digest::of("x".repeat(received + 1)));
    assert_eq!(world.send("PUT", &last, &[], Body::empty()).await.status, 201);
    world.registry.collect(CollectionMode::Remove).await.unwrap();
    assert_eq!(world.put("a", "t", &manifest).await.status, 201);
}
