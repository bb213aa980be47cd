//! Models as they lie on this machine: an ONNX file with the files beside it that hold its weights, or their folder.

use std::fs;
use std::path::{Path, PathBuf};

use eyot_core::{Error, Result, ResultExt as _};
use eyot_nn::{DataFile, ModelFiles, is_plain_name, map_file};
use eyot_oci::{DataPath, PushedArtifact, RegistryClient};

/// A model's files.
#[derive(Debug)]
pub(crate) struct ModelPath {
    pub(crate) onnx: PathBuf,
    /// Those that the model itself names.
    pub(crate) data: Vec<DataPath>,
}

impl ModelPath {
    /// The files of a model in ONNX.
    ///
    /// Fails with `NotFound` naming the file that the model names and that is not there, `Invalid` for one that lies
    /// anywhere but beside it.
    pub(crate) fn at(onnx: &Path) -> Result<Self> {
        let names = ModelFiles::named_in(&map_file(onnx)?);
        let folder = onnx.parent().unwrap_or(Path::new(""));
        let data = names.into_iter().map(|name| data_path(onnx, folder, name)).collect::<Result<_>>()?;
        Ok(Self { onnx: onnx.to_owned(), data })
    }

    /// The model in a folder that holds one; whatever else lies there is none of its files.
    pub(crate) fn in_folder(folder: &Path) -> Result<Option<Self>> {
        match only_onnx(folder)? {
            Some(onnx) => Self::at(&onnx).map(Some),
            None => Ok(None),
        }
    }

    /// The model in a folder that holds nothing else.
    pub(crate) fn is_folder(folder: &Path) -> Result<Option<Self>> {
        let Some(onnx) = only_onnx(folder)? else { return Ok(None) };
        let names = ModelFiles::named_in(&map_file(&onnx)?);
        let is_its = |path: &PathBuf| {
            *path == onnx || path.file_name().is_some_and(|name| names.iter().any(|known| **known == *name))
        };
        match visible(folder)?.iter().all(is_its) {
            true => Self::at(&onnx).map(Some),
            false => Ok(None),
        }
    }

    /// The files, read where they lie.
    pub(crate) fn files(&self) -> Result<ModelFiles> {
        let file =
            |DataPath { name, path }: &DataPath| Ok(DataFile { name: name.clone(), bytes: map_file(path)? });
        Ok(ModelFiles {
            onnx: map_file(&self.onnx)?,
            data: self.data.iter().map(file).collect::<Result<_>>()?,
        })
    }

    /// Pushes the model with the files beside it.
    pub(crate) async fn push(
        &self,
        registry: &RegistryClient,
        repository: &str,
        tag: Option<&str>,
    ) -> Result<PushedArtifact> {
        let name = self.onnx.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let onnx = map_file(&self.onnx)?;
        registry.push_model_files(repository, tag, (&name, onnx), &self.data).await
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> Result<u64> {
        let paths = std::iter::once(&self.onnx).chain(self.data.iter().map(|data| &data.path));
        paths
            .map(|path| Ok(fs::metadata(path).context(|| format!("cannot read {}", path.display()))?.len()))
            .sum()
    }
}

/// Whether a file is called a model.
pub(crate) fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx")
}

fn data_path(onnx: &Path, folder: &Path, name: String) -> Result<DataPath> {
    let shown: String = name.chars().take(200).collect();
    let model = onnx.display();
    if !is_plain_name(&name) {
        return Err(Error::unsupported(format!(
            "a tensor of {model} lies in another file, '{shown}', and not beside it"
        ))
        .hint("save it with its weights beside it: onnx.save(model, path, save_as_external_data=True, location=\"model.onnx.data\")"));
    }
    let path = folder.join(&name);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => Ok(DataPath { name, path }),
        Ok(found) if found.is_symlink() => {
            Err(Error::invalid(format!("{model} takes weights from '{shown}', which is a symbolic link"))
                .hint("put the file itself beside the model: cp -L copies what a link leads to"))
        }
        Ok(_) => Err(Error::invalid(format!("{model} takes weights from '{shown}', which is no file"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::not_found(format!(
            "{model} takes weights from '{shown}', and there is no such file beside it"
        ))
        .hint(format!("put '{shown}' beside the model: it was written with it"))),
        Err(error) => Err(Error::from(error).context(format!("cannot read {}", path.display()))),
    }
}

/// The only model of a folder.
fn only_onnx(folder: &Path) -> Result<Option<PathBuf>> {
    let mut models = visible(folder)?.into_iter().filter(|path| is_onnx(path) && path.is_file());
    Ok(models.next().filter(|_| models.next().is_none()))
}

/// What lies in a folder, but for what is hidden.
fn visible(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot look into {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).context(cannot)? {
        let entry = entry.context(cannot)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    Ok(found)
}
