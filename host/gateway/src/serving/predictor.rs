//! What answers tensors: a model alone, or a component with the models that it was granted.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use eyot_core::Result;
use eyot_engine::{HandlerOutput, InferenceUsage, InstanceStats, PredictionHandler};
use eyot_nn::{Ask, Inferred, LoadedModel, NamedTensor, RanOn, Signature};

/// What answers predictions.
#[async_trait]
pub trait Predictor: Send + Sync + 'static {
    /// The tensors it takes and gives.
    fn signature(&self) -> &Signature;

    /// Answers one request. `inputs` fit the signature, in its order.
    async fn predict(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<PredictorOutput>;

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
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<PredictorOutput> {
        let Inferred { outputs, queued, computed, batch } = self.0.infer_as(inputs, ask).await?;
        Ok(PredictorOutput {
            outputs,
            usage: InferenceUsage {
                inferences: 1,
                queue_time: queued,
                compute_time: computed,
                max_batch_size: batch,
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
    fn signature(&self) -> &Signature {
        self.handler.signature()
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, ask: Ask) -> Result<PredictorOutput> {
        let HandlerOutput { outputs, usage } = self.handler.answer_as(inputs, ask).await?;
        Ok(PredictorOutput { outputs, usage })
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        self.ran_on.clone()
    }

    fn instances(&self) -> Option<InstanceStats> {
        Some(self.handler.stats())
    }
}
