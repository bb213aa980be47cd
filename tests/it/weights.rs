//! Models whose weights lie in a file beside them: one artifact of several layers, and nothing else is ever read.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::Digest;
use eyot_tests::{Server, fixture, path, program};
use serde_json::{Value, json};

use crate::world::{World, text};

const DATA: &str = "beside.onnx.data";

/// A folder with the model and what lies beside it.
fn folder(world: &World, name: &str, files: &[&str]) -> PathBuf {
    let dir = world.dir.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    for file in files {
        std::fs::copy(path("tests/fixtures/onnx").join(file), dir.join(file)).unwrap();
    }
    dir
}

fn both(world: &World, name: &str) -> PathBuf {
    folder(world, name, &["beside.onnx", DATA])
}

fn answer(server: &Server, name: &str) -> Value {
    let x: Vec<i64> = (0..260).map(|at| at * 7 % 13 - 6).collect();
    let request = json!({ "inputs": [{ "name": "x", "datatype": "FP32", "shape": [2, 130], "data": x }] });
    let answer = server.post(&format!("/v2/models/{name}/infer"), request.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["outputs"].clone()
}

#[test]
fn a_model_and_its_weights_are_one_artifact() {
    let world = World::new();
    let server = world.up();
    let dir = both(&world, "bert");
    let file = dir.join("beside.onnx");
    world.eyot.json(&["deploy", text(&fixture("inside")), "--name", "inside"]).unwrap();
    let expected = answer(&server, "inside");
    assert!(expected[0]["data"].as_array().unwrap().iter().any(|number| *number != json!(0.0)));
    // The file, its folder, and what was pushed before, on every back end.
    for (name, source, options) in [
        ("file", text(&file), &[][..]),
        ("tract", text(&file), &["--backend", "tract"]),
        ("openvino", text(&dir), &["--backend", "openvino"]),
    ] {
        world.eyot.json(&[&["deploy", source, "--name", name], options].concat()).unwrap();
        assert_eq!(answer(&server, name), expected, "{name}");
    }
    let deployed = world.eyot.json(&["deploy", text(&dir)]).unwrap();
    assert_eq!(deployed["name"], "bert");
    let pushed = world.eyot.json(&["push", text(&dir), "--as", "acme/bert:1"]).unwrap();
    let size = |name: &str| std::fs::metadata(dir.join(name)).unwrap().len();
    assert_eq!(pushed["size"], size("beside.onnx") + size(DATA));
    world.eyot.json(&["deploy", "acme/bert:1", "--name", "pushed"]).unwrap();
    assert_eq!(answer(&server, "pushed"), expected);

    // Strangers see layers with names, and write files under them.
    let manifest = server.api_get("/v2/acme/bert/manifests/1").unwrap().json();
    let layers = manifest["layers"].as_array().unwrap();
    let titles: Vec<_> =
        layers.iter().map(|layer| &layer["annotations"]["org.opencontainers.image.title"]).collect();
    assert_eq!(titles, ["beside.onnx", DATA]);
    let pulled = world.dir.path().join("pulled");
    world.eyot.json(&["pull", "acme/bert:1", text(&pulled)]).unwrap();
    for name in ["beside.onnx", DATA] {
        assert_eq!(std::fs::read(pulled.join(name)).unwrap(), std::fs::read(dir.join(name)).unwrap());
    }
    for source in ["acme/bert:1", text(&dir), text(&file)] {
        let shown = world.eyot.json(&["inspect", source]).unwrap();
        assert_eq!(shown["signature"]["inputs"][0]["shape"], json!([-1, 130]), "{source}: {shown}");
    }

    // What serves stays, whatever becomes of the manifest, over a restart too.
    let digest = pushed["digest"].as_str().unwrap();
    assert_eq!(server.api_delete(&format!("/v2/acme/bert/manifests/{digest}")).unwrap().status, 202);
    world.eyot.json(&["gc"]).unwrap();
    let pins = world.eyot.data().join("registry/pins");
    for layer in layers {
        let digest = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
        assert!(std::fs::read_dir(pins.join(digest)).unwrap().count() > 0, "{layer} may be collected");
    }
    server.stop().unwrap();
    let server = world.up();
    assert_eq!(answer(&server, "pushed"), expected);
    server.stop().unwrap();
}

#[test]
fn skopeo_copies_a_model_with_its_weights() {
    let Some(skopeo) = program("skopeo") else { return };
    let world = World::new();
    let server = world.up();
    let dir = both(&world, "model");
    world.eyot.json(&["push", text(&dir), "--as", "acme/bert:1"]).unwrap();
    let registry = server.api.trim_start_matches("http://").replace("127.0.0.1", "localhost");
    let copy = |from: &str, into: &str, plain: &[&str]| {
        let done = Command::new(&skopeo)
            .args(["copy", "--insecure-policy"])
            .args(plain)
            .args([from, into])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let layout = format!("oci:{}:1", text(&world.dir.path().join("layout")));
    copy(&format!("docker://{registry}/acme/bert:1"), &layout, &["--src-tls-verify=false"]);
    copy(&layout, &format!("docker://{registry}/acme/copied:1"), &["--dest-tls-verify=false"]);
    world.eyot.json(&["deploy", "acme/copied:1", "--name", "copied"]).unwrap();
    world.eyot.json(&["deploy", text(&fixture("inside")), "--name", "inside"]).unwrap();
    assert_eq!(answer(&server, "copied"), answer(&server, "inside"));
    server.stop().unwrap();
}

#[test]
fn weights_that_do_not_lie_beside_the_model_are_named() {
    let world = World::new();
    let alone = folder(&world, "alone", &["beside.onnx"]).join("beside.onnx");
    let linked = folder(&world, "linked", &["beside.onnx"]);
    std::os::unix::fs::symlink(path("tests/fixtures/onnx").join(DATA), linked.join(DATA)).unwrap();
    let short = both(&world, "short");
    let data = std::fs::read(short.join(DATA)).unwrap();
    std::fs::write(short.join(DATA), &data[..data.len() - 4]).unwrap();
    let renamed = folder(&world, "renamed", &["beside.onnx"]);
    std::fs::write(renamed.join("Beside.onnx.data"), &data).unwrap();
    for (source, kind, says, hint) in [
        (alone.as_path(), "not_found", "no such file beside it", "put 'beside.onnx.data' beside the model"),
        (&linked.join("beside.onnx"), "invalid", "a symbolic link", "cp -L"),
        (&short, "invalid", "ends behind the last byte in the file 'beside.onnx.data'", "written with it"),
        (&renamed.join("beside.onnx"), "not_found", "no such file beside it", "put 'beside.onnx.data'"),
    ] {
        for command in ["push", "deploy"] {
            let refused = world.eyot.refused(&[command, text(source)]).unwrap();
            assert_eq!(refused.kind, kind, "{command} {}: {}", source.display(), refused.message);
            assert!(refused.message.contains(says), "{command}: {}", refused.message);
            assert!(refused.hint.contains(hint), "{command}: {}", refused.hint);
        }
    }
    assert_eq!(world.eyot.json(&["ls"]).unwrap(), json!([]));
}

/// A manifest as a stranger writes it: its layers are files of any names.
fn push_by_hand(server: &Server, tag: &str, layers: &[(&str, &Path)]) -> u16 {
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        let target = format!("/v2/hostile/model/blobs/uploads/?digest={digest}");
        let answer = server.api_send("POST", &target, &[], bytes).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        json!({ "digest": digest.to_string(), "size": bytes.len() })
    };
    let mut config = blob(b"{}");
    config["mediaType"] = json!("application/vnd.cncf.model.config.v1+json");
    let layer = |(name, file): &(&str, &Path)| {
        let mut layer = blob(&std::fs::read(file).unwrap());
        layer["mediaType"] = json!("application/vnd.cncf.model.weight.v1.raw");
        layer["annotations"] = json!({ "org.opencontainers.image.title": name });
        layer
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": config,
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    let kind = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
    let target = format!("/v2/hostile/model/manifests/{tag}");
    server.api_send("PUT", &target, &kind, manifest.to_string().as_bytes()).unwrap().status
}

/// Whatever the layers are called, a model gets the bytes of the one that it names, or nothing.
#[test]
fn layers_are_files_only_under_their_own_plain_names() {
    let world = World::new();
    let server = world.up();
    let onnx = fixture("beside");
    let data = path("tests/fixtures/onnx").join(DATA);
    let other = fixture("inside");
    for (tag, layers, says) in [
        (
            "twice",
            vec![("m.onnx", onnx.as_path()), (DATA, &data), (DATA, &other)],
            "two layers of the model are called",
        ),
        ("like-the-model", vec![(DATA, onnx.as_path()), (DATA, &data)], "two layers of the model are called"),
        ("case", vec![("m.onnx", onnx.as_path()), ("Beside.onnx.data", &data)], "'beside.onnx.data'"),
        ("below", vec![("m.onnx", onnx.as_path()), ("dir/beside.onnx.data", &data)], "'beside.onnx.data'"),
        ("other", vec![("m.onnx", onnx.as_path()), (DATA, &onnx)], "ends behind the last byte"),
        ("none", vec![("m.onnx", onnx.as_path())], "'beside.onnx.data'"),
    ] {
        assert_eq!(push_by_hand(&server, tag, &layers), 201, "{tag}");
        let refused =
            world.eyot.refused(&["deploy", &format!("hostile/model:{tag}"), "--name", tag]).unwrap();
        assert!(refused.message.contains(says), "{tag}: {}", refused.message);
    }
    // In any order, and with files that the model does not name.
    let good = [("LICENSE", other.as_path()), (DATA, &data), ("m.onnx", &onnx)];
    assert_eq!(push_by_hand(&server, "good", &good), 201);
    world.eyot.json(&["deploy", "hostile/model:good", "--name", "good"]).unwrap();
    world.eyot.json(&["deploy", text(&fixture("inside")), "--name", "inside"]).unwrap();
    assert_eq!(answer(&server, "good"), answer(&server, "inside"));
    server.stop().unwrap();
}
