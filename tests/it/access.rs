//! Who may do what to the control plane, asked as somebody else's program would.

use eyot_tests::{Answer, Server, fixture};
use serde_json::json;

use crate::world::{World, text};

/// Every route of the control plane beside `/v2`, and the least role that it takes.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/api/v1/artifacts", "repository"),
    ("GET", "/api/v1/artifacts/resolve?reference=secret/iris:1.0.0", "repository"),
    ("GET", "/api/v1/deployments", "viewer"),
    ("GET", "/api/v1/deployments/iris", "viewer"),
    ("GET", "/api/v1/deployments/iris/revisions", "viewer"),
    ("GET", "/api/v1/deployments/iris/logs", "viewer"),
    ("GET", "/api/v1/models", "viewer"),
    ("GET", "/api/v1/models/none", "viewer"),
    ("GET", "/api/v1/pipeline-runs", "viewer"),
    ("GET", "/api/v1/pipeline-runs/none", "viewer"),
    ("GET", "/api/v1/pipeline-runs/none/lineage", "viewer"),
    ("GET", "/api/v1/pipeline-runs/none/events", "viewer"),
    ("GET", "/api/v1/pipeline-runs/none/artifacts/step/output", "viewer"),
    ("POST", "/api/v1/pipeline-runs", "editor"),
    ("POST", "/api/v1/pipeline-runs/none/cancel", "editor"),
    ("PUT", "/api/v1/deployments/other", "deployer"),
    ("PUT", "/api/v1/deployments/iris/traffic", "deployer"),
    ("POST", "/api/v1/deployments/iris/rollback", "deployer"),
    ("DELETE", "/api/v1/deployments/none", "deployer"),
    ("GET", "/api/v1/tokens", "admin"),
    ("POST", "/api/v1/tokens", "admin"),
    ("DELETE", "/api/v1/tokens/none", "admin"),
    ("GET", "/api/v1/audit", "admin"),
    ("GET", "/api/v1/registry/usage", "admin"),
    ("GET", "/api/v1/registry/policies", "admin"),
    ("PUT", "/api/v1/registry/policies", "admin"),
    ("DELETE", "/api/v1/registry/policies?repository=none", "admin"),
    ("POST", "/api/v1/tokens/none/rotate", "admin"),
    ("GET", "/api/v1/members", "viewer"),
    ("PUT", "/api/v1/members/none", "admin"),
    ("DELETE", "/api/v1/members/none", "admin"),
    ("POST", "/api/v1/services", "admin"),
    ("DELETE", "/api/v1/services/none", "admin"),
    ("GET", "/api/v1/users", "owner"),
    ("POST", "/api/v1/users", "owner"),
    ("DELETE", "/api/v1/users/none", "owner"),
    ("POST", "/api/v1/projects", "owner"),
    ("DELETE", "/api/v1/projects/none", "owner"),
    ("GET", "/api/v1/events?follow=false", "viewer"),
    ("POST", "/api/v1/registry/collections", "owner"),
    ("POST", "/api/v1/registry/scrubs", "owner"),
];

const ROLES: &[&str] = &["viewer", "editor", "deployer", "admin", "owner"];

/// A server that serves a private model and asks everybody for a token.
struct Site {
    world: World,
    server: Server,
}

impl Site {
    fn new() -> Self {
        let world = World::new();
        let server = world.eyot.up_with(&["registry.anonymous=none"]).unwrap();
        let iris = fixture("iris-forest");
        world.eyot.json(&["push", text(&iris), "--as", "secret/iris:1.0.0"]).unwrap();
        world.eyot.json(&["deploy", "secret/iris:1.0.0", "--name", "iris"]).unwrap();
        Self { world, server }
    }

    /// The header that shows a new token.
    fn token(&self, name: &str, arguments: &[&str]) -> String {
        let made = self.world.eyot.json(&[&["token", "create", name], arguments].concat()).unwrap();
        format!("Bearer {}", made["secret"].as_str().unwrap())
    }

    fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(authorization.map(|shown| ("authorization", shown)));
        let body: &[u8] = match (method, path) {
            ("GET" | "DELETE", _) => b"",
            // What is wrong with a body is told before who may send it, where the handler looks at that.
            (_, "/api/v1/projects") => br#"{"name": "new"}"#,
            (_, "/api/v1/tokens") => br#"{"name": "new", "scopes": ["repository:new:pull"]}"#,
            _ => b"{}",
        };
        self.server.api_send(method, path, &headers, body).unwrap()
    }
}

#[test]
fn every_route_asks_who_is_there() {
    let site = Site::new();
    let pulls = site.token("pulls", &["--scope", "repository:other/*:pull"]);
    let wrong = "Bearer eyot_0000";
    let tokens: Vec<_> = ROLES.iter().map(|role| (*role, site.token(role, &["--role", role]))).collect();
    for (method, path, least) in ROUTES {
        for shown in [None, Some(wrong), Some("Basic bm9ib2R5OmVtcHR5")] {
            let answer = site.ask(method, path, shown);
            assert_eq!(answer.status, 401, "{method} {path} {shown:?}: {}", answer.text());
            assert!(answer.text().contains("token"), "{}", answer.text());
        }
        let answer = site.ask(method, path, Some(&pulls));
        let lists = *path == "/api/v1/artifacts";
        assert_eq!(answer.status == 403, !lists, "{method} {path}: {}", answer.text());
        assert!(!answer.text().contains("secret/iris\""), "{}", answer.text());
        for (role, token) in &tokens {
            let may = *least == "repository"
                || ROLES.iter().position(|one| one == role) >= ROLES.iter().position(|one| one == least);
            let answer = site.ask(method, path, Some(token));
            // Whatever is wrong with the rest of the request, it was looked at.
            assert_eq!(answer.status != 403, may, "{role} {method} {path}: {}", answer.text());
            assert_ne!(answer.status, 401, "{role} {method} {path}");
        }
    }
    assert_eq!(site.server.get("/v2/models/iris/ready").unwrap().status, 200, "nobody took it away");
    site.server.stop().unwrap();
}

