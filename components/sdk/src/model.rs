use crate::bindings::eyot::ml::{models, types};
use crate::{Artifact, Result, Tensor};

/// A model that the host runs.
pub struct Model(models::Model);

impl Model {
    /// A model that the deployment grants under `name`.
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self(models::Model::open(name)?))
    }

    /// A model that is an artifact of the running pipeline: the bytes of an ONNX file.
    pub fn load(weights: &Artifact) -> Result<Self> {
        Ok(Self(models::Model::load(weights.inner())?))
    }

    /// What it takes and gives, as its file declares it.
    pub fn signature(&self) -> types::Signature {
        self.0.signature()
    }

    /// Runs it once. Inputs are matched by name; all outputs come back, in the model's order.
    pub fn infer(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let inputs: Vec<types::Tensor> = inputs.into_iter().map(Into::into).collect();
        Ok(self.0.infer(&inputs)?.into_iter().map(Tensor::from).collect())
    }
}
