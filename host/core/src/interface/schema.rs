//! JSON Schemas of WIT types: what [`Type::check`] takes, and what functions give.

use serde_json::{Map, Value, json};

use super::{Case, Field, Function, Type};

impl Type {
    /// The JSON Schema (draft 2020-12) of this type's values.
    pub fn schema(&self) -> Value {
        match self {
            Type::Bool => json!({ "type": "boolean" }),
            Type::F32 | Type::F64 => json!({ "anyOf": [
                { "type": "number", "format": if *self == Type::F32 { "float" } else { "double" } },
                { "enum": ["NaN", "Infinity", "-Infinity"] }
            ] }),
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::String => json!({ "type": "string" }),
            Type::Artifact => json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" }),
            Type::List(_) if self.is_bytes() => json!({ "type": "string", "contentEncoding": "base64" }),
            Type::List(inner) => json!({ "type": "array", "items": inner.schema() }),
            Type::Tuple(types) => {
                let items: Vec<Value> = types.iter().map(Type::schema).collect();
                let length = items.len();
                json!({ "type": "array", "prefixItems": items, "minItems": length, "maxItems": length })
            }
            Type::Record(fields) => object(fields),
            Type::Variant(cases) => json!({ "oneOf": cases.iter().map(case).collect::<Vec<_>>() }),
            Type::Enum(cases) => json!({ "enum": cases }),
            Type::Flags(flags) => json!({ "type": "array", "items": { "enum": flags }, "uniqueItems": true }),
            Type::Option(inner) if inner.is_optional() => {
                json!({ "anyOf": [{ "type": "null" }, tagged("some", Some(inner))] })
            }
            Type::Option(inner) => json!({ "anyOf": [{ "type": "null" }, inner.schema()] }),
            Type::Result { ok, err } => {
                json!({ "oneOf": [tagged("ok", ok.as_deref()), tagged("err", err.as_deref())] })
            }
            // No value of JSON is one.
            Type::Resource(_) => json!({ "not": {} }),
            integer => match integer.integer_range() {
                Some(range) => whole(integer, *range.start(), *range.end()),
                None => json!({}),
            },
        }
    }
}

/// Numbers that every reader of JSON holds exactly; larger ones may be written as strings too.
const EXACT: i128 = 1 << 53;

fn whole(ty: &Type, least: i128, most: i128) -> Value {
    let number = |bound: i128| i64::try_from(bound).map_or_else(|_| json!(u64::MAX), |bound| json!(bound));
    let mut schema = json!({ "type": "integer", "minimum": number(least), "maximum": number(most) });
    if most <= EXACT {
        return schema;
    }
    schema["format"] = json!(if *ty == Type::S64 { "int64" } else { "uint64" });
    json!({ "anyOf": [schema, { "type": "string", "pattern": "^-?[0-9]+$" }] })
}

/// An object with these fields and no others.
pub(super) fn object(fields: &[Field]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), field.ty.schema())).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| !field.ty.is_optional()).map(|field| field.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn case(case: &Case) -> Value {
    match &case.ty {
        None => json!({ "const": case.name }),
        Some(ty) => tagged(&case.name, Some(ty)),
    }
}

fn tagged(name: &str, ty: Option<&Type>) -> Value {
    let inner = ty.map_or_else(|| json!({ "type": "null" }), Type::schema);
    json!({ "type": "object", "properties": { name: inner }, "required": [name], "additionalProperties": false })
}

impl Function {
    /// The JSON Schema of its arguments: an object by parameter name.
    pub fn arguments_schema(&self) -> Value {
        object(&self.params)
    }

    /// What it gives when all goes well, and what when it answers an error; `None` where it gives
    /// nothing.
    pub fn answers(&self) -> (Option<&Type>, Option<Option<&Type>>) {
        match &self.result {
            Some(Type::Result { ok, err }) => (ok.as_deref(), Some(err.as_deref())),
            other => (other.as_ref(), None),
        }
    }

    /// Whether values in JSON can be its arguments and its result.
    pub fn is_plain(&self) -> bool {
        let types = self.params.iter().map(|param| &param.ty).chain(&self.result);
        types.into_iter().all(|ty| !ty.any(&|ty| matches!(ty, Type::Artifact | Type::Resource(_))))
    }
}

impl Type {
    /// Whether `test` holds for it or for a type inside of it.
    pub fn any(&self, test: &dyn Fn(&Type) -> bool) -> bool {
        test(self)
            || match self {
                Type::List(ty) | Type::Option(ty) => ty.any(test),
                Type::Tuple(types) => types.iter().any(|ty| ty.any(test)),
                Type::Record(fields) => fields.iter().any(|field| field.ty.any(test)),
                Type::Variant(cases) => {
                    cases.iter().filter_map(|case| case.ty.as_ref()).any(|ty| ty.any(test))
                }
                Type::Result { ok, err } => [ok, err].into_iter().flatten().any(|ty| ty.any(test)),
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_schemas() {
        let boxed = |ty| Some(Box::new(ty));
        for (ty, schema) in [
            (Type::U8, json!({ "type": "integer", "minimum": 0, "maximum": 255 })),
            (
                Type::S64,
                json!({ "anyOf": [
                    { "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX, "format": "int64" },
                    { "type": "string", "pattern": "^-?[0-9]+$" }
                ] }),
            ),
            (Type::List(Box::new(Type::U8)), json!({ "type": "string", "contentEncoding": "base64" })),
            (
                Type::Option(Box::new(Type::Bool)),
                json!({ "anyOf": [{ "type": "null" }, { "type": "boolean" }] }),
            ),
            (
                Type::Result { ok: boxed(Type::String), err: None },
                json!({ "oneOf": [
                    { "type": "object", "properties": { "ok": { "type": "string" } }, "required": ["ok"], "additionalProperties": false },
                    { "type": "object", "properties": { "err": { "type": "null" } }, "required": ["err"], "additionalProperties": false }
                ] }),
            ),
            (
                Type::Variant(vec![
                    Case { name: "none".into(), ty: None },
                    Case { name: "at".into(), ty: Some(Type::Char) },
                ]),
                json!({ "oneOf": [
                    { "const": "none" },
                    { "type": "object", "properties": { "at": { "type": "string", "minLength": 1, "maxLength": 1 } }, "required": ["at"], "additionalProperties": false }
                ] }),
            ),
            (
                Type::Record(vec![
                    Field { name: "a".into(), ty: Type::String },
                    Field { name: "b".into(), ty: Type::Option(Box::new(Type::String)) },
                ]),
                json!({
                    "type": "object",
                    "properties": { "a": { "type": "string" }, "b": { "anyOf": [{ "type": "null" }, { "type": "string" }] } },
                    "required": ["a"],
                    "additionalProperties": false
                }),
            ),
        ] {
            assert_eq!(ty.schema(), schema, "{ty}");
        }
    }
}
