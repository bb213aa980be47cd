//! Python: what an app exports is read off its decorators and annotations, componentize-py does the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use eyot_core::{Error, Result};

use crate::app_description::AppDescription;
use crate::component_source::ComponentSource;
use crate::contracts;
use crate::process::{run_tool, tool_output};
use crate::reporter::BuildReporter;
use crate::tool_folder::{PackageSource, ToolFolder, ToolPackage};

/// The module `eyot` that apps import, and what it is made of.
const PYTHON_SDK: [(&str, &str); 4] = [
    ("eyot.py", include_str!("../../../../components/sdk/python/eyot.py")),
    ("eyot_values.py", include_str!("../../../../components/sdk/python/eyot_values.py")),
    ("eyot_errors.py", include_str!("../../../../components/sdk/python/eyot_errors.py")),
    ("eyot_http.py", include_str!("../../../../components/sdk/python/eyot_http.py")),
];
/// Reads an app; run by the machine's own Python.
const DESCRIBE_SCRIPT: &str = include_str!("../../../../components/sdk/python/describe.py");
/// Starts componentize-py where it is a package and no program.
const START_SCRIPT: &str = "import sys; from componentize_py import script; sys.exit(script())";
/// The version that is known to work.
const TOOL_PACKAGE: ToolPackage = ToolPackage {
    name: "componentize-py 0.25.1",
    folder: "python-0.25.1",
    size: "30 MB to fetch, 110 MB on disk",
    source: PackageSource::Pip(&["componentize-py==0.25.1"]),
};
/// What is built.
const APP_FILE: &str = "app.py";

/// How Python components are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PythonToolchain {
    /// The machine's own componentize-py.
    Program { version: String },
    /// The package of PyPI, once it is needed.
    Package,
}

impl PythonToolchain {
    /// Looks for componentize-py.
    pub fn find() -> Result<Self> {
        if let Ok(version) = tool_output("componentize-py", &["--version"], "") {
            return Ok(Self::Program { version });
        }
        tool_output("python3", &["-m", "pip", "--version"], "install Python 3 with pip")?;
        Ok(Self::Package)
    }

    /// In words, for eyot doctor.
    pub fn describe(&self, tools: &ToolFolder) -> String {
        match (self, tools.find(&TOOL_PACKAGE)) {
            (Self::Program { version }, _) => version.clone(),
            (Self::Package, Some(_)) => "componentize-py 0.25.1 among Eyot's tools".to_owned(),
            (Self::Package, None) => "eyot build installs componentize-py when it is first needed".to_owned(),
        }
    }

    /// Makes the component of an app. Writes what it needs beside it.
    pub(crate) fn build(
        &self,
        source: &ComponentSource,
        tools: &ToolFolder,
        reporter: &dyn BuildReporter,
    ) -> Result<()> {
        let (dir, into) = (&source.dir, &source.artifact);
        let app = read(&dir.join(APP_FILE))?;
        let work = source.work_dir();
        let (wit, sdk) = (work.join("wit"), work.join("sdk"));
        contracts::write(&wit, &app.world(source.component.package.as_deref(), contracts::WASI_VERSION))?;
        for (name, text) in PYTHON_SDK {
            contracts::file(&sdk.join(name), text)?;
        }
        let mut command = match self {
            Self::Program { .. } => Command::new("componentize-py"),
            Self::Package => {
                let folder: PathBuf = tools.get(&TOOL_PACKAGE, reporter)?;
                let mut command = Command::new("python3");
                command.args(["-c", START_SCRIPT]).env("PYTHONPATH", folder);
                command
            }
        };
        command.arg("-d").arg(wit).args(["-w", "component", "componentize", "app", "-p"]).arg(dir);
        command.arg("-p").arg(sdk).arg("-o").arg(into);
        run_tool(command, &dir.display().to_string(), reporter).map_err(|error| missing_module(error, dir))
    }
}

/// A module that is not there, in one line; other errors as they are.
fn missing_module(error: Error, dir: &Path) -> Error {
    let said = error.to_string();
    let module = said.rsplit_once("No module named '").and_then(|(_, rest)| Some(rest.split_once('\'')?.0));
    let Some(module) = module else { return error };
    let package = module.split('.').next().unwrap_or(module);
    Error::invalid(format!("{} imports '{module}', which is not there", dir.join(APP_FILE).display())).hint(format!(
        "a package of pure Python works beside app.py (pip install --target . {package}); numpy and others with compiled \
         code do not: use lists, eyot.Tensor, or a model"
    ))
}

