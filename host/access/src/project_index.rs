//! Which projects there are, for whoever has to know it at every request.

use std::collections::BTreeSet;
use std::sync::Arc;

use eyot_core::{Error, ProjectName};
use parking_lot::RwLock;

/// The names of all projects, as they are now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProjectIndex(pub(crate) Arc<RwLock<BTreeSet<ProjectName>>>);

impl ProjectIndex {
    /// The project of a repository: that which its first segment names, if more follows, else `default`.
    pub(crate) fn project_of(&self, repository: &str) -> ProjectName {
        let first = repository.split_once('/').map(|(first, _)| first);
        let projects = self.0.read();
        first.and_then(|first| projects.get(first).cloned()).unwrap_or_default()
    }

    pub(crate) fn contains(&self, project: &ProjectName) -> bool {
        project.is_default() || self.0.read().contains(project)
    }
}

/// What is answered for a project that is not there, and for one that the caller has no part in.
pub(crate) fn no_project(project: &ProjectName) -> Error {
    Error::not_found(format!("there is no project '{project}'")).hint("eyot project ls lists yours")
}
