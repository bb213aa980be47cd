//! Policies, quotas and data sets, by the commands that a user has.

use eyot_tests::fixture;
use serde_json::json;

use crate::world::{World, text};

#[test]
fn nothing_unsigned_is_tagged_or_deployed_where_a_policy_says_so() {
    let world = World::new();
    let model = fixture("digits");
    let (model, key) = (text(&model), world.dir.path().join("release"));
    world.eyot.json(&["key", "generate", text(&key)]).unwrap();
    let (private, public) = (format!("{}.key", text(&key)), format!("{}.pub", text(&key)));
    let unsigned = world.eyot.json(&["push", model, "--as", "acme/digits:0.9.0"]).unwrap();
    world.eyot.json(&["policy", "set", "acme/*", "--key", &public]).unwrap();
    assert_eq!(world.eyot.json(&["policy", "show"]).unwrap()[0]["require"][0]["threshold"], 1);

    let digest = unsigned["digest"].as_str().unwrap();
    let by_digest = format!("acme/digits@{digest}");
    for arguments in [
        &["push", model, "--as", "acme/digits:1.0.0"][..],
        &["deploy", "acme/digits:0.9.0"],
        &["deploy", &by_digest, "--name", "digits"],
    ] {
        let refused = world.eyot.refused(arguments).unwrap();
        assert_eq!(refused.kind, "denied", "{arguments:?}: {refused:?}");
        for says in ["the policy for 'acme/*' wants 1 of 1 keys", digest] {
            assert!(refused.message.contains(says), "{arguments:?}: {refused:?}");
        }
        assert!(refused.hint.contains("eyot sign"), "{refused:?}");
    }
    world.eyot.json(&["push", model, "--as", "acme/digits:1.0.0", "--key", &private]).unwrap();
    let server = world.up();
    world.eyot.json(&["deploy", "acme/digits:1.0.0", "--name", "digits"]).unwrap();
    server.stop().unwrap();

    let wrong =
        world.eyot.refused(&["policy", "set", "acme/*", "--key", &public, "--threshold", "2"]).unwrap();
    assert!(wrong.kind == "invalid" && wrong.message.contains("wants 2 of 1 different keys"), "{wrong:?}");
    world.eyot.json(&["policy", "remove", "acme/*"]).unwrap();
    world.eyot.json(&["push", model, "--as", "acme/digits:1.1.0"]).unwrap();
    world.eyot.text(&["audit", "verify"]).unwrap();
}

#[test]
fn a_data_set_travels_as_what_changed_and_a_project_has_its_limit() {
    let world = World::new();
    let rows = world.dir.path().join("rows");
    std::fs::create_dir_all(rows.join("2026")).unwrap();
    std::fs::write(rows.join("2026/a.csv"), "1,2\n").unwrap();
    std::fs::write(rows.join("b.csv"), "3,4\n").unwrap();
    let push = |tag: &str, more: &[&str]| {
        let name = format!("acme/rows:{tag}");
        world.eyot.json(&[&["push", text(&rows), "--as", &name], more].concat())
    };
    let first = push("1", &[]).unwrap();
    assert_eq!((&first["files"], &first["travelled"]), (&json!(2), &json!(8)));
    std::fs::write(rows.join("b.csv"), "3,5\n").unwrap();
    assert_eq!(push("2", &["--since", "acme/rows:1"]).unwrap()["travelled"], 4);

    let out = world.dir.path().join("out");
    world.eyot.json(&["pull", "acme/rows:1", text(&out)]).unwrap();
    let pulled = world.eyot.json(&["pull", "acme/rows:2", text(&out)]).unwrap();
    assert_eq!(pulled["travelled"], 4);
    assert_eq!(std::fs::read_to_string(out.join("b.csv")).unwrap(), "3,5\n");
    assert_eq!(std::fs::read_to_string(out.join("2026/a.csv")).unwrap(), "1,2\n");
    let refused = world.eyot.refused(&["push", text(&rows)]).unwrap();
    assert!(refused.hint.contains("--as NAME:TAG"), "{refused:?}");

    let limit =
        world.write("limited.toml", "[[registry.quota]]\nrepository = \"acme/*\"\nsize = \"4 KiB\"\n");
    let usage = world.eyot.json(&["ls", "--usage", "--config", &limit]).unwrap();
    assert_eq!((&usage[0]["limit"], &usage[0]["repository"]), (&json!(4096), &json!("acme/*")));
    std::fs::write(rows.join("large.bin"), vec![7; 8192]).unwrap();
    let name = ["push", text(&rows), "--as", "acme/rows:3", "--config", limit.as_str()];
    let refused = world.eyot.refused(&name).unwrap();
    assert!(refused.kind == "full" && refused.message.contains("acme/rows is full"), "{refused:?}");
}

#[test]
fn a_run_attests_the_model_that_it_made() {
    let world = World::new();
    if !world.push("digits-steps") {
        return;
    }
    let run = world.digits();
    let id = run["id"].as_str().unwrap();
    let key = world.dir.path().join("builder");
    world.eyot.json(&["key", "generate", text(&key)]).unwrap();
    let (private, public) = (format!("{}.key", text(&key)), format!("{}.pub", text(&key)));
    let model = world.eyot.json(&["models"]).unwrap();
    let name = model[0]["name"].as_str().unwrap().to_owned();
    let versions = world.eyot.json(&["models", &name]).unwrap();
    let source = versions["versions"][0]["source"].as_str().unwrap();
    let signed = world.eyot.json(&["sign", source, "--key", &private, "--provenance", id]).unwrap();
    assert_eq!(signed["predicate_type"], "https://slsa.dev/provenance/v1");
    world.eyot.json(&["verify", source, "--key", &public]).unwrap();

    let steps = "digits-steps:0.1.0";
    let refused = world.eyot.refused(&["sign", steps, "--key", &private, "--provenance", id]).unwrap();
    assert!(refused.message.contains("did not make"), "{refused:?}");
    let signed = world.eyot.json(&["sign", steps, "--key", &private, "--sbom"]).unwrap();
    assert_eq!(signed["predicate_type"], "https://cyclonedx.org/bom");
    let refused = world.eyot.refused(&["sign", source, "--key", &private, "--sbom"]).unwrap();
    assert!(refused.message.contains("no wasm component"), "{refused:?}");
}
