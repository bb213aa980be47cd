//! Files of keys that sign and verify.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use eyot_core::{Error, Result, ResultExt as _};
use eyot_oci::{PrivateKey, PublicKey};

/// Writes a new key pair; answers the key, and where both lie.
pub(crate) fn write_pair(name: &Path) -> Result<(PrivateKey, PathBuf, PathBuf)> {
    let key = PrivateKey::generate();
    let with = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (private, public) = (with(".key"), with(".pub"));
    // Never over a key that is there: what it signed could be signed no more.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&private);
    let mut file = file.context(|| format!("cannot write {}", private.display()))?;
    file.write_all(key.to_pem()?.as_bytes())?;
    file.sync_all()?;
    let text = key.public().to_pem()?;
    std::fs::write(&public, text).context(|| format!("cannot write {}", public.display()))?;
    Ok((key, private, public))
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).context(|| format!("cannot read {}", file.display()))
}

/// Reads a key that signs.
pub(crate) fn read_private(file: &Path) -> Result<PrivateKey> {
    PrivateKey::from_pem(&read(file)?)
        .map_err(|error| error.context(format!("{} cannot be used", file.display())))
}

/// Reads a key that verifies; that of a private key too.
pub(crate) fn read_public(file: &Path) -> Result<PublicKey> {
    let text = read(file)?;
    if let Ok(key) = PrivateKey::from_pem(&text) {
        return Ok(key.public());
    }
    PublicKey::from_pem(&text)
        .map_err(|error: Error| error.context(format!("{} cannot be used", file.display())))
}
