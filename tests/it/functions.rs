//! Typed functions over HTTP: every type, every mistake, and what a component may do wrong.

use eyot_tests::{Server, wait_for, wait_until};
use serde_json::{Value, json};

use crate::world::World;

/// A server with the component of all types deployed as `f`; `None` where it is not built.
fn served(world: &World, settings: &[&str]) -> Option<Server> {
    if !world.push("testing-functions") {
        return None;
    }
    let server = world.eyot.up_with(settings).unwrap();
    world.eyot.json(&["deploy", "testing-functions:0.1.0", "--name", "f"]).unwrap();
    Some(server)
}

#[test]
fn values_of_every_type_go_in_and_come_out_as_json() {
    let world = World::new();
    let Some(server) = served(&world, &[]) else { return };
    let ten = |double: Value| {
        json!({
            "truth": true, "small": 255, "large": u64::MAX, "negative": i64::MIN, "single": 0.1, "double": double,
            "letter": "é", "text": "a\"b\u{1}", "colour": "green", "maybe": null
        })
    };
    let others =
        |nested: Value, outcome: Value| json!([{"circle": 1.5}, ["mon", "wed"], [1, "x"], nested, outcome]);
    let asked = |nested: Value, outcome: Value| json!({"shape": {"circle": 1.5}, "days": ["wed", "mon"], "pair": [1, "x"], "nested": nested, "outcome": outcome});
    for (function, arguments, status, expected) in [
        ("greet", json!({"name": "Ann"}), 200, json!("Hello, Ann!")),
        ("greet", json!({"name": "Ann", "times": 2}), 200, json!("Hello, Ann! Hello, Ann!")),
        ("whole", json!({"value": ten(json!(1e300))}), 200, ten(json!(1e300))),
        ("whole", json!({"value": ten(json!("NaN"))}), 200, ten(json!("NaN"))),
        ("whole", json!({"value": ten(json!("-Infinity"))}), 200, ten(json!("-Infinity"))),
        ("others", asked(json!(null), json!({"ok": 1})), 200, others(json!(null), json!({"ok": 1}))),
        (
            "others",
            asked(json!({"some": null}), json!({"err": "no"})),
            200,
            others(json!({"some": null}), json!({"err": "no"})),
        ),
        (
            "others",
            asked(json!({"some": 7}), json!({"ok": 1})),
            200,
            others(json!({"some": 7}), json!({"ok": 1})),
        ),
        ("reverse", json!({"bytes": "AAEC"}), 200, json!("AgEA")),
        ("reverse", json!({"bytes": [0, 1, 2]}), 200, json!("AgEA")),
        ("sum", json!({"numbers": [u32::MAX, u32::MAX]}), 200, json!(8_589_934_590_u64)),
        ("divide", json!({"by": 2, "of": "7"}), 200, json!(3)),
        ("divide", json!({"by": 0, "of": 7}), 422, json!({"error": "by nothing"})),
        ("refuse", json!({"shape": "none"}), 422, json!({"error": "none"})),
        ("refuse", json!({"shape": {"label": "x"}}), 422, json!({"error": {"label": "x"}})),
        ("nothing", json!({}), 200, json!(null)),
        ("more/count", json!({"start": 4}), 200, json!(5)),
    ] {
        let answer = server.post(&format!("/fn/f/{function}"), arguments.to_string()).unwrap();
        assert_eq!((answer.status, answer.json()), (status, expected), "{function} {arguments}");
    }
    let many = server.post("/fn/f/many", r#"{"count": 1000000}"#).unwrap().json();
    assert_eq!((many.as_array().unwrap().len(), &many[999_999]), (1_000_000, &json!(999_999)));
    let numbers: Vec<u32> = (0..1_000_000).collect();
    let sum = server.post("/fn/f/sum", json!({"numbers": numbers}).to_string()).unwrap().json();
    assert_eq!(sum, json!(499_999_500_000_u64));
}

#[test]
fn bytes_go_in_and_come_out_as_they_are() {
    let world = World::new();
    let Some(server) = served(&world, &[]) else { return };
    let octets = "application/octet-stream";
    let raw = [("content-type", octets), ("accept", octets)];
    let answer = server.post_with("/fn/f/reverse", &raw, vec![1, 2, 255]).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[255, 2, 1][..]));
    assert_eq!(answer.content_type.as_deref(), Some(octets));
    let answer = server.post_with("/fn/f/reverse", &raw[..1], Vec::new()).unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!("")));
    let answer = server.post_with("/fn/f/sum", &raw, vec![1]).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("sum does not take bytes alone"), "{}", answer.text());
}

