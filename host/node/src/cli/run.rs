use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use eyot_api::SubmitRequest;
use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_pipelines::{PipelineRun, RunEvent, StepStatus};
use futures::StreamExt as _;
use serde_json::Value;

use crate::cli::GlobalOptions;
use crate::output::{CommandOutput, TextTone};
use crate::session::ApiSession;
use crate::visible::visible;

/// Runs a pipeline and shows its steps as they go.
///
/// With a server on the data folder, or --server, it runs there; else in this process, with the same
/// engine. Steps that ran before on the same inputs are not run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot run components/examples/digits/pipeline.toml\n  eyot run pipeline.toml --param seed=8 --quiet"
)]
pub(crate) struct RunCommand {
    /// The pipeline file.
    file: PathBuf,
    /// Sets a parameter of the pipeline; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Hides what the steps print.
    #[arg(long, short)]
    quiet: bool,
    /// Starts the run on a server and does not wait for it.
    #[arg(long)]
    detach: bool,
}

impl RunCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let source = tokio::fs::read_to_string(&self.file).await;
        let source = source.context(|| format!("cannot read {}", self.file.display()))?;
        let params = self.params.iter().map(|param| parameter(param)).collect::<Result<_>>()?;
        let file = self.file.to_string_lossy().into_owned();
        let session = ApiSession::open(global).await?;
        let inputs = upload(&session, &source, &file, output).await?;
        let client = session.client();
        let id = client.submit(&SubmitRequest { source, file, params, inputs }).await?.id;
        if self.detach {
            if session.gateway().is_none() {
                return Err(
                    Error::invalid("a run without a server cannot be left alone").hint("start one: eyot up")
                );
            }
            return output.result(&serde_json::json!({ "id": id }), |_| format!("run {id}\neyot runs {id}"));
        }
        let run = self.follow(&session, &id, output).await?;
        output.result(&run, |output| summary(output, &run))?;
        run.outcome()
    }

    /// Shows events until the run is over; Ctrl-C cancels the run and waits for that.
    async fn follow(&self, session: &ApiSession, id: &str, output: &CommandOutput) -> Result<PipelineRun> {
        let client = session.client();
        let mut events = client.events(id).await?;
        let mut cancelled = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.show(output, &event?)?,
                    None => break,
                },
                _ = tokio::signal::ctrl_c(), if !cancelled => {
                    cancelled = true;
                    output.note("cancelling the run; steps that finished stay in the cache");
                    client.cancel(id).await?;
                }
            }
        }
        client.run(id).await
    }

    fn show(&self, output: &CommandOutput, event: &RunEvent) -> Result<()> {
        if output.is_json() {
            return Ok(());
        }
        match event {
            RunEvent::StepStarted { step, .. } => output.note(&format!("{step:<12} running")),
            RunEvent::Log { step, line, .. } if !self.quiet => {
                output.note(&output.paint(TextTone::Dim, &format!("{step:<12} | {}", visible(line))));
            }
            RunEvent::StepFinished { step, status, error, milliseconds, .. } => {
                let tone = if *status == StepStatus::Failed { TextTone::Bad } else { TextTone::Good };
                let word = output.paint(tone, status.as_str());
                let time = match status {
                    StepStatus::Succeeded => format!(" in {:.2} s", *milliseconds as f64 / 1000.0),
                    _ => String::new(),
                };
                let error = error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
                output.note(&format!("{step:<12} {word}{time}{error}"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// `seed=8`: JSON where it is JSON, text otherwise.
fn parameter(text: &str) -> Result<(String, Value)> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Error::invalid(format!("'{text}' is no parameter"))
            .hint("write --param NAME=VALUE, as in --param seed=8")
    })?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

/// Puts the pipeline's input files into the store.
async fn upload(
    session: &ApiSession,
    source: &str,
    file: &str,
    output: &CommandOutput,
) -> Result<BTreeMap<String, Digest>> {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let pipeline = eyot_pipelines::input_files(source, file)?;
    let mut inputs = BTreeMap::new();
    for (name, path) in pipeline.files {
        let path = folder.join(path);
        let bytes = tokio::fs::read(&path).await;
        let bytes = bytes.context(|| format!("input '{name}' of {file}: cannot read {}", path.display()))?;
        let bar = output.bar(bytes.len() as u64, &format!("input {name}"));
        let repository = session.client().repository(&format!("pipelines/{}", pipeline.name));
        let watching = bar.clone();
        let registry = session.client().registry().watched(move |length| watching.inc(length));
        let digest = registry.push_blob(&repository, bytes.into()).await?;
        bar.finish_and_clear();
        inputs.insert(name, digest);
    }
    Ok(inputs)
}

/// What a run came to, in a few lines.
pub(crate) fn summary(output: &CommandOutput, run: &PipelineRun) -> String {
    let tone = if run.outcome().is_ok() { TextTone::Good } else { TextTone::Bad };
    let cached = run.steps.iter().filter(|step| step.status == StepStatus::Cached).count();
    let mut lines = vec![format!(
        "run {} {} ({} steps, {cached} from the cache)",
        run.id,
        output.paint(tone, run.status.as_str()),
        run.steps.len()
    )];
    for step in &run.steps {
        for (name, value) in &step.outputs {
            lines.push(format!("  {}.{name} = {}", step.step, plain(value)));
        }
    }
    lines.join("\n")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
