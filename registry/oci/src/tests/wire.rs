//! The wire contract, a test for each row of its table.

use super::*;
use eyot_store::ContentDigest;

#[tokio::test]
async fn row_1_the_base_answers() {
    let world = World::new().await;
    for (method, path, status) in
        [("GET", "/v2/", 200), ("HEAD", "/v2/", 200), ("GET", "/v2", 200), ("POST", "/v2/", 405)]
    {
        let got = world.send(method, path, &[], Body::empty()).await;
        assert_eq!(got.status, status, "{method} {path}");
    }
    assert_eq!(world.get("/v2/").await.header("docker-distribution-api-version"), "registry/2.0");
}

#[tokio::test]
async fn row_2_blobs_are_pulled_whole_and_in_ranges() {
    let world = World::new().await;
    let digest = world.blob("a/b", "hello world").await;
    let sha512 = ContentDigest::sha512("hello world");
    let unknown = Digest::of("unknown");
    let bad = "sha256:baddigeststring".to_owned();
    for (digest, range, status, body, content_range) in [
        (digest.to_string(), "", 200, "hello world", ""),
        (digest.to_string(), "bytes=0-4", 206, "hello", "bytes 0-4/11"),
        (digest.to_string(), "bytes=6-", 206, "world", "bytes 6-10/11"),
        (digest.to_string(), "bytes=-5", 206, "world", "bytes 6-10/11"),
        (digest.to_string(), "bytes=0-100", 206, "hello world", "bytes 0-10/11"),
        (digest.to_string(), "bytes=11-", 416, "", "bytes */11"),
        (digest.to_string(), "bytes=5-2", 416, "", "bytes */11"),
        (digest.to_string(), "bytes=0-0,2-2", 200, "hello world", ""),
        (unknown.to_string(), "", 404, "", ""),
        // Known by another digest only once it was pushed by that.
        (sha512.to_string(), "", 404, "", ""),
        (bad, "", 400, "", ""),
    ] {
        let headers = if range.is_empty() { vec![] } else { vec![("range", range)] };
        for method in ["GET", "HEAD"] {
            let got = world.send(method, &format!("/v2/a/b/blobs/{digest}"), &headers, Body::empty()).await;
            assert_eq!(
                (got.status, got.header("content-range")),
                (status, content_range),
                "{method} {digest} {range}"
            );
            if status < 300 {
                let length = body.len().to_string();
                assert_eq!(
                    (got.header("docker-content-digest"), got.header("content-length")),
                    (digest.as_str(), length.as_str())
                );
                assert_eq!(got.header("accept-ranges"), "bytes");
                assert_eq!(got.body, if method == "GET" { body } else { "" }, "{method} {range}");
            } else if method == "GET" && status == 404 {
                assert_eq!(got.code(), "BLOB_UNKNOWN");
            }
        }
    }
    assert_eq!(
        world.get(&format!("/v2/other/blobs/{digest}")).await.code(),
        "BLOB_UNKNOWN",
        "each repository has its own"
    );
    let etag = world.get(&format!("/v2/a/b/blobs/{digest}")).await.header("etag").to_owned();
    let got = world
        .send("GET", &format!("/v2/a/b/blobs/{digest}"), &[("if-none-match", &etag)], Body::empty())
        .await;
    assert_eq!((got.status, got.body.len()), (304, 0));
}

#[tokio::test]
async fn row_2_large_blobs_are_streamed_in_any_range() {
    let world = World::new().await;
    let text: String = (0..100_000).map(|number: u32| format!("{number:06} ")).collect();
    let digest = world.blob("a", &text).await;
    for (range, from, to) in [
        ("bytes=0-", 0, text.len()),
        ("bytes=262140-262150", 262_140, 262_151),
        ("bytes=-3", text.len() - 3, text.len()),
    ] {
        let got =
            world.send("GET", &format!("/v2/a/blobs/{digest}"), &[("range", range)], Body::empty()).await;
        assert_eq!((got.status, got.body.as_ref()), (206, &text.as_bytes()[from..to]), "{range}");
    }
    assert_eq!(world.get(&format!("/v2/a/blobs/{digest}")).await.body, text);
}

