//! The prediction log: requests with their answers, a share of them, as JSON lines in one file a
//! deployment. A file that has grown to its limit is kept beside the next one, and no older.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eyot_core::{Clock as _, Error, Result, ResultExt, ScopedName, SystemClock};
use eyot_engine::{CallArguments, FunctionReply};
use eyot_nn::{DataType, NamedTensor};
use serde_json::{Value, json};

use crate::protocol::encode::{self, NonFinite};
use crate::serving::exchange::observer::{Capture, Observer};
use crate::serving::exchange::{CapturedCall, Exchange, ExchangeKind, ExchangeOutcome};
use crate::serving::sampling::ShareSampler;
use crate::serving::trace::TraceContext;

/// What one line tells.
pub(crate) struct LoggedCall {
    id: String,
    trace: Option<TraceContext>,
    deployment: ScopedName,
    revision: u64,
    took: Duration,
    call: Arc<CapturedCall>,
    /// Why there is no answer: its chain of causes.
    error: Option<String>,
}

/// Lines that wait to be written; more are dropped rather than waited for.
const QUEUED_LINES: usize = 256;

/// A tensor of more bytes is told by its type and shape alone, a value of more by how long it is.
const MAX_SHOWN_BYTES: usize = 64 << 10;

/// Writes on a thread of its own, which ends with the log.
pub(crate) struct PredictionLog {
    sampler: ShareSampler,
    lines: SyncSender<LoggedCall>,
    dropped: AtomicU64,
}

impl PredictionLog {
    /// Tells `share` of all requests, from 0 to 1, into files under `dir` of at most `limit` bytes.
    pub(crate) fn open(dir: &Path, share: f64, limit: u64) -> Result<Self> {
        std::fs::create_dir_all(dir).context(|| format!("cannot create {}", dir.display()))?;
        let (lines, told) = sync_channel(QUEUED_LINES);
        let files = LogFiles { dir: dir.to_owned(), limit, open: HashMap::new() };
        let thread = std::thread::Builder::new().name("prediction log".to_owned());
        thread
            .spawn(move || files.write_all(told))
            .map_err(|error| Error::internal("no thread can be started").because(error))?;
        Ok(Self { sampler: ShareSampler::new(share), lines, dropped: AtomicU64::new(0) })
    }

    /// Requests that were not told because the disk was slower than they.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Observer for PredictionLog {
    fn interested(&self, exchange: &Exchange) -> Capture {
        let is_worked_on = exchange.is_admitted() && exchange.kind != ExchangeKind::Http;
        if is_worked_on && self.sampler.samples() { Capture::Content } else { Capture::Nothing }
    }

