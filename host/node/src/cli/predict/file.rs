//! A file through a deployment: read, sent in requests of several rows, some of which are under way at
//! once, and answers written in order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use eyot_core::{Error, Kind, Name, Result};
use eyot_nn::TensorSpec;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;

use super::client::Client;
use super::reader::Reader;
use super::results::{Asked, Results};
use super::rows::{Part, Plan, RowError};
use super::{Options, tensors};
use crate::output::Output;

/// What was done.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    /// Rows that are answered.
    pub(super) rows: u64,
    /// Those of them that an earlier command had answered.
    pub(super) resumed: u64,
    /// Rows that have no answer because a value is missing, of those that this command read; and why the first.
    pub(super) unanswered: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_unanswered: Option<String>,
    pub(super) output: PathBuf,
}

/// What is read next.
enum Next {
    Ask(Batch),
    /// A row that has no answer, and why.
    Skip(String),
}

/// Rows of one request.
struct Batch {
    /// The number of the first, from 1.
    first: u64,
    rows: Vec<Vec<Part>>,
    body: Bytes,
    json: usize,
    /// Bytes of the file that had been read when it was made.
    position: u64,
}

pub(super) async fn predict(
    client: &Client,
    name: &Name,
    input: &Path,
    into: &Path,
    options: &Options,
    output: &Output,
) -> Result<Done> {
    let metadata = client.get(&format!("/v2/models/{name}")).await?;
    let inputs: Vec<TensorSpec> = serde_json::from_value(metadata["inputs"].clone()).map_err(|error| {
        Error::internal("the data plane's metadata is not as the protocol has it").because(error)
    })?;
    let reader = Reader::open(input, &options.columns)?;
    let plan = Plan::new(inputs, reader.columns())?;
    let asked = Asked::new(name, input, &options.columns)?;
    let (mut results, resumed) = Results::open(into, &asked, options.restart)?;
    let (total, _) = reader.progress();
    let bar = output.bar(total, &format!("predicting with {name}"));
    let size = if plan.joins() { options.rows as usize } else { 1 };
    let parallel = options.parallel as usize;
    let path = format!("/v2/models/{name}/infer");
    let mut rows = resumed;
    let (batches, made) = mpsc::channel(parallel);
    let reading = tokio::task::spawn_blocking(move || read(reader, &plan, resumed, size, &batches));
    let made = futures::stream::unfold(made, |mut made| async move { Some((made.recv().await?, made)) });
    let answered = made.map(|next: Result<Next>| async {
        Ok::<_, Error>(match next? {
            Next::Skip(why) => Answered::No(why),
            Next::Ask(batch) => {
                let outputs = ask(client, &path, &batch).await?;
                Answered::Yes(batch, outputs)
            }
        })
    });
    let mut answered = std::pin::pin!(answered.buffered(parallel));
    let (mut unanswered, mut first_unanswered) = (0, None);
    while let Some(answer) = answered.try_next().await? {
        match answer {
            Answered::Yes(batch, outputs) => {
                results.write(&outputs, batch.rows.len())?;
                rows += batch.rows.len() as u64;
                bar.set_position(batch.position);
            }
            Answered::No(why) => {
                results.skip(&why)?;
                (rows, unanswered) = (rows + 1, unanswered + 1);
                first_unanswered.get_or_insert(why);
            }
        }
    }
    reading.await.map_err(|error| Error::internal("reading ended early").because(error))?;
    results.finish()?;
    bar.finish_and_clear();
    Ok(Done { rows, resumed, unanswered, first_unanswered, output: into.to_owned() })
}

enum Answered {
    Yes(Batch, Vec<tensors::Output>),
    No(String),
}

/// Makes requests of the rows behind the first `skip`, until all are made or nobody wants them.
fn read(reader: Reader, plan: &Plan, skip: u64, size: usize, batches: &mpsc::Sender<Result<Next>>) {
    let (_, position) = reader.progress();
    let position = || position.load(std::sync::atomic::Ordering::Relaxed);
    let (mut waiting, mut first): (Vec<Vec<Part>>, u64) = (Vec::new(), skip + 1);
    let send = |waiting: &mut Vec<Vec<Part>>, first: &mut u64| {
        if waiting.is_empty() {
            return true;
        }
        let rows = std::mem::take(waiting);
        let batch = batch(plan, rows, *first, position());
        *first += batch.as_ref().map_or(0, |batch| batch.rows.len() as u64);
        let good = batch.is_ok();
        batches.blocking_send(batch.map(Next::Ask)).is_ok() && good
    };
    for (number, row) in reader.enumerate().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
        let parts = row.map_err(RowError::Wrong).and_then(|row| plan.parts(&row));
        let parts = match parts {
            Ok(parts) => parts,
            Err(RowError::Missing(error)) => {
                let why = error.context(format!("row {}", number + 1)).chain();
                if !send(&mut waiting, &mut first) || batches.blocking_send(Ok(Next::Skip(why))).is_err() {
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

fn batch(plan: &Plan, rows: Vec<Vec<Part>>, first: u64, position: u64) -> Result<Batch> {
    match tensors::request(plan, &rows) {
        Ok((body, json)) => Ok(Batch { first, rows, body, json, position }),
        // Which row it is shows when each is written alone.
        Err(error) => {
            let wrong =
                rows.iter().position(|row| tensors::request(plan, std::slice::from_ref(row)).is_err());
            Err(error.context(format!("row {}", first + wrong.unwrap_or_default() as u64)))
        }
    }
}

/// Times that a request is repeated which came at a bad moment, and how long is waited before it.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

async fn ask(client: &Client, path: &str, batch: &Batch) -> Result<Vec<tensors::Output>> {
    let mut tries = 0;
    loop {
        let answer = client.post(path, batch.body.clone(), Some(batch.json)).await;
        match answer {
            Ok(answer) => return tensors::outputs(&answer, batch.rows.len()),
            Err(error) if tries < TRIES && matches!(error.kind(), Kind::Exhausted | Kind::Unavailable) => {
                pause(PAUSE * 2_u32.pow(tries)).await;
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
