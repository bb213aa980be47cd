//! What people see first: names, formats and missing models explained, what each revision serves, a page at `/`.

use eyot_tests::fixture;
use serde_json::json;

use crate::world::{World, text};

/// What a command that succeeds prints, and says beside that.
fn said(world: &World, arguments: &[&str]) -> (String, String) {
    let output = world.eyot.command(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

#[test]
fn a_handler_without_the_model_that_it_opens_gets_no_requests() {
    let world = World::new();
    if !world.push("digits-image") {
        return;
    }
    let server = world.up();
    let refused = world.eyot.refused(&["deploy", "digits-image:0.1.0"]).unwrap();
    assert_eq!(refused.kind, "invalid", "{refused:?}");
    assert!(refused.message.contains("opens the model 'digits', which it was not granted"), "{refused:?}");
    assert!(refused.hint.contains("--model digits="), "{refused:?}");
    assert_eq!(world.eyot.json(&["deployments"]).unwrap(), json!([]), "nothing was written");

    let model = format!("digits={}", text(&fixture("digits")));
    world.eyot.json(&["deploy", "digits-image:0.1.0", "--model", &model]).unwrap();
    let other = format!("other={}", text(&fixture("digits")));
    for more in [&[][..], &["--no-traffic"]] {
        let arguments = [&["deploy", "digits-image:0.1.0", "--model", &other][..], more].concat();
        assert!(world.eyot.refused(&arguments).unwrap().message.contains("opens the model 'digits'"));
    }
    let revisions = world.eyot.json(&["traffic", "digits-image"]).unwrap();
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 1, "{revisions}");
    assert_eq!(server.get("/v2/models/digits-image/ready").unwrap().status, 200);
    server.stop().unwrap();
}

#[test]
fn what_each_revision_serves_is_shown_and_a_rollback_says_where_it_goes() {
    let world = World::new();
    let server = world.up();
    let deploy = |model: &str| {
        world.eyot.json(&["deploy", text(&fixture(model)), "--name", "a"]).unwrap();
    };
    deploy("add-fp32");
    deploy("center");
    let (shown, _) = said(&world, &["traffic", "a"]);
    assert!(shown.contains("add-fp32@sha256:") && shown.contains("center@sha256:"), "{shown}");
    said(&world, &["traffic", "a", "1=50", "2=50"]);
    let (shown, _) = said(&world, &["deployments"]);
    assert!(shown.contains("1: add-fp32@") && shown.contains("2: center@"), "{shown}");
    said(&world, &["traffic", "a", "2=100"]);
    said(&world, &["traffic", "a", "1=100"]);
    let (_, back) = said(&world, &["traffic", "a", "--rollback"]);
    assert!(back.contains("a goes forward again, from 1=100 to 2=100"), "{back}");
    let (_, again) = said(&world, &["traffic", "a", "--rollback"]);
    assert!(again.contains("a goes back from 2=100 to 1=100; another --rollback goes forward"), "{again}");
    server.stop().unwrap();
}

#[test]
fn what_cannot_be_deployed_is_explained_once() {
    let world = World::new();
    let pickle = world.write("m.pkl", b"\x80\x04.");
    let folder = text(world.dir.path()).to_owned();
    for (arguments, message, hint) in [
        (&["deploy", &pickle][..], "neither a model in ONNX (.onnx) nor a component (.wasm)", "skl2onnx"),
        (&["deploy", "absent.pkl"], "neither a model in ONNX", "skl2onnx"),
        (&["deploy", &folder], "is a folder", "eyot build"),
        (&["deploy", "nothing:1.0"], "there is no 'nothing:1.0' in the registry", "eyot ls"),
    ] {
        let refused = world.eyot.refused(arguments).unwrap();
        let whole = format!("{} {}", refused.message, refused.hint);
        assert!(refused.message.contains(message) && refused.hint.contains(hint), "{whole}");
        assert_eq!(whole.matches(message).count(), 1, "{whole}");
    }
    // Also where it is an argument, of which there is no more than a message.
    let rule = "1 to 128 lower-case letters, digits, '-', '_' or '.'";
    let model = text(&fixture("add-fp32")).to_owned();
    for arguments in [&["deploy", &model, "--name", "My Model"][..], &["undeploy", "My Model"]] {
        let output = world.eyot.command(arguments).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert_eq!(err.matches(rule).count(), 1, "{err}");
    }
    let file = world.dir.path().join("My Model.onnx");
    std::fs::copy(fixture("add-fp32"), &file).unwrap();
    let refused = world.eyot.refused(&["deploy", text(&file)]).unwrap();
    assert!(refused.message.contains(rule) && refused.hint.contains("--name"), "{refused:?}");
}

#[test]
fn the_control_plane_has_a_page_that_tells_nobodys_secrets() {
    let world = World::new();
    let server = world.eyot.up_with(&["registry.anonymous=none"]).unwrap();
    world.eyot.json(&["deploy", text(&fixture("add-fp32")), "--name", "secret-name"]).unwrap();
    let page = server.api_get("/").unwrap();
    assert_eq!((page.status, page.content_type.as_deref()), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let (page, port) = (page.text(), server.gateway.rsplit_once(':').unwrap().1);
    for wanted in ["<h1>Eyot", env!("CARGO_PKG_VERSION"), "/api/v1/deployments", &format!(":{port}/v2")] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
    assert!(!page.contains("secret-name"), "{page}");
    server.stop().unwrap();
}