    fn finished(&self, exchange: &Exchange) {
        let (Some(live), Some(call), Some(took)) =
            (exchange.revision(), exchange.captured(), exchange.timings.work)
        else {
            return;
        };
        let told = LoggedCall {
            id: exchange.id.clone(),
            trace: exchange.trace.clone(),
            deployment: live.revision.deployment.clone(),
            revision: live.revision.revision,
            took,
            call: call.clone(),
            error: match exchange.outcome() {
                ExchangeOutcome::Failed(error) => Some(error.chain()),
                _ => None,
            },
        };
        if self.lines.try_send(told).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct LogFiles {
    dir: PathBuf,
    limit: u64,
    open: HashMap<ScopedName, (File, u64)>,
}

impl LogFiles {
    fn write_all(mut self, told: Receiver<LoggedCall>) {
        for told in told {
            if let Err(error) = self.write(&told) {
                tracing::warn!(deployment = %told.deployment, error = %error.chain(), "a prediction was not logged");
                self.open.remove(&told.deployment);
            }
        }
    }

    fn write(&mut self, told: &LoggedCall) -> Result<()> {
        let line = line(told);
        let path = self.dir.join(format!("{}.jsonl", told.deployment));
        let length = line.len() as u64;
        let full = self.open.get(&told.deployment).is_some_and(|(_, size)| size + length > self.limit);
        if full {
            self.open.remove(&told.deployment);
            let before = self.dir.join(format!("{}.1.jsonl", told.deployment));
            std::fs::rename(&path, &before).context(|| format!("cannot move {}", path.display()))?;
        }
        let (file, size) = match self.open.entry(told.deployment.clone()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let file = OpenOptions::new().create(true).append(true).open(&path);
                let file = file.context(|| format!("cannot open {}", path.display()))?;
                let size = file.metadata()?.len();
                entry.insert((file, size))
            }
        };
        // One call a line: a process that dies leaves whole lines.
        file.write_all(&line).context(|| format!("cannot write {}", path.display()))?;
        *size += length;
        Ok(())
    }
}

fn line(told: &LoggedCall) -> Vec<u8> {
    let mut line = Vec::with_capacity(512);
    let head = json!({
        "id": told.id,
        "time": SystemClock.now().to_rfc3339(),
        "deployment": told.deployment,
        "revision": told.revision,
        "microseconds": u64::try_from(told.took.as_micros()).unwrap_or(u64::MAX),
        "traceparent": told.trace.as_ref().map(TraceContext::as_str),
    });
    line.extend_from_slice(head.to_string().as_bytes());
    // The object goes on.
    line.pop();
    let mut field = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        line.extend_from_slice(format!(",\"{name}\":").as_bytes());
        write(&mut line);
    };
    match &*told.call {
        CapturedCall::Prediction { inputs, outputs } => {
            field("inputs", &|line| tensors(line, inputs));
            if let Some(outputs) = outputs {
                field("outputs", &|line| tensors(line, outputs));
            }
        }
        CapturedCall::Function { name, arguments, reply } => {
            field("function", &|line| value(line, &Value::from(name.as_str())));
            match arguments {
                CallArguments::Values(values) => field("arguments", &|line| value(line, &json!(values))),
                CallArguments::Bytes(given) => field("arguments", &|line| bytes(line, given)),
            }
            match reply {
                Some(FunctionReply::Value(given)) => field("reply", &|line| value(line, given)),
                Some(FunctionReply::Bytes(given)) => field("reply", &|line| bytes(line, given)),
                Some(FunctionReply::Error(given)) => field("refusal", &|line| value(line, given)),
                None => {}
            }
        }
    }
    // An answer that was made is told even where it could not be sent.
    if let (Some(error), false) = (&told.error, told.call.is_answered()) {
        field("error", &|line| value(line, &Value::from(error.as_str())));
    }
    line.extend_from_slice(b"}\n");
    line
}

fn value(line: &mut Vec<u8>, value: &Value) {
    let text = value.to_string();
    if text.len() <= MAX_SHOWN_BYTES {
        line.extend_from_slice(text.as_bytes());
    } else {
        line.extend_from_slice(json!({ "characters": text.len() }).to_string().as_bytes());
    }
}

fn bytes(line: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= MAX_SHOWN_BYTES {
        value(line, &json!({ "base64": STANDARD.encode(bytes) }));
    } else {
        value(line, &json!({ "bytes": bytes.len() }));
    }
}

fn tensors(line: &mut Vec<u8>, tensors: &[NamedTensor]) {
    line.push(b'[');
    for (index, NamedTensor { name, tensor }) in tensors.iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        encode::head(line, name, tensor);
        let before = line.len();
        line.extend_from_slice(b",\"data\":[");
        // Bytes that are no text have no place in JSON.
        let start = line.len();
        if tensor.bytes().len() > MAX_SHOWN_BYTES || encode::elements(line, tensor, NonFinite::Words).is_err()
        {
            line.truncate(before);
            line.push(b'}');
        } else {
            if tensor.dtype() != DataType::Bytes {
                quote_words(line, start);
            }
            line.extend_from_slice(b"]}");
        }
    }
    line.push(b']');
}

