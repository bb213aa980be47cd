//! OpenVINO, opened at run time from where `eyot backend install` put it, and only once a model is to
//! run on it: the library takes more memory than the rest of an idle server.

mod echo;
mod handle;
mod library;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use eyot_core::config::Optimization;
use eyot_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use self::handle::{Compiled, Core, PreparedRequest};
use crate::onnx::ExternalData;
use crate::onnx::messages as pb;
use crate::settings::QUANTISE;
use crate::{
    BackendModel, DataType, InferenceBackend, ModelFiles, ModelSettings, ModelSignature, Precision,
    RunControl, Target, Tensor, TensorSpec, defaults, install, onnx,
};

pub(crate) struct OpenVino {
    library: PathBuf,
}

/// The library can be opened once in a process.
static OPENED: Mutex<Option<Arc<Core>>> = Mutex::new(None);

impl OpenVino {
    /// Over a library that is there; whether it works shows with the first model.
    pub(crate) fn new(library: &Path) -> Arc<Self> {
        Arc::new(Self { library: library.to_owned() })
    }

    fn core(&self) -> Result<Arc<Core>> {
        let mut opened = OPENED.lock();
        if let Some(core) = &*opened {
            return Ok(core.clone());
        }
        let core = library::open(&self.library).and_then(|()| Core::new()).map_err(|error| {
            error
                .context(format!("openvino cannot be opened from {}", self.library.display()))
                .hint("remove that folder, then: eyot backend install openvino")
        })?;
        let core = Arc::new(core);
        *opened = Some(core.clone());
        Ok(core)
    }
}

/// What a device is called here.
fn device(target: Target) -> Option<&'static str> {
    match target {
        Target::Cpu => Some("CPU"),
        Target::Gpu => Some("GPU"),
        Target::Tpu => None,
    }
}

impl InferenceBackend for OpenVino {
    fn name(&self) -> &'static str {
        "openvino"
    }

    fn version(&self) -> &str {
        install::OPENVINO.version
    }

    fn targets(&self) -> Vec<Target> {
        let found = self.core().and_then(|core| core.devices());
        let devices = found.unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "openvino is installed and cannot be used");
            Vec::new()
        });
        let there = |target: &Target| {
            // Several graphics cards are GPU.0 and GPU.1.
            device(*target).is_some_and(|name| devices.iter().any(|device| device.starts_with(name)))
        };
        [Target::Cpu, Target::Gpu].into_iter().filter(there).collect()
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::F32, Precision::Bf16]
    }

    fn load_files(&self, files: &ModelFiles, settings: ModelSettings) -> Result<Box<dyn BackendModel>> {
        let target = settings.target;
        let device = device(target).filter(|_| target == Target::Cpu || self.targets().contains(&target));
        let device = device.ok_or_else(|| {
            Error::unsupported(format!("openvino does not compute on {target} on this machine"))
                .hint("it computes on cpu, and on gpu where there is one of Intel's with its driver")
        })?;
        let parsed = onnx::parse_files(files, ExternalData::Inlined)?;
        let bytes = parsed.bytes()?;
        let proto = parsed.proto;
        let second = defaults::second_form(&proto, &onnx::signature(&proto)?);
        let plain = self.loaded(proto, &bytes, device, settings)?;
        Ok(defaults::overridable(Box::new(plain), second, files.bytes(), |proto| {
            let bytes = onnx::encode(&proto)?;
            Ok(Box::new(self.loaded(proto, &bytes, device, settings)?))
        }))
    }
}

impl OpenVino {
    fn loaded(
        &self,
        proto: pb::ModelProto,
        bytes: &Bytes,
        device: &str,
        settings: ModelSettings,
    ) -> Result<OpenVinoModel> {
        let signature = onnx::signature(&proto)?;
        check(&signature)?;
        let alone = match echo::handed_on(&proto) {
            Some(output)
                if signature.inputs.iter().any(|spec| spec.any_shape || spec.shape.contains(&-1)) =>
            {
                return Err(handle::echo(output));
            }
            found => found.is_some(),
        };
        drop(proto);
        let precision = precision(settings.precision)?;
        let compiled = self.core()?.compile(bytes, device, &properties(settings, precision))?;
        let really = compiled.property("INFERENCE_PRECISION_HINT")?;
        if settings.precision != Precision::F32 && really != precision {
            return Err(Error::unsupported(format!(
                "this processor does not compute at {}",
                settings.precision
            ))
            .hint("deploy it at f32"));
        }
        let (inputs, outputs) = (names(&signature.inputs)?, names(&signature.outputs)?);
        Ok(OpenVinoModel { compiled, signature, inputs, outputs, alone, requests: Mutex::default() })
    }
}

/// How OpenVINO calls a precision.
fn precision(precision: Precision) -> Result<&'static str> {
    match precision {
        Precision::F32 => Ok("f32"),
        Precision::Bf16 => Ok("bf16"),
        Precision::Int8 => {
            Err(Error::unsupported("openvino does not compute at int8 what is f32").hint(QUANTISE))
        }
    }
}

