use std::path::{Path, PathBuf};

use clap::Args;
use eyot_core::{Digest, Result, ResultExt};
use serde::Serialize;

use crate::cli::push::manifest;
use crate::output::{Output, size};
use crate::toolchain;

/// Builds the component of a folder with the tools of its language: rust or python.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot build\n  eyot build components/handlers/digits-image")]
pub(crate) struct Build {
    /// Folders with an eyot.toml that has a section `component`.
    #[arg(default_value = ".")]
    dirs: Vec<PathBuf>,
    /// Copies each component into this folder as NAME.wasm.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Built {
    name: String,
    version: String,
    file: PathBuf,
    size: u64,
    digest: Digest,
}

impl Build {
    pub(crate) async fn run(self, output: &Output) -> Result<()> {
        let mut built = Vec::new();
        for dir in &self.dirs {
            let spinner = output.spinner(&format!("building {}", dir.display()));
            let one = build(dir, self.out.as_deref(), |line| spinner.set_message(line.to_owned()));
            spinner.finish_and_clear();
            built.push(one?);
        }
        output.result(&built, |_| {
            let line = |one: &Built| {
                format!(
                    "{} {}  {}  {}  {}",
                    one.name,
                    one.version,
                    size(one.size),
                    one.digest.short(),
                    one.file.display()
                )
            };
            built.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }
}

fn build(dir: &Path, out: Option<&Path>, progress: impl Fn(&str)) -> Result<Built> {
    let component = manifest(dir)?;
    let mut file = toolchain::build(dir, &component, progress)?;
    let bytes = std::fs::read(&file).context(|| format!("cannot read {}", file.display()))?;
    if let Some(out) = out {
        std::fs::create_dir_all(out)?;
        let copy = out.join(format!("{}.wasm", component.name.replace('/', "-")));
        std::fs::write(&copy, &bytes).context(|| format!("cannot write {}", copy.display()))?;
        file = copy;
    }
    let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
    Ok(Built { name: component.name, version: component.version, file, size, digest })
}
