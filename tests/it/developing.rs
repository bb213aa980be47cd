//! What a developer does all day: change, build, swap, call, look.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eyot_tests::{Dev, Server};
use serde_json::{Value, json};

use crate::world::{World, text};

/// A function in C: it builds in a fraction of a second, and prints what it was asked.
fn project(world: &World, name: &str) -> std::path::PathBuf {
    let dir = world.dir.path().join(name);
    world.eyot.json(&["new", "--lang", "c", "--kind", "function", name, "--dir", text(&dir)]).unwrap();
    let source = std::fs::read_to_string(dir.join("function.c")).unwrap();
    let printing = source.replace(
        "double sum = 0,",
        "fprintf(stderr, \"asked for %zu\\n\", values->len);\n    double sum = 0,",
    );
    assert_ne!(source, printing);
    std::fs::write(dir.join("function.c"), printing).unwrap();
    dir
}

fn deviation(server: &Server) -> (u16, Value) {
    let answer = server.post("/fn/sums/summarize", r#"{"values": [1, 3]}"#).unwrap();
    (answer.status, answer.json()["deviation"].clone())
}

#[test]
fn a_change_is_built_and_swapped_and_no_request_is_dropped() {
    let world = World::new();
    let server = world.up();
    let dir = project(&world, "sums");
    let mut dev = Dev::start(&world.eyot, &dir).unwrap();
    assert_eq!(dev.round().unwrap()["revision"], 1);
    assert_eq!(deviation(&server), (200, json!(1.0)));

    let over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (asking, server) = (over.clone(), &server);
        let asked = scope.spawn(move || {
            let mut answers = Vec::new();
            while !asking.load(Ordering::Relaxed) {
                answers.push(deviation(server));
            }
            answers
        });
        let source = std::fs::read_to_string(dir.join("function.c")).unwrap();
        for factor in 2..5 {
            let changed = source.replace("= sqrt(", &format!("= {factor} * sqrt("));
            std::fs::write(dir.join("function.c"), changed).unwrap();
            assert_eq!(dev.round().unwrap()["revision"], factor);
            assert_eq!(deviation(server), (200, json!(f64::from(factor))));
        }
        // What does not build changes nothing, and the next change is built again.
        std::fs::write(dir.join("function.c"), "this is no C").unwrap();
        let mut said = BufReader::new(dev.said().unwrap());
        let mut problem = String::new();
        while !problem.contains("does not build") {
            assert_ne!(said.read_line(&mut problem).unwrap(), 0, "{problem}");
        }
        assert_eq!(deviation(server), (200, json!(4.0)));
        std::fs::write(dir.join("function.c"), &source).unwrap();
        assert_eq!(dev.round().unwrap()["revision"], 5);
        over.store(true, Ordering::Relaxed);
        let answers = asked.join().unwrap();
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    });
}

#[test]
fn dev_is_a_server_where_none_runs_and_lets_go_of_the_folder_when_killed() {
    let world = World::new();
    let dir = project(&world, "sums");
    let settings = ["--set", "api.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
    let mut command = world.eyot.command(&["dev", text(&dir), "--json"]);
    let mut child = command.args(settings).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"revision\":1"), "{line}");
    assert_eq!(world.eyot.json(&["deployments"]).unwrap()[0]["name"], "sums");
    child.kill().unwrap();
    child.wait().unwrap();
    // The next server takes the folder, with what was deployed.
    let server = world.up();
    assert_eq!(deviation(&server), (200, json!(1.0)));
}

