//! `eyot:ml/models-async`: inferences that a component starts, does not wait for, and may give up.

use std::sync::Arc;

use eyot_core::Result;
use eyot_nn::{InferOptions, InferenceResult, LoadedModel};
use eyot_world::asynchronous::eyot::ml::models_async::{Host, HostWithStore, add_to_linker};
use eyot_world::{Model, types};
use wasmtime::component::{Accessor, Linker, Resource};

use super::errors::to_guest;
use super::models::{from_wit, output_bytes, to_wit};
use super::{HostCapability, OfferedInterface, ToGuest};
use crate::execution_mode::ProfileKind;
use crate::guest::{GuestState, InFlightInference};

pub(super) const CAPABILITY: HostCapability = HostCapability {
    interfaces: &[OfferedInterface::with_event_loop("eyot:ml/models-async", "0.1.")],
    grant: None,
    link,
};

fn link(linker: &mut Linker<GuestState>, profile_kind: ProfileKind) -> wasmtime::Result<()> {
    match profile_kind {
        ProfileKind::Concurrent => add_to_linker::<GuestState, ToGuest>(linker, |guest| guest),
        ProfileKind::Plain | ProfileKind::Hermetic => Ok(()),
    }
}

/// An inference that is in flight, with its options.
struct StartedInference {
    model: Arc<LoadedModel>,
    infer_options: InferOptions,
    _place: InFlightInference,
}

impl GuestState {
    /// Fails with `Exhausted` where as many are in flight as there may be.
    fn start(&mut self, handle: &Resource<Model>) -> wasmtime::Result<Result<StartedInference>> {
        let model: Arc<LoadedModel> = self.get::<_, Arc<LoadedModel>>(handle)?.clone();
        Ok(self.reserve_inference().map(|place| StartedInference {
            model,
            infer_options: self.infer_options(),
            _place: place,
        }))
    }
}

impl Host for GuestState {}

impl<T: Send> HostWithStore<T> for ToGuest {
    /// The instance is looked at before and after, never held while the model runs. Whoever cancels drops
    /// this future, and with it the call that waits for its turn.
    async fn infer(
        accessor: &Accessor<T, Self>,
        model: Resource<Model>,
        inputs: Vec<types::Tensor>,
    ) -> wasmtime::Result<std::result::Result<Vec<types::Tensor>, types::Error>> {
        let started = accessor.with(|mut access| access.get().start(&model))?;
        let inferred = run(started, inputs).await.and_then(|inferred| {
            accessor.with(|mut access| {
                let guest = access.get();
                guest.account(&inferred);
                guest.memory.hold(output_bytes(&inferred)).map(|_| inferred)
            })
        });
        Ok(match inferred {
            Ok(inferred) => Ok(inferred.outputs.into_iter().map(to_wit).collect()),
            Err(error) => Err(to_guest(&error)),
        })
    }
}

async fn run(started: Result<StartedInference>, inputs: Vec<types::Tensor>) -> Result<InferenceResult> {
    let started = started?;
    let inputs = inputs.into_iter().map(from_wit).collect::<Result<Vec<_>>>()?;
    started.model.infer(inputs, started.infer_options).await
}
