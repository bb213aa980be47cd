//! The key under which a step's outcome is cached.
//!
//! sha256 over fields, each behind its length as eight bytes in little endian: the tag below, the
//! component's digest, the exported function, the runner's semantics, the number of arguments, then
//! name and value of each in the order of the names, then the number of artifacts among them, place and media
//! type of each in the order of the places. A place is a JSON pointer into the arguments, a value is JSON
//! without white space and with keys sorted. So no two different steps can have the same bytes.

use std::collections::BTreeMap;

use eyot_core::{Digest, Digester};
use indexmap::IndexMap;
use serde_json::Value;

const TAG: &str = "eyot-step/3";

pub(crate) fn cache_key(
    component: &Digest,
    function: &str,
    semantics: &str,
    arguments: &IndexMap<String, Value>,
    media_types: &BTreeMap<String, String>,
) -> Digest {
    let mut digester = Digester::new();
    let mut field = |text: &str| {
        digester.update((text.len() as u64).to_le_bytes());
        digester.update(text);
    };
    let component = component.to_string();
    [TAG, &component, function, semantics, &arguments.len().to_string()].into_iter().for_each(&mut field);
    let mut names: Vec<_> = arguments.keys().collect();
    names.sort();
    for name in names {
        field(name);
        field(&canonical(&arguments[name]));
    }
    field(&media_types.len().to_string());
    for (place, media_type) in media_types {
        field(place);
        field(media_type);
    }
    digester.finish()
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            let field =
                |key: &&String| format!("{}:{}", Value::String((*key).clone()), canonical(&map[*key]));
            format!("{{{}}}", keys.iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(function: &str, semantics: &str, arguments: &Value) -> Digest {
        let arguments =
            arguments.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
        cache_key(&Digest::of("component"), function, semantics, &arguments.collect(), &BTreeMap::new())
    }

    #[test]
    fn order_means_nothing_and_everything_else_something() {
        let base = key("train", "s", &json!({"a": {"x": 1, "y": [1, 2]}, "b": "t"}));
        assert_eq!(base, key("train", "s", &json!({"b": "t", "a": {"y": [1, 2], "x": 1}})));
        for other in [
            key("trai", "ns", &json!({"a": {"x": 1, "y": [1, 2]}, "b": "t"})),
            key("train", "s2", &json!({"a": {"x": 1, "y": [1, 2]}, "b": "t"})),
            key("train", "s", &json!({"a": {"x": 1, "y": [2, 1]}, "b": "t"})),
            key("train", "s", &json!({"a": {"x": "1", "y": [1, 2]}, "b": "t"})),
            key("train", "s", &json!({"a": {"x": 1, "y": [1, 2]}, "b": "t", "c": null})),
            key("train", "s", &json!({"ab": "t"})),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_type_of_an_artifact_is_part_of_what_it_is() {
        let data = Digest::of("data");
        let key = |types: [&str; 2]| {
            let arguments = ["left", "right"].map(|name| (name.to_owned(), json!(data)));
            let media_types =
                ["/left", "/right"].map(str::to_owned).into_iter().zip(types.map(str::to_owned));
            cache_key(&Digest::of("component"), "load", "s", &arguments.into(), &media_types.collect())
        };
        assert_eq!(key(["text/csv"; 2]), key(["text/csv"; 2]));
        assert_ne!(key(["text/csv"; 2]), key(["application/json"; 2]));
        // Equal bytes in two places, which differ in their types only.
        assert_ne!(key(["text/csv", "application/json"]), key(["application/json", "text/csv"]));
    }
}
