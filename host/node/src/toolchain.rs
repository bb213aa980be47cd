//! Building components, each language with its own tools.

mod app;
mod c;
pub(crate) mod contracts;
mod docs;
mod javascript;
mod python;
mod rust;
mod tools;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eyot_core::config::{Component, Language};
use eyot_core::{Error, Result, ResultExt};

pub(crate) use c::C;
pub(crate) use javascript::{JavaScript, SDK as JAVASCRIPT_SDK};
pub(crate) use python::Python;
pub(crate) use rust::Rust;
pub(crate) use tools::Tools;

/// Where a build is heard.
pub(crate) struct Voice<'a> {
    /// Hears what tools say, line by line.
    pub(crate) progress: &'a dyn Fn(&str),
    /// Hears what must be seen, such as what is installed.
    pub(crate) note: &'a dyn Fn(&str),
}

/// How a component is compiled, where its language makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// To run fast.
    Release,
    /// To be built fast.
    Dev,
}

/// A component's folder, and where its component is put.
#[derive(Clone)]
pub(crate) struct Project<'a> {
    pub(crate) dir: PathBuf,
    pub(crate) component: &'a Component,
    pub(crate) into: PathBuf,
    pub(crate) profile: Profile,
}

impl<'a> Project<'a> {
    /// Fails when there is no such folder, and for Rust when its Cargo.toml builds no component.
    pub(crate) fn new(dir: &Path, component: &'a Component, profile: Profile) -> Result<Self> {
        // Tools run in folders of their own, so paths are whole.
        let dir = dir.canonicalize().context(|| format!("there is no {}", dir.display()))?;
        let into = artifact(&dir, component, profile)?;
        Ok(Self { dir, component, into, profile })
    }
}

/// Builds the components of folders.
pub(crate) fn build(projects: Vec<Project<'_>>, tools: &Tools, voice: &Voice<'_>) -> Result<()> {
    let mut scripts = Vec::new();
    // Rust's SDK writes its documentation itself.
    let documented = projects.iter().filter(|project| project.component.language != Language::Rust);
    let documented: Vec<_> = documented
        .map(|project| (project.into.parent().unwrap_or(&project.dir).join("wit"), project.into.clone()))
        .collect();
    for project in projects {
        let Project { dir, component, into, profile } = &project;
        let work = into.parent().unwrap_or(dir);
        std::fs::create_dir_all(work).context(|| format!("cannot create {}", work.display()))?;
        (voice.progress)(&format!("building {}", component.name));
        match component.language {
            Language::Rust => run(Rust::find()?.command(dir, *profile), &component.name, voice.progress)?,
            Language::Python => Python::find()?.build(dir, into, tools, voice)?,
            Language::C => C::find()?.build(dir, into, tools, voice)?,
            Language::JavaScript | Language::TypeScript => scripts.push(project),
        }
    }
    if !scripts.is_empty() {
        JavaScript::find()?.build(&scripts, tools, voice)?;
    }
    documented.iter().filter(|(wit, _)| wit.is_dir()).try_for_each(|(wit, wasm)| docs::add(wit, wasm))
}

/// Where the component of a folder lies once it is built.
pub(crate) fn artifact(dir: &Path, component: &Component, profile: Profile) -> Result<PathBuf> {
    match component.language {
        Language::Rust => rust::artifact(dir, profile),
        _ => Ok(dir.join("build").join(format!("{}.wasm", component.name.replace('/', "-")))),
    }
}

/// Runs a tool; each line that it says is progress, and all of them are the error if it fails.
fn run(mut tool: Command, name: &str, progress: &dyn Fn(&str)) -> Result<()> {
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
