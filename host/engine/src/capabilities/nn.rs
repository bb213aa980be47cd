//! `wasi:nn@0.2.0-rc-2024-10-28` as published: every tensor type, every error as a code, no panic.

use std::sync::Arc;

use bytes::Bytes;
use eyot_core::{Error, ErrorKind};
use eyot_nn::{DataType, LoadedModel, ModelSettings, NamedTensor, Tensor};
use eyot_world::imports::wasi::nn::errors::{self, ErrorCode};
use eyot_world::imports::wasi::nn::graph::{self, ExecutionTarget, GraphEncoding};
use eyot_world::imports::wasi::nn::{inference, tensor};
use eyot_world::{NnContext, NnError, NnGraph, NnTensor};
use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{HostCapability, OfferedInterface};
use crate::execution_mode::ProfileKind;
use crate::guest::GuestState;
use crate::memory::HeldMemory;

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[OfferedInterface::new("wasi:nn/", "0.2.0-rc-2024-10-28")],
    grant: None,
    link,
};

/// What stands behind a `tensor` handle. Its constructor cannot fail, so a length that does not fit
/// the shape is kept and reported by `compute`. One that there is no room for has no bytes.
struct TensorValue {
    dimensions: Vec<u32>,
    ty: tensor::TensorType,
    content: Result<Tensor, (Bytes, String)>,
    /// What it takes of its guest's memory on the host; `None` where it takes nothing.
    #[expect(dead_code, reason = "dropped with the bytes, which it counts")]
    held: Option<HeldMemory>,
}

/// What stands behind an `error` handle.
struct NnFailure {
    code: ErrorCode,
    text: String,
}

fn link(linker: &mut Linker<GuestState>, _: ProfileKind) -> wasmtime::Result<()> {
    tensor::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest)?;
    graph::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest)?;
    inference::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest)?;
    errors::add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest)?;
    link_tensor_data(linker)
}

