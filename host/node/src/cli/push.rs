use std::path::{Path, PathBuf};

use clap::Args;
use eyot_build::{BuildProfile, component_artifact, component_manifest};
use eyot_core::{Error, Reference, Result, ResultExt, Selector};
use eyot_oci::{PrivateKey, PushedArtifact, RegistryClient};

use crate::cli::{GlobalOptions, sign};
use crate::model_path::ModelPath;
use crate::output::{CommandOutput, size};
use crate::session::ApiSession;
use crate::{grants, keys};

/// Pushes a component, a model or a data set into the registry.
///
/// PATH is a .wasm component, an .onnx model, or the folder of a component with an eyot.toml, whose
/// build result is pushed under the name and version that the file says. Weights that a model has in files
/// beside it (model.onnx.data) are pushed with it; its folder may be named, too. Any other folder is a data set:
/// of it only what changed since an earlier version is sent.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot push target/scorer.wasm --as acme/scorer:1.0.0\n  eyot push iris.onnx\n  \
    eyot push bert/model.onnx --as acme/bert:1\n  \
    eyot push components/handlers/digits-image\n  eyot push rows/ --as acme/rows:2 --since acme/rows:1"
)]
pub(crate) struct PushCommand {
    /// A file, or the folder of a component.
    path: PathBuf,
    /// Repository and tag [default: eyot.toml's, or the file's name with the tag latest].
    #[arg(long = "as", value_name = "NAME:TAG")]
    reference: Option<Reference>,
    /// Signs it with this private key before the tag names it.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The earlier version of a data set [default: what the tag names now].
    #[arg(long, value_name = "NAME:TAG")]
    since: Option<Reference>,
}

impl PushCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        let key = self.key.as_deref().map(keys::read_private).transpose()?;
        let session = ApiSession::open(global).await?;
        let (file, named) = if self.path.is_dir() && !self.path.join("eyot.toml").is_file() {
            match ModelPath::is_folder(&self.path)? {
                Some(model) => (model.onnx, Some(default_reference(&self.path)?)),
                None => return self.dataset(&session, key.as_ref(), output).await,
            }
        } else {
            locate(&self.path)?
        };
        let reference = self.reference.or(named);
        let declared = match self.path.join("eyot.toml").is_file() {
            true => component_manifest(&self.path)?.grants.models.names(),
            false => grants::of_build(&file)?.0.models.names(),
        };
        let pushed = push_file(&session, &file, reference, &declared, key.as_ref(), output).await?;
        output.result(&pushed, |_| {
            let tag = pushed.tag.as_deref().map_or_else(String::new, |tag| format!(":{tag}"));
            format!("{}{tag}@{}\n{}", pushed.repository, pushed.digest, size(pushed.size))
        })
    }
}

impl PushCommand {
    async fn dataset(
        self,
        session: &ApiSession,
        key: Option<&PrivateKey>,
        output: &CommandOutput,
    ) -> Result<()> {
        let named = |reference: Reference| match &reference.selector {
            Selector::Tag(tag) => Some((reference.repository.clone(), tag.clone(), reference.clone())),
            Selector::Digest(_) => None,
        };
        let (repository, tag, reference) = self.reference.and_then(named).ok_or_else(|| {
            Error::invalid(format!("{} is a data set without a name", self.path.display()))
                .hint("name it with --as NAME:TAG; the folder of a component has an eyot.toml")
        })?;
        let (repository, reference) =
            (session.client().repository(&repository), session.client().qualified(&reference));
        let registry = session.client().registry();
        let before = match self.since {
            Some(since) => Some(session.client().qualified(&since)),
            None => session.client().resolve(&reference.to_string()).await.is_ok().then_some(reference),
        };
        let spinner = output.spinner(&format!("pushing {repository}"));
        let at_once = Some(tag.as_str()).filter(|_| key.is_none());
        let pushed = registry.push_dataset(&repository, at_once, &self.path, before.as_ref()).await;
        spinner.finish_and_clear();
        let mut pushed = pushed?;
        if let Some(key) = key {
            pushed.pushed = sign_and_tag(registry, pushed.pushed, &tag, key).await?;
        }
        output.result(&pushed, |_| {
            let (files, whole, sent) =
                (pushed.files, size(pushed.pushed.size), size(pushed.transferred_bytes));
            format!(
                "{repository}:{tag}@{}\n{files} files, {whole}, of which {sent} were sent",
                pushed.pushed.digest
            )
        })
    }
}

