//! `eyot backup`, `eyot restore`, `eyot move`: everything is there afterwards, or the command says what is not; and a
//! command that was cut off has harmed nothing.

mod interrupted;
mod moved;
mod refused;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use eyot_core::Digest;
use eyot_test_services::PostgresServer;
use eyot_tests::{Eyot, Server, fixture, wait_until};
use serde_json::{Value, json};

use crate::world::{World, text};

const LEASE: &str = "registry.lease=1ms";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A world with a folder for its backup.
struct Site {
    world: World,
    backup: PathBuf,
}

impl Site {
    fn new(world: World) -> Self {
        let backup = world.dir.path().join("backup");
        Self { world, backup }
    }

    fn back_up(&self) -> Value {
        self.world.eyot.json(&["backup", text(&self.backup)]).unwrap()
    }

    /// Another data folder, of this name.
    fn other(&self, name: &str) -> Eyot {
        Eyot::new(self.world.dir.path().join(name)).unwrap()
    }

    /// The backup in another data folder.
    fn restored(&self, name: &str) -> Eyot {
        let eyot = self.other(name);
        eyot.json(&["restore", text(&self.backup)]).unwrap();
        eyot
    }

    /// Begins a command and kills it once something is so.
    fn cut_off(&self, eyot: &Eyot, arguments: &[&str], mut when: impl FnMut() -> bool) {
        let mut child: Child =
            eyot.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the command got that far", || when() || child.try_wait().unwrap().is_some());
        let _ = child.kill();
        child.wait().unwrap();
    }
}

/// Pushes a blob of one layer under a tag; answers the manifest's digest, where the server took it.
fn push(server: &Server, repository: &str, tag: &str, layer: &[u8]) -> Option<Digest> {
    let digest = Digest::of(layer);
    let upload = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let kind = [("content-type", "application/octet-stream")];
    let status = server.api_send("POST", &upload, &kind, layer).ok()?.status;
    assert_eq!(status, 201);
    let part = json!({ "mediaType": "x/y", "digest": digest, "size": layer.len() });
    let manifest = json!({ "schemaVersion": 2, "config": part, "layers": [part] }).to_string();
    let target = format!("/v2/{repository}/manifests/{tag}");
    let headers = [("content-type", MANIFEST_TYPE)];
    let answer = server.api_send("PUT", &target, &headers, manifest.as_bytes()).ok()?;
    (answer.status == 201).then(|| Digest::of(&manifest))
}

/// Pulls every manifest there is, with all that it names, and compares the digests.
fn pull_all(eyot: &Eyot, server: &Server) -> usize {
    let listed = eyot.json(&["ls"]).unwrap();
    for entry in listed.as_array().unwrap() {
        let (repository, digest) = (entry["repository"].as_str().unwrap(), entry["digest"].as_str().unwrap());
        let get = |what: &str, digest: &str| {
            let answer = server.api_get(&format!("/v2/{repository}/{what}/{digest}")).unwrap();
            assert_eq!(answer.status, 200, "{repository} {digest}: {}", answer.text());
            assert_eq!(Digest::of(&answer.body).to_string(), digest);
            answer.json()
        };
        let manifest = get("manifests", digest);
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for part in layers.chain(manifest.get("config")) {
            get("blobs", part["digest"].as_str().unwrap());
        }
    }
    listed.as_array().unwrap().len()
}

fn flower(server: &Server) -> Value {
    let metadata = server.get("/v2/models/iris").unwrap().json();
    let name = metadata["inputs"][0]["name"].as_str().unwrap();
    let input = json!({ "name": name, "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2] });
    let answer = server.post("/v2/models/iris/infer", json!({ "inputs": [input] }).to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["outputs"].clone()
}

fn damage(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn blob_files(root: &Path) -> Vec<PathBuf> {
    let folder = root.join("registry/blobs/sha256");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The only snapshot in a backup.
fn snapshot(backup: &Path) -> PathBuf {
    let found: Vec<_> = std::fs::read_dir(backup.join("snapshots")).unwrap().flatten().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].path()
}

/// Pushes, deletes, deploys, undeploys and collects while backups are made.
fn work(eyot: &Eyot, server: &Server, stop: &AtomicBool) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Some(pushed) =
                    push(server, "busy", &format!("t{number}"), &number.to_le_bytes().repeat(5000))
                else {
                    continue;
                };
                if number % 2 == 0 {
                    server.api_send("DELETE", &format!("/v2/busy/manifests/{pushed}"), &[], b"").unwrap();
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let collect = json!({ "mode": "remove" }).to_string();
                let headers = [("content-type", "application/json")];
                let path = "/api/v1/registry/collections";
                server.api_send("POST", path, &headers, collect.as_bytes()).unwrap();
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "other"]).unwrap();
                eyot.json(&["undeploy", "other"]).unwrap();
            }
        });
    });
}

