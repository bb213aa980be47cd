//! Programs as `eyot invoke` runs them, and the runner of the public tests of WASI.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use eyot_tests::{component, path};
use serde_json::json;

use crate::world::{World, step, text};

/// Runs a program; what it is given on its input ends.
fn run(world: &World, arguments: &[&str], input: &str) -> Output {
    let mut command = world.eyot.command(&[&["invoke"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.env("FROM_HERE", "here").spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn a_program_has_arguments_environment_streams_and_a_status() {
    let Some(program) = component("testing-program") else { return };
    let (world, program) = (World::new(), text(&program));
    let given = ["--env", "LEVEL=3", "--env", "FROM_HERE", "--env", "NOT_SET", "--arg", "say", "--arg", "-x"];
    let output = run(&world, &[&given[..], &[program, "--", "--verbose", "a b"]].concat(), "");
    let whole = "testing-program.wasm say -x --verbose a b\nLEVEL=3\nFROM_HERE=here\n";
    assert_eq!(said(&output), (whole.to_owned(), String::new(), Some(0)));
    let output = run(&world, &[program, "echo"], "one\ntwo, and no end");
    assert_eq!(
        said(&output),
        ("one\ntwo, and no end".to_owned(), "one\ntwo, and no end".to_owned(), Some(0))
    );
    let Some(module) = component("testing-program1") else { return };
    for (arguments, status) in
        [(&["exit", "0"][..], 0), (&["exit", "7"], 7), (&["nothing"], 1), (&["panic"], 134)]
    {
        let output = run(&world, &[&[text(&module)], arguments].concat(), "");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
        // A component of WASI 0.2 can say no more than that it failed.
        let output = run(&world, &[&[program], arguments].concat(), "");
        let status = if status == 7 { 1 } else { status };
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    }
    let refused = world.eyot.refused(&[
        "invoke",
        text(&component("testing-echo").unwrap()),
        "maybe",
        "value=3",
        "--real",
    ]);
    assert!(refused.unwrap().message.contains("are for programs"));
}

#[test]
fn a_program_has_the_folders_and_the_world_that_it_was_given_and_no_other() {
    let Some(program) = component("testing-program") else { return };
    let (world, program) = (World::new(), text(&program));
    let folder = world.dir.path().join("data");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rows.csv"), "name\n").unwrap();
    let (dir, copy) = (format!("{}::/data", text(&folder)), ["copy", "/data/rows.csv", "/data/copy.csv"]);
    for options in [&[][..], &["--real"]] {
        let output = run(&world, &[&["--dir", &dir], options, &[program], &copy].concat(), "");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(std::fs::read_to_string(folder.join("copy.csv")).unwrap(), "name\n");
        std::fs::remove_file(folder.join("copy.csv")).unwrap();
        let output = run(&world, &[options, &[program], &copy].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    let missing = world.eyot.refused(&["invoke", program, "say", "--dir", "not-there::/x"]).unwrap();
    assert!(missing.message.contains("not-there") && missing.hint.contains("--dir"), "{missing:?}");
    // A step's clock, or the machine's.
    let (standing, ..) = said(&run(&world, &[program, "time"], ""));
    assert_eq!(standing, "946684800\n");
    let (real, ..) = said(&run(&world, &["--real", program, "time"], ""));
    assert!(real.trim().parse::<u64>().unwrap() > 1_700_000_000, "{real}");
    // Sockets are a grant of their own.
    for options in [&[][..], &["--real"]] {
        let output = run(&world, &[options, &[program, "serve"]].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
}

#[test]
fn a_command_of_a_pipeline_has_the_environment_that_the_pipeline_says() {
    let world = World::new();
    if !world.push("testing-program") {
        return;
    }
    let source = "[pipeline]\nname = \"say\"\n[steps.say]\ncomponent = \"testing-program:0.1.0\"\n\
        with = { level = 3, other = \"x\" }\nargs = [\"say\"]\nenv = { LEVEL = \"4\", MODE = \"fast\" }\n";
    let file = world.write("pipeline.toml", source);
    let output = world.eyot.command(&["run", &file]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}");
    for (line, there) in [("OTHER=x", true), ("LEVEL=4", true), ("LEVEL=3", false), ("MODE=fast", true)] {
        assert_eq!(shown.contains(line), there, "{line}: {shown}");
    }
    // Another environment is another step.
    let run =
        world.eyot.json(&["run", &world.write("pipeline.toml", source.replace("fast", "slow"))]).unwrap();
    assert_eq!(step(&run, "say")["status"], "succeeded");
    let again = world.eyot.json(&["run", &file]).unwrap();
    assert_eq!(step(&again, "say")["status"], "cached", "{again:#}");
}

#[test]
fn a_folder_is_removed_with_a_slash_at_its_end_and_a_file_is_not() {
    let parts = ["testing-program", "testing-program1", "testing-program3"].map(component);
    let [Some(second), Some(first), Some(third)] = parts else { return };
    let world = World::new();
    let folder = world.dir.path().join("data");
    let dir = format!("{}::/data", text(&folder));
    for (program, below) in [(&second, "/data/"), (&first, "/data/"), (&third, "")] {
        for options in [&[][..], &["--real"]] {
            std::fs::create_dir_all(folder.join("folder")).unwrap();
            std::fs::write(folder.join("file"), "").unwrap();
            let remove = |name: &str| {
                let path = format!("{below}{name}");
                run(&world, &[&["--dir", &dir], options, &[text(program), "remove", &path]].concat(), "")
            };
            assert!(remove("folder//").status.success(), "{options:?} {program:?}");
            assert!(!folder.join("folder").exists(), "{options:?} {program:?}");
            assert_eq!(remove("file/").status.code(), Some(1), "{options:?} {program:?}");
            assert!(folder.join("file").exists());
        }
    }
}

#[test]
fn a_program_of_two_versions_of_wasi_runs_through_the_newer_one() {
    let Some(program) = component("testing-program3") else { return };
    let (world, program) = (World::new(), text(&program));
    for options in [&[][..], &["--real"]] {
        let output = run(&world, &[options, &[program, "say", "it"]].concat(), "");
        assert_eq!(said(&output), ("testing-program3.wasm say it\n".to_owned(), String::new(), Some(0)));
        let output = run(&world, &[options, &[program, "fail"]].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    // As a step it is the same.
    assert!(world.push("testing-program3"));
    let source =
        "[pipeline]\nname = \"say\"\n[steps.say]\ncomponent = \"testing-program3:0.1.0\"\nargs = [\"say\"]\n";
    let run = world.eyot.json(&["run", &world.write("pipeline.toml", source)]).unwrap();
    assert_eq!(step(&run, "say")["status"], "succeeded", "{run:#}");
}

/// Writes a suite in the form of the public one, of one program under several names.
fn suite(folder: &Path, program: &Path, cases: &[(&str, serde_json::Value)]) {
    std::fs::create_dir_all(folder.join("data.dir")).unwrap();
    std::fs::write(folder.join("data.dir/rows"), "rows").unwrap();
    std::fs::write(folder.join("manifest.json"), r#"{ "name": "own tests" }"#).unwrap();
    for (name, spec) in cases {
        std::fs::copy(program, folder.join(name).with_extension("wasm")).unwrap();
        std::fs::write(folder.join(name).with_extension("json"), spec.to_string()).unwrap();
    }
}

fn xtask() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("xtask")
}

/// Runs a suite; answers whether it went well, the table, and the error.
fn report(arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(xtask());
    command.arg("wasi-testsuite").args(arguments).env("CARGO_MANIFEST_DIR", path("host/xtask"));
    let output = command.output().unwrap();
    let (shown, errors, _) = said(&output);
    (output.status.success(), shown, errors)
}

/// The fields of a table's last line.
fn totals(shown: &str) -> Vec<&str> {
    shown.lines().last().unwrap_or_default().split_whitespace().collect()
}

#[test]
fn the_public_tests_of_services_are_run_on_a_server_of_their_own() {
    let Some((service, module)) = component("testing-web3").zip(component("testing-program1")) else {
        return;
    };
    let world = World::new();
    let folder = world.dir.path().join("http");
    let asked = |operations: serde_json::Value| {
        let mut all = vec![json!({ "type": "run", "env": { "LEVEL": "3" } })];
        all.extend(operations.as_array().unwrap().iter().cloned());
        all.extend([json!({ "type": "kill", "signal": "SIGINT" }), json!({ "type": "wait" })]);
        json!({ "world": "wasi:http/service", "operations": all,
            "endpoints": [{ "method": "GET", "path": "/there", "response": { "status": 418 } }] })
    };
    let request = |path: &str, response: serde_json::Value| json!({ "type": "request", "method": "GET", "path": path, "response": response });
    let echo = json!({ "type": "request", "method": "POST", "path": "/echo", "body": "Hello", "response": { "body": "Hello" } });
    let good = json!([echo, request("/", json!({ "status": 200, "body": "Hello!" }))]);
    suite(
        &folder,
        &service,
        &[("good", asked(good)), ("bad", asked(json!([request("/", json!({ "status": 404 }))])))],
    );
    let (passed, shown, errors) = report(&[text(&folder)]);
    assert!(!passed && errors.contains("1 tests fail"), "{shown}{errors}");
    assert!(shown.contains("bad: GET /: the status is 200, not 404"), "{shown}");
    assert_eq!(totals(&shown), ["all", "1", "2"], "{shown}");
    // In the world of a step there is no network, and the clock stands.
    let folder = world.dir.path().join("step");
    suite(&folder, &module, &[("time", json!({ "args": ["time"], "stdout": "946684800" }))]);
    suite(&folder, &service, &[("http-any", asked(json!([])))]);
    let (passed, shown, errors) = report(&["--as-step", text(&folder)]);
    assert!(passed && shown.contains("unsupported  http-any: a step has no network"), "{shown}{errors}");
    assert_eq!(totals(&shown), ["all", "1", "2"], "{shown}");
}

#[test]
fn the_public_tests_of_wasi_are_run_as_their_files_say() {
    let Some((program, module)) = component("testing-program").zip(component("testing-program1")) else {
        return;
    };
    let world = World::new();
    let folder = world.dir.path().join("suite/tests/own");
    let copy = json!({ "dirs": ["data.dir"], "args": ["copy", "data.dir/rows", "data.dir/copy.cleanup"] });
    let good = [
        ("older", json!({ "args": ["say"], "env": { "A": "b" }, "stdout": "older.wasm say\nA=b\n" })),
        ("status", json!({ "args": ["exit", "3"], "exit_code": 3 })),
        ("folder", copy),
        ("root", json!({ "root": "data.dir", "args": ["copy", "/rows", "/copy.cleanup"] })),
        (
            "streams",
            json!({ "operations": [
                { "type": "run", "args": ["serve"] },
                { "type": "connect", "id": "server" },
                { "type": "send", "id": "server", "payload": "Hello" },
                { "type": "recv", "id": "server", "payload": "Hello" },
                { "type": "wait" },
            ] }),
        ),
        ("other", json!({ "world": "acme:rows/clean", "operations": [{ "type": "run" }] })),
    ];
    suite(&folder, &module, &good);
    // Its sockets are those of WASI 0.2.
    std::fs::copy(&program, folder.join("streams.wasm")).unwrap();
    let (passed, shown, errors) = report(&[text(world.dir.path())]);
    assert!(passed && shown.contains("unsupported  other"), "{shown}{errors}");
    assert_eq!(totals(&shown), ["all", "5", "6"], "{shown}");
    assert!(!folder.join("data.dir/copy.cleanup").exists());
    let bad = [
        ("wrong-status", json!({ "args": ["exit", "3"] })),
        ("wrong-text", json!({ "args": ["say"], "stdout": "nothing" })),
        ("broken", json!({ "operations": [{ "type": "dance" }] })),
    ];
    suite(&folder, &module, &bad);
    let (passed, shown, errors) = report(&[text(world.dir.path())]);
    assert!(!passed && errors.contains("3 tests fail"), "{errors}");
    for says in
        ["wrong-status: it ended with 3, not 0", "wrong-text: stdout: expected", "broken: nothing runs yet"]
    {
        assert!(shown.contains(says), "{says}: {shown}");
    }
}
