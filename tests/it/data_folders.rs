//! What an earlier Eyot wrote is opened and served by this one: data folders as they were, kept in
//! `tests/fixtures/data-folders`, each written by [`write_folder`] with the binary of its time.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_test_services::PostgresServer;
use eyot_tests::{fixture, path};
use serde_json::json;

use crate::world::{World, step, text};

/// A function of one line, so that a folder that is kept holds no code but this.
const ADD: &str = r#"
(component
  (core module $code
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
  (core instance $code (instantiate $code))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $code "add"))))
"#;

const PIPELINE: &str = r#"
[pipeline]
name = "sums"

[params]
first = 2

[steps.add]
component = "add:1"
with = { a = { param = "first" }, b = 40 }
"#;

/// What of a data folder is made again where it is missing, or belongs to the process that has it.
const PASSING: [&str; 4] = ["cache", "tmp", "*.lock", "server.*"];

/// Writes something of every format that is stored. Answers the secret of a token; nothing where the guest is missing.
fn write_folder(world: &World) -> Option<String> {
    let wasm = world.write("add.wasm", wat::parse_str(ADD).unwrap());
    let pipeline = world.write("sums.toml", PIPELINE);
    let closed = world.dir.path().join("closed");
    world.eyot.json(&["key", "generate", text(&closed)]).unwrap();
    world.eyot.json(&["push", &wasm, "--as", "add:1"]).unwrap();
    world.eyot.json(&["policy", "set", "closed/*", "--key", text(&closed.with_extension("pub"))]).unwrap();
    let token = world.eyot.json(&["token", "create", "ci", "--scope", "repository:*:pull"]).unwrap();
    // Nothing that is taken out again is kept for a while.
    let server = world.eyot.up_with(&["registry.lease=1ms"]).unwrap();
    if !world.push("testing-stores") {
        return None;
    }
    let deploy = ["deploy", "add:1", "--name", "sums"];
    world.eyot.json(&deploy).unwrap();
    let second = ["--timeout", "5s", "--var", "greeting=hello", "--no-traffic"];
    world.eyot.json(&[&deploy[..], &second].concat()).unwrap();
    world.eyot.json(&["traffic", "sums", "1=90", "2=10", "--sticky", "x-user"]).unwrap();
    world.eyot.json(&["deploy", text(&fixture("digits")), "--name", "digits"]).unwrap();
    world.eyot.json(&["run", &pipeline]).unwrap();
    let release = ["release", "create", "sums:1", "--component", "add:1", "--pipeline", &pipeline];
    world.eyot.json(&release).unwrap();
    deploy_stores(world);
    assert_eq!(server.post("/stores/set", "3 100").unwrap().text(), "3 keys");
    let made = server.post("/stores/sql", "CREATE TABLE kept AS SELECT 7 AS n").unwrap();
    assert_eq!(made.status, 200, "{}", made.text());
    world.eyot.json(&["undeploy", "stores"]).unwrap();
    server.stop().unwrap();
    Some(token["secret"].as_str().unwrap().to_owned())
}

fn deploy_stores(world: &World) {
    let granted = ["--key-value", "default=kept.values", "--sqlite", "default=kept.rows"];
    let deploy = ["deploy", "testing-stores:0.1.0", "--name", "stores"];
    world.eyot.json(&[&deploy[..], &granted].concat()).unwrap();
}

