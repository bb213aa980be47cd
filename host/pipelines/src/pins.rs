//! What a run wrote stays as long as the run is known: each artifact is pinned for it, unless the cache pins it.

use eyot_core::{Digest, ErrorKind, Result};
use eyot_store::BlobStore;
use serde_json::Value;

use crate::records::PipelineRun;

/// Whom an artifact of a run is pinned for.
pub(crate) fn owner(run: &str) -> String {
    format!("run/{run}")
}

/// Pins what a run of an earlier version wrote. What is gone already stays gone.
pub(crate) async fn pin_outputs(store: &dyn BlobStore, run: &PipelineRun) -> Result<()> {
    let mut outputs = Vec::new();
    run.steps.iter().flat_map(|step| step.outputs.values()).for_each(|value| digests(value, &mut outputs));
    for digest in outputs {
        if store.pins(&digest).await?.is_empty() {
            match store.pin(&digest, &owner(&run.id)).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                pinned => pinned?,
            }
        }
    }
    Ok(())
}

/// The digests in a value, wherever they stand.
fn digests(value: &Value, found: &mut Vec<Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Digest>().ok()),
        Value::Array(values) => values.iter().for_each(|value| digests(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| digests(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
