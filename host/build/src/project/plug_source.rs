//! What is linked into a component: folders that are built with it, files, and components of the registry.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_core::{Error, Reference, Result};

use super::{ComponentProject, read};
use crate::component_source::BuildProfile;

/// A component that another's manifest plugs into it.
#[derive(Clone)]
pub(super) enum PlugSource {
    /// It is built with the other.
    Folder(Box<ComponentProject>),
    /// A built component.
    File(PathBuf),
    /// A component of the registry, and its bytes once they are fetched.
    Registry(Reference, Option<Bytes>),
}

impl PlugSource {
    /// What a manifest in `dir` means by `name`.
    ///
    /// Fails with `NotFound` where a path leads nowhere, with `Invalid` where it is no component's and where
    /// the name is no reference either.
    pub(super) fn find(
        dir: &Path,
        name: &str,
        profile: BuildProfile,
        above: &mut Vec<PathBuf>,
    ) -> Result<Self> {
        if !name.starts_with(['.', '/']) {
            let reference = name.parse().map_err(|error: Error| {
                error.context("component.plug").hint(
                    "a folder or a file is a path that begins with ./ or ../, as in ./text or ./text.wasm",
                )
            })?;
            return Ok(Self::Registry(reference, None));
        }
        let path = dir.join(name);
        if path.is_dir() {
            return Ok(Self::Folder(Box::new(ComponentProject::below(&path, profile, above)?)));
        }
        if path.is_file() {
            return Ok(Self::File(path));
        }
        Err(Error::not_found(format!("component.plug: there is no {}", path.display()))
            .hint("a plug is the folder of a component, a .wasm file, or a reference in the registry"))
    }

    pub(super) fn folder(&self) -> Option<&ComponentProject> {
        match self {
            Self::Folder(project) => Some(project),
            Self::File(_) | Self::Registry(..) => None,
        }
    }

    /// What it is called, and its bytes.
    pub(super) fn wasm(&self) -> Result<(String, Bytes)> {
        Ok(match self {
            Self::Folder(project) => {
                let name = format!("{}:{}", project.source.component.name, project.source.component.version);
                (name, read(&project.artifact)?.into())
            }
            Self::File(path) => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
                (name, read(path)?.into())
            }
            Self::Registry(reference, Some(bytes)) => (reference.to_string(), bytes.clone()),
            Self::Registry(reference, None) => {
                return Err(Error::internal(format!("the plug {reference} was not fetched")));
            }
        })
    }

    /// Adds the references in it that nobody has provided yet, each once.
    pub(super) fn want(&self, wanted: &mut Vec<Reference>) {
        match self {
            Self::Folder(project) => project.plugs.iter().for_each(|plug| plug.want(wanted)),
            Self::Registry(reference, None) if !wanted.contains(reference) => wanted.push(reference.clone()),
            Self::File(_) | Self::Registry(..) => {}
        }
    }

    /// Takes the component that a reference in it stands for.
    pub(super) fn provide(&mut self, reference: &Reference, wasm: &Bytes) {
        match self {
            Self::Folder(project) => project.provide(reference, wasm),
            Self::Registry(wanted, bytes) if wanted == reference => *bytes = Some(wasm.clone()),
            Self::File(_) | Self::Registry(..) => {}
        }
    }
}
