use std::sync::Arc;

use eyot_core::{Error, Result};
use eyot_nn::{
    BatchingPolicy, DataType, InferOptions, InferenceResult, LoadedModel, ModelSettings, NamedTensor, Tensor,
};
use eyot_world::imports::eyot::ml::models::{Host, HostModel, add_to_linker};
use eyot_world::types::{self, Dtype};
use eyot_world::{Artifact, Model};
use wasmtime::component::{HasSelf, Resource};

use super::artifacts::ArtifactEntry;
use super::errors::to_guest;
use super::{HostCapability, OfferedInterface};
use crate::guest::GuestState;

/// With the tensors, signatures and errors of `eyot:ml/types`, which are types alone.
pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[
        OfferedInterface::new("eyot:ml/models", "0.1."),
        OfferedInterface::new("eyot:ml/types", "0.1."),
    ],
    grant: None,
    link: |linker, _| add_to_linker::<GuestState, HasSelf<GuestState>>(linker, |guest| guest),
};

impl GuestState {
    /// The model granted under `name`.
    pub(crate) fn granted(&self, name: &str) -> Result<Arc<LoadedModel>> {
        let model = self.grants.models.get(name).cloned().ok_or_else(|| {
            self.grants.ungranted_models.note(name);
            let mut names: Vec<_> = self.grants.models.keys().map(String::as_str).collect();
            names.sort_unstable();
            Error::not_found(format!("no model is granted as '{name}'")).hint(match names.as_slice() {
                [] => "no model is granted to this component; eyot deploy --model NAME=MODEL grants one"
                    .to_owned(),
                names => format!("granted are: {}", names.join(", ")),
            })
        })?;
        Ok(self.as_used_here(model))
    }

    async fn load_artifact(&mut self, digest: eyot_core::Digest) -> Result<Arc<LoadedModel>> {
        let model = self.grants.loader.load(digest, self.settings()).await?;
        Ok(self.as_used_here(model))
    }

    /// How a model is loaded that the component brings itself.
    pub(crate) fn settings(&self) -> ModelSettings {
        if self.hermetic { ModelSettings::FIXED } else { ModelSettings::default() }
    }

    /// A step's results must not depend on concurrent calls: its inferences are not batched with others.
    pub(crate) fn as_used_here(&self, model: Arc<LoadedModel>) -> Arc<LoadedModel> {
        if self.hermetic { model.with_batching(BatchingPolicy::OFF) } else { model }
    }

    /// Runs a model within the time that the guest has, and keeps account of it.
    pub(crate) async fn infer(
        &mut self,
        model: &LoadedModel,
        inputs: Vec<NamedTensor>,
    ) -> Result<Vec<NamedTensor>> {
        let _place = self.reserve_inference()?;
        let inferred = model.infer(inputs, self.infer_options()).await?;
        self.account(&inferred);
        let _held = self.memory.hold(output_bytes(&inferred))?;
        Ok(inferred.outputs)
    }

    /// How an inference that starts now is asked for.
    pub(crate) fn infer_options(&self) -> InferOptions {
        InferOptions { deadline: Some(self.inference_deadline()), priority: self.priority }
    }

    /// Keeps account of an inference that gave an answer.
    pub(crate) fn account(&mut self, inferred: &InferenceResult) {
        self.usage.inferences += 1;
        self.usage.queue_time += inferred.queue_time;
        self.usage.compute_time += inferred.compute_time;
        self.usage.max_batch_size = self.usage.max_batch_size.max(inferred.batch_size);
    }
}

/// What the host holds of an answer before its guest has it.
pub(crate) fn output_bytes(inferred: &InferenceResult) -> usize {
    inferred.outputs.iter().map(|output| output.tensor.bytes().len() + output.name.len()).sum()
}

impl Host for GuestState {}

impl HostModel for GuestState {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Model>, types::Error>> {
        match self.granted(&name) {
            Ok(model) => Ok(Ok(self.push(model)?)),
            Err(error) => Ok(Err(to_guest(&error))),
        }
    }

