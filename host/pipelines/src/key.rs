//! The key under which a step's outcome is cached.
//!
//! sha256 over fields, each behind its length as eight bytes in little endian: the tag below, the
//! component's digest, the exported function, the runner's semantics, the number of arguments, then
//! name and value of each in the order of the names. A value is JSON without white space and with keys
//! sorted; an artifact is its digest. So no two different steps can have the same bytes.

use eyot_core::{Digest, Digester};
use indexmap::IndexMap;
use serde_json::Value;

const TAG: &str = "eyot-step/1";

pub(crate) fn cache_key(
    component: &Digest,
    function: &str,
    semantics: &str,
    arguments: &IndexMap<String, Value>,
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
        cache_key(&Digest::of("component"), function, semantics, &arguments.collect())
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
}
