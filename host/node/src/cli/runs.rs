use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use eyot_api::ApiClient;
use eyot_core::{Error, Result, ResultExt};
use eyot_pipelines::{PipelineRun, StepRun};

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone, size, table};
use crate::session::ApiSession;

/// Lists pipeline runs, or shows one: its steps, where its outputs came from, what it reported.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot runs\n  eyot runs 3f2a… --lineage\n  eyot runs 3f2a… --get export.model --out model.onnx\n  eyot runs --json"
)]
pub(crate) struct RunsCommand {
    /// A run's id, or the beginning of it.
    id: Option<String>,
    /// Shows what the run read and wrote, and by which code.
    #[arg(long, requires = "id")]
    lineage: bool,
    /// Fetches an artifact that a step gave.
    #[arg(long, requires_all = ["id", "out"], value_name = "STEP.OUTPUT", conflicts_with = "lineage")]
    get: Option<String>,
    /// Where to write it.
    #[arg(long, requires = "get", value_name = "FILE")]
    out: Option<PathBuf>,
}

impl RunsCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let client = session.client();
        let Some(id) = self.id else {
            let runs = client.runs().await?;
            return output.result(&runs, |output| list(output, &runs));
        };
        if let Some((artifact, file)) = self.get.zip(self.out) {
            let length = fetch(client, &id, &artifact, &file).await?;
            let done = serde_json::json!({ "artifact": artifact, "file": file, "size": length });
            return output.result(&done, |_| format!("{} ({})", file.display(), size(length)));
        }
        if self.lineage {
            let lineage = client.lineage(&id).await?;
            return output.result(&lineage, |_| {
                let edges =
                    lineage.edges.iter().map(|edge| format!("{} -> {}  {}", edge.from, edge.to, edge.what));
                edges.collect::<Vec<_>>().join("\n")
            });
        }
        let run = client.run(&id).await?;
        output.result(&run, |output| one(output, &run))
    }
}

/// Writes an artifact to a file, which is there whole or not at all.
async fn fetch(client: &ApiClient, id: &str, artifact: &str, file: &Path) -> Result<u64> {
    let (step, name) = artifact.rsplit_once('.').ok_or_else(|| {
        Error::invalid(format!("'{artifact}' names no output")).hint("write STEP.OUTPUT, as in export.model")
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("cannot write {}", file.display());
    let mut part = tempfile::NamedTempFile::new_in(folder).context(cannot)?;
    let length = client.artifact(id, step, name, |chunk| part.write_all(&chunk).context(cannot)).await?;
    part.persist(file).map_err(|error| Error::from(error.error).context(cannot()))?;
    Ok(length)
}

fn list(output: &CommandOutput, runs: &[PipelineRun]) -> String {
    if runs.is_empty() {
        return "nothing has run yet; eyot run starts a pipeline".to_owned();
    }
    let row = |run: &PipelineRun| {
        let status = output.paint(tone(run), run.status.as_str());
        vec![
            run.id.clone(),
            run.pipeline.to_string(),
            status,
            run.steps.len().to_string(),
            run.started.to_string(),
        ]
    };
    table(
        output,
        &["ID", "PIPELINE", "STATUS", "STEPS", "STARTED"],
        &runs.iter().map(row).collect::<Vec<_>>(),
    )
}

fn tone(run: &PipelineRun) -> TextTone {
    if run.outcome().is_ok() { TextTone::Good } else { TextTone::Bad }
}

fn one(output: &CommandOutput, run: &PipelineRun) -> String {
    let row = |step: &StepRun| {
        let outputs: Vec<_> = step.outputs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let what = step.error.clone().unwrap_or_else(|| outputs.join(" "));
        vec![
            step.step.to_string(),
            step.status.as_str().to_owned(),
            format!("{} ms", step.milliseconds),
            what,
        ]
    };
    let rows: Vec<_> = run.steps.iter().map(row).collect();
    let head = format!("{} {} {}", run.pipeline, run.id, output.paint(tone(run), run.status.as_str()));
    format!("{head}\n{}", table(output, &["STEP", "STATUS", "TIME", "OUTPUTS"], &rows))
}
