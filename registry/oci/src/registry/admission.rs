//! Content checks before a manifest is admitted: what its blobs' own bytes say.

use std::io::Read;

use bytes::Bytes;
use eyot_component::WasmContent;
use eyot_core::{Digest, Error, ErrorKind, Result};
use eyot_store::{BlobStore, ContentDigest};

use super::Registry;
use crate::component_config::check_config;
use crate::manifest::{Descriptor, Manifest};
use crate::unpack::{self, ArchiveFormat};

/// The largest config of a component that is read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

impl Registry {
    /// Compares what a component's config says with what its bytes say.
    ///
    /// Fails with `Invalid` when the bytes are no wasm, or the config hides an import.
    pub(super) async fn check_component(&self, manifest: &Manifest, layer: &ContentDigest) -> Result<()> {
        let Some(wasm) = self.whole(layer).await? else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || WasmContent::read(&wasm)).await;
        let read = read.map_err(|error| Error::internal("reading a component ended early").because(error))?;
        let WasmContent::Component(names) = read? else { return Ok(()) };
        let Some(config) = manifest.config.as_ref().filter(|config| config.size <= MAX_CONFIG_BYTES) else {
            return Ok(());
        };
        match self.whole(&config.digest).await? {
            Some(config) if manifest.describes_component() => check_config(&names, &config),
            _ => Ok(()),
        }
    }

    /// The bytes of a blob; none when it is not here: that is said where all blobs are looked for.
    async fn whole(&self, digest: &ContentDigest) -> Result<Option<Bytes>> {
        let Some(digest) = self.sha256_of(digest).await? else { return Ok(None) };
        match self.0.store.get(&digest).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Unpacks the model of an archive as a blob of its own, which back ends map into memory. None when there is no
    /// model in it that could be served.
    ///
    /// Fails with `Full` when that exceeds the repository's quota.
    pub(super) async fn unpack(
        &self,
        repository: &str,
        layer: &Descriptor,
        packing: ArchiveFormat,
    ) -> Result<Option<(Digest, u64)>> {
        let room = self.available_bytes(repository).await?.unwrap_or(u64::MAX);
        let Some(digest) = self.sha256_of(&layer.digest).await? else { return Ok(None) };
        let Some(length) = self.0.store.size(&digest).await? else { return Ok(None) };
        let archive = open(&*self.0.store, &digest).await?;
        let mut writer = self.0.store.writer().await?;
        let (sender, mut pieces) = tokio::sync::mpsc::channel::<Bytes>(4);
        let work = tokio::task::spawn_blocking(move || {
            unpack::onnx(archive, packing, length, |piece| {
                sender.blocking_send(piece).map_err(|_| Error::cancelled("nobody waits for the model"))
            })
        });
        while let Some(piece) = pieces.recv().await {
            if writer.written() + piece.len() as u64 > room {
                return Err(self.quota_exceeded(repository));
            }
            writer.write(piece).await?;
        }
        let found = work.await.map_err(|error| Error::internal("unpacking ended early").because(error))??;
        if !found {
            return Ok(None);
        }
        let blob = writer.finish().await?;
        Ok(Some((blob.digest, blob.size)))
    }
}

async fn open(store: &dyn BlobStore, digest: &Digest) -> Result<Box<dyn Read + Send>> {
    match store.path(digest) {
        Some(path) => Ok(Box::new(std::fs::File::open(path)?)),
        None => Ok(Box::new(std::io::Cursor::new(store.get(digest).await?))),
    }
}