/// In place of what the bindings have: their `list<u8>` is a vector, which would be a copy of the
/// tensor beside the one in the guest's memory.
fn link_tensor_data(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:nn/tensor@0.2.0-rc-2024-10-28")?.func_wrap(
        "[method]tensor.data",
        |store: StoreContextMut<'_, GuestState>, (handle,): (Resource<NnTensor>,)| {
            let value: &TensorValue = store.data().get(&handle)?;
            Ok((value.bytes().clone(),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl TensorValue {
    fn bytes(&self) -> &Bytes {
        match &self.content {
            Ok(tensor) => tensor.bytes(),
            Err((bytes, _)) => bytes,
        }
    }
}

type NnResult<T> = wasmtime::Result<Result<T, Resource<NnError>>>;

impl GuestState {
    fn refuse<T>(&mut self, code: ErrorCode, text: impl Into<String>) -> NnResult<T> {
        Ok(Err(self.push(NnFailure { code, text: text.into() })?))
    }

    fn refuse_with<T>(&mut self, error: &Error) -> NnResult<T> {
        let code = match error.kind() {
            ErrorKind::Invalid => ErrorCode::InvalidArgument,
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::Denied => ErrorCode::Security,
            ErrorKind::TooLarge => ErrorCode::TooLarge,
            ErrorKind::Timeout => ErrorCode::Timeout,
            ErrorKind::Unsupported => ErrorCode::UnsupportedOperation,
            ErrorKind::Internal => ErrorCode::Unknown,
            // Also when a queue is full or a part is missing: the standard has no code for "later".
            ErrorKind::Failed
            | ErrorKind::Exhausted
            | ErrorKind::Unavailable
            | ErrorKind::Conflict
            | ErrorKind::Cancelled
            | ErrorKind::Corrupt
            | ErrorKind::Full => ErrorCode::RuntimeError,
        };
        self.refuse(code, error.chain())
    }

    /// Takes the inputs out of their handles and names them as the model does.
    fn gather(
        &mut self,
        model: &LoadedModel,
        inputs: Vec<(String, Resource<NnTensor>)>,
    ) -> wasmtime::Result<Result<Vec<NamedTensor>, String>> {
        // All of them, before any is looked at: they are the host's now, whatever comes of it.
        let values =
            inputs.into_iter().map(|(name, handle)| Ok((name, self.take::<_, TensorValue>(handle)?)));
        let values = values.collect::<wasmtime::Result<Vec<_>>>()?;
        let named = values.into_iter().map(|(name, value)| match value.content {
            Ok(tensor) => Ok(NamedTensor { name: canonical(model, name), tensor }),
            Err((_, problem)) => Err(format!("tensor '{name}': {problem}")),
        });
        Ok(named.collect())
    }
}

/// A name that is no input of the model but a number means the input at that position: programs
/// written for back ends without names rely on it.
fn canonical(model: &LoadedModel, name: String) -> String {
    let signature = model.signature();
    if signature.all_inputs().any(|spec| spec.name == name) {
        return name;
    }
    // Behind those that must be there come those that may be left out.
    let position = name.parse::<usize>().ok().and_then(|index| signature.all_inputs().nth(index));
    position.map_or(name, |spec| spec.name.clone())
}

impl tensor::Host for GuestState {}

impl tensor::HostTensor for GuestState {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<NnTensor>> {
        let held = self.memory.hold(data.len() + size_of_val(&*dimensions));
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                let content = Err((Bytes::new(), error.chain()));
                return self.push(TensorValue { dimensions: Vec::new(), ty, content, held: None });
            }
        };
        let shape = dimensions.iter().map(|dim| *dim as usize).collect();
        let bytes = Bytes::from(data);
        let content =
            Tensor::new(data_type(ty), shape, bytes.clone()).map_err(|error| (bytes, error.chain()));
        self.push(TensorValue { dimensions, ty, content, held: Some(held) })
    }

    fn dimensions(&mut self, handle: Resource<NnTensor>) -> wasmtime::Result<Vec<u32>> {
        Ok(self.get::<_, TensorValue>(&handle)?.dimensions.clone())
    }

    fn ty(&mut self, handle: Resource<NnTensor>) -> wasmtime::Result<tensor::TensorType> {
        Ok(self.get::<_, TensorValue>(&handle)?.ty)
    }

    fn data(&mut self, handle: Resource<NnTensor>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.get::<_, TensorValue>(&handle)?.bytes().to_vec())
    }

    fn drop(&mut self, handle: Resource<NnTensor>) -> wasmtime::Result<()> {
        self.take::<_, TensorValue>(handle).map(drop)
    }
}

impl graph::Host for GuestState {
    async fn load(
        &mut self,
        builder: Vec<Vec<u8>>,
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> NnResult<Resource<NnGraph>> {
        if !matches!(encoding, GraphEncoding::Onnx | GraphEncoding::Autodetect) {
            return self
                .refuse(ErrorCode::InvalidEncoding, format!("{encoding:?} is not served here; onnx is"));
        }
        let count = builder.len();
        let Ok([bytes]) = <[Vec<u8>; 1]>::try_from(builder) else {
            return self
                .refuse(ErrorCode::InvalidArgument, format!("an onnx graph is one buffer, not {count}"));
        };
        let target = match target {
            ExecutionTarget::Cpu => eyot_nn::Target::Cpu,
            ExecutionTarget::Gpu => eyot_nn::Target::Gpu,
            ExecutionTarget::Tpu => eyot_nn::Target::Tpu,
        };
        let settings = ModelSettings { target, ..self.settings() };
        match self.grants.loader.clone().load_bytes(bytes.into(), settings).await {
            Ok(model) => {
                let model = self.as_used_here(model);
                Ok(Ok(self.push(model)?))
            }
            Err(error) => self.refuse_with(&error),
        }
    }

    fn load_by_name(&mut self, name: String) -> NnResult<Resource<NnGraph>> {
        match self.granted(&name) {
            Ok(model) => Ok(Ok(self.push(model)?)),
            Err(error) => self.refuse_with(&error),
        }
    }
}

impl graph::HostGraph for GuestState {
    fn init_execution_context(&mut self, handle: Resource<NnGraph>) -> NnResult<Resource<NnContext>> {
        let model = self.get::<_, Arc<LoadedModel>>(&handle)?.clone();
        Ok(Ok(self.push(model)?))
    }

