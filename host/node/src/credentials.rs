//! The tokens that `eyot login` got, by server, in a file of the user's own.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use eyot_core::{Error, Result, ResultExt as _, StoredFormat, read_stored, write_stored};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredCredentials {
    /// The server's address → what is shown to it.
    servers: BTreeMap<String, ServerCredentials>,
}

impl StoredFormat for StoredCredentials {
    const NAME: &'static str = "eyot.credentials";
    const VERSION: u32 = 1;
}

/// What is shown to a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServerCredentials {
    pub(crate) user: String,
    /// The token's name, by which it is revoked.
    pub(crate) token: String,
    pub(crate) secret: String,
}

/// `EYOT_CREDENTIALS`, or `eyot/credentials.json` where the user's configuration lies.
fn path() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let below = |folder: PathBuf| folder.join("eyot/credentials.json");
    let home = || set("HOME").map(|home| below(home.join(".config")));
    set("EYOT_CREDENTIALS").or_else(|| set("XDG_CONFIG_HOME").map(below)).or_else(home).ok_or_else(|| {
        Error::invalid("there is no place for credentials: HOME is not set")
            .hint("EYOT_CREDENTIALS names a file for them; EYOT_TOKEN holds a token without one")
    })
}

fn read(path: &Path) -> Result<StoredCredentials> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(StoredCredentials::default()),
        Err(error) => return Err(error).context(|| format!("cannot read {}", path.display())),
    };
    read_stored(&text).map_err(|error| {
        error
            .context(format!("the credentials in {}", path.display()))
            .hint("eyot login writes them anew once the file is gone")
    })
}

/// Readable by this user alone from the first byte, and whole or not at all.
fn write(path: &Path, credentials: &StoredCredentials) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(write_stored(credentials).map_err(std::io::Error::other)?.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().context(|| format!("cannot write {}", path.display()))
}

fn key(server: &str) -> &str {
    server.trim_end_matches('/')
}

/// The secret that is shown to a server, if somebody has signed in there.
pub(crate) fn token_for(server: &str) -> Result<Option<String>> {
    // Whoever has no home has signed in nowhere.
    let Ok(path) = path() else { return Ok(None) };
    Ok(read(&path)?.servers.remove(key(server)).map(|kept| kept.secret))
}

/// Keeps what is shown to a server from now on; answers where.
pub(crate) fn keep(server: &str, credentials: ServerCredentials) -> Result<PathBuf> {
    let path = path()?;
    let mut all = read(&path)?;
    all.servers.insert(key(server).to_owned(), credentials);
    write(&path, &all)?;
    Ok(path)
}

/// What is shown to a server, which is forgotten.
pub(crate) fn forget(server: &str) -> Result<Option<ServerCredentials>> {
    let path = path()?;
    let mut all = read(&path)?;
    let forgotten = all.servers.remove(key(server));
    if forgotten.is_some() {
        write(&path, &all)?;
    }
    Ok(forgotten)
}
