//! Compilers that other registries have: each is installed once, into a folder that all projects of a
//! user share, at the version that is known to work.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::{Error, Result, ResultExt};

use crate::contracts;
use crate::process::run_tool;
use crate::reporter::BuildReporter;

/// The folder of installed tools.
#[derive(Clone, Debug)]
pub struct ToolFolder(PathBuf);

/// A tool that is not part of `eyot`.
#[derive(Debug)]
pub(crate) struct ToolPackage {
    /// What it is, for people.
    pub(crate) name: &'static str,
    /// Where it lies among the tools; its version is part of it.
    pub(crate) folder: &'static str,
    /// What is said before it is installed: how much comes over the network.
    pub(crate) size: &'static str,
    pub(crate) source: PackageSource,
}

/// Where a tool comes from.
#[derive(Debug)]
pub(crate) enum PackageSource {
    /// Packages of PyPI.
    Pip(&'static [&'static str]),
    /// Packages of npm, as a manifest and its lock say; scripts of packages are not run.
    Npm { manifest: &'static str, lock: &'static str },
}

impl ToolFolder {
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Where a tool lies, if it is installed.
    pub(crate) fn find(&self, tool: &ToolPackage) -> Option<PathBuf> {
        let folder = self.0.join(tool.folder);
        folder.is_dir().then_some(folder)
    }

    /// Where a tool lies; installs it first where it is missing. Many who ask at once wait for one.
    ///
    /// Fails when the package manager is missing or cannot reach its registry.
    pub(crate) fn get(&self, tool: &ToolPackage, reporter: &dyn BuildReporter) -> Result<PathBuf> {
        if let Some(folder) = self.find(tool) {
            return Ok(folder);
        }
        let cannot = || format!("cannot install {} into {}", tool.name, self.0.display());
        std::fs::create_dir_all(&self.0).context(cannot)?;
        let lock = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("lock"));
        // Held until this returns; the system lets go of it however the process ends.
        let lock = lock.context(cannot)?;
        lock.lock().context(cannot)?;
        if let Some(folder) = self.find(tool) {
            return Ok(folder);
        }
        reporter.note(&format!(
            "installing {} ({}) into {}; this is done once",
            tool.name,
            tool.size,
            self.0.display()
        ));
        // A folder that is there is whole: it comes under its name when everything is in it.
        let work = tempfile::Builder::new().prefix(".installing-").tempdir_in(&self.0).context(cannot)?;
        install(tool, work.path(), reporter).map_err(|error| error.context(cannot()))?;
        let folder = self.0.join(tool.folder);
        std::fs::rename(work.keep(), &folder).context(cannot)?;
        Ok(folder)
    }
}

fn install(tool: &ToolPackage, into: &Path, reporter: &dyn BuildReporter) -> Result<()> {
    match &tool.source {
        PackageSource::Pip(packages) => {
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]);
            pip.arg("--target").arg(into).args(*packages);
            run_tool(pip, "pip install", reporter)
        }
        PackageSource::Npm { manifest, lock } => {
            contracts::file(&into.join("package.json"), manifest)?;
            contracts::file(&into.join("package-lock.json"), lock)?;
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(into);
            run_tool(npm, "npm ci", reporter)
        }
    }
    .map_err(|error| missing(error, tool))
}

/// What to do where the package manager itself is not there.
fn missing(error: Error, tool: &ToolPackage) -> Error {
    let hint = match tool.source {
        PackageSource::Pip(_) => "Python 3 with pip is needed; on Debian: apt-get install python3-pip",
        PackageSource::Npm { .. } => {
            "Node.js 20 or newer with npm is needed: https://nodejs.org, or on Debian 13: apt-get install nodejs npm"
        }
    };
    error.hint(hint)
}
