mod tuning;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use eyot_api::DeployRequest;
use eyot_core::config::ComponentGrants;
use eyot_core::{Error, Name, Period, Result};
use eyot_deploy::{Deployment, RevisionLimits, Route};

use crate::cli::GlobalOptions;
use crate::cli::deployments::{on, serves};
use crate::cli::push::{default_reference, push_file};
use crate::grants::{self, GrantOptions, GrantedNames};
use crate::model_path::ModelPath;
use crate::output::CommandOutput;
use crate::session::ApiSession;

use tuning::TuningOptions;

/// Serves a model or a handler as an endpoint.
///
/// SOURCE is a file (.onnx or .wasm, pushed first; an .onnx with the files of weights beside it, or their folder), a
/// registered model (models:/NAME@ALIAS,
/// models:/NAME/VERSION) or a registry reference (NAME:TAG, NAME@sha256:…). What serves under that
/// name is replaced only once the new revision is loaded and checked. In the folder of a component, or of the file
/// that was built there, what its eyot.toml grants is granted to it, and flags stand over that.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eyot deploy model.onnx\n  eyot deploy models:/digits@champion --name digits\n  \
    eyot deploy digits-image:0.1.0 --model digits=models:/digits@champion\n  \
    eyot deploy bert.onnx --backend openvino --precision bf16 --tolerance 0.01"
)]
pub(crate) struct DeployCommand {
    /// What to serve.
    source: String,
    /// The deployment's name [default: the source's].
    #[arg(long)]
    name: Option<Name>,
    /// Makes the revision ready and sends it no requests; eyot traffic does later.
    #[arg(long)]
    no_traffic: bool,
    /// Requests that the revision works on at the same time [default: gateway.concurrency].
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<usize>,
    /// Requests that wait for the revision before the next is refused [default: gateway.queue].
    #[arg(long, value_name = "NUMBER")]
    queue: Option<usize>,
    /// How long one request may take, as in 500ms [default: handlers.timeout].
    #[arg(long, value_name = "TIME")]
    timeout: Option<Period>,
    /// Requests that a component which answers HTTP gets: /path, /path/... or host/path/...; may be
    /// repeated [default: /NAME/...].
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<Route>,
    #[command(flatten)]
    grants: GrantOptions,
    #[command(flatten)]
    tuning: TuningOptions,
}

impl DeployCommand {
    pub(crate) async fn run(self, global: &GlobalOptions, output: &CommandOutput) -> Result<()> {
        if local_model(Path::new(&self.source))?.is_none() {
            check_no_file(&self.source)?;
        }
        let name = match self.name {
            Some(name) => name,
            None => default_name(&self.source)?,
        };
        let session = ApiSession::open(global).await?;
        let source = reference(&session, &self.source, output).await?;
        let (written, dir) = written(global, &self.source)?;
        let GrantedNames { models: named, grants } = self.grants.over(&written, &dir, &name)?;
        let mut models = BTreeMap::new();
        for (granted, model) in named {
            models.insert(granted, reference(&session, &model, output).await?);
        }
        let loading = format!("loading {name}; what is new here is compiled first, which may take a while");
        let limits =
            RevisionLimits { concurrency: self.concurrency, queue: self.queue, timeout: self.timeout };
        let request = DeployRequest {
            source,
            models,
            limits,
            inference: self.tuning.inference(),
            grants,
            routes: self.routes,
            no_traffic: self.no_traffic,
        };
        let deployment = output.waiting(&loading, session.client().deploy(&name, &request)).await?;
        deployment.warnings.iter().for_each(|warning| output.note(&format!("warning: {warning}")));
        let gateway = session.gateway();
        let ready = deployment
            .traffic
            .weights
            .iter()
            .next_back()
            .filter(|_| self.no_traffic)
            .map(|(revision, _)| *revision);
        output.result(&deployment, |_| {
            if let Some(ready) = ready {
                let serves = deployment.revision;
                return format!("{name} revision {ready} is ready, {serves} serves\neyot traffic {name} {serves}=90 {ready}=10 gives it requests");
            }
            let first = format!(
                "{name} revision {} serves {}{}",
                deployment.revision,
                serves(&deployment),
                runs_on(&deployment)
            );
            match gateway {
                Some(gateway) => std::iter::once(first)
                    .chain(runs_alone(&deployment))
                    .chain(deployment.endpoints.iter().map(|endpoint| address(gateway, endpoint)))
                    .collect::<Vec<_>>()
                    .join("\n"),
                None => std::iter::once(first)
                    .chain(runs_alone(&deployment))
                    .chain(["it answers requests once eyot up runs".to_owned()])
                    .collect::<Vec<_>>()
                    .join("\n"),
            }
        })
    }
}

/// What is granted in the eyot.toml of the component that is deployed, and the folder of that: of a file, the one that
/// it was built in; of a reference, the one here.
fn written(global: &GlobalOptions, source: &str) -> Result<(ComponentGrants, PathBuf)> {
    if Path::new(source).extension().is_some_and(|extension| extension == "wasm") {
        return grants::of_build(&std::path::absolute(source).unwrap_or_else(|_| source.into()));
    }
    let repository = source.split(['@', ':']).next().unwrap_or_default();
    let component = global.config()?.component.filter(|component| component.name == repository);
    let dir = global.config_dir().unwrap_or_default();
    Ok(component.map(|component| (component.grants, dir)).unwrap_or_default())
}

/// `POST /v2/models/m/infer` with the server before the path; a route on a host of its own as it is.
pub(crate) fn address(gateway: &str, endpoint: &str) -> String {
    match endpoint.split_once(" /") {
        Some((method, path)) => format!("{method} {gateway}/{path}"),
        None => endpoint.to_owned(),
    }
}