/// The file to push, and the name that the manifest beside it gives.
pub(crate) fn locate(path: &Path) -> Result<(PathBuf, Option<Reference>)> {
    if !path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let component = component_manifest(path)?;
    let file = component_artifact(path, &component, BuildProfile::Release)?;
    if !file.is_file() {
        return Err(Error::not_found(format!(
            "{} is not built: there is no {}",
            path.display(),
            file.display()
        ))
        .hint(format!("eyot build {}", path.display())));
    }
    Ok((file, Some(format!("{}:{}", component.name, component.version).parse()?)))
}

/// Pushes one file; what it is shows in its name. A component's manifest says by which names it opens models, where
/// they are `declared`. With a key it is pushed, signed and then tagged, so
/// that a policy lets the tag name it.
pub(crate) async fn push_file(
    session: &ApiSession,
    file: &Path,
    reference: Option<Reference>,
    declared: &[String],
    key: Option<&PrivateKey>,
    output: &CommandOutput,
) -> Result<PushedArtifact> {
    let reference = match reference {
        Some(reference) => reference,
        None => default_reference(file)?,
    };
    let reference = session.client().qualified(&reference);
    let Selector::Tag(tag) = &reference.selector else {
        return Err(Error::invalid(format!("'{reference}' is a digest")).hint("push to a tag: NAME:TAG"));
    };
    let within = |error: Error| error.context(format!("cannot push {}", file.display()));
    let (content, length) = match file.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => {
            let model = ModelPath::at(file).map_err(within)?;
            loadable(session, &model).await.map_err(within)?;
            let length = model.size()?;
            (PushedFile::Model(model), length)
        }
        Some("wasm") => {
            let bytes = tokio::fs::read(file).await.context(|| format!("cannot read {}", file.display()))?;
            let length = bytes.len() as u64;
            (PushedFile::Component(bytes), length)
        }
        _ => {
            return Err(Error::invalid(format!("{} is neither .wasm nor .onnx", file.display()))
                .hint("components end in .wasm, models in .onnx"));
        }
    };
    let bar = output.bar(length, &format!("pushing {}", reference.repository));
    let watching = bar.clone();
    let registry = session.client().registry().watched(move |length| watching.inc(length));
    let (repository, at_once) = (&reference.repository, Some(tag.as_str()).filter(|_| key.is_none()));
    let pushed = match content {
        PushedFile::Component(bytes) => {
            let component = eyot_component::componentize(&bytes).map_err(within)?;
            let made = matches!(component, std::borrow::Cow::Owned(_));
            let component = component.into_owned().into();
            let pushed = registry.push_component_declaring(repository, at_once, component, declared).await;
            if made && let Ok(done) = &pushed {
                registry.attach_module(repository, &done.digest, bytes.into()).await?;
            }
            pushed
        }
        PushedFile::Model(model) => model.push(&registry, repository, at_once).await,
    };
    bar.finish_and_clear();
    let pushed = pushed.map_err(within)?;
    match key {
        Some(key) => sign_and_tag(&registry, pushed, tag, key).await,
        None => Ok(pushed),
    }
}

async fn sign_and_tag(
    registry: &RegistryClient,
    pushed: PushedArtifact,
    tag: &str,
    key: &PrivateKey,
) -> Result<PushedArtifact> {
    let (repository, digest) = (&pushed.repository, &pushed.digest);
    registry.attach(repository, digest, sign::statement(key, repository, digest)?).await?;
    let manifest = registry.manifest(repository, &digest.to_string()).await?;
    registry.put_manifest(repository, Some(tag), &manifest.media_type, manifest.bytes).await?;
    Ok(PushedArtifact { tag: Some(tag.to_owned()), ..pushed })
}

/// What a file is, by its name.
enum PushedFile {
    Component(Vec<u8>),
    Model(ModelPath),
}

/// What no back end can load is refused before anything is stored.
async fn loadable(session: &ApiSession, model: &ModelPath) -> Result<()> {
    let models = crate::platform::models(session.config())?;
    models.load_files(model.files()?, eyot_nn::ModelSettings::default()).await.map(drop)
}

pub(crate) fn default_reference(file: &Path) -> Result<Reference> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = stem.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    name.parse().map_err(|error: Error| error.hint("choose a name with --as NAME:TAG"))
}
