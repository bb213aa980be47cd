use std::sync::Arc;

use eyot_core::{Digest, Error, Result};
use eyot_store::{BlobStore, BlobWriter};
use eyot_world::imports::eyot::ml::artifacts::{Host, HostArtifact, HostWriter, add_to_linker};
use eyot_world::types;
use eyot_world::{Artifact, ArtifactWriter};
use wasmtime::component::{HasSelf, Resource};

use super::errors::to_guest;
use super::{HostCapability, OfferedInterface};
use crate::guest::{ArtifactAccess, GuestState};

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[OfferedInterface::new("eyot:ml/artifacts", "0.1.")],
    grant: None,
    link: |linker, _| add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest),
};

/// One read hands out no more than this, whatever length was asked for: the bytes are copied once
/// on the host before the guest has them.
const MAX_READ_BYTES: u64 = 16 << 20;

/// What stands behind an `artifact` handle: equal bytes of different types are different artifacts.
pub(crate) struct ArtifactEntry {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

/// What stands behind a `writer` handle.
struct PendingArtifact {
    media_type: String,
    blob: BlobState,
}

enum BlobState {
    /// Opened at the first write, since a constructor cannot fail.
    Unopened,
    Open(Box<dyn BlobWriter>),
    /// A write failed, or is under way: what would follow is not the whole.
    Broken,
}

impl GuestState {
    fn artifacts(&self) -> Result<&ArtifactAccess> {
        self.artifacts.as_ref().ok_or_else(|| {
            Error::denied("artifacts are not granted")
                .hint("only steps of a pipeline read and write artifacts")
        })
    }

    fn store(&self) -> Result<Arc<dyn BlobStore>> {
        Ok(self.artifacts()?.store.clone())
    }

    async fn append(
        &mut self,
        handle: &Resource<ArtifactWriter>,
        chunk: Vec<u8>,
    ) -> wasmtime::Result<Result<()>> {
        let store = self.store();
        let counted = self.files.usage.grow(chunk.len() as u64);
        let blob =
            std::mem::replace(&mut self.get_mut::<_, PendingArtifact>(handle)?.blob, BlobState::Broken);
        if counted.is_err() {
            return Ok(Err(self.files.usage.failure().unwrap_or_else(|| Error::internal("no room"))));
        }
        let written = async {
            let mut writer = open(store, blob).await?;
            writer.write(chunk.into()).await.map(|()| writer)
        };
        Ok(match written.await {
            Ok(writer) => {
                self.get_mut::<_, PendingArtifact>(handle)?.blob = BlobState::Open(writer);
                Ok(())
            }
            Err(error) => Err(error),
        })
    }

    async fn complete(&mut self, pending: PendingArtifact) -> Result<ArtifactEntry> {
        let stored = open(self.store(), pending.blob).await?.finish().await?;
        Ok(ArtifactEntry { digest: stored.digest, size: stored.size, media_type: pending.media_type })
    }
}

async fn open(store: Result<Arc<dyn BlobStore>>, blob: BlobState) -> Result<Box<dyn BlobWriter>> {
    match blob {
        BlobState::Open(writer) => Ok(writer),
        BlobState::Unopened => store?.writer().await,
        BlobState::Broken => {
            Err(Error::invalid("an earlier write to this artifact failed").hint("start a new writer"))
        }
    }
}

impl Host for GuestState {}

impl HostArtifact for GuestState {
    fn digest(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<String> {
        Ok(self.get::<_, ArtifactEntry>(&handle)?.digest.to_string())
    }

    fn media_type(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<String> {
        Ok(self.get::<_, ArtifactEntry>(&handle)?.media_type.clone())
    }

    fn size(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<u64> {
        Ok(self.get::<_, ArtifactEntry>(&handle)?.size)
    }

    async fn read(
        &mut self,
        handle: Resource<Artifact>,
        offset: u64,
        length: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, types::Error>> {
        let digest = self.get::<_, ArtifactEntry>(&handle)?.digest;
        let store = match self.store() {
            Ok(store) => store,
            Err(error) => return Ok(Err(to_guest(&error))),
        };
        let bytes = store.read(&digest, offset, length.min(MAX_READ_BYTES)).await;
        Ok(bytes.map(Into::into).map_err(|error| to_guest(&error)))
    }

    fn drop(&mut self, handle: Resource<Artifact>) -> wasmtime::Result<()> {
        self.take::<_, ArtifactEntry>(handle).map(drop)
    }
}

impl HostWriter for GuestState {
    fn new(&mut self, media_type: String) -> wasmtime::Result<Resource<ArtifactWriter>> {
        self.push(PendingArtifact { media_type, blob: BlobState::Unopened })
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
        let pending: PendingArtifact = self.take(handle)?;
        match self.complete(pending).await {
            Ok(entry) => Ok(Ok(self.push(entry)?)),
            Err(error) => Ok(Err(to_guest(&error))),
        }
    }

    fn drop(&mut self, handle: Resource<ArtifactWriter>) -> wasmtime::Result<()> {
        self.take::<_, PendingArtifact>(handle).map(drop)
    }
}
