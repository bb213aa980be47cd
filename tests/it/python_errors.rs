//! What functions in Python may give, and how what they may not is told.

use std::path::PathBuf;

use eyot_tests::with_python_tools;
use serde_json::json;

use crate::world::{World, text};

const APP: &str = r#"from dataclasses import dataclass, field
import eyot


@dataclass
class Base:
    maxRows: int
    note: str = "none"


@dataclass
class Row(Base):
    tags: list[str] = field(default_factory=list)


@eyot.function
def getRow(row: Row, times: int = 2) -> Row:
    assert isinstance(row, Row)
    return Row(row.maxRows * times, row.note, [*row.tags, "seen"])


@eyot.function
def number(kind: str) -> int:
    return {"none": None, "text": "seven", "large": 1 << 70, "good": 7}[kind]


@eyot.function
def fails(index: int) -> float:
    values = [1, 2]
    return values[index]


@eyot.function
def layer_1(import_: int, HTTPCode: int = 3) -> int:
    return import_ + HTTPCode


@eyot.function
def does(what: str) -> str:
    if what == "exit":
        raise SystemExit(3)
    if what == "half":
        return "\ud800"
    if what == "write":
        eyot.Artifact.write("text/plain", 5)
    if what == "metric":
        eyot.log_metric("loss", 1.0, "first")
    if what == "import":
        import numpy
    if what == "grow":
        kept = []
        while True:
            kept.append("x" * (1 << 20) + str(len(kept)))
    while what == "loop":
        pass
    return what
"#;

/// An app of one module, built. `None` where the machine lacks the tools.
fn built(world: &World, name: &str, source: &str) -> Option<PathBuf> {
    let dir = written(world, name, source);
    let mut build = world.eyot.command(&["build", text(&dir)]);
    let output = with_python_tools(&mut build)?.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(dir.join(format!("build/{name}.wasm")))
}

fn written(world: &World, name: &str, source: &str) -> PathBuf {
    let dir = world.dir.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    let manifest = format!("[component]\nname = \"{name}\"\nversion = \"0.1.0\"\nlanguage = \"python\"\n");
    std::fs::write(dir.join("eyot.toml"), manifest).unwrap();
    std::fs::write(dir.join("app.py"), source).unwrap();
    dir
}