/// A backup of a server at work is whole: restored elsewhere, everything is served under the same names.
fn everything_comes_back(site: Site, restored: Eyot) {
    let eyot = &site.world.eyot;
    let server = eyot.up_with(&[LEASE, "registry.immutable-tags=none"]).unwrap();
    eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let kept = push(&server, "acme/kept", "1.0.0", b"kept").unwrap();
    let token = eyot.json(&["token", "create", "me", "--role", "owner"]).unwrap();
    let expected = flower(&server);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| work(eyot, &server, &stop));
        let begun = blob_files(eyot.data()).len();
        wait_until("they are at work", || blob_files(eyot.data()).len() > begun + 3);
        for _ in 0..8 {
            let report = site.back_up();
            assert_eq!(report["missing_blobs"], json!([]), "{report:#}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    server.stop().unwrap();
    // It must not be looked for where it came from.
    std::fs::remove_dir_all(eyot.data()).unwrap();

    let report = restored.json(&["restore", text(&site.backup)]).unwrap();
    assert!(report["log_entries"].as_i64().unwrap() > 3, "{report:#}");
    let server = restored.up_with(&["registry.anonymous=pull"]).unwrap();
    assert_eq!(flower(&server), expected);
    assert!(pull_all(&restored, &server) >= 2);
    let tagged = server.api_get("/v2/acme/kept/manifests/1.0.0").unwrap();
    assert_eq!(Digest::of(&tagged.body), kept);
    let shown = format!("Bearer {}", token["secret"].as_str().unwrap());
    for (authorization, status) in [(shown.as_str(), 200), ("Bearer eyot_0", 401)] {
        let headers = [("authorization", authorization)];
        let answer = server.api_send("GET", "/api/v1/tokens", &headers, b"").unwrap();
        assert_eq!(answer.status, status);
    }
    let deployments = restored.json(&["deployments"]).unwrap();
    assert!(deployments.to_string().contains("\"iris\""), "{deployments:#}");
    restored.text(&["audit", "verify"]).unwrap();
    // It goes on as before.
    restored.json(&["deploy", text(&fixture("iris-forest")), "--name", "new"]).unwrap();
    server.stop().unwrap();
    assert_eq!(restored.json(&["verify"]).unwrap()["damaged"], json!([]));
    let index = std::fs::read_to_string(restored.data().join("registry/index.json")).unwrap();
    assert!(index.contains("acme/kept:1.0.0"), "{index}");
}

#[test]
fn of_a_server_at_work_everything_comes_back() {
    let site = Site::new(World::new());
    let restored = site.other("restored");
    everything_comes_back(site, restored);
}

#[test]
fn rows_of_sqlite_are_restored_into_postgres() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let site = Site::new(World::new());
    let restored = site.other("restored").with_setting(format!("storage.database={}", postgres.url("eyot")));
    everything_comes_back(site, restored);
}

#[test]
fn rows_of_postgres_are_restored_into_sqlite() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let site = Site::new(World::on_postgres(&postgres));
    let restored = site.other("restored");
    everything_comes_back(site, restored);
}

