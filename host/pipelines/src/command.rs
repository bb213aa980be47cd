//! Steps that are whole programs: files in, files out. What a step's `with` and `outputs` say takes the
//! place of the signature that a function has.

use std::path::Path;

use eyot_core::interface::{Field, Function, Type};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file::{StepEntry, stays_inside};

/// How a command is called, beside its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// What it is called with, in place of `--NAME VALUE` for each argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Environment variables beside those that are made of its arguments.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub env: IndexMap<String, String>,
    /// The files that it writes, by output name.
    pub outputs: IndexMap<String, OutputFile>,
}

/// A file that a command writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Below `/out`.
    pub path: String,
    pub media_type: String,
}

/// The command that a step describes, and what it gives as a function.
pub(crate) fn of(export: &Function, step: &StepEntry) -> (Function, CommandSpec) {
    let fields = step.outputs.keys().map(|name| Field { name: name.clone(), ty: Type::Artifact });
    let function = Function {
        name: export.name.clone(),
        params: Vec::new(),
        result: Some(Type::Record(fields.collect())),
        docs: None,
    };
    let file = |file: &crate::file::OutputFile| OutputFile {
        path: file.path().to_owned(),
        media_type: file.media_type(),
    };
    let outputs = step.outputs.iter().map(|(name, output)| (name.clone(), file(output.get_ref()))).collect();
    let args = step.args.as_ref().map(|args| args.get_ref().clone());
    let env = step.env.iter().map(|(name, value)| (name.clone(), value.get_ref().clone())).collect();
    (function, CommandSpec { args, env, outputs })
}

/// Whether a path can be a file below `/out`.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty() && stays_inside(Path::new(path))
}

/// The type of a value that is written in a file; `None` for what no argument of a command can hold.
pub(crate) fn type_of(value: &Value) -> Option<Type> {
    match value {
        Value::Bool(_) => Some(Type::Bool),
        Value::String(_) => Some(Type::String),
        Value::Number(number) if number.is_i64() => Some(Type::S64),
        Value::Number(number) if number.is_u64() => Some(Type::U64),
        Value::Number(_) => Some(Type::F64),
        _ => None,
    }
}
