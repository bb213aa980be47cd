use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use eyot_core::{Error, Result};
use eyot_engine::Handler;
use eyot_nn::{LoadedModel, NamedTensor, RanOn, Signature};

/// What answers predictions.
#[async_trait]
pub trait Predictor: Send + Sync + 'static {
    /// The tensors it takes and gives.
    fn signature(&self) -> &Signature;

    /// Answers one request. `inputs` fit the signature, in its order.
    async fn predict(&self, inputs: Vec<NamedTensor>, deadline: Instant) -> Result<Vec<NamedTensor>>;

    /// What each model runs on, by the name under which it is granted.
    fn ran_on(&self) -> BTreeMap<String, RanOn>;
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

    async fn predict(&self, inputs: Vec<NamedTensor>, deadline: Instant) -> Result<Vec<NamedTensor>> {
        let inferred = tokio::time::timeout_at(deadline.into(), self.0.infer(inputs)).await;
        inferred
            .unwrap_or_else(|_| Err(Error::timeout("the model did not answer before the request's deadline")))
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        BTreeMap::from([("model".to_owned(), self.0.ran_on())])
    }
}

/// A component with the models it was granted.
pub struct ComponentPredictor {
    handler: Arc<Handler>,
    ran_on: BTreeMap<String, RanOn>,
}

impl ComponentPredictor {
    pub fn new(handler: Arc<Handler>, ran_on: BTreeMap<String, RanOn>) -> Self {
        Self { handler, ran_on }
    }
}

#[async_trait]
impl Predictor for ComponentPredictor {
    fn signature(&self) -> &Signature {
        self.handler.signature()
    }

    async fn predict(&self, inputs: Vec<NamedTensor>, deadline: Instant) -> Result<Vec<NamedTensor>> {
        self.handler.predict(inputs, Some(deadline)).await
    }

    fn ran_on(&self) -> BTreeMap<String, RanOn> {
        self.ran_on.clone()
    }
}
