//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The root of the repository: of the checkout that cargo runs this for, which is not the one it was
/// compiled in where two share a target folder.
pub(crate) fn root() -> PathBuf {
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    let running = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| compiled.to_owned(), PathBuf::from);
    running.ancestors().nth(2).unwrap_or(compiled).to_owned()
}

/// Where cargo puts what it builds here.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version=1"]).current_dir(root()))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("cargo metadata cannot be read")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata has no target_directory")?;
    Ok(PathBuf::from(target))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What cargo tells this program of itself. Build scripts that look at such names, ring's for one, would
    // run again, and with them all that is built on them, whenever cargo is run the other way.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars().map(|(name, _)| name).filter(|name| own(name)).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Runs a program whose output the user sees; fails with its name and status.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{} cannot be run", name(command)))?;
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", name(command)) }
}

/// Runs a program for what it prints; fails with what it says.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("{} cannot be run", name(command)))?;
    if !done.status.success() {
        bail!(
            "{} ended with {}: {}",
            name(command),
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.take(5).map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Says what is being done, and why.
pub(crate) fn say(text: &str) {
    eprintln!("==> {text}");
}
