//! Model files that were changed on their way, by a fault or on purpose: each is refused or read, and
//! none ends in a panic.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::{files, independence, onnx};

/// The files of the tests.
fn corpus() -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/onnx");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    let files: Vec<Bytes> = paths.iter().map(|path| std::fs::read(path).unwrap().into()).collect();
    // Large ones are slow to change and hold nothing that small ones do not.
    files.into_iter().filter(|file| file.len() < 64 << 10).collect()
}

/// Everything that reads a model before a back end does.
fn read(file: &Bytes) {
    let named = files::named_file(file);
    if let Ok(model) = onnx::parse(file) {
        assert_eq!(named, None, "a model that names a file was taken");
        let _ = onnx::signature(&model);
        let _ = independence::prove(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(3000)))]

    #[test]
    fn a_model_that_was_changed_is_refused_or_read(
        which in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<Index>()),
        doubled in proptest::option::of((any::<Index>(), any::<Index>())),
    ) {
        thread_local! { static CORPUS: Vec<Bytes> = corpus(); }
        let mut file = CORPUS.with(|corpus| which.get(corpus).to_vec());
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        if let Some((from, to)) = doubled {
            let (from, to) = (from.index(file.len()), to.index(file.len()));
            let piece = file[from.min(to)..from.max(to)].to_vec();
            file.splice(from..from, piece);
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        read(&file.into());
    }

    #[test]
    fn what_is_no_model_is_refused(file in vec(any::<u8>(), 0..200)) {
        read(&file.into());
    }
}
