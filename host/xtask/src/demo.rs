//! The demo: builds what it needs, then runs the program in `tests/demo`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{root, run, say};
use crate::setup::{self, BuildProfile};

/// What was pushed into the demo's data folder. A version in the registry never becomes something else,
/// so components that were built anew from other sources need a fresh folder.
const PUSHED_COMPONENTS: &str = "components.bin";
/// The components that the demo runs: their names, and their folders.
const COMPONENTS: [(&str, &str); 2] =
    [("digits-steps", "components/examples/digits"), ("digits-image", "components/handlers/digits-image")];

fn components() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, _) in COMPONENTS {
        let file = root().join("target/components").join(name).with_extension("wasm");
        bytes.extend(std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(bytes)
}

fn components_changed(data: &Path) -> Result<bool> {
    let changed = std::fs::read(data.join(PUSHED_COMPONENTS)).ok() != Some(components()?);
    if changed {
        say("the components have changed since the last demo: starting with an empty data folder");
    }
    Ok(changed)
}

pub(crate) fn run_demo(profile: BuildProfile, fresh: bool) -> Result<()> {
    setup::demo(profile)?;
    crate::components::build_folders(profile, &COMPONENTS.map(|(_, folder)| root().join(folder)))?;
    // Not target/demo: cargo puts there what it compiles with the profile of that name.
    let data = root().join("target/demo-data");
    if data.exists() && (fresh || components_changed(&data)?) {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    std::fs::create_dir_all(&data)?;
    std::fs::write(data.join(PUSHED_COMPONENTS), components()?)?;
    say("training, registering, deploying and predicting with the binary that was just built");
    if profile == BuildProfile::Demo {
        say(
            "it is hardly optimised, so that it is built quickly; cargo xtask bench measures the release build",
        );
    }
    run(Command::new(setup::built(profile, "demo")?).arg(data))
}
