//! What `eyot new` writes: the templates, and the SDK where a language's own tools look for it.

use std::path::Path;

use eyot_core::config::Language;
use eyot_core::{Error, Name, Result, ResultExt};

use crate::contracts;
use crate::toolchain::JAVASCRIPT_SDK;

/// Files as they lie in a project, from a folder of the templates.
macro_rules! files {
    ($root:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../components/templates/", $root, $path)))),*]
    };
}

type TemplateFiles = &'static [(&'static str, &'static str)];

const MANIFEST_FILES: TemplateFiles = files!["common/": "eyot.toml"];
const PIPELINE_FILES: TemplateFiles = files!["common/": "pipeline.toml"];
const COMMAND_PIPELINE: TemplateFiles = files!["common/command/": "pipeline.toml"];
const DATA_FILES: TemplateFiles = files!["common/": "people.csv"];

/// What `eyot test` asks and expects; every language answers the same.
const HANDLER_CASES: TemplateFiles =
    files!["common/handler/": "cases/standardises.json", "cases/refuses-nothing.json"];
const STEP_CASES: TemplateFiles = files!["common/step/": "cases/drops-rows.json"];
const FUNCTION_CASES: TemplateFiles =
    files!["common/function/": "cases/summarizes.json", "cases/refuses-nothing.json"];
const HTTP_CASES: TemplateFiles = files!["common/http/":
    "cases/says-what-it-does.json", "cases/gives-the-mean.json", "cases/refuses-what-is-no-list.json"];
const COMMAND_CASES: TemplateFiles = files!["common/command/": "cases/drops-rows.json"];

const RUST_FILES: TemplateFiles = files!["rust/": "cargo-config.toml", "gitignore"];
const RUST_SDK: TemplateFiles = files!["rust/": "Cargo.toml"];
const RUST_HANDLER: TemplateFiles = files!["rust/handler/": "src/lib.rs", "README.md"];
const RUST_STEP: TemplateFiles = files!["rust/step/": "src/lib.rs", "README.md"];
const RUST_FUNCTION: TemplateFiles = files!["rust/function/": "src/lib.rs", "README.md"];
const RUST_HTTP: TemplateFiles = files!["rust/http/": "src/lib.rs", "Cargo.toml", "README.md"];
const RUST_COMMAND: TemplateFiles = files!["rust/command/": "src/main.rs", "Cargo.toml", "README.md"];

const PYTHON_FILES: TemplateFiles = files!["python/": "gitignore"];
const PYTHON_HANDLER: TemplateFiles = files!["python/handler/": "app.py", "test_app.py", "README.md"];
const PYTHON_STEP: TemplateFiles = files!["python/step/": "app.py", "test_app.py", "README.md"];
const PYTHON_FUNCTION: TemplateFiles = files!["python/function/": "app.py", "test_app.py", "README.md"];
const PYTHON_HTTP: TemplateFiles = files!["python/http/": "app.py", "test_app.py", "README.md"];

const JAVASCRIPT_FILES: TemplateFiles = files!["javascript/": "package.json", "gitignore"];
const JAVASCRIPT_HANDLER: TemplateFiles =
    files!["javascript/handler/": "app.js", "standardise.js", "app.test.js", "README.md"];
const JAVASCRIPT_STEP: TemplateFiles =
    files!["javascript/step/": "app.js", "complete.js", "app.test.js", "README.md"];
const JAVASCRIPT_FUNCTION: TemplateFiles =
    files!["javascript/function/": "app.js", "app.test.js", "README.md"];
const JAVASCRIPT_HTTP: TemplateFiles =
    files!["javascript/http/": "app.js", "mean.js", "app.test.js", "README.md"];

const TYPESCRIPT_FILES: TemplateFiles = files!["typescript/": "package.json", "tsconfig.json", "gitignore"];
const TYPESCRIPT_HANDLER: TemplateFiles = files!["typescript/handler/": "app.ts", "README.md"];
const TYPESCRIPT_STEP: TemplateFiles = files!["typescript/step/": "app.ts", "README.md"];
const TYPESCRIPT_FUNCTION: TemplateFiles = files!["typescript/function/": "app.ts", "README.md"];
const TYPESCRIPT_HTTP: TemplateFiles = files!["typescript/http/": "app.ts", "README.md"];

const C_FILES: TemplateFiles = files!["c/": "gitignore"];
const C_HANDLER: TemplateFiles = files!["c/handler/": "handler.c", "component.wit", "README.md"];
const C_STEP: TemplateFiles = files!["c/step/": "step.c", "component.wit", "README.md"];
const C_FUNCTION: TemplateFiles = files!["c/function/": "function.c", "component.wit", "README.md"];
const C_COMMAND: TemplateFiles = files!["c/command/": "main.c", "README.md"];

const CPP_FILES: TemplateFiles = files!["cpp/": "gitignore"];
const CPP_COMMAND: TemplateFiles = files!["cpp/command/": "main.cpp", "README.md"];

const GO_FILES: TemplateFiles = files!["go/": "go.mod.template", "gitignore"];
const GO_COMMAND: TemplateFiles = files!["go/command/": "main.go", "rows.go", "rows_test.go", "README.md"];

