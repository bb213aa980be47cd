use eyot_core::{Digest, Error, Result};
use eyot_store::BlobWriter;
use eyot_world::imports::eyot::ml::artifacts::{Host, HostArtifact, HostWriter};
use eyot_world::imports::eyot::ml::types;
use eyot_world::{Artifact, ArtifactWriter};
use wasmtime::component::Resource;

use crate::guest::{Artifacts, Guest, Known};
use crate::host::to_guest;

/// One read hands out no more than this, whatever length was asked for: the bytes are copied once
/// on the host before the guest has them.
const READ: u64 = 16 << 20;

/// What stands behind an `artifact` handle.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) digest: Digest,
    pub(crate) known: Known,
}

/// What stands behind a `writer` handle.
struct Writing {
    media_type: String,
    /// Opened at the first write, since a constructor cannot fail.
    blob: Option<Box<dyn BlobWriter>>,
}

impl Guest {
    fn artifacts(&self) -> Result<&Artifacts> {
        self.artifacts.as_ref().ok_or_else(|| {
            Error::denied("artifacts are not granted")
                .hint("only steps of a pipeline read and write artifacts")
        })
    }

    async fn append(
        &mut self,
        handle: &Resource<ArtifactWriter>,
        chunk: Vec<u8>,
    ) -> wasmtime::Result<Result<()>> {
        let writing: &mut Writing = self.get_mut(handle)?;
        let mut blob = writing.blob.take();
        let outcome = async {
            if blob.is_none() {
                blob = Some(self.artifacts()?.store.writer().await?);
            }
            match &mut blob {
                Some(blob) => blob.write(chunk.into()).await,
                None => Ok(()),
            }
        }
        .await;
        self.get_mut::<_, Writing>(handle)?.blob = blob;
        Ok(outcome)
    }

    async fn complete(&mut self, writing: Writing) -> Result<Entry> {
        let blob = match writing.blob {
            Some(blob) => blob,
            None => self.artifacts()?.store.writer().await?,
        };
        let stored = blob.finish().await?;
        let known = Known { size: stored.size, media_type: writing.media_type };
        if let Some(artifacts) = &mut self.artifacts {
            artifacts.known.insert(stored.digest, known.clone());
        }
        Ok(Entry { digest: stored.digest, known })
    }
}

impl Host for Guest {}

impl HostArtifact for Guest {
    fn digest(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<String> {
        Ok(self.get::<_, Entry>(&handle)?.digest.to_string())
    }

    fn media_type(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<String> {
        Ok(self.get::<_, Entry>(&handle)?.known.media_type.clone())
    }

    fn size(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<u64> {
        Ok(self.get::<_, Entry>(&handle)?.known.size)
    }

    async fn read(
        &mut self,
        handle: Resource<Artifact>,
        offset: u64,
        length: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        let digest = self.get::<_, Entry>(&handle)?.digest;
        let store = match self.artifacts() {
            Ok(artifacts) => artifacts.store.clone(),
            Err(error) => return Ok(Err(to_guest(&error))),
        };
        let bytes = store.read(&digest, offset, length.min(READ)).await;
        Ok(bytes.map(Into::into).map_err(|error| to_guest(&error)))
    }

    fn drop(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<()> {
        self.take::<_, Entry>(handle).map(drop)
    }
}

impl HostWriter for Guest {
    fn new(&mut self, media_type: String) -> wasmtime::Result<Resource<ArtifactWriter>> {
        self.push(Writing { media_type, blob: None })
    }

    async fn write(
        &mut self,
        handle: Resource<ArtifactWriter>,
        chunk: Vec<u8>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self.append(&handle, chunk).await?.map_err(|error| to_guest(&error)))
    }

    async fn finish(
        &mut self,
        handle: Resource<ArtifactWriter>,
    ) -> wasmtime::Result<Result<Resource<Artifact>, types::Error>> {
        let writing: Writing = self.take(handle)?;
        match self.complete(writing).await {
            Ok(entry) => Ok(Ok(self.push(entry)?)),
            Err(error) => Ok(Err(to_guest(&error))),
        }
    }

    fn drop(&mut self, handle: Resource<ArtifactWriter>) -> wasmtime::Result<()> {
        self.take::<_, Writing>(handle).map(drop)
    }
}
