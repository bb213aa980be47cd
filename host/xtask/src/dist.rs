//! Packages that install without compiling: a stripped program, a Python wheel, a Debian package, a container file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{output, root, say};
use crate::setup::{self, BuildProfile};

const PACKAGE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// The programs that pack, each run with the program, its version and the folder, and what they make.
const PACKING_SCRIPTS: [(&str, &str); 2] =
    [("wheel.py", "a Python wheel"), ("debian.py", "a package of Debian")];
const CONTAINER_FILE: &str = "Containerfile";

/// Packs `binary`, or one that is built for this, into `folder`.
pub(crate) fn pack(binary: Option<&Path>, folder: Option<&Path>) -> Result<()> {
    let built = match binary {
        Some(binary) => binary.to_owned(),
        None => setup::binary(BuildProfile::Dist)?,
    };
    let folder = folder.map_or_else(|| root().join("target/packages"), Path::to_owned);
    // What an earlier version left would be taken for this one's.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let source = root().join("host/xtask/dist");
    let program = copy(&built, &folder.join("eyot"))?;
    let mut made = vec![program.clone()];
    for (script, what) in PACKING_SCRIPTS {
        say(&format!("packing {what}"));
        let mut packer = Command::new("python3");
        packer.arg(source.join(script)).arg(&program).arg(PACKAGE_VERSION).arg(&folder);
        made.push(PathBuf::from(output(&mut packer)?));
    }
    made.push(copy(&source.join(CONTAINER_FILE), &folder.join(CONTAINER_FILE))?);
    for file in made {
        println!("{:>11}  {}", std::fs::metadata(&file)?.len(), file.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<PathBuf> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(to.to_owned())
}
