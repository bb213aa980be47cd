//! Building the components of this repository, each through `eyot build`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{cargo, root, run, say};
use crate::setup::{self, BuildProfile};

/// The guests that are modules of preview 1, as other compilers make them: their packages, what is built of them, and
/// the names that those get.
const PREVIEW_1_GUESTS: &[(&str, &[(&str, &str)])] = &[
    ("testing-nn1", &[("testing_nn1", "testing-nn1"), ("testing-nn1-program", "testing-nn1-program")]),
    ("testing-program", &[("testing-program", "testing-program1")]),
];

/// Builds every folder under components/ with an eyot.toml for Rust, into target/components/NAME.wasm. Those in
/// other languages want hundreds of megabytes of tools: the tests build them.
pub(crate) fn build(profile: BuildProfile) -> Result<()> {
    build_folders(profile, &folders()?)?;
    preview_1()
}

/// Builds some folders of components/.
pub(crate) fn build_folders(profile: BuildProfile, folders: &[PathBuf]) -> Result<()> {
    say(&format!("building {} components into target/components", folders.len()));
    let mut build = Command::new(setup::built(profile, "eyot")?);
    build.arg("build").args(folders).arg("--out").arg(output_folder());
    run(build.env("CARGO_TARGET_DIR", target()))
}

fn output_folder() -> PathBuf {
    root().join("target/components")
}

/// Modules are built with plain cargo: what is pushed as a module must be one that Eyot had no hand in.
fn preview_1() -> Result<()> {
    if !setup::has_target(setup::PREVIEW_1_TARGET)? {
        say("modules of preview 1 are not built: rustup has no target for them");
        return Ok(());
    }
    let mut build = cargo();
    build.args(["build", "--locked", "--release", "--target", setup::PREVIEW_1_TARGET]);
    PREVIEW_1_GUESTS.iter().for_each(|(package, _)| {
        build.args(["--package", package]);
    });
    run(build.current_dir(root().join("components")).env("CARGO_TARGET_DIR", target()))?;
    for (file, name) in PREVIEW_1_GUESTS.iter().flat_map(|(_, files)| *files) {
        let built = target().join(setup::PREVIEW_1_TARGET).join("release").join(file).with_extension("wasm");
        let copy = output_folder().join(name).with_extension("wasm");
        std::fs::copy(&built, &copy).with_context(|| format!("cannot copy {}", built.display()))?;
    }
    Ok(())
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
