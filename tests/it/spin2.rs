//! What Spin 2's SDKs build: the package `fermyon:spin@2.0.0`.

use eyot_tests::{component, fixture};
use serde_json::json;

use crate::world::{World, text};

#[test]
fn stores_databases_and_variables_of_spin_2_are_those_of_today() {
    let world = World::new();
    if !world.push("testing-spin2") {
        return;
    }
    let server = world.up();
    let deploy = ["deploy", "testing-spin2:0.1.0", "--name", "s"];
    let granted = ["--key-value", "default", "--sqlite", "default", "--var", "greeting=hello"];
    let deployed = world.eyot.json(&[&deploy[..], &granted[..]].concat()).unwrap();
    assert_eq!(deployed["warnings"], json!(null), "{deployed:#}");
    let answer = server.post("/fn/s/run", "{}").unwrap();
    let expected = json!([
        "one",
        "[\"a\", \"b\"] true false",
        "no such store",
        "[\"n\", \"x\", \"s\", \"b\", \"z\"] [Value::Integer(7), Value::Real(0.5), Value::Text(\"é\"), Value::Blob([1, 2]), Value::Null]",
        "hello",
        "undefined",
        "no name",
    ]);
    assert_eq!((answer.status, answer.json()), (200, expected), "{}", answer.text());
    // Without grants it is deployed, told what is missing, and serves what needs none.
    let deployed = world.eyot.json(&["deploy", "testing-spin2:0.1.0", "--name", "bare"]).unwrap();
    let warnings = deployed["warnings"].as_array().unwrap();
    for (place, flag) in ["--key-value", "--sqlite"].iter().enumerate() {
        assert!(warnings[place].as_str().unwrap().contains(flag), "{deployed:#}");
    }
    assert_eq!(server.post("/fn/bare/idle", "{}").unwrap().json(), "idle at ");
    let refused = server.post("/fn/bare/run", "{}").unwrap();
    assert!(refused.status == 422 && refused.text().contains("NoSuchStore"), "{}", refused.text());
}

#[test]
fn what_eyot_toml_grants_is_granted() {
    let world = World::new();
    if !world.push("testing-spin2") {
        return;
    }
    let server = world.up();
    let written = "[component]\nname = \"testing-spin2\"\nversion = \"0.1.0\"\nlanguage = \"rust\"\n[component.grants]\n\
        key-value = [\"default\"]\nsqlite = [\"default\"]\nvariables = { greeting = \"hi\" }\nenvironment = { LEVEL = \"3\" }\n";
    let config = world.write("eyot.toml", written);
    let deploy = ["deploy", "testing-spin2:0.1.0", "--name", "s", "--config", &config];
    let deployed = world.eyot.json(&deploy).unwrap();
    assert_eq!(deployed["warnings"], json!(null), "{deployed:#}");
    let ask = |function: &str| server.post(&format!("/fn/s/{function}"), "{}").unwrap().json();
    assert_eq!((ask("run")[4].clone(), ask("idle")), (json!("hi"), json!("idle at 3")));
    let flags = ["--var", "greeting=hello", "--env", "LEVEL=4"];
    world.eyot.json(&[&deploy[..], &flags].concat()).unwrap();
    assert_eq!((ask("run")[4].clone(), ask("idle")), (json!("hello"), json!("idle at 4")));
    // Of a file, those of the folder that it was built in.
    let (dir, wasm) = (world.dir.path().join("project"), component("testing-spin2").unwrap());
    std::fs::create_dir_all(dir.join("build")).unwrap();
    std::fs::copy(wasm, dir.join("build/testing-spin2.wasm")).unwrap();
    std::fs::write(dir.join("eyot.toml"), written).unwrap();
    let file = dir.join("build/testing-spin2.wasm");
    world.eyot.json(&["deploy", text(&file), "--name", "s"]).unwrap();
    assert_eq!((ask("run")[4].clone(), ask("idle")), (json!("hi"), json!("idle at 3")));
    // Those of another component are not for this one.
    let other = world.write("other.toml", written.replace("testing-spin2", "another"));
    world.eyot.json(&["deploy", "testing-spin2:0.1.0", "--name", "s", "--config", &other]).unwrap();
    assert_eq!(ask("idle"), "idle at ");
}

