use std::collections::HashMap;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result, new_id};
use eyot_store::BlobWriter;
use parking_lot::Mutex;

/// Uploads that are under way. They live in this process: one that a restart ends is started again by
/// the client, and its bytes are swept by the store.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Open>>);

/// What was written so far, and when that was.
type Open = (Box<dyn BlobWriter>, Instant);

/// An upload that nobody touched for this long is dropped.
const IDLE: Duration = Duration::from_secs(3600);
/// Uploads at the same time.
const MOST: usize = 256;

impl Uploads {
    /// Keeps a writer under a new id.
    pub(crate) fn start(&self, writer: Box<dyn BlobWriter>) -> Result<String> {
        let id = new_id();
        let mut uploads = self.0.lock();
        uploads.retain(|_, (_, touched)| touched.elapsed() < IDLE);
        if uploads.len() >= MOST {
            return Err(
                Error::exhausted(format!("{MOST} uploads are under way")).hint("try again in a moment")
            );
        }
        uploads.insert(id.clone(), (writer, Instant::now()));
        Ok(id)
    }

    /// Takes an upload to work on it; whoever has it must put it back.
    pub(crate) fn take(&self, id: &str) -> Result<Box<dyn BlobWriter>> {
        let found = self.0.lock().remove(id).map(|(writer, _)| writer);
        found.ok_or_else(|| Error::not_found(format!("there is no upload '{id}'")).hint("start it again"))
    }

    pub(crate) fn put_back(&self, id: &str, writer: Box<dyn BlobWriter>) {
        self.0.lock().insert(id.to_owned(), (writer, Instant::now()));
    }

    /// Bytes received so far.
    pub(crate) fn received(&self, id: &str) -> Option<u64> {
        self.0.lock().get(id).map(|(writer, _)| writer.written())
    }
}
