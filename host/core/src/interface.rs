//! The interface of a component as data: which functions it exports, what they take and give. The
//! engine reads it off the component; pipelines and the API check values and documents against it.

mod places;
mod program;
mod schema;

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

pub use places::below;

/// A WIT type. `Artifact` is a handle of `eyot:ml/artifacts`; every other resource is `Resource`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    Bool,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F32,
    F64,
    Char,
    String,
    List(Box<Type>),
    Tuple(Vec<Type>),
    Record(Vec<Field>),
    Variant(Vec<Case>),
    Enum(Vec<String>),
    Flags(Vec<String>),
    Option(Box<Type>),
    Result { ok: Option<Box<Type>>, err: Option<Box<Type>> },
    Artifact,
    Resource(String),
}

/// A field of a record, or a parameter of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: Type,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    pub name: String,
    #[serde(rename = "type")]
    pub ty: Option<Type>,
}

/// An exported function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// `train`, or `package:interface/name@version#function` inside of an interface.
    pub name: String,
    pub params: Vec<Field>,
    pub result: Option<Type>,
    /// What its author says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<Docs>,
}

/// What the author of a function says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docs {
    pub text: String,
    /// By parameter name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

/// All that a component asks for and offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Imported interfaces and functions, by full name.
    pub imports: Vec<String>,
    /// Exported interfaces, by full name.
    pub exports: Vec<String>,
    /// Exported functions, those inside of interfaces too.
    pub functions: Vec<Function>,
}

/// How a function is called as a step: its outputs by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs(pub Vec<Field>);

/// Interfaces that the host calls, or a language's runtime needs, and nobody else.
const RESERVED: &[&str] = &["wasi:", "eyot:ml/", "exports"];

impl Interface {
    /// The functions that a caller may call with JSON: in interfaces of the component's own, with
    /// values that have a JSON form.
    pub fn callable(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|function| {
            let inside = function.name.split_once('#').map(|(interface, _)| interface);
            let reserved = inside.is_some_and(|interface| {
                RESERVED.iter().any(|reserved| match reserved.strip_suffix([':', '/']) {
                    Some(_) => interface.starts_with(reserved),
                    None => interface == *reserved,
                })
            });
            !reserved && function.is_plain()
        })
    }

    /// Whether it exports an interface of that name in a version that starts so.
    pub fn has_export(&self, name: &str, version: &str) -> bool {
        self.exports.iter().any(|export| {
            export.split_once('@').is_some_and(|(found, number)| found == name && number.starts_with(version))
        })
    }
}

impl Function {
    /// The name to call it by: `predict`, or `steps/train` inside of an interface `steps`.
    pub fn short(&self) -> String {
        match self.name.split_once('#') {
            None => self.name.clone(),
            Some((interface, name)) => {
                let interface = interface.split('@').next().unwrap_or_default();
                format!("{}/{name}", interface.rsplit('/').next().unwrap_or_default())
            }
        }
    }

    /// The names that mean this function: its full name, its short one, and the bare one.
    pub fn called(&self) -> [String; 3] {
        let bare = self.name.rsplit_once('#').map_or(self.name.as_str(), |(_, bare)| bare);
        [self.name.clone(), self.short(), bare.to_owned()]
    }

    /// The parameter that a body of bytes stands for: the only one, if it is a list of bytes and the
    /// others may be left out.
    pub fn takes_bytes(&self) -> Option<&Field> {
        let (needed, optional): (Vec<&Field>, Vec<&Field>) =
            self.params.iter().partition(|param| !param.ty.is_optional());
        match needed.as_slice() {
            [only] if only.ty.is_bytes() && optional.iter().all(|param| !param.ty.is_bytes()) => Some(only),
            _ => None,
        }
    }

