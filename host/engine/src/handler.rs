use std::sync::Arc;
use std::time::{Duration, Instant};

use eyot_core::{Error, Result};
use eyot_nn::{InferOptions, ModelSignature, NamedTensor, Tensor, TensorSpec};
use eyot_world::asynchronous::{ModelHandlerAsync, ModelHandlerAsyncPre};
use eyot_world::handler::{ModelHandler, ModelHandlerPre};
use eyot_world::types;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::capabilities::errors::from_guest;
use crate::capabilities::models::{data_type, from_wit, to_wit};
use crate::guest::{GuestState, UngrantedModels};
use crate::pool::{InstanceFactory, InstancePool, WarmInstance, in_time};
use crate::{
    Component, ExecutionMode, GuestGrants, InferenceUsage, InstanceLimits, InstancePolicy, InstanceStats,
};

/// A component that answers predictions, with its grants.
pub struct PredictionHandler {
    pool: Arc<InstancePool<HandlerPre>>,
    signature: ModelSignature,
    ungranted_models: Arc<UngrantedModels>,
}

/// The two interfaces of a handler, with imports resolved.
enum HandlerPre {
    Synchronous(ModelHandlerPre<GuestState>),
    Asynchronous(ModelHandlerAsyncPre<GuestState>),
}

/// The exports of a handler's instance.
enum HandlerExports {
    Synchronous(ModelHandler),
    Asynchronous(ModelHandlerAsync),
}

/// What a handler answered.
#[derive(Clone, Debug)]
pub struct HandlerOutput {
    /// All outputs, in the signature's order.
    pub outputs: Vec<NamedTensor>,
    /// What the call used of inference.
    pub usage: InferenceUsage,
}

impl PredictionHandler {
    /// Checks that the component is a handler, instantiates it once and asks it for its signature.
    ///
    /// Fails with `Invalid` when it exports neither `eyot:ml/handler` nor `handler-async`, or its signature
    /// makes no sense.
    pub async fn new(
        component: Component,
        grants: GuestGrants,
        limits: InstanceLimits,
        instances: InstancePolicy,
    ) -> Result<Arc<Self>> {
        if component.mode() != ExecutionMode::Serving {
            return Err(Error::internal("a handler was compiled for steps"));
        }
        let pre = HandlerPre::new(&component)?;
        let ungranted_models = grants.ungranted_models.clone();
        let pool = Arc::new(InstancePool::new(component, pre, grants, limits, instances)?);
        let mut warm = pool.fresh().await?;
        let signature = describe(&pool, &mut warm).await?;
        pool.keep(warm);
        Ok(Arc::new(Self { pool, signature, ungranted_models }))
    }

    /// Answers an example of a request, all zeros, to see whether the handler has the models that it opens. What it
    /// answers does not matter, nor that it may refuse such numbers; one that may open none is not asked.
    ///
    /// Fails with `Invalid` that names the models, when it gave no answer and asked for some that it was not granted.
    pub async fn check_models(&self) -> Result<()> {
        let interface = self.component().interface();
        if !MODELS.iter().any(|models| interface.imports.iter().any(|import| import.starts_with(models))) {
            return Ok(());
        }
        let Some(inputs) = self.example()? else { return Ok(()) };
        let deadline = Instant::now() + EXAMPLE_TIMEOUT.min(self.pool.limits().timeout);
        if self
            .predict(inputs, InferOptions { deadline: Some(deadline), ..InferOptions::default() })
            .await
            .is_ok()
        {
            return Ok(());
        }
        match self.ungranted_models.names().as_slice() {
            [] => Ok(()),
            [only] => Err(ungranted(&format!("the model '{only}'"), only)),
            names @ [first, ..] => Err(ungranted(&format!("the models '{}'", names.join("', '")), first)),
        }
    }