/// On what, where it is known: `, runs on onnxruntime 1.32.0 (cpu)`.
fn runs_on(deployment: &Deployment) -> String {
    match deployment.runs_on.is_empty() {
        true => String::new(),
        false => format!(", runs on {}", on(deployment)),
    }
}

/// That calls are not joined, to whoever asked for it: a line a model.
fn runs_alone(deployment: &Deployment) -> Vec<String> {
    if deployment.spec.inference.max_batch.is_none_or(|rows| rows < 2) {
        return Vec::new();
    }
    let line = |(model, why): (&String, &String)| {
        format!("calls of '{model}' are not joined, whatever --max-batch says: {why}")
    };
    deployment.not_joined.iter().map(line).collect()
}

/// A reference as it is; a file is pushed first and stands for what it became.
async fn reference(session: &ApiSession, source: &str, output: &CommandOutput) -> Result<String> {
    let path = Path::new(source);
    let Some(file) = local_model(path)? else {
        // Also a model that is granted.
        check_no_file(source)?;
        return Ok(source.to_owned());
    };
    let named = if path.is_dir() { Some(default_reference(path)?) } else { None };
    let declared = grants::of_build(&file)?.0.models.names();
    let pushed = push_file(session, &file, named, &declared, None, output).await?;
    Ok(format!("{}@{}", pushed.repository, pushed.digest))
}

/// Formats of models that are not served, and what makes ONNX of them.
const OTHER_FORMATS: [(&[&str], &str); 5] = [
    (
        &["pkl", "pickle", "joblib", "dill", "cloudpickle"],
        "pickles run code when they are loaded; write the model as ONNX where it was trained, with skl2onnx for scikit-learn",
    ),
    (&["pt", "pth", "ckpt", "safetensors", "bin"], "write the model as ONNX, with torch.onnx.export"),
    (&["h5", "keras", "pb", "tflite", "savedmodel"], "write the model as ONNX, with tf2onnx"),
    (&["ubj", "xgb", "bst", "lgb", "cbm"], "write the model as ONNX, with onnxmltools"),
    (&["mlmodel", "pmml", "gguf", "ggml", "engine", "trt", "xml", "ort"], "write the model as ONNX"),
];

/// Fails with `Invalid` for what is a file or a folder of other kinds, and no reference.
fn check_no_file(source: &str) -> Result<()> {
    let path = Path::new(source);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let other = OTHER_FORMATS
        .iter()
        .find(|(extensions, _)| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)));
    if path.is_dir() {
        let error =
            Error::invalid(format!("'{source}' is a folder, and what is deployed is a file or a reference"));
        return Err(error.hint(format!(
            "a component is built and pushed first: eyot build {source} && eyot push {source}"
        )));
    }
    let is_path = path.is_file() || source.starts_with(['.', '/']);
    // A reference may end so as well, but it has a tag or a digest.
    if !is_path && (other.is_none() || source.contains([':', '@'])) {
        return Ok(());
    }
    let error =
        Error::invalid(format!("'{source}' is neither a model in ONNX (.onnx) nor a component (.wasm)"));
    Err(match other {
        Some((_, how)) => error.hint(*how),
        None => error,
    })
}

/// The file to push first, if what is named is one, or the folder of a model.
fn local_model(path: &Path) -> Result<Option<PathBuf>> {
    if path.is_dir() && !path.join("eyot.toml").is_file() {
        return Ok(ModelPath::in_folder(path)?.map(|model| model.onnx));
    }
    Ok(looks_like_file(path).then(|| path.to_owned()))
}

fn looks_like_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnx" || extension == "wasm")
}

/// `models:/digits@champion` → `digits`, `acme/scorer:1.0` → `scorer`, `dir/iris.onnx` → `iris`.
fn default_name(source: &str) -> Result<Name> {
    let path = Path::new(source);
    let text = match source.strip_prefix("models:/") {
        Some(model) => model.split(['@', '/']).next().unwrap_or_default(),
        None if looks_like_file(path) || path.is_dir() => {
            path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
        }
        None => {
            let repository = source.split(['@', ':']).next().unwrap_or_default();
            repository.rsplit('/').next().unwrap_or_default()
        }
    };
    text.to_lowercase().parse().map_err(|error: Error| error.hint("choose one with --name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_format_is_told_what_makes_onnx_of_it() {
        for (source, hint) in [
            ("m.pkl", "skl2onnx"),
            ("dir/Model.PT", "torch.onnx.export"),
            ("/models/m.h5", "tf2onnx"),
            ("./m.xgb", "onnxmltools"),
        ] {
            let error = check_no_file(source).unwrap_err();
            assert!(error.chain().contains("neither a model in ONNX"), "{error}");
            assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{source}: {error:?}");
        }
        for reference in
            ["scorer:0.1.0", "acme/x.bin:1", "models:/digits@champion", "m.pkl@sha256:00", "scorer"]
        {
            assert!(check_no_file(reference).is_ok(), "{reference}");
        }
        let folder = std::env::temp_dir();
        assert!(check_no_file(folder.to_str().unwrap()).unwrap_err().chain().contains("is a folder"));
    }

    #[test]
    fn deployments_are_named_after_their_source() {
        for (source, name) in [
            ("models:/digits@champion", "digits"),
            ("models:/digits/3", "digits"),
            ("acme/scorer:1.0", "scorer"),
            ("scorer@sha256:00", "scorer"),
            ("some/dir/Iris.onnx", "iris"),
        ] {
            assert_eq!(default_name(source).unwrap().as_str(), name, "{source}");
        }
        assert!(default_name("models:/").is_err());
    }
}
