//! Who may do what, asked over the wire as somebody else's client would.

use super::*;
use base64::Engine as _;
use eyot_core::ProjectName;
use eyot_core::config::AnonymousAccess;
use eyot_meta::sql;
use tower::ServiceExt as _;

struct Site {
    world: World,
    digest: Digest,
}

impl Site {
    async fn new(anonymous: AnonymousAccess) -> Self {
        let world = World::with(Config { anonymous, ..Config::default() }).await;
        let digest = world.image("acme/x", "t", "layer", json!({})).await;
        Self { world, digest }
    }

    /// A request as it comes from a socket.
    async fn ask(&self, method: &str, path: &str, authorization: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path).header("host", "registry.test:5000");
        if !authorization.is_empty() {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router(self.world.registry.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Got {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: read_body(body, 1 << 20).await.unwrap(),
        }
    }

    async fn secret(&self, name: &str, scopes: &[&str]) -> String {
        self.world.registry.token(name, scopes, None).await
    }
}

fn basic(secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{secret}")))
}

/// A method and a path.
type Route = (&'static str, String);

/// Every route that reads, then every route that changes something.
fn routes(digest: &Digest) -> (Vec<Route>, Vec<Route>) {
    let blob = Digest::of("layer");
    let reads = vec![
        ("GET", "/v2/acme/x/manifests/t".to_owned()),
        ("HEAD", format!("/v2/acme/x/manifests/{digest}")),
        ("GET", format!("/v2/acme/x/blobs/{blob}")),
        ("HEAD", format!("/v2/acme/x/blobs/{blob}")),
        ("GET", "/v2/acme/x/tags/list".to_owned()),
        ("GET", format!("/v2/acme/x/referrers/{digest}")),
    ];
    let id = "00000000-0000-0000-0000-000000000000";
    let changes = vec![
        ("POST", "/v2/acme/x/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/acme/x/blobs/uploads/?mount={blob}")),
        ("PATCH", format!("/v2/acme/x/blobs/uploads/{id}")),
        ("PUT", format!("/v2/acme/x/blobs/uploads/{id}?digest={blob}")),
        ("GET", format!("/v2/acme/x/blobs/uploads/{id}")),
        ("DELETE", format!("/v2/acme/x/blobs/uploads/{id}")),
        ("PUT", "/v2/acme/x/manifests/u".to_owned()),
        ("DELETE", "/v2/acme/x/manifests/t".to_owned()),
        ("DELETE", format!("/v2/acme/x/manifests/{digest}")),
        ("DELETE", format!("/v2/acme/x/blobs/{blob}")),
    ];
    (reads, changes)
}

#[tokio::test]
async fn private_shown_as_public() {
    for (anonymous, base, reads_are, catalog) in [
        (AnonymousAccess::None, 401, 401, 401),
        (AnonymousAccess::Pull, 401, 200, 200),
        (AnonymousAccess::All, 200, 200, 200),
    ] {
        let site = Site::new(anonymous).await;
        let (reads, changes) = routes(&site.digest);
        assert_eq!(site.ask("GET", "/v2/", "").await.status, base, "{anonymous:?}");
        assert_eq!(site.ask("GET", "/v2/_catalog", "").await.status, catalog, "{anonymous:?}");
        for (method, path) in reads {
            let got = site.ask(method, &path, "").await;
            assert_eq!(got.status, reads_are, "{anonymous:?} {method} {path}");
            // What is not there is refused just so: the answer tells nothing.
            let absent = path.replace("acme/x", "acme/none");
            let other = site.ask(method, &absent, "").await;
            assert!(
                reads_are == 200
                    || (other.status, other.body.len())
                        == (401, got.body.len() + if method == "HEAD" { 0 } else { 3 }),
                "{absent}"
            );
        }
        for (method, path) in changes.into_iter().filter(|_| anonymous != AnonymousAccess::All) {
            let got = site.ask(method, &path, "").await;
            assert_eq!(
                (got.status, got.code().as_str()),
                (401, "UNAUTHORIZED"),
                "{anonymous:?} {method} {path}"
            );
            let challenge = got.header("www-authenticate");
            assert!(challenge.starts_with("Bearer realm=\"http://registry.test:5000/v2/token\",service=\"eyot\",scope=\"repository:acme/x:"), "{challenge}");
        }
    }
}

#[tokio::test]
async fn tokens_allow_their_scopes_by_basic_and_bearer() {
    let site = Site::new(AnonymousAccess::None).await;
    let (reads, changes) = routes(&site.digest);
    let reader = site.secret("reader", &["repository:acme/*:pull"]).await;
    let other = site.secret("other", &["repository:other/*:*", "registry:catalog:*"]).await;
    for shown in [basic(&reader), format!("Bearer {reader}")] {
        for (method, path) in &reads {
            assert_eq!(site.ask(method, path, &shown).await.status, 200, "{method} {path}");
        }
        for (method, path) in &changes {
            let got = site.ask(method, path, &shown).await;
            assert_eq!((got.status, got.code().as_str()), (403, "DENIED"), "{method} {path}");
        }
    }
    for (method, path) in reads.iter().chain(&changes) {
        assert_eq!(site.ask(method, path, &basic(&other)).await.status, 403, "{method} {path}");
    }
    assert_eq!(site.ask("GET", "/v2/_catalog", &basic(&other)).await.json(), json!({ "repositories": [] }));
    for bad in
        ["Basic !!!", "Basic bWU=", &basic("eyot_wrong"), "Bearer wrong", "Bearer a.b", "Negotiate x", "x"]
    {
        let got = site.ask("GET", &reads[0].1, bad).await;
        assert_eq!((got.status, got.code().as_str()), (401, "UNAUTHORIZED"), "{bad}");
    }
}

#[tokio::test]
async fn a_token_takes_nothing_away_that_anybody_may() {
    let site = Site::new(AnonymousAccess::Pull).await;
    let other = basic(&site.secret("other", &["repository:other/*:push"]).await);
    assert_eq!(site.ask("GET", "/v2/acme/x/manifests/t", &other).await.status, 200);
    assert_eq!(site.ask("POST", "/v2/acme/x/blobs/uploads/", &other).await.status, 403);
    assert_eq!(site.ask("POST", "/v2/other/x/blobs/uploads/", &other).await.status, 202);
}

#[tokio::test]
async fn mount_and_dedup_do_not_bypass_the_scopes() {
    let site = Site::new(AnonymousAccess::None).await;
    let secret = basic(&site.secret("other", &["repository:other/*:*"]).await);
    let digest = Digest::of("layer");
    for query in [format!("mount={digest}&from=acme/x"), format!("mount={digest}")] {
        let got = site.ask("POST", &format!("/v2/other/y/blobs/uploads/?{query}"), &secret).await;
        assert_eq!(got.status, 202, "{query}: not there for them");
    }
    assert_eq!(site.ask("GET", &format!("/v2/other/y/blobs/{digest}"), &secret).await.status, 404);
    let both = basic(&site.secret("both", &["repository:other/*:*", "repository:acme/*:pull"]).await);
    let got =
        site.ask("POST", &format!("/v2/other/y/blobs/uploads/?mount={digest}&from=acme/x"), &both).await;
    assert_eq!(got.status, 201);
}

#[tokio::test]
async fn a_client_gets_what_it_asks_for_and_may_have() {
    let site = Site::new(AnonymousAccess::Pull).await;
    let secret = site.secret("writer", &["repository:acme/*:pull,push"]).await;
    let get = async |scope: &str, shown: &str| {
        let got = site.ask("GET", &format!("/v2/token?service=eyot&scope={scope}"), shown).await;
        assert_eq!(got.status, 200, "{:?}", got.body);
        assert!(
            got.json()["expires_in"].as_i64().unwrap() >= 60
                && got.json()["token"] == got.json()["access_token"]
        );
        format!("Bearer {}", got.json()["token"].as_str().unwrap())
    };
    let (pull, push) = ("/v2/acme/x/manifests/t", "/v2/acme/x/blobs/uploads/");
    for (scope, shown, pulls, pushes) in [
        ("repository:acme/x:pull,push", basic(&secret), 200, 202),
        ("repository:acme/x:pull", basic(&secret), 200, 401),
        ("repository:acme/x:push%20repository:acme/x:pull", basic(&secret), 200, 202),
        ("repository:acme/x:*", String::new(), 200, 401),
        ("nonsense", basic(&secret), 401, 401),
    ] {
        let token = get(scope, &shown).await;
        assert_eq!(
            (site.ask("GET", pull, &token).await.status, site.ask("POST", push, &token).await.status),
            (pulls, pushes),
            "{scope}"
        );
        assert_eq!(site.ask("GET", "/v2/", &token).await.status, 200);
        let got = site.ask("POST", push, &token).await;
        if pushes == 401 && !shown.is_empty() {
            assert!(got.header("www-authenticate").contains("error=\"insufficient_scope\""));
        }
        // A byte changed anywhere makes it nothing.
        let spoiled = token.replace('.', "A.");
        assert_eq!(site.ask("GET", pull, &spoiled).await.status, 401);
    }
    assert_eq!(site.ask("GET", "/v2/token", &basic("eyot_wrong")).await.status, 401);
}

#[tokio::test]
async fn revoked_tokens_end_with_the_next_request() {
    let site = Site::new(AnonymousAccess::None).await;
    let secret = basic(&site.secret("reader", &["repository:acme/*:pull"]).await);
    let got = site.ask("GET", "/v2/token?scope=repository:acme/x:pull", &secret).await;
    let bearer = format!("Bearer {}", got.json()["token"].as_str().unwrap());
    for (shown, before, after) in [(&secret, 200, 401), (&bearer, 200, 401)] {
        assert_eq!(site.ask("GET", "/v2/acme/x/manifests/t", shown).await.status, before);
        let access = &site.world.registry.0.access;
        access.revoke_token(&access.local_caller(), &ProjectName::default(), "reader").await.unwrap();
        assert_eq!(site.ask("GET", "/v2/acme/x/manifests/t", shown).await.status, after);
        sql("UPDATE tokens SET revoked_at = NULL").execute(&site.world.registry.0.db).await.unwrap();
    }
    let old = site.world.registry.token("old", &["repository:*:*"], Some(eyot_core::Timestamp(1))).await;
    assert_eq!(site.ask("GET", "/v2/acme/x/manifests/t", &basic(&old)).await.status, 401, "expired");
    let stored = sql("SELECT secret_hash FROM tokens WHERE name = 'old'");
    let stored = stored.fetch_one(&site.world.registry.0.db).await.unwrap();
    assert_ne!(stored.get::<String>("secret_hash").unwrap(), old, "stored hashed");
}

#[tokio::test]
async fn wasm_package_tools_find_the_registry() {
    let site = Site::new(AnonymousAccess::All).await;
    let got = site.ask("GET", "/.well-known/wasm-pkg/registry.json", "").await;
    assert_eq!(
        got.json(),
        json!({ "preferredProtocol": "oci", "oci": { "registry": "registry.test:5000" } })
    );
}

#[tokio::test]
async fn nothing_is_deleted_where_deleting_is_off() {
    let world = World::with(Config { delete: false, ..Config::default() }).await;
    let digest = world.image("a", "t", "layer", json!({})).await;
    for path in
        ["/v2/a/manifests/t".to_owned(), format!("/v2/a/manifests/{digest}"), format!("/v2/a/blobs/{digest}")]
    {
        assert_eq!(world.send("DELETE", &path, &[], Body::empty()).await.status, 405, "{path}");
    }
}

#[tokio::test]
async fn jwt_key_confusion() {
    let site = Site::new(AnonymousAccess::None).await;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = r#"{"holder":null,"scopes":["repository:*:pull,push,delete"],"until":99999999999999}"#;
    let key = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"kid":"../../dev/null"}"#;
    let secret = site.secret("reader", &["repository:acme/x:pull"]).await;
    let granted = site.ask("GET", "/v2/token?scope=repository:acme/x:pull", &basic(&secret)).await;
    let good = granted.json()["token"].as_str().unwrap().to_owned();
    let (payload, signature) = good.split_once('.').unwrap();
    let path = format!("/v2/acme/x/manifests/{}", site.digest);
    assert_eq!(site.ask("GET", &path, &format!("Bearer {good}")).await.status, 200);
    for forged in [
        // No algorithm, a key in the token, the signature of another payload, and halves of a good one.
        format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(claims)),
        format!("{}.{}.{}", encode(key), encode(claims), encode("x")),
        format!("{}.{signature}", encode(claims)),
        format!("{}.{}", encode(claims), encode("")),
        format!("{payload}."),
        format!("{payload}.{}", signature.to_lowercase()),
        payload.to_owned(),
        format!("{good}.{signature}"),
    ] {
        let got = site.ask("GET", &path, &format!("Bearer {forged}")).await;
        assert_eq!(got.status, 401, "{forged}");
    }
}
