//! One component as its language's tool sees it.

use std::path::{Path, PathBuf};

use eyot_core::config::ComponentSettings;

/// How a component is compiled, where its language makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildProfile {
    /// To run fast.
    Release,
    /// To be built fast.
    Dev,
}

/// A component's folder, and where its language's tool puts what it makes of it. What is linked into it is no matter of
/// that tool.
#[derive(Clone)]
pub(crate) struct ComponentSource {
    pub(crate) dir: PathBuf,
    pub(crate) component: ComponentSettings,
    pub(crate) profile: BuildProfile,
    /// What the tool makes.
    pub(crate) artifact: PathBuf,
}

impl ComponentSource {
    /// Where tools write what they need on the way.
    pub(crate) fn work_dir(&self) -> &Path {
        self.artifact.parent().unwrap_or(&self.dir)
    }
}
