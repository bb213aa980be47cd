//! Values of the component model as JSON, both ways. The rules are those of
//! [`eyot_core::interface::Type::check`], which everything that comes in here has passed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_core::interface::{Case, Field, Function, Type, below, integer, some};
use eyot_core::{Digest, Error, Result};
use serde_json::{Map, Number, Value, json};
use wasmtime::Store;
use wasmtime::component::{Resource, ResourceAny, Val};

use crate::capabilities::artifacts::ArtifactEntry;
use crate::guest::GuestState;

/// The arguments of a call, from values by parameter name. What is optional may be left out.
/// `media_types` has the places, as JSON pointers, of the artifacts among them.
///
/// Fails with `Invalid` that names the parameter and the path inside of it.
pub(crate) fn arguments<'a>(
    store: &mut Store<GuestState>,
    function: &Function,
    given: impl Fn(&str) -> Option<&'a Value>,
    media_types: &BTreeMap<String, String>,
) -> Result<Vec<Val>> {
    let mut values = Vec::with_capacity(function.params.len());
    for param in &function.params {
        let value = given(&param.name).unwrap_or(&Value::Null);
        let value = param.ty.check(value).and_then(|()| {
            let value = typed(value, &below("", &param.name), media_types);
            to_val(store, &param.ty, &value)
        });
        values
            .push(value.map_err(|error| {
                error.context(format!("parameter '{}' of {}", param.name, function.name))
            })?);
    }
    Ok(values)
}

/// A value whose digests of artifacts have become digest and media type.
fn typed<'a>(value: &'a Value, at: &str, media_types: &BTreeMap<String, String>) -> Cow<'a, Value> {
    let mut value = Cow::Borrowed(value);
    for (place, media_type) in media_types {
        let Some(inside) = place.strip_prefix(at) else { continue };
        if value.pointer(inside).is_some_and(Value::is_string)
            && let Some(found) = value.to_mut().pointer_mut(inside)
        {
            *found = json!({ "digest": found.take(), "media-type": media_type });
        }
    }
    value
}

