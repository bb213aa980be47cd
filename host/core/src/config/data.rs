use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ByteCount;

/// Where things are on disk, and how much of it guests may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DataSettings {
    /// The folder of all state: database, blobs, caches.
    pub dir: PathBuf,
    /// The folder of installed back ends such as ONNX Runtime; shared by all data folders of a user.
    pub backends: PathBuf,
    /// The folder of compilers that `eyot build` installs for languages; shared by all data folders of a user.
    pub tools: PathBuf,
    /// Bytes of the disk of `dir` that blobs, key-value stores and databases of components leave free, so that
    /// the server can still deploy, collect and start. 0 is a twentieth of the disk, within 8 MiB and 256 MiB.
    pub reserve: ByteCount,
    /// Bytes that the key-value stores of a project may take together.
    pub key_values: ByteCount,
    /// Bytes that one SQLite database of a component may take.
    pub database: ByteCount,
}

impl Default for DataSettings {
    fn default() -> Self {
        let home = data_home();
        Self {
            dir: home.join("data"),
            backends: home.join("backends"),
            tools: home.join("tools"),
            reserve: ByteCount(0),
            key_values: ByteCount(1 << 30),
            database: ByteCount(1 << 30),
        }
    }
}

/// `$XDG_DATA_HOME/eyot`, or `~/.local/share/eyot`, or `.eyot` where there is no home.
fn data_home() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from(".eyot"), |base| base.join("eyot"))
}
