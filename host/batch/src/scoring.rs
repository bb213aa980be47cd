//! A file through a deployment: read, sent in requests of several rows, some of which are under way at
//! once, and answers written in order.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use eyot_core::{Error, ErrorKind, Result, ScopedName};
use eyot_nn::TensorSpec;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::input_plan::{InputPlan, InputValues, RowError};
use crate::prediction_client::PredictionClient;
use crate::result_file::{ResultFile, ScoringRequest};
use crate::row_reader::RowReader;
use crate::tensors::{self, OutputRows};

/// A file of rows, the deployment that answers them, and where the answers go.
#[derive(Clone, Debug)]
pub struct ScoringJob {
    pub deployment: ScopedName,
    /// Rows: .csv with a heading, .jsonl with an object a line, or .parquet.
    pub input: PathBuf,
    /// Answers, one for each row: .csv or .jsonl.
    pub output: PathBuf,
    /// The columns to use, in this order; none are all.
    pub columns: Vec<String>,
    /// Rows of one request.
    pub rows_per_request: NonZeroUsize,
    /// Requests under way at the same time.
    pub requests_at_once: NonZeroUsize,
    /// Starts over where an earlier job was interrupted.
    pub restart: bool,
}

/// How much of its file a job has read and had answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadProgress {
    pub read_bytes: u64,
    pub total_bytes: u64,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct ScoringSummary {
    /// Rows that are answered.
    pub rows: u64,
    /// Those of them that an earlier command had answered.
    pub resumed: u64,
    /// Rows that have no answer because a value is missing, of those that this command read; and why the first.
    pub unanswered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_unanswered: Option<String>,
    pub output: PathBuf,
}

/// What is read next.
enum NextRequest {
    Ask(RowBatch),
    /// A row that has no answer, and why.
    Skip(String),
}

/// Rows of one request.
struct RowBatch {
    /// The number of the first, from 1.
    first: u64,
    rows: Vec<Vec<InputValues>>,
    body: Bytes,
    json: usize,
    /// Bytes of the file that had been read when it was made.
    position: u64,
}

/// Sends the rows of a file through a deployment and writes the answers in their order. What an earlier job of the same
/// kind has answered stays. `progress` hears of every request that is answered.
///
/// Fails with `Conflict` when the output is there already, or another job's answers to other rows are.
pub async fn score_file(
    client: &PredictionClient,
    job: &ScoringJob,
    progress: &(dyn Fn(ReadProgress) + Sync),
) -> Result<ScoringSummary> {
    let ScoringJob { deployment, input, output, columns, .. } = job;
    let metadata = client.get(&format!("/v2/models/{deployment}")).await?;
    let inputs: Vec<TensorSpec> = serde_json::from_value(metadata["inputs"].clone()).map_err(|error| {
        Error::internal("the data plane's metadata is not as the protocol has it").because(error)
    })?;
    let reader = RowReader::open(input, columns)?;
    let plan = InputPlan::new(inputs, reader.columns())?;
    let request = ScoringRequest::new(deployment, input, columns)?;
    let (mut results, resumed) = ResultFile::open(output, &request, job.restart)?;
    let (total_bytes, _) = reader.progress();
    progress(ReadProgress { read_bytes: 0, total_bytes });
    let size = if plan.joins() { job.rows_per_request.get() } else { 1 };
    let parallel = job.requests_at_once.get();
    let path = format!("/v2/models/{deployment}/infer");
    let mut rows = resumed;
    let (batches, made) = mpsc::channel(parallel);
    let reading = tokio::task::spawn_blocking(move || read(reader, &plan, resumed, size, &batches));
    let made = futures::stream::unfold(made, |mut made| async move { Some((made.recv().await?, made)) });
    let answered = made.map(|next: Result<NextRequest>| async {
        Ok::<_, Error>(match next? {
            NextRequest::Skip(why) => BatchOutcome::No(why),
            NextRequest::Ask(batch) => {
                let outputs = ask(client, &path, &batch).await?;
                BatchOutcome::Yes(batch, outputs)
            }
        })
    });
    let mut answered = std::pin::pin!(answered.buffered(parallel));
    let (mut unanswered, mut first_unanswered) = (0, None);
    while let Some(answer) = answered.try_next().await? {
        match answer {
            BatchOutcome::Yes(batch, outputs) => {
                results.write(&outputs, batch.rows.len())?;
                rows += batch.rows.len() as u64;
                progress(ReadProgress { read_bytes: batch.position, total_bytes });
            }
            BatchOutcome::No(why) => {
                results.skip(&why)?;
                (rows, unanswered) = (rows + 1, unanswered + 1);
                first_unanswered.get_or_insert(why);
            }
        }
    }
    reading.await.map_err(|error| Error::internal("reading ended early").because(error))?;
    results.finish()?;
    Ok(ScoringSummary { rows, resumed, unanswered, first_unanswered, output: output.clone() })
}

