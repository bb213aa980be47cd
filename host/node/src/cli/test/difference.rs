//! Whether a value is what was expected.

use serde_json::{Number, Value};

/// The first place where `found` is not as `expected`. Fields that are not expected may be there.
pub(super) fn difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(fields), Value::Object(map)) => fields.iter().find_map(|(name, expected)| {
            difference(expected, map.get(name).unwrap_or(&Value::Null), &format!("{path}.{name}"))
        }),
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            let pairs = wanted.iter().zip(items).enumerate();
            pairs.into_iter().find_map(|(index, (expected, found))| {
                difference(expected, found, &format!("{path}[{index}]"))
            })
        }
        (Value::Number(wanted), Value::Number(number)) if close(wanted, number) => None,
        (expected, found) if expected == found => None,
        (expected, found) => Some(format!("{path}: expected {expected}, found {found}")),
    }
}

/// Whole numbers are equal or not; others may differ in the last digits of an FP32.
fn close(wanted: &Number, found: &Number) -> bool {
    if wanted == found {
        return true;
    }
    let whole = |number: &Number| number.is_i64() || number.is_u64();
    let (Some(wanted_float), Some(found_float)) = (wanted.as_f64(), found.as_f64()) else { return false };
    if whole(wanted) && whole(found) {
        return false;
    }
    (wanted_float - found_float).abs() <= 1e-6 + 1e-5 * wanted_float.abs()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_expected_must_be_there_and_more_may_be() {
        for (expected, found, says) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), None),
            (json!({"a": 1}), json!({"a": 1.0}), None),
            (json!({"a": null}), json!({}), None),
            (json!([0.1, -1]), json!([0.100_000_001_490_116_12, -0.999_999_99]), None),
            (json!({"a": [1]}), json!({"a": [2]}), Some("at.a[0]: expected 1, found 2")),
            (
                json!(9_007_199_254_740_993_i64),
                json!(9_007_199_254_740_992_i64),
                Some("at: expected 9007199254740993, found 9007199254740992"),
            ),
            (json!([1]), json!([1, 2]), Some("at: expected [1], found [1,2]")),
            (json!({"a": "x"}), json!({"b": "x"}), Some("at.a: expected \"x\", found null")),
            (json!(0.5), json!(0.6), Some("at: expected 0.5, found 0.6")),
        ] {
            assert_eq!(difference(&expected, &found, "at").as_deref(), says, "{expected} {found}");
        }
    }
}