#[tokio::test]
async fn row_3_manifests_are_pulled_as_they_were_pushed() {
    let world = World::new().await;
    // Bytes that no writer of JSON would give back.
    let manifest = world.manifest("a", "layer", json!({})).await.replace("\":", "\" :  ");
    let got = world
        .send(
            "PUT",
            "/v2/a/manifests/t",
            &[("content-type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")],
            manifest.clone(),
        )
        .await;
    assert_eq!(got.status, 201, "{:?}", got.body);
    let digest = Digest::of(&manifest).to_string();
    for target in ["t", &digest] {
        for method in ["GET", "HEAD"] {
            let got = world.send(method, &format!("/v2/a/manifests/{target}"), &[], Body::empty()).await;
            let length = manifest.len().to_string();
            assert_eq!((got.status, got.header("content-type")), (200, IMAGE_MANIFEST));
            assert_eq!(
                (got.header("docker-content-digest"), got.header("content-length")),
                (digest.as_str(), length.as_str())
            );
            assert_eq!(got.body, if method == "GET" { manifest.as_str() } else { "" });
        }
    }
    for (path, status, code) in [
        ("/v2/a/manifests/none".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/a/manifests/{}", Digest::of("none")), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/other/manifests/{digest}"), 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/sha256:baddigeststring".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/-bad".to_owned(), 400, "MANIFEST_INVALID"),
        ("/v2/A/manifests/t".to_owned(), 404, "NAME_INVALID"),
    ] {
        let got = world.get(&path).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{path}");
    }
}

#[tokio::test]
async fn row_7a_manifests_are_checked_before_they_are_in() {
    let world = World::new().await;
    let good = world.manifest("a", "layer", json!({})).await;
    let (absent, layer) = (Digest::of("absent"), Digest::of("layer"));
    let with = |more: Value| {
        let mut manifest: Value = serde_json::from_str(&good).unwrap();
        more.as_object().unwrap().iter().for_each(|(name, value)| manifest[name] = value.clone());
        manifest.to_string()
    };
    let child = |digest: Digest, urls: Value| {
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": IMAGE_MANIFEST, "digest": digest, "size": 1, "urls": urls }] })
        .to_string()
    };
    let layers = |digest: Digest, size: u64, urls: Value| json!({ "layers": [{ "mediaType": "x", "digest": digest, "size": size, "urls": urls }] });
    let subject = json!({ "subject": { "mediaType": IMAGE_MANIFEST, "digest": absent, "size": 3 } });
    let deep = format!(
        "{{\"schemaVersion\":2,\"annotations\":{}1{}}}",
        "{\"a\":".repeat(200_000),
        "}".repeat(200_000)
    );
    for (what, manifest, status, code) in [
        ("good", good.clone(), 201, ""),
        ("a subject that is not here", with(subject), 201, ""),
        ("a layer that lies elsewhere", with(layers(absent, 1, json!(["http://127.0.0.1/x"]))), 201, ""),
        ("no JSON", "{".to_owned(), 400, "MANIFEST_INVALID"),
        ("a list", "[]".to_owned(), 400, "MANIFEST_INVALID"),
        ("another version", r#"{"schemaVersion":1}"#.to_owned(), 400, "MANIFEST_INVALID"),
        ("neither image nor index", r#"{"schemaVersion":2}"#.to_owned(), 400, "MANIFEST_INVALID"),
        ("both image and index", with(json!({ "manifests": [] })), 400, "MANIFEST_INVALID"),
        ("an unknown layer", with(layers(absent, 1, json!([]))), 404, "MANIFEST_BLOB_UNKNOWN"),
        ("a wrong size", with(layers(layer, 4, json!([]))), 400, "MANIFEST_INVALID"),
        ("a wrong digest", good.replace("sha256:", "sha256:A"), 400, "MANIFEST_INVALID"),
        ("an unknown child", child(absent, json!([])), 404, "MANIFEST_BLOB_UNKNOWN"),
        ("too deep", deep, 400, "MANIFEST_INVALID"),
        ("too large", with(json!({ "annotations": { "a": "x".repeat(4 << 20) } })), 413, "SIZE_INVALID"),
        ("almost too large", with(json!({ "annotations": { "a": "x".repeat(3_900_000) } })), 201, ""),
    ] {
        let got = world.put("a", "t", &manifest).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{what}: {:?}", got.body);
        if status == 201 {
            let digest = Digest::of(&manifest).to_string();
            assert_eq!(got.header("docker-content-digest"), digest, "{what}");
            assert_eq!(got.header("location"), format!("/v2/a/manifests/{digest}"), "{what}");
        }
    }
    let got = world
        .send(
            "PUT",
            "/v2/a/manifests/t",
            &[("content-type", "application/vnd.oci.image.index.v1+json")],
            good.clone(),
        )
        .await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (400, "MANIFEST_INVALID"),
        "called one thing, and another in itself"
    );
    let got = world.put("a", &absent.to_string(), &good).await;
    assert_eq!((got.status, got.code().as_str()), (400, "DIGEST_INVALID"));
    let got = world.put("b", "t", &good).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (404, "MANIFEST_BLOB_UNKNOWN"),
        "another repository's blobs"
    );
}

