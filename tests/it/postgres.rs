//! `storage.database`: a server whose rows are in PostgreSQL.

use eyot_test_services::PostgresServer;
use eyot_tests::fixture;
use serde_json::{Value, json};

use crate::world::{World, text};

const FLOWER: &str =
    r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}"#;

fn input_name(metadata: &Value) -> &str {
    metadata["inputs"][0]["name"].as_str().unwrap()
}

#[test]
fn a_database_is_one_servers() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let (first, second) = (World::on_postgres(&postgres), World::on_postgres(&postgres));
    let server = first.up();
    let refused = second.eyot.refused(&["up", "--set", "api.listen=127.0.0.1:0"]).unwrap();
    assert_eq!(refused.kind, "conflict", "{refused:?}");
    assert!(refused.message.contains("another server uses this database"), "{refused:?}");
    assert!(refused.hint.contains("--server"), "{refused:?}");
    // However it ended, the next one may.
    server.kill().unwrap();
    second.up().stop().unwrap();
}

#[test]
fn a_database_that_is_not_there_is_named_without_its_password() {
    let world = World::new();
    let with = |url: &str| {
        let setting = format!("storage.database={url}");
        world.eyot.refused(&["deployments", "--set", &setting]).unwrap()
    };
    let refused = with("postgres://ana:s3cret@127.0.0.1:1/eyot");
    assert_eq!(refused.kind, "unavailable", "{refused:?}");
    assert!(refused.message.contains("'eyot' at 127.0.0.1:1"), "{refused:?}");
    assert!(!format!("{refused:?}").contains("s3cret"));
    let refused = with("mysql://ana:s3cret@127.0.0.1/eyot");
    assert_eq!(refused.kind, "invalid", "{refused:?}");
    assert!(!format!("{refused:?}").contains("s3cret"));
    let shown =
        world.eyot.text(&["config", "--set", "storage.database=postgres://ana:s3cret@db/eyot"]).unwrap();
    assert!(shown.contains("postgres://ana:***@db/eyot"), "{shown}");
}

#[test]
fn text_that_is_not_ordered_by_its_bytes_is_refused() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let german = "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'";
    if postgres.run_sql("postgres", german).is_err() {
        eprintln!("ignored: this PostgreSQL has no ICU");
        return;
    }
    let world = World::new();
    let setting = format!("storage.database={}", postgres.url("sorted"));
    let refused = world.eyot.refused(&["deployments", "--set", &setting]).unwrap();
    assert_eq!(refused.kind, "invalid", "{refused:?}");
    assert!(refused.hint.contains("LC_COLLATE 'C'"), "{refused:?}");
}

#[test]
fn while_the_database_is_down_predictions_go_on_and_changes_are_refused() {
    let Some(mut postgres) = PostgresServer::start().unwrap() else { return };
    let world = World::on_postgres(&postgres);
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let metadata = server.get("/v2/models/iris").unwrap().json();
    let flower = FLOWER.replace("\"x\"", &format!("{:?}", input_name(&metadata)));
    let predict = || server.post("/v2/models/iris/infer", flower.as_str()).unwrap();
    let answer = predict();
    assert_eq!(answer.status, 200, "{}", answer.text());

    postgres.stop().unwrap();
    for _ in 0..20 {
        assert_eq!(predict().status, 200);
    }
    let refused = world.eyot.refused(&["undeploy", "iris"]).unwrap();
    assert_eq!(refused.kind, "unavailable", "{refused:?}");
    assert_eq!(predict().status, 200, "what was not written did not happen");

    postgres.start_again().unwrap();
    world.eyot.json(&["undeploy", "iris"]).unwrap();
    assert_eq!(predict().status, 404);
    assert_eq!(world.eyot.json(&["deployments"]).unwrap(), json!([]));
}
