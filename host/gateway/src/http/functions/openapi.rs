//! What a deployment's functions take and give, as OpenAPI 3.1 and as a list.

use std::collections::BTreeMap;

use eyot_core::interface::{Function, Type};
use eyot_engine::JsonFunctions;
use serde_json::{Map, Value, json};

use crate::serving::endpoint::ServingRevision;

/// Where a deployment is found.
pub(super) struct DeploymentUrl<'a> {
    pub(super) name: &'a str,
    pub(super) base: &'a str,
    pub(super) origin: &'a str,
}

/// The names to call functions by: bare where that means one of them.
pub(crate) fn names(functions: &JsonFunctions) -> Vec<(String, &Function)> {
    let bare = |function: &Function| {
        let short = function.short();
        short.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let mut count = BTreeMap::<String, usize>::new();
    functions.all().for_each(|function| *count.entry(bare(function)).or_default() += 1);
    let name = |function: &Function| match count.get(&bare(function)) {
        Some(1) => bare(function),
        _ => function.short(),
    };
    functions.all().map(|function| (name(function), function)).collect()
}

/// The functions of what serves, for programs.
pub(super) fn list(live: &ServingRevision, functions: &JsonFunctions) -> Value {
    let all = names(functions).into_iter().map(|(name, function)| {
        json!({
            "name": name,
            "export": function.name,
            "signature": signature(function),
            "docs": function.docs,
            "arguments": function.arguments_schema(),
            "result": function.answers().0.map(Type::schema),
        })
    });
    json!({
        "name": live.revision.deployment,
        "revision": live.revision.revision,
        "functions": all.collect::<Vec<_>>(),
    })
}

/// `(a: u32) -> string`.
pub(super) fn signature(function: &Function) -> String {
    let whole = function.to_string();
    whole.strip_prefix(&function.name).unwrap_or(&whole).to_owned()
}

/// The OpenAPI document of a deployment.
pub(super) fn document(place: &DeploymentUrl<'_>, functions: &JsonFunctions) -> Value {
    let mut paths = Map::new();
    for (name, function) in names(functions) {
        paths.insert(format!("{}/{name}", place.base), json!({ "post": operation(&name, function) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": place.name, "version": "1" },
        "servers": [{ "url": place.origin }],
        "paths": paths,
        "components": { "schemas": { "Error": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "type": "string" } }
        } } }
    })
}

fn operation(name: &str, function: &Function) -> Value {
    let mut arguments = function.arguments_schema();
    let mut body = Map::new();
    if let Some(properties) = arguments["properties"].as_object_mut() {
        for param in &function.params {
            let docs = function.docs.as_ref().and_then(|docs| docs.params.get(&param.name));
            if let (Some(text), Some(schema)) = (docs, properties.get_mut(&param.name)) {
                schema["description"] = json!(text);
            }
        }
    }
    let needed = function.params.iter().any(|param| !param.ty.is_optional());
    body.insert("application/json".to_owned(), json!({ "schema": arguments, "example": example(function) }));
    if function.takes_bytes().is_some() {
        body.insert("application/octet-stream".to_owned(), json!({}));
    }
    let (ok, err) = function.answers();
    let mut content = Map::new();
    content.insert(
        "application/json".to_owned(),
        json!({ "schema": ok.map_or_else(|| json!({ "type": "null" }), Type::schema) }),
    );
    if ok.is_some_and(Type::is_bytes) {
        content.insert("application/octet-stream".to_owned(), json!({}));
    }
    let mut responses = Map::new();
    responses
        .insert("200".to_owned(), json!({ "description": "What the function gives", "content": content }));
    if let Some(err) = err {
        let inner = err.map_or_else(|| json!({ "type": "null" }), Type::schema);
        let schema = json!({ "type": "object", "required": ["error"], "properties": { "error": inner } });
        responses.insert(
            "422".to_owned(),
            json!({ "description": "The function's own error", "content": { "application/json": { "schema": schema } } }),
        );
    }
    for (status, text) in [
        ("400", "The arguments do not fit; the message names the parameter and the place in it"),
        ("429", "Too many requests wait already; see Retry-After"),
        ("500", "The component failed"),
        ("504", "The function did not answer in time"),
    ] {
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        responses.insert(
            status.to_owned(),
            json!({ "description": text, "content": { "application/json": { "schema": schema } } }),
        );
    }
    let mut operation = json!({
        "operationId": name.replace('/', "-"),
        "requestBody": { "required": needed, "content": body },
        "responses": responses,
    });
    if let Some(docs) = &function.docs {
        operation["summary"] = json!(docs.text.lines().next().unwrap_or_default());
        operation["description"] = json!(docs.text);
    }
    operation
}

/// Arguments that fit: the emptiest value of each type.
pub(super) fn example(function: &Function) -> Value {
    let needed = function.params.iter().filter(|param| !param.ty.is_optional());
    Value::Object(needed.map(|param| (param.name.clone(), least(&param.ty))).collect())
}

fn least(ty: &Type) -> Value {
    match ty {
        Type::Bool => json!(false),
        Type::F32 | Type::F64 => json!(0.0),
        Type::Char => json!("a"),
        Type::String => json!(""),
        Type::List(_) if ty.is_bytes() => json!(""),
        Type::List(inner) => json!([least(inner)]),
        Type::Tuple(types) => Value::Array(types.iter().map(least).collect()),
        Type::Record(fields) => {
            let needed = fields.iter().filter(|field| !field.ty.is_optional());
            Value::Object(needed.map(|field| (field.name.clone(), least(&field.ty))).collect())
        }
        Type::Variant(cases) => cases.first().map_or(Value::Null, |case| match &case.ty {
            None => json!(case.name),
            Some(ty) => json!({ case.name.as_str(): least(ty) }),
        }),
        Type::Enum(cases) => cases.first().map_or(Value::Null, |case| json!(case)),
        Type::Flags(_) => json!([]),
        Type::Result { ok, .. } => json!({ "ok": ok.as_ref().map_or(Value::Null, |ty| least(ty)) }),
        Type::Option(_) | Type::Artifact | Type::Resource(_) => Value::Null,
        _ => json!(0),
    }
}
