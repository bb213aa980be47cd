//! What `eyot new` writes: the templates, and for Rust the SDK and contracts they are built with.

use std::path::Path;

use eyot_core::config::Language;
use eyot_core::{Error, Name, Result, ResultExt};

use crate::toolchain::contracts;

macro_rules! files {
    ($root:literal: $($path:literal),* $(,)?) => { &[$(($path, include_str!(concat!("../../../", $root, $path)))),*] };
}

type Files = &'static [(&'static str, &'static str)];

const PYTHON_HANDLER: Files = files!["components/templates/python/handler/":
    "app.py", "test_app.py", "eyot.toml", "README.md", "gitignore"];
const PYTHON_STEP: Files = files!["components/templates/python/step/":
    "app.py", "test_app.py", "eyot.toml", "README.md", "gitignore", "pipeline.toml", "people.csv"];
const RUST_HANDLER: Files = files!["components/templates/rust/handler/":
    "src/lib.rs", "Cargo.toml", "cargo-config.toml", "eyot.toml", "README.md", "gitignore"];
const RUST_STEP: Files = files!["components/templates/rust/step/":
    "src/lib.rs", "Cargo.toml", "cargo-config.toml", "eyot.toml", "README.md", "gitignore", "pipeline.toml", "people.csv"];
/// The SDK, with its folders where its manifests and macros look for each other.
const SDK: Files = files!["components/":
    "Cargo.toml",
    "sdk/Cargo.toml", "sdk/README.md", "sdk/src/artifact.rs", "sdk/src/error.rs", "sdk/src/lib.rs",
    "sdk/src/model.rs", "sdk/src/tensor.rs", "sdk/src/tracking.rs",
    "sdk/macros/Cargo.toml", "sdk/macros/src/component.rs", "sdk/macros/src/handler.rs",
    "sdk/macros/src/lib.rs", "sdk/macros/src/types.rs"];

/// What a new component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Answers predictions: tensors in, tensors out.
    Handler,
    /// A step of a pipeline: typed values and artifacts in and out.
    Step,
}

/// Writes a project into `dir`, which must not be there yet. It is there whole or not at all.
pub(crate) fn write(dir: &Path, name: &Name, language: Language, kind: Kind) -> Result<()> {
    if dir.exists() {
        return Err(Error::conflict(format!("{} is there already", dir.display()))
            .hint("choose another name, or another folder with --dir"));
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(above).context(|| format!("cannot create {}", above.display()))?;
    let work = tempfile::Builder::new().prefix(".eyot-new-").tempdir_in(above)?;
    fill(work.path(), name, language, kind)?;
    let made = work.keep();
    std::fs::rename(&made, dir).context(|| format!("cannot create {}", dir.display()))
}

fn fill(dir: &Path, name: &Name, language: Language, kind: Kind) -> Result<()> {
    let template = match (language, kind) {
        (Language::Python, Kind::Handler) => PYTHON_HANDLER,
        (Language::Python, Kind::Step) => PYTHON_STEP,
        (Language::Rust, Kind::Handler) => RUST_HANDLER,
        (Language::Rust, Kind::Step) => RUST_STEP,
    };
    for (path, text) in template {
        let path = match *path {
            "gitignore" => ".gitignore",
            "cargo-config.toml" => ".cargo/config.toml",
            path => path,
        };
        contracts::file(&dir.join(path), &text.replace("NAME", name.as_str()))?;
    }
    if language == Language::Rust {
        let vendor = dir.join("vendor");
        SDK.iter()
            .try_for_each(|(path, text)| contracts::file(&vendor.join("components").join(path), text))?;
        contracts::own(&vendor.join("wit"))?;
    }
    Ok(())
}