#[test]
fn a_component_is_tested_with_what_its_eyot_toml_grants() {
    let Some(wasm) = component("digits-web") else { return };
    let world = World::new();
    let dir = world.dir.path().join("page");
    std::fs::create_dir_all(dir.join("build")).unwrap();
    std::fs::create_dir_all(dir.join("cases")).unwrap();
    std::fs::copy(wasm, dir.join("build/page.wasm")).unwrap();
    let written = "[component]\nname = \"page\"\nversion = \"0.1.0\"\nlanguage = \"c\"\n[component.grants]\n\
        variables = { greeting = \"Hi there\" }\n";
    std::fs::write(dir.join("eyot.toml"), written).unwrap();
    let case = json!({ "request": { "path": "/" }, "response": { "status": 200, "body": "Hi there\n" } });
    std::fs::write(dir.join("cases/greets.json"), case.to_string()).unwrap();
    let ended = world.eyot.json(&["test", text(&dir)]).unwrap();
    assert_eq!(ended[0]["passed"], true, "{ended:#}");
    let output = world.eyot.command(&["test", text(&dir), "--var", "greeting=Ho"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("expected"), "{output:?}");
}

#[test]
fn a_component_without_a_model_that_it_declares_is_refused() {
    let world = World::new();
    let model = format!("digits={}", text(&fixture("digits")));
    for name in ["testing-spin2", "digits-web", "digits-image"] {
        if !world.push(name) {
            return;
        }
        let of = |models: &str| {
            let component =
                format!("[component]\nname = \"{name}\"\nversion = \"0.1.0\"\nlanguage = \"rust\"\n");
            world.write("declares.toml", format!("{component}[component.grants]\nmodels = {models}\n"))
        };
        let source = format!("{name}:0.1.0");
        let declares = of(r#"["digits"]"#);
        let deploy = ["deploy", &source, "--config", &declares];
        let refused = world.eyot.refused(&deploy).unwrap();
        assert_eq!(refused.kind, "invalid", "{refused:?}");
        assert!(
            refused.message.contains("declares the model 'digits', which it was not granted"),
            "{refused:?}"
        );
        assert!(refused.hint.contains("--model digits="), "{refused:?}");
        let absent = of(r#"{ digits = "models:/digits@champion" }"#);
        let refused = world.eyot.refused(&["deploy", &source, "--config", &absent]).unwrap();
        assert_eq!(refused.kind, "not_found", "{refused:?}");
        assert_eq!(world.eyot.json(&["deployments"]).unwrap().as_array().unwrap().len(), 0, "{name}");
        of(r#"["digits"]"#);
        world.eyot.json(&[&deploy[..], &["--model", &model]].concat()).unwrap();
        world.eyot.json(&["undeploy", name]).unwrap();
    }
}

#[test]
fn what_a_component_declares_goes_with_it_into_the_registry() {
    let Some(wasm) = component("digits-web") else { return };
    let world = World::new();
    let dir = world.dir.path().join("page");
    std::fs::create_dir_all(dir.join("build")).unwrap();
    std::fs::copy(wasm, dir.join("build/page.wasm")).unwrap();
    let model = format!("digits={}", text(&fixture("digits")));
    let declared =
        "[component]\nname = \"page\"\nversion = \"0.1.0\"\nlanguage = \"c\"\n[component.grants]\n";
    for models in [r#"["digits"]"#, r#"{ digits = "models:/digits@champion" }"#] {
        std::fs::write(dir.join("eyot.toml"), format!("{declared}models = {models}\n")).unwrap();
        let file = dir.join("build/page.wasm");
        for pushed in [&["push", text(&dir)][..], &["push", text(&file), "--as", "page:0.1.0"]] {
            world.eyot.json(pushed).unwrap();
            // Whoever deploys it has no eyot.toml.
            let deploy = ["deploy", "page:0.1.0", "--name", "p"];
            let refused = world.eyot.refused(&deploy).unwrap();
            assert!(
                refused
                    .message
                    .contains("'page:0.1.0' declares the model 'digits', which it was not granted"),
                "{refused:?}"
            );
            assert!(refused.kind == "invalid" && refused.hint.contains("--model digits="), "{refused:?}");
            world.eyot.json(&[&deploy[..], &["--model", &model]].concat()).unwrap();
            world.eyot.json(&["undeploy", "p"]).unwrap();
        }
    }
}
