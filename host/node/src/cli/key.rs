use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eyot_core::{Error, Result, ResultExt as _};
use eyot_oci::{PrivateKey, PublicKey};
use serde::Serialize;

use crate::output::Output;

/// Makes and shows keys for signing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot key generate release\n  eyot key show release.pub")]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a new key pair: NAME.key, which stays with you, and NAME.pub, which you give to others.
    Generate {
        /// Where to write; `.key` and `.pub` are added.
        name: PathBuf,
    },
    /// Prints the public key of a private or public one.
    Show {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<PathBuf>,
    file: PathBuf,
    /// The sha256 of the public key, as signatures name it.
    fingerprint: String,
    public: String,
}

impl Key {
    pub(crate) fn run(self, output: &Output) -> Result<()> {
        let shown = match self.command {
            Command::Generate { name } => generate(&name)?,
            Command::Show { file } => {
                let key = read_public(&file)?;
                Shown { private: None, fingerprint: key.fingerprint()?, public: key.to_pem()?, file }
            }
        };
        output.result(&shown, |_| match &shown.private {
            Some(private) => {
                format!("{}\n{}\n{}", private.display(), shown.file.display(), shown.fingerprint)
            }
            None => format!("{}{}", shown.public, shown.fingerprint),
        })
    }
}

fn generate(name: &Path) -> Result<Shown> {
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
    std::fs::write(&public, &text).context(|| format!("cannot write {}", public.display()))?;
    Ok(Shown { private: Some(private), file: public, fingerprint: key.public().fingerprint()?, public: text })
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
