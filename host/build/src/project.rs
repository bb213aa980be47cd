//! Building components, each language with its own tools, and what is linked into them.

mod plug_source;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_core::config::{ComponentSettings, Config, Language};
use eyot_core::{Error, Reference, Result, ResultExt};

use self::plug_source::PlugSource;
use crate::component_source::{BuildProfile, ComponentSource};
use crate::linker::{LinkInput, link_components};
use crate::process::run_tool;
use crate::reporter::BuildReporter;
use crate::tool_folder::ToolFolder;
use crate::toolchain::{
    ClangToolchain, GoToolchain, JavaScriptToolchain, PythonToolchain, RustToolchain, rust_artifact,
};
use crate::wit_docs;

/// A component's folder, what is linked into it, and where its component is put.
#[derive(Clone)]
pub struct ComponentProject {
    source: ComponentSource,
    /// What is run: what the language's tool makes, where nothing is linked into it.
    artifact: PathBuf,
    plugs: Vec<PlugSource>,
}

/// What builds components.
pub struct ComponentBuilder<'a> {
    /// Where tools are installed that other registries have.
    pub tools: &'a ToolFolder,
    pub reporter: &'a dyn BuildReporter,
    /// Whether the host that components are linked for gives an import.
    pub is_offered: &'a (dyn Fn(&str) -> bool + Sync),
}

impl ComponentProject {
    /// Fails when there is no such folder or no `[component]` in it, when a plug of it is not there, and for
    /// Rust when its Cargo.toml builds no component.
    pub fn new(dir: &Path, profile: BuildProfile) -> Result<Self> {
        Self::below(dir, profile, &mut Vec::new())
    }

    /// The project of a folder that is plugged into those of `above`.
    fn below(dir: &Path, profile: BuildProfile, above: &mut Vec<PathBuf>) -> Result<Self> {
        let component = component_manifest(dir)?;
        // Tools run in folders of their own, so paths are whole.
        let dir = dir.canonicalize().context(|| format!("there is no {}", dir.display()))?;
        if above.contains(&dir) {
            return Err(Error::invalid(format!("{} is plugged into itself", component.name))
                .hint("a component cannot be in what it plugs in"));
        }
        check_package(&component)?;
        let made = source_artifact(&dir, &component, profile)?;
        let artifact = component_artifact(&dir, &component, profile)?;
        above.push(dir.clone());
        let found = component.plug.iter().map(|name| PlugSource::find(&dir, name, profile, above));
        let plugs = found.collect::<Result<Vec<_>>>();
        above.pop();
        let source = ComponentSource { dir, component, profile, artifact: made };
        Ok(Self { source, artifact, plugs: plugs? })
    }

    /// The folder, as a whole path.
    pub fn dir(&self) -> &Path {
        &self.source.dir
    }

    /// What its eyot.toml said when it was read.
    pub fn component(&self) -> &ComponentSettings {
        &self.source.component
    }

    /// Where its component lies once it is built, with what is linked into it.
    pub fn artifact(&self) -> &Path {
        &self.artifact
    }

    /// Every folder whose files it is built from.
    pub fn folders(&self) -> Vec<&Path> {
        let mut all = Vec::new();
        self.gather(&mut all);
        all.into_iter().map(|project| project.source.dir.as_path()).collect()
    }

    /// The components of the registry that are linked into it and have not been given to it yet.
    pub fn wanted_references(&self) -> Vec<Reference> {
        let mut wanted = Vec::new();
        self.plugs.iter().for_each(|plug| plug.want(&mut wanted));
        wanted
    }

    /// Gives it a component of the registry.
    pub fn provide(&mut self, reference: &Reference, wasm: &Bytes) {
        self.plugs.iter_mut().for_each(|plug| plug.provide(reference, wasm));
    }