#[tokio::test]
async fn row_7a_a_subject_is_named_and_row_12_what_refers_to_it_is_listed() {
    let world = World::new().await;
    let subject = world.image("a", "t", "layer", json!({})).await;
    let refers = json!({ "mediaType": IMAGE_MANIFEST, "digest": subject, "size": 3 });
    let mut digests = Vec::new();
    for (kind, note) in [
        (Some("application/vnd.test.sbom"), "one"),
        (Some("application/vnd.test.sig"), "two"),
        (None, "three"),
    ] {
        let mut more = json!({ "subject": refers, "annotations": { "note": note } });
        if let Some(kind) = kind {
            more["artifactType"] = json!(kind);
        }
        let manifest = world.manifest("a", note, more).await;
        let got = world.put("a", &Digest::of(&manifest).to_string(), &manifest).await;
        assert_eq!((got.status, got.header("oci-subject")), (201, subject.to_string().as_str()));
        digests.push(Digest::of(&manifest).to_string());
    }
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], "subject": refers }).to_string();
    assert_eq!(world.put("a", "index", &index).await.status, 201);

    let path = format!("/v2/a/referrers/{subject}");
    let got = world.get(&path).await;
    assert_eq!((got.status, got.header("content-type")), (200, "application/vnd.oci.image.index.v1+json"));
    let listed = got.json();
    assert_eq!(
        (&listed["schemaVersion"], &listed["mediaType"]),
        (&json!(2), &json!("application/vnd.oci.image.index.v1+json"))
    );
    let kinds: std::collections::BTreeMap<_, _> = listed["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["annotations"]["note"].as_str().unwrap_or("index").to_owned(),
                entry["artifactType"].clone(),
            )
        })
        .collect();
    assert_eq!(
        serde_json::to_value(kinds).unwrap(),
        json!({ "one": "application/vnd.test.sbom", "two": "application/vnd.test.sig",
        "three": "application/vnd.test.config", "index": null })
    );

    let got = world.get(&format!("{path}?artifactType=application/vnd.test.sig")).await;
    assert_eq!(got.header("oci-filters-applied"), "artifactType");
    assert_eq!(got.json()["manifests"][0]["digest"], digests[1]);
    assert_eq!(got.json()["manifests"].as_array().unwrap().len(), 1);

    // Page by page they are all there, once each.
    let (mut next, mut found) = (format!("{path}?n=2"), Vec::new());
    while !next.is_empty() {
        let got = world.get(&next).await;
        found.extend(
            got.json()["manifests"].as_array().unwrap().iter().map(|entry| entry["digest"].to_string()),
        );
        next = got.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 4);

    for (path, status, entries) in [
        (format!("/v2/a/referrers/{}", Digest::of("nothing")), 200, Some(0)),
        (format!("/v2/unknown/referrers/{subject}"), 200, Some(0)),
        ("/v2/a/referrers/sha256:00".to_owned(), 400, None),
    ] {
        let got = world.get(&path).await;
        assert_eq!(
            (got.status, got.json()["manifests"].as_array().map(Vec::len)),
            (status, entries),
            "{path}"
        );
    }
}

#[tokio::test]
async fn row_12_what_was_listed_under_a_tag_elsewhere_is_listed() {
    let world = World::new().await;
    let subject = world.image("a", "t", "layer", json!({})).await;
    let note = world.image("a", "", "note", json!({})).await;
    let entry = json!({ "mediaType": IMAGE_MANIFEST, "digest": note, "size": world.size(&note).await, "artifactType": "application/vnd.test.sig" });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });
    assert_eq!(world.put("a", &format!("sha256-{}", subject.hex()), &index.to_string()).await.status, 201);
    assert_eq!(world.get(&format!("/v2/a/referrers/{subject}")).await.json()["manifests"], json!([entry]));
}

#[tokio::test]
async fn row_7b_one_push_may_set_many_tags() {
    let world = World::new().await;
    let manifest = world.manifest("a", "layer", json!({})).await;
    let digest = Digest::of(&manifest);
    let query =
        |count: usize| (0..count).map(|number| format!("tag=t{number}")).collect::<Vec<_>>().join("&");
    let got = world.put("a", &format!("{digest}?{}", query(12)), &manifest).await;
    assert_eq!((got.status, got.headers.get_all("oci-tag").iter().count()), (201, 12));
    assert_eq!(world.get("/v2/a/manifests/t11").await.header("docker-content-digest"), digest.to_string());
    assert_eq!(world.put("a", &format!("{digest}?{}", query(100)), &manifest).await.status, 414);
    assert_eq!(world.put("a", &format!("{digest}?tag=-x"), &manifest).await.status, 400);
}

