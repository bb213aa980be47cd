//! One test: a program, how it is run, what it must do.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::peer::PeerServers;
use super::service::HttpService;
use super::spec::{strings, text};
use super::time_limit::{TEST_TIMEOUT, watch};

/// How long a program may take from saying where it listens until it does, and how often it is tried.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
const LISTEN_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct TestCase {
    program: PathBuf,
    operations: Vec<Value>,
    /// All that its file says.
    spec: Value,
}

/// The world that a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestWorld {
    /// The machine's clock, chance and files, and its network.
    Machine,
    /// That of a step.
    Step,
}

/// How a test ended.
pub(super) enum TestOutcome {
    Passed,
    Failed(String),
    /// It needs what `eyot invoke` is not for.
    Unsupported(String),
}

impl TestCase {
    /// Reads the file beside a program, which may be of the older form; without one the program has to end well.
    pub(super) fn read(program: &Path) -> Result<Self> {
        let file = program.with_extension("json");
        let spec: Value = match std::fs::read_to_string(&file) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        let operations = match spec["operations"].as_array() {
            Some(operations) => operations.clone(),
            None => older(&spec),
        };
        Ok(Self { program: program.to_owned(), operations, spec })
    }

    pub(super) fn run(&self, eyot: &Path, view: GuestWorld) -> Result<TestOutcome> {
        if view == GuestWorld::Step && self.has_network() {
            return Ok(TestOutcome::Unsupported("a step has no network".to_owned()));
        }
        let folder = self.program.parent().unwrap_or(Path::new("."));
        self.clean(folder)?;
        let ran = match text(&self.spec, "world", "wasi:cli/command") {
            "wasi:cli/command" => self.operate(eyot, folder, view),
            "wasi:http/service" => self.serve(eyot),
            other => return Ok(TestOutcome::Unsupported(format!("a {other} is not known here"))),
        };
        self.clean(folder)?;
        Ok(ran.map_or_else(|error| TestOutcome::Failed(format!("{error:#}")), |()| TestOutcome::Passed))
    }

    /// Whether it is about sockets or HTTP.
    fn has_network(&self) -> bool {
        let name = self.program.file_stem().unwrap_or_default().to_string_lossy();
        let named = ["sockets", "http"].iter().any(|kind| name.starts_with(kind));
        named || !strings(&self.spec["proposals"]).is_empty()
    }

    fn operate(&self, eyot: &Path, folder: &Path, view: GuestWorld) -> Result<()> {
        let peers = PeerServers::start(&self.spec)?;
        let mut running: Option<RunningProgram> = None;
        for operation in &self.operations {
            let kind = text(operation, "type", "");
            match (kind, &mut running) {
                ("run", _) => {
                    running =
                        Some(RunningProgram::start(eyot, &self.program, folder, operation, (view, &peers))?);
                }
                ("wait", Some(_)) => {
                    let ended = running.take().context("nothing runs")?;
                    ended.wait(operation["exit_code"].as_i64().unwrap_or(0))?;
                }
                (_, Some(running)) => running.operate(kind, operation)?,
                (_, None) => bail!("nothing runs yet at '{kind}'"),
            }
        }
        match running {
            Some(running) => running.wait(0),
            None => Ok(()),
        }
    }

    fn serve(&self, eyot: &Path) -> Result<()> {
        let peers = PeerServers::start(&self.spec)?;
        let mut running: Option<HttpService> = None;
        for operation in &self.operations {
            match (text(operation, "type", ""), &running) {
                ("run", _) => running = Some(HttpService::start(eyot, &self.program, operation, &peers)?),
                ("request", Some(service)) => service.request(operation)?,
                ("kill", Some(service)) => service.signal(operation)?,
                ("wait", Some(_)) => {
                    let ended = running.take().context("nothing runs")?;
                    ended.wait(operation["exit_code"].as_i64().unwrap_or(0))?;
                }
                (other, Some(_)) => bail!("'{other}' is not known here"),
                (other, None) => bail!("nothing runs yet at '{other}'"),
            }
        }
        Ok(())
    }

    /// Tests leave files of that name.
    fn clean(&self, folder: &Path) -> Result<()> {
        let runs = self.operations.iter().filter(|operation| operation["type"] == "run");
        runs.flat_map(folders)
            .map(|(host, _)| folder.join(host))
            .filter(|folder| folder.is_dir())
            .try_for_each(|folder| clean(&folder))
    }
}

/// The folders of a run, each with its path as the program sees it.
fn folders(run: &Value) -> impl Iterator<Item = (String, String)> {
    let root = run["root"].as_str().map(|name| (name.to_owned(), "/".to_owned()));
    root.into_iter().chain(strings(&run["dirs"]).into_iter().map(|name| (name.clone(), name)))
}

fn clean(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_folder = path.is_dir() && !path.is_symlink();
        match path.extension().is_some_and(|ending| ending == "cleanup") {
            true if is_folder => std::fs::remove_dir_all(&path)?,
            true => std::fs::remove_file(&path)?,
            false if is_folder => clean(&path)?,
            false => {}
        }
    }
    Ok(())
}

/// The older form says the same without an order.
fn older(spec: &Value) -> Vec<Value> {
    let mut run = serde_json::json!({ "type": "run" });
    for key in ["args", "env", "root", "dirs"] {
        if let Some(value) = spec.get(key) {
            run[key] = value.clone();
        }
    }
    let reads = ["stdout", "stderr"].into_iter().filter_map(|stream| {
        let payload = spec.get(stream)?.as_str()?;
        Some(serde_json::json!({ "type": "read", "id": stream, "payload": payload }))
    });
    let exit_code = spec["exit_code"].as_i64().unwrap_or(0);
    let wait = serde_json::json!({ "type": "wait", "exit_code": exit_code });
    std::iter::once(run).chain(reads).chain([wait]).collect()
}

