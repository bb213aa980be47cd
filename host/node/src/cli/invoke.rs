mod program;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use eyot_component::ComponentDescription;
use eyot_core::interface::{Field, Function, Type};
use eyot_core::{Error, ErrorKind, Result, ResultExt};
use eyot_engine::OutputArtifact;
use serde_json::{Map, Value, json};

use self::program::ProgramOptions;
use crate::call::CallableComponent;
use crate::cli::{GlobalOptions, push};
use crate::output::CommandOutput;
use crate::platform;
use crate::session::ApiSession;

/// Calls a function of a component in this process, or runs a program, with a world that stands still, as a step has it.
///
/// An argument is NAME=VALUE, or a VALUE for the next parameter. A value is JSON; a text needs no
/// quotes. NAME=@FILE hands in a file where an artifact is wanted. What the function prints goes to stderr.
///
/// A program, which is a component that exports wasi:cli/run or a module of WASI preview 1, takes what follows its name
/// as its arguments (after -- where they begin with -), has this command's standard streams, and this command ends with
/// its status.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot invoke . summarize 'values=[1, 2, 3]'\n  eyot invoke build/rows.wasm clean file=@people.csv --out .\n  \
    eyot invoke digits-steps:0.1.0 prepare table=@digits.csv\n  \
    eyot invoke program.wasm --dir data::/in --env LEVEL=3 -- --verbose rows.csv"
)]
pub(crate) struct InvokeCommand {
    /// A .wasm file, the folder of a component, or a reference in the registry.
    source: String,
    /// The function; the full name where the bare one is ambiguous. A program's first argument.
    function: Option<String>,
    /// Its arguments.
    arguments: Vec<String>,
    /// Writes artifacts among the results into this folder, under the results' names.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    program: ProgramOptions,
}

/// The status of a program that trapped: what a shell gives to one that ended itself by SIGABRT.
const ABORTED_STATUS: i32 = 134;

impl InvokeCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let config = global.config()?;
        let wasm = wasm(&self.source, global).await?;
        if let Some(more) = self.as_program(&wasm)? {
            let name = Path::new(&self.source).file_name().unwrap_or_default().to_string_lossy().into_owned();
            return match self.program.run(global, output, wasm, name, &more).await {
                Ok(status) => output.end_with(status),
                // As for a program of this machine that the system ends.
                Err(error) if matches!(error.kind(), ErrorKind::Failed | ErrorKind::Timeout) => {
                    output.error(&error);
                    output.end_with(ABORTED_STATUS)
                }
                Err(error) => Err(error),
            };
        }
        self.program.check_unused()?;
        let spinner = output.spinner("compiling");
        let callable = CallableComponent::new(&config, &platform::engine(&config)?, wasm).await;
        spinner.finish_and_clear();
        let callable = callable?;
        let Some(function) = &self.function else {
            let names: Vec<_> = callable.interface().functions.iter().map(Function::to_string).collect();
            return Err(
                Error::invalid("no function is named").hint(format!("there are:\n  {}", names.join("\n  ")))
            );
        };
        let arguments = arguments(callable.function(function)?, &self.arguments)?;
        let called = callable.call(function, &arguments, Path::new(".")).await?;
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out).context(|| format!("cannot create {}", out.display()))?;
            for artifact in &called.artifacts {
                let path = out.join(name_of(artifact));
                let bytes = callable.bytes(artifact).await?;
                std::fs::write(&path, bytes).context(|| format!("cannot write {}", path.display()))?;
                output.note(&format!("wrote {}", path.display()));
            }
        }
        output.result(&called.value, |_| match &called.value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            value => serde_json::to_string_pretty(value).unwrap_or_default(),
        })
    }
}

impl InvokeCommand {
    /// The arguments of a program, if that is what is run: where there are functions too, that is to be said.
    fn as_program(&self, wasm: &[u8]) -> Result<Option<Vec<String>>> {
        let interface = ComponentDescription::read(wasm)?.interface;
        let Some(run) = interface.program() else { return Ok(None) };
        let given = || self.function.iter().chain(&self.arguments).cloned().collect();
        Ok(match &self.function {
            _ if interface.is_only_program() => Some(given()),
            Some(name) if name == "run" || *name == run.name => Some(self.arguments.clone()),
            _ => None,
        })
    }
}

