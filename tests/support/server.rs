//! A running `eyot up`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Answer;
use crate::http;

/// A server of our own; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    /// The control plane's URL.
    pub api: String,
    /// The data plane's URL.
    pub gateway: String,
}

impl Server {
    /// Starts `command` and waits until it says where it listens.
    pub(crate) fn start(mut command: Command, data: &Path) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        let log = data.join("server.log");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .context("eyot cannot be run")?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let said = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>().next();
        let Some(Ok(said)) = said else {
            let _ = child.kill();
            let status = child.wait()?;
            bail!(
                "the server did not start ({status}): {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
        };
        let url = |name: &str| {
            said[name].as_str().map(str::to_owned).context("the server did not say where it listens")
        };
        Ok(Self { api: url("api")?, gateway: url("gateway")?, child, log })
    }

    /// Asks the data plane.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get(&format!("{}{path}", self.gateway))
    }

    /// Posts a body to the data plane.
    pub fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Answer> {
        self.post_with(path, &[("content-type", "application/json")], body)
    }

    /// The same with headers.
    pub fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer> {
        http::post(&format!("{}{path}", self.gateway), headers, body.into())
    }

    /// Sends any request to the control plane.
    pub fn api_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        http::send(method, &format!("{}{path}", self.api), headers, body)
    }

    /// Sends any request to the data plane.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        http::send(method, &format!("{}{path}", self.gateway), headers, body)
    }

    /// Asks the control plane.
    pub fn api_get(&self, path: &str) -> Result<Answer> {
        http::get(&format!("{}{path}", self.api))
    }

    /// Puts a body to the control plane.
    pub fn api_put(&self, path: &str, body: impl Into<Vec<u8>>) -> Result<Answer> {
        http::put(&format!("{}{path}", self.api), body.into())
    }

    /// Deletes what the control plane has there.
    pub fn api_delete(&self, path: &str) -> Result<Answer> {
        http::delete(&format!("{}{path}", self.api))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as an operator does.
    pub fn terminate(&self) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap_or_default();
        // SAFETY: sends a signal to a child that has not been waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Asks it to stop and waits; fails unless it ends well.
    pub fn stop(mut self) -> Result<()> {
        self.terminate();
        let status = self.wait()?;
        if status.success() { Ok(()) } else { bail!("the server ended with {status}: {}", self.log()) }
    }

    /// Kills it where it stands, as a power cut does.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it the signal that it cannot catch, while others still hold on to it.
    pub fn signal_kill(&self) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap_or_default();
        // SAFETY: sends a signal to a child that has not been waited for, so the id is still its own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
