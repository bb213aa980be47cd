//! What the fuzz target of `tests/fuzz` calls: it takes any bytes, and panics where something that must hold does not.

use bytes::Bytes;
use eyot_core::onnx::first_named_file;

use crate::onnx::ExternalData;
use crate::{ModelFiles, independence, onnx};

/// Everything that reads a model before a back end does. A model that names a file is never taken.
pub fn model(bytes: &[u8]) {
    let file = Bytes::copy_from_slice(bytes);
    let named = first_named_file(&file);
    let Ok(parsed) = onnx::parse_files(&ModelFiles::from(file), ExternalData::Inlined) else { return };
    assert_eq!(named, None, "a model that names a file was taken");
    let _ = onnx::signature(&parsed.proto);
    let _ = independence::prove(&parsed.proto);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/model");
        let files = std::fs::read_dir(corpus).unwrap();
        let count = files.map(|file| super::model(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(count > 0, "there is no corpus");
    }
}
