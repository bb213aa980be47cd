//! Python: what an app exports is read off its decorators and annotations, componentize-py does the rest.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use eyot_core::{Error, Result};
use serde::Deserialize;

use super::{ask, contracts};

/// The module `eyot` that apps import.
const SDK: &str = include_str!("../../../../components/sdk/python/eyot.py");
/// Reads an app; run by the machine's own Python.
const DESCRIBE: &str = include_str!("../../../../components/sdk/python/describe.py");
/// The version that is known to work.
const TOOL: &str = "componentize-py==0.25.1";
/// What is built.
const APP: &str = "app.py";

/// How Python components are built here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Python {
    version: String,
}

/// What an app exports, as `describe.py` says it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct App {
    handler: bool,
    functions: Option<String>,
    imports: Vec<String>,
    error: Option<String>,
}

impl Python {
    /// Looks for componentize-py.
    pub(crate) fn find() -> Result<Self> {
        let hint = format!("pip install {TOOL}");
        Ok(Self { version: ask("componentize-py", &["--version"], &hint)? })
    }

    /// In words, for eyot doctor.
    pub(crate) fn describe(&self) -> String {
        self.version.clone()
    }

    /// The command that makes the component `into` of the app in `dir`. Writes what it needs beside it.
    pub(crate) fn command(&self, dir: &Path, into: &Path) -> Result<Command> {
        let app = read(&dir.join(APP))?;
        let work = into.parent().unwrap_or(dir);
        let (wit, sdk) = (work.join("wit"), work.join("sdk"));
        contracts::write(&wit, &app.world())?;
        contracts::file(&sdk.join("eyot.py"), SDK)?;
        let mut command = Command::new("componentize-py");
        command.arg("-d").arg(wit).args(["-w", "component", "componentize", "app", "-p"]).arg(dir);
        command.arg("-p").arg(sdk).arg("-o").arg(into);
        Ok(command)
    }
}

fn read(path: &Path) -> Result<App> {
    if !path.is_file() {
        return Err(Error::not_found(format!("there is no {}", path.display())).hint(
            "a Python component is a folder with eyot.toml and app.py; eyot new --lang python makes one",
        ));
    }
    let said = ask("python3", &["-c", DESCRIBE, &path.to_string_lossy()], "install Python 3")?;
    let app: App = serde_json::from_str(&said)
        .map_err(|error| Error::internal(format!("{} was not understood", path.display())).because(error))?;
    match app.error {
        Some(error) => Err(Error::invalid(format!("{}: {error}", path.display()))),
        None => Ok(app),
    }
}

impl App {
    /// The component's own package: its world, and the interface of its functions.
    fn world(&self) -> String {
        let mut text = String::from("package eyot:component;\n");
        text.push_str(self.functions.as_deref().unwrap_or_default());
        text.push_str("world component {\n");
        for interface in &self.imports {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  import eyot:ml/{interface}@0.1.0;");
        }
        if self.handler {
            text.push_str("  export eyot:ml/handler@0.1.0;\n");
        }
        if self.functions.is_some() {
            text.push_str("  export functions;\n");
        }
        text.push_str("}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn app(source: &str) -> Result<App> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(APP);
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
def note(text: str): ...

def private(x): ...
"#;
        let expected = "package eyot:component;
interface functions {
  use eyot:ml/artifacts@0.1.0.{artifact};
  record %part-record { %share: f64, %rows: artifact }
  /// Cuts rows in two.
  %split: func(%rows: artifact, %seed: s64, %names: option<list<string>>, %pair: tuple<bool, list<u8>>) -> result<list<%part-record>, string>;
  %note: func(%text: string) -> result<_, string>;
}
world component {
  import eyot:ml/artifacts@0.1.0;
  export functions;
}
";
        assert_eq!(app(source).unwrap().world(), expected);
        let handler = "import eyot\n@eyot.handler(inputs=[], outputs=[])\ndef f(): eyot.Model.open('m')\n";
        let expected = "package eyot:component;\nworld component {\n  import eyot:ml/models@0.1.0;\n  export eyot:ml/handler@0.1.0;\n}\n";
        assert_eq!(app(handler).unwrap().world(), expected);
    }

    #[test]
    fn what_cannot_be_exported_is_said_with_its_line() {
        for (source, says) in [
            ("def f(): ...", "it exports nothing"),
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
