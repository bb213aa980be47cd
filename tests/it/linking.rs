//! Components linked into one by `eyot build`: what `plug` in a manifest may name, and what is wrong with it.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{World, text};

const TOKENS_WIT: &str = "package acme:text@0.1.0;
interface tokens { count: func(text: string) -> u32; }
world component { export tokens; }
";
const TOKENS: &str = "#include \"component.h\"
uint32_t exports_acme_text_tokens_count(component_string_t *text) {
    uint32_t words = 0;
    for (size_t at = 0; at < text->len; at++)
        words += text->ptr[at] != ' ' && (at == 0 || text->ptr[at - 1] == ' ');
    component_string_free(text);
    return words;
}
";
const SCORER_WIT: &str = "package acme:scorer;
interface functions { score: func(text: string) -> u32; }
world component { import acme:text/tokens@0.1.0; export functions; }
package acme:text@0.1.0 {
    interface tokens { count: func(text: string) -> u32; }
}
";
const SCORER: &str = "#include \"component.h\"
uint32_t exports_acme_scorer_functions_score(component_string_t *text) {
    uint32_t score = 10 * acme_text_tokens_count(text);
    component_string_free(text);
    return score;
}
";

/// A component in C with more lines in its manifest.
fn component(dir: &Path, more: &str, wit: &str, source: &str) {
    let name = dir.file_name().unwrap().to_str().unwrap();
    std::fs::create_dir_all(dir).unwrap();
    let manifest = format!("[component]\nname = \"{name}\"\nversion = \"0.1.0\"\nlanguage = \"c\"\n{more}\n");
    for (file, text) in [("eyot.toml", manifest.as_str()), ("component.wit", wit), ("main.c", source)] {
        std::fs::write(dir.join(file), text).unwrap();
    }
}

/// The socket with a list of plugs, built; what it then scores a text.
fn scored(world: &World, plugs: &str) -> Value {
    let scorer = world.dir.path().join("scorer");
    component(&scorer, &format!("plug = {plugs}"), SCORER_WIT, SCORER);
    world.eyot.json(&["build", text(&scorer)]).unwrap();
    world.eyot.json(&["invoke", text(&scorer), "score", "text=one two three"]).unwrap()
}

#[test]
fn a_plug_is_a_folder_a_file_or_a_reference() {
    let world = World::new();
    let tokens = world.dir.path().join("tokens");
    component(&tokens, "", TOKENS_WIT, TOKENS);
    assert_eq!(scored(&world, r#"["../tokens"]"#), 30);
    let described =
        || world.eyot.json(&["inspect", text(&world.dir.path().join("scorer/build/scorer.linked.wasm"))]);
    let composition = described().unwrap()["composition"].clone();
    assert_eq!(composition["plugs"][0]["name"], "tokens:0.1.0");
    assert_eq!(composition["plugs"][0]["fills"], json!(["acme:text/tokens@0.1.0"]));

    // What changes in a plug's folder is in the whole when it is built again.
    component(&tokens, "", TOKENS_WIT, &TOKENS.replace("return words", "return 2 * words"));
    assert_eq!(scored(&world, r#"["../tokens"]"#), 60);
    let digest = |composition: &Value| composition["plugs"][0]["digest"].clone();
    assert_ne!(digest(&described().unwrap()["composition"]), digest(&composition));

    assert_eq!(scored(&world, r#"["../tokens/build/tokens.wasm"]"#), 60);
    world.eyot.json(&["push", text(&tokens)]).unwrap();
    std::fs::remove_dir_all(&tokens).unwrap();
    assert_eq!(scored(&world, r#"["tokens:0.1.0"]"#), 60);
    world.eyot.json(&["push", text(&world.dir.path().join("scorer"))]).unwrap();
    let kept = world.eyot.json(&["inspect", "scorer:0.1.0"]).unwrap();
    assert_eq!(kept["composition"]["plugs"][0]["name"], "tokens:0.1.0");
    assert_eq!(
        kept["imports"].as_array().unwrap().iter().find(|name| **name == "acme:text/tokens@0.1.0"),
        None
    );
}

#[test]
fn a_plug_has_its_imports_filled_by_another() {
    let world = World::new();
    let (words, tokens) = (world.dir.path().join("words"), world.dir.path().join("tokens"));
    component(&words, "", &TOKENS_WIT.replace("tokens", "words"), &TOKENS.replace("tokens", "words"));
    let wit = "package acme:text@0.1.0;
        interface words { count: func(text: string) -> u32; }
        interface tokens { count: func(text: string) -> u32; }
        world component { import words; export tokens; }";
    let source = "#include \"component.h\"
        uint32_t exports_acme_text_tokens_count(component_string_t *text) {
            uint32_t count = 1000 + acme_text_words_count(text);
            component_string_free(text);
            return count;
        }";
    component(&tokens, "", wit, source);
    assert_eq!(scored(&world, r#"["../tokens", "../words"]"#), 10_030);
    let linked = world.dir.path().join("scorer/build/scorer.linked.wasm");
    let composition = world.eyot.json(&["inspect", text(&linked)]).unwrap()["composition"].clone();
    assert_eq!(composition["plugs"][1]["fills_of"], json!({ "tokens:0.1.0": ["acme:text/words@0.1.0"] }));
}

#[test]
fn what_cannot_be_linked_is_named_before_anything_is_pushed() {
    let world = World::new();
    let (tokens, scorer) = (world.dir.path().join("tokens"), world.dir.path().join("scorer"));
    component(&tokens, "", TOKENS_WIT, TOKENS);
    let other = world.dir.path().join("other");
    let wit = TOKENS_WIT.replace("text: string", "text: string, start: u32");
    component(&other, "", &wit, &TOKENS.replace("*text)", "*text, uint32_t start)"));
    component(&scorer, "", SCORER_WIT, SCORER);
    // Without a plug it is what somebody else may link, and says what it waits for.
    let built = world.eyot.json(&["build", text(&scorer), text(&tokens)]).unwrap();
    assert_eq!(built[0]["missing"], json!(["acme:text/tokens@0.1.0"]));
    for (more, kind, says) in [
        (r#"plug = ["./nowhere"]"#, "not_found", "there is no"),
        (r#"plug = ["none:1"]"#, "not_found", "there is no 'none:1'"),
        (r#"plug = ["Not A Name"]"#, "invalid", "'Not A Name' is no valid repository name"),
        (r#"plug = ["../scorer"]"#, "invalid", "scorer is plugged into itself"),
        (r#"plug = ["./main.c"]"#, "invalid", "main.c is neither a component nor a module"),
        (
            r#"plug = ["../other"]"#,
            "invalid",
            "another acme:text/tokens@0.1.0 than scorer imports: function or type `count`",
        ),
        (
            r#"plug = ["../tokens", "../tokens/build/tokens.wasm"]"#,
            "invalid",
            "both export acme:text/tokens@0.1.0",
        ),
        (r#"package = "acme:scorer""#, "invalid", "component.package is not for c"),
        (r#"plugs = []"#, "invalid", "plugs"),
    ] {
        component(&scorer, more, SCORER_WIT, SCORER);
        let refused = world.eyot.refused(&["build", text(&scorer)]).unwrap();
        assert_eq!(refused.kind, kind, "{more}: {}", refused.message);
        assert!(refused.message.contains(says), "{more}: {}", refused.message);
    }
}
