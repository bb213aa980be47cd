//! Running commands.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Server;

/// The binary, over one data folder.
#[derive(Clone, Debug)]
pub struct Eyot {
    binary: PathBuf,
    data: PathBuf,
    /// Settings of every command.
    settings: Vec<String>,
}

/// A command that failed, as `--json` says it.
#[derive(Debug)]
pub struct Refused {
    /// The exit code, which stands for the kind.
    pub code: i32,
    pub kind: String,
    /// The chain of causes.
    pub message: String,
    pub hint: String,
}

impl Eyot {
    /// The binary that cargo built beside this program, or the one that `EYOT_BIN` names.
    pub fn new(data: impl AsRef<Path>) -> Result<Self> {
        let beside = || built().join("eyot");
        Self::with_binary(std::env::var_os("EYOT_BIN").map_or_else(beside, PathBuf::from), data)
    }

    /// A binary that was installed.
    pub fn with_binary(binary: PathBuf, data: impl AsRef<Path>) -> Result<Self> {
        if !binary.is_file() {
            bail!("there is no {}: cargo build --workspace --bins", binary.display());
        }
        Ok(Self { binary, data: data.as_ref().to_owned(), settings: Vec::new() })
    }

    /// With a setting for every command, as in `gateway.queue=1`.
    pub fn with_setting(mut self, setting: String) -> Self {
        self.settings.push(setting);
        self
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A command on the data folder, deaf to the environment of whoever runs the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EYOT_")) {
            command.env_remove(name);
        }
        command.arg("--data").arg(&self.data).args(["--color", "never"]).args(arguments);
        command.args(self.settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command that succeeds; answers what it prints.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("eyot cannot be run")?;
        succeeded(arguments, &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a command with `--json` that succeeds; answers the JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let text = self.text(&arguments)?;
        serde_json::from_str(&text)
            .with_context(|| format!("eyot {} printed no JSON: {text}", arguments.join(" ")))
    }

    /// Runs a command that must fail; answers how.
    pub fn refused(&self, arguments: &[&str]) -> Result<Refused> {
        let arguments = [arguments, &["--json"]].concat();
        let output = self.command(&arguments).output().context("eyot cannot be run")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            bail!(
                "eyot {} should have failed, and printed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        let problem: Value = serde_json::from_str(&said)
            .with_context(|| format!("eyot {} failed without JSON: {said}", arguments.join(" ")))?;
        let field = |name: &str| problem["error"][name].as_str().unwrap_or_default().to_owned();
        let code = output.status.code().context("it was killed")?;
        Ok(Refused { code, kind: field("kind"), message: field("message"), hint: field("hint") })
    }

    /// Starts a server on free ports.
    pub fn up(&self) -> Result<Server> {
        self.up_with(&[])
    }

    /// The same with settings, as in `gateway.queue=1`.
    pub fn up_with(&self, settings: &[&str]) -> Result<Server> {
        Server::start(self.server_command(settings), &self.data)
    }

    /// The same with so many file descriptors and no more.
    pub fn up_with_descriptors(&self, count: u64, settings: &[&str]) -> Result<Server> {
        let mut command = self.server_command(settings);
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: between fork and exec it makes one system call, with a structure of its own.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Server::start(command, &self.data)
    }

    fn server_command(&self, settings: &[&str]) -> Command {
        let mut arguments =
            vec!["up", "--json", "--set", "api.listen=127.0.0.1:0", "--set", "gateway.listen=127.0.0.1:0"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        self.command(&arguments)
    }
}

/// `target/<profile>`, from `target/<profile>[/deps]/<this program>`.
pub(crate) fn built() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    let folder = this.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.to_owned()
}

fn succeeded(arguments: &[&str], output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("eyot {} ended with {}: {}", arguments.join(" "), output.status, said.trim_end())
}
