use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use eyot_core::{Digest, Error, Result, ResultExt};
use serde::Serialize;

use crate::cli::push::manifest;
use crate::output::{Output, size};
use crate::toolchain::{self, Rust};

/// Builds the component of a folder and checks it against what the platform offers.
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
        let rust = Rust::find()?;
        let mut built = Vec::new();
        for dir in &self.dirs {
            let spinner = output.spinner(&format!("building {}", dir.display()));
            let one = build(&rust, dir, self.out.as_deref(), |line| spinner.set_message(line.to_owned()));
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

fn build(rust: &Rust, dir: &Path, out: Option<&Path>, progress: impl Fn(&str)) -> Result<Built> {
    let component = manifest(dir)?;
    compile(rust.command(dir), &component.name, progress)?;
    let mut file = toolchain::artifact(dir, &component)?;
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

/// Runs cargo; each line that it says is progress, and all of them are the error if it fails.
fn compile(mut cargo: Command, name: &str, progress: impl Fn(&str)) -> Result<()> {
    let unusable = || "cargo cannot be run".to_owned();
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context(unusable)?;
    let mut said = String::new();
    for line in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line.unwrap_or_default();
        progress(line.trim());
        said.push_str(&line);
        said.push('\n');
    }
    if child.wait().context(unusable)?.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{name} does not build:\n{}", said.trim_end())))
}
