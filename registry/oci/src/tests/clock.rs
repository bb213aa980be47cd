//! What ends after a time, by a clock that the test moves: leases, uploads, tokens, statements.

use eyot_core::Period;
use tower::ServiceExt as _;

use super::*;
use crate::CollectionMode;

const HOUR: Duration = Duration::from_secs(3600);
const ALMOST: Duration = Duration::from_secs(3540);
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// A registry in which everything ends after an hour.
async fn world() -> World {
    let hour = Period(HOUR);
    World::with(Config { lease: hour, upload_expiry: hour, token_lifetime: hour, ..Config::default() }).await
}

#[tokio::test]
async fn leases_and_uploads_end_with_their_time_and_no_sooner() {
    let world = world().await;
    let collected = async || {
        let report = world.registry.collect(CollectionMode::DryRun).await.unwrap();
        (report.blobs, report.uploads)
    };
    world.blob("a", "unused").await;
    world.clock.advance(ALMOST);
    assert_eq!(collected().await, (0, 0));
    world.clock.advance(TWO_MINUTES);
    assert_eq!(collected().await, (1, 0));
    // Whoever is told that it is here may name it for half a lease at least.
    let path = format!("/v2/a/blobs/{}", Digest::of("unused"));
    assert_eq!(world.send("HEAD", &path, &[], "").await.status, 200);
    world.clock.advance(HOUR / 2);
    assert_eq!(collected().await, (0, 0));

    let started = world.send("POST", "/v2/other/blobs/uploads/", &[], "").await;
    let upload = started.header("location").to_owned();
    world.clock.advance(ALMOST);
    assert_eq!(world.send("PATCH", &upload, &[], "x").await.status, 202);
    world.clock.advance(ALMOST);
    assert_eq!(collected().await, (1, 0), "the chunk has renewed it");
    world.clock.advance(TWO_MINUTES);
    assert_eq!(collected().await, (1, 1));
}

#[tokio::test]
async fn tokens_are_valid_until_they_expire() {
    let world = world().await;
    let expires = Timestamp(world.clock.now().0 + 5_400_000);
    let token = world.registry.token("ci", &["repository:*:pull"], Some(expires)).await;
    let authorization = format!("Bearer {}", token);
    // As from a socket: what this process sends to itself is the owner's.
    let send = async |path: &str, authorization: &str| {
        let request = Request::get(path).header("authorization", authorization).body(Body::empty()).unwrap();
        let response = router(world.registry.clone()).oneshot(request).await.unwrap();
        (response.status().as_u16(), read_body(response.into_body(), 1 << 20).await.unwrap())
    };
    let status = async |authorization: &str| send("/v2/", authorization).await.0;
    let short_lived = async || {
        let (_, body) = send("/v2/token?scope=repository:a:pull", &authorization).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["token"].as_str().map(|token| format!("Bearer {token}"))
    };
    let first = short_lived().await.unwrap();
    world.clock.advance(ALMOST);
    assert_eq!((status(&first).await, status(&authorization).await), (200, 200));
    world.clock.advance(TWO_MINUTES);
    assert_eq!((status(&first).await, status(&authorization).await), (401, 200), "its hour is over");
    let second = short_lived().await.unwrap();
    world.clock.advance(HOUR / 2);
    assert_eq!((status(&second).await, status(&authorization).await), (401, 401), "the token has expired");
    assert_eq!(short_lived().await, None);
}
