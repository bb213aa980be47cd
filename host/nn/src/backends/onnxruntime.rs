//! ONNX Runtime, opened at run time from where `eyot backend install` put it.

mod arena;
mod guards;
mod provider;
mod run_options;
mod value;
mod weights;

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::config::Optimization;
use eyot_core::{Error, ErrorKind, Result};
use ort::environment::Environment;
use ort::memory::MemoryInfo;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::{AsPointer as _, ep, sys};
use parking_lot::Mutex;

use self::arena::RunArena;
use self::provider::RunProvider;
use self::run_options::{RunOptions, RunOptionsPool};
use self::value::OrtValue;
use crate::control::SEND_LESS;
use crate::onnx::ExternalData;
use crate::{
    BackendModel, DataFile, InferenceBackend, InputOverride, ModelFiles, ModelSettings, ModelSignature,
    RunControl, Target, Tensor, TensorSpec, install, onnx,
};

pub(crate) struct OnnxRuntime {
    environment: Environment,
    providers: Vec<RunProvider>,
    arena: Arc<RunArena>,
}

/// The library has one environment a process, and can be opened once.
static OPENED: Mutex<Option<Arc<OnnxRuntime>>> = Mutex::new(None);

impl OnnxRuntime {
    /// Opens the library, once in a process: `memory` is what weights and runs may take of it together.
    pub(crate) fn open(library: &Path, memory: u64) -> Result<Arc<Self>> {
        let mut opened = OPENED.lock();
        if let Some(runtime) = &*opened {
            return Ok(runtime.clone());
        }
        let broken = |why: String| {
            Error::unavailable(format!("onnxruntime cannot be opened from {}: {why}", library.display()))
                .hint("remove that folder, then: eyot backend install onnxruntime")
        };
        let builder = ort::init_from(library).map_err(|error| broken(error.to_string()))?;
        let environment = builder
            .with_name("eyot")
            .with_telemetry(false)
            .build()
            .map_err(|error| broken(error.to_string()))?;
        // What goes wrong comes back as an error; its own log would write into the terminal.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        let providers = RunProvider::found(&environment);
        let arena = Arc::new(RunArena::register(&environment, memory)?);
        let runtime = Arc::new(Self { environment, providers, arena });
        *opened = Some(runtime.clone());
        Ok(runtime)
    }

    /// What computes on that target: `None` is the processor.
    fn provider(&self, target: Target) -> Result<Option<RunProvider>> {
        if target == Target::Cpu {
            return Ok(None);
        }
        let found = self.providers.iter().find(|provider| provider.target == target);
        found.copied().map(Some).ok_or_else(|| {
            Error::unsupported(format!("this onnxruntime does not compute on {target}"))
                .hint("it computes on cpu; a build with other execution providers is needed")
        })
    }

    fn session(
        &self,
        (bytes, data): (&Bytes, &[DataFile]),
        settings: ModelSettings,
        provider: Option<RunProvider>,
    ) -> ort::Result<Session> {
        let level = match settings.optimization.unwrap_or_default() {
            Optimization::Off => GraphOptimizationLevel::Disable,
            Optimization::Basic => GraphOptimizationLevel::Level1,
            Optimization::Extended => GraphOptimizationLevel::Level2,
            Optimization::All => GraphOptimizationLevel::All,
        };
        // Operators one after another: requests run beside each other, and a pool for each model
        // would have more threads than the machine has processors.
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(level)?
            .with_inter_threads(1)?
            .with_intra_threads(settings.threads())?
            .with_intra_op_spinning(settings.spinning.unwrap_or_default())?
            .with_env_allocators()?
            .with_config_entry(LARGEST_FOLDED.0, LARGEST_FOLDED.1)?;
        let processor = ep::CPU::default().build();
        let providers = provider.iter().map(RunProvider::dispatch).chain([processor]).collect::<Vec<_>>();
        let mut builder = builder.with_execution_providers(providers)?;
        weights::lend(&builder, data)?;
        builder.commit_from_memory(bytes)
    }
}

impl InferenceBackend for OnnxRuntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn version(&self) -> &str {
        install::ONNXRUNTIME.version
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = vec![Target::Cpu];
        targets.extend(self.providers.iter().map(|provider| provider.target));
        targets.dedup();
        targets
    }

    fn load_files(&self, files: &ModelFiles, settings: ModelSettings) -> Result<Box<dyn BackendModel>> {
        let provider = self.provider(settings.target)?;
        settings.full_precision_only("onnxruntime")?;
        let parsed = onnx::parse_files(files, ExternalData::Kept)?;
        let signature = onnx::signature(&parsed.proto)?;
        let bytes = parsed.bytes()?;
        let bytes = guards::guarded(parsed.proto, bytes);
        let session = self.arena.admit(files.bytes(), || {
            self.session((&bytes, &files.data), settings, provider).map_err(|error| {
                let kind = match error.code() {
                    ort::ErrorCode::NotImplemented => ErrorKind::Unsupported,
                    _ if arena::is_full(error.message()) => ErrorKind::TooLarge,
                    _ => ErrorKind::Invalid,
                };
                Error::new(kind, format!("onnxruntime cannot load this model: {}", error.message()))
            })
        })?;
        Ok(Box::new(OnnxRuntimeModel {
            session: Arc::new(session),
            inputs: TensorNames::of(&signature.inputs)?,
            optional_inputs: TensorNames::of(&signature.optional_inputs)?,
            outputs: TensorNames::of(&signature.outputs)?,
            signature,
            memory: MemoryInfo::default(),
            provider: provider.map(|provider| provider.name),
            arena: self.arena.clone(),
            run_options: RunOptionsPool::new(settings.arena.unwrap_or(true)),
            _data: files.data.clone(),
        }))
    }
}

