//! `wasmtime serve` with the same component.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::http::{self, Answer};
use crate::repository::component;

/// A running `wasmtime serve`; killed when dropped.
pub struct Rival {
    child: Child,
    name: &'static str,
    reuse: usize,
    /// Where it answers.
    pub url: String,
}

impl Rival {
    /// Serves a built component; `None` where the tool is not installed.
    pub fn start(name: &'static str, reuse: usize) -> Result<Option<Self>> {
        let wasm = component(name).context("cargo xtask components")?;
        let reused = format!("--max-instance-reuse-count={reuse}");
        let spawned = Command::new("wasmtime")
            .args(["serve", "-S", "cli", "--addr", "127.0.0.1:0", &reused])
            .arg(&wasm)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("wasmtime cannot be run"),
        };
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().context("it has no stderr")?).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(at) = line.find("http://") {
                let url = line[at..].trim().trim_end_matches('/').to_owned();
                // What it says from now on is read to its end, so that it never waits for a reader.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Some(Self { child, name, reuse, url }));
            }
            said.push_str(&line);
            said.push('\n');
        }
        bail!("wasmtime serve did not start: {said}")
    }

    /// Posts a body to it.
    pub fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Answer> {
        http::post(&format!("{}{path}", self.url), &[], body.into())
    }

    /// Whether it serves that component with that reuse of instances.
    pub fn is(&self, name: &str, reuse: usize) -> bool {
        self.name == name && self.reuse == reuse
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