#[test]
fn functions_in_python_fail_with_their_line_and_take_what_python_takes() {
    let world = World::new();
    let Some(component) = built(&world, "app", APP) else { return };
    let invoke = |arguments: &[&str]| world.eyot.json(&[&["invoke", text(&component)], arguments].concat());
    let row = invoke(&["get-row", r#"row={"max-rows": 3}"#]).unwrap();
    assert_eq!(row, json!({ "max-rows": 6, "note": "none", "tags": ["seen"] }));
    let row = invoke(&["get-row", r#"row={"max-rows": 3, "note": "x", "tags": ["a"]}"#, "times=5"]).unwrap();
    assert_eq!(row, json!({ "max-rows": 15, "note": "x", "tags": ["a", "seen"] }));
    assert_eq!(
        (invoke(&["number", "good"]).unwrap(), invoke(&["fails", "1"]).unwrap()),
        (json!(7), json!(2.0))
    );
    assert_eq!(invoke(&["layer-1", "import=4"]).unwrap(), 7);
    for (arguments, says) in [
        (["number", "none"], "TypeError: what number gives is None, and int was promised (app.py, line 22)"),
        (
            ["number", "text"],
            "TypeError: what number gives is of type str, and int was promised (app.py, line 22)",
        ),
        (["number", "large"], "OverflowError: what number gives is 1180591620717411303424"),
        (["fails", "9"], "IndexError: list index out of range (app.py, line 30)"),
        (["does", "exit"], "SystemExit: 3 (app.py, line 41)"),
        (
            ["does", "half"],
            "ValueError: what does gives is no text: it has half of a surrogate pair at 0 (app.py, line 38)",
        ),
        (
            ["does", "write"],
            "what is written into an artifact is of type int, and bytes is wanted (app.py, line 45)",
        ),
        (
            ["does", "metric"],
            "TypeError: the step of metric 'loss' is of type str, and int is wanted (app.py, line 47)",
        ),
        (["does", "import"], "No module named 'numpy'; packages of pure Python work beside app.py"),
        (
            ["does", "grow"],
            "MemoryError (app.py, line 53)\n hint: it may have 96 MiB of memory, and asked for more: raise steps.memory",
        ),
        (
            ["does", "loop"],
            "did not answer before its deadline\n hint: a call may take 5s: raise steps.timeout",
        ),
    ] {
        let limits =
            ["--set", "steps.memory=96 MiB", "--set", "steps.timeout=5s", "invoke", text(&component)];
        let output = world.eyot.command(&[&limits, &arguments[..]].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.matches("Traceback").count() <= 1 && !said.contains("eyot_values.py"),
            "{arguments:?}: {said}"
        );
        assert!(!output.status.success() && said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("wasm backtrace"), "{said}");
    }
}

const PAGE: &str = r#"import eyot


@eyot.http
def answer(request):
    def late(first):
        yield from first
        raise ValueError("late")

    return {
        "none": None,
        "dict": eyot.Response({"a": 1}),
        "status": eyot.Response("x", status="200"),
        "header": eyot.Response("x", headers={"a b": "c"}),
        "late": eyot.Response(late([])),
        "amid": eyot.Response(late(["x" * 200000])),
        "cookies": eyot.Response(request.headers.get("cookie", ""), headers={"set-cookie": ["a=1", "b=2"]}),
    }[request.path.removeprefix("/page/")]
"#;

#[test]
fn pages_in_python_fail_with_their_line() {
    let world = World::new();
    let Some(component) = built(&world, "page", PAGE) else { return };
    let server = world.up();
    world.eyot.json(&["deploy", text(&component)]).unwrap();
    for (path, says) in [
        (
            "none",
            "TypeError: what answer gives is of type NoneType, and an eyot.Response is wanted\n(app.py, line 4)",
        ),
        ("dict", "TypeError: the body of a response is of type dict"),
        ("status", "TypeError: the status of a response is of type str, and int is wanted\n(app.py, line 4)"),
        ("header", "ValueError: header 'a b' cannot be 'c'"),
        ("other", "KeyError: 'other'\n(app.py, line 10)"),
    ] {
        let answer = server.get(&format!("/page/{path}")).unwrap();
        assert!(answer.status == 500 && answer.text().contains(says), "{path}: {}", answer.text());
        assert!(!answer.text().contains("backtrace"), "{}", answer.text());
    }
    // On a busy machine its head may have gone out before it fails: then it is cut off.
    if let Ok(answer) = server.get("/page/late") {
        let says = "exited with status 1; its last words: ValueError: late (app.py, line 8)";
        assert!(answer.status == 500 && answer.text().contains(says), "{}", answer.text());
    }
    assert!(server.get("/page/amid").is_err(), "half an answer looks whole");
    let answer = server.post_with("/page/cookies", &[("cookie", "c=3"), ("cookie", "d=4")], "").unwrap();
    assert_eq!(answer.text(), "c=3; d=4");
    assert_eq!(answer.headers("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
}

#[test]
fn a_module_that_is_not_there_is_one_line() {
    let world = World::new();
    let dir = written(
        &world,
        "sums",
        "import numpy\nimport eyot\n\n\n@eyot.function\ndef f() -> int:\n    return 1\n",
    );
    let mut build = world.eyot.command(&["build", text(&dir)]);
    let Some(build) = with_python_tools(&mut build) else { return };
    let output = build.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("app.py imports 'numpy', which is not there"),
        "{said}"
    );
    assert!(
        said.contains("numpy and others with compiled code do not") && !said.contains("Traceback"),
        "{said}"
    );
}