struct OnnxRuntimeModel {
    session: Arc<Session>,
    signature: ModelSignature,
    inputs: TensorNames,
    optional_inputs: TensorNames,
    outputs: TensorNames,
    memory: MemoryInfo<'static>,
    provider: Option<&'static str>,
    arena: Arc<RunArena>,
    run_options: RunOptionsPool,
    /// The library may go on looking at weights where they lie.
    _data: Vec<DataFile>,
}

/// The largest constant that is computed when a model is loaded: what is larger is computed when it runs,
/// within the memory for runs.
const LARGEST_FOLDED: (&str, &str) = ("optimization.constant_folding_max_output_size_in_bytes", "67108864");

/// Names as the library takes them.
struct TensorNames {
    pointers: Vec<*const c_char>,
    /// What the pointers point to.
    _names: Vec<CString>,
}

impl TensorNames {
    fn of(specs: &[TensorSpec]) -> Result<Self> {
        let names: Result<Vec<_>, _> = specs.iter().map(|spec| CString::new(spec.name.as_str())).collect();
        let names = names.map_err(|_| Error::invalid("an input or output has a zero byte in its name"))?;
        Ok(Self { pointers: names.iter().map(|name| name.as_ptr()).collect(), _names: names })
    }
}

// SAFETY: a session is used through `Run` only, which ONNX Runtime documents as safe to call from
// several threads at once; names and memory info are read and never written.
unsafe impl Send for OnnxRuntimeModel {}
// SAFETY: as above.
unsafe impl Sync for OnnxRuntimeModel {}

impl BackendModel for OnnxRuntimeModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn provider(&self) -> Option<&'static str> {
        self.provider
    }

    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_overriding(control, inputs, &[])
    }

    fn run_overriding(
        &self,
        control: &RunControl,
        inputs: &[Tensor],
        overrides: &[InputOverride],
    ) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.pointers.len() {
            return Err(Error::internal("a model was given another number of inputs than it has"));
        }
        let overriding = overrides.iter().map(|one| &one.tensor);
        let values: Vec<OrtValue> = inputs
            .iter()
            .chain(overriding)
            .map(|tensor| OrtValue::of(tensor, &self.memory))
            .collect::<Result<_>>()?;
        let names = self.names(overrides)?;
        let options = self.run_options.take()?;
        let interruptible = control.interrupted_by(options.clone());
        let mut answers = self.answers(&options, &names, &values);
        // What runs before it have left in pieces may be enough for it as a whole.
        if answers.as_ref().is_err_and(|error| error.kind() == ErrorKind::TooLarge) {
            self.arena.shrink()?;
            answers = self.answers(&options, &names, &values);
        }
        drop(interruptible);
        if control.stop_reason().is_none() {
            self.run_options.give_back(options);
        }
        let tensor = |answer: Option<OrtValue>| {
            let answer = answer.ok_or_else(|| Error::internal("onnxruntime gave no output"))?;
            answer.into_tensor(&values, &self.session)
        };
        let outputs = answers?.into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
        if let Err(refused) = control.check_outputs(&outputs) {
            drop(outputs);
            // What no other run will need.
            self.arena.shrink()?;
            return Err(refused);
        }
        Ok(outputs)
    }
}

impl OnnxRuntimeModel {
    /// The names of a call's inputs, those behind that override a default.
    fn names(&self, overrides: &[InputOverride]) -> Result<Cow<'_, [*const c_char]>> {
        if overrides.is_empty() {
            return Ok(Cow::Borrowed(&self.inputs.pointers));
        }
        let overriding = overrides.iter().map(|one| self.optional_inputs.pointers.get(one.place).copied());
        let names =
            self.inputs.pointers.iter().copied().map(Some).chain(overriding).collect::<Option<Vec<_>>>();
        names.map(Cow::Owned).ok_or_else(|| Error::internal("a model has no such optional input"))
    }

    fn answers(
        &self,
        options: &RunOptions,
        names: &[*const c_char],
        values: &[OrtValue],
    ) -> Result<Vec<Option<OrtValue>>> {
        let given: Vec<_> = values.iter().map(OrtValue::pointer).collect();
        let mut answers: Vec<*mut sys::OrtValue> = vec![ptr::null_mut(); self.outputs.pointers.len()];
        // `ort` lends a session to one caller at a time, which would be one lock a model.
        // SAFETY: names, inputs and outputs are arrays of the lengths given, alive for the call; see
        // `Sync` above for running from several threads.
        let ran = unsafe {
            value::check((ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.pointer(),
                names.as_ptr(),
                given.as_ptr(),
                given.len(),
                self.outputs.pointers.as_ptr(),
                answers.len(),
                answers.as_mut_ptr(),
            ))
        };
        // Taken over before any error is looked at, so that each is released.
        let answers = answers.into_iter().map(OrtValue::owned).collect();
        ran.map(|()| answers)
    }
}

fn failed(error: &ort::Error) -> Error {
    if arena::is_full(error.message()) {
        return Error::too_large("the run wants more memory than there is for runs").hint(SEND_LESS);
    }
    let kind =
        if error.code() == ort::ErrorCode::InvalidArgument { ErrorKind::Invalid } else { ErrorKind::Failed };
    Error::new(kind, format!("the model failed in onnxruntime: {}", error.message()))
}