#[tokio::test]
async fn row_8_tags_and_repositories_come_in_pages() {
    let world = World::new().await;
    for tag in ["b", "a", "c", "B"] {
        world.image("z/y", tag, "layer", json!({})).await;
    }
    world.image("other", "t", "layer", json!({})).await;
    for (path, tags, link) in [
        ("/v2/z/y/tags/list", json!(["B", "a", "b", "c"]), ""),
        ("/v2/z/y/tags/list?n=2", json!(["B", "a"]), "</v2/z/y/tags/list?n=2&last=a>; rel=\"next\""),
        ("/v2/z/y/tags/list?n=2&last=a", json!(["b", "c"]), ""),
        ("/v2/z/y/tags/list?last=b", json!(["c"]), ""),
        ("/v2/z/y/tags/list?n=0", json!([]), ""),
        ("/v2/z/y/tags/list?n=9223372036854775808", json!(["B", "a", "b", "c"]), ""),
        ("/v2/z/y/tags/list?n=99999999999999999999999", json!(["B", "a", "b", "c"]), ""),
    ] {
        let got = world.get(path).await;
        assert_eq!(
            (got.status, &got.json()["tags"], &got.json()["name"], got.header("link")),
            (200, &tags, &json!("z/y"), link),
            "{path}"
        );
        let head = world.send("HEAD", path, &[], Body::empty()).await;
        assert_eq!(
            (head.status, head.body.len(), head.header("content-length")),
            (200, 0, got.header("content-length"))
        );
    }
    for (path, status, code) in [
        ("/v2/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/z/y/tags/list?n=-1", 400, "UNSUPPORTED"),
        ("/v2/z/y/tags/list?n=many", 400, "UNSUPPORTED"),
    ] {
        let got = world.get(path).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{path}");
    }
    let got = world.get("/v2/_catalog?n=1").await;
    assert_eq!(
        (got.json(), got.header("link")),
        (json!({ "repositories": ["other"] }), "</v2/_catalog?n=1&last=other>; rel=\"next\"")
    );
    assert_eq!(world.get("/v2/_catalog?n=1&last=other").await.json(), json!({ "repositories": ["z/y"] }));
}

#[tokio::test]
async fn row_9_tags_and_manifests_are_deleted() {
    let world = World::new().await;
    let digest = world.image("a", "one", "layer", json!({})).await;
    world.image("a", "two", "layer", json!({})).await;
    let status = async |path: &str| world.get(&format!("/v2/a/manifests/{path}")).await.status;
    let delete = async |path: &str| {
        world.send("DELETE", &format!("/v2/a/manifests/{path}"), &[], Body::empty()).await.status
    };
    let name = digest.to_string();
    assert_eq!((status("one").await, delete("one").await, status("one").await), (200, 202, 404));
    assert_eq!((status("two").await, status(&name).await), (200, 200), "a tag is not the manifest");
    assert_eq!((delete(&name).await, status(&name).await, status("two").await), (202, 404, 404));
    assert_eq!((delete(&name).await, delete("one").await, delete("sha256:00").await), (404, 404, 400));
    assert_eq!(world.get("/v2/a/tags/list").await.json()["tags"], json!([]));

    // What an index needs stays until the index goes.
    let child = world.image("a", "", "layer", json!({})).await;
    let entry = json!({ "mediaType": IMAGE_MANIFEST, "digest": child, "size": world.size(&child).await });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] }).to_string();
    assert_eq!(world.put("a", "index", &index).await.status, 201);
    assert_eq!(delete(&child.to_string()).await, 405);
    assert_eq!((delete(&Digest::of(&index).to_string()).await, delete(&child.to_string()).await), (202, 202));
}

#[tokio::test]
async fn row_10_blobs_are_deleted_but_not_from_under_a_manifest() {
    let world = World::new().await;
    let digest = world.blob("a", "alone").await;
    world.blob("b", "alone").await;
    let delete = async |path: &str| world.send("DELETE", path, &[], Body::empty()).await.status;
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!((delete(&path).await, world.get(&path).await.status, delete(&path).await), (202, 404, 404));
    assert_eq!(
        world.get(&format!("/v2/b/blobs/{digest}")).await.status,
        200,
        "another repository has it still"
    );
    world.image("a", "t", "layer", json!({})).await;
    assert_eq!(delete(&format!("/v2/a/blobs/{}", Digest::of("layer"))).await, 405);
}

