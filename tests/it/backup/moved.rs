//! From SQLite to PostgreSQL and back.

use eyot_test_services::PostgresServer;
use eyot_tests::fixture;
use serde_json::Value;

use super::{Site, flower};
use crate::world::{World, text};

#[test]
fn rows_move_to_postgres_and_back_while_names_stay() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let world = World::new();
    let url = postgres.url("eyot");
    let server = world.up();
    world.eyot.json(&["deploy", text(&fixture("iris-forest")), "--name", "iris"]).unwrap();
    let (expected, to) = (flower(&server), ["move", "--to", url.as_str()]);
    let refused = world.eyot.refused(&to).unwrap();
    assert!(refused.kind == "conflict" && refused.message.contains("open in another process"), "{refused:?}");
    server.stop().unwrap();
    let listed = world.eyot.json(&["ls"]).unwrap();
    let before = std::fs::read(world.eyot.data().join("eyot.db")).unwrap();

    let moved = world.eyot.json(&to).unwrap();
    assert!(moved["rows"].as_u64().unwrap() > 5, "{moved:#}");
    let setting = moved["setting"].as_str().unwrap();
    assert_eq!(setting, format!("storage.database = \"{url}\""));
    assert!(world.eyot.text(&["config", "--config", &world.write("eyot.toml", setting)]).is_ok());
    assert_eq!(std::fs::read(world.eyot.data().join("eyot.db")).unwrap(), before);
    let refused = world.eyot.refused(&to).unwrap();
    assert!(
        refused.kind == "conflict" && refused.message.contains("has rows of Eyot already"),
        "{refused:?}"
    );

    let on_postgres = world.eyot.clone().with_setting(format!("storage.database={url}"));
    let server = on_postgres.up().unwrap();
    assert_eq!(flower(&server), expected);
    on_postgres.json(&["push", text(&fixture("iris-forest")), "--as", "more:1.0.0"]).unwrap();
    server.stop().unwrap();
    assert_ne!(on_postgres.json(&["ls"]).unwrap(), listed);
    let back = ["move", "--to", "sqlite"];
    let refused = on_postgres.refused(&back).unwrap();
    assert!(
        refused.kind == "conflict" && refused.message.contains("eyot.db is there already"),
        "{refused:?}"
    );
    std::fs::rename(world.eyot.data().join("eyot.db"), world.dir.path().join("before.db")).unwrap();
    on_postgres.json(&back).unwrap();
    assert_eq!(world.eyot.json(&["ls"]).unwrap(), on_postgres.json(&["ls"]).unwrap());
    let refused = world.eyot.refused(&back).unwrap();
    assert!(refused.kind == "conflict" && refused.message.contains("in SQLite already"), "{refused:?}");
    let server = world.up();
    assert_eq!(flower(&server), expected);
    world.eyot.text(&["audit", "verify"]).unwrap();
    server.stop().unwrap();
}

#[test]
fn a_restore_into_a_database_with_rows_is_refused_and_one_that_was_cut_off_goes_on() {
    let Some(postgres) = PostgresServer::start().unwrap() else { return };
    let site = Site::new(World::new());
    site.world.eyot.json(&["push", text(&fixture("iris-forest")), "--as", "iris:1.0.0"]).unwrap();
    site.back_up();
    let arguments = ["restore", text(&site.backup)];
    let on_postgres =
        |name: &str| site.other(name).with_setting(format!("storage.database={}", postgres.url("eyot")));
    let first = on_postgres("first");
    first.json(&arguments).unwrap();
    let second = on_postgres("second");
    let refused = second.refused(&arguments).unwrap();
    assert!(
        refused.kind == "conflict" && refused.message.contains("has rows of Eyot already"),
        "{refused:?}"
    );
    assert!(!second.data().join("restoring").exists(), "nothing was begun");
    // Killed between the commit of the rows and the end: the rows are there, and so is the mark.
    let document: Value =
        serde_json::from_slice(&std::fs::read(site.backup.join("backup.json")).unwrap()).unwrap();
    std::fs::write(first.data().join("restoring"), document["rows"]["digest"].as_str().unwrap()).unwrap();
    first.json(&arguments).unwrap();
    assert_eq!(first.json(&["ls"]).unwrap(), site.world.eyot.json(&["ls"]).unwrap());
}
