//! Building the components of this repository, each through `eyot build`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{root, run, say};
use crate::setup::{self, Profile};

/// Builds every folder under components/ with an eyot.toml for Rust, into target/components/NAME.wasm. Those in
/// other languages want hundreds of megabytes of tools: the tests build them.
pub(crate) fn build(profile: Profile) -> Result<()> {
    let folders = folders()?;
    say(&format!("building {} components into target/components", folders.len()));
    let eyot = setup::built(profile, "eyot")?;
    let into = root().join("target/components");
    run(Command::new(eyot)
        .arg("build")
        .args(folders)
        .arg("--out")
        .arg(into)
        .env("CARGO_TARGET_DIR", target()))
}

/// Where guests are built. Not in the host's own target, since cargo locks a target while it builds, and
/// in this checkout: the guests' macros hold the path of its contracts, and must not meet another's.
pub(crate) fn target() -> PathBuf {
    root().join("target/guests")
}

fn folders() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for group in ["examples", "handlers", "testing"] {
        let dir = root().join("components").join(group);
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            let manifest = std::fs::read_to_string(path.join("eyot.toml"));
            if manifest.is_ok_and(|manifest| manifest.contains("language = \"rust\"")) {
                folders.push(path);
            }
        }
    }
    folders.sort();
    Ok(folders)
}
