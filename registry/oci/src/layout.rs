//! `index.json` of an OCI image layout directory.

use std::io::Write as _;
use std::path::Path;

use eyot_core::{Error, Result, ResultExt as _};
use serde_json::json;

use crate::manifest::{Descriptor, IMAGE_INDEX};

/// The annotation under which tools look for a name in a layout.
pub(crate) const REFERENCE: &str = "org.opencontainers.image.ref.name";

/// Replaces the index in one step: a reader sees the old one or the new one.
pub(crate) async fn write(dir: &Path, manifests: Vec<Descriptor>) -> Result<()> {
    let dir = dir.to_owned();
    let index = json!({ "schemaVersion": 2, "mediaType": IMAGE_INDEX, "manifests": manifests });
    let work = move || {
        let mut file = tempfile::NamedTempFile::new_in(&dir)?;
        file.write_all(index.to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(dir.join("index.json")).map_err(|error| error.error)?;
        std::fs::File::open(&dir)?.sync_all()?;
        Ok::<_, Error>(())
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Error::internal("file work ended early").because(error))?;
    done.context(|| "cannot write the registry's index.json".to_owned())
}
