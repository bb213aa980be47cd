use crate::bindings::eyot::ml::{models, models_async, types};
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

    /// Runs it once, and waits. Inputs are matched by name; all outputs come back, in the model's order.
    pub fn infer(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let inputs: Vec<types::Tensor> = inputs.into_iter().map(Into::into).collect();
        Ok(self.0.infer(&inputs)?.into_iter().map(Tensor::from).collect())
    }

    /// Runs it once, in a component that serves: starts when it is first polled, and while the model works
    /// the component goes on. A future that is dropped before the run's turn has come takes it back.
    ///
    /// Fails as [`Model::infer`] does, and with [`Kind::Unavailable`](crate::Kind) when this instance has too
    /// much under way.
    pub async fn infer_async(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let inputs: Vec<types::Tensor> = inputs.into_iter().map(Into::into).collect();
        let outputs = models_async::infer(&self.0, inputs).await?;
        Ok(outputs.into_iter().map(Tensor::from).collect())
    }
}