#[test]
fn what_is_not_there_is_refused_just_so() {
    let site = Site::new();
    for path in ["/api/v1/deployments/none", "/api/v1/models/none", "/api/v1/pipeline-runs/none"] {
        let there = site.ask("GET", "/api/v1/deployments/iris", None).status;
        assert_eq!(site.ask("GET", path, None).status, there, "{path}");
    }
    let pulls = site.token("pulls", &["--scope", "repository:other/*:pull"]);
    let ask = |reference: &str| {
        let path = format!("/api/v1/artifacts/resolve?reference={reference}");
        site.ask("GET", &path, Some(&pulls)).text().replace(reference.split(':').next().unwrap(), "NAME")
    };
    assert_eq!(ask("secret/iris:1.0.0"), ask("secret/none:1.0.0"), "the answer tells what is there");
}

#[test]
fn nobody_makes_a_token_that_allows_more_than_their_own() {
    let site = Site::new();
    let admin = site.token("admin", &["--role", "admin"]);
    let make = |name: &str, scope: &str| {
        let body = json!({ "name": name, "scopes": [scope] }).to_string();
        let headers = [("authorization", admin.as_str())];
        site.server.api_send("POST", "/api/v1/tokens", &headers, body.as_bytes()).unwrap().status
    };
    for (name, scope, status) in [
        ("one", "project:default:deployer", 200),
        ("two", "project:default:admin", 200),
        ("three", "project:default:owner", 403),
        ("four", "registry:admin:*", 403),
        ("five", "project:other:viewer", 403),
    ] {
        assert_eq!(make(name, scope), status, "{scope}");
    }
    site.token("boss", &["--role", "owner"]);
    assert_eq!(site.ask("DELETE", "/api/v1/tokens/boss", Some(&admin)).status, 403);
    assert_eq!(site.ask("DELETE", "/api/v1/tokens/one", Some(&admin)).status, 200);
}

#[test]
fn a_revoked_token_opens_nothing_from_the_next_request_on() {
    let site = Site::new();
    let token = site.token("short", &["--role", "viewer"]);
    assert_eq!(site.ask("GET", "/api/v1/pipeline-runs", Some(&token)).status, 200);
    site.world.eyot.json(&["token", "revoke", "short"]).unwrap();
    assert_eq!(site.ask("GET", "/api/v1/pipeline-runs", Some(&token)).status, 401);
}

#[test]
fn commands_on_the_folder_itself_need_no_token() {
    let site = Site::new();
    let deployments = site.world.eyot.json(&["deployments"]).unwrap();
    assert_eq!(deployments[0]["name"], "iris");
    let file = site.world.eyot.data().join("server.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "others can read what opens the server");
    let said: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let secret = said["secret"].as_str().unwrap();
    assert!(!site.server.log().contains(secret), "the log tells it");
    let elsewhere = site.world.eyot.refused(&["deployments", "--server", &site.server.api]).unwrap();
    assert!(elsewhere.kind == "denied" && elsewhere.message.contains("takes a token"), "{elsewhere:?}");
    let other = World::new();
    let server = other.eyot.up_with(&["registry.anonymous=none"]).unwrap();
    let shown = format!("Bearer {secret}");
    let answer = server.api_send("GET", "/api/v1/pipeline-runs", &[("authorization", &shown)], b"").unwrap();
    assert_eq!(answer.status, 401, "one server's secret opens another");
}

#[test]
fn a_server_that_others_reach_wants_a_token_first() {
    let world = World::new();
    let up = ["up", "--set", "api.listen=0.0.0.0:0", "--set", "gateway.listen=127.0.0.1:0"];
    let refused = world.eyot.refused(&up).unwrap();
    assert_eq!(refused.kind, "denied");
    for part in ["0.0.0.0:0", "no user and no token"] {
        assert!(refused.message.contains(part), "{refused:?}");
    }
    let commands: Vec<_> = refused.hint.lines().filter(|line| line.starts_with("eyot ")).collect();
    assert_eq!(commands, ["eyot user add NAME", "eyot up --set api.listen=0.0.0.0:0"]);
    world.eyot.json(&["token", "create", "me", "--role", "owner"]).unwrap();
    let server = world.eyot.up_with(&["api.listen=0.0.0.0:0"]).unwrap();
    let api = server.api.replace("0.0.0.0", "127.0.0.1");
    let refused = world.eyot.refused(&["runs", "--server", &api]).unwrap();
    assert_eq!(refused.kind, "denied", "{refused:?}");
    server.stop().unwrap();
    // A token that is no good any more opens nothing.
    world.eyot.json(&["token", "revoke", "me"]).unwrap();
    assert_eq!(world.eyot.refused(&up).unwrap().kind, "denied");
}
