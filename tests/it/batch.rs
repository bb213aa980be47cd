//! Files through a deployment: `eyot predict --input`.

use std::fmt::Write as _;
use std::process::Stdio;

use eyot_tests::{fixture, python, wait_until};
use serde_json::{Value, json};

use crate::world::{World, text};

/// Flowers as CSV, and the label that the same forest gives each of them when it is asked for it alone.
fn flowers(count: usize) -> String {
    let mut csv = "id,sl,sw,pl,pw\n".to_owned();
    for row in 0..count {
        let value = |part: usize, most: usize, least: f64| (row * part % most) as f64 / 10.0 + least;
        writeln!(
            csv,
            "{row},{},{},{},{}",
            value(7, 36, 4.3),
            value(11, 24, 2.0),
            value(13, 59, 1.0),
            value(17, 24, 0.1)
        )
        .unwrap();
    }
    csv
}

const COLUMNS: &str = "sl,sw,pl,pw";

fn lines(path: &str) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_row_of_a_file_is_answered_in_its_place() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let csv = flowers(333);
    let input = world.write("flowers.csv", &csv);
    let path = |name: &str| text(&world.dir.path().join(name)).to_owned();
    let predict = |input: &str, output: &str, more: &[&str]| {
        let arguments = ["predict", "iris", "--input", input, "--output", output];
        world.eyot.json(&[&arguments[..], more].concat()).unwrap()
    };
    let out = path("kinds.jsonl");
    let done = predict(&input, &out, &["--columns", COLUMNS, "--rows", "10"]);
    assert_eq!((&done["rows"], &done["resumed"]), (&json!(333), &json!(0)));
    let answers = lines(&out);
    for (row, line) in csv.lines().skip(1).enumerate() {
        let data: Vec<f64> = line.split(',').skip(1).map(|cell| cell.parse().unwrap()).collect();
        let request =
            json!({ "inputs": [{ "name": "X", "datatype": "FP32", "shape": [1, 4], "data": data }] });
        let alone = server.post("/v2/models/iris/infer", request.to_string()).unwrap().json();
        let [label, chances] = [0, 1].map(|output| &alone["outputs"][output]["data"]);
        assert_eq!(answers[row], json!({ "label": label[0], "probabilities": chances }), "row {row}");
    }
    assert_eq!(answers.len(), 333);

    // The same rows as objects, and as CSV again.
    let objects: String = csv.lines().skip(1).fold(String::new(), |mut all, line| {
        let cells: Vec<f64> = line.split(',').skip(1).map(|cell| cell.parse().unwrap()).collect();
        writeln!(all, "{}", json!({ "X": cells, "note": "not used" })).unwrap();
        all
    });
    let input = world.write("flowers.jsonl", objects);
    let again = path("again.jsonl");
    predict(&input, &again, &["--parallel", "1"]);
    assert_eq!(lines(&again), answers);
    let table = path("kinds.csv");
    predict(&input, &table, &[]);
    let table = std::fs::read_to_string(table).unwrap();
    assert!(table.starts_with("label,probabilities.0,probabilities.1,probabilities.2\n"), "{table}");
    assert_eq!(table.lines().count(), 334);
    let first = &answers[0];
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .starts_with(&format!("{},{}", first["label"], first["probabilities"][0]))
    );
}

#[test]
fn parquet_is_read_as_pandas_writes_it() {
    if python().is_none() {
        return;
    }
    let world = World::new();
    let _server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let csv = world.write("flowers.csv", flowers(200));
    let predict = |input: &str, name: &str| {
        let output = text(&world.dir.path().join(name)).to_owned();
        let columns = ["--columns", COLUMNS];
        world
            .eyot
            .json(&[&["predict", "iris", "--input", input, "--output", &output][..], &columns].concat())
            .unwrap();
        lines(&output)
    };
    let answers = predict(&csv, "from-csv.jsonl");
    for compression in ["snappy", "zstd", "gzip", "none"] {
        let file = text(&world.dir.path().join(format!("{compression}.parquet"))).to_owned();
        let script = "import sys, pyarrow.csv as csv, pyarrow.parquet as parquet\n\
                      parquet.write_table(csv.read_csv(sys.argv[1]), sys.argv[2], row_group_size=64, \
                      compression=sys.argv[3])\n";
        let Some(mut python) = python() else { return };
        let written = python.args(["-c", script, &csv, &file, compression]).output().unwrap();
        assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let read = predict(&file, &format!("from-{compression}.jsonl"));
        assert_eq!((read.len(), &read), (200, &answers), "{compression}");
    }
}

