//! Values and references as a pipeline file writes them.

use eyot_core::Error;
use serde_json::Value;

/// `{ from = … }`, `{ param = … }` or `{ input = … }`.
pub(super) fn reference(value: &toml::Value) -> Option<(&str, &str)> {
    let table = value.as_table().filter(|table| table.len() == 1)?;
    let (key, value) = table.iter().next()?;
    matches!(key.as_str(), "from" | "param" | "input").then_some((key.as_str(), value.as_str()?))
}

/// A TOML value as JSON. Dates become text, as JSON has none.
pub(super) fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) if number.is_nan() => Value::from("NaN"),
        toml::Value::Float(number) if number.is_infinite() => {
            Value::from(if *number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::Bool(*truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(json).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

pub(super) fn with_hint(error: &Error) -> String {
    let hint = error.hint_text().map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{}{hint}", error.chain())
}

pub(super) fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("'{name}'")).collect();
    match names.as_slice() {
        [] => "there are none".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    }
}
