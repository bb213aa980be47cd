//! Compiled components on disk: `<component digest>-<engine>.cwasm`.
//!
//! A compiled component is machine code and trusted as such, so it never comes from outside: this
//! folder is made readable to its owner only, and an entry is keyed by everything that shaped it.
//! wasmtime refuses an entry that another version or configuration wrote; it is compiled again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use eyot_core::{Digest, Result, ResultExt};
use wasmtime::component::Component;

pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(dir)
            .context(|| format!("cannot create the folder of compiled components {}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, engine: &wasmtime::Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.dir.join(format!("{}-{:016x}.cwasm", digest.hex(), hasher.finish()))
    }

    /// The compiled component, if it is here and this engine takes it.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest);
        if !path.exists() {
            return None;
        }
        // SAFETY: the file was written by `store` below, into a folder that only this user can write,
        // and renamed into place only when complete.
        let loaded = unsafe { Component::deserialize_file(engine, &path) };
        loaded
            .inspect_err(
                |error| tracing::warn!(path = %path.display(), %error, "compiled component is compiled anew"),
            )
            .ok()
    }

    /// Keeps a compiled component. Failing to is no failure of the caller's: the next start compiles.
    pub(crate) fn store(&self, engine: &wasmtime::Engine, digest: &Digest, component: &Component) {
        let written = component
            .serialize()
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(|code| {
                let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
                file.write_all(&code)?;
                file.persist(self.path(engine, digest)).map_err(|error| error.error)
            });
        if let Err(error) = written {
            tracing::warn!(%digest, %error, "a compiled component could not be kept on disk");
        }
    }
}
