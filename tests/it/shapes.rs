//! Shapes that do not fit, and those that a model makes of numbers: the client's fault, said by name.

use eyot_tests::{Server, fixture};
use serde_json::{Value, json};

use crate::world::{World, text};

fn ask(server: &Server, name: &str, inputs: &Value) -> (u16, Value) {
    let answer =
        server.post(&format!("/v2/models/{name}/infer"), json!({ "inputs": inputs }).to_string()).unwrap();
    (answer.status, answer.json())
}

fn input(name: &str, datatype: &str, shape: &[usize], value: &Value) -> Value {
    let data = vec![value.clone(); shape.iter().product()];
    json!({ "name": name, "datatype": datatype, "shape": shape, "data": data })
}

#[test]
fn what_does_not_fit_is_the_clients_fault() {
    let world = World::new();
    let server = world.up();
    for name in ["rows", "sized", "shapeless"] {
        world.eyot.json(&["deploy", text(&fixture(name)), "--name", name]).unwrap();
    }
    // One name is one size, whichever input it is of.
    let rows = |many: usize| {
        json!([input("a", "INT64", &[2, 3], &json!(1)), input("text", "BYTES", &[many], &json!("t"))])
    };
    assert_eq!(ask(&server, "rows", &rows(2)).0, 200);
    let (status, told) = ask(&server, "rows", &rows(3));
    let told = told["error"].as_str().unwrap();
    assert_eq!(status, 400, "{told}");
    assert!(
        told.contains("inputs 'a' and 'text' have different sizes for the dimension 'n': 2 and 3"),
        "{told}"
    );
    assert!(told.contains("'a' [n, m], 'text' [n]"), "{told}");
    // Sizes out of numbers.
    let sized =
        |sizes: &[i64]| json!([{ "name": "x", "datatype": "INT64", "shape": [sizes.len()], "data": sizes }]);
    let (status, answer) = ask(&server, "sized", &sized(&[2, 3]));
    assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([2, 3])));
    for sizes in [&[-1][..], &[3, -2], &[1 << 40], &[1 << 62, 1 << 62], &[i64::MIN]] {
        let (status, told) = ask(&server, "sized", &sized(sizes));
        assert!((400..500).contains(&status), "{sizes:?}: {status} {told}");
    }
    // What has no shape takes any.
    for shape in [&[][..], &[3], &[2, 2]] {
        let (status, answer) = ask(&server, "shapeless", &json!([input("x", "FP32", shape, &json!(1.5))]));
        assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!(shape)), "{answer}");
    }
    assert_eq!(server.get("/v2/models/shapeless/openapi.json").unwrap().status, 200);
    assert_eq!(server.get("/v2/models/shapeless/docs").unwrap().status, 200);
    server.stop().unwrap();
}
