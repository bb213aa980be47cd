//! What lies in the repository and what was built from it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A path in the repository.
pub fn path(relative: &str) -> PathBuf {
    root().join(relative)
}

/// The checkout that this runs for, as cargo says when it starts something. The one it was compiled in
/// may be another, where two share a target folder.
fn root() -> PathBuf {
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| compiled.to_owned(), PathBuf::from);
    let is_root = |folder: &&Path| folder.join("host/ARCHITECTURE.md").is_file();
    let found = running.ancestors().chain(compiled.ancestors()).find(is_root);
    found.unwrap_or(compiled).to_owned()
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

/// Python with the packages that `cargo xtask test` sets up for comparisons; `None`, and why, where it
/// has not.
pub fn python() -> Option<Command> {
    let packages = packages();
    let there = packages.join("requirements.txt").is_file();
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", packages);
    needed(there.then_some(python), "no packages to compare with: cargo xtask test sets them up")
}

/// Where `cargo xtask test` puts Python packages: beside what cargo builds.
fn packages() -> PathBuf {
    let built = crate::eyot::built();
    built.parent().unwrap_or(&built).join("python")
}

/// A program that `cargo xtask test` builds from the crates registry; `None`, and why, where it has not.
pub fn tool(name: &str) -> Option<PathBuf> {
    let built = crate::eyot::built();
    let program = built.parent().unwrap_or(&built).join("tools/bin").join(name);
    needed(program.is_file().then_some(program), &format!("no {name}: cargo xtask test builds it"))
}

/// Lets a command find componentize-py and other tools that `cargo xtask test` sets up; `None`, and why,
/// where it has not.
pub fn with_python_tools(command: &mut Command) -> Option<&mut Command> {
    let packages = packages();
    let tools = packages.join("bin");
    let there = tools.join("componentize-py").is_file();
    let before = std::env::var_os("PATH").unwrap_or_default();
    let search = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&before))).ok();
    command.env("PYTHONPATH", packages).envs(search.map(|search| ("PATH", search)));
    needed(there.then_some(command), "no componentize-py: cargo xtask test sets it up")
}

/// A program that `cargo xtask test` installs where it can; `None`, and why, where it is not.
pub fn program(name: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&search).map(|folder| folder.join(name)).find(|path| path.is_file());
    needed(found, &format!("no {name}: on Debian cargo xtask test installs it"))
}

/// Says what is missing. On a laptop the test is passed over; in CI nothing may be missing.
#[allow(clippy::print_stderr)]
pub fn needed<T>(found: Option<T>, why: &str) -> Option<T> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("ignored: {why}");
    }
    found
}
