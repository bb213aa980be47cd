//! What answers tensors: a model alone, or a component with the models that it was granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::Result;
use eyot_engine::{HandlerOutput, InferenceUsage, InstanceStats, PredictionHandler};
use eyot_nn::{InferOptions, InferenceResult, LoadedModel, ModelSignature, NamedTensor, RanOn};

/// What answers predictions.
#[async_trait]
pub trait Predictor: Send + Sync + 'static {
    /// The tensors it takes and gives.
    fn signature(&self) -> &ModelSignature;

    /// Answers one request. `inputs` fit the signature, in its order.
    async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<PredictorOutput>;

    /// What each model runs on, by the name under which it is granted.
    fn ran_on(&self) -> BTreeMap<String, RanOn>;

    /// The instances of its component, if it has one.
    fn instances(&self) -> Option<InstanceStats>;
}

/// An answer, and what its inferences took.
#[derive(Clone, Debug, Default)]
pub struct PredictorOutput {
    pub outputs: Vec<NamedTensor>,
    pub usage: InferenceUsage,
}

/// The built-in handler: a model alone, as it is.
pub struct ModelPredictor(Arc<LoadedModel>);

impl ModelPredictor {
    pub fn new(model: Arc<LoadedModel>) -> Self {
        Self(model)
    }
}

#[async_trait]
impl Predictor for ModelPredictor {
    fn signature(&self) -> &ModelSignature {
        self.0.signature()
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<PredictorOutput> {
        let InferenceResult { outputs, queue_time, compute_time, batch_size } =
            self.0.infer(inputs, options).await?;
        Ok(PredictorOutput {
            outputs,
            usage: InferenceUsage {
                inferences: 1,
                queue_time,
                compute_time,
                max_batch_size: batch_size,
                max_in_flight: 1,
            },
        })
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        BTreeMap::from([("model".to_owned(), self.0.ran_on())])
    }

    fn instances(&self) -> Option<InstanceStats> {
        None
    }
}

/// A component with the models it was granted.
pub struct ComponentPredictor {
    handler: Arc<PredictionHandler>,
    ran_on: BTreeMap<String, RanOn>,
}

impl ComponentPredictor {
    pub fn new(handler: Arc<PredictionHandler>, ran_on: BTreeMap<String, RanOn>) -> Self {
        Self { handler, ran_on }
    }
}

#[async_trait]
impl Predictor for ComponentPredictor {
    fn signature(&self) -> &ModelSignature {
        self.handler.signature()
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, options: InferOptions) -> Result<PredictorOutput> {
        let HandlerOutput { outputs, usage } = self.handler.predict(inputs, options).await?;
        Ok(PredictorOutput { outputs, usage })
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        self.ran_on.clone()
    }

    fn instances(&self) -> Option<InstanceStats> {
        Some(self.handler.stats())
    }
}
