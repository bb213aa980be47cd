//! Rows out of files, one after another, however large the file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eyot_core::{Error, Result, ResultExt};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Map, Value};

use crate::input_plan::InputRow;

/// A file's rows, its columns, and how far it has been read.
pub(crate) struct RowReader {
    rows: Box<dyn Iterator<Item = Result<InputRow>> + Send>,
    /// The first row where it had to be looked at for the columns.
    first: Option<InputRow>,
    columns: Vec<String>,
    read: Arc<AtomicU64>,
    total: u64,
}

/// The one column of lines that are no objects.
const LINE_COLUMN: &str = "line";

impl RowReader {
    /// Opens a file by its kind. `chosen` are the columns to use, in that order; none are all.
    ///
    /// Fails with `Invalid` for other kinds and for columns that are not there.
    pub(crate) fn open(path: &Path, chosen: &[String]) -> Result<Self> {
        let open = || format!("cannot read {}", path.display());
        let file = File::open(path).context(open)?;
        let total = file.metadata().context(open)?.len();
        let read = Arc::new(AtomicU64::new(0));
        let counted = CountingFile { file, read: read.clone() };
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let mut reader = match kind {
            "csv" => csv(counted)?,
            "jsonl" | "ndjson" => jsonl(counted)?,
            "parquet" => parquet(path, read.clone(), total)?,
            _ => {
                return Err(Error::invalid(format!("{} is of no kind that has rows", path.display()))
                    .hint("rows are in .csv, .jsonl and .parquet files"));
            }
        };
        (reader.read, reader.total) = (read, total);
        if !chosen.is_empty() {
            if let Some(absent) = chosen.iter().find(|name| !reader.columns.contains(name)) {
                return Err(Error::invalid(format!("{} has no column '{absent}'", path.display()))
                    .hint(format!("its columns are {}", reader.columns.join(", "))));
            }
            reader.columns = chosen.to_vec();
        }
        Ok(reader)
    }

    fn new(rows: Box<dyn Iterator<Item = Result<InputRow>> + Send>, columns: Vec<String>) -> Self {
        Self { rows, first: None, columns, read: Arc::default(), total: 0 }
    }

    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Bytes of the file, and of those the ones that have been read.
    pub(crate) fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.total, self.read.clone())
    }
}

impl Iterator for RowReader {
    type Item = Result<InputRow>;

    fn next(&mut self) -> Option<Result<InputRow>> {
        self.first.take().map(Ok).or_else(|| self.rows.next())
    }
}

/// A file that counts what is read of it.
struct CountingFile {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for CountingFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn csv(file: CountingFile) -> Result<RowReader> {
    let wrong = |error: ::csv::Error| Error::invalid("the file is no CSV").because(error);
    let mut reader = ::csv::Reader::from_reader(file);
    let columns: Vec<String> =
        reader.headers().map_err(wrong)?.iter().map(|name| name.trim().to_owned()).collect();
    let names = columns.clone();
    let rows = reader.into_records().map(move |record| {
        let record = record.map_err(wrong)?;
        let cells = names.iter().zip(record.iter());
        // An empty cell is no value. Blanks belong to one: numbers are read without them, texts with them.
        let value = |cell: &str| if cell.is_empty() { Value::Null } else { Value::from(cell) };
        Ok(cells.map(|(name, cell)| (name.clone(), value(cell))).collect())
    });
    Ok(RowReader::new(Box::new(rows), columns))
}

fn jsonl(file: CountingFile) -> Result<RowReader> {
    let mut rows = BufReader::new(file).lines().enumerate().filter_map(|(number, line)| {
        let line = match line {
            Ok(line) if line.trim().is_empty() => return None,
            Ok(line) => line,
            Err(error) => return Some(Err(Error::invalid(format!("line {}", number + 1)).because(error))),
        };
        Some(
            row(&line)
                .map_err(|error| Error::invalid(format!("line {} is no JSON", number + 1)).because(error)),
        )
    });
    let first = rows.next().transpose()?;
    let columns = first.iter().flat_map(|row| row.keys().cloned()).collect();
    let mut reader = RowReader::new(Box::new(rows), columns);
    reader.first = first;
    Ok(reader)
}

fn row(line: &str) -> serde_json::Result<InputRow> {
    Ok(match serde_json::from_str(line)? {
        Value::Object(row) => row,
        other => Map::from_iter([(LINE_COLUMN.to_owned(), other)]),
    })
}

fn parquet(path: &Path, read: Arc<AtomicU64>, total: u64) -> Result<RowReader> {
    let wrong =
        |error: ::parquet::errors::ParquetError| Error::invalid("the file is no Parquet").because(error);
    let file = SerializedFileReader::try_from(path).map_err(wrong)?;
    let metadata = file.metadata().file_metadata();
    let count = u64::try_from(metadata.num_rows()).unwrap_or_default().max(1);
    let fields = metadata.schema().get_fields();
    let columns = fields.iter().map(|field| field.name().to_owned()).collect();
    let rows = file.into_iter().enumerate().map(move |(number, row)| {
        // What has been read of the file is not told: as much as of its rows.
        let done = u128::from(total) * (number as u128 + 1) / u128::from(count);
        read.store(u64::try_from(done).unwrap_or(total), Ordering::Relaxed);
        match row.map_err(wrong)?.to_json_value() {
            Value::Object(row) => Ok(row),
            _ => Err(Error::invalid("a row of the file has no columns")),
        }
    });
    Ok(RowReader::new(Box::new(rows), columns))
}
