use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eyot_core::Result;
use serde::Serialize;

use crate::keys::{read_public, write_pair};
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
    let (key, private, public) = write_pair(name)?;
    let text = key.public().to_pem()?;
    Ok(Shown { private: Some(private), file: public, fingerprint: key.public().fingerprint()?, public: text })
}
