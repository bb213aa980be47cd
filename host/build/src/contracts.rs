//! The contracts of `wit/`, carried in the binary: tools of other languages read them from files.

use std::path::Path;

use eyot_core::{Result, ResultExt};

macro_rules! files {
    ($($path:literal,)*) => { &[$(($path, include_str!(concat!("../../../wit/", $path))),)*] };
}

/// The package eyot:ml.
const OWN_FILES: &[(&str, &str)] = files![
    "artifacts.wit",
    "handler-async.wit",
    "handler.wit",
    "models-async.wit",
    "models.wit",
    "serving.wit",
    "tracking.wit",
    "types.wit",
    "worlds.wit",
];
/// The packages it stands on.
const DEPENDENCY_FILES: &[(&str, &str)] = files![
    "deps/fermyon-spin-2.0.0/spin.wit",
    "deps/spin-key-value-3.0.0/key-value.wit",
    "deps/spin-sqlite-3.1.0/sqlite.wit",
    "deps/spin-variables-3.0.0/variables.wit",
    "deps/wasi-cli-0.2.12/cli.wit",
    "deps/wasi-clocks-0.2.12/clocks.wit",
    "deps/wasi-config-0.2.0-draft-2024-09-27/config.wit",
    "deps/wasi-config-0.2.0-rc.1/config.wit",
    "deps/wasi-filesystem-0.2.12/filesystem.wit",
    "deps/wasi-http-0.2.12/http.wit",
    "deps/wasi-io-0.2.12/io.wit",
    "deps/wasi-keyvalue-0.2.0-draft2/keyvalue.wit",
    "deps/wasi-logging-0.1.0-draft/logging.wit",
    "deps/wasi-nn-0.2.0-rc-2024-10-28/nn.wit",
    "deps/wasi-random-0.2.12/random.wit",
    "deps/wasi-sockets-0.2.12/sockets.wit",
];

/// The version of WASI in `wit/deps`.
pub(crate) const WASI_VERSION: &str = "0.2.12";

/// Writes a folder of WIT: the text of a component's own package, and all contracts as its dependencies.
pub(crate) fn write(dir: &Path, component: &str) -> Result<()> {
    write_for(dir, component, WASI_VERSION)
}

/// The same under the names of another WASI 0.2: a tool may know only those that it was built with.
pub(crate) fn write_for(dir: &Path, component: &str, wasi: &str) -> Result<()> {
    file(&dir.join("component.wit"), component)?;
    // Not every tool can read what is asynchronous: only who wants it gets it. Such are Spin's contracts, and
    // the world that names them.
    let spins = component.contains("spin:") || component.contains("fermyon:spin/");
    let waits_not = component.contains("-async@");
    let wanted = |path: &str| match path {
        "serving.wit" => spins,
        path if path.starts_with("deps/spin-") || path.starts_with("deps/fermyon-spin-") => spins,
        path => waits_not || !path.ends_with("-async.wit"),
    };
    for (path, text) in OWN_FILES.iter().filter(|(path, _)| wanted(path)) {
        file(&dir.join("deps/eyot-ml").join(path), text)?;
    }
    let mut deps = DEPENDENCY_FILES.iter().filter(|(path, _)| wanted(path));
    deps.try_for_each(|(path, text)| file(&dir.join(path), &text.replace(WASI_VERSION, wasi)))
}

/// Writes the folder `wit/` as it is.
pub(crate) fn own(dir: &Path) -> Result<()> {
    OWN_FILES.iter().chain(DEPENDENCY_FILES).try_for_each(|(path, text)| file(&dir.join(path), text))
}

/// Writes a file and the folders above it.
pub(crate) fn file(path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).context(cannot)?;
    std::fs::write(path, text).context(cannot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_contract_is_carried() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (mut folders, mut found) = (vec![root.clone()], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.extension() {
                    _ if path.is_dir() => folders.push(path),
                    Some(extension) if extension == "wit" => {
                        found.insert(path.strip_prefix(&root).unwrap().to_owned());
                    }
                    _ => {}
                }
            }
        }
        let carried: BTreeSet<PathBuf> =
            OWN_FILES.iter().chain(DEPENDENCY_FILES).map(|(path, _)| PathBuf::from(path)).collect();
        assert_eq!(carried, found);
    }
}
