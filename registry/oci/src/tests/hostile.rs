//! Requests of the security checklist that concern a registry, each class under its name.

use super::*;

#[tokio::test]
async fn path_traversal_in_names_digests_and_session_ids() {
    let world = World::new().await;
    let long = "a".repeat(60 << 10);
    let digest = Digest::of("x").to_string();
    for path in [
        "/v2/../../etc/passwd/manifests/t",
        "/v2/a/../../etc/manifests/t",
        "/v2/a%2f..%2f..%2fetc/manifests/t",
        "/v2/a/%2e%2e/b/manifests/t",
        "/v2/a/manifests/..",
        "/v2/a/manifests/%2e%2e",
        "/v2/a/blobs/..",
        "/v2/a/blobs/sha256:..",
        "/v2/a/blobs/sha256:../../../../etc/passwd",
        "/v2/a/blobs/uploads/..",
        "/v2/a/blobs/uploads/../../../../tmp/x",
        "/v2/a/blobs/uploads/00000000-0000-0000-0000-00000000000/",
        "/v2//blobs/uploads/",
        "/v2/a//b/manifests/t",
        "/v2/.a/manifests/t",
        "/v2/a/manifests/t%00",
        &format!("/v2/{long}/manifests/t"),
        &format!("/v2/a/manifests/{long}"),
        &format!("/v2/a/blobs/{long}"),
        &format!("/v2/a/blobs/{}", digest.to_uppercase()),
        &format!("/v2/a/blobs/{}", digest.replace("sha256:", "SHA256:")),
        &format!("/v2/a/blobs/{}", digest.replace("sha256:", "sha512:")),
        &format!("/v2/a/blobs/{digest}00"),
        &format!("/v2/a/referrers/{}", digest.replace(':', "/")),
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"] {
            let got = world.send(method, path, &[], "x").await;
            assert!((400..500).contains(&got.status), "{method} {path}: {}", got.status);
        }
    }
    assert!(world.store.list().await.unwrap().is_empty() && world.registry.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn manifest_and_index_confusion() {
    let world = World::new().await;
    let plain = world.manifest("a", "layer", json!({})).await;
    let mut untyped: Value = serde_json::from_str(&plain).unwrap();
    untyped.as_object_mut().unwrap().remove("mediaType");
    let untyped = untyped.to_string();
    assert_eq!(world.put("a", "t", &untyped).await.status, 201);
    // The same bytes keep the type that they came with.
    let other = [("content-type", "application/vnd.docker.distribution.manifest.v2+json")];
    world.send("PUT", "/v2/a/manifests/u", &other, untyped.clone()).await;
    for target in ["t", "u", &Digest::of(&untyped).to_string()] {
        assert_eq!(
            world.get(&format!("/v2/a/manifests/{target}")).await.header("content-type"),
            IMAGE_MANIFEST
        );
    }
}

#[tokio::test]
async fn immutability_is_the_same_on_every_path() {
    let world = World::new().await;
    for (tag, is_immutable) in [
        ("1.0.0", true),
        ("v2.1.3", true),
        ("1.0.0-rc.1", true),
        ("latest", false),
        ("1.0", false),
        ("main", false),
    ] {
        let first = world.image("a", tag, "one", json!({})).await;
        world.image("a", tag, "one", json!({})).await;
        let other = world.manifest("a", "two", json!({})).await;
        let by_digest = format!("{}?tag={tag}", Digest::of(&other));
        let expected = if is_immutable { 409 } else { 201 };
        for target in [tag, &by_digest] {
            let got = world.put("a", target, &other).await;
            assert_eq!(got.status, expected, "{target}: {:?}", got.body);
            assert_eq!(got.code(), if is_immutable { "DENIED" } else { "" });
        }
        let reference = format!("a:{tag}").parse().unwrap();
        let moved = world.registry.put(&reference, IMAGE_MANIFEST, other.clone().into()).await;
        assert_eq!(moved.is_err(), is_immutable, "{tag}");
        // Deleting it and pushing again is moving it.
        assert_eq!(
            world.send("DELETE", &format!("/v2/a/manifests/{tag}"), &[], Body::empty()).await.status,
            202
        );
        assert_eq!(world.put("a", tag, &other).await.status, expected, "{tag}");
        world.image("a", tag, "one", json!({})).await;
        assert_eq!(
            world.send("DELETE", &format!("/v2/a/manifests/{first}"), &[], Body::empty()).await.status,
            202
        );
        world.image("a", "other", "two", json!({})).await;
        assert_eq!(world.put("a", tag, &other).await.status, expected, "{tag}");
    }
    let world =
        World::with(Config { immutable_tags: eyot_core::config::ImmutableTags::None, ..Config::default() })
            .await;
    world.image("a", "1.0.0", "one", json!({})).await;
    world.image("a", "1.0.0", "two", json!({})).await;
}

#[tokio::test]
async fn bit_rot_is_found_and_never_served() {
    let world = World::new().await;
    let large = "x".repeat(300_000);
    let digests = [world.blob("a", "small").await, world.blob("a", &large).await];
    for digest in digests {
        let path = world.dir.path().join("blobs/sha256").join(digest.hex());
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let request = Request::get(format!("/v2/a/blobs/{digest}")).body(Body::empty()).unwrap();
        let response = world.transport.send(request).await.unwrap();
        let served = response.status() == 200;
        let body = read_body(response.into_body(), 1 << 20).await;
        assert!(!served || body.is_err(), "a body of wrong bytes must not end well");
    }
    let scrub = world.registry.scrub(i64::MAX, &tokio_util::sync::CancellationToken::new()).await.unwrap();
    assert_eq!((scrub.checked, scrub.quarantined.len()), (2, 2));
    for (digest, text) in digests.iter().zip(["small", &large]) {
        assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.status, 404);
        world.blob("a", text).await;
        assert_eq!(
            world.get(&format!("/v2/a/blobs/{digest}")).await.body,
            text,
            "pushing it again repairs it"
        );
    }
}

