//! What the file beside a test's program says.

use serde_json::Value;

/// A text of that name, or what it is by default.
pub(super) fn text<'a>(value: &'a Value, key: &str, default: &'a str) -> &'a str {
    value[key].as_str().unwrap_or(default)
}

/// All texts of a list.
pub(super) fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// All texts of a map, with their names.
pub(super) fn pairs(fields: &Value) -> Vec<(String, String)> {
    let pair = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    fields.as_object().into_iter().flatten().filter_map(pair).collect()
}