/// The bytes of a component: a file, the build result of a folder, or what the registry has.
pub(crate) async fn wasm(source: &str, global: &GlobalOptions) -> Result<Bytes> {
    let path = Path::new(source);
    if path.is_dir() || path.is_file() || path.extension().is_some_and(|ending| ending == "wasm") {
        let (file, _) = push::locate(path)?;
        let bytes = std::fs::read(&file).context(|| format!("cannot read {}", file.display()))?;
        return Ok(eyot_component::componentize(&bytes)?.into_owned().into());
    }
    let session = ApiSession::open(global).await?;
    let resolved = session.client().resolve(source).await?;
    session.client().registry().pull_blob(&resolved.repository, &resolved.content).await
}

/// An artifact's file is named as the output that it is; one inside of a value, by its digest.
fn name_of(artifact: &OutputArtifact) -> String {
    match artifact.at.strip_prefix('/') {
        Some(name) if !name.contains('/') && name.parse::<usize>().is_err() => name.to_owned(),
        _ => artifact.digest.hex(),
    }
}

/// Arguments from the command line, by parameter name.
fn arguments(function: &Function, given: &[String]) -> Result<Map<String, Value>> {
    let mut arguments = Map::new();
    for text in given {
        let named = text.split_once('=').and_then(|(name, value)| {
            Some((function.params.iter().find(|param| param.name == name)?, value))
        });
        let (param, value) = match named {
            Some(named) => named,
            None => {
                let next = function.params.iter().find(|param| !arguments.contains_key(&param.name));
                let next = next.filter(|next| is_text(&next.ty) || !looks_named(text));
                let next = next.ok_or_else(|| {
                    Error::invalid(format!("'{text}' fits no parameter of {}", function.name))
                        .hint(format!("its signature is {function}"))
                })?;
                (next, text.as_str())
            }
        };
        arguments.insert(param.name.clone(), argument(param, value)?);
    }
    Ok(arguments)
}

fn argument(param: &Field, text: &str) -> Result<Value> {
    if let Some(file) = text.strip_prefix('@').filter(|_| param.ty.has_artifact()) {
        return Ok(json!({ "file": file }));
    }
    match serde_json::from_str(text) {
        // A text such as 1 or null is meant as it stands.
        Ok(Value::String(text)) if is_text(&param.ty) => Ok(Value::String(text)),
        _ if is_text(&param.ty) => Ok(Value::String(text.to_owned())),
        Ok(value) => Ok(value),
        Err(error) => Err(Error::invalid(format!("'{text}' for '{}' is no JSON", param.name))
            .because(error)
            .hint(format!("'{}' is of type {}", param.name, param.ty))),
    }
}

/// Whether it was meant as NAME=VALUE.
fn looks_named(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.chars().all(plain))
}

fn is_text(ty: &Type) -> bool {
    match ty {
        Type::Option(inner) => is_text(inner),
        ty => matches!(ty, Type::String | Type::Char | Type::Enum(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_named_or_in_order() {
        let field = |name: &str, ty| Field { name: name.to_owned(), ty };
        let params = vec![
            field("text", Type::String),
            field("count", Type::U32),
            field("file", Type::Artifact),
            field("rows", Type::List(Box::new(Type::F64))),
        ];
        let function = Function { name: "f".to_owned(), params, result: None, docs: None };
        let parsed = |given: &[&str]| {
            let given: Vec<_> = given.iter().map(|one| (*one).to_owned()).collect();
            arguments(&function, &given).map(Value::Object).map_err(|error| error.chain())
        };
        for (given, expected) in [
            (&["count=3", "a=b"][..], json!({ "count": 3, "text": "a=b" })),
            (&["12", "3"], json!({ "text": "12", "count": 3 })),
            (&["text=\"12\"", "rows=[1, 2.5]"], json!({ "text": "12", "rows": [1, 2.5] })),
            (&["file=@people.csv"], json!({ "file": { "file": "people.csv" } })),
            (&["text=@home"], json!({ "text": "@home" })),
        ] {
            assert_eq!(parsed(given), Ok(expected), "{given:?}");
        }
        assert!(parsed(&["count=many"]).unwrap_err().contains("'many' for 'count' is no JSON"));
        assert!(parsed(&["a", "1", "2", "[]", "b"]).unwrap_err().contains("'b' fits no parameter of f"));
        assert!(parsed(&["a", "cuont=3"]).unwrap_err().contains("'cuont=3' fits no parameter of f"));
    }
}
