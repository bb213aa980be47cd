//! What the library that was found can compute on, beside the processor.

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;

use crate::Target;

/// An execution provider that works on this machine.
#[derive(Clone, Copy)]
pub(super) struct RunProvider {
    /// As `RanOn` says it.
    pub(super) name: &'static str,
    pub(super) target: Target,
    make: fn() -> ExecutionProviderDispatch,
}

/// The preferred one of a target first. TensorRT is not among them although libraries with CUDA have
/// it: it compiles a model for minutes, which a deployment should ask for.
const KNOWN: [(RunProvider, fn() -> bool); 2] = [
    (RunProvider { name: "cuda", target: Target::Gpu, make: || ep::CUDA::default().build() }, || {
        ep::CUDA::is_available().unwrap_or(false)
    }),
    (
        RunProvider {
            name: "openvino",
            target: Target::Gpu,
            make: || ep::OpenVINO::default().with_device_type("GPU").build(),
        },
        || ep::OpenVINO::is_available().unwrap_or(false),
    ),
];

impl RunProvider {
    /// Those that the library was built with and that start on this machine: a library with CUDA on a
    /// machine without its driver has none.
    pub(super) fn found(environment: &Environment) -> Vec<Self> {
        let starts = |provider: &RunProvider| {
            let builder = Session::builder(environment).map_err(|error| error.to_string());
            let started = builder.and_then(|builder| {
                builder
                    .with_execution_providers([provider.dispatch()])
                    .map(drop)
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = &started {
                tracing::info!(
                    provider = provider.name,
                    error,
                    "onnxruntime has this provider, but it does not start"
                );
            }
            started.is_ok()
        };
        let known = KNOWN.into_iter().filter(|(_, built_in)| built_in());
        known.map(|(provider, _)| provider).filter(starts).collect()
    }

    /// What a session is told, which fails where this cannot be used.
    pub(super) fn dispatch(&self) -> ExecutionProviderDispatch {
        (self.make)().error_on_failure()
    }
}
