//! Building components, each language with its own tools.

mod app;
mod c;
pub(crate) mod contracts;
mod docs;
mod go;
mod javascript;
mod plug;
mod python;
mod rust;
mod tools;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eyot_core::config::{Component, Config, Language};
use eyot_core::{Error, Result, ResultExt};

use crate::compose::{self, Part};

pub(crate) use c::C;
pub(crate) use go::Go;
pub(crate) use javascript::{JavaScript, SDK as JAVASCRIPT_SDK};
pub(crate) use plug::{Plug, fetch};
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

/// A component's folder, what is linked into it, and where its component is put.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) dir: PathBuf,
    pub(crate) component: Component,
    /// What its language's tool makes.
    alone: PathBuf,
    /// What is run: the same, where nothing is linked into it.
    pub(crate) into: PathBuf,
    pub(crate) profile: Profile,
    pub(crate) plugs: Vec<Plug>,
}

impl Project {
    /// Fails when there is no such folder or no `[component]` in it, when a plug of it is not there, and for
    /// Rust when its Cargo.toml builds no component.
    pub(crate) fn new(dir: &Path, profile: Profile) -> Result<Self> {
        Self::below(dir, profile, &mut Vec::new())
    }

    /// The project of a folder that is plugged into those of `above`.
    fn below(dir: &Path, profile: Profile, above: &mut Vec<PathBuf>) -> Result<Self> {
        let component = manifest(dir)?;
        // Tools run in folders of their own, so paths are whole.
        let dir = dir.canonicalize().context(|| format!("there is no {}", dir.display()))?;
        if above.contains(&dir) {
            return Err(Error::invalid(format!("{} is plugged into itself", component.name))
                .hint("a component cannot be in what it plugs in"));
        }
        package(&component)?;
        let (alone, into) = (built(&dir, &component, profile)?, artifact(&dir, &component, profile)?);
        above.push(dir.clone());
        let found = component.plug.iter().map(|name| Plug::find(&dir, name, profile, above));
        let plugs = found.collect::<Result<Vec<_>>>();
        above.pop();
        Ok(Self { dir, component, alone, into, profile, plugs: plugs? })
    }

    /// This and every folder that is built with it, each once, plugs before what they are plugged into.
    fn gather<'a>(&'a self, all: &mut Vec<&'a Self>) {
        let folders = self.plugs.iter().filter_map(Plug::folder);
        folders.for_each(|plug| plug.gather(all));
        if all.iter().all(|other| other.dir != self.dir) {
            all.push(self);
        }
    }

    /// Every folder whose files it is built from.
    pub(crate) fn folders(&self) -> Vec<&Path> {
        let mut all = Vec::new();
        self.gather(&mut all);
        all.into_iter().map(|project| project.dir.as_path()).collect()
    }

    /// Links what was built.
    fn link(&self) -> Result<()> {
        let socket = read(&self.alone)?;
        let plugs = self.plugs.iter().map(Plug::wasm).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = plugs.iter().map(|(name, wasm)| Part { name, wasm }).collect();
        let linked = compose::plug(&Part { name: &self.component.name, wasm: &socket }, &parts)?;
        std::fs::write(&self.into, linked).context(|| format!("cannot write {}", self.into.display()))
    }
}

/// The `[component]` section of a folder's eyot.toml.
pub(crate) fn manifest(dir: &Path) -> Result<Component> {
    let file = dir.join("eyot.toml");
    let component = Config::load(Some(&file), &[])?.component;
    component.ok_or_else(|| {
        Error::invalid(format!("{} has no section [component]", file.display())).hint(
            "a component's eyot.toml says: [component] name = \"…\", version = \"…\", language = \"rust\"",
        )
    })
}

/// Checks the package that a manifest names for the component's own interface.
fn package(component: &Component) -> Result<()> {
    let Some(package) = &component.package else { return Ok(()) };
    if matches!(component.language, Language::Rust | Language::C | Language::Cpp | Language::Go) {
        let name = component.language.name();
        return Err(Error::invalid(format!("component.package is not for {name}"))
            .hint("its sources name the package: remove the line"));
    }
    let text = format!("package {package};\ninterface functions {{}}\n");
    let parsed = wit_parser::Resolve::default().push_str("eyot.toml", &text);
    parsed.map(drop).map_err(|_| {
        Error::invalid(format!("component.package: '{package}' is no WIT package"))
            .hint("write NAMESPACE:NAME, as in acme:text, or with a version acme:text@1.0.0")
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("cannot read {}", path.display()))
}

/// Builds the components of folders, and links those that have plugs. What plugs of the registry are must have
/// been fetched.
pub(crate) fn build(projects: &[Project], tools: &Tools, voice: &Voice<'_>) -> Result<()> {
    let mut all = Vec::new();
    projects.iter().for_each(|project| project.gather(&mut all));
    compile(&all, tools, voice)?;
    for project in all.iter().filter(|project| !project.plugs.is_empty()) {
        (voice.progress)(&format!("linking {}", project.component.name));
        project
            .link()
            .map_err(|error| error.context(format!("{} cannot be linked", project.component.name)))?;
    }
    Ok(())
}

fn compile(projects: &[&Project], tools: &Tools, voice: &Voice<'_>) -> Result<()> {
    let mut scripts = Vec::new();
    for project in projects {
        let Project { dir, component, alone, profile, .. } = *project;
        let work = alone.parent().unwrap_or(dir);
        std::fs::create_dir_all(work).context(|| format!("cannot create {}", work.display()))?;
        (voice.progress)(&format!("building {}", component.name));
        match component.language {
            Language::Rust => run(Rust::find()?.command(dir, *profile), &component.name, voice.progress)?,
            Language::Python => Python::find()?.build(project, tools, voice)?,
            Language::C | Language::Cpp => C::find()?.build(project, tools, voice)?,
            Language::Go => Go::find()?.build(dir, alone, tools, voice)?,
            Language::JavaScript | Language::TypeScript => scripts.push(*project),
        }
    }
    if !scripts.is_empty() {
        JavaScript::find()?.build(&scripts, tools, voice)?;
    }
    // Rust's SDK writes its documentation itself.
    for project in projects.iter().filter(|project| project.component.language != Language::Rust) {
        let wit = project.alone.parent().unwrap_or(&project.dir).join("wit");
        if wit.is_dir() {
            docs::add(&wit, &project.alone)?;
        }
    }
    Ok(())
}

/// Where the component of a folder lies once it is built, with what is linked into it.
pub(crate) fn artifact(dir: &Path, component: &Component, profile: Profile) -> Result<PathBuf> {
    let alone = built(dir, component, profile)?;
    // Beside it, and never in its place: cargo would take the linked one for what it built.
    Ok(if component.plug.is_empty() { alone } else { alone.with_extension("linked.wasm") })
}

/// Where a language's tool puts the component of a folder.
fn built(dir: &Path, component: &Component, profile: Profile) -> Result<PathBuf> {
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
