use std::path::{Path, PathBuf};

use clap::Args;
use eyot_core::config::Config;
use eyot_core::{Error, Reference, Result, ResultExt, Selector};
use eyot_oci::Pushed;

use crate::cli::Global;
use crate::output::{Output, size};
use crate::session::Session;
use crate::toolchain::Profile;

/// Pushes a component or a model into the registry.
///
/// PATH is a .wasm component, an .onnx model, or the folder of a component with an eyot.toml, whose
/// build result is pushed under the name and version that the file says.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot push target/scorer.wasm --as acme/scorer:1.0.0\n  eyot push iris.onnx\n  \
    eyot push components/handlers/digits-image"
)]
pub(crate) struct Push {
    /// A file, or the folder of a component.
    path: PathBuf,
    /// Repository and tag [default: eyot.toml's, or the file's name with the tag latest].
    #[arg(long = "as", value_name = "NAME:TAG")]
    reference: Option<Reference>,
}

impl Push {
    pub(crate) async fn run(self, global: &Global, output: &Output) -> Result<()> {
        let session = Session::open(global).await?;
        let (file, from_manifest) = locate(&self.path)?;
        let reference = self.reference.or(from_manifest);
        let pushed = push_file(&session, &file, reference, output).await?;
        output.result(&pushed, |_| {
            let tag = pushed.tag.as_deref().map_or_else(String::new, |tag| format!(":{tag}"));
            format!("{}{tag}@{}\n{}", pushed.repository, pushed.digest, size(pushed.size))
        })
    }
}

/// The file to push, and the name that the manifest beside it gives.
pub(crate) fn locate(path: &Path) -> Result<(PathBuf, Option<Reference>)> {
    if !path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let component = manifest(path)?;
    let file = crate::toolchain::artifact(path, &component, Profile::Release)?;
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

/// The `[component]` section of a folder's eyot.toml.
pub(crate) fn manifest(dir: &Path) -> Result<eyot_core::config::Component> {
    let file = dir.join("eyot.toml");
    let component = Config::load(Some(&file), &[])?.component;
    component.ok_or_else(|| {
        Error::invalid(format!("{} has no section [component]", file.display())).hint(
            "a component's eyot.toml says: [component] name = \"…\", version = \"…\", language = \"rust\"",
        )
    })
}

/// Pushes one file; what it is shows in its name.
pub(crate) async fn push_file(
    session: &Session,
    file: &Path,
    reference: Option<Reference>,
    output: &Output,
) -> Result<Pushed> {
    let reference = match reference {
        Some(reference) => reference,
        None => default_reference(file)?,
    };
    let Selector::Tag(tag) = &reference.selector else {
        return Err(Error::invalid(format!("'{reference}' is a digest")).hint("push to a tag: NAME:TAG"));
    };
    let bytes = tokio::fs::read(file).await.context(|| format!("cannot read {}", file.display()))?;
    if file.extension().is_some_and(|extension| extension == "onnx") {
        loadable(session, bytes.clone().into())
            .await
            .map_err(|error| error.context(format!("cannot push {}", file.display())))?;
    }
    let bar = output.bar(bytes.len() as u64, &format!("pushing {}", reference.repository));
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let watching = bar.clone();
    let registry = session.client().registry().watched(move |length| watching.inc(length));
    let pushed = match file.extension().and_then(|extension| extension.to_str()) {
        Some("wasm") => {
            let component = eyot_engine::componentize(&bytes)
                .map_err(|error| error.context(format!("cannot push {}", file.display())))?;
            let component = component.into_owned().into();
            registry.push_component(&reference.repository, Some(tag), component).await
        }
        Some("onnx") => registry.push_model(&reference.repository, Some(tag), &name, bytes.into()).await,
        _ => Err(Error::invalid(format!("{} is neither .wasm nor .onnx", file.display()))
            .hint("components end in .wasm, models in .onnx")),
    };
    bar.finish_and_clear();
    pushed.map_err(|error| error.context(format!("cannot push {}", file.display())))
}

/// What no back end can load is refused before anything is stored.
async fn loadable(session: &Session, bytes: bytes::Bytes) -> Result<()> {
    let models = crate::platform::models(session.config())?;
    models.load_bytes(bytes, eyot_nn::Settings::default()).await.map(drop)
}

fn default_reference(file: &Path) -> Result<Reference> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = stem.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    name.parse().map_err(|error: Error| error.hint("choose a name with --as NAME:TAG"))
}
