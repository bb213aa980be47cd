//! The command line as an interface.

use eyot_tests::fixture;
use serde_json::json;

use crate::world::{World, text};

/// Every command there is, as the help lists them.
fn commands(world: &World) -> Vec<String> {
    let help = world.eyot.text(&["--help"]).unwrap();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_says_what_it_does_and_shows_an_example() {
    let world = World::new();
    let commands = commands(&world);
    for wanted in [
        "up",
        "build",
        "push",
        "ls",
        "inspect",
        "deploy",
        "undeploy",
        "deployments",
        "run",
        "runs",
        "predict",
        "doctor",
        "backend",
        "config",
        "version",
    ] {
        assert!(commands.iter().any(|command| command == wanted), "{wanted} is not in {commands:?}");
    }
    for command in commands {
        let help = world.eyot.text(&[&command, "--help"]).unwrap();
        assert!(help.contains(&format!("eyot {command}")) && help.contains("Example"), "{command}: {help}");
        assert!(help.contains("--json"), "{command}");
    }
}

#[test]
fn exit_codes_tell_the_kind() {
    let world = World::new();
    for (arguments, code) in [
        (vec!["version"], 0),
        (vec!["no-such-command"], 2),
        (vec!["ls", "--no-such-flag"], 2),
        (vec!["config", "--set", "x.y=1"], 2),
        (vec!["inspect", "absent:1"], 3),
        (vec!["run", "absent.toml"], 3),
        (vec!["predict", "absent", "{}"], 8),
        (vec!["push", "/dev/null"], 2),
    ] {
        let output = world.eyot.command(&arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(code == 0 || output.stdout.is_empty(), "{arguments:?}: errors go to stderr");
    }
}

#[test]
fn a_reader_that_has_had_enough_ends_a_command_without_a_word() {
    let world = World::new();
    for arguments in [&["config", "--defaults"][..], &["config", "--schema"], &["--json", "doctor"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.eyot.command(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(128 + 13), ""), "{arguments:?}");
    }
}

#[test]
fn settings_win_in_the_order_file_environment_flag() {
    let world = World::new();
    let file = world.write("eyot.toml", "[gateway]\nqueue = 1\nconcurrency = 1\ndrain = \"1s\"\n");
    let arguments = ["config", "--json", "--config", &file, "--set", "gateway.queue=3"];
    let mut command = world.eyot.command(&arguments);
    let output =
        command.env("EYOT_GATEWAY__QUEUE", "2").env("EYOT_GATEWAY__CONCURRENCY", "2").output().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let gateway = &config["gateway"];
    assert_eq!(
        (&gateway["queue"], &gateway["concurrency"], &gateway["drain"]),
        (&json!(3), &json!(2), &json!("1s"))
    );
    // What is printed is a file that reads back.
    let printed = world.eyot.text(&["config", "--config", &file]).unwrap();
    let again = world.write("again.toml", &printed);
    assert_eq!(world.eyot.text(&["config", "--config", &again]).unwrap(), printed);
}

#[test]
fn a_model_is_inspected_deployed_and_asked_from_the_shell() {
    let world = World::new();
    let iris = fixture("iris-forest");
    let report = world.eyot.json(&["inspect", text(&iris)]).unwrap();
    assert_eq!(report["signature"]["inputs"], json!([{ "name": "X", "datatype": "FP32", "shape": [-1, 4] }]));
    let server = world.up();
    let said = world.eyot.text(&["deploy", text(&iris), "--name", "iris"]).unwrap();
    assert!(said.contains(&format!("POST {}/v2/models/iris/infer", server.gateway)), "{said}");
    let request =
        r#"{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}"#;
    let answer = world.eyot.text(&["predict", "iris", request]).unwrap();
    assert!(answer.starts_with("label INT64[1] = [0]"), "{answer}");
    let refused = world.eyot.refused(&["predict", "iris", "{}"]).unwrap();
    assert_eq!((refused.kind.as_str(), refused.code), ("invalid", 2));
    assert!(world.eyot.text(&["undeploy", "iris"]).unwrap().contains("no longer serves"));
    assert_eq!(server.get("/v2/models/iris").unwrap().status, 404);
    let ls = world.eyot.text(&["ls"]).unwrap();
    assert!(ls.starts_with("NAME") && ls.contains("model"), "{ls}");
}

#[test]
fn doctor_says_what_is_there_and_what_is_missing() {
    let world = World::new();
    let findings = world.eyot.json(&["doctor", "--set", "inference.backend=tract"]).unwrap();
    let finding =
        |name: &str| findings.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!(finding("data folder")["state"], "good");
    assert_eq!(
        (&finding("server")["state"], &finding("server")["hint"]),
        (&json!("missing"), &json!("eyot up starts one"))
    );
    assert!(finding("wasm engine")["found"].as_str().unwrap().contains("wasmtime"));
    assert!(finding("inference")["found"].as_str().unwrap().starts_with("tract"));
    let _server = world.up();
    let findings = world.eyot.json(&["doctor"]).unwrap();
    assert_eq!(
        findings.as_array().unwrap().iter().find(|one| one["name"] == "server").unwrap()["state"],
        "good"
    );
}
