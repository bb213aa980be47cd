//! What components in JavaScript reach.

use eyot_tests::program;
use serde_json::Value;

use crate::world::{World, text};

/// Sends a request by a name that nobody can see in the source.
const HIDDEN: &str = r#"
const ask = globalThis["fet" + "ch"];
const { fetch: again } = globalThis;

export default {
  async fetch(request) {
    const url = decodeURIComponent(new URL(request.url).search.slice(1));
    try {
      const answers = await Promise.all([ask(url), again(url)]);
      return new Response(answers.map((one) => one.status).join(" "));
    } catch (error) {
      return new Response(`not answered: ${error}`);
    }
  },
};
"#;

/// Has a method of that name, and sends none.
const OTHER: &str = r#"
const store = { fetch: (key) => key.length };

/**
 * @param {string} key
 * @returns {number}
 */
export function size(key) {
  return store.fetch(key);
}
"#;

#[test]
fn requests_by_any_name_are_sent_where_they_are_granted() {
    if program("node").and(program("npm")).is_none() {
        return;
    }
    let world = World::new();
    let dirs = [("hidden", HIDDEN), ("other", OTHER)].map(|(name, source)| {
        let dir = world.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let manifest =
            format!("[component]\nname = \"{name}\"\nversion = \"0.1.0\"\nlanguage = \"javascript\"\n");
        std::fs::write(dir.join("eyot.toml"), manifest).unwrap();
        std::fs::write(dir.join("app.js"), source).unwrap();
        dir
    });
    world.eyot.json(&["build", text(&dirs[0]), text(&dirs[1])]).unwrap();
    let built = |name: &str| dirs[usize::from(name == "other")].join(format!("build/{name}.wasm"));
    let sends = |name: &str| {
        let inspected = world.eyot.json(&["inspect", text(&built(name))]).unwrap();
        let imports: Vec<Value> = inspected["imports"].as_array().unwrap().clone();
        imports.iter().any(|import| import.as_str().unwrap().starts_with("wasi:http/outgoing-handler"))
    };
    assert_eq!((sends("hidden"), sends("other")), (true, false));
    // What sends none needs no grant, and is told of none.
    let server = world.up();
    let deployed = world.eyot.json(&["deploy", text(&built("other"))]).unwrap();
    assert_eq!(deployed["warnings"], Value::Null, "{deployed:#}");
    assert_eq!(server.post("/fn/other/size", r#"{"key": "four"}"#).unwrap().json(), 4.0);
    let ask = || server.get(&format!("/hidden?{}/v2/", server.api)).unwrap().text();
    world.eyot.json(&["deploy", text(&built("hidden"))]).unwrap();
    assert!(ask().starts_with("not answered"), "{}", ask());
    let host = server.api.trim_start_matches("http://").to_owned();
    world.eyot.json(&["deploy", text(&built("hidden")), "--allow-http", &host]).unwrap();
    assert_eq!(ask(), "200 200");
}
