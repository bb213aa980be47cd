//! Calling a function of a component in this process, as a step: with values and files from the
//! command line or from a case of `eyot test`.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use eyot_core::config::Config;
use eyot_core::interface::{Function, Interface, below};
use eyot_core::{Digest, Error, Result, ResultExt};
use eyot_engine::{
    CommandCall, Component, Engine, ExecutionMode, GuestGrants, InstanceLimits, OutputArtifact, OutputLimits,
    ReportSink, StandardStream, StepCall,
};
use eyot_nn::LoadedModels;
use eyot_store::{BlobStore, MemoryStore};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::output::aside;
use crate::visible::visible;

/// A component that can be called, with a store of its own for artifacts.
pub(crate) struct CallableComponent {
    component: Component,
    models: Arc<LoadedModels>,
    limits: InstanceLimits,
    output: OutputLimits,
    store: Arc<dyn BlobStore>,
}

/// What a call gave.
pub(crate) struct CallOutcome {
    pub(crate) value: Value,
    pub(crate) artifacts: Vec<OutputArtifact>,
}

impl CallableComponent {
    /// Compiles the component, or takes it out of the cache.
    pub(crate) async fn new(config: &Config, engine: &Engine, wasm: Bytes) -> Result<Self> {
        let store: Arc<dyn BlobStore> = Arc::new(MemoryStore::default());
        let blob = store.put(wasm).await?;
        let component = engine.load(&*store, blob.digest, ExecutionMode::Hermetic).await?;
        let models = crate::platform::models_over(config, store.clone())?;
        Ok(Self {
            component,
            models,
            limits: InstanceLimits::from(&config.steps),
            output: OutputLimits::from(&config.steps),
            store,
        })
    }

    pub(crate) fn interface(&self) -> &Interface {
        self.component.interface()
    }

    /// The exported function of that name: the full name, or the bare one where it is unambiguous.
    pub(crate) fn function(&self, name: &str) -> Result<&Function> {
        self.component.function(name)
    }

    /// Runs the component as a program: `inputs` are its files under `/in` and its parameters, `outputs` the
    /// paths of the files that it must leave under `/out`. Answers also what it printed.
    pub(crate) async fn run(
        &self,
        inputs: &Map<String, Value>,
        outputs: &[String],
        dir: &Path,
    ) -> (Result<CallOutcome>, String) {
        let printed = Arc::new(PrintedText::default());
        let called = self.command(inputs, outputs, dir, printed.clone()).await;
        let said =
            printed.0.lock().map_or_else(|poisoned| poisoned.into_inner().clone(), |said| said.clone());
        (called, said)
    }

    async fn command(
        &self,
        inputs: &Map<String, Value>,
        outputs: &[String],
        dir: &Path,
        sink: Arc<PrintedText>,
    ) -> Result<CallOutcome> {
        let function = self
            .interface()
            .program()
            .ok_or_else(|| Error::invalid("the component is no command: it exports no wasi:cli/run"))?;
        let (mut arguments, mut media_types) = (IndexMap::new(), BTreeMap::new());
        for (name, value) in inputs {
            let mut value = value.clone();
            if value.is_object() {
                let (digest, media_type) = self.put(&value, dir).await?;
                media_types.insert(below("", name), media_type);
                value = Value::String(digest.to_string());
            }
            arguments.insert(name.clone(), value);
        }
        let octets = || "application/octet-stream".to_owned();
        let call = CommandCall {
            function: function.name.clone(),
            arguments,
            media_types,
            args: None,
            env: IndexMap::new(),
            outputs: outputs.iter().map(|path| (path.clone(), (path.clone(), octets()))).collect(),
            seed: [0; 32],
            limits: self.limits,
            output: self.output,
            grants: GuestGrants::new(Arc::default(), self.models.clone(), sink),
            store: self.store.clone(),
        };
        let outcome = self.component.run_command(call).await?;
        Ok(CallOutcome {
            value: Value::Object(outcome.outputs.into_iter().collect()),
            artifacts: outcome.artifacts,
        })
    }

