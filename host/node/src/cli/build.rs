use std::path::PathBuf;

use clap::Args;
use eyot_build::{BuildProfile, ComponentBuilder, ComponentProject, ToolFolder};
use eyot_component::ComponentDescription;
use eyot_core::config::ComponentSettings;
use eyot_core::{Digest, Result, ResultExt};
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::offered::is_offered;
use crate::output::{CommandOutput, SpinnerReporter, size};
use crate::plugs;
use crate::session::ApiSession;

/// Builds the component of a folder with the tools of its language: rust, python, javascript, typescript, c, cpp or go.
///
/// Tools that other registries have, such as componentize-js, are installed once into data.tools. Components that
/// `plug` in its eyot.toml names are built too where they are folders, and linked into it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot build\n  eyot build components/handlers/digits-image")]
pub(crate) struct BuildCommand {
    /// Folders with an eyot.toml that has a section `component`.
    #[arg(default_value = ".")]
    dirs: Vec<PathBuf>,
    /// Copies each component into this folder as NAME.wasm.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct BuiltComponent {
    name: String,
    version: String,
    file: PathBuf,
    size: u64,
    digest: Digest,
    /// Imports that this host does not offer: the component runs only composed with one that exports them.
    missing: Vec<String>,
}

impl BuildCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let tools = ToolFolder::new(&global.config()?.data.tools);
        let projects = self.dirs.iter().map(|dir| ComponentProject::new(dir, BuildProfile::Release));
        let mut projects = projects.collect::<Result<Vec<_>>>()?;
        if projects.iter().any(|project| !project.wanted_references().is_empty()) {
            plugs::fetch(&mut projects, ApiSession::open(global).await?.client()).await?;
        }
        let spinner = output.spinner("building");
        let reporter = SpinnerReporter::new(&spinner, output);
        let builder = ComponentBuilder { tools: &tools, reporter: &reporter, is_offered: &is_offered };
        let made = builder.build(&projects);
        spinner.finish_and_clear();
        made?;
        let built =
            projects.iter().map(|project| self.built(project.component(), project.artifact().to_owned()));
        let built = built.collect::<Result<Vec<_>>>()?;
        for BuiltComponent { name, missing, .. } in built.iter().filter(|one| !one.missing.is_empty()) {
            output.note(&format!(
                "{name} imports what this host does not offer: {}; it must be composed with a component that exports it",
                missing.join(", ")
            ));
        }
        output.result(&built, |_| {
            let line = |one: &BuiltComponent| {
                format!(
                    "{} {}  {}  {}  {}",
                    one.name,
                    one.version,
                    size(one.size),
                    one.digest.short(),
                    one.file.display()
                )
            };
            built.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }

    /// What was built, copied to where the user wants it.
    fn built(&self, component: &ComponentSettings, mut file: PathBuf) -> Result<BuiltComponent> {
        let bytes = std::fs::read(&file).context(|| format!("cannot read {}", file.display()))?;
        if let Some(out) = &self.out {
            std::fs::create_dir_all(out)?;
            let copy = out.join(format!("{}.wasm", component.name.replace('/', "-")));
            std::fs::write(&copy, &bytes).context(|| format!("cannot write {}", copy.display()))?;
            file = copy;
        }
        let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
        let described = ComponentDescription::read(&bytes);
        let described = described.map_err(|error| error.context(file.display().to_string()))?;
        let missing = described.interface.imports.into_iter().filter(|import| !is_offered(import)).collect();
        let (name, version) = (component.name.clone(), component.version.clone());
        Ok(BuiltComponent { name, version, file, size, digest, missing })
    }
}
