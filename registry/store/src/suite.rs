//! What every store must do, as one table of properties run on each.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eyot_core::{Digest, ErrorKind, Result};
use futures::TryStreamExt as _;
use tokio::io::AsyncReadExt as _;

use crate::{BlobStore, ContentDigest, DigestAlgorithm, DirectoryStore, MemoryStore, UploadId};

async fn everything(store: Arc<dyn BlobStore>) {
    whole_and_ranges(&*store).await;
    streams(&*store).await;
    what_is_dropped_never_existed(&*store).await;
    wrong_digests_store_nothing(&*store).await;
    pins_keep(&*store).await;
    holds_keep(store.clone()).await;
    a_hold_on_all_keeps_all_and_knows_every_pin(&*store).await;
    blobs_have_an_age(&*store).await;
    uploads_go_on_from_their_last_save(&*store).await;
    uploads_end_as_a_blob_or_not_at_all(&*store).await;
    many_writers_of_one_blob(store.clone()).await;
    let verification = store.verify().await.unwrap();
    assert_eq!(
        (verification.checked, verification.damaged.len()),
        (store.list().await.unwrap().len() as u64, 0)
    );
}

async fn whole_and_ranges(store: &dyn BlobStore) {
    for content in [&b""[..], b"x", b"hello world"] {
        let blob = store.put(Bytes::from_static(content)).await.unwrap();
        assert_eq!((blob.digest, blob.size), (Digest::of(content), content.len() as u64));
        assert_eq!(store.get(&blob.digest).await.unwrap(), content);
        assert_eq!(store.size(&blob.digest).await.unwrap(), Some(blob.size));
        assert!(store.list().await.unwrap().contains(&blob));
    }
    let digest = Digest::of(b"hello world");
    for (offset, length, expected) in [
        (0, 5, "hello"),
        (6, 100, "world"),
        (11, 1, ""),
        (100, 1, ""),
        (0, u64::MAX, "hello world"),
        (u64::MAX, u64::MAX, ""),
    ] {
        assert_eq!(store.read(&digest, offset, length).await.unwrap(), expected, "{offset} {length}");
    }
    for (offset, length, expected) in
        [(0, 5, "hello"), (6, 100, "world"), (11, 1, ""), (0, u64::MAX, "hello world")]
    {
        assert_eq!(
            streamed(store, &digest, offset, length).await.unwrap(),
            expected.as_bytes(),
            "{offset} {length}"
        );
    }
    let unknown = Digest::of(b"unknown");
    assert_eq!(store.get(&unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.read(&unknown, 0, 1).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.open(&unknown).await.err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(store.size(&unknown).await.unwrap(), None);
}

async fn streamed(store: &dyn BlobStore, digest: &Digest, offset: u64, length: u64) -> Result<Vec<u8>> {
    let pieces = store.stream(digest, offset, length).await?.try_collect::<Vec<_>>().await?;
    Ok(pieces.concat())
}

async fn uploads_go_on_from_their_last_save(store: &dyn BlobStore) {
    let id = UploadId::random();
    assert_eq!(store.resume_upload(id).await.err().unwrap().kind(), ErrorKind::NotFound);
    let mut upload = store.start_upload(id, DigestAlgorithm::Sha256).await.unwrap();
    upload.append(vec!["hello ".into(), "wo".into()]).await.unwrap();
    upload.save().await.unwrap();
    upload.append(vec!["lost".into()]).await.unwrap();
    // Two requests must not write to one upload.
    for busy in [store.resume_upload(id).await.err(), store.drop_upload(id).await.err()] {
        assert_eq!(busy.unwrap().kind(), ErrorKind::Conflict);
    }
    drop(upload);
    let mut upload = loop {
        // The last write may still be under way on its thread, after the one who asked for it is gone.
        match store.resume_upload(id).await {
            Ok(upload) => break upload,
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(upload.received(), 8);
    upload.append(vec!["rld".into()]).await.unwrap();
    assert_eq!(store.uploads().await.unwrap(), [id].into());
    let blob = upload.finish(&Digest::of("hello world").into()).await.unwrap();
    assert_eq!((blob.digest, blob.size), (Digest::of("hello world"), 11));
    assert!(store.uploads().await.unwrap().is_empty());
}

async fn uploads_end_as_a_blob_or_not_at_all(store: &dyn BlobStore) {
    let text = "by another name";
    for (algorithm, expected, fits) in [
        (DigestAlgorithm::Sha512, ContentDigest::sha512(text), true),
        // An algorithm that was not asked for costs one more reading.
        (DigestAlgorithm::Sha256, ContentDigest::sha512(text), true),
        (DigestAlgorithm::Sha512, Digest::of(text).into(), true),
        (DigestAlgorithm::Sha512, ContentDigest::sha512("other"), false),
        (DigestAlgorithm::Sha256, Digest::of("other").into(), false),
    ] {
        let id = UploadId::random();
        let mut upload = store.start_upload(id, algorithm).await.unwrap();
        upload.append(vec![text.into()]).await.unwrap();
        let finished = upload.finish(&expected).await;
        assert_eq!(
            finished.map(|blob| blob.digest).map_err(|error| error.kind()),
            if fits { Ok(Digest::of(text)) } else { Err(ErrorKind::Invalid) },
            "{expected}"
        );
        assert!(!store.drop_upload(id).await.unwrap());
    }
    let id = UploadId::random();
    drop(store.start_upload(id, DigestAlgorithm::Sha256).await.unwrap());
    assert!(store.drop_upload(id).await.unwrap());
    assert_eq!(store.upload_received(id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn streams(store: &dyn BlobStore) {
    let mut writer = store.writer().await.unwrap();
    let chunk = Bytes::from(vec![7; 100_000]);
    for _ in 0..30 {
        writer.write(chunk.clone()).await.unwrap();
    }
    assert_eq!(writer.written(), 3_000_000);
    let blob = writer.finish().await.unwrap();
    assert_eq!(blob.digest, Digest::of(vec![7; 3_000_000]));
    let mut read = Vec::new();
    store.open(&blob.digest).await.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read, vec![7; 3_000_000]);
    assert_eq!(streamed(store, &blob.digest, 0, u64::MAX).await.unwrap(), read);
    assert_eq!(streamed(store, &blob.digest, 2_999_999, 5).await.unwrap(), [7]);
}

async fn what_is_dropped_never_existed(store: &dyn BlobStore) {
    let before = store.list().await.unwrap();
    let mut writer = store.writer().await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(store.list().await.unwrap(), before);
    drop(writer);
    assert_eq!(store.list().await.unwrap(), before);
    assert_eq!(store.size(&Digest::of(b"half")).await.unwrap(), None);
}

async fn wrong_digests_store_nothing(store: &dyn BlobStore) {
    let expected = Digest::of(b"expected");
    for (content, fits) in [(&b"other"[..], false), (b"expected", true)] {
        let mut writer = store.writer().await.unwrap();
        writer.write(Bytes::from_static(content)).await.unwrap();
        let finished = writer.finish_as(&expected).await;
        assert_eq!(
            finished.map(|blob| blob.digest).map_err(|error| error.kind()),
            if fits { Ok(expected) } else { Err(ErrorKind::Invalid) }
        );
        assert_eq!(store.size(&Digest::of(content)).await.unwrap().is_some(), fits);
    }
}

async fn pins_keep(store: &dyn BlobStore) {
    let digest = store.put(Bytes::from_static(b"pinned")).await.unwrap().digest;
    for owner in ["deployment/a/1", "run/50%", "deployment/a/1"] {
        store.pin(&digest, owner).await.unwrap();
    }
    assert_eq!(store.pins(&digest).await.unwrap(), ["deployment/a/1", "run/50%"]);
    assert_eq!(store.pins_of("run/").await.unwrap(), [(digest, "run/50%".to_owned())]);
    assert_eq!(store.pins_of("").await.unwrap().len(), 2);
    assert!(store.pins_of("runs/").await.unwrap().is_empty());
    let error = store.delete(&digest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.chain().contains("deployment/a/1, run/50%"), "{error:?}");
    for owner in ["deployment/a/1", "run/50%", "nobody"] {
        store.unpin(&digest, owner).await.unwrap();
    }
    assert!(store.delete(&digest).await.unwrap());
    assert!(!store.delete(&digest).await.unwrap());
    assert_eq!(store.get(&digest).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.pin(&digest, "late").await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn holds_keep(store: Arc<dyn BlobStore>) {
    let digest = Digest::of(b"held");
    let before = store.hold(&digest);
    let hold = store.hold(&digest);
    store.put(Bytes::from_static(b"held")).await.unwrap();
    for hold in [before, hold] {
        assert_eq!(store.delete(&digest).await.unwrap_err().kind(), ErrorKind::Conflict);
        drop(hold);
    }
    let holding = crate::HoldingStore::new(store.clone());
    holding.put(Bytes::from_static(b"held")).await.unwrap();
    assert_eq!(store.delete(&digest).await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(holding);
    assert!(store.delete(&digest).await.unwrap());
}

async fn a_hold_on_all_keeps_all_and_knows_every_pin(store: &dyn BlobStore) {
    let digest = store.put(Bytes::from_static(b"all held")).await.unwrap().digest;
    store.pin(&digest, "before").await.unwrap();
    let (mut hold, other) = (store.hold_all(), store.hold_all());
    store.pin(&digest, "a/between").await.unwrap();
    for owner in ["before", "a/between"] {
        store.unpin(&digest, owner).await.unwrap();
    }
    let unpinned = ["before", "a/between"].map(|owner| (digest, owner.to_owned()));
    assert_eq!(hold.unpinned(), unpinned);
    assert!(hold.unpinned().is_empty(), "it is asked once");
    for hold in [hold, other] {
        assert_eq!(store.delete(&digest).await.unwrap_err().kind(), ErrorKind::Conflict);
        drop(hold);
    }
    assert!(store.delete(&digest).await.unwrap());
    assert!(store.hold_all().unpinned().is_empty());
}

async fn blobs_have_an_age(store: &dyn BlobStore) {
    let digest = store.put(Bytes::from_static(b"of an age")).await.unwrap().digest;
    assert!(!store.older_than(Duration::from_secs(600)).await.unwrap().contains(&digest));
    while !store.older_than(Duration::ZERO).await.unwrap().contains(&digest) {
        tokio::task::yield_now().await;
    }
    assert!(store.delete(&digest).await.unwrap());
    assert!(!store.older_than(Duration::ZERO).await.unwrap().contains(&digest));
}

async fn many_writers_of_one_blob(store: Arc<dyn BlobStore>) {
    let writers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.put(Bytes::from_static(b"the same")).await.unwrap().digest })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(writer.await.unwrap(), Digest::of(b"the same"));
    }
    assert_eq!(store.get(&Digest::of(b"the same")).await.unwrap(), "the same");
}

#[tokio::test]
async fn memory() {
    everything(Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn directory() {
    let dir = tempfile::tempdir().unwrap();
    everything(Arc::new(DirectoryStore::open(dir.path()).await.unwrap())).await;
    // What is there is there for the next process too, pins included.
    let first = DirectoryStore::open(dir.path()).await.unwrap();
    let blob = first.put(Bytes::from_static(b"kept")).await.unwrap();
    first.pin(&blob.digest, "me").await.unwrap();
    let second = DirectoryStore::open(dir.path()).await.unwrap();
    assert_eq!(second.get(&blob.digest).await.unwrap(), "kept");
    assert_eq!(second.pins(&blob.digest).await.unwrap(), ["me"]);
    let layout = std::fs::read_to_string(dir.path().join("oci-layout")).unwrap();
    assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
}

#[tokio::test]
async fn a_killed_write_is_swept_and_a_damaged_blob_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(dir.path()).await.unwrap();
    let blob = store.put(Bytes::from_static(b"good bytes")).await.unwrap();
    let tmp = dir.path().join("tmp");
    std::fs::write(tmp.join("left-over"), b"half a bl").unwrap();
    std::fs::write(tmp.join("uploads/stray"), b"nobody's").unwrap();
    let id = UploadId::random();
    let mut upload = store.start_upload(id, DigestAlgorithm::Sha512).await.unwrap();
    upload.append(vec!["good ".into()]).await.unwrap();
    upload.save().await.unwrap();
    drop(upload);
    let store = DirectoryStore::open(dir.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(tmp.join("uploads")).unwrap().count(), 2);
    let mut upload = store.resume_upload(id).await.unwrap();
    upload.append(vec!["bytes".into()]).await.unwrap();
    assert_eq!(upload.finish(&ContentDigest::sha512("good bytes")).await.unwrap().digest, blob.digest);

    std::fs::write(dir.path().join("blobs/sha256").join(blob.digest.hex()), b"evil bytes").unwrap();
    assert_eq!(store.get(&blob.digest).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let mut sink = Vec::new();
    let error = store.open(&blob.digest).await.unwrap().read_to_end(&mut sink).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    assert_eq!(streamed(&store, &blob.digest, 0, u64::MAX).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.verify().await.unwrap().damaged, [blob.digest]);
    assert!(store.quarantine(&blob.digest).await.unwrap() && !store.quarantine(&blob.digest).await.unwrap());
    assert_eq!(store.get(&blob.digest).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Pushing it again repairs it.
    store.put(Bytes::from_static(b"good bytes")).await.unwrap();
    assert_eq!(store.get(&blob.digest).await.unwrap(), "good bytes");
    assert!(!store.quarantine(&blob.digest).await.unwrap());
}