/// Predicts each row of a file with one of the models that answer what they are asked.
fn same(world: &World, kind: &str, name: &str, content: &str) -> Vec<Value> {
    let model = format!("same-{kind}");
    world.eyot.json(&["deploy", text(&fixture(&model)), "--name", &model]).unwrap();
    let input = world.write(name, content);
    let output = format!("{input}.answers.jsonl");
    world.eyot.json(&["predict", &model, "--input", &input, "--output", &output, "--rows", "3"]).unwrap();
    lines(&output)
}

#[test]
fn a_value_that_is_missing_ends_no_file() {
    let world = World::new();
    let _server = world.up();
    let rows = [json!({"y": [1.5, "NaN", -2.0]}), json!({"y": ["NaN", "NaN", 0.5]})];
    for (name, content) in [
        ("floats.csv", "a,b,c\n1.5,\"\", -2\nNaN,,0.5\n"),
        ("floats.jsonl", "{\"x\": [1.5, null, -2]}\n{\"x\": [null, \"NaN\", 0.5]}\n"),
        ("columns.jsonl", "{\"a\": 1.5, \"b\": null, \"c\": -2}\n{\"c\": 0.5}\n"),
    ] {
        assert_eq!(same(&world, "fp32", name, content), rows, "{name}");
    }
    // Whole numbers have no NaN: those rows have no answer, and others have theirs.
    let answers = same(&world, "int64", "whole.csv", "a,b,c\n1,,3\n4,5,6\n7,8,NaN\n9.0,10,11\n");
    let why = |row: u64, column: &str| json!({ "error": format!("row {row}: column '{column}' has no value, and the input 'x' has none for that") });
    let rows = [why(1, "b"), json!({"y": [4, 5, 6]}), why(3, "c"), json!({"y": [9, 10, 11]})];
    assert_eq!(answers, rows);
    let input = text(&world.dir.path().join("whole.csv")).to_owned();
    let output = text(&world.dir.path().join("whole-answers.csv")).to_owned();
    let done = world.eyot.json(&["predict", "same-int64", "--input", &input, "--output", &output]).unwrap();
    assert_eq!((&done["rows"], &done["unanswered"]), (&json!(4), &json!(2)), "{done}");
    assert_eq!(std::fs::read_to_string(output).unwrap(), "y.0,y.1,y.2\n,,\n4,5,6\n,,\n9,10,11\n");
}

#[test]
fn blanks_belong_to_texts() {
    let world = World::new();
    let _server = world.up();
    let content = "a,b,c\n State-gov,\" Private\",\"a, b \"\n\"\",, \n";
    let texts = [[" State-gov", " Private", "a, b "], ["", "", " "]];
    let answers = same(&world, "string", "adult.csv", content);
    assert_eq!(answers, texts.map(|texts| json!({ "y": texts })));
}

#[test]
fn a_command_that_was_killed_goes_on_where_it_was() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let input = world.write("flowers.csv", flowers(20_000));
    for ending in ["jsonl", "csv"] {
        let file = |name: &str| text(&world.dir.path().join(format!("{name}.{ending}"))).to_owned();
        let (whole, output) = (file("whole"), file("killed"));
        let ask = |output: &str| {
            world.eyot.command(&[
                "predict",
                "iris",
                "--input",
                &input,
                "--columns",
                COLUMNS,
                "--output",
                output,
                "--json",
            ])
        };
        assert!(ask(&whole).output().unwrap().status.success());
        let part = format!("{output}.part");
        for kills in 1..=3_u64 {
            let mut child = ask(&output).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let enough = || std::fs::metadata(&part).map_or(0, |part| part.len()) > kills * 20_000;
            wait_until("some rows are written", || enough() || child.try_wait().unwrap().is_some());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let done = ask(&output).output().unwrap();
        let said: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(said["rows"], 20_000);
        assert!(said["resumed"].as_u64().unwrap() > 0, "{said}");
        assert!(std::fs::read(&output).unwrap() == std::fs::read(&whole).unwrap(), "{ending} differs");
        assert!(!std::path::Path::new(&part).exists());
    }
    server.stop().unwrap();
}