    /// What the function gives as a step: the fields of a record, or one output named `output`.
    /// `result<T, E>` gives what `T` gives.
    pub fn outputs(&self) -> Outputs {
        let ok = match &self.result {
            Some(Type::Result { ok, .. }) => ok.as_deref(),
            other => other.as_ref(),
        };
        Outputs(match ok {
            None => Vec::new(),
            Some(Type::Record(fields)) => fields.clone(),
            Some(ty) => vec![Field { name: "output".to_owned(), ty: ty.clone() }],
        })
    }
}

impl Type {
    /// Whether a value may be left out.
    pub fn is_optional(&self) -> bool {
        matches!(self, Type::Option(_))
    }

    /// Whether the type is, or holds, an artifact.
    pub fn has_artifact(&self) -> bool {
        self.any(&|ty| *ty == Type::Artifact)
    }

    /// Whether it is a list of bytes.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Type::List(inner) if **inner == Type::U8)
    }

    /// Checks that a JSON value can be passed as this type.
    ///
    /// Numbers are exact: a value outside of an integer's range or with a fraction is refused, and
    /// 64-bit integers may be written as strings, since many JSON writers cannot hold them. `NaN`,
    /// `Infinity` and `-Infinity` are strings. Bytes are base64, or numbers in an array. An option
    /// inside of an option is `null`, or `{"some": …}` around the inner one. An artifact is written as
    /// its digest.
    pub fn check(&self, value: &Value) -> Result<()> {
        self.check_at(value, &Path::Whole)
    }

    fn check_at(&self, value: &Value, path: &Path<'_>) -> Result<()> {
        let good = match (self, value) {
            (Type::Bool, Value::Bool(_)) | (Type::String, Value::String(_)) => true,
            (Type::Char, Value::String(text)) => text.chars().count() == 1,
            (Type::F32 | Type::F64, Value::Number(_)) => true,
            (Type::F32 | Type::F64, Value::String(text)) => {
                matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
            }
            (Type::Artifact, Value::String(text)) => text.parse::<crate::Digest>().is_ok(),
            (Type::Option(_), Value::Null) => true,
            (Type::Option(inner), value) if inner.is_optional() => {
                let Some(value) = some(value) else { return Err(self.mismatch(value, path)) };
                return inner.check_at(value, &Path::Field(path, "some"));
            }
            (Type::Option(inner), value) => return inner.check_at(value, path),
            (Type::List(_), Value::String(text)) if self.is_bytes() => STANDARD.decode(text).is_ok(),
            (Type::Enum(cases), Value::String(text)) => cases.contains(text),
            (Type::Flags(names), Value::Array(set)) => {
                set.iter().all(|flag| flag.as_str().is_some_and(|flag| names.iter().any(|name| name == flag)))
            }
            (Type::List(inner), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    inner.check_at(item, &Path::Item(path, index))?;
                }
                true
            }
            (Type::Tuple(types), Value::Array(items)) if types.len() == items.len() => {
                for (index, (ty, item)) in types.iter().zip(items).enumerate() {
                    ty.check_at(item, &Path::Item(path, index))?;
                }
                true
            }
            (Type::Record(fields), Value::Object(map)) => {
                for field in fields {
                    let value = map.get(&field.name).unwrap_or(&Value::Null);
                    field.ty.check_at(value, &Path::Field(path, &field.name))?;
                }
                if let Some(extra) = map.keys().find(|key| !fields.iter().any(|field| field.name == **key)) {
                    return Err(Error::invalid(format!("{}unknown field '{extra}'", at(path)))
                        .hint(format!("the fields are {}", names(fields.iter().map(|f| &f.name)))));
                }
                true
            }
            (Type::Variant(cases), Value::Object(map)) if map.len() == 1 => {
                let (name, value) = map.iter().next().unwrap_or((&EMPTY, &Value::Null));
                match cases.iter().find(|case| case.name == *name).map(|case| &case.ty) {
                    Some(Some(ty)) => return ty.check_at(value, &Path::Field(path, name)),
                    Some(None) => value.is_null(),
                    None => false,
                }
            }
            (Type::Variant(cases), Value::String(name)) => {
                cases.iter().any(|case| case.name == *name && case.ty.is_none())
            }
            (Type::Result { ok, err }, Value::Object(map)) if map.len() == 1 => {
                let arm = map.get("ok").map(|value| (ok, value)).or_else(|| map.get("err").map(|v| (err, v)));
                match arm {
                    Some((Some(ty), value)) => return ty.check_at(value, path),
                    Some((None, value)) => value.is_null(),
                    None => false,
                }
            }
            (ty, value) => ty
                .integer_range()
                .is_some_and(|range| integer(value).is_some_and(|number| range.contains(&number))),
        };
        if good { Ok(()) } else { Err(self.mismatch(value, path)) }
    }

    fn mismatch(&self, value: &Value, path: &Path<'_>) -> Error {
        let mut shown = value.to_string();
        if shown.chars().count() > 60 {
            shown = shown.chars().take(57).chain("...".chars()).collect();
        }
        let error = Error::invalid(format!("{}expected {self}, found {shown}", at(path)));
        match self.integer_range() {
            Some(range) => {
                error.hint(format!("{self} is a whole number from {} to {}", range.start(), range.end()))
            }
            None if self.is_bytes() => error.hint("bytes are written as base64, or as an array of numbers"),
            None => error,
        }
    }

    fn integer_range(&self) -> Option<std::ops::RangeInclusive<i128>> {
        Some(match self {
            Type::U8 => 0..=u8::MAX.into(),
            Type::U16 => 0..=u16::MAX.into(),
            Type::U32 => 0..=u32::MAX.into(),
            Type::U64 => 0..=u64::MAX.into(),
            Type::S8 => i8::MIN.into()..=i8::MAX.into(),
            Type::S16 => i16::MIN.into()..=i16::MAX.into(),
            Type::S32 => i32::MIN.into()..=i32::MAX.into(),
            Type::S64 => i64::MIN.into()..=i64::MAX.into(),
            _ => return None,
        })
    }
}