/// The Rust SDK, with its folders where its manifests and macros look for each other.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../components/", $path)))),*] };
}
const RUST_SDK_FILES: TemplateFiles = sdk![
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
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

impl TemplateKind {
    const ALL: [TemplateKind; 5] = [
        TemplateKind::Handler,
        TemplateKind::Step,
        TemplateKind::Function,
        TemplateKind::Http,
        TemplateKind::Command,
    ];

    fn name(self) -> &'static str {
        match self {
            TemplateKind::Handler => "handler",
            TemplateKind::Step => "step",
            TemplateKind::Function => "function",
            TemplateKind::Http => "http",
            TemplateKind::Command => "command",
        }
    }

    /// What every language's project of this kind has.
    fn files(self) -> &'static [TemplateFiles] {
        match self {
            TemplateKind::Handler => &[MANIFEST_FILES, HANDLER_CASES],
            TemplateKind::Step => &[MANIFEST_FILES, PIPELINE_FILES, DATA_FILES, STEP_CASES],
            TemplateKind::Function => &[MANIFEST_FILES, FUNCTION_CASES],
            TemplateKind::Http => &[MANIFEST_FILES, HTTP_CASES],
            TemplateKind::Command => &[MANIFEST_FILES, COMMAND_PIPELINE, DATA_FILES, COMMAND_CASES],
        }
    }
}

/// What a language's project of a kind has of its own; none where there is no such template.
fn files(language: Language, kind: TemplateKind) -> Option<&'static [TemplateFiles]> {
    Some(match (language, kind) {
        (Language::Rust, TemplateKind::Handler) => &[RUST_FILES, RUST_SDK, RUST_HANDLER],
        (Language::Rust, TemplateKind::Step) => &[RUST_FILES, RUST_SDK, RUST_STEP],
        (Language::Rust, TemplateKind::Function) => &[RUST_FILES, RUST_SDK, RUST_FUNCTION],
        (Language::Rust, TemplateKind::Http) => &[RUST_FILES, RUST_HTTP],
        (Language::Rust, TemplateKind::Command) => &[RUST_FILES, RUST_COMMAND],
        (Language::Python, TemplateKind::Handler) => &[PYTHON_FILES, PYTHON_HANDLER],
        (Language::Python, TemplateKind::Step) => &[PYTHON_FILES, PYTHON_STEP],
        (Language::Python, TemplateKind::Function) => &[PYTHON_FILES, PYTHON_FUNCTION],
        (Language::Python, TemplateKind::Http) => &[PYTHON_FILES, PYTHON_HTTP],
        (Language::JavaScript, TemplateKind::Handler) => &[JAVASCRIPT_FILES, JAVASCRIPT_HANDLER],
        (Language::JavaScript, TemplateKind::Step) => &[JAVASCRIPT_FILES, JAVASCRIPT_STEP],
        (Language::JavaScript, TemplateKind::Function) => &[JAVASCRIPT_FILES, JAVASCRIPT_FUNCTION],
        (Language::JavaScript, TemplateKind::Http) => &[JAVASCRIPT_FILES, JAVASCRIPT_HTTP],
        (Language::TypeScript, TemplateKind::Handler) => &[TYPESCRIPT_FILES, TYPESCRIPT_HANDLER],
        (Language::TypeScript, TemplateKind::Step) => &[TYPESCRIPT_FILES, TYPESCRIPT_STEP],
        (Language::TypeScript, TemplateKind::Function) => &[TYPESCRIPT_FILES, TYPESCRIPT_FUNCTION],
        (Language::TypeScript, TemplateKind::Http) => &[TYPESCRIPT_FILES, TYPESCRIPT_HTTP],
        (Language::C, TemplateKind::Handler) => &[C_FILES, C_HANDLER],
        (Language::C, TemplateKind::Step) => &[C_FILES, C_STEP],
        (Language::C, TemplateKind::Function) => &[C_FILES, C_FUNCTION],
        (Language::C, TemplateKind::Command) => &[C_FILES, C_COMMAND],
        (Language::Cpp, TemplateKind::Command) => &[CPP_FILES, CPP_COMMAND],
        (Language::Go, TemplateKind::Command) => &[GO_FILES, GO_COMMAND],
        (Language::Python | Language::JavaScript | Language::TypeScript, TemplateKind::Command)
        | (Language::C, TemplateKind::Http)
        | (
            Language::Cpp | Language::Go,
            TemplateKind::Handler | TemplateKind::Step | TemplateKind::Function | TemplateKind::Http,
        ) => {
            return None;
        }
    })
}

/// Writes a project into `dir`, which must not be there yet. It is there whole or not at all.
pub fn write_template(dir: &Path, name: &Name, language: Language, kind: TemplateKind) -> Result<()> {
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

fn missing(language: Language, kind: TemplateKind) -> Error {
    let has = |kind: &&TemplateKind| files(language, **kind).is_some();
    let kinds: Vec<_> = TemplateKind::ALL.iter().filter(has).map(|kind| kind.name()).collect();
    let (language, kind) = (language.name(), kind.name());
    Error::unsupported(format!("there is no template of kind {kind} in {language}"))
        .hint(format!("in {language} there are: {}", kinds.join(", ")))
}

fn fill(
    dir: &Path,
    name: &Name,
    language: Language,
    kind: TemplateKind,
    template: impl Iterator<Item = TemplateFiles>,
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
        Language::Rust
            if matches!(kind, TemplateKind::Handler | TemplateKind::Step | TemplateKind::Function) =>
        {
            RUST_SDK_FILES
                .iter()
                .try_for_each(|(path, text)| contracts::file(&vendor.join("components").join(path), text))?;
            contracts::own(&vendor.join("wit"))
        }
        Language::JavaScript | Language::TypeScript => {
            JAVASCRIPT_SDK.iter().try_for_each(|(path, text)| contracts::file(&vendor.join(path), text))
        }
        _ => Ok(()),
    }
}
