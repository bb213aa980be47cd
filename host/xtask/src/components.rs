//! Building the components of this repository, each through `eyot build`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{output, root, say};
use crate::setup::{self, Profile};

/// Builds every folder under components/ that has an eyot.toml, into target/components/NAME.wasm.
pub(crate) fn build(profile: Profile) -> Result<()> {
    let eyot = setup::binary(profile)?;
    let into = root().join("target/components");
    std::fs::create_dir_all(&into)?;
    for folder in folders()? {
        say(&format!("building {}", folder.strip_prefix(root()).unwrap_or(&folder).display()));
        let built = output(Command::new(&eyot).args(["build", "--json"]).arg(&folder))?;
        let built: serde_json::Value = serde_json::from_str(&built).context("eyot build printed no JSON")?;
        let (name, path) = (built["name"].as_str(), built["path"].as_str());
        let (name, path) = name.zip(path).context("eyot build named no file")?;
        std::fs::copy(path, into.join(name).with_extension("wasm")).with_context(|| format!("cannot copy {path}"))?;
    }
    Ok(())
}

fn folders() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for group in ["examples", "handlers", "testing"] {
        let dir = root().join("components").join(group);
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path.join("eyot.toml").is_file() {
                folders.push(path);
            }
        }
    }
    folders.sort();
    Ok(folders)
}