    /// Inputs of zeros and empty texts, dimensions that may vary 1; none where that is too large to be worth it.
    fn example(&self) -> Result<Option<Vec<NamedTensor>>> {
        let mut inputs = Vec::new();
        for spec in &self.signature.inputs {
            let shape: Vec<usize> = spec.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
            let count = shape.iter().try_fold(1_usize, |count, dim| count.checked_mul(*dim));
            let Some(count) = count.filter(|count| *count <= MAX_EXAMPLE_ELEMENTS) else { return Ok(None) };
            let tensor = match spec.dtype.size() {
                Some(size) => Tensor::new(spec.dtype, shape, vec![0; count * size]),
                None => Tensor::of_strings(shape, &vec![""; count]),
            };
            inputs.push(NamedTensor { name: spec.name.clone(), tensor: tensor? });
        }
        Ok(Some(inputs))
    }

    /// Whether a component is of this kind.
    pub fn is_one(component: &Component) -> bool {
        let exports = |interface| component.interface().has_export(interface, "0.1.");
        exports(SYNCHRONOUS) || exports(ASYNCHRONOUS)
    }

    /// The tensors it takes and gives, as it says itself.
    pub fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    /// The component.
    pub fn component(&self) -> &Component {
        self.pool.component()
    }

    /// Its instances now, and why some ended.
    pub fn stats(&self) -> InstanceStats {
        self.pool.stats()
    }

    /// Answers one request, with inferences of the priority in `options`. An instance that fails in any way is never
    /// used again.
    ///
    /// Fails with what the component answered, `Failed` when it trapped or its answer does not fit
    /// its signature, `Timeout` at its deadline or that of `options`, whichever is first.
    pub async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<HandlerOutput> {
        let call = self.pool.call(false, |pool, time_slice| async move {
            let mut warm = pool.take().await?;
            let inputs = inputs.into_iter().map(to_wit).collect();
            let (deadline, busy) = pool.begin(&mut warm, time_slice, options.deadline);
            warm.store.data_mut().priority = options.priority;
            let called = in_time(deadline, warm.exports.predict(&mut warm.store, inputs)).await;
            let (answer, warm) = pool.settle(called, warm, "predict", busy)?;
            let usage = warm.store.data().usage;
            pool.keep(warm);
            Ok::<_, Error>((answer, usage))
        });
        let (answer, usage) = call.await?;
        let outputs = answer.map_err(from_guest)?;
        let outputs = self.check(outputs.into_iter().map(from_wit).collect::<Result<_>>())?;
        Ok(HandlerOutput { outputs, usage })
    }

    /// Starts an instance ahead of the first request that needs it; with none kept idle, only shows
    /// that one starts.
    ///
    /// Fails as a request would that needed a fresh instance.
    pub async fn prepare(&self) -> Result<()> {
        self.pool.prepare().await
    }

    /// Starts an instance, ends it, and answers how long the start took: what a request pays that
    /// finds no warm instance.
    pub async fn instantiate(&self) -> Result<Duration> {
        self.pool.instantiate().await
    }

    /// An answer that does not fit the signature is the component's fault, not the caller's.
    fn check(&self, outputs: Result<Vec<NamedTensor>>) -> Result<Vec<NamedTensor>> {
        let fault = |error: Error| {
            let message =
                format!("component {} answered with tensors that do not fit", self.component().digest());
            error.context(message).with_kind(eyot_core::ErrorKind::Failed)
        };
        self.signature.check_outputs(outputs.map_err(fault)?).map_err(fault)
    }
}

/// How a component opens models by their names.
const MODELS: [&str; 2] = ["eyot:ml/models", "wasi:nn/"];
/// What an example may cost.
const EXAMPLE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_EXAMPLE_ELEMENTS: usize = 4 << 20;

fn ungranted(models: &str, first: &str) -> Error {
    Error::invalid(format!("the component opens {models}, which it was not granted"))
        .hint(format!("grant it with --model {first}=MODEL, as in --model {first}=models:/{first}@champion"))
}