fn read(path: &Path) -> Result<AppDescription> {
    if !path.is_file() {
        return Err(Error::not_found(format!("there is no {}", path.display())).hint(
            "a Python component is a folder with eyot.toml and app.py; eyot new --lang python makes one",
        ));
    }
    let mut describe = Command::new("python3");
    describe.args(["-c", DESCRIBE_SCRIPT]).arg(path);
    AppDescription::read(describe, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn app(source: &str) -> Result<AppDescription> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(APP_FILE);
        std::fs::write(&path, source).unwrap();
        read(&path)
    }

    #[test]
    fn annotations_are_types() {
        let source = r#"
from dataclasses import dataclass
import eyot

@dataclass
class Part:
    share: float
    rows: eyot.Artifact

@dataclass
class Unused:
    anything: dict

@eyot.function
def split(rows: eyot.Artifact, seed: int, names: list[str] | None, pair: tuple[bool, bytes]) -> list[Part]:
    """Cuts rows in two."""

@eyot.function
async def note(text: str): ...

def private(x): ...
"#;
        let expected = "package eyot:component;
interface functions {
  use eyot:ml/artifacts@0.1.0.{artifact};
  record %part-record { %share: f64, %rows: artifact }
  /// Cuts rows in two.
  %split: func(%rows: artifact, %seed: s64, %names: option<list<string>>, %pair: tuple<bool, list<u8>>) -> result<list<%part-record>, string>;
  %note: async func(%text: string) -> result<_, string>;
}
world component {
  import eyot:ml/artifacts@0.1.0;
  export functions;
}
";
        assert_eq!(app(source).unwrap().world(None, contracts::WASI_VERSION), expected);
        let handler = "import eyot\n@eyot.handler(inputs=[], outputs=[])\ndef f(): eyot.Model.open('m')\n";
        let expected = "package eyot:component;\nworld component {\n  import eyot:ml/models@0.1.0;\n  export eyot:ml/handler@0.1.0;\n}\n";
        assert_eq!(app(handler).unwrap().world(None, contracts::WASI_VERSION), expected);
        let handler = "import eyot\n@eyot.handler(inputs=[], outputs=[])\nasync def f(): await eyot.Model.open('m').infer_async([])\n";
        let expected = "package eyot:component;\nworld component {\n  import eyot:ml/models-async@0.1.0;\n  import eyot:ml/models@0.1.0;\n  export eyot:ml/handler-async@0.1.0;\n}\n";
        assert_eq!(app(handler).unwrap().world(None, contracts::WASI_VERSION), expected);
        let http = "from eyot import http\n@http\ndef f(request): ...\n";
        let expected =
            "package acme:page@1.0.0;\nworld component {\n  export wasi:http/incoming-handler@0.2.12;\n}\n";
        assert_eq!(app(http).unwrap().world(Some("acme:page@1.0.0"), contracts::WASI_VERSION), expected);
    }

    #[test]
    fn a_missing_module_is_one_line_with_what_works_instead() {
        let said = "x does not build:\nTraceback (most recent call last):\n  File \"app.py\", line 1\n\
            ModuleNotFoundError: No module named 'numpy.linalg'";
        let error = missing_module(Error::failed(said), Path::new("dir"));
        assert_eq!(error.message(), "dir/app.py imports 'numpy.linalg', which is not there");
        assert!(error.hint_text().unwrap().contains("pip install --target . numpy"));
        assert_eq!(missing_module(Error::failed("other"), Path::new("dir")).message(), "other");
    }

    #[test]
    fn defaults_may_be_left_out_and_fields_are_inherited() {
        let source = "from dataclasses import dataclass, field\nimport eyot\n\
            @dataclass\nclass Base:\n    count: int\n    name: str = 'x'\n\
            @dataclass\nclass Row(Base):\n    tags: list[str] = field(default_factory=list)\n    plain: bool = field()\n\
            @eyot.function\ndef getScore(row: Row, maxRows: int = 3, note: str | None = None) -> float: ...\n";
        let world = app(source).unwrap().world(None, contracts::WASI_VERSION);
        let record = "record %row-record { %count: s64, %name: option<string>, %tags: option<list<string>>, %plain: bool }";
        assert!(world.contains(record), "{world}");
        let function = "%get-score: func(%row: %row-record, %max-rows: option<s64>, %note: option<string>) -> result<f64, string>;";
        assert!(world.contains(function), "{world}");
    }

    #[test]
    fn what_cannot_be_exported_is_said_with_its_line() {
        for (source, says) in [
            ("def f(): ...", "it exports nothing"),
            (
                "import eyot\n@eyot.http\ndef f(x): ...\n@eyot.http\ndef g(x): ...",
                "line 5: there is more than one function with @eyot.http",
            ),
            ("def f(:", "line 1: invalid syntax"),
            (
                "import eyot\n@eyot.function\ndef f(x): ...",
                "line 3: parameter 'x' of 'f' needs an annotation",
            ),
            (
                "import eyot\n@eyot.function\ndef f(x: dict): ...",
                "line 3: 'dict' cannot cross a component's boundary",
            ),
            (
                "import eyot\n@eyot.function\ndef f(*x: int): ...",
                "line 3: 'f' takes more than plain parameters",
            ),
        ] {
            let error = app(source).err().map(|error| error.message().to_owned()).unwrap_or_default();
            assert!(error.contains(says), "{source}: {error}");
        }
    }
}