#[test]
fn a_wrong_call_is_told_what_is_wrong_with_it() {
    let world = World::new();
    let Some(server) = served(&world, &["gateway.max-body=4 MiB"]) else { return };
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("\"{}\"", "x".repeat(5 << 20));
    for (function, body, status, says) in [
        ("greet", r#"{"name": 3}"#, 400, "parameter 'name' of greet: expected string, found 3"),
        ("greet", "{}", 400, "parameter 'name' of greet: expected string, found null"),
        ("greet", "", 400, "parameter 'name' of greet"),
        (
            "greet",
            r#"{"name": "a", "colour": 1}"#,
            400,
            "greet has no parameter 'colour'; it takes name, times",
        ),
        ("greet", "[1]", 400, "the body is no JSON object"),
        ("greet", "{x", 400, "line 1 column 2"),
        ("greet", "\u{feff}{}", 400, "cannot be read as JSON"),
        ("greet", &nested, 400, "recursion limit"),
        ("greet", &large, 413, "larger than 4 MiB"),
        ("whole", r#"{"value": {"truth": true, "small": 256}}"#, 400, "at .small: expected u8, found 256"),
        ("others", r#"{"shape": {"square": 1}}"#, 400, "parameter 'shape'"),
        ("sum", r#"{"numbers": [1, -1]}"#, 400, "at [1]: expected u32, found -1"),
        ("count", "{}", 400, "there are several functions 'count'; write calls/count or more/count"),
        ("nope", "{}", 404, "there is no function 'nope'; there are: greet"),
        ("calls/nope", "{}", 404, "there is no function 'calls/nope'"),
        ("a/b/c", "{}", 404, "a function is POST /fn/NAME/FUNCTION"),
    ] {
        let answer = server.post(&format!("/fn/f/{function}"), body).unwrap();
        let shown: String = body.chars().take(40).collect();
        assert_eq!(answer.status, status, "{function} {shown}: {}", answer.text());
        assert!(
            answer.json()["error"].as_str().unwrap().contains(says),
            "{function} {shown}: {}",
            answer.text()
        );
    }
    assert_eq!(server.get("/fn/f/greet").unwrap().status, 405);
    assert_eq!(server.get("/fn/nobody").unwrap().status, 404);
    assert_eq!(server.post("/fn/f@9/greet", r#"{"name": "a"}"#).unwrap().status, 404);
    let tensors = server.post("/v2/models/f/infer", "{\"inputs\": []}").unwrap();
    assert_eq!(
        (tensors.status, tensors.text().contains("GET /fn/f lists them")),
        (404, true),
        "{}",
        tensors.text()
    );
    assert_eq!(server.post("/fn/f@1/greet", r#"{"name": "a"}"#).unwrap().json(), json!("Hello, a!"));
}

#[test]
fn a_component_that_goes_wrong_is_ended_counted_and_explained() {
    let world = World::new();
    let Some(server) = served(&world, &["handlers.timeout=500ms", "handlers.memory=64 MiB"]) else { return };
    for (function, body, status, says) in [
        ("crash", r#"{"message": "no such row"}"#, 500, "its last words: no such row"),
        ("spin", "", 504, "did not answer before its deadline"),
        ("grow", r#"{"bytes": 100000000}"#, 500, "ran out of memory"),
        ("deep", r#"{"levels": 100000000}"#, 500, "call stack exhausted"),
    ] {
        let answer = server.post(&format!("/fn/f/{function}"), body).unwrap();
        assert_eq!(answer.status, status, "{function}: {}", answer.text());
        assert!(answer.text().contains(says), "{function}: {}", answer.text());
        // The instance that went wrong is gone, and the next call has another.
        assert_eq!(server.post("/fn/f/calls/count", "").unwrap().json(), json!(1), "{function}");
    }
    let metrics = server.get("/metrics").unwrap().text();
    for line in ["status=\"failed\"} 3", "status=\"timeout\"} 1", "status=\"ok\"} 4"] {
        assert!(
            metrics.contains(&format!("eyot_requests_total{{deployment=\"f\",revision=\"1\",{line}")),
            "{metrics}"
        );
    }
    assert!(server.log().contains("no such row"));
}

#[test]
fn calls_are_told_in_the_prediction_log_and_compared_with_a_shadow() {
    let world = World::new();
    let Some(server) = served(&world, &["gateway.prediction-log=1"]) else { return };
    world
        .eyot
        .json(&["deploy", "testing-functions:0.1.0", "--name", "f", "--no-traffic", "--reuse", "1"])
        .unwrap();
    world.eyot.json(&["traffic", "f", "1=100", "--shadow", "2=100"]).unwrap();
    // An instance of the shadow never counts beyond one.
    for (function, body, status) in [
        ("greet", r#"{"name": "Ann"}"#, 200),
        ("calls/count", "", 200),
        ("calls/count", "", 200),
        ("calls/count", "", 200),
        ("divide", r#"{"by": 0, "of": 1}"#, 422),
        ("crash", r#"{"message": "asked to"}"#, 500),
    ] {
        assert_eq!(server.post(&format!("/fn/f/{function}"), body).unwrap().status, status, "{function}");
    }
    let told = |result: &str, count: u32| {
        let line = format!(
            "eyot_shadow_requests_total{{deployment=\"f\",revision=\"2\",result=\"{result}\"}} {count}\n"
        );
        server.get("/metrics").unwrap().text().contains(&line)
    };
    // Nobody waits for shadows but this test.
    wait_until("all shadows are told of", || told("same", 3) && told("different", 2));
    let log = world.eyot.data().join("predictions/f.jsonl");
    let text = wait_for("six lines are logged", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.matches('\n').count() == 6)
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, last) = (&lines[0], &lines[5]);
    assert_eq!(
        (&first["function"], &first["arguments"], &first["reply"], &first["revision"]),
        (&json!("greet"), &json!({ "name": "Ann" }), &json!("Hello, Ann!"), &json!(1))
    );
    assert_eq!((&lines[3]["reply"], &lines[4]["refusal"]), (&json!(3), &json!("by nothing")));
    assert!(last["error"].as_str().unwrap().contains("its last words: asked to"), "{last}");
}

#[test]
fn functions_describe_themselves() {
    let world = World::new();
    let Some(server) = served(&world, &[]) else { return };
    let list = server.get("/fn/f").unwrap().json();
    let names: Vec<&str> =
        list["functions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"greet") && names.contains(&"calls/count") && names.contains(&"more/count"),
        "{names:?}"
    );
    let document = server.get("/fn/f/openapi.json").unwrap().json();
    assert_eq!(document["openapi"], "3.1.0");
    let greet = &document["paths"]["/fn/f/greet"]["post"];
    let content = &greet["requestBody"]["content"]["application/json"];
    assert_eq!(content["schema"]["required"], json!(["name"]));
    // What the document shows as an example is an answerable request, for each of the functions that end.
    for (path, operation) in document["paths"].as_object().unwrap() {
        if ["spin", "crash"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let example = &operation["post"]["requestBody"]["content"]["application/json"]["example"];
        let answer = server.post(path, example.to_string()).unwrap();
        let known =
            operation["post"]["responses"].as_object().unwrap().contains_key(&answer.status.to_string());
        assert!(
            known && matches!(answer.status, 200 | 422),
            "{path} {example}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let page = server.get("/fn/f/docs").unwrap();
    assert!(page.content_type.unwrap().starts_with("text/html"));
}