#[tokio::test]
async fn row_11_blobs_are_mounted_or_uploaded() {
    let world = World::new().await;
    let digest = world.blob("from", "hello world").await;
    let (unknown, uploaded) = (Digest::of("unknown"), Digest::of("uploaded"));
    for (to, query, status) in [
        ("one", format!("mount={digest}&from=from"), 201),
        ("two", format!("mount={digest}"), 201),
        ("three", format!("mount={digest}&from=nowhere"), 202),
        ("four", format!("mount={unknown}&from=from"), 202),
        ("five", format!("mount={unknown}"), 202),
        ("six", "mount=sha256:00&from=from".to_owned(), 400),
    ] {
        let got = world.send("POST", &format!("/v2/{to}/blobs/uploads/?{query}"), &[], Body::empty()).await;
        assert_eq!(got.status, status, "{query}");
        if status == 201 {
            assert_eq!(world.get(got.header("location")).await.body, "hello world");
        }
        if status == 202 {
            let location = got.header("location");
            let got = world.send("PUT", &format!("{location}?digest={uploaded}"), &[], "uploaded").await;
            assert_eq!(got.status, 201, "the session works");
        }
    }
}

#[tokio::test]
async fn row_4c_sha512_is_a_name_too() {
    let world = World::new().await;
    let (layer, config) = (ContentDigest::sha512("layer"), ContentDigest::sha512("{}"));
    for (digest, body) in [(layer, "layer"), (config, "{}")] {
        let got = world.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], body).await;
        assert_eq!((got.status, got.header("docker-content-digest")), (201, digest.to_string().as_str()));
        let got = world.get(got.header("location")).await;
        assert_eq!(
            (got.body.as_ref(), got.header("docker-content-digest")),
            (body.as_bytes(), digest.to_string().as_str())
        );
    }
    let manifest = json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST,
        "config": { "mediaType": "x", "digest": config, "size": 2 }, "layers": [{ "mediaType": "x", "digest": layer, "size": 5 }] }).to_string();
    let digest = ContentDigest::sha512(&manifest).to_string();
    assert_eq!(world.put("a", &format!("{digest}?tag=t"), &manifest).await.status, 201);
    for target in [&digest, "t"] {
        let got = world.get(&format!("/v2/a/manifests/{target}")).await;
        assert_eq!(
            (got.body.as_ref(), got.header("docker-content-digest")),
            (manifest.as_bytes(), digest.as_str())
        );
    }
    let refers =
        json!({ "subject": { "mediaType": IMAGE_MANIFEST, "digest": digest, "size": manifest.len() } });
    world.image("a", "", "note", refers).await;
    for name in [digest.clone(), Digest::of(&manifest).to_string()] {
        assert_eq!(
            world.get(&format!("/v2/a/referrers/{digest}")).await.json()["manifests"]
                .as_array()
                .unwrap()
                .len(),
            1,
            "{name}"
        );
    }
    assert_eq!(
        world.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], Body::empty()).await.status,
        202
    );
    assert_eq!(world.get("/v2/a/manifests/t").await.status, 404);
}

#[tokio::test]
async fn whatever_else_is_asked_is_refused_with_its_name() {
    let world = World::new().await;
    let digest = Digest::of("x");
    for (method, path, status, code) in [
        ("DELETE", "/v2/a/tags/list".to_owned(), 405, "UNSUPPORTED"),
        ("PUT", format!("/v2/a/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("PATCH", "/v2/a/manifests/t".to_owned(), 405, "UNSUPPORTED"),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
        ("POST", format!("/v2/a/referrers/{digest}"), 405, "UNSUPPORTED"),
        ("GET", "/v2/nothing".to_owned(), 404, "UNSUPPORTED"),
        ("GET", "/v2/a/nothing/b".to_owned(), 404, "UNSUPPORTED"),
        ("POST", "/v2/A/blobs/uploads/".to_owned(), 404, "NAME_INVALID"),
    ] {
        let got = world.send(method, &path, &[], Body::empty()).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{method} {path}");
    }
}

#[tokio::test]
async fn the_future_of_a_request_is_small() {
    let world = World::new().await;
    let request = Request::builder().uri("/v2/a/manifests/t").body(Body::empty()).unwrap();
    // It is allocated and moved for every request: at 64 KiB that took a third of a small answer's time.
    let future = crate::server::route(axum::extract::State(world.registry.clone()), request);
    let bytes = size_of_val(&future);
    assert!(bytes <= 8 << 10, "{bytes} bytes");
}