enum BatchOutcome {
    Yes(RowBatch, Vec<OutputRows>),
    No(String),
}

/// Makes requests of the rows behind the first `skip`, until all are made or nobody wants them.
fn read(
    reader: RowReader,
    plan: &InputPlan,
    skip: u64,
    size: usize,
    batches: &mpsc::Sender<Result<NextRequest>>,
) {
    let (_, position) = reader.progress();
    let position = || position.load(std::sync::atomic::Ordering::Relaxed);
    let (mut waiting, mut first): (Vec<Vec<InputValues>>, u64) = (Vec::new(), skip + 1);
    let send = |waiting: &mut Vec<Vec<InputValues>>, first: &mut u64| {
        if waiting.is_empty() {
            return true;
        }
        let rows = std::mem::take(waiting);
        let batch = batch(plan, rows, *first, position());
        *first += batch.as_ref().map_or(0, |batch| batch.rows.len() as u64);
        let good = batch.is_ok();
        batches.blocking_send(batch.map(NextRequest::Ask)).is_ok() && good
    };
    for (number, row) in reader.enumerate().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
        let parts = row.map_err(RowError::Wrong).and_then(|row| plan.parts(&row));
        let parts = match parts {
            Ok(parts) => parts,
            Err(RowError::Missing(error)) => {
                let why = error.context(format!("row {}", number + 1)).chain();
                if !send(&mut waiting, &mut first)
                    || batches.blocking_send(Ok(NextRequest::Skip(why))).is_err()
                {
                    return;
                }
                first += 1;
                continue;
            }
            Err(RowError::Wrong(error)) => {
                // What was read before it is answered first.
                if send(&mut waiting, &mut first) {
                    let _ = batches.blocking_send(Err(error.context(format!("row {}", number + 1))));
                }
                return;
            }
        };
        let alike = waiting
            .first()
            .is_none_or(|first| first.iter().zip(&parts).all(|(one, other)| one.shape == other.shape));
        if (!alike || waiting.len() >= size) && !send(&mut waiting, &mut first) {
            return;
        }
        waiting.push(parts);
    }
    send(&mut waiting, &mut first);
}

fn batch(plan: &InputPlan, rows: Vec<Vec<InputValues>>, first: u64, position: u64) -> Result<RowBatch> {
    match tensors::request(plan, &rows) {
        Ok((body, json)) => Ok(RowBatch { first, rows, body, json, position }),
        // Which row it is shows when each is written alone.
        Err(error) => {
            let wrong =
                rows.iter().position(|row| tensors::request(plan, std::slice::from_ref(row)).is_err());
            Err(error.context(format!("row {}", first + wrong.unwrap_or_default() as u64)))
        }
    }
}

/// Times that a request is repeated which came at a bad moment, and how long is waited before it.
const MAX_RETRIES: u32 = 6;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(500);

async fn ask(client: &PredictionClient, path: &str, batch: &RowBatch) -> Result<Vec<OutputRows>> {
    let mut tries = 0;
    loop {
        let answer = client.post(path, batch.body.clone(), Some(batch.json)).await;
        match answer {
            Ok(answer) => return tensors::outputs(&answer, batch.rows.len()),
            Err(error)
                if tries < MAX_RETRIES
                    && matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Unavailable) =>
            {
                pause(FIRST_RETRY_DELAY * 2_u32.pow(tries)).await;
                tries += 1;
            }
            Err(error) => {
                let (first, last) = (batch.first, batch.first + batch.rows.len() as u64 - 1);
                let rows =
                    if first == last { format!("row {first}") } else { format!("rows {first} to {last}") };
                return Err(error.context(rows));
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "nothing tells when a server that refused has room again")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
