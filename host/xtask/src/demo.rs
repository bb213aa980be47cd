//! The demo: builds what it needs, then runs the program in `tests/demo`.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{root, run, say};
use crate::setup::{self, Profile};

pub(crate) fn run_demo(profile: Profile, fresh: bool) -> Result<()> {
    setup::run(profile)?;
    crate::components::build(profile)?;
    let data = root().join("target/demo");
    if fresh && data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    say("training, registering, deploying and predicting with the binary that was just built");
    run(Command::new(setup::built(profile, "demo")?).arg(data))
}
