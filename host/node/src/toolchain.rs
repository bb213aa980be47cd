//! Building components, each language with its own tools.

pub(crate) mod contracts;
mod python;
mod rust;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eyot_core::config::{Component, Language};
use eyot_core::{Error, Result, ResultExt};

pub(crate) use python::Python;
pub(crate) use rust::Rust;

/// Builds the component of a folder; answers where it lies. `progress` hears what the tools say.
pub(crate) fn build(dir: &Path, component: &Component, progress: impl Fn(&str)) -> Result<PathBuf> {
    match component.language {
        Language::Rust => run(Rust::find()?.command(dir), &component.name, progress)?,
        Language::Python => {
            let command = Python::find()?.command(dir, &artifact(dir, component)?)?;
            run(command, &component.name, progress)?;
        }
    }
    artifact(dir, component)
}

/// Where the component of a folder lies once it is built.
pub(crate) fn artifact(dir: &Path, component: &Component) -> Result<PathBuf> {
    match component.language {
        Language::Rust => rust::artifact(dir),
        Language::Python => {
            Ok(dir.join("build").join(component.name.replace('/', "-")).with_extension("wasm"))
        }
    }
}

/// Runs a tool; each line that it says is progress, and all of them are the error if it fails.
fn run(mut tool: Command, name: &str, progress: impl Fn(&str)) -> Result<()> {
    let program = tool.get_program().to_string_lossy().into_owned();
    let unusable = || format!("{program} cannot be run");
    tool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = tool.spawn().context(unusable)?;
    let mut said = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.unwrap_or_default();
        progress(line.trim());
        said.push_str(&line);
        said.push('\n');
    }
    if child.wait().context(unusable)?.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{name} does not build:\n{}", said.trim_end())))
}

/// What a program prints; `missing` says what to do where it is not there.
fn ask(program: &str, arguments: &[&str], missing: &str) -> Result<String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| {
        Error::unavailable(format!("{program} cannot be run")).because(error).hint(missing)
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let first = arguments.first().copied().unwrap_or_default();
        return Err(Error::failed(format!("{program} {first}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