/// The value for a parameter of type `ty`.
fn to_val(store: &mut Store<GuestState>, ty: &Type, value: &Value) -> Result<Val> {
    let wrong = || Error::invalid(format!("expected {ty}, found {value}"));
    Ok(match (ty, value) {
        (Type::Bool, Value::Bool(flag)) => Val::Bool(*flag),
        (Type::F32, value) => Val::Float32(float(value).ok_or_else(wrong)? as f32),
        (Type::F64, value) => Val::Float64(float(value).ok_or_else(wrong)?),
        (Type::Char, Value::String(text)) => Val::Char(text.chars().next().ok_or_else(wrong)?),
        (Type::String, Value::String(text)) => Val::String(text.clone()),
        (Type::List(_), Value::String(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
            Val::List(bytes.into_iter().map(Val::U8).collect())
        }
        (Type::List(inner), Value::Array(items)) => {
            Val::List(items.iter().map(|item| to_val(store, inner, item)).collect::<Result<_>>()?)
        }
        (Type::Tuple(types), Value::Array(items)) => {
            let pairs = types.iter().zip(items);
            Val::Tuple(pairs.map(|(ty, item)| to_val(store, ty, item)).collect::<Result<_>>()?)
        }
        (Type::Record(fields), Value::Object(map)) => {
            let mut values = Vec::with_capacity(fields.len());
            for field in fields {
                let value = map.get(&field.name).unwrap_or(&Value::Null);
                values.push((field.name.clone(), to_val(store, &field.ty, value)?));
            }
            Val::Record(values)
        }
        (Type::Variant(cases), value) => variant(store, cases, value).transpose()?.ok_or_else(wrong)?,
        (Type::Enum(_), Value::String(case)) => Val::Enum(case.clone()),
        (Type::Flags(_), Value::Array(flags)) => {
            Val::Flags(flags.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        (Type::Option(_), Value::Null) => Val::Option(None),
        (Type::Option(inner), value) => {
            let value = if inner.is_optional() { some(value).ok_or_else(wrong)? } else { value };
            Val::Option(Some(Box::new(to_val(store, inner, value)?)))
        }
        (Type::Result { ok, err }, Value::Object(map)) => {
            let arm = |store: &mut Store<GuestState>, ty: &Option<Box<Type>>, value: &Value| match ty {
                Some(ty) => to_val(store, ty, value).map(|value| Some(Box::new(value))),
                None => Ok(None),
            };
            match (map.get("ok"), map.get("err")) {
                (Some(value), None) => Val::Result(Ok(arm(store, ok, value)?)),
                (None, Some(value)) => Val::Result(Err(arm(store, err, value)?)),
                _ => return Err(wrong()),
            }
        }
        (Type::Artifact, value) => Val::Resource(artifact(store, value)?),
        (ty, value) => integer(value).and_then(|number| whole(ty, number)).ok_or_else(wrong)?,
    })
}

fn whole(ty: &Type, number: i128) -> Option<Val> {
    Some(match ty {
        Type::U8 => Val::U8(number.try_into().ok()?),
        Type::U16 => Val::U16(number.try_into().ok()?),
        Type::U32 => Val::U32(number.try_into().ok()?),
        Type::U64 => Val::U64(number.try_into().ok()?),
        Type::S8 => Val::S8(number.try_into().ok()?),
        Type::S16 => Val::S16(number.try_into().ok()?),
        Type::S32 => Val::S32(number.try_into().ok()?),
        Type::S64 => Val::S64(number.try_into().ok()?),
        _ => return None,
    })
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn variant(store: &mut Store<GuestState>, cases: &[Case], value: &Value) -> Option<Result<Val>> {
    let (name, payload) = match value {
        Value::String(name) => (name, &Value::Null),
        Value::Object(map) => map.iter().next()?,
        _ => return None,
    };
    match &cases.iter().find(|case| case.name == *name)?.ty {
        None => Some(Ok(Val::Variant(name.clone(), None))),
        Some(ty) => {
            Some(to_val(store, ty, payload).map(|value| Val::Variant(name.clone(), Some(Box::new(value)))))
        }
    }
}

/// A handle on an artifact that was handed in.
fn artifact(store: &mut Store<GuestState>, value: &Value) -> Result<ResourceAny> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let digest: Digest = text("digest").or(value.as_str()).unwrap_or_default().parse()?;
    let guest = store.data_mut();
    let size = guest.artifacts.as_ref().and_then(|artifacts| artifacts.handed_in.get(&digest)).copied();
    let (Some(size), Some(media_type)) = (size, text("media-type")) else {
        return Err(Error::denied(format!("artifact {digest} was not handed to this step")));
    };
    let entry = ArtifactEntry { digest, size, media_type: media_type.to_owned() };
    let handle: wasmtime::Result<Resource<eyot_world::Artifact>> = guest.push(entry);
    let any = handle.and_then(|handle| ResourceAny::try_from_resource(handle, store));
    any.map_err(|error| Error::exhausted(format!("no handle for artifact {digest}: {error:#}")))
}

/// The JSON form of a value of type `ty` that a guest returned. Artifacts are taken out of their
/// handles, and stand in it with digest, size and media type.
pub(crate) fn from_val(store: &mut Store<GuestState>, ty: &Type, value: Val) -> Result<Value> {
    Ok(match (ty, value) {
        (_, Val::Bool(flag)) => Value::Bool(flag),
        (_, Val::S8(number)) => number.into(),
        (_, Val::U8(number)) => number.into(),
        (_, Val::S16(number)) => number.into(),
        (_, Val::U16(number)) => number.into(),
        (_, Val::S32(number)) => number.into(),
        (_, Val::U32(number)) => number.into(),
        (_, Val::S64(number)) => number.into(),
        (_, Val::U64(number)) => number.into(),
        (_, Val::Float32(number)) => shortest(number),
        (_, Val::Float64(number)) => from_float(number),
        (_, Val::Char(letter)) => Value::String(letter.to_string()),
        (_, Val::String(text)) => Value::String(text),
        (ty, Val::List(items)) if ty.is_bytes() => Value::String(STANDARD.encode(bytes(items))),
        (Type::List(inner), Val::List(items) | Val::FixedLengthList(items)) => {
            Value::Array(items.into_iter().map(|item| from_val(store, inner, item)).collect::<Result<_>>()?)
        }
        (Type::Tuple(types), Val::Tuple(items)) => {
            let pairs = types.iter().zip(items);
            Value::Array(pairs.map(|(ty, item)| from_val(store, ty, item)).collect::<Result<_>>()?)
        }
        (Type::Record(types), Val::Record(fields)) => record(store, types, fields)?,
        (_, Val::Variant(name, None) | Val::Enum(name)) => Value::String(name),
        (Type::Variant(cases), Val::Variant(name, Some(value))) => {
            let ty = cases.iter().find(|case| case.name == name).and_then(|case| case.ty.as_ref());
            let ty = ty.ok_or_else(|| Error::internal(format!("a variant without case {name}")))?;
            one(name, from_val(store, ty, *value)?)
        }
        (_, Val::Option(None)) => Value::Null,
        (Type::Option(inner), Val::Option(Some(value))) => {
            let value = from_val(store, inner, *value)?;
            if inner.is_optional() { one("some".to_owned(), value) } else { value }
        }
        (Type::Result { ok, err }, Val::Result(result)) => {
            let (name, ty, value) = match result {
                Ok(value) => ("ok", ok, value),
                Err(value) => ("err", err, value),
            };
            let inner = match (ty, value) {
                (Some(ty), Some(value)) => from_val(store, ty, *value)?,
                _ => Value::Null,
            };
            one(name.to_owned(), inner)
        }
        (_, Val::Flags(flags)) => flags.into(),
        (_, Val::Resource(resource)) => take_artifact(store, resource)?,
        (ty, _) => return Err(Error::unsupported(format!("a value of type {ty} has no JSON form"))),
    })
}

fn record(store: &mut Store<GuestState>, types: &[Field], fields: Vec<(String, Val)>) -> Result<Value> {
    let mut map = Map::new();
    for (field, (name, value)) in types.iter().zip(fields) {
        map.insert(name, from_val(store, &field.ty, value)?);
    }
    Ok(Value::Object(map))
}

/// The bytes of a list of them.
pub(crate) fn bytes(items: Vec<Val>) -> Vec<u8> {
    items.into_iter().filter_map(|item| if let Val::U8(byte) = item { Some(byte) } else { None }).collect()
}

fn one(name: String, value: Value) -> Value {
    let mut map = Map::new();
    map.insert(name, value);
    Value::Object(map)
}

/// An `f32` with the digits of an `f32`: 0.1 and not 0.10000000149011612.
fn shortest(number: f32) -> Value {
    if !number.is_finite() {
        return from_float(number.into());
    }
    ryu::Buffer::new().format_finite(number).parse().map_or_else(|_| from_float(number.into()), from_float)
}

fn from_float(number: f64) -> Value {
    let text = if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    Number::from_f64(number).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn take_artifact(store: &mut Store<GuestState>, resource: ResourceAny) -> Result<Value> {
    let entry = resource
        .try_into_resource::<eyot_world::Artifact>(&mut *store)
        .and_then(|handle| store.data_mut().take::<_, ArtifactEntry>(handle));
    let ArtifactEntry { digest, size, media_type } = entry.map_err(|error| {
        Error::failed(format!("the component returned a handle that is no artifact of its own: {error:#}"))
    })?;
    Ok(json!({ "digest": digest, "size": size, "media-type": media_type }))
}
