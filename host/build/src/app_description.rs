//! What an app in Python or JavaScript exports, as its language's own parser says it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use eyot_core::{Error, Result};
use serde::Deserialize;

/// What an app exports and imports.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AppDescription {
    pub(crate) handler: bool,
    /// Whether its handler is asynchronous, and exported as such.
    pub(crate) handler_async: bool,
    pub(crate) http: bool,
    /// The text of an interface `functions`.
    pub(crate) functions: Option<String>,
    /// Interfaces by full name.
    pub(crate) imports: Vec<String>,
    pub(crate) error: Option<String>,
}

impl AppDescription {
    /// Runs what reads the app at `path`, and prints it as JSON.
    pub(crate) fn read(mut reader: Command, path: &Path) -> Result<Self> {
        let program = reader.get_program().to_string_lossy().into_owned();
        let output = reader
            .output()
            .map_err(|error| Error::unavailable(format!("{program} cannot be run")).because(error))?;
        let not = || format!("{} was not understood", path.display());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::failed(format!("{}: {said}", not())));
        }
        let app: Self =
            serde_json::from_slice(&output.stdout).map_err(|error| Error::internal(not()).because(error))?;
        match app.error {
            Some(error) => Err(Error::invalid(format!("{}: {error}", path.display()))),
            None => Ok(app),
        }
    }

    /// The component's own package, `eyot:component` unless named: its world, on WASI `wasi`, and the interface
    /// of its functions.
    pub(crate) fn world(&self, package: Option<&str>, wasi: &str) -> String {
        let mut text = format!("package {};\n", package.unwrap_or("eyot:component"));
        text.push_str(self.functions.as_deref().unwrap_or_default());
        text.push_str("world component {\n");
        for interface in &self.imports {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "  import {interface};");
        }
        let http = format!("wasi:http/incoming-handler@{wasi}");
        let exports = [
            (self.handler, "eyot:ml/handler@0.1.0"),
            (self.handler_async, "eyot:ml/handler-async@0.1.0"),
            (self.http, http.as_str()),
            (self.functions.is_some(), "functions"),
        ];
        for (_, export) in exports.iter().filter(|(has, _)| *has) {
            let _ = writeln!(text, "  export {export};");
        }
        text.push_str("}\n");
        text
    }
}
