use clap::Args;
use eyot_core::{Error, Result};
use eyot_store::{BlobStore as _, Directory};

use crate::cli::Global;
use crate::output::{Output, size};

/// Hashes every blob of the data folder again and names those that are damaged.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eyot verify --data ./state")]
pub(crate) struct Verify {}

impl Verify {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let dir = global.config()?.data.dir.join("registry");
        if !dir.is_dir() {
            return Err(Error::not_found(format!("there is no store in {}", dir.display()))
                .hint("name the data folder with --data"));
        }
        let spinner = output.spinner("hashing");
        let store = Directory::open(&dir).await?;
        let verification = store.verify().await;
        spinner.finish_and_clear();
        let verification = verification?;
        output.result(&verification, |_| {
            let bytes = size(verification.bytes);
            format!("{} blobs, {bytes}, {} damaged", verification.checked, verification.damaged.len())
        })?;
        match verification.damaged.as_slice() {
            [] => Ok(()),
            damaged => {
                let names: Vec<_> = damaged.iter().map(ToString::to_string).collect();
                Err(Error::corrupt(format!("damaged: {}", names.join(", ")))
                    .hint("push them again from where they came"))
            }
        }
    }
}