/// Makes texts of NaN and the infinities, for which JSON has no words.
fn quote_words(line: &mut Vec<u8>, start: usize) {
    if !line[start..].iter().any(|byte| matches!(byte, b'N' | b'I')) {
        return;
    }
    let elements = line.split_off(start);
    for (index, element) in elements.split(|byte| *byte == b',').enumerate() {
        if index > 0 {
            line.push(b',');
        }
        let word = matches!(element, b"NaN" | b"Infinity" | b"-Infinity");
        let quote = if word { &b"\""[..] } else { b"" };
        line.extend([quote, element, quote].into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_nn::Tensor;

    use super::*;

    fn told(id: &str) -> LoggedCall {
        let tensor = |tensor| vec![NamedTensor { name: "x".into(), tensor }];
        LoggedCall {
            id: id.into(),
            trace: None,
            deployment: "iris".parse().unwrap(),
            revision: 3,
            took: Duration::from_micros(7),
            call: Arc::new(CapturedCall::Prediction {
                inputs: tensor(Tensor::of(vec![1, 2], &[1.5_f32, f32::NAN]).unwrap()),
                outputs: Some(tensor(Tensor::of_strings(vec![1], &[b"\xff"]).unwrap())),
            }),
            error: None,
        }
    }

    #[test]
    fn files_hold_whole_lines_and_stay_small() {
        let dir = std::env::temp_dir().join(eyot_core::new_id());
        std::fs::create_dir(&dir).unwrap();
        let size = line(&told("00")).len() as u64;
        let mut files = LogFiles { dir: dir.clone(), limit: 3 * size, open: HashMap::new() };
        for number in 10..18 {
            files.write(&told(&number.to_string())).unwrap();
        }
        let ids = |name: &str| {
            let text = std::fs::read_to_string(dir.join(name)).unwrap();
            let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone();
            text.lines().map(id).map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("iris.1.jsonl"), ["13", "14", "15"]);
        assert_eq!(ids("iris.jsonl"), ["16", "17"]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn lines_tell_all_that_json_can_hold() {
        let line = String::from_utf8(line(&told("7"))).unwrap();
        assert!(line.starts_with(r#"{"id":"7","time":""#) && line.ends_with("]}\n"), "{line}");
        for part in [
            r#""deployment":"iris","revision":3,"microseconds":7,"traceparent":null"#,
            r#""inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1.5,"NaN"]}]"#,
            r#""outputs":[{"name":"x","datatype":"BYTES","shape":[1]}]"#,
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn calls_of_functions_are_told_as_they_were_made() {
        let values = |value: Value| CallArguments::Values(value.as_object().unwrap().clone());
        let long = "x".repeat(MAX_SHOWN_BYTES);
        for (arguments, reply, expected) in [
            (
                values(json!({"a": [1, null]})),
                Ok(FunctionReply::Value(json!(2.5))),
                r#""arguments":{"a":[1,null]},"reply":2.5}"#,
            ),
            (
                CallArguments::Bytes(vec![0, 255]),
                Ok(FunctionReply::Bytes(vec![1])),
                r#""arguments":{"base64":"AP8="},"reply":{"base64":"AQ=="}}"#,
            ),
            (values(json!({})), Ok(FunctionReply::Error(json!("no"))), r#""arguments":{},"refusal":"no"}"#),
            (values(json!({})), Err("it \"broke\"".to_owned()), r#""arguments":{},"error":"it \"broke\""}"#),
            (
                values(json!({})),
                Ok(FunctionReply::Value(json!(long))),
                r#""arguments":{},"reply":{"characters":65538}}"#,
            ),
            (
                CallArguments::Bytes(vec![0; MAX_SHOWN_BYTES + 1]),
                Ok(FunctionReply::Value(json!(null))),
                r#""arguments":{"bytes":65537},"reply":null}"#,
            ),
        ] {
            let (reply, error) = match reply {
                Ok(reply) => (Some(reply), None),
                Err(error) => (None, Some(error)),
            };
            let call = Arc::new(CapturedCall::Function { name: "f".into(), arguments, reply });
            let line = String::from_utf8(line(&LoggedCall { call, error, ..told("7") })).unwrap();
            assert!(line.trim_end().ends_with(&format!(r#""function":"f",{expected}"#)), "{line}");
        }
    }
}
