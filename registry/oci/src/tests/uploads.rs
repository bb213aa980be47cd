//! Uploads: rows 4, 5, 6, 13 and 14 of the wire contract, and what its table does not say.

use super::*;
use eyot_core::Period;
use eyot_store::ContentDigest;
use std::time::Duration;

async fn start(world: &World, query: &str) -> String {
    let got = world.send("POST", &format!("/v2/a/b/blobs/uploads/{query}"), &[], Body::empty()).await;
    assert_eq!((got.status, got.header("range")), (202, "0-0"));
    got.header("location").to_owned()
}

#[tokio::test]
async fn row_4a_a_session_is_named_by_a_uuid() {
    let world = World::new().await;
    let upload = start(&world, "").await;
    let id = upload.strip_prefix("/v2/a/b/blobs/uploads/").unwrap();
    let lengths: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    let got = world.send("POST", "/v2/a/b/blobs/uploads/?digest-algorithm=md5", &[], Body::empty()).await;
    assert_eq!((got.status, got.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn row_4b_a_blob_in_one_request() {
    let world = World::new().await;
    let digest = Digest::of("hello");
    for (digest, body, status, code) in [
        (digest.to_string(), "hello", 201, ""),
        (digest.to_string(), "hello", 201, ""),
        (Digest::of("").to_string(), "", 201, ""),
        (ContentDigest::sha512("hello").to_string(), "hello", 201, ""),
        (digest.to_string(), "other", 400, "DIGEST_INVALID"),
        (ContentDigest::sha512("hello").to_string(), "other", 400, "DIGEST_INVALID"),
        ("sha256:00".to_owned(), "hello", 400, "DIGEST_INVALID"),
    ] {
        let got = world.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], body).await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{digest} {body}");
        if status == 201 {
            assert_eq!(got.header("location"), format!("/v2/a/blobs/{digest}"));
            assert_eq!(world.get(got.header("location")).await.body, body);
        }
    }
    assert!(world.store.uploads().await.unwrap().is_empty());
}

/// Requests to one session, and the answers.
#[tokio::test]
async fn rows_5_6_13_pieces_arrive_in_order_or_not_at_all() {
    let hello = Digest::of("hello world").to_string();
    let patch = |range: &'static str, body: &'static str, status, end| {
        ("PATCH", String::new(), range, body, status, end)
    };
    let put = |digest: &str, range: &'static str, body: &'static str, status| {
        ("PUT", format!("?digest={digest}"), range, body, status, if status == 416 { "0-5" } else { "" })
    };
    let get = |end| ("GET", String::new(), "", "", 204, end);
    for (what, steps) in [
        (
            "chunks",
            vec![
                patch("0-5", "hello ", 202, "0-5"),
                get("0-5"),
                patch("6-10", "world", 202, "0-10"),
                put(&hello, "", "", 201),
            ],
        ),
        (
            "streamed",
            vec![patch("", "hello ", 202, "0-5"), patch("", "world", 202, "0-10"), put(&hello, "", "", 201)],
        ),
        (
            "the last chunk with the end",
            vec![get("0-0"), patch("", "hello ", 202, "0-5"), put(&hello, "6-10", "world", 201)],
        ),
        ("all with the end", vec![put(&hello, "", "hello world", 201)]),
        (
            "a unit before the range",
            vec![patch("bytes 0-5", "hello ", 202, "0-5"), put(&hello, "", "world", 201)],
        ),
        (
            "out of order",
            vec![
                patch("0-5", "hello ", 202, "0-5"),
                patch("7-11", "world", 416, "0-5"),
                patch("0-5", "hello ", 416, "0-5"),
                get("0-5"),
                put(&hello, "9-13", "world", 416),
                put(&hello, "6-10", "world", 201),
            ],
        ),
        (
            "no range at all",
            vec![patch("zero-five", "hello ", 416, "0-0"), patch("5-0", "hello ", 416, "0-0"), get("0-0")],
        ),
        (
            "another length than it says",
            vec![patch("0-9", "hello ", 400, ""), get("0-0"), put(&hello, "", "hello world", 201)],
        ),
        (
            "other bytes",
            vec![
                patch("", "hello ", 202, "0-5"),
                put(&hello, "", "there", 400),
                ("GET", String::new(), "", "", 404, ""),
            ],
        ),
        (
            "no digest",
            vec![
                patch("", "hello world", 202, "0-10"),
                ("PUT", String::new(), "", "", 400, ""),
                put(&hello, "", "", 201),
            ],
        ),
        (
            "row 14: cancelled",
            vec![
                patch("", "hello", 202, "0-4"),
                ("DELETE", String::new(), "", "", 204, ""),
                ("GET", String::new(), "", "", 404, ""),
                patch("", "more", 404, ""),
                put(&hello, "", "", 404),
                ("DELETE", String::new(), "", "", 404, ""),
            ],
        ),
    ] {
        for algorithm in ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"] {
            let world = World::new().await;
            let upload = start(&world, algorithm).await;
            for (method, query, range, body, status, end) in &steps {
                let headers = if range.is_empty() { vec![] } else { vec![("content-range", *range)] };
                let got = world.send(method, &format!("{upload}{query}"), &headers, *body).await;
                assert_eq!(
                    (got.status, got.header("range")),
                    (*status, *end),
                    "{what}: {method} {query} {range} {:?}",
                    got.body
                );
                match status {
                    201 => {
                        assert_eq!(world.get(got.header("location")).await.body, "hello world", "{what}");
                        assert_eq!(
                            world.get(&upload).await.code(),
                            "BLOB_UPLOAD_UNKNOWN",
                            "{what}: the session is over"
                        );
                    }
                    404 if *method != "HEAD" => assert_eq!(got.code(), "BLOB_UPLOAD_UNKNOWN", "{what}"),
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test]
async fn a_session_is_its_repositorys_alone() {
    let world = World::new().await;
    let upload = start(&world, "").await.replace("/a/b/", "/other/");
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        let path = format!("{upload}?digest={}", Digest::of(""));
        assert_eq!(world.send(method, &path, &[], Body::empty()).await.status, 404, "{method}");
    }
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart() {
    let mut world = World::new().await;
    let upload = start(&world, "?digest-algorithm=sha512").await;
    let mut whole = String::new();
    for piece in ["one ", "two ", "three"] {
        whole.push_str(piece);
        let got = world.send("PATCH", &upload, &[], piece).await;
        let end = format!("0-{}", whole.len() - 1);
        assert_eq!((got.status, got.header("range")), (202, end.as_str()));
        world = world.reopened(Config::default()).await;
        assert_eq!(world.get(&upload).await.header("range"), end);
    }
    let digest = ContentDigest::sha512("one two three");
    assert_eq!(world.send("PUT", &format!("{upload}?digest={digest}"), &[], Body::empty()).await.status, 201);
    world = world.reopened(Config::default()).await;
    assert_eq!(world.get(&format!("/v2/a/b/blobs/{digest}")).await.body, "one two three");
    assert!(world.store.uploads().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_arrived_before_a_client_went_away_counts() {
    let world = World::new().await;
    let upload = start(&world, "").await;
    let pieces: Vec<Result<&str, std::io::Error>> = vec![Ok("hello "), Err(std::io::Error::other("gone"))];
    let got = world.send("PATCH", &upload, &[], Body::from_stream(futures::stream::iter(pieces))).await;
    assert_eq!((got.status, got.code().as_str()), (503, "BLOB_UPLOAD_INVALID"));
    assert_eq!(world.get(&upload).await.header("range"), "0-5");
    let path = format!("{upload}?digest={}", Digest::of("hello world"));
    assert_eq!(world.send("PUT", &path, &[("content-range", "6-10")], "world").await.status, 201);
}

#[tokio::test]
async fn sessions_that_nobody_goes_on_with_end() {
    let config = Config { upload_expiry: Period(Duration::from_micros(1)), ..Config::default() };
    let world = World::with(config).await;
    let upload = start(&world, "").await;
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(world.registry.collect(crate::CollectionMode::DryRun).await.unwrap().uploads, 1);
    assert_eq!(world.registry.collect(crate::CollectionMode::Remove).await.unwrap().uploads, 1);
    assert_eq!((world.get(&upload).await.status, world.store.uploads().await.unwrap().len()), (404, 0));
}