/// What a model is compiled with. Each run has a stream of its own, or two at once would wait
/// for each other.
fn properties(settings: ModelSettings, precision: &str) -> Vec<(&'static str, String)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut properties = vec![("INFERENCE_PRECISION_HINT", precision.to_owned())];
    if settings.target == Target::Cpu {
        properties.extend([
            ("NUM_STREAMS", processors.to_string()),
            ("INFERENCE_NUM_THREADS", (processors * settings.threads()).to_string()),
            // Whoever started this process has decided where it runs.
            ("ENABLE_CPU_PINNING", "NO".to_owned()),
            ("EXECUTION_MODE_HINT", mode(settings).to_owned()),
        ]);
    }
    properties
}

/// The nearest that OpenVINO has to a level of optimisation.
fn mode(settings: ModelSettings) -> &'static str {
    match settings.optimization.unwrap_or_default() {
        Optimization::Off | Optimization::Basic => "ACCURACY",
        Optimization::Extended | Optimization::All => "PERFORMANCE",
    }
}

/// Refuses what the library would compute in another type without a word.
fn check(signature: &ModelSignature) -> Result<()> {
    for spec in signature.inputs.iter().chain(&signature.outputs) {
        let why = match spec.dtype {
            DataType::F64 => "openvino computes FP64 as FP32",
            DataType::U64 => "openvino computes UINT64 in 32 bits",
            DataType::Bytes => "openvino takes no texts",
            _ => continue,
        };
        return Err(Error::unsupported(format!("{why}: '{}'", spec.name))
            .hint("onnxruntime takes it: --backend onnxruntime"));
    }
    Ok(())
}

fn names(specs: &[TensorSpec]) -> Result<Vec<CString>> {
    let names: Result<Vec<_>, _> = specs.iter().map(|spec| CString::new(spec.name.as_str())).collect();
    names.map_err(|_| Error::invalid("an input or output has a zero byte in its name"))
}

struct OpenVinoModel {
    compiled: Compiled,
    signature: ModelSignature,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
    /// Whether there is one request, and one run at a time: an output is an input, which is looked for where
    /// any request's may lie. Where shapes are fixed, one's input always lies at the same place.
    alone: bool,
    /// Those that nobody uses now, the last used last.
    requests: Mutex<Vec<PreparedRequest>>,
}

/// Requests that are kept for the next inputs of their shapes; each has memory of its own.
const MAX_IDLE_REQUESTS: usize = 16;

impl BackendModel for OpenVinoModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run_while(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            return Err(Error::internal("a model was given another number of inputs than it has"));
        }
        inputs.iter().zip(&self.signature.inputs).try_for_each(|(tensor, spec)| in_range(tensor, spec))?;
        if self.alone {
            return self.run_alone(control, inputs);
        }
        let mut request = match self.free(inputs) {
            Some(request) => request,
            None => self.prepared(inputs)?,
        };
        let ran = request.run(control, inputs, self.outputs.iter().zip(&self.signature.outputs), false);
        // One that failed in the middle may hold whatever it held.
        if ran.is_ok() {
            let mut requests = self.requests.lock();
            requests.push(request);
            if requests.len() > MAX_IDLE_REQUESTS {
                requests.remove(0);
            }
        }
        ran
    }
}

impl OpenVinoModel {
    fn prepared(&self, inputs: &[Tensor]) -> Result<PreparedRequest> {
        PreparedRequest::new(self.compiled.request()?, self.inputs.iter().zip(inputs))
    }

    fn run_alone(&self, control: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut requests = self.requests.lock();
        if requests.is_empty() {
            requests.push(self.prepared(inputs)?);
        }
        let request = requests.first_mut().filter(|request| request.fits(inputs));
        let request = request.ok_or_else(|| Error::invalid("an input has another shape than the model's"))?;
        request.run(control, inputs, self.outputs.iter().zip(&self.signature.outputs), true)
    }

    /// A request that is not used now, for inputs of these shapes.
    fn free(&self, inputs: &[Tensor]) -> Option<PreparedRequest> {
        let mut requests = self.requests.lock();
        let found = requests.iter().rposition(|request| request.fits(inputs))?;
        Some(requests.remove(found))
    }
}

/// The library computes INT64 and UINT32 in 32 bits with a sign: what does not fit must not become
/// something else.
fn in_range(tensor: &Tensor, spec: &TensorSpec) -> Result<()> {
    let fits = match tensor.dtype() {
        DataType::I64 => {
            tensor.to_vec::<i64>().is_none_or(|all| all.iter().all(|one| i32::try_from(*one).is_ok()))
        }
        DataType::U32 => {
            tensor.to_vec::<u32>().is_none_or(|all| all.iter().all(|one| i32::try_from(*one).is_ok()))
        }
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let message = format!("input '{}' holds a number beyond 32 bits, in which openvino computes", spec.name);
    Err(Error::unsupported(message).hint("onnxruntime takes it: --backend onnxruntime"))
}

fn failed(kind: ErrorKind, what: &str, why: &str) -> Error {
    // The library's messages are several lines, of which the last says what is wrong.
    let lines: Vec<&str> = why.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Error::new(kind, format!("{what}: {}", lines.join(" ")))
}
