//! `eyot predict`: one request, or a file of any size.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use clap::Args;
use eyot_batch::{PredictionClient, ScoringJob, ScoringSummary, score_file};
use eyot_core::{Error, Name, Result, ResultExt, ScopedName};
use indicatif::ProgressBar;
use serde_json::Value;

use crate::cli::GlobalOptions;
use crate::output::CommandOutput;
use crate::session::ApiSession;

/// Sends requests to a deployment: one, or as many as a file has rows for.
///
/// REQUEST is the body of an infer request of the Open Inference Protocol; `-` reads it from stdin. With
/// --input every row of a file becomes a row of the deployment's inputs: columns are matched with inputs
/// by name, or in their order where the deployment has one input. Answers are written in the order of
/// the rows. A value that is missing (null, NaN, an empty cell) is NaN, in a text the empty one; a row that
/// misses a whole number has no answer. A command that was interrupted goes on where it was when it is given again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot predict iris '{\"inputs\": [{\"name\": \"X\", \"datatype\": \"FP32\", \"shape\": [1, 4], \
    \"data\": [5.1, 3.5, 1.4, 0.2]}]}'\n  eyot predict digits - < request.json\n  \
    eyot predict iris --input flowers.csv --columns sl,sw,pl,pw --output kinds.csv\n  \
    eyot predict scorer --input rows.parquet --output scores.jsonl --rows 256"
)]
pub(crate) struct PredictCommand {
    /// The deployment.
    name: Name,
    /// The request, or - for stdin.
    #[arg(required_unless_present = "input", conflicts_with = "input")]
    request: Option<String>,
    /// A file of rows: .csv with a heading, .jsonl with an object a line, or .parquet.
    #[arg(long, value_name = "FILE", requires = "output")]
    input: Option<PathBuf>,
    /// Where answers go, one for each row: .csv or .jsonl.
    #[arg(long, value_name = "FILE", requires = "input")]
    output: Option<PathBuf>,
    #[command(flatten)]
    options: FileOptions,
    /// A PEM file with the certificate of who signed the server's, beside those that this machine trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// How a file is sent.
#[derive(Debug, Args)]
struct FileOptions {
    /// Rows of one request.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, requires = "input", value_parser = clap::value_parser!(u32).range(1..))]
    rows: u32,
    /// Requests under way at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, requires = "input", value_parser = clap::value_parser!(u32).range(1..))]
    parallel: u32,
    /// The columns to use, in this order [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "input")]
    columns: Vec<String>,
    /// Starts over where an earlier command was interrupted.
    #[arg(long, requires = "input")]
    restart: bool,
}

impl PredictCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let session = ApiSession::open(global).await?;
        let gateway = session.need_gateway()?;
        let client = PredictionClient::new(gateway, self.ca.as_deref(), session.config())?;
        let client = client.with_token(session.secret())?;
        let project = global.project().cloned().unwrap_or_default();
        let deployment = ScopedName::new(&project, &self.name);
        match (&self.request, &self.input, &self.output) {
            (None, Some(input), Some(into)) => {
                let done = self.file(&client, &deployment, input, into, output).await?;
                output.result(&done, |_| {
                    let resumed = match done.resumed {
                        0 => String::new(),
                        rows => format!(", {rows} of them by an earlier command"),
                    };
                    let unanswered = match &done.first_unanswered {
                        None => String::new(),
                        Some(why) => format!("\n{} of them have no answer; {why}", done.unanswered),
                    };
                    format!("{} rows answered in {}{resumed}{unanswered}", done.rows, into.display())
                })
            }
            (Some(request), ..) => self.single(&client, &deployment, request, output).await,
            _ => Err(Error::invalid("there is neither a request nor a file").hint("eyot predict --help")),
        }
    }

    async fn file(
        &self,
        client: &PredictionClient,
        deployment: &ScopedName,
        input: &Path,
        into: &Path,
        output: &CommandOutput,
    ) -> Result<ScoringSummary> {
        let FileOptions { rows, parallel, columns, restart } = &self.options;
        let at_least_one = |number: u32| NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN);
        let job = ScoringJob {
            deployment: deployment.clone(),
            input: input.to_owned(),
            output: into.to_owned(),
            columns: columns.clone(),
            rows_per_request: at_least_one(*rows),
            requests_at_once: at_least_one(*parallel),
            restart: *restart,
        };
        // It is there once the size of the file is known.
        let bar = OnceLock::new();
        let shown = |total| output.bar(total, &format!("predicting with {}", self.name));
        let summary = score_file(client, &job, &|progress| {
            bar.get_or_init(|| shown(progress.total_bytes)).set_position(progress.read_bytes);
        })
        .await;
        bar.into_inner().iter().for_each(ProgressBar::finish_and_clear);
        summary
    }

    async fn single(
        &self,
        client: &PredictionClient,
        deployment: &ScopedName,
        request: &str,
        output: &CommandOutput,
    ) -> Result<()> {
        let body = match request {
            "-" => {
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .context(|| "cannot read the request from stdin".to_owned())?;
                text
            }
            text => text.to_owned(),
        };
        let path = format!("/v2/models/{deployment}/infer");
        let answer = client.post(&path, Bytes::from(body), None).await?;
        let answer: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| Error::internal("the data plane answered no JSON").because(error))?;
        output.result(&answer, |_| human(&answer))
    }
}

fn human(answer: &Value) -> String {
    let outputs = answer["outputs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |output: &Value| {
        let name = output["name"].as_str().unwrap_or_default();
        let datatype = output["datatype"].as_str().unwrap_or_default();
        format!("{name} {datatype}{} = {}", output["shape"], output["data"])
    };
    outputs.iter().map(line).collect::<Vec<_>>().join("\n")
}
