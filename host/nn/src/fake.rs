//! A model that does as a test wants.

#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::sync::{Arc, Weak};

use eyot_core::{Digest, Error, Result};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::batch_probe::ProbeResult;
use crate::cost::CostModel;
use crate::memory::MemoryBudget;
use crate::model_state::{FreshModel, ModelState, ReloadModel, ResidentModel};
use crate::threads::InferenceThreads;
use crate::{
    BackendModel, DataType, ModelSettings, ModelSignature, NamedTensor, RanOn, RunControl, RunLimits, Tensor,
    TensorSpec,
};

/// `y = 2 x`, for any number of rows of one number.
pub(crate) struct Fake {
    signature: ModelSignature,
    gate: Option<Gate>,
    panics: bool,
}

/// Keeps every run until it is opened. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    entered: Notify,
    open: Mutex<bool>,
    opened: Condvar,
    seen: Mutex<Vec<f32>>,
}

impl Gate {
    /// Waits until a run is inside.
    pub(crate) async fn entered(&self) {
        self.0.entered.notified().await;
    }

    pub(crate) fn open(&self) {
        *self.0.open.lock() = true;
        self.0.opened.notify_all();
    }

    /// The first number of each run.
    pub(crate) fn seen(&self) -> Vec<f32> {
        self.0.seen.lock().clone()
    }

    fn pass(&self, value: f32) {
        self.0.seen.lock().push(value);
        self.0.entered.notify_one();
        let mut open = self.0.open.lock();
        while !*open {
            self.0.opened.wait(&mut open);
        }
    }
}

impl Fake {
    pub(crate) fn doubling() -> Self {
        let spec = |name: &str| TensorSpec::new(name, DataType::F32, [-1, 1]);
        let signature = ModelSignature::new(vec![spec("x")], vec![spec("y")]);
        Self { signature, gate: None, panics: false }
    }

    pub(crate) fn gated() -> (Self, Gate) {
        let gate = Gate::default();
        (Self { gate: Some(gate.clone()), ..Self::doubling() }, gate)
    }

    pub(crate) fn panicking() -> Self {
        Self { panics: true, ..Self::doubling() }
    }

    pub(crate) fn input(value: f32) -> Vec<NamedTensor> {
        vec![NamedTensor { name: "x".into(), tensor: Tensor::of(vec![1, 1], &[value]).unwrap() }]
    }
}

impl BackendModel for Fake {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run_while(&self, _: &RunControl, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        assert!(!self.panics, "a model that panics");
        let values = inputs[0].to_vec::<f32>().unwrap();
        if let Some(gate) = &self.gate {
            gate.pass(values[0]);
        }
        let doubled: Vec<f32> = values.iter().map(|value| 2.0 * value).collect();
        Ok(vec![Tensor::of(inputs[0].shape().to_vec(), &doubled)?])
    }
}

/// One thread for inferences.
pub(crate) fn threads() -> Arc<InferenceThreads> {
    Arc::new(InferenceThreads::new(1, 100))
}

/// What a model has that nothing evicts.
struct NoCache;

impl ReloadModel for NoCache {
    fn elapsed_milliseconds(&self) -> u64 {
        0
    }

    fn reload<'a>(
        &'a self,
        _: &'a ModelState,
    ) -> Pin<Box<dyn Future<Output = Result<ResidentModel>> + Send + 'a>> {
        Box::pin(async { Err(Error::internal("nothing evicts it")) })
    }
}

/// For a model that no cache has.
pub(crate) fn not_evicted() -> (Weak<dyn ReloadModel>, RunLimits) {
    (Weak::<NoCache>::new(), RunLimits::default())
}

/// A loaded model whose calls may be joined, and each of whose runs keeps
/// `width` threads busy.
pub(crate) fn shared(model: impl BackendModel, width: usize) -> Arc<ModelState> {
    let ran_on = RanOn::plain("fake", "1");
    let (cost, probe_result) = (CostModel::default(), ProbeResult::Batchable);
    let fresh = FreshModel { model: Box::new(model), ran_on, cost, probe_result, unproved: None };
    let settings = ModelSettings { intra_threads: Some(width), ..ModelSettings::default() };
    let room = MemoryBudget::new(1).take(1).unwrap();
    ModelState::new(Digest::of("fake"), settings, fresh, room, not_evicted(), true)
}
