//! Every template builds, passes its own test, and does what its README says.

use std::path::Path;
use std::process::Command;

use eyot_core::Digest;
use eyot_tests::{Server, path, program, with_python_tools};
use serde_json::json;

use crate::world::{World, step, text};

fn new(world: &World, language: &str, kind: &str, name: &str) -> std::path::PathBuf {
    let dir = world.dir.path().join(name);
    world.eyot.json(&["new", "--lang", language, "--kind", kind, name, "--dir", text(&dir)]).unwrap();
    let refused =
        world.eyot.refused(&["new", "--lang", language, "--kind", kind, name, "--dir", text(&dir)]).unwrap();
    assert_eq!(refused.kind, "conflict");
    dir
}

/// Runs a command in a project; guests of all templates share one target.
fn run(command: &mut Command, dir: &Path) -> String {
    command.current_dir(dir).env("CARGO_TARGET_DIR", path("target/templates"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Deploys the handler of a folder and asks it what every handler template answers.
fn handler(world: &World, server: &Server, push: &mut Command, name: &str, dir: &Path) {
    run(push, dir);
    world.eyot.json(&["deploy", &format!("{name}:0.1.0")]).unwrap();
    let ask = |values: &[f32]| {
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [values.len()], "data": values });
        server.post(&format!("/v2/models/{name}/infer"), json!({ "inputs": [input] }).to_string()).unwrap()
    };
    let answer = ask(&[1.0, 3.0]);
    assert_eq!(
        (answer.status, &answer.json()["outputs"][0]["data"]),
        (200, &json!([-1.0, 1.0])),
        "{}",
        answer.text()
    );
    let refused = ask(&[]);
    assert_eq!((refused.status, refused.json()["error"].as_str().unwrap()), (400, "x has no element"));
}

/// Runs the pipeline of a folder; answers what every step template gives.
fn pipeline(world: &World, push: &mut Command, dir: &Path) {
    run(push, dir);
    let done = world.eyot.json(&["run", text(&dir.join("pipeline.toml"))]).unwrap();
    let outputs = &step(&done, "clean")["outputs"];
    assert_eq!(outputs["dropped"], 1, "{done:#}");
    let rows = outputs["rows"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let rows = std::fs::read_to_string(world.eyot.data().join("registry/blobs/sha256").join(rows)).unwrap();
    assert_eq!(rows, "name,age\nAda,36\n");
}

/// Runs the cases of a project against its component, as `eyot test` does for whoever made it.
fn cases(world: &World, dir: &Path) {
    let ended = world.eyot.json(&["test", text(dir)]).unwrap();
    let ended = ended.as_array().unwrap();
    assert!(!ended.is_empty() && ended.iter().all(|case| case["passed"] == true), "{ended:#?}");
}

#[test]
fn in_rust() {
    // Without a wasm target `cargo xtask components` has built nothing either, and says so.
    if eyot_tests::component("digits-steps").is_none() {
        return;
    }
    let world = World::new();
    let server = world.up();
    for (kind, name) in [
        ("handler", "rusty-scores"),
        ("step", "rusty-rows"),
        ("function", "rusty-sums"),
        ("http", "rusty-page"),
        ("command", "rusty-program"),
    ] {
        let dir = new(&world, "rust", kind, name);
        run(Command::new("cargo").args(["test", "--quiet", "--target", &host()]), &dir);
        run(&mut world.eyot.command(&["build"]), &dir);
        run(&mut world.eyot.command(&["test"]), &dir);
        let mut push = world.eyot.command(&["push", "."]);
        match kind {
            "handler" => handler(&world, &server, &mut push, name, &dir),
            "step" => pipeline(&world, &mut push, &dir),
            _ => {}
        }
    }
}

#[test]
fn in_python() {
    let world = World::new();
    let server = world.up();
    for (kind, name) in [("handler", "scores"), ("step", "rows"), ("function", "sums"), ("http", "page")] {
        let dir = new(&world, "python", kind, name);
        let mut build = world.eyot.command(&["build"]);
        let Some(build) = with_python_tools(&mut build) else { return };
        run(build, &dir);
        let sdk = dir.join("build/sdk");
        run(Command::new("python3").args(["-m", "unittest", "--quiet"]).env("PYTHONPATH", sdk), &dir);
        cases(&world, &dir);
        let mut push = world.eyot.command(&["push", "."]);
        match kind {
            "handler" => handler(&world, &server, &mut push, name, &dir),
            "step" => pipeline(&world, &mut push, &dir),
            _ => {}
        }
    }
}

#[test]
fn in_javascript_and_typescript() {
    if program("node").and(program("npm")).is_none() {
        return;
    }
    let world = World::new();
    let kinds = ["handler", "step", "function", "http"];
    let projects = ["javascript", "typescript"].into_iter().flat_map(|language| {
        kinds.map(|kind| (language, kind, new(&world, language, kind, &format!("{language}-{kind}"))))
    });
    let projects: Vec<_> = projects.collect();
    // Two at a time share the two processors that are always there; those of a call share what is warm.
    std::thread::scope(|scope| {
        for half in projects.chunks(kinds.len()) {
            let folders = half.iter().map(|(.., dir)| text(dir));
            let arguments: Vec<_> = std::iter::once("build").chain(folders).collect();
            let world = &world;
            scope.spawn(move || world.eyot.json(&arguments).unwrap());
        }
    });
    for (language, kind, dir) in &projects {
        if *language == "javascript" {
            run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent"]), dir);
            run(Command::new("npm").args(["test", "--silent"]), dir);
        }
        // Compiling twelve megabytes takes long; the languages differ only until the component is made.
        if matches!(
            (*language, *kind),
            ("javascript", "handler" | "step") | ("typescript", "function" | "http")
        ) {
            cases(&world, dir);
        }
    }
    let step = &projects[1].2;
    pipeline(&world, &mut world.eyot.command(&["push", "."]), step);
}

#[test]
fn in_c() {
    let world = World::new();
    let server = world.up();
    for (kind, name) in
        [("handler", "c-scores"), ("step", "c-rows"), ("function", "c-sums"), ("command", "c-program")]
    {
        let dir = new(&world, "c", kind, name);
        run(&mut world.eyot.command(&["build"]), &dir);
        let mut push = world.eyot.command(&["push", "."]);
        match kind {
            "handler" => handler(&world, &server, &mut push, name, &dir),
            "step" => pipeline(&world, &mut push, &dir),
            _ => {}
        }
        cases(&world, &dir);
    }
}

#[test]
fn in_cpp_and_go() {
    for (language, name) in [("cpp", "cpp-program"), ("go", "go-program")] {
        let world = World::new();
        let dir = new(&world, language, "command", name);
        run(&mut world.eyot.command(&["build"]), &dir);
        cases(&world, &dir);
        run(&mut world.eyot.command(&["push", "."]), &dir);
        let done = world.eyot.json(&["run", text(&dir.join("pipeline.toml"))]).unwrap();
        let rows = &step(&done, "clean")["outputs"]["rows"];
        assert_eq!(*rows, Digest::of(b"name,age\nAda,36\n").to_string(), "{done:#}");
        if language == "go" {
            let tools = world.eyot.json(&["config"]).unwrap()["data"]["tools"].as_str().unwrap().to_owned();
            let go = Path::new(&tools).join("go-1.27.3/go/bin/go");
            run(Command::new(if go.is_file() { go.as_os_str() } else { "go".as_ref() }).arg("test"), &dir);
        }
    }
}

/// A program in Go that looks at all that differs between two of its runs elsewhere.
const RESTLESS: &str = r#"package main

import (
	"archive/tar"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"time"
)

func main() {
	all := map[int]string{}
	var lock sync.Mutex
	var wait sync.WaitGroup
	for i := 0; i < 50; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			time.Sleep(time.Duration(rand.Intn(1000)) * time.Millisecond)
			lock.Lock()
			defer lock.Unlock()
			all[i] = fmt.Sprint(time.Now().UnixNano(), rand.Int63(), os.Getpid(), len(all))
		}(i)
	}
	wait.Wait()
	lines := ""
	for i, line := range all {
		lines += fmt.Sprintln(i, line)
	}
	must(os.WriteFile("/out/lines", []byte(lines), 0o644))
	must(os.Mkdir("/out/folder", 0o755))
	file, err := os.Create("/out/all.tar")
	must(err)
	writer := tar.NewWriter(file)
	for _, name := range []string{"/out/lines", "/out/folder", "/in/file"} {
		info, err := os.Stat(name)
		must(err)
		header, err := tar.FileInfoHeader(info, "")
		must(err)
		must(writer.WriteHeader(header))
		if !info.IsDir() {
			bytes, err := os.ReadFile(name)
			must(err)
			_, err = writer.Write(bytes)
			must(err)
		}
	}
	must(writer.Close())
	must(file.Close())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

#[test]
fn a_program_in_go_writes_the_same_bytes_every_time() {
    let outputs = [0, 1].map(|_| {
        let world = World::new();
        let dir = new(&world, "go", "command", "restless");
        std::fs::write(dir.join("main.go"), RESTLESS).unwrap();
        run(&mut world.eyot.command(&["build"]), &dir);
        run(&mut world.eyot.command(&["push", "."]), &dir);
        let pipeline = std::fs::read_to_string(dir.join("pipeline.toml")).unwrap();
        let outputs = "outputs = { tar = { path = \"all.tar\", media-type = \"application/x-tar\" } }";
        let pipeline: Vec<_> =
            pipeline.lines().map(|line| if line.starts_with("outputs") { outputs } else { line }).collect();
        std::fs::write(dir.join("pipeline.toml"), pipeline.join("\n")).unwrap();
        let done = world.eyot.json(&["run", text(&dir.join("pipeline.toml"))]).unwrap();
        step(&done, "clean")["outputs"]["tar"].as_str().unwrap().to_owned()
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn a_kind_that_a_language_does_not_have_is_refused_with_those_it_has() {
    let world = World::new();
    let dir = world.dir.path().join("page");
    let refused =
        world.eyot.refused(&["new", "--lang", "c", "--kind", "http", "page", "--dir", text(&dir)]).unwrap();
    assert_eq!(
        (refused.kind.as_str(), refused.hint.as_str()),
        ("unsupported", "in c there are: handler, step, function, command")
    );
    assert!(!dir.exists());
}

#[test]
fn a_mistake_in_typescript_is_named_with_its_line() {
    if program("node").and(program("npm")).is_none() {
        return;
    }
    let world = World::new();
    let dir = new(&world, "typescript", "function", "sums");
    for (source, says) in [
        ("export function f(x: Map<string, number>): void {}", "line 1: 'Map<string, number>' cannot cross"),
        ("\nexport function f(x): void {}", "line 2: parameter 'x' of 'f' needs a type"),
        ("export function f(x: number) { return x; }", "line 1: 'f' needs a return type, void for none"),
        (
            "export function f(x: number): void {}\nf('x');",
            "line 2: Argument of type 'string' is not assignable",
        ),
        (
            "export function f(snake_case: number): void {}",
            "line 1: 'snake_case' is no name for other languages",
        ),
        ("interface T { next: T | null }\nexport function f(x: T): void {}", "line 1: 'T' holds itself"),
        ("export function f(x: number: void {}", "line 1: "),
        ("import { y } from './y.ts';\nexport function f(): void { y(); }", "'./y.ts'"),
        ("const x = 1;", "it exports nothing"),
    ] {
        std::fs::write(dir.join("app.ts"), source).unwrap();
        let refused = world.eyot.refused(&["build", text(&dir)]).unwrap();
        assert_eq!(refused.kind, "invalid", "{source}: {}", refused.message);
        assert!(
            refused.message.contains("app.ts: ") && refused.message.contains(says),
            "{source}: {}",
            refused.message
        );
    }
}

#[test]
fn a_case_that_does_not_hold_says_where() {
    let world = World::new();
    let dir = new(&world, "c", "function", "sums");
    run(&mut world.eyot.command(&["build"]), &dir);
    let case = dir.join("cases/summarizes.json");
    let good = std::fs::read_to_string(&case).unwrap();
    for (from, to, says) in [
        ("2.5", "2.6", "result.mean: expected 2.6, found 2.5"),
        ("[1, 2, 3, 4]", "[]", "there are no values"),
        ("\"count\"", "\"total\"", "result.total: expected 4, found null"),
    ] {
        std::fs::write(&case, good.replace(from, to)).unwrap();
        let output = world.eyot.command(&["test", text(&dir)]).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && shown.contains(says), "{shown}");
    }
    for (text_of_case, says) in [("{", "is no case: EOF"), ("{\"ask\": 1}", "is no case: ")] {
        std::fs::write(&case, text_of_case).unwrap();
        let refused = world.eyot.refused(&["test", text(&dir)]).unwrap();
        assert!(refused.message.contains(says), "{}", refused.message);
    }
}

#[test]
fn a_mistake_in_python_is_named_with_its_line() {
    let world = World::new();
    let dir = new(&world, "python", "step", "rows");
    std::fs::write(dir.join("app.py"), "import eyot\n\n@eyot.function\ndef f(x: dict): ...\n").unwrap();
    let mut build = world.eyot.command(&["build", "--json"]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let output = build.current_dir(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("app.py: line 4: 'dict' cannot cross a component's boundary"), "{said}");
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}
