mod onnxruntime;
mod openvino;
#[cfg(feature = "tract")]
mod tract;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eyot_core::config::{self, BackendChoice};
use eyot_core::{Error, Result};

use crate::InferenceBackend;
use crate::control::run_memory;
use crate::install::{BackendPackage, ONNXRUNTIME, OPENVINO};
use crate::memory::model_memory;

pub(crate) use onnxruntime::OnnxRuntime;
pub(crate) use openvino::OpenVino;
#[cfg(feature = "tract")]
pub(crate) use tract::TractBackend;

/// The back ends of this process, the preferred one first.
#[derive(Clone)]
pub struct BackendSet(Vec<Arc<dyn InferenceBackend>>);

impl BackendSet {
    /// Opens what is installed under `dir`, as far as `choice` wants it. tract is there in every build but the demo's.
    ///
    /// Fails when a back end is asked for by name and not installed, or installed and broken.
    pub fn open(dir: &Path, choice: BackendChoice) -> Result<Self> {
        Self::open_as(
            dir,
            &config::InferenceSettings { backend: choice, ..config::InferenceSettings::default() },
        )
    }

    /// As [`BackendSet::open`], with what the configuration says of memory.
    pub fn open_as(dir: &Path, config: &config::InferenceSettings) -> Result<Self> {
        let memory = model_memory(config).saturating_add(run_memory(config));
        let onnxruntime =
            |library: PathBuf| Ok::<Arc<dyn InferenceBackend>, Error>(OnnxRuntime::open(&library, memory)?);
        let openvino = |library: PathBuf| -> Arc<dyn InferenceBackend> { OpenVino::new(&library) };
        Ok(Self(match config.backend {
            BackendChoice::Tract => vec![compiled_in().ok_or_else(no_tract)?],
            BackendChoice::Onnxruntime => vec![onnxruntime(needed(&ONNXRUNTIME, dir)?)?],
            BackendChoice::Openvino => vec![openvino(needed(&OPENVINO, dir)?)],
            BackendChoice::Auto => {
                let onnxruntime = ONNXRUNTIME.installed(dir).map(onnxruntime).transpose()?;
                let openvino = OPENVINO.installed(dir).map(openvino);
                let found: Vec<_> = onnxruntime.into_iter().chain(openvino).chain(compiled_in()).collect();
                if found.is_empty() {
                    return Err(no_tract());
                }
                found
            }
        }))
    }

    /// Each of them, the preferred one first.
    pub fn list(&self) -> &[Arc<dyn InferenceBackend>] {
        &self.0
    }

    /// Names and versions: what the bytes that an inference gives can depend on.
    pub fn semantics(&self) -> String {
        let names: Vec<_> =
            self.0.iter().map(|backend| format!("{}/{}", backend.name(), backend.version())).collect();
        names.join(" ")
    }
}

/// The back end that is part of this build.
fn compiled_in() -> Option<Arc<dyn InferenceBackend>> {
    #[cfg(feature = "tract")]
    return Some(Arc::new(TractBackend));
    #[cfg(not(feature = "tract"))]
    None
}

fn no_tract() -> Error {
    Error::unavailable("this build of eyot has no tract, and no other back end is installed").hint(
        "eyot backend install onnxruntime; or build with the feature tract, as cargo build --release does",
    )
}

fn needed(package: &BackendPackage, dir: &Path) -> Result<PathBuf> {
    package.installed(dir).ok_or_else(|| {
        let BackendPackage { name, version, .. } = package;
        Error::unavailable(format!("{name} {version} is not installed in {}", dir.display()))
            .hint(package.hint())
    })
}
