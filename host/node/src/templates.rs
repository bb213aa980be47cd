//! What `eyot new` writes: the templates, and the SDK where a language's own tools look for it.

use std::path::Path;

use eyot_core::config::Language;
use eyot_core::{Error, Name, Result, ResultExt};

use crate::toolchain::{JAVASCRIPT_SDK, contracts};

/// Files as they lie in a project, from a folder of the templates.
macro_rules! files {
    ($root:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../components/templates/", $root, $path)))),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

const MANIFEST: Files = files!["common/": "eyot.toml"];
const PIPELINE: Files = files!["common/": "pipeline.toml"];
const COMMAND_PIPELINE: Files = files!["common/command/": "pipeline.toml"];
const DATA: Files = files!["common/": "people.csv"];

/// What `eyot test` asks and expects; every language answers the same.
const HANDLER_CASES: Files =
    files!["common/handler/": "cases/standardises.json", "cases/refuses-nothing.json"];
const STEP_CASES: Files = files!["common/step/": "cases/drops-rows.json"];
const FUNCTION_CASES: Files =
    files!["common/function/": "cases/summarizes.json", "cases/refuses-nothing.json"];
const HTTP_CASES: Files = files!["common/http/":
    "cases/says-what-it-does.json", "cases/gives-the-mean.json", "cases/refuses-what-is-no-list.json"];
const COMMAND_CASES: Files = files!["common/command/": "cases/drops-rows.json"];

const RUST: Files = files!["rust/": "cargo-config.toml", "gitignore"];
const RUST_SDK: Files = files!["rust/": "Cargo.toml"];
const RUST_HANDLER: Files = files!["rust/handler/": "src/lib.rs", "README.md"];
const RUST_STEP: Files = files!["rust/step/": "src/lib.rs", "README.md"];
const RUST_FUNCTION: Files = files!["rust/function/": "src/lib.rs", "README.md"];
const RUST_HTTP: Files = files!["rust/http/": "src/lib.rs", "Cargo.toml", "README.md"];
const RUST_COMMAND: Files = files!["rust/command/": "src/main.rs", "Cargo.toml", "README.md"];

const PYTHON: Files = files!["python/": "gitignore"];
const PYTHON_HANDLER: Files = files!["python/handler/": "app.py", "test_app.py", "README.md"];
const PYTHON_STEP: Files = files!["python/step/": "app.py", "test_app.py", "README.md"];
const PYTHON_FUNCTION: Files = files!["python/function/": "app.py", "test_app.py", "README.md"];
const PYTHON_HTTP: Files = files!["python/http/": "app.py", "test_app.py", "README.md"];

const JAVASCRIPT: Files = files!["javascript/": "package.json", "gitignore"];
const JAVASCRIPT_HANDLER: Files =
    files!["javascript/handler/": "app.js", "standardise.js", "app.test.js", "README.md"];
const JAVASCRIPT_STEP: Files =
    files!["javascript/step/": "app.js", "complete.js", "app.test.js", "README.md"];
const JAVASCRIPT_FUNCTION: Files = files!["javascript/function/": "app.js", "app.test.js", "README.md"];
const JAVASCRIPT_HTTP: Files = files!["javascript/http/": "app.js", "mean.js", "app.test.js", "README.md"];

const TYPESCRIPT: Files = files!["typescript/": "package.json", "tsconfig.json", "gitignore"];
const TYPESCRIPT_HANDLER: Files = files!["typescript/handler/": "app.ts", "README.md"];
const TYPESCRIPT_STEP: Files = files!["typescript/step/": "app.ts", "README.md"];
const TYPESCRIPT_FUNCTION: Files = files!["typescript/function/": "app.ts", "README.md"];
const TYPESCRIPT_HTTP: Files = files!["typescript/http/": "app.ts", "README.md"];

const C: Files = files!["c/": "gitignore"];
const C_HANDLER: Files = files!["c/handler/": "handler.c", "component.wit", "README.md"];
const C_STEP: Files = files!["c/step/": "step.c", "component.wit", "README.md"];
const C_FUNCTION: Files = files!["c/function/": "function.c", "component.wit", "README.md"];
const C_COMMAND: Files = files!["c/command/": "main.c", "README.md"];

const CPP: Files = files!["cpp/": "gitignore"];
const CPP_COMMAND: Files = files!["cpp/command/": "main.cpp", "README.md"];

const GO: Files = files!["go/": "go.mod.template", "gitignore"];
const GO_COMMAND: Files = files!["go/command/": "main.go", "rows.go", "rows_test.go", "README.md"];

/// The Rust SDK, with its folders where its manifests and macros look for each other.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../components/", $path)))),*] };
}
const SDK: Files = sdk![
    "Cargo.toml",
    "sdk/Cargo.toml",
    "sdk/README.md",
    "sdk/src/artifact.rs",
    "sdk/src/error.rs",
    "sdk/src/lib.rs",
    "sdk/src/model.rs",
    "sdk/src/tensor.rs",
    "sdk/src/tracking.rs",
    "sdk/macros/Cargo.toml",
    "sdk/macros/src/component.rs",
    "sdk/macros/src/handler.rs",
    "sdk/macros/src/lib.rs",
    "sdk/macros/src/types.rs",
];

/// What a new component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Answers predictions: tensors in, tensors out.
    Handler,
    /// A step of a pipeline: typed values and artifacts in and out.
    Step,
    /// A typed function, served as JSON: values in, values out.
    Function,
    /// Answers HTTP requests.
    Http,
    /// A program: files in, files out.
    Command,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Handler, Kind::Step, Kind::Function, Kind::Http, Kind::Command];

    fn name(self) -> &'static str {
        match self {
            Kind::Handler => "handler",
            Kind::Step => "step",
            Kind::Function => "function",
            Kind::Http => "http",
            Kind::Command => "command",
        }
    }

    /// What every language's project of this kind has.
    fn files(self) -> &'static [Files] {
        match self {
            Kind::Handler => &[MANIFEST, HANDLER_CASES],
            Kind::Step => &[MANIFEST, PIPELINE, DATA, STEP_CASES],
            Kind::Function => &[MANIFEST, FUNCTION_CASES],
            Kind::Http => &[MANIFEST, HTTP_CASES],
            Kind::Command => &[MANIFEST, COMMAND_PIPELINE, DATA, COMMAND_CASES],
        }
    }
}

