//! Components as data: reading their interface, and values as JSON both ways.
//!
//! Artifacts are written as their digests. The type rules for JSON are those of
//! [`eyot_core::interface::Type::check`], which everything that comes in here has passed.

use eyot_core::interface::{Case, Field, Function, Interface, Type, integer};
use eyot_core::{Digest, Error, Result};
use serde_json::{Map, Number, Value};
use wasmtime::Store;
use wasmtime::component::types::{self, ComponentItem};
use wasmtime::component::{Resource, ResourceAny, ResourceType, Val};

use crate::engine::Flavour;
use crate::guest::Guest;
use crate::host::artifacts::Entry;

/// Imports and exports of a component. Types of the host's own resources are recognised.
pub(crate) fn interface(flavour: &Flavour, component: &wasmtime::component::Component) -> Result<Interface> {
    let engine = &flavour.engine;
    // Substitution fails when an import is not offered; the imports can be listed all the same.
    let ty =
        flavour.linker.substituted_component_type(component).unwrap_or_else(|_| component.component_type());
    let mut interface = Interface {
        imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
        ..Interface::default()
    };
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(function) => {
                interface.functions.push(describe(name.to_owned(), &function)?)
            }
            ComponentItem::ComponentInstance(instance) => {
                interface.exports.push(name.to_owned());
                for (inner, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(function) = item.ty {
                        interface.functions.push(describe(format!("{name}#{inner}"), &function)?);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(interface)
}

fn describe(name: String, function: &types::ComponentFunc) -> Result<Function> {
    let field = |(name, ty): (&str, types::Type)| Ok(Field { name: name.to_owned(), ty: type_of(&ty)? });
    let params = function.params().map(field).collect::<Result<_>>();
    let params = params.map_err(|error| error.context(format!("function {name}")))?;
    let result = function.results().next().map(|ty| type_of(&ty)).transpose()?;
    Ok(Function { name, params, result })
}

fn type_of(ty: &types::Type) -> Result<Type> {
    let boxed = |ty: types::Type| type_of(&ty).map(Box::new);
    Ok(match ty {
        types::Type::Bool => Type::Bool,
        types::Type::U8 => Type::U8,
        types::Type::U16 => Type::U16,
        types::Type::U32 => Type::U32,
        types::Type::U64 => Type::U64,
        types::Type::S8 => Type::S8,
        types::Type::S16 => Type::S16,
        types::Type::S32 => Type::S32,
        types::Type::S64 => Type::S64,
        types::Type::Float32 => Type::F32,
        types::Type::Float64 => Type::F64,
        types::Type::Char => Type::Char,
        types::Type::String => Type::String,
        types::Type::List(list) => Type::List(boxed(list.ty())?),
        types::Type::Tuple(tuple) => {
            Type::Tuple(tuple.types().map(|ty| type_of(&ty)).collect::<Result<_>>()?)
        }
        types::Type::Record(record) => {
            let field =
                |field: types::Field<'_>| Ok(Field { name: field.name.to_owned(), ty: type_of(&field.ty)? });
            Type::Record(record.fields().map(field).collect::<Result<_>>()?)
        }
        types::Type::Variant(variant) => {
            let case = |case: types::Case<'_>| {
                Ok(Case { name: case.name.to_owned(), ty: case.ty.map(|ty| type_of(&ty)).transpose()? })
            };
            Type::Variant(variant.cases().map(case).collect::<Result<_>>()?)
        }
        types::Type::Enum(cases) => Type::Enum(cases.names().map(str::to_owned).collect()),
        types::Type::Flags(flags) => Type::Flags(flags.names().map(str::to_owned).collect()),
        types::Type::Option(option) => Type::Option(boxed(option.ty())?),
        types::Type::Result(result) => Type::Result {
            ok: result.ok().map(boxed).transpose()?,
            err: result.err().map(boxed).transpose()?,
        },
        types::Type::Own(resource) | types::Type::Borrow(resource) => {
            if *resource == ResourceType::host::<eyot_world::Artifact>() {
                Type::Artifact
            } else {
                Type::Resource(format!("{resource:?}"))
            }
        }
        // Streams, futures, maps and error contexts have no JSON form; functions with them are still
        // listed, and cannot be called by reflection.
        other => Type::Resource(format!("{other:?}")),
    })
}

/// The value for a parameter of type `ty`.
pub(crate) fn to_val(store: &mut Store<Guest>, ty: &Type, value: &Value) -> Result<Val> {
    let wrong = || Error::invalid(format!("expected {ty}, found {value}"));
    Ok(match (ty, value) {
        (Type::Bool, Value::Bool(flag)) => Val::Bool(*flag),
        (Type::F32, value) => Val::Float32(float(value).ok_or_else(wrong)? as f32),
        (Type::F64, value) => Val::Float64(float(value).ok_or_else(wrong)?),
        (Type::Char, Value::String(text)) => Val::Char(text.chars().next().ok_or_else(wrong)?),
        (Type::String, Value::String(text)) => Val::String(text.clone()),
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
        (Type::Option(inner), value) => Val::Option(Some(Box::new(to_val(store, inner, value)?))),
        (Type::Result { ok, err }, Value::Object(map)) => {
            let arm = |store: &mut Store<Guest>, ty: &Option<Box<Type>>, value: &Value| match ty {
                Some(ty) => to_val(store, ty, value).map(|value| Some(Box::new(value))),
                None => Ok(None),
            };
            match (map.get("ok"), map.get("err")) {
                (Some(value), None) => Val::Result(Ok(arm(store, ok, value)?)),
                (None, Some(value)) => Val::Result(Err(arm(store, err, value)?)),
                _ => return Err(wrong()),
            }
        }
        (Type::Artifact, Value::String(digest)) => Val::Resource(artifact(store, digest.parse()?)?),
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

fn variant(store: &mut Store<Guest>, cases: &[Case], value: &Value) -> Option<Result<Val>> {
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
fn artifact(store: &mut Store<Guest>, digest: Digest) -> Result<ResourceAny> {
    let guest = store.data_mut();
    let known = guest.artifacts.as_ref().and_then(|artifacts| artifacts.known.get(&digest)).cloned();
    let known =
        known.ok_or_else(|| Error::denied(format!("artifact {digest} was not handed to this step")))?;
    let handle: wasmtime::Result<Resource<eyot_world::Artifact>> = guest.push(Entry { digest, known });
    let any = handle.and_then(|handle| ResourceAny::try_from_resource(handle, store));
    any.map_err(|error| Error::exhausted(format!("no handle for artifact {digest}: {error:#}")))
}

/// The JSON form of a value that a guest returned. Artifacts are taken out of their handles.
pub(crate) fn from_val(store: &mut Store<Guest>, value: Val) -> Result<Value> {
    Ok(match value {
        Val::Bool(flag) => Value::Bool(flag),
        Val::S8(number) => number.into(),
        Val::U8(number) => number.into(),
        Val::S16(number) => number.into(),
        Val::U16(number) => number.into(),
        Val::S32(number) => number.into(),
        Val::U32(number) => number.into(),
        Val::S64(number) => number.into(),
        Val::U64(number) => number.into(),
        Val::Float32(number) => shortest(number),
        Val::Float64(number) => from_float(number),
        Val::Char(letter) => Value::String(letter.to_string()),
        Val::String(text) => Value::String(text),
        Val::List(items) | Val::Tuple(items) | Val::FixedLengthList(items) => {
            Value::Array(items.into_iter().map(|item| from_val(store, item)).collect::<Result<_>>()?)
        }
        Val::Record(fields) => {
            let mut map = Map::new();
            for (name, value) in fields {
                map.insert(name, from_val(store, value)?);
            }
            Value::Object(map)
        }
        Val::Variant(name, None) | Val::Enum(name) => Value::String(name),
        Val::Variant(name, Some(value)) => one(name, from_val(store, *value)?),
        Val::Option(None) => Value::Null,
        Val::Option(Some(value)) => from_val(store, *value)?,
        Val::Result(result) => {
            let (name, value) = match result {
                Ok(value) => ("ok", value),
                Err(value) => ("err", value),
            };
            let value = value.map(|value| from_val(store, *value)).transpose()?;
            one(name.to_owned(), value.unwrap_or(Value::Null))
        }
        Val::Flags(flags) => flags.into(),
        Val::Resource(resource) => Value::String(take_artifact(store, resource)?.to_string()),
        other => return Err(Error::unsupported(format!("a value of kind {other:?} has no JSON form"))),
    })
}

fn one(name: String, value: Value) -> Value {
    let mut map = Map::new();
    map.insert(name, value);
    Value::Object(map)
}

/// An `f32` with the digits of an `f32`: 0.1 and not 0.10000000149011612.
fn shortest(number: f32) -> Value {
    match number.to_string().parse::<f64>() {
        Ok(wide) if number.is_finite() => from_float(wide),
        _ => from_float(number.into()),
    }
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

fn take_artifact(store: &mut Store<Guest>, resource: ResourceAny) -> Result<Digest> {
    let entry = resource
        .try_into_resource::<eyot_world::Artifact>(&mut *store)
        .and_then(|handle| store.data_mut().take::<_, Entry>(handle));
    entry.map(|entry| entry.digest).map_err(|error| {
        Error::failed(format!("the component returned a handle that is no artifact of its own: {error:#}"))
    })
}
