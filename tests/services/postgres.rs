//! PostgreSQL as Debian has it, on a socket in a folder of its own, with fsync on as in production.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// Where Debian has its versions.
const VERSIONS: &str = "/usr/lib/postgresql";
const USER: &str = "eyot";
const READY: &str = "database system is ready to accept connections";

/// A running server; ended when dropped, and with the test's process.
pub struct PostgresServer {
    child: Child,
    folder: TempDir,
    programs: PathBuf,
}

impl PostgresServer {
    /// Starts one with an empty database `eyot`; `None` where PostgreSQL is not installed, which in CI is a failure.
    pub fn start() -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            ensure!(std::env::var_os("CI").is_none(), "PostgreSQL is not installed: cargo xtask setup");
            eprintln!("ignored: PostgreSQL is not installed (apt-get install postgresql)");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("eyot-postgres-").tempdir()?;
        // The server runs as another user where the test runs as root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777))?;
        let template = template(&programs)?;
        done(unprivileged("cp").arg("-a").arg(&template).arg(folder.path().join("data")))?;
        let child = serve(&programs, folder.path())?;
        let server = Self { child, folder, programs };
        server.client().create_database(USER)?;
        Ok(Some(server))
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        self.client().url(database)
    }

    /// The folder of its socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn client(&self) -> PsqlClient {
        PsqlClient::new(self.folder.path())
    }

    /// Runs a statement with psql.
    pub fn run_sql(&self, database: &str, statement: &str) -> Result<()> {
        self.client().run_sql(database, statement)
    }

    /// Runs the statements of a file with psql.
    pub fn run_file(&self, database: &str, file: &Path) -> Result<()> {
        self.run_sql(database, &std::fs::read_to_string(file)?)
    }

    /// Ends the server as a power cut does, and starts it again on what it left.
    pub fn restart_after_kill(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Starts it on what it left.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = serve(&self.programs, self.folder.path())?;
        Ok(())
    }

    /// Ends the server at once: what it had not committed is gone.
    pub fn stop(&mut self) -> Result<()> {
        // A lock of the data folder stays until the last of its processes has noticed.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Asks a server with psql.
pub(crate) struct PsqlClient {
    socket: PathBuf,
}

impl PsqlClient {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}/{database}")
    }

    /// Makes an empty database, whose text is ordered by its bytes.
    pub(crate) fn create_database(&self, name: &str) -> Result<()> {
        self.run_sql("postgres", &format!("CREATE DATABASE {name}"))
    }

    pub(crate) fn run_sql(&self, database: &str, statement: &str) -> Result<()> {
        let mut psql = Command::new("psql");
        psql.args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"]);
        done(psql.arg(&self.socket).args(["-c", statement]))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Whether PostgreSQL is installed.
pub fn has_postgres() -> bool {
    programs().is_some()
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?.flatten().map(|entry| entry.path().join("bin"));
    versions.filter(|folder| folder.join("initdb").is_file()).max()
}

/// A data folder as initdb makes it, once for all tests: that takes longer than most of them.
fn template(programs: &Path) -> Result<PathBuf> {
    let version = programs.to_string_lossy().replace('/', "-");
    let parent = std::env::temp_dir().join(format!("eyot-postgres-template{version}"));
    std::fs::create_dir_all(&parent)?;
    let _ = std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(0o777));
    let lock = File::create(parent.join("lock"))?;
    lock.lock()?;
    let made = parent.join("data");
    if !made.exists() {
        let making = parent.join("making");
        let _ = std::fs::remove_dir_all(&making);
        let mut initdb = unprivileged(programs.join("initdb"));
        initdb.arg("--pgdata").arg(&making);
        initdb.args(["--username", USER, "--auth", "trust", "--no-locale", "--encoding", "UTF8"]);
        // Small files, of which every test copies its own.
        done(initdb.args(["--wal-segsize", "1"]))?;
        std::fs::rename(&making, &made)?;
    }
    Ok(made)
}

fn serve(programs: &Path, folder: &Path) -> Result<Child> {
    let mut server = unprivileged(programs.join("postgres"));
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    server.args(["-c", "listen_addresses=", "-c", "max_connections=300", "-c", "shared_buffers=32MB"]);
    let mut child = server.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("it has no stderr")?).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains(READY) {
            // What it says from now on is read to its end, so that it never waits for a reader.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(child);
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("PostgreSQL did not start: {said}")
}

/// PostgreSQL refuses to run as root: then everything of it runs as the user that its package made. It ends when
/// the test's process does, however that ended.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).current_dir("/");
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