#[test]
fn a_second_backup_copies_what_is_new_and_forgets_what_is_gone() {
    let site = Site::new(World::new());
    let eyot = &site.world.eyot;
    let server = eyot.up_with(&[LEASE]).unwrap();
    push(&server, "acme/a", "1.0.0", &[1; 100_000]).unwrap();
    let first = site.back_up();
    assert_eq!((&first["copied_blobs"], &first["blobs"]), (&json!(2), &json!(2)), "{first:#}");
    assert_eq!(site.back_up()["copied_blobs"], json!(0));
    let pushed = push(&server, "acme/a", "2.0.0", &[2; 50_000]).unwrap();
    let third = site.back_up();
    assert_eq!((&third["copied_blobs"], &third["blobs"]), (&json!(2), &json!(4)), "{third:#}");
    let bytes = third["copied_bytes"].as_u64().unwrap();
    assert!((50_000..60_000).contains(&bytes), "{third:#}");
    server.stop().unwrap();

    // The same without a server.
    let server = eyot.up_with(&[LEASE]).unwrap();
    server.api_send("DELETE", &format!("/v2/acme/a/manifests/{pushed}"), &[], b"").unwrap();
    wait_until("the lease has ended", || eyot.json(&["gc"]).unwrap()["blobs"] == json!(2));
    server.stop().unwrap();
    let last = site.back_up();
    assert_eq!((&last["copied_blobs"], &last["blobs"]), (&json!(0), &json!(2)), "{last:#}");
    assert_eq!(blob_files(&site.backup).len(), 2);
    snapshot(&site.backup);
    assert!(!eyot.data().join("snapshot").exists(), "the data folder has no copy of the rows left");
    // What a backup holds can be hashed again like a data folder.
    let verified = site.world.eyot.json(&["verify", "--data", text(&site.backup)]).unwrap();
    assert_eq!(verified["checked"], json!(2));
}

/// `GET /api/v1/backup`, open until it is dropped.
struct HeldSnapshot {
    _stream: TcpStream,
}

impl HeldSnapshot {
    fn take(server: &Server) -> Self {
        let mut stream = TcpStream::connect(server.api.trim_start_matches("http://")).unwrap();
        stream.write_all(b"GET /api/v1/backup HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("event: snapshot")));
        Self { _stream: stream }
    }
}

#[test]
fn nothing_is_collected_while_it_is_copied() {
    let site = Site::new(World::new());
    let eyot = &site.world.eyot;
    let server = eyot.up_with(&[LEASE]).unwrap();
    let pushed = push(&server, "acme/a", "1.0.0", b"layer").unwrap();
    let held = HeldSnapshot::take(&server);
    assert!(eyot.data().join("snapshot/rows.db").is_file());
    server.api_send("DELETE", &format!("/v2/acme/a/manifests/{pushed}"), &[], b"").unwrap();
    wait_until("the lease has ended", || eyot.json(&["gc", "--dry-run"]).unwrap()["blobs"] == json!(2));
    assert_eq!(eyot.json(&["gc"]).unwrap()["blobs"], json!(0));
    assert_eq!(blob_files(eyot.data()).len(), 2);
    drop(held);
    wait_until("the server noticed", || eyot.json(&["gc"]).unwrap()["blobs"] == json!(2));
    assert!(!eyot.data().join("snapshot").exists());
}

#[test]
fn only_an_owner_makes_a_backup() {
    let world = World::new();
    let server = world.eyot.up_with(&["registry.anonymous=none"]).unwrap();
    assert_eq!(server.api_get("/api/v1/backup").unwrap().status, 401);
    let token = world.eyot.json(&["token", "create", "admin", "--role", "admin"]).unwrap();
    let shown = format!("Bearer {}", token["secret"].as_str().unwrap());
    let answer = server.api_send("GET", "/api/v1/backup", &[("authorization", &shown)], b"").unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(!world.eyot.data().join("snapshot").exists());
}

#[test]
fn what_components_keep_comes_back() {
    let site = Site::new(World::new());
    if !site.world.push("testing-stores") {
        return;
    }
    let granted =
        ["deploy", "testing-stores:0.1.0", "--name", "w", "--key-value", "default", "--sqlite", "default"];
    let server = site.world.up();
    site.world.eyot.json(&granted).unwrap();
    let ask = |server: &Server, path: &str, body: &str| {
        let answer = server.post(path, body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    };
    assert_eq!(ask(&server, "/w/set", "10 1000"), "10 keys");
    ask(&server, "/w/sql", "CREATE TABLE notes (text)");
    ask(&server, "/w/sql", "INSERT INTO notes VALUES ('kept')");
    let report = site.back_up();
    assert!(report["guest_files"].as_u64().unwrap() >= 2, "{report:#}");
    ask(&server, "/w/sql", "INSERT INTO notes VALUES ('later')");
    server.stop().unwrap();
    let restored = site.restored("restored");
    let server = restored.up().unwrap();
    assert_eq!(ask(&server, "/w/get", "10 1"), "10000 bytes");
    assert!(ask(&server, "/w/sql", "SELECT text FROM notes").starts_with("1 rows"));
}
