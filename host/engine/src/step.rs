use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::interface::{Function, Outputs, Type, below};
use eyot_core::{Digest, Error, Result};
use eyot_store::BlobStore;
use indexmap::IndexMap;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::Val;

use crate::files::StepFiles;
use crate::guest::{ArtifactAccess, GuestState};
use crate::{Component, ExecutionMode, GuestGrants, InstanceLimits, OutputLimits, fault, reflect};

/// An artifact that a step gave. Equal bytes of different types are different artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputArtifact {
    /// Where it stands in the outputs, as a JSON pointer.
    pub at: String,
    pub digest: Digest,
    pub size: u64,
    pub media_type: String,
}

/// One run of one function as a step.
pub struct StepCall {
    /// The exported function.
    pub function: String,
    /// Arguments by parameter name, checked against the parameter's type. Artifacts are digests.
    pub arguments: IndexMap<String, Value>,
    /// Media types of the artifacts among the arguments, by their places as JSON pointers.
    pub media_types: BTreeMap<String, String>,
    /// What randomness is drawn from.
    pub seed: [u8; 32],
    /// Memory, time and handles.
    pub limits: InstanceLimits,
    /// What it may write.
    pub output: OutputLimits,
    /// What the step may reach beside its artifacts.
    pub grants: GuestGrants,
    /// Where artifacts are read and written.
    pub store: Arc<dyn BlobStore>,
}

/// What a step gave.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Values by output name; artifacts as digests.
    pub outputs: IndexMap<String, Value>,
    /// The artifacts among the outputs, in their order.
    pub artifacts: Vec<OutputArtifact>,
    /// Wall time inside of the guest.
    pub duration: Duration,
}

impl Component {
    /// Runs an exported function hermetically: see the crate's head. Takes a thread of its own for as
    /// long as the guest computes. Dropping the future stops the guest at its next tick.
    ///
    /// Fails with `Failed` when the guest traps, runs out of memory or answers `err`, with `Timeout`
    /// at the deadline, and with `Invalid` when an argument does not fit.
    pub async fn run_step(&self, call: StepCall) -> Result<StepResult> {
        if self.mode() != ExecutionMode::Hermetic {
            return Err(Error::internal("a step was compiled for serving"));
        }
        let component = self.clone();
        run_on_own_thread(async move { component.run_in_place(call).await }).await
    }

    async fn run_in_place(&self, call: StepCall) -> Result<StepResult> {
        let function = self.function(&call.function)?.clone();
        let started = Instant::now();
        let handed_in = handed_in(&call).await?;
        let mut guest = GuestState::new(call.grants, &call.limits, Some(&call.seed));
        guest.files = StepFiles::new(call.output);
        guest.artifacts = Some(ArtifactAccess { handed_in, store: call.store });
        let mut store = guest.into_store(self.wasmtime());
        let arguments = arguments(&mut store, &function, &call.arguments, &call.media_types)?;
        let called =
            tokio::time::timeout(call.limits.timeout, self.invoke(&mut store, &function, &arguments)).await;
        let called = called.unwrap_or_else(|_| Err(wasmtime::Trap::Interrupt.into()));
        store.data().stdout.finish();
        store.data().stderr.finish();
        if let Some(failure) = store.data().files.usage.failure() {
            return Err(failure);
        }
        let result =
            called.map_err(|error| fault::explain(&error, store.data(), &self.digest(), &function.name))?;
        let mut outcome = outcome(&mut store, &function, result).map_err(|error| {
            fault::answered(error, store.data()).context(format!(
                "component {}, export {}",
                self.digest(),
                function.name
            ))
        })?;
        outcome.duration = started.elapsed();
        Ok(outcome)
    }

    pub(crate) async fn invoke(
        &self,
        store: &mut Store<GuestState>,
        function: &Function,
        arguments: &[Val],
    ) -> wasmtime::Result<Option<Val>> {
        let instance = self.instance().instantiate_async(&mut *store).await?;
        let index = self.export(&function.name).map_err(wasmtime::Error::msg)?;
        let callee = instance.get_func(&mut *store, index);
        let callee = callee.ok_or_else(|| wasmtime::Error::msg(format!("no export {}", function.name)))?;
        let mut results = vec![Val::Bool(false); usize::from(function.result.is_some())];
        callee.call_async(&mut *store, arguments, &mut results).await?;
        Ok(results.pop())
    }
}

