//! What lies in the repository and what was built from it.

use std::path::{Path, PathBuf};

/// A path in the repository.
pub fn path(relative: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).join(relative)
}

/// An ONNX file of `tests/fixtures/onnx`.
pub fn fixture(name: &str) -> PathBuf {
    path("tests/fixtures/onnx").join(name).with_extension("onnx")
}

/// A component that `cargo xtask components` built; `None`, and why, where it did not.
pub fn component(name: &str) -> Option<PathBuf> {
    let built = path("target/components").join(name).with_extension("wasm");
    needed(
        built.is_file().then_some(built),
        &format!("component {name} is not built: cargo xtask components"),
    )
}

/// The Python that `cargo xtask test` sets up for comparisons; `None`, and why, where it is not.
pub fn python() -> Option<PathBuf> {
    let python = path("target/python/bin/python");
    needed(python.is_file().then_some(python), "no Python to compare with: cargo xtask test sets it up")
}

/// Says what is missing. On a laptop the test is passed over; in CI nothing may be missing.
#[allow(clippy::print_stderr)]
fn needed(found: Option<PathBuf>, why: &str) -> Option<PathBuf> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("ignored: {why}");
    }
    found
}
