//! What is linked into a component: folders that are built with it, files, and components of the registry.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_api::Client;
use eyot_core::{Error, Reference, Result};

use super::{Profile, Project, read};

/// A component that another's manifest plugs into it.
#[derive(Clone)]
pub(crate) enum Plug {
    /// It is built with the other.
    Folder(Box<Project>),
    /// A built component.
    File(PathBuf),
    /// A component of the registry, and its bytes once they are fetched.
    Registry(Reference, Option<Bytes>),
}

impl Plug {
    /// What a manifest in `dir` means by `name`.
    ///
    /// Fails with `NotFound` where a path leads nowhere, with `Invalid` where it is no component's and where
    /// the name is no reference either.
    pub(super) fn find(dir: &Path, name: &str, profile: Profile, above: &mut Vec<PathBuf>) -> Result<Self> {
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
            return Ok(Self::Folder(Box::new(Project::below(&path, profile, above)?)));
        }
        if path.is_file() {
            return Ok(Self::File(path));
        }
        Err(Error::not_found(format!("component.plug: there is no {}", path.display()))
            .hint("a plug is the folder of a component, a .wasm file, or a reference in the registry"))
    }

    pub(super) fn folder(&self) -> Option<&Project> {
        match self {
            Self::Folder(project) => Some(project),
            Self::File(_) | Self::Registry(..) => None,
        }
    }

    /// What it is called, and its bytes.
    pub(super) fn wasm(&self) -> Result<(String, Bytes)> {
        Ok(match self {
            Self::Folder(project) => {
                let name = format!("{}:{}", project.component.name, project.component.version);
                (name, read(&project.into)?.into())
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

    /// The references in it that are not fetched yet.
    fn wanted<'a>(&'a mut self, all: &mut Vec<(&'a Reference, &'a mut Option<Bytes>)>) {
        match self {
            Self::Folder(project) => project.plugs.iter_mut().for_each(|plug| plug.wanted(all)),
            Self::Registry(reference, bytes) if bytes.is_none() => all.push((reference, bytes)),
            Self::File(_) | Self::Registry(..) => {}
        }
    }
}

impl Project {
    /// Whether something of the registry is linked into it.
    pub(crate) fn needs_registry(&self) -> bool {
        self.plugs.iter().any(|plug| match plug {
            Plug::Folder(project) => project.needs_registry(),
            Plug::Registry(..) => true,
            Plug::File(_) => false,
        })
    }
}

/// Fetches what is linked into projects from the registry.
///
/// Fails with `NotFound` where there is no such component.
pub(crate) async fn fetch(projects: &mut [Project], client: &Client) -> Result<()> {
    let mut wanted = Vec::new();
    for plug in projects.iter_mut().flat_map(|project| &mut project.plugs) {
        plug.wanted(&mut wanted);
    }
    for (reference, bytes) in wanted {
        let resolved = client.resolve(&reference.to_string()).await?;
        *bytes = Some(client.registry().pull_blob(&resolved.repository, &resolved.content).await?);
    }
    Ok(())
}
