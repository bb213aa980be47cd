//! Components as data: reading their interface, and values as JSON both ways.

mod values;

use eyot_core::Result;
use eyot_core::interface::{Case, Field, Function, Interface, Type};
use wasmtime::component::ResourceType;
use wasmtime::component::types::{self, ComponentItem};

use crate::profile::EngineProfile;

pub(crate) use values::{arguments, bytes, from_val};

/// Imports and exports of a component. Types of the host's own resources are recognised.
pub(crate) fn interface(
    profile: &EngineProfile,
    component: &wasmtime::component::Component,
) -> Result<Interface> {
    let engine = &profile.engine;
    // Substitution fails when an import is not offered; the imports can be listed all the same.
    let ty =
        profile.linker.substituted_component_type(component).unwrap_or_else(|_| component.component_type());
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
    Ok(Function { name, params, result, docs: None })
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
