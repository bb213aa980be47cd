//! Compiled components on disk: `<component digest>-<engine>.cwasm`.
//!
//! A compiled component is machine code, and what is wrong with it may do anything. So it never comes from outside:
//! this folder is made readable to its owner only, an entry is keyed by everything that shaped it, and it ends with
//! a seal over its name and every byte before, made with the key of this folder, which lies beside it. An entry that is damaged, cut short,
//! renamed or written by somebody else has no such seal; it is thrown away and compiled again, as is one that
//! another version or configuration of wasmtime wrote.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use eyot_core::{Digest, Error, Result, ResultExt};
use wasmtime::component::Component;

use crate::seal::{SEAL_BYTES, SealKey};

pub(crate) struct CodeCache {
    dir: PathBuf,
    key: SealKey,
}

impl CodeCache {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let unusable = || format!("cannot create the folder of compiled components {}", dir.display());
        builder.create(dir).context(unusable)?;
        let key = SealKey::open(&dir.with_extension("key")).context(unusable)?;
        Ok(Self { dir: dir.to_owned(), key })
    }

    fn path(&self, engine: &wasmtime::Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.dir.join(format!("{}-{:016x}.cwasm", digest.hex(), hasher.finish()))
    }

    /// The compiled component, if it is here as it was written and this engine takes it.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest);
        let loaded = match self.key.is_sealed(&path) {
            Ok(true) => {
                // SAFETY: the file ends with a seal that only `store` below can have made, over this name and
                // all that is in it, in a folder that only this user can write.
                unsafe { Component::deserialize_file(engine, &path) }.map_err(|error| format!("{error:#}"))
            }
            Ok(false) => Err("it is not as it was written".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => Err(error.to_string()),
        };
        let loaded = loaded.inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "a compiled component is thrown away and compiled anew");
            // Where it cannot be removed, the next one takes its place all the same.
            let _ = std::fs::remove_file(&path);
        });
        loaded.ok()
    }

    /// Keeps a compiled component. Failing to is no failure of the caller's: the next start compiles.
    pub(crate) fn store(&self, engine: &wasmtime::Engine, digest: &Digest, component: &Component) {
        if let Err(error) = self.write(engine, digest, component) {
            tracing::warn!(%digest, error = %error.chain(), "a compiled component could not be kept on disk");
        }
    }

    fn write(&self, engine: &wasmtime::Engine, digest: &Digest, component: &Component) -> Result<()> {
        let code = component.serialize().map_err(|error| Error::internal(format!("{error:#}")))?;
        let path = self.path(engine, digest);
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&code)?;
        let seal: [u8; SEAL_BYTES] = self.key.seal(&path, file.as_file(), code.len() as u64)?;
        file.write_all(&seal)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_not_as_it_was_written_is_compiled_again() {
        let dir = tempfile::tempdir().unwrap();
        let engine = wasmtime::Engine::default();
        let text = r#"(component (core module (func (export "f") (result i32) i32.const 7)))"#;
        let component = Component::new(&engine, text).unwrap();
        let (digest, other) = (Digest::of(text), Digest::of("other"));
        let cache = CodeCache::open(&dir.path().join("compiled")).unwrap();
        let path = cache.path(&engine, &digest);
        assert!(cache.load(&engine, &digest).is_none());
        cache.store(&engine, &digest, &component);
        // The key outlives the process.
        let cache = CodeCache::open(&dir.path().join("compiled")).unwrap();
        assert!(cache.load(&engine, &digest).is_some());
        let whole = std::fs::read(&path).unwrap();
        let flipped = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let middle = whole.len() / 2;
        for damaged in [
            flipped(0),
            flipped(40),
            flipped(middle),
            flipped(whole.len() - SEAL_BYTES - 1),
            flipped(whole.len() - 1),
            whole[..middle].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            [whole.clone(), vec![0]].concat(),
            whole[..SEAL_BYTES].to_vec(),
            vec![],
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert!(cache.load(&engine, &digest).is_none());
            assert!(!path.exists(), "it is thrown away");
        }
        // Another component's code under this name.
        std::fs::write(cache.path(&engine, &other), &whole).unwrap();
        assert!(cache.load(&engine, &other).is_none());
        // Another folder's.
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = CodeCache::open(&elsewhere.path().join("compiled")).unwrap();
        std::fs::write(stranger.path(&engine, &digest), &whole).unwrap();
        assert!(stranger.load(&engine, &digest).is_none());
        std::fs::write(&path, &whole).unwrap();
        assert!(cache.load(&engine, &digest).is_some());
    }
}