/// Runs a step on a thread of its own. Dropping the future stops it at its next tick.
pub(crate) async fn run_on_own_thread<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let runtime = tokio::runtime::Handle::current();
    let (gone, cancelled) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            tokio::select! {
                outcome = work => outcome,
                _ = cancelled => Err(Error::cancelled("the step was cancelled")),
            }
        })
    });
    let outcome =
        task.await.map_err(|error| Error::internal("a step's thread ended early").because(error))?;
    drop(gone);
    outcome
}

/// Sizes of the artifacts handed in; a missing or damaged one ends the step before it starts.
async fn handed_in(call: &StepCall) -> Result<HashMap<Digest, u64>> {
    let mut handed_in = HashMap::with_capacity(call.media_types.len());
    for place in call.media_types.keys() {
        let Some(digest) = digest_at(&call.arguments, place) else { continue };
        let mut reader = call.store.open(&digest).await?;
        let size = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        let size =
            size.map_err(|error| Error::corrupt(format!("artifact {digest} cannot be read")).because(error))?;
        handed_in.insert(digest, size);
    }
    Ok(handed_in)
}

/// The digest that stands at a place of the arguments, whose first part is a parameter's name.
pub(crate) fn digest_at(arguments: &IndexMap<String, Value>, place: &str) -> Option<Digest> {
    let (name, value) = arguments.iter().find(|(name, _)| {
        place.strip_prefix(&below("", name)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })?;
    value.pointer(&place[below("", name).len()..])?.as_str()?.parse().ok()
}

fn arguments(
    store: &mut Store<GuestState>,
    function: &Function,
    given: &IndexMap<String, Value>,
    media_types: &BTreeMap<String, String>,
) -> Result<Vec<Val>> {
    if let Some(extra) = given.keys().find(|name| !function.params.iter().any(|param| param.name == **name)) {
        return Err(Error::invalid(format!("function {} has no parameter '{extra}'", function.name))
            .hint(format!("its signature is {function}")));
    }
    reflect::arguments(store, function, |name| given.get(name), media_types)
}

fn outcome(store: &mut Store<GuestState>, function: &Function, result: Option<Val>) -> Result<StepResult> {
    let (_, err) = function.answers();
    let value = match result {
        Some(Val::Result(Ok(value))) => value.map(|value| *value),
        Some(Val::Result(Err(error))) => {
            let error_value = match (err.flatten(), error) {
                (Some(ty), Some(error)) => {
                    let mut error_value = reflect::from_val(store, ty, *error)?;
                    take_out(ty, &mut error_value, "", &mut Vec::new())?;
                    error_value
                }
                _ => Value::Null,
            };
            return Err(Error::failed(match error_value {
                Value::Null => "an error without a text".to_owned(),
                Value::String(text) => text,
                other => other.to_string(),
            }));
        }
        other => other,
    };
    let Outputs(fields) = function.outputs();
    let values = match value {
        None => Vec::new(),
        Some(Val::Record(values)) => values.into_iter().map(|(_, value)| value).collect(),
        Some(value) => vec![value],
    };
    let (mut outputs, mut artifacts) = (IndexMap::new(), Vec::new());
    for (field, value) in fields.iter().zip(values) {
        let mut value = reflect::from_val(store, &field.ty, value)?;
        take_out(&field.ty, &mut value, &below("", &field.name), &mut artifacts)?;
        outputs.insert(field.name.clone(), value);
    }
    Ok(StepResult { outputs, artifacts, duration: Duration::ZERO })
}

/// Leaves of each artifact in a value its digest; what else it has is found by its place.
fn take_out(ty: &Type, value: &mut Value, at: &str, found: &mut Vec<OutputArtifact>) -> Result<()> {
    for place in ty.artifacts_in(value) {
        let Some(artifact) = value.pointer_mut(&place) else { continue };
        let entry = artifact.take();
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        found.push(OutputArtifact {
            at: format!("{at}{place}"),
            digest: text("digest").parse()?,
            size: entry.get("size").and_then(Value::as_u64).unwrap_or_default(),
            media_type: text("media-type").to_owned(),
        });
        *artifact = Value::String(text("digest").to_owned());
    }
    Ok(())
}