#[test]
fn logs_are_shown_by_deployment_and_followed() {
    let world = World::new();
    let server = world.up();
    let dir = project(&world, "sums");
    world.eyot.json(&["build", text(&dir)]).unwrap();
    world.eyot.json(&["push", text(&dir)]).unwrap();
    world.eyot.json(&["deploy", "sums:0.1.0"]).unwrap();
    assert_eq!(world.eyot.text(&["logs", "sums"]).unwrap(), "");
    deviation(&server);
    let shown = world.eyot.text(&["logs", "sums"]).unwrap();
    assert!(shown.ends_with(" stderr asked for 2\n") && shown.lines().count() == 1, "{shown}");

    let mut command = world.eyot.command(&["logs", "sums", "-f", "--tail", "1", "--json"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["line"], "asked for 2");
    server.post("/fn/sums/summarize", r#"{"values": [1, 2, 3]}"#).unwrap();
    let line = next();
    assert_eq!(
        (&line["line"], &line["stream"], &line["revision"]),
        (&json!("asked for 3"), &json!("stderr"), &json!(1))
    );
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!(world.eyot.refused(&["logs", "nothing"]).unwrap().kind, "not_found");
}

#[test]
fn any_function_is_called_from_the_shell() {
    let world = World::new();
    let dir = project(&world, "sums");
    world.eyot.json(&["build", text(&dir)]).unwrap();
    let folder = text(&dir);
    fn call<'a>(folder: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["invoke", folder], arguments].concat()
    }
    let expected = json!({ "count": 2, "mean": 2.0, "deviation": 1.0 });
    assert_eq!(world.eyot.json(&call(folder, &["summarize", "values=[1, 3]"])).unwrap(), expected);
    let full = "eyot:component/functions#summarize";
    assert_eq!(world.eyot.json(&call(folder, &[full, "[1, 3]"])).unwrap(), expected);
    for (arguments, says) in [
        (&["summarize", "values=[]"][..], "there are no values"),
        (&["summarize", "values=[\"x\"]"], "at [0]: expected f64, found \"x\""),
        (&["summarize", "values=many"], "'many' for 'values' is no JSON"),
        (&["summarize", "valeus=[1]"], "'valeus=[1]' fits no parameter"),
        (&["sumarize"], "the component exports no function 'sumarize'"),
        (&[], "no function is named"),
    ] {
        let refused = world.eyot.refused(&call(folder, arguments)).unwrap();
        assert!(refused.message.contains(says), "{arguments:?}: {}", refused.message);
    }
    let refused = world.eyot.refused(&["invoke", "nowhere.wasm", "f"]).unwrap();
    assert!(refused.message.contains("cannot read nowhere.wasm"), "{}", refused.message);
}

#[test]
fn a_component_says_who_provides_what_it_imports() {
    let world = World::new();
    let dir = project(&world, "sums");
    world.eyot.json(&["build", text(&dir)]).unwrap();
    world.eyot.json(&["push", text(&dir)]).unwrap();
    let described = world.eyot.json(&["inspect", "sums:0.1.0"]).unwrap();
    assert_eq!(described["functions"][0]["name"], "eyot:component/functions#summarize");
    assert_eq!(described["registry"]["signatures"], json!([]));
    let provided = described["provided"].as_array().unwrap();
    assert!(
        !provided.is_empty() && provided.iter().all(|import| !import["provider"].is_null()),
        "{provided:#?}"
    );

    // An import that nobody offers is named when the component is built.
    let wit = std::fs::read_to_string(dir.join("component.wit")).unwrap();
    let lacking = wit.replace(
        "world component {",
        "interface oracle { ask: func() -> u32; }\n\nworld component {\n    import oracle;",
    );
    std::fs::write(dir.join("component.wit"), lacking).unwrap();
    let source = std::fs::read_to_string(dir.join("function.c")).unwrap();
    std::fs::write(
        dir.join("function.c"),
        source.replace("double sum = 0,", "double sum = eyot_component_oracle_ask(),"),
    )
    .unwrap();
    let mut build = world.eyot.command(&["build", text(&dir), "--json"]);
    let output = build.output().unwrap();
    let built: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(built[0]["missing"], json!(["eyot:component/oracle"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("sums imports what this host does not offer: eyot:component/oracle"), "{said}");
}

#[test]
fn the_schema_of_eyot_toml_is_printed() {
    let world = World::new();
    let schema = world.eyot.json(&["config", "--schema"]).unwrap();
    let file = eyot_tests::path("host/core/eyot.schema.json");
    let published: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(schema, published);
    let languages = &schema["$defs"]["Language"];
    assert!(languages.to_string().contains("\"typescript\""), "{languages}");
}