    /// Calls `function`. Where an artifact is wanted, an argument is `{"file": PATH}` below `dir`, or
    /// `{"text": …}`, with a `media-type`; in the value artifacts stand as their digests.
    ///
    /// Fails with what the function answers as its error.
    pub(crate) async fn call(
        &self,
        function: &str,
        given: &Map<String, Value>,
        dir: &Path,
    ) -> Result<CallOutcome> {
        let function = self.function(function)?.clone();
        let (mut arguments, mut media_types) = (IndexMap::new(), BTreeMap::new());
        for (name, value) in given {
            let param = function.params.iter().find(|param| param.name == *name);
            let mut value = value.clone();
            for place in param.map(|param| param.ty.artifacts_in(&value)).unwrap_or_default() {
                if let Some(file) = value.pointer_mut(&place).filter(|file| file.is_object()) {
                    let (digest, media_type) = self.put(file, dir).await?;
                    *file = Value::String(digest.to_string());
                    media_types.insert(format!("{}{place}", below("", name)), media_type);
                }
            }
            arguments.insert(name.clone(), value);
        }
        let call = StepCall {
            function: function.name.clone(),
            arguments,
            media_types,
            seed: [0; 32],
            limits: self.limits,
            output: self.output,
            grants: GuestGrants::new(Arc::default(), self.models.clone(), Arc::new(ToStderr)),
            store: self.store.clone(),
        };
        let mut outcome = self.component.run_step(call).await?;
        let mut artifacts = outcome.artifacts;
        let one = function.outputs().0.iter().all(|output| output.name == "output");
        let value = match outcome.outputs.shift_remove("output") {
            Some(value) if one => {
                artifacts
                    .iter_mut()
                    .for_each(|artifact| artifact.at = artifact.at.replacen("/output", "", 1));
                value
            }
            None if one => Value::Null,
            _ => Value::Object(outcome.outputs.into_iter().collect()),
        };
        Ok(CallOutcome { value, artifacts })
    }

    /// Stores what an argument stands for.
    async fn put(&self, value: &Value, dir: &Path) -> Result<(Digest, String)> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let (bytes, guessed) = match (text("file"), text("text")) {
            (Some(file), None) => {
                let path = dir.join(file);
                let bytes =
                    tokio::fs::read(&path).await.context(|| format!("cannot read {}", path.display()))?;
                (bytes, media_type(&path))
            }
            (None, Some(text)) => (text.as_bytes().to_vec(), "text/plain"),
            _ => {
                return Err(Error::invalid(format!("{value} is no artifact"))
                    .hint("write {\"file\": PATH} or {\"text\": …}, on the command line NAME=@PATH"));
            }
        };
        let media_type = text("media-type").unwrap_or(guessed).to_owned();
        Ok((self.store.put(bytes.into()).await?.digest, media_type))
    }

    /// The bytes of an artifact that a call gave.
    pub(crate) async fn bytes(&self, artifact: &OutputArtifact) -> Result<Bytes> {
        self.store.get(&artifact.digest).await
    }

    /// An artifact that a call gave as a case may expect it.
    pub(crate) async fn shown(&self, artifact: &OutputArtifact) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.bytes(artifact).await?).into_owned();
        let OutputArtifact { digest, size, media_type, .. } = artifact;
        Ok(json!({ "digest": digest, "size": size, "media-type": media_type, "text": text }))
    }
}

/// The media type that a file's name stands for.
fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("onnx") => "application/onnx",
        _ => "application/octet-stream",
    }
}

/// What a program prints, kept; what goes to stderr is for whoever called it.
#[derive(Default)]
struct PrintedText(Mutex<String>);

impl ReportSink for PrintedText {
    fn line(&self, stream: StandardStream, line: &str) {
        if stream == StandardStream::Stderr {
            return ToStderr.line(stream, line);
        }
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(line);
        said.push('\n');
    }
}

/// What a function prints is for whoever called it.
struct ToStderr;

impl ReportSink for ToStderr {
    fn line(&self, _: StandardStream, line: &str) {
        // Who keeps it in a file gets it as it is.
        match std::io::stderr().is_terminal() {
            true => aside(&visible(line)),
            false => aside(line),
        }
    }

    fn metric(&self, key: &str, value: f64, step: i64) {
        aside(&format!("{key} = {value} at {step}"));
    }
}