#[tokio::test]
async fn catalog_and_paging_denial_of_service() {
    let world = World::new().await;
    let digest = world.image("a", "t", "layer", json!({})).await;
    for path in ["/v2/a/tags/list".to_owned(), "/v2/_catalog".to_owned(), format!("/v2/a/referrers/{digest}")]
    {
        for n in [
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999999",
            "-1",
            "many",
            "",
            "0x10",
        ] {
            let got = world.get(&format!("{path}?n={n}")).await;
            assert!([200, 400, 404, 501].contains(&got.status), "{path} {n}: {}", got.status);
            assert_eq!(
                got.status == 200,
                n.len() > 4 && n.starts_with(|letter: char| letter.is_ascii_digit()),
                "{path} {n}"
            );
        }
    }
}

#[tokio::test]
async fn resource_exhaustion() {
    let world = World::new().await;
    let deep = format!(r#"{{"schemaVersion":2,"annotations":{}"#, "[".repeat(2 << 20));
    let nested =
        format!(r#"{{"schemaVersion":2,"config":{}{}}}"#, r#"{"a":"#.repeat(500_000), "}".repeat(500_000));
    let large = format!(r#"{{"schemaVersion":2,"annotations":{{"a":"{}"}}}}"#, "x".repeat(4 << 20));
    for (body, status) in [(deep, 400), (nested, 400), (large, 413)] {
        let got = world.put("a", "t", &body).await;
        assert_eq!(got.status, status, "{:?}", got.body);
    }
    let names: String = (0..65).map(|number| format!("tag=t{number}&")).collect();
    let manifest = world.manifest("a", "layer", json!({})).await;
    let path = format!("/v2/a/manifests/{}?{names}", Digest::of(&manifest));
    assert_eq!(world.send("PUT", &path, &[], manifest).await.status, 414);
    assert!(world.registry.list().await.unwrap().is_empty());
}
