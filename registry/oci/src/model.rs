//! Models whose weights lie in files beside them: pushed as one artifact with a layer for each.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_core::{Digest, Digester, Error, Result, ResultExt as _};

use crate::client::PushedArtifact;
use crate::dataset::read_range;
use crate::{DataLayer, RegistryClient, model_manifest_with};

/// A file of weights on this machine, and the name that the model gives it.
#[derive(Clone, Debug)]
pub struct DataPath {
    pub name: String,
    pub path: PathBuf,
}

impl RegistryClient {
    /// Pushes a model with the files that lie beside it, which are sent from where they lie; `file` is the name the
    /// model itself is unpacked under.
    pub async fn push_model_files(
        &self,
        repository: &str,
        tag: Option<&str>,
        (file, onnx): (&str, Bytes),
        data: &[DataPath],
    ) -> Result<PushedArtifact> {
        let mut layers = Vec::with_capacity(data.len());
        for DataPath { name, path } in data {
            let (digest, size) = self.push_path(repository, path).await?;
            layers.push(DataLayer { name: name.clone(), digest, size });
        }
        let beside: u64 = layers.iter().map(|layer| layer.size).sum();
        let built = model_manifest_with(repository, file, &onnx, &layers)?;
        let mut pushed = self.push(repository, tag, built, onnx).await?;
        pushed.size += beside;
        Ok(pushed)
    }

    /// Pushes a file that is not there yet, without holding it in memory.
    async fn push_path(&self, repository: &str, path: &Path) -> Result<(Digest, u64)> {
        let looked_at = path.to_owned();
        let hashed = tokio::task::spawn_blocking(move || hash(&looked_at)).await;
        let (digest, size) =
            hashed.map_err(|error| Error::internal("reading a file ended early").because(error))??;
        if self.has_blob(repository, &digest.into()).await? {
            return Ok((digest, size));
        }
        let body = self.counted(read_range(path, 0, size).await?);
        self.push_stream(repository, &digest.into(), size, body)
            .await
            .map_err(|error| error.context(format!("{} cannot be pushed", path.display())))?;
        Ok((digest, size))
    }
}

fn hash(path: &Path) -> Result<(Digest, u64)> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).context(cannot)?;
    let (mut digester, mut size) = (Digester::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).context(cannot)?;
        if read == 0 {
            return Ok((digester.finish(), size));
        }
        size += read as u64;
        digester.update(buffer.get(..read).unwrap_or_default());
    }
}