/// Looks for all of it again, and goes on with it.
fn check_folder(world: &World, token: &str) {
    let server = world.eyot.up_with(&["registry.anonymous=none"]).unwrap();
    let deployed = world.eyot.json(&["deployments"]).unwrap();
    let named = |name: &str| deployed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(named("sums")["traffic"], json!({ "weights": { "1": 90, "2": 10 }, "sticky": "x-user" }));
    for name in ["sums", "digits"] {
        assert_eq!(named(name)["state"], "serving", "{deployed:#}");
    }
    let sum = || server.post("/fn/sums/add", r#"{"a": 2, "b": 40}"#).unwrap();
    assert_eq!(sum().json(), 42);
    let rows = json!({ "inputs": [{ "name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": vec![0; 64] }] });
    let predicted = server.post("/v2/models/digits/infer", rows.to_string()).unwrap();
    assert_eq!(predicted.status, 200, "{}", predicted.text());

    let runs = world.eyot.json(&["runs"]).unwrap();
    assert_eq!(
        (&runs[0]["status"], &step(&runs[0], "add")["outputs"]["output"]),
        (&json!("succeeded"), &json!(42))
    );
    let again = world.eyot.json(&["run", &world.write("sums.toml", PIPELINE), "--param", "first=3"]).unwrap();
    assert_eq!(step(&again, "add")["outputs"]["output"], 43);
    world.eyot.json(&["run", &world.write("sums.toml", PIPELINE)]).unwrap();

    let wasm = world.write("add.wasm", wat::parse_str(ADD).unwrap());
    let refused = world.eyot.refused(&["push", &wasm, "--as", "closed/add:1"]).unwrap();
    assert_eq!(refused.kind, "denied", "{refused:?}");
    let shown = format!("Bearer {token}");
    let ask =
        |headers: &[(&str, &str)]| server.api_send("GET", "/v2/add/tags/list", headers, b"").unwrap().status;
    assert_eq!((ask(&[]), ask(&[("authorization", &shown)])), (401, 200));
    assert_eq!(world.eyot.json(&["release", "show", "sums:1"]).unwrap()["parts"][0]["name"], "add");
    world.eyot.json(&["release", "verify", "sums:1"]).unwrap();
    assert!(world.eyot.json(&["audit", "verify"]).unwrap()["entries"].as_u64().unwrap() >= 10);

    if world.push("testing-stores") {
        deploy_stores(world);
        assert_eq!(server.post("/stores/get", "3 1").unwrap().text(), "300 bytes");
        assert_eq!(server.post("/stores/sql", "SELECT n FROM kept").unwrap().text(), "1 rows, 0 bytes");
    }
    // And what is written now follows what was written then.
    world.eyot.json(&["traffic", "sums", "--rollback"]).unwrap();
    let next = world.eyot.json(&["deploy", "add:1", "--name", "sums", "--var", "greeting=again"]).unwrap();
    assert_eq!(next["revision"], 3, "{next:#}");
    assert_eq!(sum().json(), 42);
    server.stop().unwrap();
}

#[test]
fn what_this_eyot_writes_it_opens_again() {
    let world = World::new();
    let Some(token) = write_folder(&world) else { return };
    check_folder(&world, &token);
}

#[test]
fn what_this_eyot_writes_into_postgresql_it_opens_again() {
    let Some(mut postgres) = PostgresServer::start().unwrap() else { return };
    let world = World::on_postgres(&postgres);
    let Some(token) = write_folder(&world) else { return };
    postgres.restart_after_kill().unwrap();
    check_folder(&world, &token);
    assert!(!world.eyot.data().join("eyot.db").exists());
}

#[test]
fn what_an_earlier_eyot_wrote_is_opened_and_served() {
    let mut opened = 0;
    for file in std::fs::read_dir(path("tests/fixtures/data-folders")).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "gz") {
            continue;
        }
        let world = World::new();
        unpack(&file, world.eyot.data());
        let token = std::fs::read_to_string(world.eyot.data().join(TOKEN)).unwrap();
        println!("{}", file.display());
        check_folder(&world, token.trim());
        opened += 1;
    }
    assert!(opened > 0, "no data folder is kept");
}

/// The token's secret, beside what an Eyot wrote.
const TOKEN: &str = "token-of-the-test";

/// Before a format changes, its data folder is kept:
/// `EYOT_KEEP=tests/fixtures/data-folders/NAME.tar.gz cargo nextest run -p eyot-tests --run-ignored only keeps_a_data_folder`
#[test]
#[ignore = "writes a fixture: EYOT_KEEP names its file"]
fn keeps_a_data_folder() {
    let file = PathBuf::from(std::env::var_os("EYOT_KEEP").expect("EYOT_KEEP=FILE.tar.gz"));
    let world = World::new();
    let token = write_folder(&world).expect("testing-stores is built");
    forget_code(&world);
    std::fs::write(world.eyot.data().join(TOKEN), token).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0"])
        .args(PASSING.map(|name| format!("--exclude=./{name}")));
    tar.arg("-C").arg(world.eyot.data()).arg("-czf").arg(path(text(&file))).arg(".");
    assert!(tar.status().unwrap().success());
}

/// Takes the guest that wrote to the stores out of the registry, and its bytes off the disk.
fn forget_code(world: &World) {
    let server = world.eyot.up_with(&["registry.lease=1ms"]).unwrap();
    let found = world.eyot.json(&["ls"]).unwrap();
    let entry = found.as_array().unwrap().iter().find(|one| one["repository"] == "testing-stores").unwrap();
    let manifest = format!("/v2/testing-stores/manifests/{}", entry["digest"].as_str().unwrap());
    assert!(server.api_delete(&manifest).unwrap().status < 300);
    server.stop().unwrap();
    world.eyot.json(&["gc", "--set", "registry.lease=1ms"]).unwrap();
}

fn unpack(file: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    let done = Command::new("tar").arg("-C").arg(into).arg("-xzf").arg(file).status().unwrap();
    assert!(done.success());
}
