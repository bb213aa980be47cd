use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::{Args, Subcommand};
use eyot_core::config::BackendChoice;
use eyot_core::{Error, Result, ResultExt};
use eyot_nn::install::BackendPackage;
use eyot_nn::{BackendSet, Precision, bench, install};
use serde::Serialize;

use crate::cli::GlobalOptions;
use crate::model_path::ModelPath;
use crate::output::{CommandOutput, table};

/// Shows and installs the back ends that run models.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot backend list\n  eyot backend install onnxruntime\n  eyot backend install openvino\n  eyot backend bench model.onnx"
)]
pub(crate) struct BackendCommand {
    #[command(subcommand)]
    action: BackendAction,
}

#[derive(Debug, Subcommand)]
enum BackendAction {
    /// Lists the back ends of this machine, the preferred one first.
    List,
    /// Fetches a back end with pip, checks its sha256 and puts it into the folder data.backends.
    Install {
        /// Which back end: onnxruntime or openvino.
        name: String,
        /// A wheel that is already here, in place of fetching one.
        #[arg(long)]
        wheel: Option<PathBuf>,
    },
    /// Measures a model on every back end of this machine, and says which settings suit it.
    Bench {
        /// An ONNX file.
        model: PathBuf,
        /// Milliseconds for each way to run it.
        #[arg(long, default_value_t = 1000)]
        time: u64,
    },
}

#[derive(Serialize)]
struct InstalledBackend {
    name: String,
    library: PathBuf,
}

#[derive(Serialize)]
struct BackendRow {
    name: String,
    version: String,
    targets: Vec<String>,
}

#[derive(Serialize)]
struct ModelBench {
    #[serde(flatten)]
    report: bench::BenchReport,
    /// What to deploy the model with.
    advice: Vec<DeployAdvice>,
}

#[derive(Serialize)]
struct DeployAdvice {
    /// What it is best for.
    #[serde(rename = "for")]
    purpose: &'static str,
    /// For `eyot deploy`.
    flags: Vec<String>,
}

fn advice(report: &bench::BenchReport) -> Vec<DeployAdvice> {
    let flags = |best: &bench::BenchMeasurement| {
        let mut flags = vec![
            format!("--backend {}", best.ran_on.library()),
            format!("--intra-threads {}", best.intra_threads),
        ];
        if best.ran_on.precision != Precision::F32 {
            flags.push(format!("--precision {}", best.ran_on.precision));
        }
        flags
    };
    let best = [
        ("a single request", report.fastest(Precision::F32)),
        ("many requests", report.busiest(Precision::F32)),
        ("a single request at bf16", report.fastest(Precision::Bf16)),
        ("many requests at bf16", report.busiest(Precision::Bf16)),
    ];
    let advice = best.into_iter().filter_map(|(purpose, best)| Some((purpose, best?)));
    advice.map(|(purpose, best)| DeployAdvice { purpose, flags: flags(best) }).collect()
}

impl ModelBench {
    fn to_text(&self, output: &CommandOutput) -> String {
        let headings = ["RUNS ON", "THREADS", "CALLERS", "P50", "P99", "PER SECOND", "LOAD", "BATCHING"];
        let cells = |way: &bench::BenchMeasurement| {
            let batching = way.joined_16.map_or_else(
                || way.batching.to_owned(),
                |part| format!("16 rows joined cost {:.0} %", 100.0 * part),
            );
            vec![
                way.ran_on.to_string(),
                way.intra_threads.to_string(),
                way.callers.to_string(),
                format!("{:.1} us", way.p50_microseconds),
                format!("{:.1} us", way.p99_microseconds),
                format!("{:.0}", way.per_second),
                format!("{:.0} ms", way.load_milliseconds),
                batching,
            ]
        };
        let rows: Vec<_> = self.report.measured.iter().map(cells).collect();
        let mut text = table(output, &headings, &rows);
        for refused in &self.report.refused {
            text.push_str(&format!(
                "\n{} on {} at {}: {}",
                refused.backend, refused.target, refused.precision, refused.why
            ));
        }
        for advice in &self.advice {
            text.push_str(&format!("\nbest for {}: {}", advice.purpose, advice.flags.join(" ")));
        }
        text
    }
}

impl BackendCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let config = global.config()?;
        match self.action {
            BackendAction::List => {
                let backends = BackendSet::open_as(&config.data.backends, &config.inference)?;
                let row = |backend: &std::sync::Arc<dyn eyot_nn::InferenceBackend>| BackendRow {
                    name: backend.name().to_owned(),
                    version: backend.version().to_owned(),
                    targets: backend.targets().iter().map(ToString::to_string).collect(),
                };
                let rows: Vec<_> = backends.list().iter().map(row).collect();
                output.result(&rows, |output| {
                    let cells = |row: &BackendRow| {
                        vec![row.name.clone(), row.version.clone(), row.targets.join(", ")]
                    };
                    table(
                        output,
                        &["BACK END", "VERSION", "TARGETS"],
                        &rows.iter().map(cells).collect::<Vec<_>>(),
                    )
                })
            }
            BackendAction::Bench { model, time } => {
                // Every back end, whichever the configuration prefers.
                let backends = BackendSet::open(&config.data.backends, BackendChoice::Auto)?;
                let files = ModelPath::at(&model)?.files()?;
                let processors = std::thread::available_parallelism().map_or(1, usize::from);
                let time = Duration::from_millis(time);
                let spinner = output.spinner(&format!("measuring {}", model.display()));
                let measuring =
                    tokio::task::spawn_blocking(move || bench::run(&backends, &files, processors, time));
                let report = measuring.await;
                spinner.finish_and_clear();
                let report = report
                    .map_err(|error| Error::internal("the measurement ended early").because(error))??;
                let advice = advice(&report);
                let shown = ModelBench { report, advice };
                output.result(&shown, |output| shown.to_text(output))
            }
            BackendAction::Install { name, wheel } => {
                let package = install::named(&name)?;
                let (dir, version) = (config.data.backends, package.version);
                if let Some(library) = package.installed(&dir) {
                    return output.result(&InstalledBackend { name, library: library.clone() }, |_| {
                        format!("{} {version} is already here: {}", package.name, library.display())
                    });
                }
                let fetched = tempfile::tempdir()?;
                let wheel = match wheel {
                    Some(wheel) => wheel,
                    None => fetch(package, fetched.path(), output)?,
                };
                let library = package.install(&dir, &wheel)?;
                output.result(&InstalledBackend { name, library: library.clone() }, |_| {
                    format!("installed {} {version}: {}", package.name, library.display())
                })
            }
        }
    }
}

/// Lets pip fetch the wheel, so that the user's own index and certificates are used.
fn fetch(package: &BackendPackage, dir: &std::path::Path, output: &CommandOutput) -> Result<PathBuf> {
    let spinner = output.spinner(&format!("fetching {} {} with pip", package.name, package.version));
    let done = Command::new("python3").args(["-m", "pip"]).args(package.pip_arguments(dir)?).output();
    spinner.finish_and_clear();
    let done = done.map_err(|error| {
        Error::unavailable("python3 cannot be run")
            .because(error)
            .hint("install Python 3 with pip, or fetch the wheel and use --wheel FILE")
    })?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::unavailable(format!("pip could not fetch {}: {}", package.name, said.trim()))
            .hint("check the network and pip's index settings, or use --wheel FILE"));
    }
    let entries = std::fs::read_dir(dir).context(|| "the download folder is gone".to_owned())?;
    let wheel =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    wheel.ok_or_else(|| Error::internal("pip fetched no wheel"))
}