#[test]
fn what_cannot_be_predicted_is_named() {
    let world = World::new();
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let good = world.write("good.csv", flowers(10));
    let text_in = world.write("text.csv", "a,b,c,d\n1,2,3,4\n1,2,x,4\n");
    let gap = world.write("gap.csv", "a,b,c,d\n1,2,3,4\n1,,3,4\n");
    let broken = world.write("broken.jsonl", "{\"X\": [1, 2, 3, 4]}\n{\"X\": [1,\n");
    let short = world.write("short.jsonl", "{\"X\": [1, 2, 3, 4]}\n{\"X\": [1, 2]}\n");
    let other = world.write("rows.txt", "1\n");
    let output = |name: &str| text(&world.dir.path().join(name)).to_owned();
    let there = world.write("there.csv", "kept");
    for (input, out, kind, says) in [
        (&good, output("a.csv"), "invalid", "no columns are the input 'X', of 4 values a row"),
        (&text_in, output("b.csv"), "invalid", "row 2: \"x\" is no FP32 for the input 'X'"),
        (&broken, output("d.csv"), "invalid", "line 2 is no JSON"),
        (&short, output("e.csv"), "invalid", "row 2: input 'X' takes rows of the shape [4]"),
        (&other, output("f.csv"), "invalid", "rows.txt is of no kind that has rows"),
        (&gap, output("g.txt"), "invalid", "g.txt is of no kind that answers are written in"),
        (&gap, there.clone(), "conflict", "there.csv is there already"),
        (&output("absent.csv"), output("h.csv"), "not_found", "absent.csv"),
    ] {
        let refused = world.eyot.refused(&["predict", "iris", "--input", input, "--output", &out]).unwrap();
        assert!(refused.message.contains(says), "{input}: {}", refused.message);
        assert_eq!(refused.kind, kind, "{input}: {}", refused.message);
    }
    assert_eq!(std::fs::read_to_string(there).unwrap(), "kept");
    let arguments = ["predict", "none", "--input", &good, "--output", &output("i.csv")];
    assert!(world.eyot.refused(&arguments).unwrap().message.contains("there is no model 'none'"));
    server.stop().unwrap();
}

#[test]
fn a_server_with_a_certificate_is_asked_over_tls() {
    let world = World::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let cert = world.write("cert.pem", made.cert.pem());
    let key = world.write("key.pem", made.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = world.write("other.pem", other.cert.pem());
    let [tls_cert, tls_key] =
        [("cert", &cert), ("key", &key)].map(|(name, file)| format!("gateway.tls-{name}={file}"));
    let server = world.eyot.up_with(&[&tls_cert, &tls_key]).unwrap();
    assert!(server.gateway.starts_with("https://"));
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let request = json!({ "inputs": [{ "name": "X", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2] }] });
    let request = request.to_string();
    let answer = world.eyot.json(&["predict", "iris", &request, "--ca", &cert]).unwrap();
    assert_eq!(answer["outputs"][0]["data"], json!([0]));
    let input = world.write("flowers.csv", flowers(100));
    let output = text(&world.dir.path().join("kinds.csv")).to_owned();
    // The configuration of the server names the certificate too.
    let settings = ["--set", &tls_cert, "--set", &tls_key, "--columns", COLUMNS];
    let file = ["predict", "iris", "--input", &input, "--output", &output];
    assert_eq!(world.eyot.json(&[&file[..], &settings].concat()).unwrap()["rows"], 100);
    for more in [&[][..], &["--ca", &other]] {
        let refused = world.eyot.refused(&[&["predict", "iris", &request][..], more].concat()).unwrap();
        assert_eq!(
            (refused.kind.as_str(), refused.hint.contains("--ca FILE")),
            ("unavailable", true),
            "{refused:?}"
        );
    }
    let refused = world.eyot.refused(&["predict", "iris", &request, "--ca", &key]).unwrap();
    assert!(refused.message.contains("holds no certificate"), "{refused:?}");
    server.stop().unwrap();
}
