//! What the fuzz target of `tests/fuzz` calls: it takes any bytes, and panics where something that must hold does not.

use crate::{
    ComponentDescription, Composition, WasmContent, component_names, custom_sections, function_docs,
    outer_names, producers, world_text,
};

/// Everything that reads a component or module. Nothing finds more parts than there are bytes, but that of no bytes the
/// one part may be that they cannot be read.
pub fn component(bytes: &[u8]) {
    let _ = (WasmContent::read(bytes), component_names(bytes), ComponentDescription::read(bytes));
    let _ = (world_text(bytes), function_docs(bytes), Composition::read(bytes));
    let counts = [outer_names(bytes).count(), producers(bytes).count(), custom_sections(bytes).count()];
    assert!(counts.iter().all(|count| *count <= bytes.len().max(1)), "{counts:?} of {}", bytes.len());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    /// What was found by chance once, and what it began with, is tried in every run.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/component");
        let files = std::fs::read_dir(corpus).unwrap();
        let count = files.map(|file| super::component(&std::fs::read(file.unwrap().path()).unwrap())).count();
        assert!(count > 0, "there is no corpus");
    }
}
