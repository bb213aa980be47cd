//! Tests of components that answer HTTP: each is deployed on a server of its own, below all paths.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::message::HttpMessage;
use super::peer::PeerServers;
use super::spec::{pairs, text};
use super::time_limit::{TEST_TIMEOUT, watch};
use crate::process;

/// A server with the component of a test. Whatever happens, it is gone when this is.
pub(super) struct HttpService {
    server: ServerProcess,
    /// Where it answers, `HOST:PORT`.
    gateway: String,
    /// Dropped, it calls off who ends the server when the test's time is over.
    _watched: mpsc::Sender<()>,
}

/// `eyot up` on a data folder of its own, both gone with this.
struct ServerProcess {
    child: Child,
    data: PathBuf,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // One that has ended cannot be ended again, and the next takes another folder.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl HttpService {
    pub(super) fn start(eyot: &Path, program: &Path, run: &Value, peers: &PeerServers) -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("eyot-wasi-testsuite-{}-{count}", std::process::id());
        let data = std::env::temp_dir().join(name);
        let mut command = Command::new(eyot);
        command.args([
            "up",
            "--json",
            "--set",
            "api.listen=127.0.0.1:0",
            "--set",
            "gateway.listen=127.0.0.1:0",
        ]);
        command.arg("--data").arg(&data);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{} cannot be run", eyot.display()))?;
        let watched = watch(child.id());
        let mut server = ServerProcess { child, data };
        let stdout = server.child.stdout.take().context("the server has no streams")?;
        let said = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>().next();
        let said = said.context("the server did not start")??;
        let gateway = said["gateway"].as_str().and_then(|url| url.strip_prefix("http://"));
        let gateway = gateway.context("the server does not say where it answers")?.to_owned();
        deploy(eyot, &server.data, program, run, peers)?;
        Ok(Self { server, gateway, _watched: watched })
    }

    /// Sends a request and compares the answer with what is said of it.
    pub(super) fn request(&self, operation: &Value) -> Result<()> {
        let (method, path) = (text(operation, "method", "GET"), text(operation, "path", "/"));
        let body = text(operation, "body", "");
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.gateway);
        for (name, value) in pairs(&operation["headers"]) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !operation["body"].is_null() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut stream = TcpStream::connect(&self.gateway)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let answer = HttpMessage::read(&mut BufReader::new(stream), true)?.context("there was no answer")?;
        check(&answer, &operation["response"]).with_context(|| format!("{method} {path}"))
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, operation: &Value) -> Result<()> {
        let signal = text(operation, "signal", "SIGTERM").trim_start_matches("SIG");
        process::run(Command::new("kill").args(["-s", signal, &self.server.child.id().to_string()]))
    }

    pub(super) fn wait(mut self, expected: i64) -> Result<()> {
        let status = self.server.child.wait()?;
        match status.code() {
            Some(code) if i64::from(code) == expected => Ok(()),
            Some(code) => bail!("the server ended with {code}, not {expected}"),
            None => bail!("the server did not end within {} s", TEST_TIMEOUT.as_secs()),
        }
    }
}

/// Gives a component all paths, the test's variables, and leave to speak to the test's servers and elsewhere.
fn deploy(eyot: &Path, data: &Path, program: &Path, run: &Value, peers: &PeerServers) -> Result<()> {
    let mut command = Command::new(eyot);
    command.arg("deploy").arg(program).args(["--name", "test", "--route", "/...", "--allow-http", "*"]);
    command.arg("--data").arg(data);
    for address in peers.addresses() {
        command.arg("--allow-http").arg(address.to_string());
    }
    for (name, value) in pairs(&run["env"]).into_iter().chain(peers.environment()) {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    process::output(&mut command).map(drop)
}

fn check(answer: &HttpMessage, expected: &Value) -> Result<()> {
    let status = expected["status"].as_u64().unwrap_or(200).to_string();
    let found = answer.line.split(' ').nth(1).unwrap_or_default();
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(found == status, "the status is {found}, not {status}: {body}");
    for (name, value) in pairs(&expected["headers"]) {
        let found = answer.field(&name);
        ensure!(found == Some(value.as_str()), "{name} is {found:?}, not {value:?}");
    }
    if let Some(expected) = expected["body"].as_str() {
        ensure!(body == expected, "the body is {body:?}, not {expected:?}");
    }
    Ok(())
}
