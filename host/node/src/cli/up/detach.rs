//! A server in the background: started, waited for, and left alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eyot_core::{Error, ErrorKind, Result, ResultExt};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::told;
use crate::cli::GlobalOptions;
use crate::folder::RunningServer;
use crate::output::CommandOutput;

/// What is said of a server in the background.
#[derive(Serialize)]
struct DetachedServer<'a> {
    #[serde(flatten)]
    running: &'a RunningServer,
    log: &'a Path,
}

/// Starts a server as `global` says, and returns when it answers. It outlives this process and its terminal.
///
/// Fails as the server does.
pub(super) async fn detach(global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
    let config = global.config()?;
    let dir = &config.data.dir;
    std::fs::create_dir_all(dir).context(|| format!("cannot create the data folder {}", dir.display()))?;
    let log = std::path::absolute(dir.join(LOG_FILE))?;
    let cannot = || format!("cannot write to {}", log.display());
    let file = OpenOptions::new().create(true).append(true).open(&log).context(cannot)?;
    let before = file.metadata().context(cannot)?.len();
    let program = std::env::current_exe().context(|| "this program's file is not known".to_owned())?;
    let mut child = Command::new(program)
        .arg("up")
        .arg("--background")
        .arg(&log)
        .args(global.repeated())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .spawn()
        .context(|| "a server cannot be started".to_owned())?;
    let spinner = output.spinner("starting");
    let running = first_word(&mut child).await;
    spinner.finish_and_clear();
    let Some(running) = running? else {
        let status = child.wait().await?;
        return Err(why_not(&log, before, status));
    };
    output.result(&DetachedServer { running: &running, log: &log }, |output| {
        let (up, log, pid) = (told(output, &running, &config), log.display(), running.pid);
        format!("{up}\n  log            {log}\n  to stop it     kill {pid}")
    })
}

/// The log of a detached server, in its data folder.
const LOG_FILE: &str = "server.log";

/// What the server says when it answers; none when it ends before that.
async fn first_word(child: &mut Child) -> Result<Option<RunningServer>> {
    let mut stdout = child.stdout.take().ok_or_else(|| Error::internal("the server has no stdout"))?;
    let mut said = Vec::new();
    while stdout.read_buf(&mut said).await? > 0 {
        if let Ok(running) = serde_json::from_slice(&said) {
            return Ok(Some(running));
        }
    }
    Ok(None)
}

/// An error as `--json` prints it.
#[derive(Deserialize)]
struct PrintedFailure {
    error: PrintedError,
}

#[derive(Deserialize)]
struct PrintedError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
}

/// The error that ended a server, from what its log has had since.
fn why_not(log: &Path, before: u64, status: std::process::ExitStatus) -> Error {
    let text = std::fs::read(log).unwrap_or_default();
    let text = text.get(usize::try_from(before).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let printed = text.rfind("{\n  \"error\"").and_then(|at| serde_json::from_str(text.get(at..)?).ok());
    let Some(PrintedFailure { error: PrintedError { kind, message, hint } }) = printed else {
        let error = Error::failed(format!("the server ended before it answered ({status})"));
        return error.hint(format!("{} says why", log.display()));
    };
    let error = Error::new(kind, message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Nothing that happens to the terminal reaches this process any more.
pub(super) fn leave_terminal() {
    // It fails for the leader of a group, which nobody's terminal ends either.
    let _ = rustix::process::setsid();
}

/// The log of a detached server: stderr, which is a file. What it held is kept beside it when it gets too large, once.
pub(super) struct ServerLog {
    file: PathBuf,
    written_bytes: u64,
}

const MAX_LOG_BYTES: u64 = 32 << 20;

impl ServerLog {
    pub(super) fn new(file: &Path) -> Self {
        let written_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Self { file: file.to_owned(), written_bytes }
    }

    /// The file stays the one that stderr is.
    fn begin_anew(&self) -> std::io::Result<()> {
        std::fs::copy(&self.file, self.file.with_extension("log.1"))?;
        OpenOptions::new().write(true).truncate(true).open(&self.file).map(drop)
    }
}

impl Write for ServerLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.written_bytes > MAX_LOG_BYTES {
            self.begin_anew()?;
            self.written_bytes = 0;
        }
        let written = std::io::stderr().lock().write(bytes)?;
        self.written_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
