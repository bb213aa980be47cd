//! The audit log of a project: who did what, and who was not let do it.

use eyot_tests::{Answer, Eyot, Server, fixture};
use serde_json::{Value, json};

use crate::world::{World, text};

const PASSWORD: &str = "four unrelated words here";

/// A server with the owner `root`, and `ana`, an admin of the project `fraud` who is a viewer of `churn`.
fn site(world: &World) -> Server {
    let server = world.up();
    let password = world.write("password", PASSWORD);
    for name in ["root", "ana"] {
        let mut added = world.eyot.command(&["user", "add", name, "--password-stdin"]);
        added.stdin(std::fs::File::open(&password).unwrap());
        assert!(added.output().unwrap().status.success());
    }
    world.eyot.json(&["project", "create", "fraud", "--member", "ana=admin"]).unwrap();
    world.eyot.json(&["project", "create", "churn", "--member", "ana=viewer"]).unwrap();
    server
}

fn log_in(server: &Server, user: &str, password: &str) -> Answer {
    let body = json!({ "user": user, "password": password, "from": "laptop" }).to_string();
    server.api_send("POST", "/api/v1/login", &[("x-request-id", "sign-in-1")], body.as_bytes()).unwrap()
}

fn token(server: &Server, user: &str) -> String {
    log_in(server, user, PASSWORD).json()["secret"].as_str().unwrap().to_owned()
}

fn ask(server: &Server, token: &str, method: &str, path: &str, id: &str) -> Answer {
    let shown = format!("Bearer {token}");
    let headers =
        [("authorization", shown.as_str()), ("x-request-id", id), ("content-type", "application/json")];
    server.api_send(method, path, &headers, b"{}").unwrap()
}

/// What the log of a project says, as `ACTOR ACTION OBJECT OUTCOME`; a token's name has a part of chance.
fn told(server: &Server, token: &str, project: &str) -> Vec<String> {
    let log = ask(server, token, "GET", &format!("/p/{project}/api/v1/audit"), "");
    assert_eq!(log.status, 200, "{}", log.text());
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let line = |entry: &Value| {
        let actor = text(entry, "actor");
        let actor = actor.split(' ').next().unwrap();
        format!("{actor} {} {} {}", text(entry, "action"), text(entry, "object"), text(entry, "outcome"))
    };
    log.json().as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_project_is_told_who_did_what_in_it_and_who_was_not_let() {
    let world = World::new();
    let server = site(&world);
    let (root, ana) = (token(&server, "root"), token(&server, "ana"));
    let dir = tempfile::tempdir().unwrap();
    let eyot = Eyot::new(dir.path().join("elsewhere")).unwrap();
    let run = |arguments: &[&str]| {
        let all = [&["--json", "--server", &server.api, "--project", "fraud"][..], arguments].concat();
        let output = eyot.command(&all).env("EYOT_TOKEN", &ana).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]);
    run(&["deploy", "iris:1.0.0", "--name", "iris"]);
    for (token, method, path, status) in [
        (ana.as_str(), "DELETE", "/p/churn/api/v1/deployments/iris", 403),
        (&ana, "GET", "/p/churn/api/v1/audit", 403),
        (&ana, "POST", "/api/v1/users", 403),
        (&ana, "DELETE", "/v2/churn/x/manifests/1", 403),
        ("eyot_wrong", "GET", "/p/fraud/api/v1/deployments", 401),
    ] {
        let answer = ask(&server, token, method, path, "knock-1");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.header("x-request-id"), Some("knock-1"));
    }
    assert_eq!(log_in(&server, "ana", "wrong wrong wrong").status, 403);

    assert_eq!(
        told(&server, &ana, "fraud"),
        [
            "local project.member-changed fraud done",
            "user:ana tag.set fraud/iris done",
            "user:ana artifact.pushed fraud/iris done",
            "user:ana deployment.changed iris done",
        ]
    );
    assert_eq!(
        told(&server, &root, "churn"),
        [
            "local project.member-changed churn done",
            "user:ana request DELETE /api/v1/deployments/iris denied",
            "user:ana request GET /api/v1/audit denied",
            "user:ana request DELETE /v2/churn/x/manifests/1 denied",
        ]
    );
    let whole = told(&server, &root, "default");
    for line in [
        "local user.added root done",
        "local project.created fraud done",
        "anonymous user.sign-in ana denied",
        "user:ana request POST /api/v1/users denied",
        "anonymous request GET /api/v1/deployments denied",
    ] {
        assert!(whole.iter().any(|found| found == line), "{line}: {whole:#?}");
    }
    // What concerns the whole installation is an owner's to read.
    assert_eq!(ask(&server, &ana, "GET", "/api/v1/audit", "").status, 403);

    // Denials of a stranger are written so many a minute; what was left out is counted.
    for _ in 0..100 {
        ask(&server, "eyot_wrong", "GET", "/api/v1/deployments", "");
    }
    let knocks = told(&server, &root, "default").iter().filter(|line| line.contains(" request GET")).count();
    assert!((50..=121).contains(&knocks), "{knocks}");

    let exported = run(&["audit", "export"]);
    let last: Value = serde_json::from_str(exported.lines().last().unwrap()).unwrap();
    assert_eq!((&last["address"], &last["project"]), (&json!("127.0.0.1"), &json!("fraud")));
    let listed = run(&["audit", "ls", "--actor", "user:ana"]);
    assert_eq!(serde_json::from_str::<Value>(&listed).unwrap().as_array().unwrap().len(), 3);
    assert_eq!(run(&["audit", "ls", "--denied"]).trim(), "[]");
    let verified: Value = serde_json::from_str(&run(&["audit", "verify"])).unwrap();
    assert_eq!((&verified["entries"], &verified["head"]), (&json!(4), &last["hash"]));
    let head = verified["head"].as_str().unwrap().to_owned();

    // What was exported is checked without the server.
    server.stop().unwrap();
    let check = |name: &str, log: String| {
        let file = world.write(name, log);
        let output = eyot.command(&["audit", "verify", &file, "--head", &head]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (passes, said) = check("whole", exported.clone());
    assert!(passes, "{said}");
    let lines: Vec<&str> = exported.lines().collect();
    for (name, log, expected) in [
        (
            "changed",
            exported.replacen("user:ana", "user:bob", 1),
            "entry 2 of the audit log of project 'fraud'",
        ),
        ("gap", format!("{}\n{}\n", lines[0], lines[2]), "some are missing"),
        ("cut", format!("{}\n{}\n", lines[0], lines[1]), "it was cut off or replaced"),
    ] {
        let (passes, said) = check(name, log);
        assert!(!passes && said.contains(expected), "{name}: {said}");
    }
}
