use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand};
use eyot_core::{Error, Result, ResultExt};
use eyot_nn::{Backends, install};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{Output, table};

/// Shows and installs the back ends that run models.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eyot backend list\n  eyot backend install onnxruntime")]
pub(crate) struct Backend {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the back ends of this machine, the preferred one first.
    List,
    /// Fetches a back end with pip, checks its sha256 and puts it into the folder data.backends.
    Install {
        /// Which back end: onnxruntime.
        name: String,
        /// A wheel that is already here, in place of fetching one.
        #[arg(long)]
        wheel: Option<PathBuf>,
    },
}

#[derive(Serialize)]
struct Installed {
    name: String,
    library: PathBuf,
}

#[derive(Serialize)]
struct Row {
    name: String,
    version: String,
    targets: Vec<String>,
}

impl Backend {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let config = global.config()?;
        match self.action {
            Action::List => {
                let backends = Backends::open(&config.data.backends, config.inference.backend)?;
                let row = |backend: &std::sync::Arc<dyn eyot_nn::Backend>| Row {
                    name: backend.name().to_owned(),
                    version: backend.version().to_owned(),
                    targets: backend.targets().iter().map(ToString::to_string).collect(),
                };
                let rows: Vec<_> = backends.list().iter().map(row).collect();
                output.result(&rows, |output| {
                    let cells =
                        |row: &Row| vec![row.name.clone(), row.version.clone(), row.targets.join(", ")];
                    table(
                        output,
                        &["BACK END", "VERSION", "TARGETS"],
                        &rows.iter().map(cells).collect::<Vec<_>>(),
                    )
                })
            }
            Action::Install { name, wheel } => {
                if name != "onnxruntime" {
                    return Err(Error::not_found(format!("there is no back end '{name}' to install"))
                        .hint("onnxruntime can be installed; tract is always here"));
                }
                let dir = config.data.backends;
                if let Some(library) = install::installed(&dir) {
                    return output.result(&Installed { name, library: library.clone() }, |_| {
                        format!("onnxruntime {} is already here: {}", install::VERSION, library.display())
                    });
                }
                let fetched = tempfile::tempdir()?;
                let wheel = match wheel {
                    Some(wheel) => wheel,
                    None => fetch(fetched.path(), output)?,
                };
                let library = install::install_onnxruntime(&dir, &wheel)?;
                output.result(&Installed { name, library: library.clone() }, |_| {
                    format!("installed onnxruntime {}: {}", install::VERSION, library.display())
                })
            }
        }
    }
}

/// Lets pip fetch the wheel, so that the user's own index and certificates are used.
fn fetch(dir: &std::path::Path, output: &Output) -> Result<PathBuf> {
    let spinner = output.spinner(&format!("fetching onnxruntime {} with pip", install::VERSION));
    let done = Command::new("python3").args(["-m", "pip"]).args(install::pip_arguments(dir)?).output();
    spinner.finish_and_clear();
    let done = done.map_err(|error| {
        Error::unavailable("python3 cannot be run")
            .because(error)
            .hint("install Python 3 with pip, or fetch the wheel and use --wheel FILE")
    })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::unavailable(format!("pip could not fetch onnxruntime: {}", said.trim()))
            .hint("check the network and pip's index settings, or use --wheel FILE"));
    }
    let entries = std::fs::read_dir(dir).context(|| "the download folder is gone".to_owned())?;
    let wheel =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| Error::internal("pip fetched no wheel"))
}