/// What a language's project of a kind has of its own; none where there is no such template.
fn files(language: Language, kind: Kind) -> Option<&'static [Files]> {
    Some(match (language, kind) {
        (Language::Rust, Kind::Handler) => &[RUST, RUST_SDK, RUST_HANDLER],
        (Language::Rust, Kind::Step) => &[RUST, RUST_SDK, RUST_STEP],
        (Language::Rust, Kind::Function) => &[RUST, RUST_SDK, RUST_FUNCTION],
        (Language::Rust, Kind::Http) => &[RUST, RUST_HTTP],
        (Language::Rust, Kind::Command) => &[RUST, RUST_COMMAND],
        (Language::Python, Kind::Handler) => &[PYTHON, PYTHON_HANDLER],
        (Language::Python, Kind::Step) => &[PYTHON, PYTHON_STEP],
        (Language::Python, Kind::Function) => &[PYTHON, PYTHON_FUNCTION],
        (Language::Python, Kind::Http) => &[PYTHON, PYTHON_HTTP],
        (Language::JavaScript, Kind::Handler) => &[JAVASCRIPT, JAVASCRIPT_HANDLER],
        (Language::JavaScript, Kind::Step) => &[JAVASCRIPT, JAVASCRIPT_STEP],
        (Language::JavaScript, Kind::Function) => &[JAVASCRIPT, JAVASCRIPT_FUNCTION],
        (Language::JavaScript, Kind::Http) => &[JAVASCRIPT, JAVASCRIPT_HTTP],
        (Language::TypeScript, Kind::Handler) => &[TYPESCRIPT, TYPESCRIPT_HANDLER],
        (Language::TypeScript, Kind::Step) => &[TYPESCRIPT, TYPESCRIPT_STEP],
        (Language::TypeScript, Kind::Function) => &[TYPESCRIPT, TYPESCRIPT_FUNCTION],
        (Language::TypeScript, Kind::Http) => &[TYPESCRIPT, TYPESCRIPT_HTTP],
        (Language::C, Kind::Handler) => &[C, C_HANDLER],
        (Language::C, Kind::Step) => &[C, C_STEP],
        (Language::C, Kind::Function) => &[C, C_FUNCTION],
        (Language::C, Kind::Command) => &[C, C_COMMAND],
        (Language::Cpp, Kind::Command) => &[CPP, CPP_COMMAND],
        (Language::Go, Kind::Command) => &[GO, GO_COMMAND],
        (Language::Python | Language::JavaScript | Language::TypeScript, Kind::Command)
        | (Language::C, Kind::Http)
        | (Language::Cpp | Language::Go, Kind::Handler | Kind::Step | Kind::Function | Kind::Http) => {
            return None;
        }
    })
}

/// Writes a project into `dir`, which must not be there yet. It is there whole or not at all.
pub(crate) fn write(dir: &Path, name: &Name, language: Language, kind: Kind) -> Result<()> {
    let own = files(language, kind).ok_or_else(|| missing(language, kind))?;
    if dir.exists() {
        return Err(Error::conflict(format!("{} is there already", dir.display()))
            .hint("choose another name, or another folder with --dir"));
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(above).context(|| format!("cannot create {}", above.display()))?;
    let work = tempfile::Builder::new().prefix(".eyot-new-").tempdir_in(above)?;
    let template = kind.files().iter().chain(own).copied();
    fill(work.path(), name, language, kind, template)?;
    let made = work.keep();
    std::fs::rename(&made, dir).context(|| format!("cannot create {}", dir.display()))
}

fn missing(language: Language, kind: Kind) -> Error {
    let has = |kind: &&Kind| files(language, **kind).is_some();
    let kinds: Vec<_> = Kind::ALL.iter().filter(has).map(|kind| kind.name()).collect();
    let (language, kind) = (language.name(), kind.name());
    Error::unsupported(format!("there is no template of kind {kind} in {language}"))
        .hint(format!("in {language} there are: {}", kinds.join(", ")))
}

fn fill(
    dir: &Path,
    name: &Name,
    language: Language,
    kind: Kind,
    template: impl Iterator<Item = Files>,
) -> Result<()> {
    for (path, text) in template.flatten() {
        let path = match *path {
            "gitignore" => ".gitignore",
            // Under its own name it would make this a module of another.
            "go.mod.template" => "go.mod",
            "cargo-config.toml" => ".cargo/config.toml",
            path => path,
        };
        let text = text.replace("NAME", name.as_str()).replace("LANGUAGE", language.name());
        contracts::file(&dir.join(path), &text)?;
    }
    let vendor = dir.join("vendor");
    match language {
        Language::Rust if matches!(kind, Kind::Handler | Kind::Step | Kind::Function) => {
            SDK.iter()
                .try_for_each(|(path, text)| contracts::file(&vendor.join("components").join(path), text))?;
            contracts::own(&vendor.join("wit"))
        }
        Language::JavaScript | Language::TypeScript => {
            JAVASCRIPT_SDK.iter().try_for_each(|(path, text)| contracts::file(&vendor.join(path), text))
        }
        _ => Ok(()),
    }
}
