//! A registry that serves another's repositories, over real sockets.

use std::net::SocketAddr;
use std::sync::Mutex;

use axum::Router;
use axum::extract::Request as Asked;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::any;
use eyot_core::Period;
use eyot_core::config::{AnonymousAccess, Mirror};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::{DataLayer, DataPath, PolicyRequirement, PrivateKey, SIGNATURE_PREDICATE, SignaturePolicy, sign};
use http::StatusCode;

/// A server; it is down once this is dropped.
struct Site {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Site {
    async fn new(router: Router) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").await.unwrap(), router)
    }

    fn over(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn mirror(address: SocketAddr) -> Mirror {
    Mirror {
        prefix: "up/".to_owned(),
        upstream: format!("http://{address}"),
        repositories: vec!["open/*".to_owned()],
        credentials: Default::default(),
        token_hosts: Vec::new(),
        fresh: Period(Duration::ZERO),
        private_addresses: true,
        ca: Default::default(),
    }
}

async fn mirroring(mirror: Mirror) -> World {
    World::with(Config { mirror: vec![mirror], ..Config::default() }).await
}

#[tokio::test]
async fn what_is_asked_for_is_fetched_once_and_served_while_the_upstream_is_down() {
    let upstream = World::new().await;
    let first = upstream.image("open/a", "t", "layer", json!({})).await;
    let site = Site::new(router(upstream.registry.clone())).await;
    let here = mirroring(mirror(site.address)).await;
    let (manifest, blob) =
        ("/v2/up/open/a/manifests/t".to_owned(), format!("/v2/up/open/a/blobs/{}", Digest::of("layer")));
    let seen = |got: Got| (got.status, got.header("docker-content-digest").to_owned());
    assert_eq!(seen(here.get(&manifest).await), (200, first.to_string()));
    assert_eq!(here.get(&blob).await.body, "layer");
    assert_eq!(here.get(&format!("/v2/up/open/a/manifests/{first}")).await.status, 200);
    // A tag that moved is seen to have moved.
    let second = upstream.image("open/a", "t", "other", json!({})).await;
    assert_eq!(seen(here.get(&manifest).await), (200, second.to_string()));
    assert_eq!(here.get("/v2/up/open/a/manifests/away").await.status, 404);
    assert_eq!(here.get(&format!("/v2/up/open/a/blobs/{}", Digest::of("away"))).await.status, 404);
    drop(site);
    let stale = here.get(&manifest).await;
    assert!(stale.header("warning").starts_with("110 - "), "{:?}", stale.headers);
    assert_eq!(seen(stale), (200, second.to_string()));
    assert_eq!(here.get(&blob).await.body, "layer");
    let never = here.get(&format!("/v2/up/open/a/blobs/{}", Digest::of("other"))).await;
    assert_eq!(never.status, 503, "this one was never fetched: {:?}", never.body);
    // A collection keeps what is cached.
    here.registry.collect(crate::CollectionMode::Remove).await.unwrap();
    assert_eq!(here.get(&blob).await.body, "layer");
}

#[tokio::test]
async fn only_listed_repositories_are_asked_for_and_nothing_is_pushed() {
    let upstream = World::new().await;
    upstream.image("closed/a", "t", "layer", json!({})).await;
    let site = Site::new(router(upstream.registry.clone())).await;
    let here = mirroring(mirror(site.address)).await;
    for (method, path, status) in [
        ("GET", "/v2/up/closed/a/manifests/t".to_owned(), 403),
        ("GET", format!("/v2/up/closed/a/blobs/{}", Digest::of("layer")), 403),
        ("POST", "/v2/up/open/a/blobs/uploads/".to_owned(), 403),
        ("PUT", "/v2/up/open/a/manifests/t".to_owned(), 403),
    ] {
        let got = here.send(method, &path, &[], Body::empty()).await;
        assert_eq!((got.status, got.code().as_str()), (status, "DENIED"), "{method} {path}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_are_one_who_asks_the_upstream() {
    let count = Arc::new(Mutex::new(0));
    let counting = count.clone();
    let blob = "x".repeat(1 << 20);
    let answer = blob.clone();
    let site = Site::new(Router::new().fallback(move |_: Asked| {
        *counting.lock().unwrap() += 1;
        let answer = answer.clone();
        async move { answer }
    }))
    .await;
    let here = mirroring(mirror(site.address)).await;
    let path = format!("/v2/up/open/a/blobs/{}", Digest::of(&blob));
    let got = futures::future::join_all((0..20).map(|_| here.get(&path))).await;
    assert!(got.iter().all(|got| got.status == 200 && got.body == blob));
    assert_eq!(*count.lock().unwrap(), 1);
}

#[tokio::test]
async fn digest_confusion_of_an_upstream() {
    let site = Site::new(Router::new().fallback(any(|| async { "not what was asked for" }))).await;
    let here = mirroring(mirror(site.address)).await;
    for path in [
        format!("/v2/up/open/a/blobs/{}", Digest::of("wanted")),
        format!("/v2/up/open/a/manifests/{}", Digest::of("wanted")),
        "/v2/up/open/a/manifests/t".to_owned(),
    ] {
        let got = here.get(&path).await;
        assert_eq!(got.status, 503, "{path}: {:?}", got.body);
    }
    assert!(here.store.list().await.unwrap().is_empty() && here.store.uploads().await.unwrap().is_empty());
}

/// What a client is told of each way in which an upstream fails: never that it did something wrong itself, nor that
/// mirroring is not supported.
#[tokio::test]
async fn every_failure_of_an_upstream_has_its_code() {
    let large = "x".repeat(5 << 20);
    let answers: Vec<(&str, Response, u16, &str)> = vec![
        ("nothing there", StatusCode::NOT_FOUND.into_response(), 404, "*_UNKNOWN"),
        ("forbidden", StatusCode::FORBIDDEN.into_response(), 403, "DENIED"),
        ("wants to know who", StatusCode::UNAUTHORIZED.into_response(), 403, "DENIED"),
        ("too many", StatusCode::TOO_MANY_REQUESTS.into_response(), 429, "TOOMANYREQUESTS"),
        ("does not like it", StatusCode::BAD_REQUEST.into_response(), 503, "UNAVAILABLE"),
        ("a teapot", StatusCode::IM_A_TEAPOT.into_response(), 503, "UNAVAILABLE"),
        ("no method", StatusCode::METHOD_NOT_ALLOWED.into_response(), 503, "UNAVAILABLE"),
        ("too large", StatusCode::PAYLOAD_TOO_LARGE.into_response(), 503, "UNAVAILABLE"),
        ("broken", StatusCode::INTERNAL_SERVER_ERROR.into_response(), 503, "UNAVAILABLE"),
        ("a bad gateway", StatusCode::BAD_GATEWAY.into_response(), 503, "UNAVAILABLE"),
        ("away", StatusCode::SERVICE_UNAVAILABLE.into_response(), 503, "UNAVAILABLE"),
        ("something else", "<html>hello</html>".into_response(), 503, "UNAVAILABLE"),
        ("too much of it", large.into_response(), 503, "UNAVAILABLE"),
        ("sends nowhere", Redirect::temporary("no url at all\u{1}").into_response(), 503, "UNAVAILABLE"),
        ("sends round", Redirect::temporary("/v2/").into_response(), 503, "UNAVAILABLE"),
    ];
    for (what, answer, status, code) in answers {
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        let (site, _) = spy(move |_| Response::from_parts(parts.clone(), Body::from(body.clone()))).await;
        let here = mirroring(mirror(site.address)).await;
        for (path, unknown) in [
            ("/v2/up/open/a/manifests/t".to_owned(), "MANIFEST_UNKNOWN"),
            (format!("/v2/up/open/a/manifests/{}", Digest::of("wanted")), "MANIFEST_UNKNOWN"),
            (format!("/v2/up/open/a/blobs/{}", Digest::of("wanted")), "BLOB_UNKNOWN"),
        ] {
            let got = here.get(&path).await;
            let code = if code == "*_UNKNOWN" { unknown } else { code };
            assert_eq!((got.status, got.code().as_str()), (status, code), "{what} {path}: {:?}", got.body);
        }
    }
    // Down, and in the middle of an answer.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = mirroring(mirror(listener.local_addr().unwrap())).await;
    let half = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, head).await;
        }
    });
    let paths = ["manifests/t".to_owned(), format!("blobs/{}", Digest::of("wanted")), "tags/list".to_owned()];
    for path in &paths[..2] {
        let got = here.get(&format!("/v2/up/open/a/{path}")).await;
        assert_eq!((got.status, got.code().as_str()), (503, "UNAVAILABLE"), "half of {path}: {:?}", got.body);
    }
    half.abort();
    let _ = half.await;
    for path in &paths[..2] {
        let got = here.get(&format!("/v2/up/open/a/{path}")).await;
        assert_eq!((got.status, got.code().as_str()), (503, "UNAVAILABLE"), "{path}: {:?}", got.body);
    }
    let got = here.get(&format!("/v2/up/open/a/{}", paths[2])).await;
    assert_eq!(
        (got.status, got.code().as_str()),
        (404, "NAME_UNKNOWN"),
        "nothing was ever fetched: {:?}",
        got.body
    );
}