    async fn load(
        &mut self,
        weights: Resource<Artifact>,
    ) -> wasmtime::Result<Result<Resource<Model>, types::Error>> {
        let digest = self.get::<_, ArtifactEntry>(&weights)?.digest;
        match self.load_artifact(digest).await {
            Ok(model) => Ok(Ok(self.push(model)?)),
            Err(error) => Ok(Err(to_guest(&error))),
        }
    }

    fn signature(&mut self, handle: Resource<Model>) -> wasmtime::Result<types::Signature> {
        let model: &Arc<LoadedModel> = self.get(&handle)?;
        let specs = |specs: &[eyot_nn::TensorSpec]| {
            let spec = |spec: &eyot_nn::TensorSpec| types::TensorSpec {
                name: spec.name.clone(),
                dtype: dtype(spec.dtype),
                shape: spec.shape.clone(),
            };
            specs.iter().map(spec).collect()
        };
        let signature = model.signature();
        Ok(types::Signature { inputs: specs(&signature.inputs), outputs: specs(&signature.outputs) })
    }

    async fn infer(
        &mut self,
        handle: Resource<Model>,
        inputs: Vec<types::Tensor>,
    ) -> wasmtime::Result<Result<Vec<types::Tensor>, types::Error>> {
        let model: Arc<LoadedModel> = self.get::<_, Arc<LoadedModel>>(&handle)?.clone();
        let inputs = match inputs.into_iter().map(from_wit).collect::<Result<Vec<_>>>() {
            Ok(inputs) => inputs,
            Err(error) => return Ok(Err(to_guest(&error))),
        };
        let outputs = self.infer(&model, inputs).await;
        Ok(outputs.map(|tensors| tensors.into_iter().map(to_wit).collect()).map_err(|error| to_guest(&error)))
    }

    fn drop(&mut self, handle: Resource<Model>) -> wasmtime::Result<()> {
        self.take::<_, Arc<LoadedModel>>(handle).map(drop)
    }
}

/// A tensor from a guest: its length is checked against its shape here.
pub(crate) fn from_wit(tensor: types::Tensor) -> Result<NamedTensor> {
    let shape: Result<Vec<usize>, _> = tensor.shape.iter().map(|dim| usize::try_from(*dim)).collect();
    let shape = shape
        .map_err(|_| Error::invalid(format!("tensor '{}' is larger than this host's memory", tensor.name)))?;
    let value = Tensor::new(data_type(tensor.dtype), shape, tensor.data)
        .map_err(|error| error.context(format!("tensor '{}'", tensor.name)))?;
    Ok(NamedTensor { name: tensor.name, tensor: value })
}

/// A tensor for a guest.
pub(crate) fn to_wit(named: NamedTensor) -> types::Tensor {
    types::Tensor {
        name: named.name,
        dtype: dtype(named.tensor.dtype()),
        shape: named.tensor.shape().iter().map(|dim| *dim as u64).collect(),
        data: named.tensor.bytes().clone(),
    }
}

macro_rules! pairs {
    ($($wit:ident <=> $nn:ident),* $(,)?) => {
        /// The data type that the contract's `dtype` means.
        pub(crate) fn data_type(dtype: Dtype) -> DataType {
            match dtype { $(Dtype::$wit => DataType::$nn),* }
        }

        /// The contract's `dtype` of a data type.
        pub(crate) fn dtype(data_type: DataType) -> Dtype {
            match data_type { $(DataType::$nn => Dtype::$wit),* }
        }
    };
}

pairs! {
    Boolean <=> Bool,
    Uint8 <=> U8,
    Uint16 <=> U16,
    Uint32 <=> U32,
    Uint64 <=> U64,
    Int8 <=> I8,
    Int16 <=> I16,
    Int32 <=> I32,
    Int64 <=> I64,
    Fp16 <=> F16,
    Bf16 <=> BF16,
    Fp32 <=> F32,
    Fp64 <=> F64,
    Bytes <=> Bytes,
}