static EMPTY: String = String::new();

/// Where in a value something lies. It is written out only where that is told.
enum Path<'a> {
    Whole,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Whole => Ok(()),
            Path::Field(outer, name) => write!(f, "{outer}.{name}"),
            Path::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

fn at(path: &Path<'_>) -> String {
    if matches!(path, Path::Whole) { String::new() } else { format!("at {path}: ") }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// What stands in `{"some": …}`, the form of an option inside of an option.
pub fn some(value: &Value) -> Option<&Value> {
    value.as_object().filter(|map| map.len() == 1).and_then(|map| map.get("some"))
}

/// The whole number that a JSON value is, written as a number or as decimal text.
pub fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let arm = |ty: &Option<Box<Type>>| ty.as_ref().map_or("_".to_owned(), |ty| ty.to_string());
        match self {
            Type::Bool => f.write_str("bool"),
            Type::U8 => f.write_str("u8"),
            Type::U16 => f.write_str("u16"),
            Type::U32 => f.write_str("u32"),
            Type::U64 => f.write_str("u64"),
            Type::S8 => f.write_str("s8"),
            Type::S16 => f.write_str("s16"),
            Type::S32 => f.write_str("s32"),
            Type::S64 => f.write_str("s64"),
            Type::F32 => f.write_str("f32"),
            Type::F64 => f.write_str("f64"),
            Type::Char => f.write_str("char"),
            Type::String => f.write_str("string"),
            Type::List(ty) => write!(f, "list<{ty}>"),
            Type::Tuple(types) => write!(f, "tuple<{}>", join(types)),
            Type::Record(fields) => {
                let fields: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect();
                write!(f, "record {{ {} }}", fields.join(", "))
            }
            Type::Variant(cases) => {
                let case = |case: &Case| match &case.ty {
                    Some(ty) => format!("{}({ty})", case.name),
                    None => case.name.clone(),
                };
                write!(f, "variant {{ {} }}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
            }
            Type::Enum(cases) => write!(f, "one of {}", names(cases.iter())),
            Type::Flags(flags) => write!(f, "some of {}", names(flags.iter())),
            Type::Option(ty) => write!(f, "option<{ty}>"),
            Type::Result { ok, err } => write!(f, "result<{}, {}>", arm(ok), arm(err)),
            Type::Artifact => f.write_str("artifact"),
            Type::Resource(name) => write!(f, "resource {name}"),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<_> = self.params.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect();
        write!(f, "{}({})", self.name, params.join(", "))?;
        self.result.as_ref().map_or(Ok(()), |ty| write!(f, " -> {ty}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(fields: &[(&str, Type)]) -> Type {
        Type::Record(fields.iter().map(|(n, t)| Field { name: (*n).to_owned(), ty: t.clone() }).collect())
    }

    #[test]
    fn values_fit_their_types_exactly() {
        let nested = record(&[("a", Type::U8), ("b", Type::Option(Box::new(Type::String)))]);
        let list = Type::List(Box::new(nested.clone()));
        let bytes = Type::List(Box::new(Type::U8));
        let twice = Type::Option(Box::new(Type::Option(Box::new(Type::U8))));
        for (ty, value, expected) in [
            (Type::U8, json!(255), None),
            (Type::U8, json!(256), Some("expected u8, found 256")),
            (Type::U8, json!(1.5), Some("expected u8, found 1.5")),
            (Type::U8, json!("x"), Some("expected u8, found \"x\"")),
            (Type::U64, json!(u64::MAX), None),
            (Type::U64, json!("18446744073709551615"), None),
            (Type::U64, json!("18446744073709551616"), Some("expected u64, found \"18446744073709551616\"")),
            (Type::S64, json!(-1), None),
            (Type::F64, json!(3), None),
            (Type::F64, json!("NaN"), None),
            (Type::F64, json!("much"), Some("expected f64, found \"much\"")),
            (Type::Char, json!("é"), None),
            (Type::Char, json!("ab"), Some("expected char, found \"ab\"")),
            (nested.clone(), json!({"a": 1}), None),
            (nested.clone(), json!({"a": 1, "c": 1}), Some("unknown field 'c'")),
            (nested, json!({"b": "x"}), Some("at .a: expected u8, found null")),
            (list, json!([{"a": 1}, {"a": -1}]), Some("at [1].a: expected u8, found -1")),
            (Type::Enum(vec!["x".into()]), json!("y"), Some("expected one of x, found \"y\"")),
            (Type::Artifact, json!("digits.csv"), Some("expected artifact, found \"digits.csv\"")),
            (Type::Artifact, json!(crate::Digest::of("x")), None),
            (bytes.clone(), json!("AAH/"), None),
            (bytes.clone(), json!([0, 1, 255]), None),
            (bytes, json!("a b"), Some("expected list<u8>, found \"a b\"")),
            (twice.clone(), json!(null), None),
            (twice.clone(), json!({"some": null}), None),
            (twice.clone(), json!({"some": 3}), None),
            (twice, json!(3), Some("expected option<option<u8>>, found 3")),
        ] {
            let found = ty.check(&value).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected, "{ty} {value}");
        }
    }

    #[test]
    fn outputs_are_fields_or_one_named_output() {
        let function = |result| Function { name: "f".into(), params: vec![], result, docs: None };
        let fields = vec![Field { name: "model".into(), ty: Type::Artifact }];
        let result = Type::Result { ok: Some(Box::new(Type::Record(fields.clone()))), err: None };
        assert_eq!(function(Some(result)).outputs().0, fields);
        assert_eq!(function(Some(Type::U8)).outputs().0[0].name, "output");
        assert!(function(None).outputs().0.is_empty());
    }
}