/// Answers every request with what `answer` makes of it, and keeps what was shown to it.
async fn spy(
    answer: impl Fn(&Asked) -> Response + Clone + Send + Sync + 'static,
) -> (Site, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let kept = shown.clone();
    let router = Router::new().fallback(move |request: Asked| {
        let header = request.headers().get("authorization").map_or("", |value| value.to_str().unwrap());
        kept.lock().unwrap().push(header.to_owned());
        let answer = answer(&request);
        async move { answer }
    });
    (Site::new(router).await, shown)
}

fn with_password(world_dir: &Path, mirror: Mirror) -> Mirror {
    let credentials = world_dir.join("credentials");
    std::fs::write(&credentials, "me:secret\n").unwrap();
    Mirror { credentials, ..mirror }
}

#[tokio::test]
async fn credential_leak_to_foreign_url() {
    let dir = tempfile::tempdir().unwrap();
    let (foreign, shown_to_foreign) = spy(|_| "layer".into_response()).await;
    let target = format!("http://{}/elsewhere", foreign.address);
    let realm = format!("Bearer realm=\"http://localhost:{}/token\",service=\"s\"", foreign.address.port());
    let (site, shown) = spy(move |request| {
        let path = request.uri().path();
        if path.contains("/blobs/") && request.headers().contains_key("authorization") {
            return Redirect::temporary(&target).into_response();
        }
        let challenge =
            if path.contains("/manifests/") { realm.clone() } else { "Basic realm=\"r\"".to_owned() };
        (http::StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
    })
    .await;
    let here = mirroring(with_password(dir.path(), mirror(site.address))).await;
    // A redirection is followed without what was shown to the upstream.
    let got = here.get(&format!("/v2/up/open/a/blobs/{}", Digest::of("layer"))).await;
    assert_eq!((got.status, got.body.as_ref()), (200, b"layer".as_slice()), "{:?}", got.body);
    assert!(shown.lock().unwrap().iter().any(|shown| shown.starts_with("Basic ")));
    // A realm that the configuration does not know is not asked at all.
    let got = here.get("/v2/up/open/a/manifests/t").await;
    assert_eq!(got.status, 403, "{:?}", got.body);
    assert!(got.json()["errors"][0]["message"].as_str().unwrap().contains("not known to give any"));
    assert_eq!(*shown_to_foreign.lock().unwrap(), [""]);
}

#[tokio::test]
async fn requests_to_private_addresses() {
    let (inside, shown) = spy(|_| "inside".into_response()).await;
    for upstream in
        [format!("https://{}", inside.address), format!("https://localhost:{}", inside.address.port())]
    {
        let here = mirroring(Mirror { upstream, private_addresses: false, ..mirror(inside.address) }).await;
        let got = here.get(&format!("/v2/up/open/a/blobs/{}", Digest::of("inside"))).await;
        assert_eq!(got.status, 403, "{:?}", got.body);
        let said = got.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(said.contains("private network"), "{said}");
    }
    assert!(shown.lock().unwrap().is_empty());
    let plain = Mirror { private_addresses: false, ..mirror(inside.address) };
    assert!(
        crate::mirror::RegistryMirror::new(&plain, Arc::new(eyot_core::SystemClock)).is_err(),
        "http only where it is said to be private"
    );
}

#[tokio::test]
async fn tokens_are_got_as_the_upstream_wants() {
    let upstream = World::with(Config { anonymous: AnonymousAccess::None, ..Config::default() }).await;
    let digest = upstream.image("open/a", "t", "layer", json!({})).await;
    let secret = upstream.registry.token("mirror", &["repository:open/a:pull"], None).await;
    let site = Site::new(router(upstream.registry.clone())).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(&file, format!("mirror:{secret}")).unwrap();
    let here = mirroring(Mirror { credentials: file, ..mirror(site.address) }).await;
    assert_eq!(
        here.get("/v2/up/open/a/manifests/t").await.header("docker-content-digest"),
        digest.to_string()
    );
    assert_eq!(here.get(&format!("/v2/up/open/a/blobs/{}", Digest::of("layer"))).await.body, "layer");
    let other = mirroring(mirror(site.address)).await;
    assert_eq!(other.get("/v2/up/open/a/manifests/t").await.status, 403);
}

#[tokio::test]
async fn a_mirrored_component_resolves_as_if_it_had_been_pushed_here() {
    let upstream = World::new().await;
    let pushed = upstream.client().push_component("open/c", Some("1.0.0"), component()).await.unwrap();
    let site = Site::new(router(upstream.registry.clone())).await;
    let here = mirroring(mirror(site.address)).await;
    let resolved = here.registry.artifact(&"up/open/c:1.0.0".parse().unwrap()).await.unwrap();
    assert_eq!((resolved.manifest, resolved.content), (pushed.digest, pushed.content));
    assert_eq!(here.store.get(&pushed.content).await.unwrap(), component());
}

/// A model is served out of all its files: none of them is fetched too late.
#[tokio::test]
async fn a_mirrored_model_comes_with_the_weights_beside_it() {
    let upstream = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.data");
    std::fs::write(&path, "weights").unwrap();
    let data = [DataPath { name: "m.data".into(), path }];
    let model = ("m.onnx", Bytes::from_static(b"model"));
    let pushed = upstream.client().push_model_files("open/m", Some("1"), model, &data).await.unwrap();
    assert_eq!(pushed.size, 12);
    let site = Site::new(router(upstream.registry.clone())).await;
    let here = mirroring(mirror(site.address)).await;
    let resolved = here.registry.artifact(&"up/open/m:1".parse().unwrap()).await.unwrap();
    let weights = DataLayer { name: "m.data".into(), digest: Digest::of("weights"), size: 7 };
    assert_eq!((resolved.content, resolved.data), (pushed.content, vec![weights]));
    assert_eq!(here.store.get(&Digest::of("weights")).await.unwrap(), "weights");
}

#[tokio::test]
async fn tags_and_referrers_are_those_of_the_upstream_and_hold_for_policies() {
    let upstream = World::new().await;
    let key = PrivateKey::generate();
    let first = upstream.image("open/a", "one", "layer", json!({})).await;
    upstream.image("open/a", "two", "other", json!({})).await;
    let bundle = sign(&key, "open/a", &first, SIGNATURE_PREDICATE, json!({})).unwrap();
    upstream.client().attach("open/a", &first, bundle).await.unwrap();
    let site = Site::new(router(upstream.registry.clone())).await;
    let here = mirroring(mirror(site.address)).await;
    let tags = |got: &Got| got.json()["tags"].as_array().map_or(0, Vec::len);
    let page = here.get("/v2/up/open/a/tags/list?n=1").await;
    assert_eq!(
        (page.json()["tags"].clone(), page.header("link").contains("last=one")),
        (json!(["one"]), true)
    );
    assert_eq!(here.get("/v2/up/open/a/tags/list?n=1&last=one").await.json()["tags"], json!(["two"]));
    assert_eq!(here.get("/v2/up/open/none/tags/list").await.code(), "NAME_UNKNOWN");
    assert_eq!(here.get("/v2/up/closed/a/tags/list").await.status, 403);

    let require = vec![PolicyRequirement {
        predicate: SIGNATURE_PREDICATE.to_owned(),
        keys: vec![key.public().to_pem().unwrap()],
        threshold: 1,
        max_age: None,
    }];
    let policy = SignaturePolicy { repository: "up/*".to_owned(), require };
    here.registry.set_policy(&policy).await.unwrap();
    assert_eq!(here.get("/v2/up/open/a/manifests/one").await.status, 200);
    here.registry.check_policy("up/open/a", &first).await.unwrap();
    assert!(here.registry.check_policy("up/open/a", &Digest::of("unsigned")).await.is_err());
    let referrers = format!("/v2/up/open/a/referrers/{first}");
    let listed = here.get(&referrers).await;
    assert_eq!(listed.json()["manifests"].as_array().unwrap().len(), 1);
    let good = here.client().signatures("up/open/a", &first, &[key.public()]).await.unwrap();
    assert_eq!(good.len(), 1);

    drop(site);
    for path in ["/v2/up/open/a/tags/list", &referrers] {
        let stale = here.get(path).await;
        assert!(stale.status == 200 && stale.header("warning").starts_with("110 - "), "{:?}", stale.headers);
    }
    assert_eq!(tags(&here.get("/v2/up/open/a/tags/list").await), 1, "those that were asked for");
    here.registry.check_policy("up/open/a", &first).await.unwrap();
}

#[tokio::test]
async fn an_upstream_without_the_referrers_api_lists_them_under_a_tag() {
    let upstream = World::new().await;
    let subject = upstream.image("open/a", "t", "layer", json!({})).await;
    let note = upstream.image("open/a", "", "note", json!({ "artifactType": "text/note" })).await;
    let listed = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{ "mediaType": IMAGE_MANIFEST, "digest": note, "size": upstream.size(&note).await, "artifactType": "text/note" }] });
    let tag = subject.to_string().replace(':', "-");
    assert_eq!(upstream.put("open/a", &tag, &listed.to_string()).await.status, 201);
    let inner = router(upstream.registry.clone());
    let older = Router::new().fallback(move |request: Asked| {
        let inner = inner.clone();
        async move {
            if request.uri().path().contains("/referrers/") {
                return http::StatusCode::NOT_FOUND.into_response();
            }
            tower::ServiceExt::oneshot(inner, request).await.unwrap()
        }
    });
    let site = Site::new(older).await;
    let here = mirroring(mirror(site.address)).await;
    let found = here.get(&format!("/v2/up/open/a/referrers/{subject}")).await.json();
    assert_eq!(found["manifests"][0]["digest"], note.to_string(), "{found}");
}
