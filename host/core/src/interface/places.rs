//! Where artifacts stand in a value, as JSON pointers (RFC 6901).

use serde_json::Value;

use super::{Type, some};

impl Type {
    /// The places in a value of this type where an artifact is to stand, in the order of the value.
    /// What does not fit the type has none.
    pub fn artifacts_in(&self, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if self.has_artifact() {
            self.find_artifacts(value, "", &mut found);
        }
        found
    }

    fn find_artifacts(&self, value: &Value, at: &str, found: &mut Vec<String>) {
        match (self, value) {
            (Type::Artifact, _) => found.push(at.to_owned()),
            (Type::Option(inner), value) if inner.is_optional() => {
                if let Some(value) = some(value) {
                    inner.find_artifacts(value, &below(at, "some"), found);
                }
            }
            (Type::Option(inner), value) if !value.is_null() => inner.find_artifacts(value, at, found),
            (Type::List(inner), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    inner.find_artifacts(item, &format!("{at}/{index}"), found);
                }
            }
            (Type::Tuple(types), Value::Array(items)) => {
                for (index, (ty, item)) in types.iter().zip(items).enumerate() {
                    ty.find_artifacts(item, &format!("{at}/{index}"), found);
                }
            }
            (_, Value::Object(map)) => {
                for (name, value) in map {
                    if let Some(ty) = self.part(name) {
                        ty.find_artifacts(value, &below(at, name), found);
                    }
                }
            }
            _ => {}
        }
    }

    /// The type of what stands under a name in the JSON form of a record, a variant or a result.
    fn part(&self, name: &str) -> Option<&Type> {
        match self {
            Type::Record(fields) => Some(&fields.iter().find(|field| field.name == name)?.ty),
            Type::Variant(cases) => cases.iter().find(|case| case.name == name)?.ty.as_ref(),
            Type::Result { ok, .. } if name == "ok" => ok.as_deref(),
            Type::Result { err, .. } if name == "err" => err.as_deref(),
            _ => None,
        }
    }
}

/// The pointer of what stands under a name.
pub fn below(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::interface::{Case, Field};

    #[test]
    fn artifacts_are_found_wherever_a_type_has_them() {
        let artifact = || Type::Artifact;
        let list = Type::List(Box::new(Type::Artifact));
        let record = Type::Record(vec![
            Field { name: "a/b".into(), ty: list.clone() },
            Field { name: "text".into(), ty: Type::String },
        ]);
        let option = Type::Option(Box::new(artifact()));
        for (ty, value, places) in [
            (artifact(), json!("x"), vec![""]),
            (Type::String, json!("x"), vec![]),
            (list, json!(["x", "y"]), vec!["/0", "/1"]),
            (record, json!({"a/b": ["x"], "text": "y"}), vec!["/a~1b/0"]),
            (option.clone(), json!(null), vec![]),
            (option.clone(), json!("x"), vec![""]),
            (Type::Option(Box::new(option)), json!({"some": "x"}), vec!["/some"]),
            (Type::Tuple(vec![Type::U8, artifact()]), json!([1, "x"]), vec!["/1"]),
            (Type::Result { ok: None, err: Some(Box::new(artifact())) }, json!({"err": "x"}), vec!["/err"]),
            (
                Type::Variant(vec![Case { name: "c".into(), ty: Some(artifact()) }]),
                json!({"c": "x"}),
                vec!["/c"],
            ),
        ] {
            assert_eq!(ty.artifacts_in(&value), places, "{ty} {value}");
            assert!(places.iter().all(|place| value.pointer(place).is_some()));
        }
    }
}
