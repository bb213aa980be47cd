//! What a web page of somebody else's may have a browser send to a server on this machine.

use eyot_tests::fixture;

use crate::world::{World, text};

const PREDICTION: &[u8] =
    br#"{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}"#;

#[test]
fn a_page_of_another_origin_drives_neither_plane() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let token = br#"{"name": "evil", "scopes": ["registry:admin:*"]}"#;
    let form = ("content-type", "text/plain");
    let infer = "/v2/models/iris/infer";
    for (headers, status) in [
        (vec![("host", "evil.example"), ("origin", "http://evil.example"), form], 421),
        (vec![("host", "evil.example")], 421),
        (vec![("host", "127.0.0.1.evil.example")], 421),
        (vec![("origin", "http://evil.example"), form], 403),
        (vec![("origin", "http://evil.example"), ("content-type", "application/json")], 403),
        (vec![("origin", "null"), form], 403),
        (vec![("sec-fetch-site", "cross-site"), form], 403),
        (vec![("sec-fetch-site", "same-site"), form], 403),
    ] {
        let made = server.api_send("POST", "/api/v1/tokens", &headers, token).unwrap();
        assert_eq!(made.status, status, "{headers:?}: {}", made.text());
        let pushed = server.api_send("POST", "/v2/evil/x/blobs/uploads/", &headers, b"").unwrap();
        assert_eq!(pushed.status, status, "{headers:?}: {}", pushed.text());
        let predicted = server.send("POST", infer, &headers, PREDICTION).unwrap();
        assert_eq!(predicted.status, status, "{headers:?}: {}", predicted.text());
        let called = server.send("POST", "/fn/iris/predict", &headers, b"{}").unwrap();
        assert_eq!(called.status, status, "{headers:?}: {}", called.text());
    }
    for path in ["/api/v1/pipeline-runs", "/v2/_catalog", "/health", "/nothing"] {
        let read = server.api_send("GET", path, &[("host", "evil.example")], b"").unwrap();
        assert_eq!(read.status, 421, "{path}: rebinding reads {}", read.text());
    }
    for path in ["/metrics", "/v2", "/v2/models/iris", "/nothing"] {
        let read = server.send("GET", path, &[("host", "evil.example")], b"").unwrap();
        assert_eq!(read.status, 421, "{path}: rebinding reads {}", read.text());
    }
    assert_eq!(server.post(infer, PREDICTION).unwrap().status, 200, "a program goes on");
    assert_eq!(world.eyot.json(&["token", "ls"]).unwrap(), serde_json::json!([]));
    server.stop().unwrap();
}

#[test]
fn names_and_origins_of_the_configuration_are_let_in() {
    let world = World::new();
    let settings = [
        "api.hosts=eyot.example",
        "api.origins=https://ui.example",
        "gateway.hosts=*.models.example",
        "gateway.origins=https://app.example:8443",
    ];
    let server = world.eyot.up_with(&settings).unwrap();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let infer = "/v2/models/iris/infer";
    let named =
        server.api_send("GET", "/api/v1/pipeline-runs", &[("host", "eyot.example:443")], b"").unwrap();
    assert_eq!(named.status, 200, "{}", named.text());
    let named = server.send("POST", infer, &[("host", "a.models.example")], PREDICTION).unwrap();
    assert_eq!(named.status, 200, "{}", named.text());
    let page = [("origin", "https://app.example:8443"), ("content-type", "application/json")];
    let asked = server.send("POST", infer, &page, PREDICTION).unwrap();
    assert_eq!(asked.status, 200, "{}", asked.text());
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://app.example:8443"));
    let first = [("origin", "https://app.example:8443"), ("access-control-request-method", "POST")];
    let first = server.send("OPTIONS", infer, &first, b"").unwrap();
    assert_eq!((first.status, first.header("access-control-allow-methods").is_some()), (204, true));
    // The other plane's pages are not this one's.
    let other = [("origin", "https://app.example:8443")];
    assert_eq!(server.api_send("POST", "/api/v1/pipeline-runs", &other, b"{}").unwrap().status, 403);
    server.stop().unwrap();
}

#[test]
fn what_is_no_host_is_said_when_the_server_starts() {
    let world = World::new();
    for (setting, says) in [
        ("api.hosts=http://x", "api.hosts: 'http://x' is no name of a host"),
        ("gateway.origins=app.example", "gateway.origins: 'app.example' is no origin"),
        ("api.origins=*", "api.origins: '*' is no origin"),
    ] {
        let ports = ["--set", "api.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
        let refused = world.eyot.refused(&[&["up", "--set", setting], &ports[..]].concat()).unwrap();
        assert!(refused.kind == "invalid" && refused.message.contains(says), "{refused:?}");
    }
}
