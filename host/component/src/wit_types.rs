//! Types and functions of WIT as the interface types that the rest of the tree speaks of.

use eyot_core::interface::{Case, Docs, Field, Function, Type};
use wit_parser::{Handle, Resolve, Type as Wit, TypeDefKind, TypeId};

/// A function, under the name of the interface that it is in.
pub(crate) fn described_function(
    resolve: &Resolve,
    before: String,
    function: &wit_parser::Function,
) -> Function {
    let field =
        |param: &wit_parser::Param| Field { name: param.name.clone(), ty: type_of(resolve, &param.ty) };
    Function {
        name: before + &function.name,
        params: function.params.iter().map(field).collect(),
        result: function.result.as_ref().map(|ty| type_of(resolve, ty)),
        docs: function.docs.contents.clone().map(|text| Docs { text, ..Docs::default() }),
    }
}

fn type_of(resolve: &Resolve, ty: &Wit) -> Type {
    match ty {
        Wit::Bool => Type::Bool,
        Wit::U8 => Type::U8,
        Wit::U16 => Type::U16,
        Wit::U32 => Type::U32,
        Wit::U64 => Type::U64,
        Wit::S8 => Type::S8,
        Wit::S16 => Type::S16,
        Wit::S32 => Type::S32,
        Wit::S64 => Type::S64,
        Wit::F32 => Type::F32,
        Wit::F64 => Type::F64,
        Wit::Char => Type::Char,
        Wit::String => Type::String,
        Wit::ErrorContext => Type::Resource("error-context".to_owned()),
        Wit::Id(id) => defined(resolve, *id),
    }
}

fn defined(resolve: &Resolve, id: TypeId) -> Type {
    let inner = |ty: &Wit| type_of(resolve, ty);
    let boxed = |ty: &Wit| Box::new(type_of(resolve, ty));
    match &resolve.types[id].kind {
        TypeDefKind::Type(ty) => inner(ty),
        TypeDefKind::List(ty) | TypeDefKind::FixedLengthList(ty, _) => Type::List(boxed(ty)),
        TypeDefKind::Option(ty) => Type::Option(boxed(ty)),
        TypeDefKind::Tuple(tuple) => Type::Tuple(tuple.types.iter().map(inner).collect()),
        TypeDefKind::Record(record) => {
            let field = |field: &wit_parser::Field| Field { name: field.name.clone(), ty: inner(&field.ty) };
            Type::Record(record.fields.iter().map(field).collect())
        }
        TypeDefKind::Variant(variant) => {
            let case =
                |case: &wit_parser::Case| Case { name: case.name.clone(), ty: case.ty.as_ref().map(inner) };
            Type::Variant(variant.cases.iter().map(case).collect())
        }
        TypeDefKind::Enum(cases) => Type::Enum(cases.cases.iter().map(|case| case.name.clone()).collect()),
        TypeDefKind::Flags(flags) => Type::Flags(flags.flags.iter().map(|flag| flag.name.clone()).collect()),
        TypeDefKind::Result(result) => {
            Type::Result { ok: result.ok.as_ref().map(boxed), err: result.err.as_ref().map(boxed) }
        }
        TypeDefKind::Handle(Handle::Own(resource) | Handle::Borrow(resource)) => handle(resolve, *resource),
        other => Type::Resource(other.as_str().to_owned()),
    }
}

/// A handle of `eyot:ml/artifacts` is an artifact; others have no form outside of their component.
fn handle(resolve: &Resolve, mut id: TypeId) -> Type {
    // The same resource has a name in every interface that uses it.
    while let TypeDefKind::Type(Wit::Id(inner)) = resolve.types[id].kind {
        id = inner;
    }
    let resource = &resolve.types[id];
    let name = resource.name.clone().unwrap_or_default();
    let of = match resource.owner {
        wit_parser::TypeOwner::Interface(interface) => resolve.id_of(interface),
        _ => None,
    };
    match of {
        Some(interface) if name == "artifact" && interface.starts_with("eyot:ml/artifacts@") => {
            Type::Artifact
        }
        Some(interface) => Type::Resource(format!("{interface}.{name}")),
        None => Type::Resource(name),
    }
}