    fn drop(&mut self, handle: Resource<NnGraph>) -> wasmtime::Result<()> {
        self.take::<_, Arc<LoadedModel>>(handle).map(drop)
    }
}

impl inference::Host for GuestState {}

impl inference::HostGraphExecutionContext for GuestState {
    async fn compute(
        &mut self,
        handle: Resource<NnContext>,
        inputs: Vec<(String, Resource<NnTensor>)>,
    ) -> NnResult<Vec<(String, Resource<NnTensor>)>> {
        let model = self.get::<_, Arc<LoadedModel>>(&handle)?.clone();
        let inputs = match self.gather(&model, inputs)? {
            Ok(inputs) => inputs,
            Err(problem) => return self.refuse(ErrorCode::InvalidArgument, problem),
        };
        let outputs = match self.infer(&model, inputs).await {
            Ok(outputs) => outputs,
            Err(error) => return self.refuse_with(&error),
        };
        let mut answer = Vec::with_capacity(outputs.len());
        for NamedTensor { name, tensor } in outputs {
            let Some(ty) = tensor_type(tensor.dtype()) else {
                let text = format!("output '{name}' is {}, which wasi:nn has no type for", tensor.dtype());
                return self.refuse(ErrorCode::UnsupportedOperation, text);
            };
            let dimensions: Result<Vec<u32>, _> =
                tensor.shape().iter().map(|dim| u32::try_from(*dim)).collect();
            let Ok(dimensions) = dimensions else {
                return self
                    .refuse(ErrorCode::TooLarge, format!("output '{name}' has a dimension beyond 32 bits"));
            };
            let held = match self.memory.hold(tensor.bytes().len()) {
                Ok(held) => Some(held),
                Err(error) => return self.refuse_with(&error.context(format!("output '{name}'"))),
            };
            answer.push((name, self.push(TensorValue { dimensions, ty, content: Ok(tensor), held })?));
        }
        Ok(Ok(answer))
    }

    fn drop(&mut self, handle: Resource<NnContext>) -> wasmtime::Result<()> {
        self.take::<_, Arc<LoadedModel>>(handle).map(drop)
    }
}

impl errors::Host for GuestState {}

impl errors::HostError for GuestState {
    fn code(&mut self, handle: Resource<NnError>) -> wasmtime::Result<ErrorCode> {
        Ok(self.get::<_, NnFailure>(&handle)?.code)
    }

    fn data(&mut self, handle: Resource<NnError>) -> wasmtime::Result<String> {
        Ok(self.get::<_, NnFailure>(&handle)?.text.clone())
    }

    fn drop(&mut self, handle: Resource<NnError>) -> wasmtime::Result<()> {
        self.take::<_, NnFailure>(handle).map(drop)
    }
}

fn data_type(ty: tensor::TensorType) -> DataType {
    match ty {
        tensor::TensorType::Fp16 => DataType::F16,
        tensor::TensorType::Fp32 => DataType::F32,
        tensor::TensorType::Fp64 => DataType::F64,
        tensor::TensorType::Bf16 => DataType::BF16,
        tensor::TensorType::U8 => DataType::U8,
        tensor::TensorType::I32 => DataType::I32,
        tensor::TensorType::I64 => DataType::I64,
    }
}

fn tensor_type(data_type: DataType) -> Option<tensor::TensorType> {
    Some(match data_type {
        DataType::F16 => tensor::TensorType::Fp16,
        DataType::F32 => tensor::TensorType::Fp32,
        DataType::F64 => tensor::TensorType::Fp64,
        DataType::BF16 => tensor::TensorType::Bf16,
        DataType::U8 => tensor::TensorType::U8,
        DataType::I32 => tensor::TensorType::I32,
        DataType::I64 => tensor::TensorType::I64,
        _ => return None,
    })
}
