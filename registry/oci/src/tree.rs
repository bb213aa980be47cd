//! The files that a manifest holds, by path: those of a data set, which its config lists, or the layers of
//! anything else that have a name.

use std::collections::BTreeMap;

use eyot_core::{Digest, Error, Result};
use eyot_store::ContentDigest;
use serde::{Deserialize, Serialize};

use crate::manifest::{Descriptor, FILE_PATH_ANNOTATION, Manifest, TITLE_ANNOTATION};

/// The media type of a data set's config.
pub(crate) const TREE_TYPE: &str = "application/vnd.eyot.tree.v1+json";
const TREE_VERSION: u32 = 1;
/// The largest list of files that is read.
const MAX_TREE_BYTES: u64 = 4 << 20;

/// Files by path. A newer Eyot may have added fields, which are ignored; another version is another meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileTree {
    version: u32,
    pub(crate) files: BTreeMap<String, FileEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) digest: Digest,
    /// Its bytes.
    pub(crate) size: u64,
}

impl Default for FileTree {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl FileTree {
    pub(crate) fn new(files: BTreeMap<String, FileEntry>) -> Self {
        Self { version: TREE_VERSION, files }
    }

    /// The config that lists a manifest's files, where the manifest itself does not.
    pub(crate) fn config(manifest: &Manifest) -> Option<ContentDigest> {
        let config = manifest.config.as_ref()?;
        (config.media_type == TREE_TYPE && config.size <= MAX_TREE_BYTES).then_some(config.digest)
    }

    /// The files of a manifest. `config` is what [`FileTree::config`] asked for.
    pub(crate) fn of(manifest: &Manifest, config: Option<&[u8]>) -> Result<Self> {
        let Some(config) = config else { return Self::named(&manifest.layers) };
        let tree: Self = serde_json::from_slice(config)
            .map_err(|error| Error::invalid("the tree of files cannot be read").because(error))?;
        if tree.version != TREE_VERSION {
            return Err(Error::unsupported(format!(
                "a newer Eyot wrote this tree of files: it has version {}, and {TREE_VERSION} is known here",
                tree.version
            ))
            .hint("run the version that wrote it; eyot version says which this is"));
        }
        Ok(tree)
    }

    fn named(layers: &[Descriptor]) -> Result<Self> {
        let mut files = BTreeMap::new();
        for layer in layers {
            let name = [FILE_PATH_ANNOTATION, TITLE_ANNOTATION]
                .into_iter()
                .find_map(|key| layer.annotations.get(key));
            let (Some(name), ContentDigest::Sha256(digest)) = (name, layer.digest) else { continue };
            if files.insert(name.clone(), FileEntry { digest, size: layer.size }).is_some() {
                return Err(Error::invalid(format!("two layers are called '{name}'")));
            }
        }
        Ok(Self::new(files))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    /// A manifest whose config is a tree.
    fn data_set() -> Manifest {
        let config = crate::manifest::descriptor(TREE_TYPE, b"", None);
        Manifest::parse(
            &serde_json::to_vec(&serde_json::json!({ "schemaVersion": 2, "config": config })).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn trees_of_this_version_are_read_with_fields_of_later_ones() {
        let golden = include_str!("tree/file-tree-1.json");
        let tree = FileTree::of(&data_set(), Some(golden.as_bytes())).unwrap();
        assert_eq!((tree.files.len(), tree.files["b/c.csv"].size), (2, 5));
        assert_eq!(serde_json::to_string(&tree).unwrap(), golden.trim_end());
        let with_more = golden.replace("\"size\":3", "\"size\":3,\"mode\":420");
        let with_more = with_more.replace("{\"version\"", "{\"license\":\"MIT\",\"version\"");
        assert_eq!(FileTree::of(&data_set(), Some(with_more.as_bytes())).unwrap(), tree);
        for (text, kind) in [
            (golden.replace("\"version\":1", "\"version\":2"), ErrorKind::Unsupported),
            (golden.replace("\"version\":1", "\"version\":\"1\""), ErrorKind::Invalid),
            (golden.replace("\"size\":3", "\"bytes\":3"), ErrorKind::Invalid),
        ] {
            assert_eq!(FileTree::of(&data_set(), Some(text.as_bytes())).unwrap_err().kind(), kind, "{text}");
        }
    }
}