/// A program that runs. Whatever happens, it is gone when this is.
struct RunningProgram {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    connections: Vec<(String, PeerConnection)>,
    /// Dropped, it calls off who ends the program when its time is over.
    _watched: mpsc::Sender<()>,
}

/// To a program that waits for it.
enum PeerConnection {
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

impl PeerConnection {
    fn open(protocol: &str, address: &str) -> Result<Self> {
        let timeout = Some(TEST_TIMEOUT);
        Ok(match protocol {
            "tcp" => {
                let stream = connect(address)?;
                stream.set_read_timeout(timeout)?;
                Self::Stream(stream)
            }
            "udp" => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.set_read_timeout(timeout)?;
                socket.connect(address)?;
                Self::Datagrams(socket)
            }
            other => bail!("a connection over {other} is not known here"),
        })
    }

    fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(payload),
            Self::Datagrams(socket) => socket.send(payload).map(drop),
        }
    }

    /// As much as fits.
    fn receive(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Stream(stream) => stream.read_exact(buffer),
            Self::Datagrams(socket) => socket.recv(buffer).map(|length| buffer.truncate(length)),
        }
    }
}

/// A program may say where it listens before it does.
#[allow(clippy::disallowed_methods, reason = "nothing tells when a program that has said so listens")]
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let end = Instant::now() + LISTEN_TIMEOUT;
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {
                std::thread::sleep(LISTEN_PAUSE);
            }
            done => return done,
        }
    }
}

impl RunningProgram {
    fn start(
        eyot: &Path,
        program: &Path,
        folder: &Path,
        run: &Value,
        (view, peers): (GuestWorld, &PeerServers),
    ) -> Result<Self> {
        let mut command = Command::new(eyot);
        command.args(["invoke", "--color", "never"]).arg(program);
        if view == GuestWorld::Machine {
            command.arg("--network");
        }
        for address in peers.addresses() {
            command.arg("--allow-http").arg(address.to_string());
        }
        for (name, value) in peers.environment() {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        for (host, guest) in folders(run) {
            command.arg("--dir").arg(format!("{}::{guest}", folder.join(host).display()));
        }
        for (name, value) in run["env"].as_object().into_iter().flatten() {
            command.arg("--env").arg(format!("{name}={}", value.as_str().unwrap_or_default()));
        }
        command.arg("--").args(strings(&run["args"]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} cannot be run", eyot.display()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            bail!("the program has no streams");
        };
        let watched = watch(child.id());
        let (stdout, stderr) = (BufReader::new(stdout), BufReader::new(stderr));
        Ok(Self { child, stdin: Some(stdin), stdout, stderr, connections: Vec::new(), _watched: watched })
    }

    fn operate(&mut self, kind: &str, operation: &Value) -> Result<()> {
        let payload = text(operation, "payload", "");
        match kind {
            "write" => {
                let stdin = self.stdin.as_mut().context("its input is closed")?;
                stdin.write_all(payload.as_bytes())?;
                Ok(stdin.flush()?)
            }
            "read" => {
                let stream = text(operation, "id", "stdout");
                let mut read = vec![0; payload.len()];
                let whole = match stream {
                    "stderr" => self.stderr.read_exact(&mut read),
                    _ => self.stdout.read_exact(&mut read),
                };
                expect(stream, payload, &read, whole)
            }
            "connect" => self.connect(operation),
            "send" => Ok(self.connection(operation)?.send(payload.as_bytes())?),
            "recv" => {
                let mut read = vec![0; payload.len()];
                let whole = self.connection(operation)?.receive(&mut read);
                expect("the connection", payload, &read, whole)
            }
            other => bail!("'{other}' is not known here"),
        }
    }

    /// The program says where it listens.
    fn connect(&mut self, operation: &Value) -> Result<()> {
        let protocol = text(operation, "protocol_type", "tcp");
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let opened = PeerConnection::open(protocol, line.trim());
        let opened = opened.with_context(|| format!("no connection to '{}'", line.trim()))?;
        self.connections.push((text(operation, "id", "server").to_owned(), opened));
        Ok(())
    }

    fn connection(&mut self, operation: &Value) -> Result<&mut PeerConnection> {
        let id = text(operation, "id", "server");
        let found = self.connections.iter_mut().find(|(name, _)| name == id);
        found.map(|(_, connection)| connection).with_context(|| format!("there is no connection '{id}'"))
    }

    fn wait(mut self, expected: i64) -> Result<()> {
        self.stdin.take();
        // Until the program ends, or is ended.
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut out)?;
        self.stderr.read_to_end(&mut err)?;
        let status = self.child.wait()?;
        let said = String::from_utf8_lossy(&err).trim().lines().take(3).collect::<Vec<_>>().join(" / ");
        match status.code() {
            Some(code) if i64::from(code) == expected => Ok(()),
            Some(code) => bail!("it ended with {code}, not {expected}: {said}"),
            None => bail!("it did not end within {} s: {said}", TEST_TIMEOUT.as_secs()),
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn expect(stream: &str, expected: &str, read: &[u8], whole: std::io::Result<()>) -> Result<()> {
    let read = String::from_utf8_lossy(read);
    whole.with_context(|| format!("{stream} ended before {expected:?}"))?;
    ensure!(read == expected, "{stream}: expected {expected:?}, found {read:?}");
    Ok(())
}
