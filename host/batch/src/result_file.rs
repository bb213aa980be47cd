//! Answers in a file, in the order of the rows, such that an interrupted command can go on.
//!
//! They are written to `NAME.part`, which becomes `NAME` when all are there. How far an earlier command
//! came is what lies in it; that it asked the same of the same file is in `NAME.part.json`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use eyot_core::{Error, Result, ResultExt, ScopedName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tensors::OutputRows;

/// What a command was asked; another must not add to its answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScoringRequest {
    version: u32,
    deployment: ScopedName,
    input: PathBuf,
    bytes: u64,
    modified: Option<std::time::SystemTime>,
    columns: Vec<String>,
}

impl ScoringRequest {
    pub(crate) fn new(deployment: &ScopedName, input: &Path, columns: &[String]) -> Result<Self> {
        let open = || format!("cannot read {}", input.display());
        let metadata = std::fs::metadata(input).context(open)?;
        let input = std::fs::canonicalize(input).context(open)?;
        let (deployment, columns) = (deployment.clone(), columns.to_vec());
        Ok(Self {
            version: 1,
            deployment,
            input,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            columns,
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum ResultFormat {
    Csv,
    Jsonl,
}

/// The file of answers.
pub(crate) struct ResultFile {
    file: File,
    kind: ResultFormat,
    /// Whether the heading is still to be written.
    bare: bool,
    /// Rows without an answer that wait for the heading, whose columns the first answer tells.
    skipped_rows: usize,
    /// How many columns the heading has, where it is written.
    columns: usize,
    target: PathBuf,
    part: PathBuf,
    asked: PathBuf,
}

impl ResultFile {
    /// Goes on after the answers that are there from an earlier command, and says how many they are.
    ///
    /// Fails with `Conflict` when `target` is there already, or another command's answers are.
    pub(crate) fn open(target: &Path, asked: &ScoringRequest, restart: bool) -> Result<(Self, u64)> {
        let kind = match target.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => ResultFormat::Csv,
            Some("jsonl" | "ndjson") => ResultFormat::Jsonl,
            _ => {
                return Err(Error::invalid(format!(
                    "{} is of no kind that answers are written in",
                    target.display()
                ))
                .hint("answers are written to .csv and .jsonl files"));
            }
        };
        let beside = |ending: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let (part, state) = (beside(".part"), beside(".part.json"));
        if target.exists() && !restart {
            return Err(Error::conflict(format!("{} is there already", target.display()))
                .hint("write to another file, or replace it with --restart"));
        }
        if restart || !part.exists() {
            remove(&part)?;
            write_state(&state, asked)?;
        } else {
            check_state(&state, asked)?;
        }
        let open = || format!("cannot write to {}", part.display());
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part);
        let mut file = file.context(open)?;
        let WholeRows { rows, end, columns } = whole(&file, kind)?;
        file.set_len(end).context(open)?;
        file.seek(SeekFrom::End(0)).context(open)?;
        let (target, bare) = (target.to_owned(), end == 0);
        let skipped_rows = 0;
        Ok((Self { file, kind, bare, skipped_rows, columns, target, part, asked: state }, rows))
    }

    /// Adds the answers to so many rows.
    pub(crate) fn write(&mut self, outputs: &[OutputRows], rows: usize) -> Result<()> {
        let text = match self.kind {
            ResultFormat::Jsonl => lines(outputs, rows)?,
            ResultFormat::Csv => {
                let heading = self.bare.then(|| outputs.iter().flat_map(heading).collect::<Vec<_>>());
                self.columns = heading.as_ref().map_or(self.columns, Vec::len);
                let skipped = std::mem::take(&mut self.skipped_rows);
                [record(heading)?, empty(self.columns, skipped)?, records(outputs, rows)?].concat()
            }
        };
        self.bare = false;
        self.file.write_all(&text).context(|| format!("cannot write to {}", self.part.display()))
    }

    /// Adds a row that has no answer: an object that says why, or empty cells.
    pub(crate) fn skip(&mut self, why: &str) -> Result<()> {
        let text = match self.kind {
            ResultFormat::Jsonl => format!("{}\n", serde_json::json!({ "error": why })).into_bytes(),
            ResultFormat::Csv if self.bare => {
                self.skipped_rows += 1;
                return Ok(());
            }
            ResultFormat::Csv => empty(self.columns, 1)?,
        };
        self.file.write_all(&text).context(|| format!("cannot write to {}", self.part.display()))
    }

    /// All answers are there.
    pub(crate) fn finish(mut self) -> Result<()> {
        // No row has an answer, so nobody knows the columns.
        let text = empty(1, std::mem::take(&mut self.skipped_rows))?;
        self.file.write_all(&text).context(|| format!("cannot write to {}", self.part.display()))?;
        self.file.sync_all().context(|| format!("cannot write to {}", self.part.display()))?;
        std::fs::rename(&self.part, &self.target)
            .context(|| format!("cannot write to {}", self.target.display()))?;
        remove(&self.asked)
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::from(error).context(format!("cannot remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

fn write_state(path: &Path, asked: &ScoringRequest) -> Result<()> {
    let text =
        serde_json::to_string_pretty(asked).map_err(|error| Error::internal("no JSON").because(error))?;
    std::fs::write(path, text).context(|| format!("cannot write to {}", path.display()))
}

fn check_state(path: &Path, asked: &ScoringRequest) -> Result<()> {
    let text = std::fs::read_to_string(path).ok();
    let found: Option<ScoringRequest> = text.and_then(|text| serde_json::from_str(&text).ok());
    if found.as_ref() == Some(asked) {
        return Ok(());
    }
    let part = path.with_extension("");
    Err(Error::conflict(format!("{} has the answers of another command, or to another file", part.display()))
        .hint("start over with --restart, or write to another file"))
}

/// How many answers lie in a file whole, and where the last of them ends: a process that was killed may
/// have left half of one.
struct WholeRows {
    rows: u64,
    end: u64,
    /// Of the heading, where there is one.
    columns: usize,
}

fn whole(file: &File, kind: ResultFormat) -> Result<WholeRows> {
    match kind {
        ResultFormat::Jsonl => {
            let (mut reader, mut line) = (BufReader::new(file), Vec::new());
            let (mut rows, mut end) = (0, 0);
            while reader.read_until(b'\n', &mut line)? > 0 {
                if line.last() == Some(&b'\n') {
                    (rows, end) = (rows + 1, end + line.len() as u64);
                }
                line.clear();
            }
            Ok(WholeRows { rows, end, columns: 0 })
        }
        ResultFormat::Csv => {
            // Whether the last record is whole cannot be seen, since a line may end inside of a text: it
            // is made again. The first is the heading.
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(file);
            let mut starts = Vec::new();
            let (mut record, mut columns) = (::csv::ByteRecord::new(), 0);
            while reader.read_byte_record(&mut record).unwrap_or_default() {
                if starts.is_empty() {
                    columns = record.len();
                }
                starts.push(record.position().map_or(0, ::csv::Position::byte));
            }
            let last = starts.last().copied().unwrap_or_default();
            let end = if starts.len() > 1 { last } else { 0 };
            Ok(WholeRows { rows: starts.len().saturating_sub(2) as u64, end, columns })
        }
    }
}

fn lines(outputs: &[OutputRows], rows: usize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for row in 0..rows {
        let pairs = outputs.iter().map(|output| {
            let values = output.rows.get(row).map(Vec::as_slice).unwrap_or_default();
            (output.name.clone(), nested(&output.shape, values))
        });
        let line: Map<String, Value> = pairs.collect();
        serde_json::to_writer(&mut text, &line).map_err(|error| Error::internal("no JSON").because(error))?;
        text.push(b'\n');
    }
    Ok(text)
}

/// Values as lists in lists, as their dimensions say; a single one as it is.
fn nested(shape: &[usize], values: &[Value]) -> Value {
    match shape {
        [] => values.first().cloned().unwrap_or_default(),
        [_] => Value::from(values),
        [first, inner @ ..] => {
            let each = (values.len() / (*first).max(1)).max(1);
            values.chunks(each).map(|part| nested(inner, part)).collect()
        }
    }
}

fn wrong(error: ::csv::Error) -> Error {
    Error::internal("no CSV").because(error)
}

/// One record, or nothing.
fn record(cells: Option<Vec<String>>) -> Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    if let Some(cells) = cells {
        writer.write_record(cells).map_err(wrong)?;
    }
    writer.into_inner().map_err(|error| Error::internal("no CSV").because(error.into_error()))
}

/// So many records of empty cells.
fn empty(columns: usize, rows: usize) -> Result<Vec<u8>> {
    Ok(record(Some(vec![String::new(); columns.max(1)]))?.repeat(rows))
}

fn records(outputs: &[OutputRows], rows: usize) -> Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for row in 0..rows {
        let cells = outputs.iter().flat_map(|output| output.rows.get(row).into_iter().flatten());
        let cells = cells.map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        writer.write_record(cells).map_err(wrong)?;
    }
    writer.into_inner().map_err(|error| Error::internal("no CSV").because(error.into_error()))
}

/// `label`, or `probabilities.0`, `probabilities.1`, …
fn heading(output: &OutputRows) -> Vec<String> {
    match output.rows.first().map_or(0, Vec::len) {
        1 if output.shape.iter().product::<usize>() == 1 => vec![output.name.clone()],
        count => (0..count).map(|number| format!("{}.{number}", output.name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outputs(first: i64) -> Vec<OutputRows> {
        let label = OutputRows {
            name: "label".into(),
            rows: vec![vec![json!(first)], vec![json!(first + 1)]],
            shape: vec![],
        };
        let text = vec![vec![json!("a\nb"), json!("NaN")], vec![json!("c"), json!(0.5)]];
        vec![label, OutputRows { name: "p".into(), rows: text, shape: vec![2] }]
    }

    #[test]
    fn whatever_is_cut_off_an_interrupted_command_goes_on_after_whole_answers() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("rows.csv");
        std::fs::write(&input, "x\n1\n").unwrap();
        let asked = ScoringRequest::new(&"iris".parse().unwrap(), &input, &[]).unwrap();
        for name in ["out.csv", "out.jsonl"] {
            let target = dir.path().join(name);
            let complete = {
                let (mut results, done) = ResultFile::open(&target, &asked, true).unwrap();
                assert_eq!(done, 0);
                results.write(&outputs(0), 2).unwrap();
                results.write(&outputs(2), 2).unwrap();
                results.finish().unwrap();
                std::fs::read(&target).unwrap()
            };
            std::fs::remove_file(&target).unwrap();
            let part = dir.path().join(format!("{name}.part"));
            for cut in 0..complete.len() {
                std::fs::write(&part, &complete[..cut]).unwrap();
                write_state(&dir.path().join(format!("{name}.part.json")), &asked).unwrap();
                let (mut results, done) = ResultFile::open(&target, &asked, false).unwrap();
                for row in usize::try_from(done).unwrap()..4 {
                    let batch = outputs(2 * (row as i64 / 2));
                    let one = |output: &OutputRows| OutputRows {
                        name: output.name.clone(),
                        rows: vec![output.rows[row % 2].clone()],
                        shape: output.shape.clone(),
                    };
                    results.write(&batch.iter().map(one).collect::<Vec<_>>(), 1).unwrap();
                }
                results.finish().unwrap();
                assert_eq!(std::fs::read(&target).unwrap(), complete, "{name} cut at {cut}");
                std::fs::remove_file(&target).unwrap();
            }
        }
        let target = dir.path().join("out.csv");
        let (_, _) = ResultFile::open(&target, &asked, true).unwrap();
        std::fs::write(&input, "x\n1\n2\n").unwrap();
        let other = ScoringRequest::new(&"iris".parse().unwrap(), &input, &[]).unwrap();
        assert_eq!(
            ResultFile::open(&target, &other, false).err().unwrap().kind(),
            eyot_core::ErrorKind::Conflict
        );
    }
}
