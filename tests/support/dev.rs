//! `eyot dev`, as somebody runs it beside an editor.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Eyot;

/// A running `eyot dev`, whose rounds are read one by one; ended when dropped.
pub struct Dev {
    child: Child,
    rounds: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    /// Watches a project's folder.
    pub fn start(eyot: &Eyot, dir: &Path) -> Result<Self> {
        let mut command = eyot.command(&["dev", &dir.to_string_lossy(), "--json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let rounds = BufReader::new(child.stdout.take().context("it has no stdout")?).lines();
        Ok(Self { child, rounds })
    }

    /// The next revision that it has put in place.
    pub fn round(&mut self) -> Result<Value> {
        let line = self.rounds.next().context("eyot dev ended")??;
        serde_json::from_str(&line).with_context(|| format!("no round: {line}"))
    }

    /// What it says beside its rounds, for the first who asks.
    pub fn said(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
