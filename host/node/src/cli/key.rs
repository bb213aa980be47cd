use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use eyot_core::Result;
use serde::Serialize;

use crate::keys::{read_public, write_pair};
use crate::output::CommandOutput;

/// Makes and shows keys for signing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot key generate release\n  eyot key show release.pub")]
pub(crate) struct KeyCommand {
    #[command(subcommand)]
    command: KeyAction,
}

#[derive(Debug, Subcommand)]
enum KeyAction {
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
struct ShownKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    private: Option<PathBuf>,
    file: PathBuf,
    /// The sha256 of the public key, as signatures name it.
    fingerprint: String,
    public: String,
}

impl KeyCommand {
    pub(crate) fn run(self, output: &CommandOutput) -> Result<()> {
        let shown = match self.command {
            KeyAction::Generate { name } => generate(&name)?,
            KeyAction::Show { file } => {
                let key = read_public(&file)?;
                ShownKey { private: None, fingerprint: key.fingerprint()?, public: key.to_pem()?, file }
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

fn generate(name: &Path) -> Result<ShownKey> {
    let (key, private, public) = write_pair(name)?;
    let text = key.public().to_pem()?;
    Ok(ShownKey {
        private: Some(private),
        file: public,
        fingerprint: key.public().fingerprint()?,
        public: text,
    })
}
