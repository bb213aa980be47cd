//! One test's own data folder, and what most tests do with it.

use std::path::{Path, PathBuf};

use eyot_test_services::PostgresServer;
use eyot_tests::{Eyot, Server, component, path};
use serde_json::Value;

/// A data folder of its own, gone with the test.
pub(crate) struct World {
    pub(crate) eyot: Eyot,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let eyot = Eyot::new(dir.path().join("data")).unwrap();
        Self { eyot, dir }
    }

    /// One whose rows are in a PostgreSQL database.
    pub(crate) fn on_postgres(server: &PostgresServer) -> Self {
        let Self { eyot, dir } = Self::new();
        Self { eyot: eyot.with_setting(format!("storage.database={}", server.url("eyot"))), dir }
    }

    pub(crate) fn up(&self) -> Server {
        self.eyot.up().unwrap()
    }

    /// Pushes a built component under its own name; `false` where it is not built.
    pub(crate) fn push(&self, name: &str) -> bool {
        let Some(wasm) = component(name) else { return false };
        self.eyot.json(&["push", text(&wasm), "--as", &format!("{name}:0.1.0")]).unwrap();
        true
    }

    /// A copy of a folder of the repository: what a build makes must not lie in the checkout.
    pub(crate) fn copy(&self, folder: &str) -> PathBuf {
        let from = path(folder);
        let into = self.dir.path().join(from.file_name().unwrap());
        let copied = std::process::Command::new("cp").arg("-r").args([&from, &into]).status().unwrap();
        assert!(copied.success());
        into
    }

    /// Writes a file beside the data folder.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        text(&path).to_owned()
    }

    /// Runs the digits pipeline.
    pub(crate) fn digits(&self) -> Value {
        self.eyot.json(&["run", text(&path("components/examples/digits/pipeline.toml"))]).unwrap()
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The record of a step in a run.
pub(crate) fn step<'a>(run: &'a Value, name: &str) -> &'a Value {
    run["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap()
}

/// How each step of a run ended.
pub(crate) fn statuses(run: &Value) -> Vec<&str> {
    run["steps"].as_array().unwrap().iter().map(|step| step["status"].as_str().unwrap()).collect()
}
