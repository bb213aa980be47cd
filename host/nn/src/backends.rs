mod onnxruntime;
mod tract;

use std::path::Path;
use std::sync::Arc;

use eyot_core::config::BackendChoice;
use eyot_core::{Error, Result};

use crate::{Backend, install};

pub(crate) use onnxruntime::OnnxRuntime;
pub(crate) use tract::Tract;

/// The back ends of this process, the preferred one first.
#[derive(Clone)]
pub struct Backends(Vec<Arc<dyn Backend>>);

impl Backends {
    /// Opens what is installed under `dir`, as far as `choice` wants it. tract is always there.
    ///
    /// Fails when ONNX Runtime is asked for by name and not installed, or installed and broken.
    pub fn open(dir: &Path, choice: BackendChoice) -> Result<Self> {
        let tract: Arc<dyn Backend> = Arc::new(Tract);
        match choice {
            BackendChoice::Tract => Ok(Self(vec![tract])),
            BackendChoice::Onnxruntime => {
                let library = install::installed(dir).ok_or_else(|| {
                    Error::unavailable(format!(
                        "onnxruntime {} is not installed in {}",
                        install::VERSION,
                        dir.display()
                    ))
                    .hint("eyot backend install onnxruntime")
                })?;
                Ok(Self(vec![OnnxRuntime::open(&library)?]))
            }
            BackendChoice::Auto => match install::installed(dir) {
                Some(library) => Ok(Self(vec![OnnxRuntime::open(&library)?, tract])),
                None => Ok(Self(vec![tract])),
            },
        }
    }

    /// Each of them, the preferred one first.
    pub fn list(&self) -> &[Arc<dyn Backend>] {
        &self.0
    }

    /// Names and versions: what the bytes that an inference gives can depend on.
    pub fn semantics(&self) -> String {
        let names: Vec<_> =
            self.0.iter().map(|backend| format!("{}/{}", backend.name(), backend.version())).collect();
        names.join(" ")
    }
}