const SYNCHRONOUS: &str = "eyot:ml/handler";
const ASYNCHRONOUS: &str = "eyot:ml/handler-async";

impl HandlerPre {
    fn new(component: &Component) -> Result<Self> {
        let pre: InstancePre<GuestState> = component.instance().clone();
        let pre = match component.interface().has_export(ASYNCHRONOUS, "0.1.") {
            true => ModelHandlerAsyncPre::new(pre).map(Self::Asynchronous),
            false => ModelHandlerPre::new(pre).map(Self::Synchronous),
        };
        pre.map_err(|error| {
            let exports = component.interface().exports.join(", ");
            let exports = if exports.is_empty() { "no interface".to_owned() } else { exports };
            Error::invalid(format!("component {} is no handler: {error:#}", component.digest())).hint(format!(
                "a handler exports eyot:ml/handler@0.1.0 or eyot:ml/handler-async@0.1.0; this one exports {exports}"
            ))
        })
    }
}

impl InstanceFactory for HandlerPre {
    type Exports = HandlerExports;

    async fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<HandlerExports> {
        match self {
            Self::Synchronous(pre) => pre.instantiate_async(store).await.map(HandlerExports::Synchronous),
            Self::Asynchronous(pre) => pre.instantiate_async(store).await.map(HandlerExports::Asynchronous),
        }
    }
}

impl HandlerExports {
    async fn describe(&self, store: &mut Store<GuestState>) -> wasmtime::Result<types::Signature> {
        match self {
            Self::Synchronous(exports) => exports.eyot_ml_handler().call_describe(store).await,
            Self::Asynchronous(exports) => exports.eyot_ml_handler_async().call_describe(store).await,
        }
    }

    async fn predict(
        &self,
        store: &mut Store<GuestState>,
        inputs: Vec<types::Tensor>,
    ) -> wasmtime::Result<std::result::Result<Vec<types::Tensor>, types::Error>> {
        match self {
            Self::Synchronous(exports) => exports.eyot_ml_handler().call_predict(store, &inputs).await,
            Self::Asynchronous(exports) => {
                // Not as the bindings would: called so, one that waits for nothing traps, and is not waited for.
                let predict = exports.eyot_ml_handler_async().func_predict();
                predict.call_async(store, (inputs,)).await.map(|(answer,)| answer)
            }
        }
    }
}

async fn describe(
    pool: &InstancePool<HandlerPre>,
    warm: &mut WarmInstance<HandlerExports>,
) -> Result<ModelSignature> {
    let deadline = Instant::now() + pool.limits().timeout;
    let described = in_time(deadline, warm.exports.describe(&mut warm.store)).await;
    let described = described.map_err(|error| pool.explain(&error, warm, "describe"))?;
    let specs = |specs: Vec<types::TensorSpec>| {
        let spec = |spec: types::TensorSpec| TensorSpec::new(spec.name, data_type(spec.dtype), spec.shape);
        specs.into_iter().map(spec).collect::<Vec<_>>()
    };
    let signature = ModelSignature::new(specs(described.inputs), specs(described.outputs));
    check_signature(&signature)
        .map_err(|error| error.context(format!("component {}", pool.component().digest())))?;
    Ok(signature)
}

fn check_signature(signature: &ModelSignature) -> Result<()> {
    for (what, specs) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for (index, spec) in specs.iter().enumerate() {
            if spec.name.is_empty() || specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                return Err(Error::invalid(format!(
                    "its {what} number {index} has no name of its own: '{}'",
                    spec.name
                )));
            }
            if let Some(dim) = spec.shape.iter().find(|dim| **dim < -1) {
                return Err(Error::invalid(format!("its {what} '{}' has a dimension of {dim}", spec.name)));
            }
        }
    }
    if signature.outputs.is_empty() { Err(Error::invalid("it has no output")) } else { Ok(()) }
}