    /// This and every folder that is built with it, each once, plugs before what they are plugged into.
    fn gather<'a>(&'a self, all: &mut Vec<&'a Self>) {
        let folders = self.plugs.iter().filter_map(PlugSource::folder);
        folders.for_each(|plug| plug.gather(all));
        if all.iter().all(|other| other.source.dir != self.source.dir) {
            all.push(self);
        }
    }

    /// Links what was built.
    fn link(&self, is_offered: &dyn Fn(&str) -> bool) -> Result<()> {
        let name = &self.source.component.name;
        let socket = read(&self.source.artifact)?;
        let plugs = self.plugs.iter().map(PlugSource::wasm).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = plugs.iter().map(|(name, wasm)| LinkInput { name, wasm }).collect();
        let linked = link_components(&LinkInput { name, wasm: &socket }, &parts, is_offered);
        let linked = linked.map_err(|error| error.context(format!("{name} cannot be linked")))?;
        std::fs::write(&self.artifact, linked).context(|| format!("cannot write {}", self.artifact.display()))
    }
}

impl ComponentBuilder<'_> {
    /// Builds the components of folders, and links those that have plugs. What plugs of the registry are must have
    /// been provided.
    pub fn build(&self, projects: &[ComponentProject]) -> Result<()> {
        let mut all = Vec::new();
        projects.iter().for_each(|project| project.gather(&mut all));
        let sources: Vec<_> = all.iter().map(|project| &project.source).collect();
        self.compile(&sources)?;
        for project in all.iter().filter(|project| !project.plugs.is_empty()) {
            self.reporter.progress(&format!("linking {}", project.source.component.name));
            project.link(self.is_offered)?;
        }
        Ok(())
    }

    fn compile(&self, sources: &[&ComponentSource]) -> Result<()> {
        let (tools, reporter) = (self.tools, self.reporter);
        let mut scripts = Vec::new();
        for source in sources {
            let ComponentSource { dir, component, profile, .. } = *source;
            let work = source.work_dir();
            std::fs::create_dir_all(work).context(|| format!("cannot create {}", work.display()))?;
            reporter.progress(&format!("building {}", component.name));
            match component.language {
                Language::Rust => {
                    run_tool(RustToolchain::find()?.command(dir, *profile), &component.name, reporter)?;
                }
                Language::Python => PythonToolchain::find()?.build(source, tools, reporter)?,
                Language::C | Language::Cpp => ClangToolchain::find()?.build(source, tools, reporter)?,
                Language::Go => GoToolchain::find()?.build(source, tools, reporter)?,
                Language::JavaScript | Language::TypeScript => scripts.push(*source),
            }
        }
        if !scripts.is_empty() {
            JavaScriptToolchain::find()?.build(&scripts, tools, reporter)?;
        }
        // Rust's SDK writes its documentation itself.
        for source in sources.iter().filter(|source| source.component.language != Language::Rust) {
            let wit = source.work_dir().join("wit");
            if wit.is_dir() {
                wit_docs::add(&wit, &source.artifact)?;
            }
        }
        Ok(())
    }
}

/// The `[component]` section of a folder's eyot.toml.
pub fn component_manifest(dir: &Path) -> Result<ComponentSettings> {
    let file = dir.join("eyot.toml");
    let component = Config::load(Some(&file), &[])?.component;
    component.ok_or_else(|| {
        Error::invalid(format!("{} has no section [component]", file.display())).hint(
            "a component's eyot.toml says: [component] name = \"…\", version = \"…\", language = \"rust\"",
        )
    })
}

/// Checks the package that a manifest names for the component's own interface.
fn check_package(component: &ComponentSettings) -> Result<()> {
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

/// Where the component of a folder lies once it is built, with what is linked into it.
pub fn component_artifact(
    dir: &Path,
    component: &ComponentSettings,
    profile: BuildProfile,
) -> Result<PathBuf> {
    let alone = source_artifact(dir, component, profile)?;
    // Beside it, and never in its place: cargo would take the linked one for what it built.
    Ok(if component.plug.is_empty() { alone } else { alone.with_extension("linked.wasm") })
}

/// Where a language's tool puts the component of a folder.
fn source_artifact(dir: &Path, component: &ComponentSettings, profile: BuildProfile) -> Result<PathBuf> {
    match component.language {
        Language::Rust => rust_artifact(dir, profile),
        _ => Ok(dir.join("build").join(format!("{}.wasm", component.name.replace('/', "-")))),
    }
}
